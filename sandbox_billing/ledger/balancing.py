"""
The comparison as a whole: who knows what of each voucher, session and wallet; pure.

Tests: L{tests.ledger.test_comparison}.
"""

from __future__ import annotations

from itertools import groupby

from attrs import define, field

from sandbox_billing.ledger.account import Settlement
from sandbox_billing.ledger.comparison import (
    Accept,
    Advance,
    Difference,
    Hashed,
    Mirror,
    Outside,
    Remember,
    Restore,
    Settle,
    Store,
)
from sandbox_billing.ledger.hold import session_field
from sandbox_billing.ledger.identity import Address, ChargeId, Reference, SandboxId
from sandbox_billing.ledger.listing import (
    listing_differences,
    nonce_differences,
    release_differences,
    totals_differences,
)
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.money import NeuronPerMinute, UnixSeconds, add, neuron
from sandbox_billing.ledger.proofs import advanced, by_hash, by_period, settled_as
from sandbox_billing.ledger.reconciliation import REFERENCE_LABEL, Row, wished_minutes
from sandbox_billing.ledger.shelves import Entry, Index, is_final
from sandbox_billing.ledger.voucher import ChargeRecord, Merged, Open


def compare(
    store: Store, outside: Outside, hashed: Hashed, now: UnixSeconds
) -> tuple[Difference, ...]:
    """
    Every difference, in the order in which the repairs are made.

    @param now: unix seconds.
    """
    look = _Look(store=store, outside=outside, hashed=hashed, now=now)
    look.transactions()
    look.vouchers()
    look.found += nonce_differences(store, outside)
    look.sessions()
    look.running()
    found = look.found
    found += listing_differences(store, look.settled, look.resumed)
    found += totals_differences(store, look.settled)
    found += [
        Difference(kind="damaged", subject=name, found="cannot be read", would="nothing: a human")
        for name in store.unreadable
    ]
    return (*found, *release_differences(store, frozenset(look.doubted)))


