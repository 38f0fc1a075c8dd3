"""
An import's plan, for people and for scripts.

Tests: L{tests.cli.test_import_go}.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sandbox_billing.cli.import_go_world import Shown
from sandbox_billing.ledger.go_judge import VoucherStep
from sandbox_billing.ledger.voucher import DeadLettered


def document_of(shown: Shown, made: int | None) -> dict[str, Any]:
    """
    For C{--json}.

    @param made: How many writes were made; None when none were to be.
    """
    plan = shown.plan
    return {
        "block": shown.block.number,
        "obstacles": list(shown.obstacles),
        "written": made or 0,
        "sessions": [
            {
                "sandbox": one.go.sandbox,
                "owner": one.go.owner.hex,
                "charged_until": one.session.charged_until,
                "prepaid": one.go.prepaid,
                "rate_per_minute": str(one.session.rate),
                "stop": one.stop,
            }
            for one in plan.sessions
        ],
        "vouchers": [_voucher(one) for one in plan.vouchers],
        "wallets": [{"wallet": one.wallet.hex, "nonce": str(one.nonce)} for one in plan.wallets],
        "stops": [{"sandbox": sandbox, "reason": reason} for sandbox, reason in plan.stops],
        "before": str(plan.fees),
        "after": {name: str(amount) for name, amount in plan.amounts.items()},
        "put_away": sorted(shown.found.leftovers),
        "left_alone": list(shown.found.others),
        "notes": list(plan.notes),
    }


def _voucher(step: VoucherStep) -> dict[str, Any]:
    entry, record = step.entry, step.record
    nonce = entry.voucher.nonce
    return {
        "from": entry.key,
        "place": entry.place,
        "user": entry.voucher.user.hex,
        "fee": str(entry.voucher.fee),
        "nonce": None if nonce is None else str(nonce),
        "charge": None if record is None else record.charge.id,
        "kind": None if record is None else record.charge.kind.value,
        "state": None if record is None else type(record.state).__name__.lower(),
        "reason": record.state.reason if _is_dead(record) else None,  # type: ignore[union-attr]
    }


def _is_dead(record: Any) -> bool:
    return record is not None and isinstance(record.state, DeadLettered)


def lines_of(shown: Shown) -> list[str]:
    """What a human should know beside the sums."""
    return list(_lines(shown))


def _lines(shown: Shown) -> Iterable[str]:
    plan, found = shown.plan, shown.found
    for obstacle in shown.obstacles:
        yield f"cannot be carried out now: {obstacle}"
    for session in plan.sessions:
        go = session.go
        paid = "prepaid" if go.prepaid else "charged"
        yield f"session {go.sandbox} of {go.owner}: {paid} until {session.session.charged_until}"
    for step in plan.vouchers:
        if step.record is not None and isinstance(step.record.state, DeadLettered):
            yield f"{step.record.charge.id}: {step.entry.voucher.fee}: {step.record.state.reason}"
    yield from plan.notes
    if found.leftovers:
        yield f"put away, not needed here: {', '.join(sorted(found.leftovers))}"
    if found.others:
        yield (
            f"left alone, of another provider: {', '.join(found.others)}; the daemon does not"
            " start beside them: give each provider a database of its own"
        )
    if found.requests:
        yield (
            f"{found.requests} signed requests are remembered by the Go system: they end within"
            " minutes; start the daemon after that, or some could be used once more"
        )
