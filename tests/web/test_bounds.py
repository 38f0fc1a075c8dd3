"""
What is open at the same time fits into what may be open.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.web.bounds import ENOUGH_FILES, OWN_FILES, Limits, streams_for_files


class FilesTests(SynchronousTestCase):
    """
    L{Limits.for_files} and L{streams_for_files}.
    """

    @given(st.integers(min_value=OWN_FILES + 5, max_value=10**6))
    def test_room_for_ourselves(self, files: int) -> None:
        """Clients, and what their streams open, leave us what we need."""
        clients, streams = Limits.for_files(files).connections, streams_for_files(files)
        self.assertLessEqual(clients + streams, files - OWN_FILES)
        self.assertGreaterEqual(min(clients, streams), 1)

    def test_usual_ones(self) -> None:
        """A plain shell's 1,024, and as many as we ask for."""
        self.assertEqual((Limits.for_files(1024).connections, streams_for_files(1024)), (716, 179))
        most = Limits.for_files(ENOUGH_FILES)
        self.assertEqual((most, streams_for_files(ENOUGH_FILES)), (Limits(), 2000))
