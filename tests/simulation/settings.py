"""How long things take here: short, so that a story is a minute of simulated time."""

from __future__ import annotations

from attrs import evolve

from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.rating import Prices
from tests.fixtures import FEE, PER_CPU, PER_GIB, PER_SECOND, POLICY


LEASE = 6
SWEEP = 4
RESTART = 1
"""From a death to the next life."""

INTERVAL, STOP_DELAY = 20, 5
HOLD = PER_SECOND * (INTERVAL + STOP_DELAY)

RECOVERY = RESTART + LEASE + LEASE // 3 + 2 * SWEEP + 2
"""
From a disturbance to the first sweep of a worker that is well again: a life begins, waits
for the lease, asks for it every third of that; and a sweep of its own may be spoilt.
"""

SIM_POLICY = evolve(
    POLICY,
    voucher_interval=INTERVAL,
    stop_delay=STOP_DELAY,
    settle_max_age=10,
    mirror_max_age=10,
    ack_grace=12,
)

DEARER = Prices(
    per_cpu_per_minute=Neuron(2 * PER_CPU),
    per_memory_gib_per_minute=Neuron(2 * PER_GIB),
    create_fee=Neuron(FEE),
)

RATES = frozenset({60 * PER_SECOND, 120 * PER_SECOND})
"""neuron a minute of what may run here, before and after a change of price."""
