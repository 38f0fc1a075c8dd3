"""
What a user does on the page, in a real browser against a devnet.
"""

from __future__ import annotations

from tests.page.world import PICTURES, BrowserTestCase, devnet


class DoorTests(BrowserTestCase):
    """
    Before anybody is signed in.
    """

    def test_door(self) -> None:
        """Prices and wallets are there, and nobody else is asked for anything."""
        tab = self.open_page()
        self.assertIn("0.06 0G/min", tab.text("#prices"))
        self.assertIn("Alice", tab.text("#wallets"))
        self.assertIn(devnet().rpc("devnet_accounts")[1], tab.text("#where"))
        self.assert_quiet()
        tab.screenshot(PICTURES / "door.png")
