"""The table of C{docs/metrics.rst}: what is measured, from C{sandbox_billing.measures}."""

from __future__ import annotations

from sandbox_billing.measures import VOCABULARY, Measure


SAID = ("0 or 1", "neuron per gas")
"""Units that neither the name nor the text tells."""


def as_rst() -> list[str]:
    """The lines of a C{list-table}: one row for each measure, in the order of the module."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 34 12 54", ""]
    lines += ["   * - name and labels", "     - kind", "     - what it is"]
    for one in VOCABULARY:
        labels = f" {{{', '.join(one.labels)}}}" if one.labels else ""
        lines += [
            f"   * - ``{one.name}``{labels}",
            f"     - {one.kind.value}",
            f"     - {one.help}{_unit(one)}{_known(one)}",
        ]
    return [*lines, ""]


def _unit(one: Measure) -> str:
    return f" ({one.unit})" if one.unit in SAID else ""


def _known(one: Measure) -> str:
    if not one.known:
        return ""
    return f" {one.labels[0]}: " + ", ".join(f"``{value}``" for value in one.known) + "."
