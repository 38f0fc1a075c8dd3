"""
What C{sandbox-billing queue} does with the journal: it reads, has the ledger decide, and writes
one fact that compares what was read.  A worker may run meanwhile: what changed is read again.

Tests: L{tests.cli.test_queue_desk}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from attrs import field, frozen

from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.cli.amounts import both
from sandbox_billing.errors import BadInput, Refused, Transient
from sandbox_billing.interfaces import DeadCharge, Stale, Stored, StoredLetter, WalletFunds
from sandbox_billing.ledger.account import Settlement
from sandbox_billing.ledger.audit import AuditEntry
from sandbox_billing.ledger.dead_letter import DeadLetter
from sandbox_billing.ledger.desk import (
    LETTERS,
    WalletLine,
    lines,
    plan_drop,
    plan_release,
    plan_retry,
)
from sandbox_billing.ledger.identity import Address, BatchId, ChargeId, Nonce, is_merged_charge_id
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.voucher import ChargeRecord, Forgiven, Parked


T = TypeVar("T")

TRIES = 5
"""How often something is decided anew when it changes under our hands."""

PAGE = 200

_NOTHING = Neuron(0)


class Ask:
    """
    Asks the person at the terminal, each question once.
    """

    def __init__(self, ask: Callable[[str, str | None], None]) -> None:
        """@param ask: As L{Output.ask}: the question, and what a script has to say instead."""
        self._ask = ask
        self._asked: set[str] = set()

    def __call__(self, question: str, hint: str | None = None) -> None:
        if question not in self._asked:
            self._ask(question, hint)
        self._asked.add(question)


@frozen(kw_only=True)
class Listed:
    """
    @ivar damaged: Charges that cannot be read: their wallets are not told by them.
    """

    wallets: tuple[WalletLine, ...]
    damaged: tuple[ChargeId, ...]


@frozen(kw_only=True)
class Done:
    """
    What a decision came to.

    @ivar what: C{retry}, C{drop}, C{release}; C{nothing} where it was so already.
    @ivar text: For people.
    """

    what: str
    subject: str
    wallet: Address | None
    amount: Neuron
    text: str


@frozen(kw_only=True)
class Desk:
    """
    One operator at one journal.

    @ivar now: By the server's clock.
    @ivar by: Whom the audit shall name.
    @ivar say: Told what is worth knowing beside the result.
    """

    journal: Journal
    now: UnixSeconds
    by: str
    ask: Ask
    say: Callable[[str], None] = field(default=lambda _text: None)

    # -- looking

    async def listed(self) -> Listed:
        """The queue by wallets."""
        journal = self.journal
        # Batches first: what is resolved meanwhile is then no longer in the list.
        batches = [batch.value for batch in await journal.queue.batches()]
        claims = await journal.backlog.claims(0, None)
        dead = [one.record.value for one in await journal.desk.dead() if one.record is not None]
        quarantined = await journal.backlog.quarantined()
        found = lines(claims.found, batches, dead, quarantined)
        return Listed(wallets=found, damaged=claims.damaged)

    async def parked(self) -> tuple[ChargeRecord, ...]:
        """What waits for an acknowledgement, each wallet's by nonce."""
        claims = await self.journal.backlog.claims(0, None)
        found = [c.record for c in claims.found if isinstance(c.record.state, Parked)]
        return tuple(sorted(found, key=lambda r: (r.charge.owner, r.seal.nonce if r.seal else 0)))

    async def dead(self) -> tuple[tuple[DeadCharge, ...], tuple[StoredLetter, ...]]:
        """Dead-lettered charges, and letters."""
        return await self.journal.desk.dead(), await self.journal.desk.letters()

    # -- deciding

    async def retry(self, charge: ChargeId, reason: str) -> Done:
        """
        Offer a dead letter again.

        @raise Refused: It is none, or it would change nothing.
        """
        return await self._anew(lambda: self._retry(charge, reason))

    async def _retry(self, charge: ChargeId, reason: str) -> Done:
        record = await self._record(charge)
        owner, amount = record.value.charge.owner, record.value.charge.amount
        funds = await self.journal.doors.funds(owner)
        text = plan_retry(record.value, _last_nonce(funds), await self._batch_of(owner))
        entry = self._entry("retry", charge, amount, reason)
        await self.journal.desk.retry(record, entry)
        if funds.blocked is not None:
            text += f"; but its wallet is blocked ({funds.blocked})"
        return Done(what="retry", subject=charge, wallet=owner, amount=amount, text=text)

    async def drop(self, name: str, reason: str) -> Done:
        """
        Write a charge off, or end a letter.

        @param name: A charge's id, or C{kind:name} of a letter.
        @raise Refused: It may not end so, or nobody said yes.
        """
        return await self._anew(lambda: self._drop(name, reason))

    async def _drop(self, name: str, reason: str) -> Done:
        for letter in await self.journal.desk.letters():
            if f"{letter.letter.kind}:{letter.letter.name}" == name:
                return await self._drop_letter(letter, reason)
        charge = ChargeId(name)
        try:
            record = await self._record(charge)
        except BadInput:
            unread = await self._unread(charge)
            if unread is None:
                raise
            return await self._drop_letter(unread, reason)
        return await self._drop_charge(record, reason)

    async def _drop_charge(self, record: Stored[ChargeRecord], reason: str) -> Done:
        value, charge = record.value, record.value.charge
        funds = await self.journal.doors.funds(charge.owner)
        plan = plan_drop(value, _last_nonce(funds), await self._settled(value))
        done = Done(
            what="drop",
            subject=charge.id,
            wallet=charge.owner,
            amount=charge.amount,
            text="" if plan is None else plan.text,
        )
        if plan is None:
            return self._nothing(done, "it was written off before")
        hint = "add --yes if that is meant" if plan.collectable else None
        self.ask(f"Write off {charge.id}, {both(charge.amount)}? {plan.text}.", hint)
        word = Forgiven(seal=value.seal, reason=reason, by=self.by, at=self.now)
        await self.journal.forgiving.forgive(record, word, fenced=False)
        return done

    async def _drop_letter(self, letter: StoredLetter, reason: str) -> Done:
        kind, name = letter.letter.kind, letter.letter.name
        owner, amount, before = None, _NOTHING, None
        text = "the letter is gone; what is stored stays as it is"
        if kind == "charge" and await self._damaged(ChargeId(name)):
            owner, amount = await self._damage(ChargeId(name))
            before = None if letter.about is None else letter.about.decode("utf-8", "replace")
            owed = "nobody owes it" if owner is None else f"{owner} owed {both(amount)} for it"
            text = f"it cannot be read ({letter.letter.reason}) and is taken out: {owed}"
            self.ask(
                f"Take out {name}? {text}. It may have been signed: then whoever has the voucher "
                "can still collect it",
                "add --yes if that is meant",
            )
        else:
            self.ask(f"End the letter about {kind} {name} ({letter.letter.reason})?")
        entry = self._entry("drop", f"{kind}:{name}", amount, reason, before)
        await self.journal.desk.strike(letter, owner, entry)
        return Done(what="drop", subject=f"{kind}:{name}", wallet=owner, amount=amount, text=text)

    async def release(self, wallet: Address, reason: str) -> Done:
        """
        Lift a quarantine.

        @raise Refused: It is none, or it must stand.
        """
        return await self._anew(lambda: self._release(wallet, reason))

    async def _release(self, wallet: Address, reason: str) -> Done:
        journal = self.journal
        funds = await journal.doors.funds(wallet)
        charges, letters = await self.dead()
        mine = [one.id for one in charges if one.record and one.record.value.charge.owner == wallet]
        about = [one.letter for one in letters if one.letter.name == wallet.hex]
        behind = any(letter.kind == "wallet" for letter in about)
        notes = plan_release(wallet, funds.blocked, behind, mine)
        done = Done(
            what="release",
            subject=wallet.hex,
            wallet=wallet,
            amount=_NOTHING,
            text="it may run again; the daemon looks at its money and its queue at once",
        )
        if notes is None:
            return self._nothing(done, "it is not blocked")
        for note in notes:
            self.say(note)
        await journal.desk.release(funds, self._entry("release", wallet.hex, _NOTHING, reason))
        return done

    # -- what is so

    async def _anew(self, decide: Callable[[], Awaitable[T]]) -> T:
        for _ in range(TRIES):
            try:
                return await decide()
            except Stale:
                continue
        raise Transient("it changes faster than it can be decided about: nothing was changed")

    async def _record(self, charge: ChargeId) -> Stored[ChargeRecord]:
        found = await self.journal.forgiving.forgivable(charge)
        if found is None:
            raise BadInput(
                f"there is no charge {charge!r}: queue list, parked and dead name those that there "
                f"are; a letter is named kind:name, the kinds being {', '.join(LETTERS)}"
            )
        return found

    async def _damaged(self, charge: ChargeId) -> bool:
        """Whether it cannot be read, or has disappeared."""
        try:
            return await self.journal.forgiving.forgivable(charge) is None
        except BadInput:
            return True

    async def _unread(self, charge: ChargeId) -> StoredLetter | None:
        """About a charge that is there and cannot be read, told of or not; None otherwise."""
        for letter in await self.journal.desk.letters():
            if (letter.letter.kind, letter.letter.name) == ("charge", charge):
                return letter
        for dead in await self.journal.desk.dead():
            if dead.id == charge and dead.record is None:
                told = DeadLetter(
                    kind="charge", name=charge, reason="it cannot be read", since=dead.since
                )
                return StoredLetter(letter=told, raw=None, about=dead.raw)
        return None

    async def _damage(self, charge: ChargeId) -> tuple[Address | None, Neuron]:
        """
        Who owes what cannot be read, and how much.

        @raise Refused: It may not be taken out.
        """
        if is_merged_charge_id(charge):
            raise Refused(
                f"{charge} collects other charges, which would be lost with it: mend the stored "
                "value, or restore it from a backup"
            )
        for batch in await self.journal.queue.batches():
            if charge in batch.value.charges:
                raise Refused(
                    f"{charge} is in batch {batch.value.id}: wait until that is resolved, and try "
                    "again"
                )
        found = await self.journal.desk.owner_of(charge)
        return (None, _NOTHING) if found is None else found

    async def _batch_of(self, wallet: Address) -> BatchId | None:
        batches = await self.journal.queue.batches()
        return next((b.value.id for b in batches if wallet in b.value.wallets), None)

    async def _settled(self, record: ChargeRecord) -> Settlement | None:
        """The stored event of its nonce."""
        seal, page = record.seal, 0
        while seal is not None:
            _, events = await self.journal.history.settlements(
                record.charge.owner, since=UnixSeconds(0), page=page, page_size=PAGE
            )
            for event in events:
                if event.nonce == seal.nonce:
                    return event
            if len(events) < PAGE:
                break
            page += 1
        return None

    def _entry(
        self, what: str, subject: str, amount: Neuron, reason: str, before: str | None = None
    ) -> AuditEntry:
        return AuditEntry(
            at=self.now,
            by=self.by,
            what=what,
            subject=subject,
            amount=amount,
            reason=reason,
            before=before,
        )

    def _nothing(self, done: Done, text: str) -> Done:
        return Done(
            what="nothing",
            subject=done.subject,
            wallet=done.wallet,
            amount=_NOTHING,
            text=f"nothing to do: {text}",
        )


def _last_nonce(funds: WalletFunds) -> Nonce:
    return Nonce(0) if funds.account is None else funds.account.value.last_nonce
