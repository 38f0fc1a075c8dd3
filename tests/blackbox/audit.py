"""
What a stranger finds who compares three records of the same days: the chain's events, the
daemon's books, and Daytona's own log of what ran.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import ceil, floor
from typing import Any

from attrs import evolve, frozen
from twisted.internet.threads import deferToThread

from sandbox_billing.devnet.wallet import Wallet
from sandbox_billing.errors import BrokenLaw
from sandbox_billing.ledger.laws import l2_disjoint, l5_rising, l6_books, standing
from sandbox_billing.ledger.voucher import ChargeRecord, Merged, Paid, Partial
from tests.blackbox.crowd import Window
from tests.blackbox.scene import PRICES, RECONCILE_SECONDS, Scene, cost, preimage_hash


SLACK = 2 * RECONCILE_SECONDS + 2
"""A reconcile period, which a busy machine makes two or more, and rounding at both ends."""


@frozen(kw_only=True)
class Account:
    """
    What is known of a wallet.

    @ivar settled: Its VoucherSettled, by nonce, in the order of the chain.
    @ivar moved: neuron that its events say have moved, by nonce.
    @ivar left: neuron it has on chain, pending refund included.
    """

    wallet: Wallet
    paid_in: int
    records: Sequence[ChargeRecord]
    settled: dict[int, Any]
    moved: dict[int, int]
    left: int

    @classmethod
    async def of(cls, scene: Scene, wallet: Wallet, paid_in: int) -> Account:
        """Read it all."""
        records = await scene.records(wallet)
        found = await deferToThread(scene.settled, wallet)
        found.sort(key=lambda event: (event["blockNumber"], event["logIndex"]))
        events = [event["args"] for event in found]
        short = {int(e["nonce"]): int(e["paid"]) for e in await deferToThread(_shortfalls, wallet)}
        balance, pending, _at = await deferToThread(wallet.balances)
        settled = {int(e["nonce"]): e for e in events}
        assert len(settled) == len(events), f"a nonce was settled twice: {events}"
        moved = {n: short.get(n, int(e["totalFee"])) for n, e in settled.items()}
        return cls(
            wallet=wallet,
            paid_in=paid_in,
            records=records,
            settled=settled,
            moved=moved,
            left=balance + pending,
        )


def _shortfalls(wallet: Wallet) -> list[Any]:
    found = wallet.contract.events.VoucherShortfall().get_logs(
        from_block=0, argument_filters={"user": wallet.account.address}
    )
    return [event["args"] for event in found]


def money(account: Account) -> Iterator[str]:
    """Events, usage records and balance changes say the same, to the neuron (L1, L5, L6, L12)."""
    name, records = account.wallet.name, account.records
    total = sum(account.moved.values())
    if account.left != account.paid_in - total:
        yield f"L1: {name} paid in {account.paid_in}, {total} moved, and {account.left} is there"
    try:
        books = l6_books(records)
    except BrokenLaw as why:
        yield f"{name}: {why}"
        return
    if books.settled != total or books.charged != total:
        yield f"L6: {name} was charged {books.charged}, {books.settled} are booked, {total} moved"
    sealed = {int(r.seal.nonce): r for r in records if r.seal is not None}
    if set(sealed) != set(account.settled):
        yield f"L6: {name} has vouchers {sorted(sealed)}, and settled {sorted(account.settled)}"
        return
    for nonce, record in sealed.items():
        event, seal = account.settled[nonce], record.seal
        assert seal is not None
        usage = bytes.fromhex(seal.usage_hash.removeprefix("0x"))
        if (int(event["totalFee"]), bytes(event["usageHash"])) != (seal.fee, usage):
            yield f"L5: {name}'s nonce {nonce} is another voucher on chain than {record.charge.id}"
        merged = any(
            isinstance(r.state, Merged) and r.state.into == record.charge.id for r in records
        )
        if not merged and record.charge.kind.value != "debt" and preimage_hash(record) != usage:
            yield f"L5: {record.charge.id} does not explain its usage hash"
        said = {Paid: seal.fee, Partial: getattr(record.state, "paid", None)}
        if said.get(type(record.state)) != account.moved[nonce]:
            yield f"L6: {record.charge.id} is {record.state}; {account.moved[nonce]} moved"
    try:
        l5_rising(list(account.settled))
    except BrokenLaw as why:
        yield f"{name}: {why}"


def seconds(scene: Scene, charges: Iterable[ChargeRecord], windows: list[Window]) -> Iterator[str]:
    """
    Every second Daytona showed running is charged once, but for the edges that L3 and L13
    allow; none other is.
    """
    records = list(charges)
    late = 2 * scene.late_seconds()
    windows = [evolve(w, since=w.since - late, until=w.until + late) for w in windows]
    try:
        l2_disjoint(standing(records))
    except BrokenLaw as why:
        yield str(why)
    periods: dict[str, list[tuple[int, int]]] = {}
    for record in records:
        charge = record.charge
        if isinstance(record.state, Merged) or not charge.units:
            continue
        periods.setdefault(charge.sandbox, []).append((charge.period_start, charge.period_end))
        if charge.kind.value == "compute" and _odd(charge.amount, charge.units):
            yield f"L2: {charge.id} asks {charge.amount} for {charge.units} s"
    for sandbox, row in scene.world.simulator.records.items():
        runs = [(a, float("inf") if b is None else b) for a, b in row.shown.intervals]
        mine = sorted(periods.pop(sandbox, []))
        for start, end in mine:
            if not any(floor(a) <= start and end <= ceil(b) for a, b in runs):
                yield f"L3: {sandbox} was charged for [{start}, {end}) and ran in {runs}"
        for start, end in runs:
            yield from _holes(sandbox, (start, end), mine, windows, SLACK + late)
        fees = [r for r in records if r.charge.id == f"{sandbox}:create"]
        if len(fees) > 1 or (mine and not fees):
            yield f"B1: {sandbox} ran and has {len(fees)} create fees"
        if any(r.charge.amount != PRICES.create_fee for r in fees):
            yield f"B1: {sandbox} has the create fee {fees}"
    for sandbox in periods:
        yield f"L3: {sandbox} was charged, and Daytona has never had it"


def _odd(amount: int, units: int) -> bool:
    """Whether no period of so many seconds costs that; where it starts, rounding decides."""
    return not cost(units) <= amount <= cost(units) + 1


def _holes(
    sandbox: str,
    run: tuple[float, float],
    periods: list[tuple[int, int]],
    windows: list[Window],
    slack: float,
) -> Iterator[str]:
    start, end = run
    late = _reach(windows, start, start + slack, slack)
    mirrored = [Window(since=-w.until, until=-w.since) for w in windows]
    early = -_reach(mirrored, -end, -(end - slack), slack)
    if late >= early:
        return
    at = float(floor(start))
    inside = [(float(a), float(b)) for a, b in periods if b > start and a < end]
    for a, b in [*inside, (float(ceil(end)), 0.0)]:
        if a > at and not (at <= start and a <= late) and not (a >= end - 1 and at >= early):
            yield f"L4: {sandbox} ran in [{start:.1f}, {end:.1f}); [{at}, {a}) was never charged"
        at = max(at, b)


def _reach(windows: Iterable[Window], start: float, limit: float, slack: float) -> float:
    """How late it is still in time to notice what happened at C{start}."""
    windows = list(windows)
    moving = True
    while moving:
        moving = False
        for window in windows:
            if window.since <= limit and start <= window.until and window.until + slack > limit:
                limit, moving = window.until + slack, True
    return limit
