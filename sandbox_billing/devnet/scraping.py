"""
What a daemon measured, scraped as Prometheus would, against what the story's table says.

Tests: C{tests.devnet.test_scraping}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isclose
from typing import Any, TypeAlias

from prometheus_client.parser import text_string_to_metric_families

from sandbox_billing.ledger.laws import l6_books, standing
from sandbox_billing.ledger.money import format_0g
from sandbox_billing.ledger.voucher import ChargeKind, ChargeRecord, Paid, Partial
from sandbox_billing.measures import PREFIX


Figures: TypeAlias = Mapping[tuple[str, ...], float]
"""By a name without its prefix and the labels' values, in the order of the labels' names."""


def read_figures(text: str) -> Figures:
    """What a scrape says, of us and of the process."""
    return {
        (
            sample.name.removeprefix(PREFIX),
            *(sample.labels[name] for name in sorted(sample.labels)),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def scrape(http: Any, url: str) -> Figures:
    """
    @param http: treq's client.
    @param url: Of the daemon's metrics.
    """
    response = await http.get(url)
    return read_figures(await response.text())


def disagreements(found: Figures, records: Iterable[ChargeRecord]) -> list[str]:
    """
    Where the figures say something else than the books.

    @param records: Of all wallets.
    """
    kept = tuple(records)
    settled = [one for one in kept if isinstance(one.state, Paid | Partial)]
    charged = [one for one in standing(kept) if one.kind is not ChargeKind.DEBT]
    wrong = []
    for text, told, true in (
        ("sandboxes metered", found.get(("sessions",)), 0),
        (
            "vouchers settled",
            _sum(found, "settled_vouchers_total", "paid", "partial"),
            len(settled),
        ),
        ("neuron settled", found.get(("settled_neuron_total",)), l6_books(kept).settled),
        ("neuron charged", found.get(("charged_neuron_total",)), sum(c.amount for c in charged)),
        ("worker", found.get(("lease_held",)), 1),
    ):
        if told is None or not isclose(told, true, rel_tol=1e-9):
            wrong.append(f"{text}: {told} instead of {true}")
    return wrong


def in_words(found: Figures) -> str:
    """One line of what was scraped."""
    vouchers = _sum(found, "settled_vouchers_total", "paid", "partial")
    requests = sum(n for key, n in found.items() if key[0] == "request_seconds_count")
    charges = sum(n for key, n in found.items() if key[0] == "charges_total")
    return (
        f"{len(found)} figures: {requests:.0f} requests, {charges:.0f} charges,"
        f" {vouchers:.0f} vouchers settled for {found['gas_used_total',]:,.0f} gas,"
        f" {format_0g(int(found['settled_neuron_total',]))} earned, nothing runs"
    )


def _sum(found: Figures, name: str, *labels: str) -> float:
    return sum(found.get((name, label), 0.0) for label in labels)
