"""
What the Go implementation left, and what else an import rests on: values, gathered by others.

Tests: L{tests.ledger.test_go_plan}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum

from attrs import field, frozen

from sandbox_billing.ledger.account import ServiceRecord, Settlement
from sandbox_billing.ledger.go_forms import NOBODY, Ghost, GoSession, GoVoucher
from sandbox_billing.ledger.identity import Address, Nonce, SandboxId
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.ledger.reconciliation import Row
from sandbox_billing.ledger.voucher import Charge


class Source(Enum):
    """Which of its lists an entry is from."""

    QUEUE = "queue"
    HELD = "held"
    DEAD = "dead letters"


@frozen(kw_only=True)
class GoEntry:
    """
    @ivar key: The list.
    @ivar place: In it, from 0, what is done included.
    @ivar done: Whether it was carried over by an earlier run.
    """

    key: str
    source: Source
    place: int
    raw: bytes = field(repr=False)
    voucher: GoVoucher
    done: bool = False


@frozen(kw_only=True)
class GoFacts:
    """
    What it left in Redis.

    @ivar sessions: Those to be carried over.
    @ivar finished: Those that an earlier run has carried over.
    @ivar nonces: The last ones given, of the wallets of all this.
    @ivar stops: Sandboxes to be stopped, and why; without an order of ours.
    @ivar charged_until: Of sandboxes that our own books know.
    """

    sessions: tuple[GoSession, ...] = ()
    finished: tuple[GoSession, ...] = ()
    ghosts: tuple[Ghost, ...] = ()
    entries: tuple[GoEntry, ...] = ()
    nonces: Mapping[Address, Nonce] = field(factory=dict)
    stops: Mapping[SandboxId, str] = field(factory=dict)
    charged_until: Mapping[SandboxId, UnixSeconds] = field(factory=dict)


@frozen(kw_only=True)
class GoWorld:
    """
    What else is known.

    @ivar rows: Daytona's list.
    @ivar prices: The environment's.
    @ivar nonces: The contract's last ones.
    @ivar settlements: Of our provider, all there are.
    @ivar accepted: Up to which nonce it was written down earlier that settled vouchers have no
        charge here.
    @ivar interval: VOUCHER_INTERVAL_SEC.
    @ivar stop_delay: STOP_DELAY_SEC.
    @ivar hashed: A charge's usage hash.
    @ivar verifies: Whether the registered signer signed a voucher.
    """

    rows: Mapping[SandboxId, Row]
    service: ServiceRecord
    prices: Prices
    nonces: Mapping[Address, Nonce]
    settlements: tuple[Settlement, ...]
    accepted: Mapping[Address, Nonce] = field(factory=dict)
    interval: int
    stop_delay: int
    now: UnixSeconds
    hashed: Callable[[Charge], str] = field(eq=False)
    verifies: Callable[[GoVoucher], bool] = field(eq=False)


def wallets_of(facts: GoFacts) -> tuple[Address, ...]:
    """Everybody that any of it is of."""
    found = {one.owner for one in (*facts.sessions, *facts.finished)}
    found |= {entry.voucher.user for entry in facts.entries}
    return tuple(sorted((found | facts.nonces.keys()) - {NOBODY}))


def price_of(go: GoSession, world: GoWorld) -> Neuron:
    """What the Go system charges for a second: a price of 0 is the flat one to it, too."""
    return go.price or world.prices.flat_per_second
