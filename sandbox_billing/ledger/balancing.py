"""
The comparison as a whole: who knows what of each voucher, session and wallet; pure.

Tests: L{tests.ledger.test_comparison}.
"""

from __future__ import annotations

from collections.abc import Iterable
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
    unexplained,
)
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.meters import Meters, is_over
from sandbox_billing.ledger.money import Neuron, UnixSeconds, add, neuron
from sandbox_billing.ledger.proofs import Whole, advanced, by_hash, by_period, settled_as
from sandbox_billing.ledger.shelves import is_final
from sandbox_billing.ledger.voucher import ChargeKind, ChargeRecord, Merged, Open


SKEW_SECONDS = 300
"""How far the chain's clock may be behind ours: a period ends before its voucher is mined."""

FROM_NOW_ON = "what the wallet runs is charged from now on"


def compare(
    store: Store, outside: Outside, hashed: Hashed, now: UnixSeconds
) -> tuple[Difference, ...]:
    """
    Every difference, in the order in which the repairs are made.

    @param now: unix seconds.
    """
    look = _Look(store=store, outside=outside, hashed=hashed, now=now)
    look.transactions()
    look.runtime()
    look.vouchers()
    strange = unexplained(store, outside)
    look.doubted |= strange
    look.batches()
    meters = Meters(
        store=store,
        outside=outside,
        now=now,
        metered=look.metered,
        forgotten={
            wallet: max(look.forgotten.get(wallet, UnixSeconds(0)), moment)
            for wallet, moment in (*store.accepted.items(), *look.forgotten.items())
        },
        # To know a wallet is to go on above its nonce on chain: the daemon signs what is open.
        waiting=strange | (look.doubted - store.known),
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
    # At the very end, so that a rebuild that dies half-way finds the wallet as behind as it was:
    # what says that nothing is forgotten, and what lets the daemon sign.
    found += look.given_up
    found += nonce_differences(store, outside, frozenset(look.doubted), strange)
    return (*found, *release_differences(store, frozenset(look.doubted)))


def _paid(event: Settlement) -> Neuron | None:
    """What a voucher brought; None where the contract does not say."""
    return event.fee if event.paid is None and event.status == 0 else event.paid


def _unpaid(events: Iterable[Settlement]) -> str:
    """What vouchers left owed, in words; a debt has the hash of what it is left of."""
    owed: dict[str, int] = {}
    unknown = 0
    for event in events:
        paid = _paid(event)
        if paid is None:
            unknown += event.fee
            continue
        # A debt's own voucher collects what the first one left.
        owed[event.usage_hash] = owed.get(event.usage_hash, event.fee) - paid
    left = sum(owed.values())
    said = f", {left} owed" if left else ""
    return said + (f", {unknown} of which nobody knows" if unknown else "")


@define(kw_only=True, eq=False)
class _Look:
    """
    @ivar found: Differences so far.
    @ivar given_up: Those about vouchers that nobody knows any more.
    @ivar settled: Charges as the repairs so far leave them.
    @ivar doubted: Wallets with something that nothing here puts right.
    @ivar debts: What those leave owed, and what they leave of open charges, by wallet.
    @ivar forgotten: Wallets with settled vouchers of which nobody knows what they were for, and
        a moment before which the periods of these end.
    @ivar metered: Sessions as the vouchers prove them.
    @ivar _charges: By wallet, so that no wallet looks at another's.
    @ivar _sessions: Likewise.
    @ivar _held: Charges that are in a batch.
    """

    store: Store
    outside: Outside
    hashed: Hashed
    now: UnixSeconds
    found: list[Difference] = field(factory=list, init=False)
    given_up: list[Difference] = field(factory=list, init=False)
    settled: dict[ChargeId, ChargeRecord] = field(factory=dict, init=False)
    doubted: set[Address] = field(factory=set, init=False)
    debts: dict[Address, list[ChargeRecord]] = field(factory=dict, init=False)
    forgotten: dict[Address, UnixSeconds] = field(factory=dict, init=False)
    metered: dict[SandboxId, Session] = field(factory=dict, init=False)
    _charges: dict[Address, list[ChargeRecord]] = field(factory=dict, init=False)
    _sessions: dict[Address, list[SandboxId]] = field(factory=dict, init=False)
    _held: set[ChargeId] = field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        shelf = self.store.shelf
        self.metered = dict(shelf.sessions)
        for record in shelf.charges.values():
            self._charges.setdefault(record.charge.owner, []).append(record)
        for sandbox, session in shelf.sessions.items():
            self._sessions.setdefault(session.owner, []).append(sandbox)
        self._held = {charge for batch in shelf.batches.values() for charge in batch.charges}

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

    def runtime(self) -> None:
        """Nothing is known of what runs."""
        if self.outside.rows is None:
            self.found.append(
                Difference(
                    kind="daytona",
                    subject="the list of sandboxes",
                    found="is not answered: what runs is not compared",
                    would="what does not need it; run this again when Daytona answers",
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
        mine = self._charges.get(wallet, [])
        sealed = {r.seal.nonce: r for r in mine if r.seal is not None}
        baseline = self.store.baselines.get(wallet, 0)
        lost = []
        for event in events:
            record = sealed.get(event.nonce)
            if record is not None:
                self._known(event, record, in_batch=record.charge.id in self._held)
            elif event.nonce > baseline and not self._explained(event, mine):
                lost.append(event)
        if lost:
            mined = max(e.timestamp for e in events)
            before = UnixSeconds(max(e.timestamp for e in lost) + SKEW_SECONDS)
            self.forgotten[wallet] = before
            # An open charge may be a part of what nobody knows any more: it must not be
            # collected a second time.  One that only begins before may hold all of it.
            rests = [r for r in self.debts.get(wallet, []) if r.charge.kind is not ChargeKind.DEBT]
            left = [self.settled.get(r.charge.id, r) for r in (*mine, *rests)]
            unsure = sum(isinstance(r.state, Open) and r.charge.period_start < before for r in left)
            writes_off = ", and write off what they left owed" if _unpaid(lost) else ""
            why = self._in_doubt(wallet, unsure, before)
            upto, amount = lost[-1].nonce, add(*(_paid(e) or neuron(0) for e in lost))
            self.given_up.append(
                Difference(
                    kind="forgotten",
                    subject=wallet.hex,
                    found=f"{len(lost)} vouchers up to nonce {upto} are settled ({amount} neuron"
                    f" paid{_unpaid(lost)}), and no charge of theirs is stored",
                    would=why or f"go on after them{writes_off}; {FROM_NOW_ON}",
                    repair=None
                    if why
                    else Accept(
                        wallet=wallet,
                        upto=upto,
                        amount=amount,
                        # What runs is charged from now on: no later look may ask for more.
                        before=min(before, UnixSeconds(max(self.now, mined))),
                    ),
                )
            )
            if why:
                self.doubted.add(wallet)

    def _in_doubt(self, wallet: Address, unsure: int, before: UnixSeconds) -> str:
        """
        Why forgotten vouchers cannot be accepted; empty when they can.

        @param unsure: Open charges that may be among them.
        """
        if unsure:
            return (
                f"nothing: a human must drop those of its {unsure} open charges that may be among"
                " them"
            )
        calls = (i for i in self.store.shelf.intents.values() if i.owner == wallet)
        if self.outside.rows is None and any(is_over(call, before) for call in calls):
            return "nothing before Daytona's list is read: what its calls are for may be among them"
        return ""

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
                self._settle(subject, event, Whole(record))

    def _explained(self, event: Settlement, mine: list[ChargeRecord]) -> bool:
        """Whether the event is of a charge that is stored unsigned, or of a running session."""
        owed = self.debts.get(event.user, [])
        left = [self.settled.get(r.charge.id, r) for r in (*mine, *owed)]
        whole = by_hash(event, left, self.hashed)
        if whole is not None:
            subject = f"charge {whole.record.charge.id}, nonce {event.nonce} of {event.user}"
            self._settle(subject, event, whole)
            return True
        running = [self.metered[sandbox] for sandbox in self._sessions.get(event.user, [])]
        whole = by_period(event, running, left, self.hashed)
        if whole is None:
            return False
        charge = whole.record.charge
        subject = f"charge {charge.id}, nonce {event.nonce} of {event.user}"
        self._settle(subject, event, whole)
        session = self.metered.get(charge.sandbox)
        if session is not None:
            self.metered[charge.sandbox] = advanced(session, charge.period_end)
        return True

    def _settle(self, subject: str, event: Settlement, whole: Whole) -> None:
        record, parts = whole.record, whole.parts
        cut = record.charge.amount != event.fee
        after = None if cut else settled_as(record, event, self.now)
        if after is None:
            self.doubted.add(event.user)
            self._tell_unsettled(subject, event, None)
            return
        self.settled[record.charge.id] = after[0]
        if after[1] is not None:
            # The next voucher may have collected it.
            self.debts.setdefault(event.user, []).append(ChargeRecord(after[1]))
        if whole.rest is not None:
            self.debts.setdefault(event.user, []).append(ChargeRecord(whole.rest))
        for part in parts:
            self.settled[part.charge.id] = part.become(Merged(record.charge.id))
        repair = Settle(before=record, event=event, parts=parts, rest=whole.rest)
        self._tell_unsettled(subject, event, repair)

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