@define(kw_only=True, eq=False)
class _Look:
    """
    @ivar found: Differences so far.
    @ivar settled: Charges as the repairs so far leave them.
    @ivar doubted: Wallets with something that nothing here puts right.
    @ivar forgotten: Wallets with settled vouchers of which nobody knows what they were for.
    @ivar metered: Sessions as the vouchers prove them.
    @ivar introduced: Wallets that a repair makes known.
    @ivar resumed: Sandboxes whose session a repair writes anew.
    """

    store: Store
    outside: Outside
    hashed: Hashed
    now: UnixSeconds
    found: list[Difference] = field(factory=list, init=False)
    settled: dict[ChargeId, ChargeRecord] = field(factory=dict, init=False)
    doubted: set[Address] = field(factory=set, init=False)
    forgotten: set[Address] = field(factory=set, init=False)
    metered: dict[SandboxId, Session] = field(factory=dict, init=False)
    introduced: set[Address] = field(factory=set, init=False)
    resumed: set[str] = field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self.metered = dict(self.store.shelf.sessions)

    def transactions(self) -> None:
        """A transaction of ours that nobody has a record of."""
        nonce = self.outside.unknown_nonce
        if nonce is not None:
            self.found.append(
                Difference(
                    kind="transaction",
                    subject=f"account nonce {nonce}",
                    found="is used by a transaction of ours that is not stored and not final",
                    would="wait: nothing is rebuilt before it is final",
                )
            )

    # -- vouchers ------------------------------------------------------------------------

    def vouchers(self) -> None:
        """Events against charges, wallet by wallet in the order of nonces."""
        newest = {(event.user, event.nonce): event for event in self.outside.settlements}
        events = sorted(newest.values(), key=lambda event: (event.user, event.nonce))
        for wallet, group in groupby(events, key=lambda event: event.user):
            self._of_wallet(wallet, list(group))
        until = -1 if self.store.mirrored_until is None else self.store.mirrored_until
        for event in self.outside.settlements:
            if event.block <= until and (event.block, event.log_index) not in self.store.history:
                self.found.append(
                    Difference(
                        kind="history",
                        subject=f"nonce {event.nonce} of {event.user}",
                        found=f"settled in block {event.block}, and not in the history",
                        would="add it",
                        repair=Remember(event=event),
                    )
                )

    def _of_wallet(self, wallet: Address, events: list[Settlement]) -> None:
        mine = [r for r in self.store.shelf.charges.values() if r.charge.owner == wallet]
        sealed = {r.seal.nonce: r for r in mine if r.seal is not None}
        held = {c for batch in self.store.shelf.batches.values() for c in batch.charges}
        baseline = self.store.baselines.get(wallet, 0)
        lost = []
        for event in events:
            record = sealed.get(event.nonce)
            if record is not None:
                self._known(event, record, in_batch=record.charge.id in held)
            elif event.nonce > baseline and not self._explained(event, mine):
                lost.append(event)
        if lost:
            self.forgotten.add(wallet)
            # An open charge may be a part of what nobody knows any more: it must not be
            # collected a second time.
            unsure = sum(isinstance(self.settled.get(r.charge.id, r).state, Open) for r in mine)
            upto, amount = lost[-1].nonce, add(*(e.paid or neuron(0) for e in lost))
            self.found.append(
                Difference(
                    kind="forgotten",
                    subject=wallet.hex,
                    found=f"{len(lost)} vouchers up to nonce {upto} are settled ({amount} neuron"
                    " paid), and no charge of theirs is stored",
                    would=f"nothing: a human must drop those of its {unsure} open charges that"
                    " may be among them"
                    if unsure
                    else "go on after them; what the wallet runs is charged from now on",
                    repair=None if unsure else Accept(wallet=wallet, upto=upto, amount=amount),
                )
            )
            if unsure:
                self.doubted.add(wallet)

    def _known(self, event: Settlement, record: ChargeRecord, *, in_batch: bool) -> None:
        """The event of a charge that is stored under this nonce."""
        seal, charge = record.seal, record.charge
        assert seal is not None
        subject = f"charge {charge.id}, nonce {event.nonce} of {charge.owner}"
        if (seal.fee, seal.usage_hash) != (event.fee, event.usage_hash):
            self.doubted.add(charge.owner)
            self.found.append(
                Difference(
                    kind="contradiction",
                    subject=subject,
                    found=f"its nonce is settled for another voucher, of {event.fee} neuron",
                    would="nothing: a human must look (law L5)",
                )
            )
        elif not is_final(record):
            until = self.store.mirrored_until
            if in_batch and (until is None or event.block > until):
                # The worker has not come to that block yet.
                return
            if in_batch:
                self._tell_unsettled(subject, event, None)
            else:
                self._settle(subject, event, record, ())

    def _explained(self, event: Settlement, mine: list[ChargeRecord]) -> bool:
        """Whether the event is of a charge that is stored unsigned, or of a running session."""
        left = [self.settled.get(r.charge.id, r) for r in mine]
        whole = by_hash(event, left, self.hashed)
        if whole is not None:
            subject = f"charge {whole.record.charge.id}, nonce {event.nonce} of {event.user}"
            self._settle(subject, event, whole.record, whole.parts)
            return True
        running = [s for s in self.metered.values() if s.owner == event.user]
        whole = by_period(event, running, left, self.hashed)
        if whole is None:
            return False
        charge = whole.record.charge
        subject = f"charge {charge.id}, nonce {event.nonce} of {event.user}"
        self._settle(subject, event, whole.record, whole.parts)
        session = self.metered.get(charge.sandbox)
        if session is not None:
            self.metered[charge.sandbox] = advanced(session, charge.period_end)
        return True

    def _settle(
        self,
        subject: str,
        event: Settlement,
        record: ChargeRecord,
        parts: tuple[ChargeRecord, ...],
    ) -> None:
        cut = record.charge.amount != event.fee
        after = None if cut else settled_as(record, event, self.now)
        if after is None:
            self.doubted.add(event.user)
            self._tell_unsettled(subject, event, None)
            return
        self.settled[record.charge.id] = after[0]
        for part in parts:
            self.settled[part.charge.id] = part.become(Merged(record.charge.id))
        self._tell_unsettled(subject, event, Settle(before=record, event=event, parts=parts))

    def _tell_unsettled(self, subject: str, event: Settlement, repair: Settle | None) -> None:
        self.found.append(
            Difference(
                kind="unsettled",
                subject=subject,
                found=f"settled in block {event.block}, and not final here",
                would="write down its outcome" if repair else "left to the daemon, or a human",
                repair=repair,
            )
        )

    # -- sessions ------------------------------------------------------------------------

    def sessions(self) -> None:
        """Open sessions against what was charged, and against Daytona."""
        rows = {row.sandbox: row for row in self.outside.rows}
        for sandbox, session in sorted(self.store.shelf.sessions.items()):
            row = rows.get(sandbox)
            shown = "has none" if row is None else f"shows {row.state}"
            if row is None or row.ended:
                self.found.append(
                    Difference(
                        kind="not running",
                        subject=f"sandbox {sandbox}",
                        found=f"has a session, and Daytona {shown}",
                        would="left to the daemon: it closes it at its last observation",
                    )
                )
            until = self._charged(sandbox, session.owner, self.metered[sandbox].charged_until)
            record = self.store.records.get(sandbox)
            recorded = None if record is None else record.charged_until
            if until > session.charged_until or recorded != session.charged_until:
                self.resumed.add(sandbox)
                self.found.append(
                    Difference(
                        kind="charged",
                        subject=f"sandbox {sandbox}",
                        found=f"is charged up to {session.charged_until} by its session, and"
                        f" {recorded} by its record; or was charged further",
                        would=f"charge from {until} on",
                        repair=Advance(sandbox=sandbox, until=until),
                    )
                )

    def _charged(self, sandbox: SandboxId, owner: Address, least: int) -> UnixSeconds:
        """Until when a sandbox is charged by all that is known; now, where that is not enough."""
        if owner in self.forgotten:
            return self.now
        ends = [
            r.charge.period_end
            for r in self.store.shelf.charges.values()
            if r.charge.sandbox == sandbox and r.charge.units > 0
        ]
        record = self.store.records.get(sandbox)
        return UnixSeconds(max([least, *ends, record.charged_until if record else 0]))

    def running(self) -> None:
        """What runs and is not metered."""
        named = {i.sandbox for i in self.store.shelf.intents.values()}
        for row in self.outside.rows:
            reference = row.labels.get(REFERENCE_LABEL)
            meant = row.sandbox in named or reference in self.store.shelf.intents
            if row.running and not meant and row.sandbox not in self.store.shelf.sessions:
                self._unmetered(row)

    def _unmetered(self, row: Row) -> None:
        owner = self._owner(row)
        price = self.outside.prices.get(row.sandbox)
        why = None
        if owner is None:
            why = "nothing: it has no owner"
        elif owner not in self.store.known and owner not in self.outside.customers:
            why = f"nothing: its label names {owner}, who never had anything here"
        elif price is None:
            why = "nothing: it has no price"
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
        session = self._session(row, owner)
        self.resumed.add(row.sandbox)
        self._tell_unmetered(
            row, f"meter it for {owner} from {session.charged_until} on", Restore(session=session)
        )

    def _tell_unmetered(self, row: Row, would: str, repair: Restore | None) -> None:
        self.found.append(
            Difference(
                kind="unmetered",
                subject=f"sandbox {row.sandbox}",
                found="runs, and has no session",
                would=would,
                repair=repair,
            )
        )

    def _owner(self, row: Row) -> Address | None:
        """By our record, by what it was charged for, or by its label."""
        record = self.store.records.get(row.sandbox)
        if record is not None:
            return record.owner
        owners = {
            r.charge.owner
            for r in self.store.shelf.charges.values()
            if r.charge.sandbox == row.sandbox
        }
        return owners.pop() if len(owners) == 1 else row.owner

    def _session(self, row: Row, owner: Address) -> Session:
        """
        The session of what runs.

        It goes on where it was charged to only if it is proven that its session was lost and
        not ended: then every second since was observed, or will be by the next sweep (L3).
        """
        sandbox, price = row.sandbox, self.outside.prices[row.sandbox]
        lost = self.store.exposure.get(owner, {}).get(session_field(sandbox))
        listed = Entry(Index.SESSIONS, "", sandbox) in self.store.listed
        record = self.store.records.get(sandbox)
        since = self.now
        if record is not None and (lost or listed or sandbox in self.store.seen):
            since = min(self.now, self._charged(sandbox, owner, 0))
        else:
            # Never before what was charged, whatever this machine's clock says (L2).
            since = max(since, self._charged(sandbox, owner, 0))
        rate, hold = price.rate, price.hold
        if lost is not None and int(lost.split(":")[1]) > 0:
            # What it was let in at.
            hold, rate = neuron(int(lost.split(":")[0])), NeuronPerMinute(int(lost.split(":")[1]))
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
            started_at=since,
            charged_until=since,
            changed_at=self.now,
            hold=hold,
            auto_stop_minutes=wished_minutes(row.labels),
        )
