"""What tokens with a spend limit have caused, checked at a quiet point."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.identity import SandboxId, split_from
from sandbox_billing.ledger.laws import standing
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.spending import Spending
from sandbox_billing.ledger.token import Allowance, TokenId
from sandbox_billing.ledger.voucher import Charge, ChargeKind
from tests.simulation.books import StoredBooks
from tests.simulation.clock import BASE
from tests.simulation.seconds import LONGEST_STOP_RETRY, STOP_SLACK
from tests.simulation.settings import RATES, STOP_DELAY
from tests.simulation.world import KEYS, World


def started(world: World) -> dict[SandboxId, set[Allowance | None]]:
    """By which tokens each sandbox was ever run."""
    found: dict[SandboxId, set[Allowance | None]] = defaultdict(set)
    for written in world.keyspace.history:
        for step in written.commit.writes:
            if step.name == "SET" and step.key.startswith("billing:compute:"):
                session = decode(Session, step.arguments[0])  # type: ignore[arg-type]
                found[session.sandbox].add(session.allowance)
    return found


def _left_over(charge: Charge) -> bool:
    """A debt that was charged before, and not paid; not the rest of a charge that was split."""
    return charge.kind is ChargeKind.DEBT and split_from(charge.id) is None


def spending_of(world: World, token: TokenId) -> Spending:
    """What is stored of a token."""
    fields: Any = world.keyspace.values().get(KEYS.spending(token), {})
    named = {name.decode(): value.decode() for name, value in fields.items()}
    named.pop("#rev", None)
    return Spending(named)


def spent(world: World, books: StoredBooks) -> Iterator[str]:
    """
    L7 of tokens: none causes more than its limit and what runs until a stop is through; and
    what is counted is what was charged.
    """
    ran = started(world)
    now = int(BASE + world.clock.rightNow)
    for allowance in {one for ones in ran.values() for one in ones if one is not None}:
        spending = spending_of(world, allowance.token)
        caused = spending.spent(now)
        # Nothing is seen, nor stopped, while something is wrong.
        wrong = sum(w.until - w.since + LONGEST_STOP_RETRY for w in world.windows if not w.chain)
        late = STOP_DELAY + STOP_SLACK + world.simulator.timings.stop_seconds + wrong
        if caused > allowance.limit + max(RATES) * late / 60:
            yield f"L7: the token {allowance.token} caused {caused} of {allowance.limit}"
        mine = {sandbox for sandbox, by in ran.items() if by == {allowance}}
        mixed = any(allowance in by and by != {allowance} for by in ran.values())
        charged = sum(
            charge.amount
            for charge in standing(books.charges.values())
            if charge.sandbox in mine and not _left_over(charge)
        )
        if not (mixed or spending.ongoing or world.rollbacks) and caused != charged:
            yield f"L7: of the token {allowance.token} {caused} are counted, {charged} charged"
