"""
When a wallet is told something: what was told last, against what is the case now.

Each level of C{WARN_BEFORE_SEC} is told once for each descent below it: it is armed, told, and
armed again when the wallet has climbed above it, by a margin.  More money arms it at once.  A
rate that fell has to stay low for a while first: whoever runs short jobs beside a long one is
above and below a level with each of them.

Tests: C{tests.ledger.test_warning}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import evolve, field, frozen

from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.notice import Kind, Notice


REST_SECONDS = 600
"""So long a wallet is above a level by what it runs, before that is told again."""

LEAST_MARGIN_SECONDS = 60

ORDER_SECONDS = 30
"""Between two looks at whether a stop order still stands."""


@frozen(kw_only=True)
class Level:
    """
    One threshold of one wallet.

    @ivar seconds: Of running time left.
    @ivar armed_at: Names the descent: unix seconds, later than that of the descent before.
    @ivar told: In this descent.
    @ivar above_since: Since when a wallet that was told has been above it; None below.
    """

    seconds: int
    armed_at: UnixSeconds
    told: bool = False
    above_since: UnixSeconds | None = None


@frozen(kw_only=True)
class Picture:
    """
    What a wallet was told of last; compared with what is found the next time.

    @ivar debts: Exposure fields of what earlier vouchers left owed.
    @ivar orders: Sandboxes with a stop order and its reason.
    @ivar leaving_at: Of the provider, as it was announced.
    """

    balance: Neuron
    pending_refund: Neuron
    acknowledged: bool
    signer_version: int | None
    blocked: str | None
    debts: tuple[str, ...] = ()
    orders: tuple[tuple[str, str], ...] = ()
    leaving_at: UnixSeconds | None = None
    levels: tuple[Level, ...] = ()


@frozen(kw_only=True)
class Standing:
    """
    How a wallet stands now.

    @ivar acknowledge_until: When what runs without an acknowledgement is stopped; None where
        the signer never changed.
    @ivar was_blocked: Why it was since the last look, also when that was lifted again.
    @ivar debts: By exposure field, neuron.
    @ivar orders: Sandboxes of which a stop was ordered, with the reason: it stands, or the
        sandbox is open no more.
    @ivar open: Sandboxes with a session.
    @ivar dry_at: L{runs_dry_at<sandbox_billing.ledger.hold.runs_dry_at>}.
    """

    wallet: Address
    balance: Neuron
    pending_refund: Neuron
    refund_unlock_at: UnixSeconds
    acknowledged: bool
    signer_version: int | None
    acknowledge_until: UnixSeconds | None
    blocked: str | None
    was_blocked: str | None = None
    debts: Mapping[str, Neuron] = field(factory=dict)
    orders: Mapping[SandboxId, str] = field(factory=dict)
    open: tuple[SandboxId, ...] = ()
    leaving_at: UnixSeconds | None = None
    dry_at: UnixSeconds | None = None


Told = tuple[Notice, str]
"""A notice and what it is told for."""


@frozen(kw_only=True)
class Findings:
    """
    @ivar picture: To be kept, with the notices, in one step.
    @ivar again: When to look without being asked, unix seconds; None for never.
    """

    picture: Picture
    notices: tuple[Told, ...]
    again: UnixSeconds | None


def margin(level: int) -> int:
    """How far above a level it is armed again: a tenth of it, seconds."""
    return max(LEAST_MARGIN_SECONDS, level // 10)


def compare(
    before: Picture | None, found: Standing, levels: Sequence[int], now: UnixSeconds
) -> Findings:
    """
    What a wallet is to be told.

    @param before: None for one that nobody has looked at: what has I{changed} is not known
        then, and only what is the case is told.
    @param levels: Seconds of running time left.
    """
    richer = before is not None and found.balance > before.balance
    known = {level.seconds: level for level in before.levels} if before is not None else {}
    steps = [_step(known.get(each), each, found, now, richer=richer) for each in levels]
    due = [level.seconds for level, is_due in steps if is_due]
    notices = list(_changes(before, found, now))
    if due and found.blocked is None and found.dry_at is not None and found.dry_at > now:
        # Whoever starts with half an hour left is told that, and not of a day.
        (nearest,) = (level for level, _ in steps if level.seconds == min(due))
        notices.append(_runs_dry(found, nearest, now))
    after = tuple(evolve(level, told=True) if is_due else level for level, is_due in steps)
    picture = Picture(
        balance=found.balance,
        pending_refund=found.pending_refund,
        acknowledged=found.acknowledged,
        signer_version=found.signer_version,
        blocked=found.blocked,
        debts=tuple(sorted(found.debts)),
        orders=tuple(sorted((s, why) for s, why in found.orders.items() if s in found.open)),
        leaving_at=found.leaving_at,
        levels=after,
    )
    return Findings(picture=picture, notices=tuple(notices), again=_again(picture, found, now))


def _step(
    level: Level | None, seconds: int, found: Standing, now: UnixSeconds, *, richer: bool
) -> tuple[Level, bool]:
    """@return: The level as it is now, and whether it is due to be told."""
    left = None if found.dry_at is None else found.dry_at - now
    if level is None:
        level = Level(seconds=seconds, armed_at=now)
    if level.told:
        if left is not None and left < seconds + margin(seconds):
            return evolve(level, above_since=None), False
        since = now if level.above_since is None else level.above_since
        if not richer and now - since < REST_SECONDS:
            return evolve(level, above_since=since), False
        level = Level(seconds=seconds, armed_at=UnixSeconds(max(now, level.armed_at + 1)))
    return level, left is not None and left <= seconds


def _again(picture: Picture, found: Standing, now: UnixSeconds) -> UnixSeconds | None:
    # An order that is dropped lists nobody.
    moments = [now + ORDER_SECONDS] if picture.orders else []
    for level in picture.levels:
        if level.above_since is not None:
            moments.append(level.above_since + REST_SECONDS)
        elif not level.told and found.dry_at is not None:
            moments.append(found.dry_at - level.seconds)
    return UnixSeconds(max(now + 1, min(moments))) if moments else None


def _runs_dry(found: Standing, level: Level, now: UnixSeconds) -> Told:
    notice = Notice(
        kind=Kind.RUNS_DRY,
        at=now,
        wallet=found.wallet,
        facts={
            "level_seconds": str(level.seconds),
            "runs_dry_at": str(found.dry_at),
            "balance": str(found.balance),
        },
    )
    return notice, f"runs_dry:{level.seconds}:{level.armed_at}"


def _changes(before: Picture | None, found: Standing, now: UnixSeconds) -> Iterable[Told]:
    if before is not None:
        yield from _moved(before, found, now)

    def told(kind: Kind, key: str, sandbox: str | None = None, **facts: str) -> Told:
        only = None if sandbox is None else SandboxId(sandbox)
        notice = Notice(kind=kind, at=now, wallet=found.wallet, sandbox=only, facts=facts)
        return notice, f"{kind.value}:{key}"

    for name in sorted(set(found.debts) - set(before.debts if before else ())):
        charge = name.partition(":")[2]
        yield told(Kind.DEBT, charge, charge=charge, owed=str(found.debts[name]))
    reason = found.was_blocked if found.blocked is None else found.blocked
    if reason is not None and (before is None or before.blocked != reason):
        yield told(Kind.BLOCKED, str(now), reason=reason)
    ordered = dict(before.orders) if before is not None else {}
    for sandbox, why in sorted(found.orders.items()):
        if ordered.get(sandbox) != why:
            yield told(Kind.STOP_ORDERED, f"{sandbox}:{now}", sandbox, reason=why)
        if sandbox not in found.open:
            yield told(Kind.STOPPED, f"{sandbox}:{now}", sandbox, reason=why)
    stakes = found.open or found.balance or found.pending_refund
    announced = before.leaving_at if before is not None else None
    if found.leaving_at not in (None, announced) and stakes:
        leaving = str(found.leaving_at)
        yield told(Kind.PROVIDER_LEAVING, leaving, leave_at=leaving)


def _moved(before: Picture, found: Standing, now: UnixSeconds) -> Iterable[Told]:
    """What only the chain has changed."""

    def told(kind: Kind, key: str, **facts: str) -> Told:
        notice = Notice(kind=kind, at=now, wallet=found.wallet, facts=facts)
        return notice, f"{kind.value}:{key}"

    if found.balance > before.balance:
        yield told(Kind.TOPPED_UP, str(now), balance=str(found.balance))
    if found.pending_refund > before.pending_refund:
        yield told(
            Kind.REFUND_REQUESTED,
            str(now),
            amount=str(found.pending_refund),
            unlock_at=str(found.refund_unlock_at),
        )
    version = found.signer_version
    raised = version is not None and version > (before.signer_version or 0)
    if raised and before.acknowledged and not found.acknowledged:
        until = {} if found.acknowledge_until is None else {"until": str(found.acknowledge_until)}
        yield told(Kind.ACKNOWLEDGE_NEEDED, str(version), signer_version=str(version), **until)
