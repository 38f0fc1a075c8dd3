"""
What of Daytona's texts reaches a user.
"""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.web._inside import image_alone, without_inside


class InsideTests(SynchronousTestCase):
    """
    L{without_inside} and L{image_alone}.
    """

    def test_hidden(self) -> None:
        """Runners, registries and addresses, in the spellings that errors use."""
        for text, told in (
            ("runner http://10.0.0.7:3003/x?y failed", "runner (hidden) failed"),
            ("pull registry.internal:6000/daytona/a:1 failed", "pull (hidden)/daytona/a:1 failed"),
            ("dial tcp 10.0.0.7:3003: refused", "dial tcp (hidden): refused"),
            ("connect ECONNREFUSED 10.0.0.7.", "connect ECONNREFUSED (hidden)."),
            ("lookup runner-1.lan on [fd00::1]:53", "lookup (hidden) on (hidden)"),
            ("no route to fd00:1::2", "no route to (hidden)"),
            ("registry:6000/x is down", "(hidden)/x is down"),
            ("redis:6379 is down", "(hidden) is down"),
            ("db.example.org:5432.", "(hidden)."),
            ('Get "https://registry.example/v2/": EOF', 'Get "(hidden)": EOF'),
        ):
            self.assertEqual(without_inside(text), told)

    def test_kept(self) -> None:
        """What speaks of the user's own stays as it is."""
        for text in (
            "snapshot ubuntu:22.04 not found",
            "no image daytonaio/sandbox:0.5.0, nor postgres:16, nor a/b:2025",
            "Sandbox is not started (state: stopped), at 12:30 and 2026-01-02T10:20:30.123Z",
            "exceeds 10 GiB: 1.5.2",
            "name must match ^[a-z]+$",
            "",
        ):
            self.assertEqual(without_inside(text), text)

    @given(st.text(alphabet="ab.:/-1[]x ", max_size=300))
    def test_twice(self, text: str) -> None:
        """Whatever comes is read, and nothing is left that a second look would hide."""
        once = without_inside(text)
        self.assertNotIn("://1", once)
        self.assertLessEqual(once.count(" "), text.count(" ") + once.count("(hidden)"))

    def test_bounded(self) -> None:
        """No text keeps us busy."""
        for piece in ("a", "a.", "a-", "1.", "1:", "a://", "[1:", "a1:", "::"):
            began = time.process_time()
            without_inside(piece * 100_000)
            self.assertLess(time.process_time() - began, 0.5, piece)

    def test_images(self) -> None:
        """A registry goes, an account stays."""
        for reference, told in (
            ("registry.internal:6000/daytona/d-1:daytona", "daytona/d-1:daytona"),
            ("localhost/x", "x"),
            ("registry:6000/x", "x"),
            ("daytonaio/x:1.2", "daytonaio/x:1.2"),
            ("ubuntu:22.04", "ubuntu:22.04"),
        ):
            self.assertEqual(image_alone(reference), told)
