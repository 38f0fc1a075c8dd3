"""
C{sandbox-billing provider leave}: announce, wait out the lock, take the stake.

Tests: L{tests.cli.test_provider}.
"""

from __future__ import annotations

import os

import click

from sandbox_billing.adapters.chain.node import quantity
from sandbox_billing.cli.amounts import both
from sandbox_billing.cli.keys import KeySource, Role, key_options
from sandbox_billing.cli.options import (
    ADDRESS,
    ChainOptions,
    SendingOptions,
    chain_options,
    sending_options,
)
from sandbox_billing.cli.output import Output, output_options
from sandbox_billing.cli.provider_terms import registration
from sandbox_billing.cli.reverts import moment
from sandbox_billing.cli.sending import Sender
from sandbox_billing.cli.session import SERVING, Session, connect
from sandbox_billing.cli.standing import RedisPlace
from sandbox_billing.cli.transaction import Call, Done
from sandbox_billing.errors import Refused
from sandbox_billing.ledger.backlog import Left
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum


@click.command()
@output_options
@chain_options(contract=True)
@key_options(Role.PROVIDER)
@sending_options
@click.option("--to", "receiver", type=ADDRESS, help="Who gets the stake.  [default: the provider]")
@click.option(
    "--redis",
    metavar="HOST:PORT",
    envvar="REDIS_ADDR",
    help="The daemon's Redis: look whether everything is settled. REDIS_PASSWORD has its "
    "password.  [env: REDIS_ADDR]",
)
def leave(
    out: Output,
    chain: ChainOptions,
    key: KeySource,
    sending: SendingOptions,
    receiver: Address | None,
    redis: str | None,
) -> None:
    """
    Leave: run it once to announce, and again after the lock to take the stake.

    From the announcement on the daemon lets nothing new in, and what runs is charged and settled
    as before. What is not settled when you leave never will be: stop what runs, and wait for the
    last settlement. With --redis it is looked at, and nothing is left behind without --yes;
    without, a script has to say --yes. Earnings stay withdrawable.
    """
    from sandbox_billing.adapters.chain.codec import Codec

    session = connect(chain)
    contract = chain.contract
    assert contract is not None, "the option is required"
    sender = Sender(session, key.load(), sending, out)
    sender.ready()
    who, codec = sender.address, Codec(SERVING)
    if registration(session, contract, who).terms is None:
        out.finish(
            {**_document(who, "left", None), "nothing_to_do": True, "transactions": []},
            title="Nothing to do: not registered",
            rows=[("provider", checksum(who))],
        )
        return
    leaving_at = _leaving_at(session, contract, who)
    if leaving_at == 0:
        announce = Call(label="announce leaving", to=contract, data=codec.calldata("announceLeave"))
        done = sender.transact(
            [announce], question="Announce leaving? There is no taking it back, and no new work."
        )
        if done is not None:
            _waiting(out, who, _leaving_at(session, contract, who), done)
        return
    if _now(session) < leaving_at:
        _waiting(out, who, leaving_at, [])
        return
    (stake,) = session.serving(contract, "providerStakes", who.hex)
    to = receiver or who
    call = Call(label="leave", to=contract, data=codec.calldata("leave", to.hex))
    behind = left_behind(redis, who, sending, out)
    if sending.dry_run:
        sender.show([call])
        return
    question = f"Leave and take the stake of {both(stake)} to {checksum(to)}?"
    if behind is None:
        question += " Vouchers that are not settled by now never will be."
        hint = "name the daemon's Redis with --redis, or add --yes if nothing is left"
        out.ask(question, yes=sending.yes, hint=hint)
    else:
        out.ask(question, yes=sending.yes)
    done = sender.transact([call])
    if done is not None:
        out.finish(
            {
                **_document(who, "left", None),
                "stake": str(stake),
                "to": checksum(to),
                "left_behind": behind,
                "nothing_to_do": False,
                "transactions": [one.document() for one in done],
            },
            title="Left",
            rows=[
                ("provider", checksum(who)),
                ("stake", both(stake)),
                ("to", checksum(to)),
                ("transaction", done[0].hash),
            ],
        )


def left_behind(
    redis: str | None, who: Address, sending: SendingOptions, out: Output
) -> list[str] | None:
    """
    What leaving now would lose for ever, in words; None when nobody can tell.

    @raise Refused: Something is left, and C{--yes} does not say that it is meant.
    """
    if redis is None:
        return None
    # Twisted and the journal, for this alone.
    from sandbox_billing.cli.pause_redis import left_now

    place = RedisPlace(address=redis, password=os.environ.get("REDIS_PASSWORD") or None)
    with out.progress() as progress:
        behind = words(left_now(place, who, progress))
    if not behind:
        return []
    told = f"leaving now loses for ever: {'; '.join(behind)}"
    if not sending.yes and not sending.dry_run:
        raise Refused(
            f"{told}. Nothing was sent; stop what runs and wait for the settlement, or add --yes "
            "if that is meant"
        )
    out.note(told)
    return behind


def words(left: Left) -> list[str]:
    """Everything that is left; what waits for its own wallet is lost with the rest."""
    found = []
    if left.intents:
        found.append(f"{left.intents} calls that were let in and may still start a sandbox")
    if left.sessions:
        found.append(f"{left.sessions} sandboxes that run or are not charged to their end")
    if left.charges:
        found.append(f"{left.charges} charges of {both(left.amount)} that are not settled")
    found += [
        f"{count} charges of {both(amount)} {standing.value}"
        for standing, count, amount in left.excepted
    ]
    if left.damaged:
        found.append(f"{left.damaged} damaged charges")
    return found


def _leaving_at(session: Session, contract: Address, provider: Address) -> int:
    try:
        (leaving_at,) = session.serving(contract, "leavingAt", provider.hex)
    except Refused:
        raise Refused("this contract knows no leaving: a stake cannot be taken back") from None
    return int(leaving_at)


def _now(session: Session) -> int:
    """By the chain's clock; the next block's is later, never earlier."""
    block = session.call("eth_getBlockByNumber", "latest", False)
    return quantity(block["timestamp"], "timestamp")


def _document(provider: Address, state: str, leaving_at: int | None) -> dict[str, object]:
    return {"provider": checksum(provider), "state": state, "leaving_at": leaving_at}


def _waiting(out: Output, provider: Address, leaving_at: int, done: list[Done]) -> None:
    """It is announced, and the lock lasts."""
    out.finish(
        {
            **_document(provider, "announced", leaving_at),
            "nothing_to_do": not done,
            "transactions": [one.document() for one in done],
        },
        title="Announced" if done else "Announced already: nothing to do yet",
        rows=[
            ("provider", checksum(provider)),
            ("possible from", moment(leaving_at)),
            *(("transaction", one.hash) for one in done),
        ],
        lines=["Run the same command again then: it takes the stake."],
    )
