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
    Difference,
    Hashed,
    Outside,
    Remember,
    Settle,
    Store,
)
from sandbox_billing.ledger.identity import Address, ChargeId, SandboxId
from sandbox_billing.ledger.listing import (
    listing_differences,
    nonce_differences,
    release_differences,
    totals_differences,
)
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.meters import Meters
from sandbox_billing.ledger.money import UnixSeconds, add, neuron
from sandbox_billing.ledger.proofs import advanced, by_hash, by_period, settled_as
from sandbox_billing.ledger.shelves import is_final
from sandbox_billing.ledger.voucher import ChargeRecord, Merged, Open


SKEW_SECONDS = 300
"""How far the chain's clock may be behind ours: a period ends before its voucher is mined."""


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
    look.found += nonce_differences(store, outside, frozenset(look.doubted))
    look.batches()
    meters = Meters(
        store=store,
        outside=outside,
        now=now,
        metered=look.metered,
        forgotten=look.forgotten,
    )
    meters.sessions()
    meters.running()
    found = look.found + meters.found
    found += listing_differences(store, look.settled, meters.resumed)
    found += totals_differences(store, look.settled)
    found += [
        Difference(kind="damaged", subject=name, found="cannot be read", would="nothing: a human")
        for name in store.unreadable
        if not name.startswith("nonce ")
    ]
    return (*found, *release_differences(store, frozenset(look.doubted)))


@define(kw_only=True, eq=False)
class _Look:
    """
    @ivar found: Differences so far.
    @ivar settled: Charges as the repairs so far leave them.
    @ivar doubted: Wallets with something that nothing here puts right.
    @ivar debts: What those leave owed.
    @ivar forgotten: Wallets with settled vouchers of which nobody knows what they were for, and
        a moment before which the periods of these end.
    @ivar metered: Sessions as the vouchers prove them.
    """

    store: Store
    outside: Outside
    hashed: Hashed
    now: UnixSeconds
    found: list[Difference] = field(factory=list, init=False)
    settled: dict[ChargeId, ChargeRecord] = field(factory=dict, init=False)
    doubted: set[Address] = field(factory=set, init=False)
    debts: list[ChargeRecord] = field(factory=list, init=False)
    forgotten: dict[Address, UnixSeconds] = field(factory=dict, init=False)
    metered: dict[SandboxId, Session] = field(factory=dict, init=False)

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

    def batches(self) -> None:
        """Batches that name what is gone."""
        charges = self.store.shelf.charges
        for batch in self.store.shelf.batches.values():
            gone = [charge for charge in batch.charges if charge not in charges]
            if gone:
                self.found.append(
                    Difference(
                        kind="batch",
                        subject=f"batch {batch.id}",
                        found=f"holds charges that are not stored: {', '.join(gone)}",
                        would="left to the daemon: it takes them out, and tells a human",
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
            before = UnixSeconds(max(e.timestamp for e in lost) + SKEW_SECONDS)
            self.forgotten[wallet] = before
            # An open charge may be a part of what nobody knows any more: it must not be
            # collected a second time.
            left = [self.settled.get(r.charge.id, r) for r in mine]
            unsure = sum(isinstance(r.state, Open) and r.charge.period_end <= before for r in left)
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
        left = [self.settled.get(r.charge.id, r) for r in (*mine, *self.debts)]
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
        if after[1] is not None:
            # The next voucher may have collected it.
            self.debts.append(ChargeRecord(after[1]))
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
