"""
The vocabulary of what is measured: nothing else is, and each of these somewhere.

Pure: whoever measures names a constant of this module and hands it to an
L{IMeasures<sandbox_billing.interfaces.IMeasures>}.  C{docs/metrics.rst} is made from
L{VOCABULARY}, and the alert rules are held to it.

Labels are few by construction: a route is a pattern of the table, a call a method of
a port.  Nothing that a client or a wallet chooses becomes one.

Tests: C{tests.test_measures}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum

from attrs import Attribute, field, frozen


PREFIX = "sandbox_billing_"


class Kind(Enum):
    """How Prometheus is to read it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


def _is_name(measure: Measure, attribute: Attribute[str], name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", name):
        raise ValueError(f"{name!r} is no name of a measure")


@frozen(kw_only=True)
class Measure:
    """
    One thing that is measured.

    @ivar name: Without the prefix; a counter's ends in C{_total}.
    @ivar unit: Of its values, for people: C{seconds}, C{neuron}, ...
    @ivar help: What it is, in one line.
    @ivar labels: Every value has exactly these.
    @ivar buckets: Upper bounds of a histogram's, without infinity.
    @ivar known: Of a counter with one label, values that it is sure to have: they stand at 0
        from the start, so that the first step is seen as one.
    """

    name: str = field(validator=_is_name)
    kind: Kind
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    known: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """As it is scraped."""
        return PREFIX + self.name

    def check(self, kind: Kind, labels: Mapping[str, str]) -> None:
        """
        @raise ValueError: It is not of this kind, or not measured under these labels.
        """
        if kind is not self.kind:
            raise ValueError(f"{self.name} is a {self.kind.value}, not a {kind.value}")
        if labels.keys() != set(self.labels):
            raise ValueError(f"{self.name} is measured by {self.labels}, not {tuple(labels)}")


def _counter(name: str, unit: str, text: str, *labels: str, known: tuple[str, ...] = ()) -> Measure:
    return Measure(name=name, kind=Kind.COUNTER, unit=unit, help=text, labels=labels, known=known)


def _gauge(name: str, unit: str, text: str, *labels: str) -> Measure:
    return Measure(name=name, kind=Kind.GAUGE, unit=unit, help=text, labels=labels)


def _histogram(
    name: str, unit: str, text: str, *labels: str, buckets: tuple[float, ...]
) -> Measure:
    return Measure(
        name=name, kind=Kind.HISTOGRAM, unit=unit, help=text, labels=labels, buckets=buckets
    )


_QUICK = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_LAG = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_PATIENT = (1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)

# --- the doors ----------------------------------------------------------------------

REQUEST_SECONDS = _histogram(
    "request_seconds",
    "seconds",
    "Requests, from their first line to their answer; a stream's to its end.",
    *("route", "method", "status"),
    buckets=_QUICK,
)
CONNECTIONS = _gauge("connections", "connections", "Open connections of clients.")
STREAMS = _gauge("streams", "streams", "Open streams to sandboxes, and listeners for notices.")

# --- what we depend on --------------------------------------------------------------

DAYTONA_SECONDS = _histogram(
    "daytona_seconds",
    "seconds",
    "Calls of Daytona's API, by what they are for: ok, refused, failed, late or unknown.",
    *("call", "outcome"),
    buckets=_QUICK,
)
CHAIN_SECONDS = _histogram(
    "chain_seconds",
    "seconds",
    "Calls of the chain, each over one or more nodes: ok, refused, failed or unknown.",
    *("call", "outcome"),
    buckets=_QUICK,
)
CLOCK_OFFSET_SECONDS = _gauge(
    "clock_offset_seconds",
    "seconds",
    "Redis's clock less this machine's; start-up refuses more than 2.",
)

# --- sandboxes and charges ----------------------------------------------------------

SESSIONS = _gauge("sessions", "sandboxes", "Sandboxes that are being metered.")
CHARGES = _counter(
    "charges_total",
    "charges",
    "Charges that were stored; debt: what a voucher left owed.",
    "kind",
    known=("create", "compute", "debt"),
)
CHARGED_NEURON = _counter(
    "charged_neuron_total", "neuron", "What those charges come to; debts were counted before."
)
RECONCILE_DIFFERENCES = _counter(
    "reconcile_differences_total",
    "differences",
    "What sweeps found to differ between Daytona and the books.",
    "kind",
    known=(
        *("adopted", "closed", "resized", "opened", "deleted", "released", "missing"),
        "strange",
    ),
)
SWEEP_AGE_SECONDS = _gauge(
    "sweep_age_seconds", "seconds", "Since the last sweep that saw all of Daytona's list."
)
STOP_ORDERS = _gauge("stop_orders", "orders", "Sandboxes that are to be stopped.")
STOP_OLDEST_AGE_SECONDS = _gauge(
    "stop_oldest_age_seconds", "seconds", "Since the oldest of them was ordered; 0 without any."
)
STOP_SECONDS = _histogram(
    "stop_seconds",
    "seconds",
    "From an order to the observation that its sandbox runs no more.",
    buckets=_PATIENT,
)

# --- settlement ---------------------------------------------------------------------

QUEUE_CHARGES = _gauge(
    "queue_charges", "charges", "Charges that are not final, by what has become of them.", "state"
)
QUEUE_OLDEST_AGE_SECONDS = _gauge(
    "queue_oldest_age_seconds", "seconds", "Since the oldest of them was made; 0 without any."
)
OLDEST_UNSETTLED_AGE_SECONDS = _gauge(
    "oldest_unsettled_age_seconds",
    "seconds",
    "Since the oldest charge that could be settled was made: past the lock time users may leave.",
)
BATCHES_IN_FLIGHT = _gauge("batches_in_flight", "batches", "Batches without an outcome.")
BATCH_VOUCHERS = _histogram(
    "batch_vouchers",
    "vouchers",
    "Vouchers in a batch, when it is signed.",
    buckets=(1.0, 2.0, 5.0, 10.0, 20.0, 35.0, 50.0, 100.0, 200.0, 500.0, 1000.0),
)
BATCH_GAS = _histogram(
    "batch_gas",
    "gas",
    "Gas that the transaction of a resolved batch took.",
    buckets=(50e3, 75e3, 100e3, 150e3, 250e3, 500e3, 1e6, 2e6, 5e6, 10e6, 20e6),
)
GAS_USED = _counter("gas_used_total", "gas", "Gas that transactions of resolved batches took.")
GAS_PRICE_NEURON = _gauge(
    "gas_price_neuron", "neuron per gas", "What the next transaction would offer, before the cap."
)
GAS_FEE_CAP_NEURON = _gauge(
    "gas_fee_cap_neuron", "neuron per gas", "The most that a transaction may offer."
)
GAS_WALLET_NEURON = _gauge("gas_wallet_neuron", "neuron", "What the gas account holds.")
GAS_FLOOR_NEURON = _gauge("gas_floor_neuron", "neuron", "Below so much nothing is sent.")
GAS_WALLET_DAYS = _gauge(
    "gas_wallet_days",
    "days",
    "How long the gas account lasts as it was used in the last week; +Inf while unused.",
)
SETTLED_VOUCHERS = _counter(
    "settled_vouchers_total",
    "vouchers",
    "Vouchers by what the chain said of them; owed and void ones go out again.",
    "outcome",
    known=("paid", "partial", "parked", "owed", "void", "dead"),
)
SETTLED_NEURON = _counter("settled_neuron_total", "neuron", "What the chain paid for them.")
CONFIRMATION_SECONDS = _histogram(
    "confirmation_seconds",
    "seconds",
    "From the first broadcast of a batch to its resolution.",
    buckets=_PATIENT,
)
CHAIN_HEAD_BLOCK = _gauge("chain_head_block", "block", "The newest block that was seen.")
MIRROR_BLOCK = _gauge("mirror_block", "block", "The block up to which the chain is followed.")
MIRROR_AGE_SECONDS = _gauge(
    "mirror_age_seconds", "seconds", "Since the mirror of the chain was last brought up to date."
)
DEAD_LETTERS = _gauge(
    "dead_letters", "letters", "What a human has to look at, by what it is about.", "kind"
)
QUARANTINED_WALLETS = _gauge(
    "quarantined_wallets", "wallets", "Wallets whose books a human has to look at."
)
BLOCKED_WALLETS = _gauge("blocked_wallets", "wallets", "Wallets that may run nothing.")

# --- the process --------------------------------------------------------------------

BUILD_INFO = _gauge(
    "build_info", "", "Always 1: which release, and in which role.", *("version", "role")
)
READY = _gauge("ready", "0 or 1", "Whether /readyz answers 200.")
NOT_READY = _gauge("not_ready", "0 or 1", "1 for each part that has trouble.", "part")
LEASE_HELD = _gauge("lease_held", "0 or 1", "Whether this process is the worker.")
REACTOR_LAG_SECONDS = _histogram(
    "reactor_lag_seconds",
    "seconds",
    "How late a call comes that is due every second.",
    buckets=_LAG,
)
TURN_SECONDS = _histogram(
    "turn_seconds", "seconds", "Turns of services, good or bad.", "service", buckets=_QUICK
)
TURN_FAILURES = _counter("turn_failures_total", "turns", "Turns that did not end well.", "service")
LAST_GOOD_TURN = _gauge(
    "last_good_turn_timestamp_seconds", "unix seconds", "When a turn last ended well.", "service"
)
ADMISSIONS_PAUSED = _gauge("admissions_paused", "0 or 1", "Whether operators let nobody in.")
OPERATOR_ORDERS = _gauge(
    "operator_orders", "orders", "What operators ordered, by how far it has come.", "state"
)

VOCABULARY: tuple[Measure, ...] = tuple(
    found for found in dict(globals()).values() if isinstance(found, Measure)
)
"""All of them, in the order of this file."""
