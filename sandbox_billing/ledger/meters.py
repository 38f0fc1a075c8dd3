"""
Sessions against what was charged, and against what Daytona shows; pure.

Tests: L{tests.ledger.test_comparison}.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from attrs import define, field

from sandbox_billing.ledger.comparison import (
    Advance,
    Difference,
    Mirror,
    Outside,
    Price,
    Restore,
    Store,
)
from sandbox_billing.ledger.hold import UNDO, Intent, session_field
from sandbox_billing.ledger.identity import Address, Reference, SandboxId
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds, neuron
from sandbox_billing.ledger.reconciliation import REFERENCE_LABEL, Row, wished_minutes
from sandbox_billing.ledger.shelves import Entry, Index


_OF_SESSIONS = (Index.SESSIONS, Index.DUE)


@define(kw_only=True, eq=False)
class Meters:
    """
    @ivar metered: Sessions as the vouchers prove them.
    @ivar forgotten: Wallets with settled vouchers of which nobody knows what they were for, and
        a moment before which their periods end.
    @ivar waiting: Wallets for which nothing is opened before a human has looked.
    @ivar found: Differences so far.
    @ivar introduced: Wallets that a repair makes known.
    @ivar resumed: Sandboxes whose session a repair writes anew.
    @ivar _ends: Until when stored charges go, by sandbox.
    @ivar _owners: Whom they name.
    @ivar _mined: When the newest voucher of a wallet was mined.
    """

    store: Store
    outside: Outside
    now: UnixSeconds
    metered: Mapping[SandboxId, Session]
    forgotten: Mapping[Address, UnixSeconds]
    waiting: Set[Address]
    found: list[Difference] = field(factory=list, init=False)
    introduced: set[Address] = field(factory=set, init=False)
    resumed: set[str] = field(factory=set, init=False)
    _ends: dict[SandboxId, int] = field(factory=dict, init=False)
    _owners: dict[SandboxId, set[Address]] = field(factory=dict, init=False)
    _mined: dict[Address, int] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        for record in self.store.shelf.charges.values():
            charge = record.charge
            self._owners.setdefault(charge.sandbox, set()).add(charge.owner)
            if charge.units > 0:
                until = max(self._ends.get(charge.sandbox, 0), charge.period_end)
                self._ends[charge.sandbox] = until
        for event in self.outside.settlements:
            self._mined[event.user] = max(self._mined.get(event.user, 0), event.timestamp)

    def sessions(self) -> None:
        """Open sessions against what was charged, and against Daytona."""
        listed = self.outside.rows
        rows = {row.sandbox: row for row in listed or ()}
        for sandbox, session in sorted(self.store.shelf.sessions.items()):
            row = rows.get(sandbox)
            shown = "has none" if row is None else f"shows {row.state}"
            if listed is not None and (row is None or row.ended):
                self.found.append(
                    Difference(
                        kind="not running",
                        subject=f"sandbox {sandbox}",
                        found=f"has a session, and Daytona {shown}",
                        would="left to the daemon: it closes it at its last observation",
                    )
                )
            least = self.metered[sandbox].charged_until
            until, known = self._charged(sandbox, session.owner, least)
            record = self.store.records.get(sandbox)
            recorded = None if record is None else record.charged_until
            # No moment of this look: a second one must find the same.
            proven = f"charged is up to {until}"
            if not known:
                proven = "nobody knows up to when it was"
            damaged = f"sandbox {sandbox}" in self.store.unreadable
            if until > session.charged_until or (recorded != session.charged_until and not damaged):
                self.resumed.add(sandbox)
                self.found.append(
                    Difference(
                        kind="charged",
                        subject=f"sandbox {sandbox}",
                        found=f"its session says charged up to {session.charged_until}, its"
                        f" record {recorded}; {proven}",
                        would=f"charge from {until} on",
                        repair=Advance(sandbox=sandbox, until=until),
                    )
                )

    def _charged(self, sandbox: SandboxId, owner: Address, least: int) -> tuple[UnixSeconds, bool]:
        """
        Until when a sandbox is charged by all that is known; now, where that is not enough.

        @return: The moment, and whether it is known.
        """
        record = self.store.records.get(sandbox)
        until = max(least, self._ends.get(sandbox, 0), record.charged_until if record else 0)
        if until < self.forgotten.get(owner, 0):
            # Any of these seconds may be in a voucher that nobody knows any more.
            return UnixSeconds(max(self._present(owner), until)), False
        return UnixSeconds(until), True

    def _present(self, owner: Address) -> UnixSeconds:
        """Now; never before what the chain has seen, whatever this machine's clock says (L2)."""
        return UnixSeconds(max(self.now, self._mined.get(owner, 0)))

    def running(self) -> None:
        """What runs and is not metered."""
        intents = self.store.shelf.intents
        named = {i.sandbox: i for i in intents.values() if i.sandbox is not None}
        if self.outside.rows is None:
            # What is left of a lost session proves that it was lost: it stays until its sandbox
            # is seen.
            self.resumed |= {e.member for e in self.store.listed if e.index in _OF_SESSIONS}
            for fields in self.store.exposure.values():
                self.resumed |= {name.partition(":")[2] for name in fields if _of_session(name)}
        for row in self.outside.rows or ():
            labelled = intents.get(Reference(row.labels.get(REFERENCE_LABEL, "")))
            intent = named.get(row.sandbox, labelled)
            # What is there and cannot be read may be its session.
            damaged = any(
                f"{kind} {row.sandbox}" in self.store.unreadable for kind in ("compute", "sandbox")
            )
            metered = damaged or row.sandbox in self.store.shelf.sessions
            if metered or row.ended:
                continue
            if row.running if intent is None else self._over(intent):
                self._unmetered(row, intent)

    def _over(self, intent: Intent) -> bool:
        return is_over(intent, self.forgotten.get(intent.owner, UnixSeconds(0)))

    def _unmetered(self, row: Row, intent: Intent | None) -> None:
        owner = self._owner(row) if intent is None else intent.owner
        price = self.outside.prices.get(row.sandbox)
        if intent is not None:
            # What it was let in at.
            price = Price(intent.rate, intent.hold)
        why = None
        if owner is None:
            why = "nothing: it has no owner"
        elif owner not in self.store.known and owner not in self.outside.customers:
            why = f"nothing: its label names {owner}, who never had anything here"
        elif price is None:
            why = "nothing: it has no price"
        elif owner in self.waiting:
            why = "nothing before a human has looked at its wallet"
        if why is not None or owner is None or price is None:
            self._tell_unmetered(row, why or "", None)
            return
        if owner not in self.store.known and owner not in self.introduced:
            self.introduced.add(owner)
            self.found.append(
                Difference(
                    kind="wallet",
                    subject=owner.hex,
                    found="runs something, and is not known here",
                    would="take its account and nonce from the chain",
                    repair=Mirror(wallet=owner),
                )
            )
        session = self._session(row, owner, price)
        self.resumed.add(row.sandbox)
        fee = "" if intent is None else f", and end its {intent.action} without a fee"
        self._tell_unmetered(
            row,
            f"meter it for {owner} from {session.charged_until} on{fee}",
            Restore(session=session, intent=intent),
        )

    def _tell_unmetered(self, row: Row, would: str, repair: Restore | None) -> None:
        self.found.append(
            Difference(
                kind="unmetered",
                subject=f"sandbox {row.sandbox}",
                found="runs, and has no session" if row.running else "has a call, and no session",
                would=would,
                repair=repair,
            )
        )

    def _owner(self, row: Row) -> Address | None:
        """By our record, by what it was charged for, or by its label."""
        record = self.store.records.get(row.sandbox)
        if record is not None:
            return record.owner
        owners = self._owners.get(row.sandbox, set())
        return next(iter(owners)) if len(owners) == 1 else row.owner

    def _session(self, row: Row, owner: Address, price: Price) -> Session:
        """
        The session of what runs.

        It goes on where it was charged to only if it is proven that its session was lost and
        not ended: then every second since was observed, or will be by the next sweep (L3).
        """
        sandbox = row.sandbox
        lost = self.store.exposure.get(owner, {}).get(session_field(sandbox))
        listed = Entry(Index.SESSIONS, "", sandbox) in self.store.listed
        record = self.store.records.get(sandbox)
        # Never before what was charged, whatever this machine's clock says (L2).
        since, _known = self._charged(sandbox, owner, 0)
        if record is None or not (lost or listed or sandbox in self.store.seen):
            since = max(since, self._present(owner))
        rate, hold = price.rate, price.hold
        terms = None if lost is None else _terms(lost)
        if terms is not None:
            hold, rate = terms
        reference = record.reference if record else row.labels.get(REFERENCE_LABEL)
        return Session(
            sandbox=sandbox,
            owner=owner,
            provider=self.outside.provider,
            reference=Reference(reference or f"adopted:{sandbox}"),
            resources=row.resources,
            rate=rate,
            signer_version=self.outside.signer_version,
            opened_at=since,
            # With a call whose sandbox does not run, the daemon sees what becomes of it.
            started_at=since if row.running else None,
            charged_until=since,
            changed_at=self.now,
            hold=hold,
            auto_stop_minutes=wished_minutes(row.labels),
        )


def _of_session(name: str) -> bool:
    return name.startswith(session_field(SandboxId("")))


def is_over(intent: Intent, forgotten: UnixSeconds) -> bool:
    """
    Whether what a call is for may be among vouchers that nobody knows any more.

    The daemon would charge the fee of its create once more, and the time since.

    @param forgotten: A moment before which the periods of those end; 0 for none.
    """
    return intent.action != UNDO and intent.created_at < forgotten


def _terms(value: str) -> tuple[Neuron, NeuronPerMinute] | None:
    """What a session was let in at, by its exposure; None before it ran, or where that is junk."""
    parts = value.split(":")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        return None
    hold, rate = neuron(int(parts[0])), NeuronPerMinute(int(parts[1]))
    return (hold, rate) if rate > 0 else None
