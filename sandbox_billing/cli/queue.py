"""
C{sandbox-billing queue}: what waits to be settled, and what operators decide about it.

Tests: L{tests.cli.test_queue}.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click
from attrs import frozen

from sandbox_billing.cli.amounts import both
from sandbox_billing.cli.options import ADDRESS
from sandbox_billing.cli.output import Output, output_options
from sandbox_billing.cli.provider_terms import provider_option
from sandbox_billing.cli.standing import RedisPlace
from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address, ChargeId


if TYPE_CHECKING:
    from sandbox_billing.cli.queue_desk import Desk, Done
    from sandbox_billing.cli.queue_show import Sheet


T = TypeVar("T")


@frozen(kw_only=True)
class Counter:
    """
    Where an operator stands.

    @ivar by: Whom the audit shall name.
    @ivar yes: Do not ask.
    """

    place: RedisPlace
    provider: Address
    out: Output
    by: str = ""
    yes: bool = False

    def work(self, work: Callable[[Desk], Awaitable[T]]) -> T:
        """
        Do something at the daemon's journal; blocks.

        @raise click.Abort: It was interrupted.
        """
        # The reactor and the journal, which usage errors need not wait for.
        from sandbox_billing.cli.pause_redis import Interrupts, over_journal, run, server_now
        from sandbox_billing.cli.queue_desk import Ask, Desk

        async def begin(reactor: Any) -> T:
            async def at(journal: Any, keyspace: Any) -> T:
                desk = Desk(
                    journal=journal,
                    now=await server_now(keyspace),
                    by=self.by,
                    ask=Ask(self._ask),
                    say=self.out.note,
                )
                return await work(desk)

            return await over_journal(reactor, self.place, self.provider, at)

        return run(begin, Interrupts())

    def _ask(self, question: str, hint: str | None) -> None:
        self.out.ask(question, yes=self.yes, hint=hint)

    def show(self, sheet: Sheet) -> None:
        """The result of a look."""
        self.out.finish_table(
            sheet.document, title=sheet.title, columns=sheet.columns, rows=sheet.rows
        )

    def tell(self, done: Done) -> None:
        """The result of a decision."""
        from sandbox_billing.cli.queue_show import done_document

        document = done_document(done)
        rows = [("subject", done.subject)]
        if done.wallet is not None:
            rows.append(("wallet", document["wallet"]))
        if done.amount:
            rows.append(("amount", both(done.amount)))
        title = "Nothing to do" if done.what == "nothing" else f"Done: {done.what}"
        self.out.finish(document, title=title, rows=rows, lines=[done.text])


def _redis_option(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--redis",
        metavar="HOST:PORT",
        required=True,
        envvar="REDIS_ADDR",
        help="The daemon's Redis; its password is REDIS_PASSWORD. [env: REDIS_ADDR]",
    )(command)


def _look(command: Callable[..., None]) -> Callable[..., None]:
    """Options of what only looks; passes C{counter}."""

    @wraps(command)
    def wrapped(out: Output, redis: str, provider: Address, **kwargs: Any) -> None:
        place = RedisPlace(address=redis, password=os.environ.get("REDIS_PASSWORD") or None)
        command(counter=Counter(place=place, provider=provider, out=out), **kwargs)

    return output_options(_redis_option(provider_option(wrapped)))


def _decision(*, reason: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Options of what decides; passes C{counter} and C{reason}."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def wrapped(
            out: Output, redis: str, provider: Address, by: str | None, **kwargs: Any
        ) -> None:
            if reason and not kwargs["reason"].strip():
                raise BadInput("--reason is empty: the audit keeps why this was decided")
            place = RedisPlace(address=redis, password=os.environ.get("REDIS_PASSWORD") or None)
            counter = Counter(
                place=place,
                provider=provider,
                out=out,
                by=by or _who(),
                yes=kwargs.pop("yes", False),
            )
            command(counter=counter, **kwargs)

        wrapped = click.option(
            "--by", help="Who decides, for the audit.  [default: who is logged in]"
        )(wrapped)
        how: dict[str, Any] = {"required": True} if reason else {"default": ""}
        wrapped = click.option("--reason", help="Why, for the audit.", **how)(wrapped)
        return output_options(_redis_option(provider_option(wrapped)))

    return decorate


@click.group()
def queue() -> None:
    """What waits to be settled; dead letters and quarantines."""


@queue.command("list")
@_look
def list_(counter: Counter) -> None:
    """Each wallet's open, signed, sent, parked and dead charges."""
    from sandbox_billing.cli.queue_show import list_sheet

    async def look(desk: Desk) -> Sheet:
        return list_sheet(await desk.listed(), desk.now)

    counter.show(counter.work(look))


@queue.command()
@_look
def parked(counter: Counter) -> None:
    """Vouchers that wait until their wallet acknowledges."""
    from sandbox_billing.cli.queue_show import parked_sheet

    async def look(desk: Desk) -> Sheet:
        return parked_sheet(await desk.parked())

    counter.show(counter.work(look))


@queue.command()
@_look
def dead(counter: Counter) -> None:
    """What a human must look at, with its reason and what is stored."""
    from sandbox_billing.cli.queue_show import dead_sheet

    async def look(desk: Desk) -> Sheet:
        return dead_sheet(*await desk.dead())

    counter.show(counter.work(look))


@queue.command()
@click.argument("charge")
@_decision(reason=False)
def retry(counter: Counter, charge: str, reason: str) -> None:
    """
    Offer a dead CHARGE again, under the seal it has.

    Whatever the chain says of its nonce is booked; a new nonce it gets only when the old one is
    proven lost.
    """

    async def decide(desk: Desk) -> Done:
        return await desk.retry(ChargeId(charge), reason)

    counter.tell(counter.work(decide))


@queue.command()
@click.argument("charge")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_decision(reason=True)
def drop(counter: Counter, charge: str, reason: str) -> None:
    """
    Write off a CHARGE, or end a letter (KIND:NAME).

    What is signed and not dead ends by the chain's answer alone and is refused.
    """

    async def decide(desk: Desk) -> Done:
        return await desk.drop(charge, reason)

    counter.tell(counter.work(decide))


@queue.command()
@click.argument("wallet", type=ADDRESS)
@_decision(reason=True)
def release(counter: Counter, wallet: Address, reason: str) -> None:
    """Lift the quarantine of a WALLET."""

    async def decide(desk: Desk) -> Done:
        return await desk.release(wallet, reason)

    counter.tell(counter.work(decide))


def _who() -> str:
    """
    Who is logged in.

    @raise BadInput: Nobody that this machine knows by name.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError) as why:
        raise BadInput("this user has no name here: say who decides with --by") from why
