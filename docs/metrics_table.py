"""The tables of C{docs/metrics.rst}: what is measured, from C{sandbox_billing.measures}."""

from __future__ import annotations

from sandbox_billing.measures import VOCABULARY, Measure


def as_rst() -> list[str]:
    """The lines of a C{list-table}: one row for each measure, in the order of the module."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 40 12 16 32", ""]
    lines += ["   * - name", "     - kind", "     - labels", "     - what it is"]
    for one in VOCABULARY:
        unit = "" if one.unit in one.name or not one.unit else f" In {one.unit}."
        labels = ", ".join(f"``{label}``" for label in one.labels)
        lines += [
            f"   * - ``{one.full_name}``",
            f"     - {one.kind.value}",
            f"     - {labels}",
            f"     - {one.help}{unit}{_known(one)}",
        ]
    return [*lines, ""]


def _known(one: Measure) -> str:
    if not one.known:
        return ""
    return " " + one.labels[0] + ": " + ", ".join(f"``{value}``" for value in one.known) + "."
