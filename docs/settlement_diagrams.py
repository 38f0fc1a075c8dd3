"""
The state diagrams and transition tables of C{docs/settlement.md}, drawn from the code.

L{sandbox_billing.ledger.voucher.NEXT} and L{sandbox_billing.ledger.batch.STAGES} are the
sources; only where a box stands is decided here.  C{python -m docs.settlement_diagrams} writes
page and pictures anew; C{tests.test_docs} holds them to the code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from attrs import frozen

from sandbox_billing.ledger.batch import STAGES
from sandbox_billing.ledger.voucher import NEXT


ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "settlement.md"
PICTURES = ROOT / "docs" / "pictures"

WIDTH, HEIGHT = 148, 46
"""Of a box."""

STYLE = """
  .ground { fill: #ffffff; }
  .box { fill: #eef3fb; stroke: #33507a; stroke-width: 1.5; }
  .final { fill: #e9f5ea; stroke: #33683a; stroke-width: 1.5; }
  .edge { fill: none; stroke: #444a55; stroke-width: 1.4; marker-end: url(#tip); }
  .name { font: 600 15px sans-serif; fill: #1b2330; text-anchor: middle; }
  .dot { fill: #ffffff; stroke: #444a55; }
  .number { font: 12px sans-serif; fill: #1b2330; text-anchor: middle; }
"""


@frozen
class Arrow:
    """
    @ivar number: In the table below the picture.
    @ivar why: What has happened.
    """

    number: int
    start: str
    end: str
    why: str


@frozen
class Diagram:
    """
    @ivar places: Middle of each box, in pixels.
    """

    name: str
    places: Mapping[str, tuple[int, int]]
    arrows: Sequence[Arrow]

    def table(self) -> str:
        """What the numbers in the picture mean."""
        rows = ["| | from | to | when |", "|---:|---|---|---|"]
        rows += [f"| {a.number} | {a.start} | {a.end} | {a.why} |" for a in self.arrows]
        return "\n".join(rows)

    def svg(self) -> str:
        """The picture."""
        wide = max(x for x, _ in self.places.values()) + WIDTH
        high = max(y for _, y in self.places.values()) + HEIGHT + 24
        told = f"{self.name}: " + "; ".join(f"{a.start} to {a.end}" for a in self.arrows)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}"'
            f' width="{wide}" height="{high}" role="img">',
            f"<title>{escape(told)}</title>",
            f"<style>{STYLE}</style>",
            '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8"'
            ' markerHeight="8" orient="auto"><path d="M0 0L10 5L0 10z" fill="#444a55"/>'
            "</marker></defs>",
            f'<rect class="ground" width="{wide}" height="{high}"/>',
        ]
        parts += [self._edge(arrow) for arrow in self.arrows]
        leads_on = {arrow.start for arrow in self.arrows}
        for name, (x, y) in self.places.items():
            kind = "box" if name in leads_on else "final"
            parts.append(
                f'<rect class="{kind}" x="{x - WIDTH // 2}" y="{y - HEIGHT // 2}"'
                f' width="{WIDTH}" height="{HEIGHT}" rx="9"/>'
                f'<text class="name" x="{x}" y="{y + 5}">{escape(name)}</text>'
            )
        return "\n".join([*parts, "</svg>", ""])

    def _edge(self, arrow: Arrow) -> str:
        if arrow.start == arrow.end:
            return self._loop(arrow)
        (x1, y1), (x2, y2) = self.places[arrow.start], self.places[arrow.end]
        # Bent to its own right, so that two ways between the same boxes stay apart.
        both = any((a.start, a.end) == (arrow.end, arrow.start) for a in self.arrows)
        length = math.hypot(x2 - x1, y2 - y1)
        bend = 44 if both else 0
        cx = (x1 + x2) / 2 - (y2 - y1) / length * bend
        cy = (y1 + y2) / 2 + (x2 - x1) / length * bend
        sx, sy = _border((x1, y1), (cx, cy))
        ex, ey = _border((x2, y2), (cx, cy))
        mx, my = (sx + 2 * cx + ex) / 4, (sy + 2 * cy + ey) / 4
        path = f"M{sx:.0f} {sy:.0f}Q{cx:.0f} {cy:.0f} {ex:.0f} {ey:.0f}"
        return f'<path class="edge" d="{path}"/>' + _number(arrow.number, mx, my)

    def _loop(self, arrow: Arrow) -> str:
        x, y = self.places[arrow.start]
        top = y - HEIGHT // 2
        path = f"M{x - 22} {top}C{x - 34} {top - 38} {x + 34} {top - 38} {x + 22} {top}"
        return f'<path class="edge" d="{path}"/>' + _number(arrow.number, x, top - 29)


def _border(middle: tuple[int, int], towards: tuple[float, float]) -> tuple[float, float]:
    """Where a line from the middle of a box leaves it."""
    (x, y), (tx, ty) = middle, towards
    dx, dy = tx - x, ty - y
    share = min(
        WIDTH / 2 / abs(dx) if dx else math.inf,
        HEIGHT / 2 / abs(dy) if dy else math.inf,
    )
    return x + dx * share, y + dy * share


def _number(number: int, x: float, y: float) -> str:
    return (
        f'<circle class="dot" cx="{x:.0f}" cy="{y:.0f}" r="10"/>'
        f'<text class="number" x="{x:.0f}" y="{y + 4:.0f}">{number}</text>'
    )


def _words(name: str) -> str:
    """C{DeadLettered} as people write it."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()


def charge_diagram() -> Diagram:
    """What becomes of a charge."""
    arrows = [
        (_words(start.__name__), _words(end.__name__), why)
        for start, ends in NEXT.items()
        for end, why in ends.items()
    ]
    places = {
        "merged": (110, 70),
        "open": (110, 230),
        "signed": (400, 230),
        "parked": (400, 360),
        "paid": (700, 110),
        "partial": (700, 230),
        "dead-lettered": (700, 350),
        "forgiven": (400, 500),
    }
    return Diagram("what becomes of a charge", places, _numbered(arrows))


def batch_diagram() -> Diagram:
    """What becomes of a batch."""
    arrows = [
        (start.value, end.value, why) for start, ends in STAGES.items() for end, why in ends.items()
    ]
    places = {"signed": (110, 100), "sent": (400, 100), "mined": (700, 100), "ended": (400, 270)}
    return Diagram("what becomes of a batch", places, _numbered(arrows))


def _numbered(arrows: Sequence[tuple[str, str, str]]) -> list[Arrow]:
    return [Arrow(number, *arrow) for number, arrow in enumerate(arrows, 1)]


DIAGRAMS = {"charge-states": charge_diagram, "batch-stages": batch_diagram}


def written(page: str) -> str:
    """
    @param page: The page.
    @return: The same with today's tables between its markers.
    """
    for name, diagram in DIAGRAMS.items():
        begin = f"<!-- {name}: written by docs/settlement_diagrams.py -->"
        end = f"<!-- end of {name} -->"
        between = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
        picture = f"![{diagram().name}](pictures/{name}.svg)"
        text = f"{begin}\n\n{picture}\n\n{diagram().table()}\n\n{end}"
        page = between.sub(lambda _found, text=text: text, page)
    return page


def main() -> None:
    """Write page and pictures anew."""
    PICTURES.mkdir(exist_ok=True)
    for name, diagram in DIAGRAMS.items():
        (PICTURES / f"{name}.svg").write_text(diagram().svg(), "utf-8")
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main()
