"""
C{sandbox-billing user refund}: money back, in two steps.

Tests: C{tests.cli.test_user_money}.
"""

from __future__ import annotations

import click

from sandbox_billing.cli.amounts import both
from sandbox_billing.cli.options import ADDRESS, AMOUNT, SendingOptions, sending_options
from sandbox_billing.cli.output import Output, output_options
from sandbox_billing.cli.reverts import moment
from sandbox_billing.cli.sending import Sender
from sandbox_billing.cli.session import SERVING
from sandbox_billing.cli.transaction import Call
from sandbox_billing.cli.user_money import standing
from sandbox_billing.cli.user_place import Place, ground, place_options
from sandbox_billing.errors import BadInput, Refused
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.signing.eip55 import checksum


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def refund() -> None:
    """Ask for money back, and take it when its lock has ended."""


@refund.command()
@output_options
@place_options(chain=True)
@sending_options
@click.argument("amount", type=AMOUNT, required=False)
@click.option("--all", "everything", is_flag=True, help="All that is there.")
@click.option("--cancel", is_flag=True, help="Take an earlier request back into the balance.")
def request(
    out: Output,
    place: Place,
    sending: SendingOptions,
    amount: Neuron | None,
    everything: bool,
    cancel: bool,
) -> None:
    """
    Ask for AMOUNT back; it is locked first, for two hours.

    At once it is out of the balance: what runs by it is stopped when the rest does not cover it.
    A new request takes the place of an earlier one, and its lock begins anew. Example:

    \b
      sandbox-billing user refund request --all
    """
    if sum((amount is not None, everything, cancel)) != 1:
        raise BadInput("name how much: an amount, --all or --cancel")
    if amount == 0:
        raise BadInput("the amount is 0: name how much, or give --cancel")
    found = ground(place)
    sender = Sender(found.session, place.key.load(), sending, out)
    sender.ready()
    who = sender.address
    available, pending, _unlock = found.session.serving(
        found.contract, "getBalance", who.hex, found.provider.hex
    )
    # An earlier request returns to the balance first.
    wanted = available + pending if everything else (amount or 0)
    if wanted > available + pending:
        raise Refused(
            f"{both(wanted)} was asked back, and only {both(available + pending)} is there"
        )
    if (wanted == 0 and pending == 0) or (everything and pending and not available):
        document, rows = standing(found, who)
        title = "Nothing to do: there is nothing to ask back"
        if pending:
            title = "Nothing to do: all of it is asked back already"
        out.finish({**document, "nothing_to_do": True, "transactions": []}, title=title, rows=rows)
        return
    question = f"Ask for {both(wanted)} back"
    if wanted == 0:
        question = f"Take the request for {both(pending)} back"
    elif pending:
        question += f", in place of {both(pending)} asked for before"
    from sandbox_billing.adapters.chain.codec import Codec

    data = Codec(SERVING).calldata("requestRefund", found.provider.hex, wanted)
    done = sender.transact(
        [Call(label="request refund", to=found.contract, data=data)], question=f"{question}?"
    )
    if done is None:
        return
    document, rows = standing(found, who)
    out.finish(
        {
            **document,
            "nothing_to_do": False,
            "transactions": [one.document() for one in done],
        },
        title="Asked for" if wanted else "Taken back",
        rows=[*rows, ("transaction", done[0].hash)],
        lines=["When the lock has ended: sandbox-billing user refund withdraw"] if wanted else (),
    )


@refund.command()
@output_options
@place_options(chain=True)
@sending_options
@click.option("--to", "receiver", type=ADDRESS, help="Who gets it. [default: your own wallet]")
def withdraw(out: Output, place: Place, sending: SendingOptions, receiver: Address | None) -> None:
    """
    Take what was asked back, once its lock has ended. Example:

    \b
      sandbox-billing user refund withdraw
    """
    found = ground(place)
    sender = Sender(found.session, place.key.load(), sending, out)
    sender.ready()
    who = sender.address
    _available, pending, unlock_at = found.session.serving(
        found.contract, "getBalance", who.hex, found.provider.hex
    )
    to = receiver or who
    if pending == 0:
        document, rows = standing(found, who)
        out.finish(
            {**document, "withdrawn": "0", "nothing_to_do": True, "transactions": []},
            title="Nothing to do: nothing was asked back",
            rows=rows,
        )
        return
    question = f"Take {both(pending)} to {checksum(to)}?"
    from sandbox_billing.adapters.chain.codec import Codec

    codec = Codec(SERVING)
    if receiver is None:
        # The one that the deployed contract has, too.
        data = codec.calldata("withdrawRefund", found.provider.hex)
    else:
        data = codec.calldata("withdrawRefundTo", found.provider.hex, receiver.hex)
    if sending.dry_run:
        out.note(f"locked until {moment(unlock_at)}")
    done = sender.transact(
        [Call(label="withdraw refund", to=found.contract, data=data)], question=question
    )
    if done is None:
        return
    document, rows = standing(found, who)
    out.finish(
        {
            **document,
            "to": checksum(to),
            "withdrawn": str(pending),
            "nothing_to_do": False,
            "transactions": [one.document() for one in done],
        },
        title="Taken",
        rows=[*rows, ("taken", both(pending)), ("to", checksum(to)), ("transaction", done[0].hash)],
    )
