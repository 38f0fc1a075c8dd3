"""
C{sandbox-billing provider}: register, look, take earnings, stake, leave.

Tests: L{tests.cli.test_provider}.
"""

from __future__ import annotations

import click
from attrs import frozen

from sandbox_billing.cli.amounts import both
from sandbox_billing.cli.keys import KeySource, Role, key_options
from sandbox_billing.cli.options import (
    ADDRESS,
    AMOUNT,
    ChainOptions,
    SendingOptions,
    chain_options,
    sending_options,
)
from sandbox_billing.cli.output import Output, output_options
from sandbox_billing.cli.provider_leave import leave
from sandbox_billing.cli.provider_register import register
from sandbox_billing.cli.provider_snapshot import delete_snapshot, snapshot
from sandbox_billing.cli.provider_terms import (
    Leaving,
    Registration,
    leaving,
    leaving_document,
    leaving_rows,
    provider_option,
    registration,
)
from sandbox_billing.cli.sending import Sender
from sandbox_billing.cli.session import SERVING, Session, connect
from sandbox_billing.cli.transaction import Call
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.signing.eip55 import checksum


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def provider() -> None:
    """Register, status, withdraw earnings, set the stake, leave; snapshots."""


provider.add_command(register)
provider.add_command(register, "init-service")
provider.add_command(leave)
provider.add_command(snapshot)
provider.add_command(delete_snapshot)


@frozen(kw_only=True)
class Standing:
    """
    Where a provider stands.

    @ivar earnings: neuron that may be withdrawn.
    @ivar stake: neuron it gave; comes back when it leaves.
    @ivar leaving: What it has announced.
    """

    provider: Address
    registration: Registration
    earnings: int
    stake: int
    leaving: Leaving | None

    def document(self) -> dict[str, object]:
        """For C{--json}."""
        terms = self.registration.terms
        return {
            "provider": checksum(self.provider),
            "registered": terms is not None,
            **({} if terms is None else terms.document()),
            "signer_version": str(self.registration.version),
            "earnings": str(self.earnings),
            "stake": str(self.stake),
            **leaving_document(self.leaving),
        }

    def rows(self) -> list[tuple[str, str]]:
        """For people."""
        terms = self.registration.terms
        rows = [("provider", checksum(self.provider))]
        rows += [("registered", "no")] if terms is None else terms.rows()
        rows.append(("signer version", str(self.registration.version)))
        rows.append(("earnings", both(self.earnings)))
        rows.append(("stake", both(self.stake)))
        return [*rows, *leaving_rows(self.leaving)]


def standing(session: Session, contract: Address, provider: Address) -> Standing:
    """Read it."""
    (earnings,) = session.serving(contract, "getProviderEarnings", provider.hex)
    (stake,) = session.serving(contract, "providerStakes", provider.hex)
    return Standing(
        provider=provider,
        registration=registration(session, contract, provider),
        earnings=earnings,
        stake=stake,
        leaving=leaving(session, contract, provider),
    )


@provider.command()
@output_options
@chain_options(contract=True)
@provider_option
def status(out: Output, chain: ChainOptions, provider: Address) -> None:
    """Show the registration, earnings and stake."""
    session = connect(chain)
    assert chain.contract is not None, "the option is required"
    found = standing(session, chain.contract, provider)
    title = "Registered" if found.registration.terms is not None else "Not registered"
    out.finish(found.document(), title=title, rows=found.rows())


@provider.command()
@output_options
@chain_options(contract=True)
@key_options(Role.PROVIDER)
@sending_options
@click.option("--to", "receiver", type=ADDRESS, help="Who gets it.  [default: the provider]")
def withdraw(
    out: Output,
    chain: ChainOptions,
    key: KeySource,
    sending: SendingOptions,
    receiver: Address | None,
) -> None:
    """Take the earnings."""
    session = connect(chain)
    contract = chain.contract
    assert contract is not None, "the option is required"
    sender = Sender(session, key.load(), sending, out)
    sender.ready()
    (earnings,) = session.serving(contract, "getProviderEarnings", sender.address.hex)
    to = receiver or sender.address
    document = {"provider": checksum(sender.address), "to": checksum(to)}
    rows = [("provider", checksum(sender.address)), ("to", checksum(to))]
    if earnings == 0:
        out.finish(
            {**document, "withdrawn": "0", "nothing_to_do": True, "transactions": []},
            title="Nothing to do: there are no earnings",
            rows=rows,
        )
        return
    done = sender.transact(
        [_withdrawal(contract, receiver)],
        question=f"Withdraw {both(earnings)} to {checksum(to)}?",
    )
    if done is None:
        return
    out.finish(
        {
            **document,
            "withdrawn": str(earnings),
            "nothing_to_do": False,
            "transactions": [one.document() for one in done],
        },
        title="Withdrawn",
        rows=[*rows, ("withdrawn", both(earnings)), ("transaction", done[0].hash)],
    )


def _withdrawal(contract: Address, receiver: Address | None) -> Call:
    from sandbox_billing.adapters.chain.codec import Codec

    codec = Codec(SERVING)
    if receiver is None:
        # The one that the deployed contract has, too.
        data = codec.calldata("withdrawEarnings")
    else:
        data = codec.calldata("withdrawEarningsTo", receiver.hex)
    return Call(label="withdraw earnings", to=contract, data=data)


@provider.command("set-stake")
@output_options
@chain_options(contract=True)
@key_options(Role.OWNER)
@sending_options
@click.argument("stake", type=AMOUNT)
def set_stake(
    out: Output, chain: ChainOptions, key: KeySource, sending: SendingOptions, stake: Neuron
) -> None:
    """Set what a new provider has to STAKE; the contract's owner does this."""
    from sandbox_billing.adapters.chain.codec import Codec

    session = connect(chain)
    contract = chain.contract
    assert contract is not None, "the option is required"
    sender = Sender(session, key.load(), sending, out)
    sender.ready()
    (before,) = session.serving(contract, "providerStake")
    document = {"contract": checksum(contract), "before": str(before), "stake": str(stake)}
    rows = [("contract", checksum(contract)), ("before", both(before)), ("stake", both(stake))]
    if before == stake:
        out.finish(
            {**document, "nothing_to_do": True, "transactions": []},
            title="Nothing to do: it is that already",
            rows=rows,
        )
        return
    data = Codec(SERVING).calldata("setProviderStake", stake)
    done = sender.transact(
        [Call(label="set stake", to=contract, data=data)],
        question=f"Have new providers stake {both(stake)} instead of {both(before)}?",
    )
    if done is not None:
        out.finish(
            {**document, "nothing_to_do": False, "transactions": [d.document() for d in done]},
            title="Set",
            rows=[*rows, ("transaction", done[0].hash)],
        )
