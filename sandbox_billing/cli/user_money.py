"""
C{sandbox-billing user balance} and C{deposit}.

Tests: C{tests.cli.test_user_money}.
"""

from __future__ import annotations

import click

from sandbox_billing.cli.amounts import both
from sandbox_billing.cli.checkbal import balance as balance_of
from sandbox_billing.cli.options import ADDRESS, AMOUNT, SendingOptions, sending_options
from sandbox_billing.cli.output import Output, output_options
from sandbox_billing.cli.sending import Sender
from sandbox_billing.cli.session import SERVING
from sandbox_billing.cli.transaction import Call
from sandbox_billing.cli.user_place import Ground, Place, ground, place_options
from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.signing.eip55 import checksum


_EARNINGS = ("earnings", "provider's earnings")
"""What a user has no use for."""

PAYS_TWICE = (
    "do not give the same command again, it would pay twice: look with 'sandbox-billing user "
    "balance', or name with --at-least what the balance shall have"
)


def standing(found: Ground, user: Address) -> tuple[dict[str, object], list[tuple[str, str]]]:
    """What a user has with the provider, for scripts and for people."""
    document, rows = balance_of(found.session, found.contract, user, found.provider)
    document.pop(_EARNINGS[0])
    return document, [row for row in rows if row[0] != _EARNINGS[1]]


@click.command()
@output_options
@place_options(chain=True)
def balance(out: Output, place: Place) -> None:
    """
    What the wallet has with the provider, read from the chain.

    What runs and how long it lasts: 'user account'. Example:

    \b
      sandbox-billing user balance --url https://sandboxes.example
    """
    user = place.address()
    document, rows = standing(ground(place), user)
    out.finish(document, title="Balance", rows=rows)


@click.command()
@output_options
@place_options(chain=True)
@sending_options
@click.argument("amount", type=AMOUNT)
@click.option("--to", "recipient", type=ADDRESS, help="Whose balance. [default: your own]")
@click.option(
    "--at-least",
    is_flag=True,
    help="AMOUNT is what the balance shall have; pay in only what is missing.",
)
def deposit(
    out: Output,
    place: Place,
    sending: SendingOptions,
    amount: Neuron,
    recipient: Address | None,
    at_least: bool,
) -> None:
    """
    Pay AMOUNT into the balance with the provider.

    Run twice it pays twice; with --at-least it does not. Example:

    \b
      sandbox-billing user deposit '0.5 0G'
    """
    if amount == 0:
        raise BadInput("the amount is 0: name how much")
    found = ground(place)
    sender = Sender(found.session, place.key.load(), sending, out)
    sender.ready()
    whose = recipient or sender.address
    before, _refund, _unlock = found.session.serving(
        found.contract, "getBalance", whose.hex, found.provider.hex
    )
    value = max(0, amount - before) if at_least else amount
    if value == 0:
        document, rows = standing(found, whose)
        out.finish(
            {**document, "deposited": "0", "nothing_to_do": True, "transactions": []},
            title="Nothing to do: so much is there already",
            rows=rows,
        )
        return
    done = sender.transact(
        [deposit_call(found, whose, value, again=None if at_least else PAYS_TWICE)],
        question=(
            f"Pay {both(value)} in for {checksum(whose)} with provider {checksum(found.provider)} "
            f"(contract {checksum(found.contract)}, chain {found.session.chain_id})?"
        ),
    )
    if done is None:
        return
    document, rows = standing(found, whose)
    out.finish(
        {
            **document,
            "deposited": str(value),
            "nothing_to_do": False,
            "transactions": [one.document() for one in done],
        },
        title="Paid in",
        rows=[*rows, ("transaction", done[0].hash)],
        lines=()
        if document["acknowledged"]
        else ["Next: agree to the provider's signer: sandbox-billing user acknowledge"],
    )


def deposit_call(found: Ground, whose: Address, value: int, *, again: str | None) -> Call:
    """@param again: What to do when its end is not seen; None: run the same command again."""
    from sandbox_billing.adapters.chain.codec import Codec

    data = Codec(SERVING).calldata("deposit", whose.hex, found.provider.hex)
    return Call(label="deposit", to=found.contract, data=data, value=value, again=again)
