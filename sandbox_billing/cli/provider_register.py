"""
C{sandbox-billing provider register}: the first time, and every change.

Tests: L{tests.cli.test_provider}, L{tests.cli.test_provider_drain}.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from attrs import frozen

from sandbox_billing.cli.amounts import both
from sandbox_billing.cli.keys import KeySource, Role, key_options
from sandbox_billing.cli.options import (
    ChainOptions,
    SendingOptions,
    chain_options,
    sending_options,
)
from sandbox_billing.cli.output import Output, Progress, output_options
from sandbox_billing.cli.provider_terms import (
    Registration,
    Terms,
    Wanted,
    registration,
    terms_options,
)
from sandbox_billing.cli.sending import Sender
from sandbox_billing.cli.session import Session, connect
from sandbox_billing.cli.transaction import Done
from sandbox_billing.ledger.backlog import Left
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum


if TYPE_CHECKING:
    from sandbox_billing.cli.pause_redis import UnderPause


UNDRAINED = (
    "This voids every user's acknowledgement. Without --redis nothing is settled first: what is "
    "not paid by then waits for each user to acknowledge again, and stays unpaid if he does not."
)


@click.command()
@output_options
@chain_options(contract=True)
@key_options(Role.PROVIDER)
@sending_options
@terms_options
@click.option(
    "--redis",
    metavar="HOST:PORT",
    envvar="REDIS_ADDR",
    help="The daemon's Redis: settle everything before a change of price or signer. "
    "REDIS_PASSWORD has its password.  [env: REDIS_ADDR]",
)
@click.option(
    "--drain-timeout",
    type=click.IntRange(min=1),
    default=900,
    show_default=True,
    help="Seconds that settling may take.",
)
def register(
    out: Output,
    chain: ChainOptions,
    key: KeySource,
    sending: SendingOptions,
    wanted: Wanted,
    redis: str | None,
    drain_timeout: int,
) -> None:
    """
    Register, or change URL, prices or signer; what is not named stays.

    The first registration carries the stake. A change of prices or signer voids every user's
    acknowledgement: with --redis admissions are paused first, and everything that ran before is
    settled at the old price. Stopped in between, the same command goes on from there.
    """
    session = connect(chain)
    assert chain.contract is not None, "the option is required"
    sender = Sender(session, key.load(), sending, out)
    sender.ready()
    desk = Desk(
        out=out,
        session=session,
        contract=chain.contract,
        sender=sender,
        sending=sending,
        redis=redis,
        drain_seconds=drain_timeout,
    )
    known = registration(session, chain.contract, sender.address)
    terms = wanted.over(known.terms)
    if known.terms is None:
        desk.first(terms)
    elif terms == known.terms:
        desk.nothing(known)
    elif terms.binding == known.terms.binding:
        desk.plain(terms, "Change the URL?")
    elif redis is None or sending.dry_run:
        desk.plain(terms, UNDRAINED + " Change?", hint="add --yes if that is meant, or --redis")
    else:
        desk.drained(known, terms)


@frozen(kw_only=True)
class Desk:
    """One run of the command."""

    out: Output
    session: Session
    contract: Address
    sender: Sender
    sending: SendingOptions
    redis: str | None
    drain_seconds: int

    def first(self, terms: Terms) -> None:
        """With the stake."""
        (stake,) = self.session.serving(self.contract, "providerStake")
        done = self.sender.transact(
            [terms.call(self.contract, stake)], question=f"Register with a stake of {both(stake)}?"
        )
        if done is not None:
            self._report(done, None)

    def plain(self, terms: Terms, question: str, hint: str | None = None) -> None:
        """At once."""
        if not self.sending.dry_run:
            self.out.ask(question, yes=self.sending.yes, hint=hint)
        done = self.sender.transact([terms.call(self.contract, 0)])
        if done is not None:
            self._report(done, None)

    def nothing(self, known: Registration) -> None:
        """It is so already; perhaps a run that was killed has left its pause."""
        lifted = False
        if self.redis is not None and not self.sending.dry_run:
            with self.out.progress() as progress:
                lifted = self._under_pause(progress).lift_leftover()
        if lifted:
            self.out.note("a pause that an earlier run had left was lifted")
        self._report([], None)

    def drained(self, known: Registration, terms: Terms) -> None:
        """Under a pause, with everything of before settled."""
        call = terms.call(self.contract, 0)
        # Before anybody is kept out: would it be taken at all?
        self.sender.draft(call)
        self.out.ask(
            "Pause admissions, settle everything, and then change? Every user has to acknowledge "
            "again; what runs goes on.",
            yes=self.sending.yes,
        )
        with self.out.progress() as progress:
            left, done = self._under_pause(progress).carry_out(
                lambda: self.sender.send(call), known.version + 1
            )
        self._report([done], left)

    def _under_pause(self, progress: Progress) -> UnderPause:
        # Twisted and the journal, for this alone.
        from sandbox_billing.cli.pause_redis import RedisPlace, UnderPause

        assert self.redis is not None, "asked for with a Redis only"
        password = os.environ.get("REDIS_PASSWORD") or None
        return UnderPause(
            place=RedisPlace(address=self.redis, password=password),
            provider=self.sender.address,
            drain_seconds=self.drain_seconds,
            progress=progress,
        )

    def _report(self, done: Sequence[Done], left: Left | None) -> None:
        now = registration(self.session, self.contract, self.sender.address)
        assert now.terms is not None, "registered by now"
        who = checksum(self.sender.address)
        document: dict[str, object] = {
            "provider": who,
            **now.terms.document(),
            "signer_version": str(now.version),
            "drained": left is not None,
            "nothing_to_do": not done,
            "transactions": [one.document() for one in done],
        }
        lines = []
        if left is not None:
            document["unsettled"] = [
                {"why": standing.value, "charges": count, "amount": str(amount)}
                for standing, count, amount in left.excepted
            ]
            from sandbox_billing.cli.pause import excepted

            lines = excepted(left)
        self.out.finish(
            document,
            title="Registered" if done else "Nothing to do: registered so already",
            rows=[
                ("provider", who),
                *now.terms.rows(),
                ("signer version", str(now.version)),
                *(("transaction", one.hash) for one in done),
            ],
            lines=lines,
        )
