"""What counts as the output that a page shows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.commands.compare import Comparison, Learnt, compare


ONE = "4e5dd29f-2fd2-47fc-9565-7727e939228e"
TWO = "da875bbc-56a8-4b71-be9e-63cda23604bf"


class CompareTests(SynchronousTestCase):
    """Lines shown and lines printed."""

    def agree(self, shown: str, printed: str, **more: int | None) -> Learnt | None:
        """What was learnt; None when they do not agree."""
        found: Comparison = compare(shown.split("\n"), printed.split("\n"), Learnt(), **more)
        return found.learnt if found.missing is None else None

    def test_same(self) -> None:
        """Blank lines and the width of columns do not count; words and counts do."""
        self.assertIsNotNone(self.agree("  a   b\n ────\n1 x", "a b\n\n ─────────\n1 x\n\n"))
        for shown, printed in (
            ("a", "b"),
            ("1 sandbox", "2 sandbox"),
            ("a", "a\nb"),
            ("a\nb", "a"),
        ):
            self.assertIsNone(self.agree(shown, printed), shown)

    def test_gaps(self) -> None:
        """A line of dots stands for any lines, dots within one for any text."""
        self.assertIsNotNone(self.agree("a\n…\nd", "a\nb\nc\nd"))
        self.assertIsNotNone(self.agree("a\n…", "a"))
        self.assertIsNotNone(self.agree("said … to", "said x y to"))
        self.assertIsNone(self.agree("…\nd", "a\nb"))

    def test_learnt(self) -> None:
        """An id is another one here, and then always the same; two are not one."""
        learnt = self.agree(f"id {ONE} at 127.0.0.1:1234", f"id {TWO} at 127.0.0.1:45678")
        assert learnt is not None
        self.assertEqual(
            f"stop {TWO} http://127.0.0.1:45678/x",
            learnt.in_command(f"stop {ONE} http://127.0.0.1:1234/x"),
        )
        self.assertIsNone(self.agree(f"{ONE}\n{ONE}", f"{ONE}\n{TWO}"))
        self.assertIsNone(self.agree(f"{ONE}\n{TWO}", f"{ONE}\n{ONE}"))

    def test_times(self) -> None:
        """Times, blocks and hashes differ; they must be there."""
        shown = "2026-11-23 07:15:26 UTC (unix 1795418126) in block 14, 2 of 2"
        self.assertIsNotNone(
            self.agree(shown, "2027-01-02 03:04:05 UTC (unix 1795999999) in block 7, 2 of 2")
        )
        self.assertIsNone(self.agree(shown, shown.replace("2 of 2", "1 of 2")))
        self.assertIsNone(self.agree("0x" + "ab" * 32, "0x" + "ab" * 20))

    def test_amounts(self) -> None:
        """They are exact unless the page's mark says how far they may be off."""
        for shown, printed, tolerance, well in (
            ("0.02 0G", "0.03 0G", 0, False),
            ("0.02 0G", "0.03 0G", 50, True),
            ("0.02 0G", "0.05 0G", 50, False),
            ("9 s of 0.02 0G", "10 s of 0.5 0G", None, True),
            ("lasts 5 min 26 s, until", "lasts 5 min, until", None, True),
            ("lasts 5 min 26 s, until", "lasts 5 min, until", 10, True),
            ("lasts 5 min 26 s, until", "lasts 59 s, until", 10, False),
            ("9 s", "9 min", 0, False),
            ("running 0", "running 1", None, False),
        ):
            found = self.agree(shown, printed, tolerance=tolerance)
            self.assertEqual(well, found is not None, (shown, printed, tolerance))

    @given(st.lists(st.text("ab 0123456789.…─", max_size=12), max_size=6))
    def test_itself(self, lines: list[str]) -> None:
        """Whatever was printed agrees with itself."""
        self.assertIsNone(compare(lines, lines, Learnt()).missing)
