"""
C{sandbox-billing setup}: register, deposit and acknowledge with one key, for a first try.

Tests: L{tests.cli.test_provider}.
"""

from __future__ import annotations

import click

from sandbox_billing.cli.amounts import both
from sandbox_billing.cli.checkbal import balance
from sandbox_billing.cli.keys import KeySource, Role, key_options
from sandbox_billing.cli.options import (
    AMOUNT,
    ChainOptions,
    SendingOptions,
    chain_options,
    sending_options,
)
from sandbox_billing.cli.output import Output, output_options
from sandbox_billing.cli.provider_terms import Wanted, leaving, registration, terms_options
from sandbox_billing.cli.sending import Sender
from sandbox_billing.cli.session import SERVING, Session, connect
from sandbox_billing.cli.transaction import Call
from sandbox_billing.errors import Refused
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.signing.eip55 import checksum


_BOUND = 120_000
"""Gas of a deposit, and of an acknowledgement: twice what the dearer one takes."""


@click.command()
@output_options
@chain_options(contract=True)
@key_options(Role.PROVIDER)
@sending_options
@terms_options
@click.option(
    "--deposit",
    type=AMOUNT,
    required=True,
    help="What the balance should be at least; only the rest is paid in.",
)
def setup(
    out: Output,
    chain: ChainOptions,
    key: KeySource,
    sending: SendingOptions,
    wanted: Wanted,
    deposit: Neuron,
) -> None:
    """
    Register as a provider, deposit as its user, and acknowledge, all with one key.

    What is so already is left alone: run again, it does nothing. The signer is the key itself
    unless --tee-signer names the enclave's. A first registration needs --price-cpu and
    --price-mem, or --flat: there is no default, for a price of nothing that nobody has chosen
    would give every sandbox away. A provider that is leaving is not set up.
    """
    session = connect(chain)
    contract = chain.contract
    assert contract is not None, "the option is required"
    sender = Sender(session, key.load(), sending, out)
    sender.ready()
    who = sender.address
    calls = needed(session, contract, who, wanted, deposit)
    done = []
    if calls:
        total = sum(call.value for call in calls)
        steps = ", ".join(call.label for call in calls)
        sent = sender.transact(calls, question=f"Send {steps} with {both(total)} in all?")
        if sent is None:
            return
        done = sent
    document, rows = balance(session, contract, who, who)
    terms = registration(session, contract, who).terms
    assert terms is not None, "registered by now"
    out.finish(
        {
            **document,
            **terms.document(),
            "nothing_to_do": not done,
            "transactions": [one.document() for one in done],
        },
        title="Set up" if done else "Nothing to do: it is all so already",
        rows=[*terms.rows(), *rows],
    )


def needed(
    session: Session, contract: Address, who: Address, wanted: Wanted, deposit: Neuron
) -> list[Call]:
    """
    What is not so yet.

    @raise Refused: It would change what users have acknowledged: C{provider register} does.
        Or it is leaving: what is paid in now is worth nothing to anybody.
    """
    from sandbox_billing.adapters.chain.codec import Codec

    codec, calls = Codec(SERVING), []
    known = registration(session, contract, who).terms
    gone = leaving(session, contract, who)
    if gone is not None:
        raise Refused(
            f"{checksum(who)} is leaving ({gone}): nothing is paid in or registered; finish with "
            "'provider leave', and set up after that"
        )
    terms = wanted.over(known, who)
    if known is None:
        (stake,) = session.serving(contract, "providerStake")
        calls.append(terms.call(contract, stake))
    elif terms.binding != known.binding:
        raise Refused(
            f"{checksum(who)} is registered with other prices or another signer, and its users "
            "have acknowledged those: change them with 'provider register'"
        )
    elif terms != known:
        calls.append(terms.call(contract, 0))
    balance_now, _refund, _unlock = session.serving(contract, "getBalance", who.hex, who.hex)
    missing = deposit - balance_now
    if missing > 0:
        data = codec.calldata("deposit", who.hex, who.hex)
        calls.append(Call(label="deposit", to=contract, data=data, value=missing, bound=_BOUND))
    (acknowledged,) = session.serving(contract, "isTEEAcknowledged", who.hex, who.hex)
    if not acknowledged or known is None:
        data = codec.calldata("acknowledgeTEESigner", who.hex, True)
        calls.append(Call(label="acknowledge", to=contract, data=data, bound=_BOUND))
    return calls
