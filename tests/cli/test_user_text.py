"""Tests for L{sandbox_billing.cli.user_text}: times and sizes in words."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.cli.user_text import counted, hourly, lasting, short, size, until


_SIZES = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}


class TextTests(SynchronousTestCase):
    """What people read."""

    def test_lasting(self) -> None:
        """Two units at most, neighbours, and no empty one."""
        for seconds, text in (
            (-5, "0 s"),
            (0.9, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3_659, "1 h"),
            (8_040, "2 h 14 min"),
            (86_400 * 3 + 59, "3 d"),
        ):
            self.assertEqual(lasting(seconds), text)

    @given(st.integers(1, 10**9))
    def test_never_more(self, seconds: int) -> None:
        """What is said to last does, and less than the smaller unit is left out."""
        words = lasting(seconds).split()
        said = sum(int(n) * _SIZES[u] for n, u in zip(words[::2], words[1::2], strict=True))
        self.assertLessEqual(said, seconds)
        self.assertLess(seconds - said, max(_SIZES[words[1]], 2))

    def test_until(self) -> None:
        """To come, gone, or never."""
        self.assertEqual(until(None, 5), "nothing runs")
        self.assertIn("1 min, until 1970-01-01 00:01:10 UTC", until(70, 10))
        self.assertIn("over since", until(70, 70))

    def test_counted(self) -> None:
        """None, one, many."""
        told = [counted(count, "box", "boxes") for count in (0, 1, 2)]
        self.assertEqual(told, ["no boxes", "1 box", "2 boxes"])
        self.assertEqual(counted(2, "receipt"), "2 receipts")

    def test_amounts(self) -> None:
        """By the hour, short, and unknown."""
        self.assertEqual(hourly(10**17), "6 0G an hour")
        self.assertEqual((short("1500000000000000000"), short(None)), ("1.5 0G", "-"))
        self.assertEqual(size(1, 0.5, None), "1 cpu, 0.5 GiB, disk ? GiB")
