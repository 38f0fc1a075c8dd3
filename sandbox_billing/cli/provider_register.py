"""
C{sandbox-billing provider register}: the first time, and every change.

Tests: L{tests.cli.test_provider}, L{tests.cli.test_provider_drain}.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
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
    leaving,
    leaving_document,
    leaving_rows,
    registration,
    terms_options,
)
from sandbox_billing.cli.sending import Sender
from sandbox_billing.cli.session import Session, connect
from sandbox_billing.cli.standing import RedisPlace, telling
from sandbox_billing.cli.transaction import Call, Done, Signed
from sandbox_billing.errors import BadInput, Refused
from sandbox_billing.ledger.backlog import Left
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum


if TYPE_CHECKING:
    from sandbox_billing.cli.pause_redis import UnderPause


UNDRAINED = (
    "This voids every user's acknowledgement. Without --redis nothing is settled first: what is "
    "not paid by then waits for each user to acknowledge again, and stays unpaid if he does not."
)

DRAINED = (
    "admissions would be paused and all that ran until then charged and settled; the pause is "
    "lifted after the change"
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
@click.option(
    "--take-over",
    is_flag=True,
    help="Go on under the pause of an earlier run of this command, which has ended.",
)
def register(
    out: Output,
    chain: ChainOptions,
    key: KeySource,
    sending: SendingOptions,
    wanted: Wanted,
    redis: str | None,
    drain_timeout: int,
    take_over: bool,
) -> None:
    """
    Register, or change URL, prices or signer; what is not named stays.

    The first registration carries the stake. A change of prices or signer voids every user's
    acknowledgement: with --redis admissions are paused first, and everything that ran before is
    settled at the old price. Killed in between, the same command goes on from there with
    --take-over.
    """
    if take_over and redis is None:
        raise BadInput("--take-over needs --redis: that is where the pause stands")
    assert chain.contract is not None, "the option is required"
    place = None
    told: AbstractContextManager[None] = nullcontext()
    if redis is not None:
        place = RedisPlace(address=redis, password=os.environ.get("REDIS_PASSWORD") or None)
        told = telling(place.paused, out.note)
    with told:
        session = connect(chain)
        Desk(
            out=out,
            session=session,
            contract=chain.contract,
            sender=Sender(session, key.load(), sending, out),
            sending=sending,
            place=place,
            drain_seconds=drain_timeout,
            take_over=take_over,
        ).work(wanted)


@frozen(kw_only=True)
class Desk:
    """One run of the command."""

    out: Output
    session: Session
    contract: Address
    sender: Sender
    sending: SendingOptions
    place: RedisPlace | None
    drain_seconds: int
    take_over: bool

    def work(self, wanted: Wanted) -> None:
        """What is left to do, if anything."""
        self.sender.ready()
        known = self._known()
        terms = wanted.over(known.terms)
        if known.terms is None:
            self.first(terms)
        elif terms == known.terms:
            self.nothing()
        elif terms.binding == known.terms.binding:
            self.plain(known, terms, "Change the URL?")
        elif self.place is None:
            hint = "add --yes if that is meant, or --redis"
            self.plain(known, terms, UNDRAINED + " Change?", hint=hint)
        elif self.sending.dry_run:
            self.sender.show([terms.call(self.contract, 0)], first=DRAINED)
        else:
            self.drained(known, terms)

    def _known(self) -> Registration:
        return registration(self.session, self.contract, self.sender.address)

    def first(self, terms: Terms) -> None:
        """With the stake."""
        (stake,) = self.session.serving(self.contract, "providerStake")
        done = self.sender.transact(
            [terms.call(self.contract, stake)], question=f"Register with a stake of {both(stake)}?"
        )
        if done is not None:
            self._taken_over()
            self._report(done, None)

    def plain(
        self, known: Registration, terms: Terms, question: str, hint: str | None = None
    ) -> None:
        """At once."""
        call = terms.call(self.contract, 0)
        if self.sending.dry_run:
            self.sender.show([call])
            return
        self.out.ask(question, yes=self.sending.yes, hint=hint)
        done = self._send(known, call)
        self._taken_over()
        self._report([done], None)

    def _send(self, known: Registration, call: Call) -> Done:
        """
        A change, unless it would undo somebody else's: it carries all terms, named or not.

        @raise Refused: The registration is no longer what the terms were made from.
        """

        def check(signed: Signed) -> None:
            # In this order: what changes it after this look has a later nonce, or ours.
            if self.sender.nonce("latest") != signed.nonce:
                raise Refused(
                    "another transaction of this account came in between: nothing was changed; "
                    "run this again"
                )
            if self._known() != known:
                raise Refused(
                    "the registration was changed meanwhile by somebody else: nothing was changed "
                    "by this run; look at provider status, and run this again"
                )

        return self.sender.send(call, check=check)

    def nothing(self) -> None:
        """It is so already; perhaps a run that was killed has left its pause."""
        if self.place is not None and not self.sending.dry_run:
            self._lift_leftover(self.place)
        self._report([], None)

    def _taken_over(self) -> None:
        """After what needs no pause: end another's all the same, if that was said."""
        if self.place is not None and self.take_over:
            self._lift_leftover(self.place)

    def _lift_leftover(self, place: RedisPlace) -> None:
        with self.out.progress() as progress:
            lifted = self._under_pause(place, progress).lift_leftover()
        if lifted:
            self.out.note("a pause that an earlier run had left was lifted")

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
        assert self.place is not None, "asked for with a Redis only"
        with self.out.progress() as progress:
            left, done = self._under_pause(self.place, progress).carry_out(
                lambda: self._send(known, call), known.version + 1
            )
        self._report([done], left)

    def _under_pause(self, place: RedisPlace, progress: Progress) -> UnderPause:
        # Twisted and the journal, for this alone.
        from sandbox_billing.cli.pause_redis import UnderPause

        return UnderPause(
            place=place,
            provider=self.sender.address,
            drain_seconds=self.drain_seconds,
            sending_seconds=self.sending.timeout_seconds,
            name=secrets.token_hex(4),
            take_over=self.take_over,
            progress=progress,
        )

    def _report(self, done: Sequence[Done], left: Left | None) -> None:
        now = self._known()
        assert now.terms is not None, "registered by now"
        gone = leaving(self.session, self.contract, self.sender.address)
        who = checksum(self.sender.address)
        document: dict[str, object] = {
            "provider": who,
            **now.terms.document(),
            **leaving_document(gone),
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
                *leaving_rows(gone),
                *(("transaction", one.hash) for one in done),
            ],
            lines=lines,
        )
