"""The table of C{docs/reference_keys.rst}: every key in Redis, from where the names are made."""

from __future__ import annotations

from sandbox_billing.adapters.redis.keys import Keys


def as_rst() -> list[str]:
    """The lines of a C{list-table}."""
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: 34 8 58", ""]
    lines += ["   * - name", "     - type", "     - what is there"]
    for name, kind, holds in Keys.names():
        lines += [f"   * - ``{name}``", f"     - {kind}", f"     - {holds}"]
    return [*lines, ""]
