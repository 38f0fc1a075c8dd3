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


class StoryTests(BrowserTestCase):
    """
    From an empty wallet to a proven receipt.
    """

    def test_story(self) -> None:
        """Deposit, acknowledge, create, watch the cost, stop, and prove what was paid."""
        tab = self.sign_in("Dave")
        tab.sees("#left", "Nothing left")
        self.deposit("0.5")
        tab.sees("#available", "0.50000")
        tab.click("#acknowledge")
        tab.click("#dialog button.primary")
        tab.sees("#acknowledge", "Revoke")
        tab.click("#create")
        tab.until("document.activeElement.tagName === 'SELECT'")
        tab.sees("#dialog", "0.09 0G/min")
        tab.screenshot(PICTURES / "create.png", whole=False)
        tab.click("#dialog input")
        tab.write("my first one")
        tab.click("#dialog button.primary")
        tab.sees("#box-list", "my first one")
        tab.sees("#box-list .state", "started")
        tab.sees("#burn", "0.09")
        first = tab.text(".cost")
        tab.until(f"document.querySelector('.cost').innerText > '{first}'")
        tab.screenshot(PICTURES / "running.png")
        tab.click("#box-list [aria-label^=Stop]")
        tab.sees("#box-list .state", "stopped")
        tab.until("document.querySelector('.receipt [data-state=paid]') !== null")
        tab.click(".receipt:has([data-state=paid]) button")
        tab.sees(".receipt[data-verdict] .verdict-line", "Proven")
        tab.screenshot(PICTURES / "proven.png")
        self.assert_quiet()

    def deposit(self, amount: str) -> None:
        """Through the page."""
        tab = self.tab
        tab.click("#deposit")
        tab.until("document.activeElement.tagName === 'INPUT'")
        tab.write(amount)
        tab.click("#dialog button.primary")
        tab.until("!document.getElementById('dialog').open")
