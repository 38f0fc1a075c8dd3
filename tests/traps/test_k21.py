"""K21: a change of price voids every acknowledgement, and what is queued is never paid."""

from __future__ import annotations

from tests.traps.defects import Defect, DefectCase


DRAIN = "tests.services.test_pause.DrainTests."


class DaemonTests(DefectCase):
    """The drain before a change."""

    def test_running_is_not_charged(self) -> None:
        """Sandboxes that are not charged up to the pause turn the tests red."""
        defect = Defect(
            path="sandbox_billing/services/generator.py",
            find="since = None if pause is None else pause.value.since",
            replace="since = None",
        )
        self.assert_noticed(defect, DRAIN + "test_price_change")

    def test_running_is_not_waited_for(self) -> None:
        """A drain that is over while sessions are uncharged does."""
        defect = Defect(
            path="sandbox_billing/ledger/backlog.py",
            find="return self.intents == self.sessions == self.charges == 0",
            replace="return self.charges == 0",
        )
        self.assert_noticed(defect, DRAIN + "test_let_in_before")

    def test_doors_stay_open(self) -> None:
        """And a pause that lets new sandboxes in."""
        defect = Defect(
            path="sandbox_billing/services/admission.py",
            find="if state.pause is not None:",
            replace="if state.pause is None and state.pause is not None:",
        )
        self.assert_noticed(defect, "tests.services.test_pause.DoorsTests.test_kept_out")
