"""
The tables of C{docs/contract.md}: gas per voucher, and the flaws that the tests notice.

C{benchmarks/gas.json} and L{tests.evm.flaws} are the sources.  C{python -m
docs.contract_tables} writes the page anew; C{tests.test_docs} holds it to them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks.gas import DEPLOYED
from docs import mutations_table


ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "contract.md"
GAS = ROOT / "benchmarks" / "gas.json"


def gas() -> str:
    """A row for each number of vouchers, per path and kind of batch."""
    figures: dict[str, dict[str, dict[str, int]]] = json.loads(GAS.read_text("utf-8"))
    lines = [
        "| vouchers | wallets | deployed today | `settleFeesWithTEE` | `settleBatch` |",
        "|---:|---|---:|---:|---:|",
    ]
    for size in figures["settleBatch"]["one user"]:
        for wallets in ("different users", "one user"):
            deployed = DEPLOYED.get((wallets, int(size)))
            cells = [size, wallets, f"{deployed:,}" if deployed else ""]
            for path in ("settleFeesWithTEE", "settleBatch"):
                each = round(figures[path][wallets][size] / int(size))
                ratio = f" ({each / deployed:.0%})" if deployed else ""
                cells.append(f"{each:,}{ratio}")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


TABLES = {"flaws": mutations_table.as_markdown, "gas": gas}


def written(page: str) -> str:
    """
    @param page: The page.
    @return: The same with today's tables between its markers.
    """
    for name, table in TABLES.items():
        begin, end = (
            f"<!-- {name}: written by docs/contract_tables.py -->",
            f"<!-- end of {name} -->",
        )
        between = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        text = f"{begin}\n\n{table()}\n\n{end}"
        page = between.sub(lambda _found, text=text: text, page)
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
