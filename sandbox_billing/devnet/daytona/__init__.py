"""
Daytona as it really behaves, in memory: what the devnet runs against instead of machines.

The rules are the measured ones (list dialects, derived states, self-stops that
are reported late, creates that fail and leave a row).  L{simulator} keeps the
sandboxes, L{resource} speaks HTTP, L{service} listens.
"""

from __future__ import annotations

from sandbox_billing.devnet.daytona.dialect import Dialect
from sandbox_billing.devnet.daytona.faults import Fault, FaultKind
from sandbox_billing.devnet.daytona.records import Snapshot
from sandbox_billing.devnet.daytona.resource import simulator_resource, simulator_site
from sandbox_billing.devnet.daytona.service import DaytonaSimulatorService
from sandbox_billing.devnet.daytona.simulator import DaytonaSimulator, Timings


__all__ = [
    "DaytonaSimulator",
    "DaytonaSimulatorService",
    "Dialect",
    "Fault",
    "FaultKind",
    "Snapshot",
    "Timings",
    "simulator_resource",
    "simulator_site",
]
