"""
What a user does on the page, in a real browser against a devnet.
"""

from __future__ import annotations

import json
from typing import Any

from tests.page.chromium import Tab
from tests.page.sight import WIDE
from tests.page.world import PICTURES, WHO, BrowserTestCase, devnet


HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'

FORGERIES: tuple[tuple[dict[str, Any], str], ...] = (
    ({"units": 999}, "What was charged for: refuted"),
    ({"sandbox": "another"}, "What was charged for: refuted"),
    ({"fee": "999000000000000000", "paid": "999000000000000000"}, "The payment: refuted"),
    ({"rate_per_minute": "1"}, "The price: refuted"),
    ({"nonce": "77"}, "The payment: refuted"),
    ({"signer": "0x" + "11" * 20}, "The signature: refuted"),
    ({"user": "0x" + "22" * 20}, "Whose it is: refuted"),
    ({"provider": "0x" + "22" * 20}, "Whose it is: refuted"),
    ({"kind": "create"}, "The price: refuted"),
    ({"transaction": None}, "The payment: not proven"),
)
"""What is changed in a receipt that is true, and what its check then says."""


def forged(page: dict[str, Any]) -> dict[str, Any]:
    """A page of forgeries of its first paid receipt for compute."""
    true = next(r for r in page["receipts"] if r["status"] == "paid" and r["kind"] == "compute")
    made = [{**true, **change, "id": f"f{at}"} for at, (change, _) in enumerate(FORGERIES)]
    return {"receipts": made, "next": None}


RESTLESS = """
() => {
  const button = document.createElement("button");
  Object.assign(button.style, { position: "fixed", width: "40px", height: "20px", zIndex: 9 });
  button.id = "restless";
  button.addEventListener("click", () => { window.caught = true; });
  button.addEventListener("pointerdown", (event) => {
    if (event.isTrusted && !window.dodged) { window.dodged = true; button.style.top = "300px"; }
  });
  document.body.append(button);
}
"""
"""A button that moves away under the first finger, as when an answer comes between down and up."""

RENEWED = """
(() => {
  const make = () => {
    const button = document.createElement("button");
    Object.assign(button.style, { position: "fixed", width: "40px", height: "20px", zIndex: 9 });
    button.id = "renewed";
    button.addEventListener("click", () => { window.presses = (window.presses ?? 0) + 1; });
    return button;
  };
  window.renew = () => { document.getElementById("renewed").replaceWith(make()); };
  document.body.append(make());
})()
"""
"""A button in whose place there is another after C{renew}, as in a table that is made anew."""

WITHHELD = """
(() => {
  const asks = window.fetch;
  const held = [];
  window.fetch = (url, how) => !String(url).endsWith("/usage") ? asks(url, how)
    : new Promise((resume) => { held.push(() => resume(asks(url, how))); });
  window.answerAgain = () => { window.fetch = asks; held.forEach((one) => one()); };
})()
"""
"""Nobody says any more what anything has cost, until C{answerAgain}."""


class DoorTests(BrowserTestCase):
    """
    Before anybody is signed in.
    """

    def test_restless(self) -> None:
        """A click that missed what moved away is made again, where it is by then."""
        tab = self.open_page()
        tab.js(f"({RESTLESS})()")
        tab.click("#restless")
        self.assertTrue(tab.js("window.dodged && window.caught"))

    def before(self, method: str, does: str) -> None:
        """Something happens in the page right before the first such call."""
        real, waiting = Tab.call, [does]

        def call(tab: Tab, asked: str, **parameters: Any) -> Any:
            if asked == method and waiting:
                real(tab, "Runtime.evaluate", expression=waiting.pop())
            return real(tab, asked, **parameters)

        self.patch(Tab, "call", call)

    def test_renewed(self) -> None:
        """A click on what has just taken the place of the same is one, and not made again."""
        tab = self.open_page()
        tab.js(RENEWED)
        self.before("Input.dispatchMouseEvent", "window.renew()")
        tab.click("#renewed")
        self.assertEqual(tab.js("window.presses"), 1)

    def test_left(self) -> None:
        """An address that is open already is not taken for opened until the old page is gone."""
        tab = self.open_page()
        tab.js("window.old = true")
        real = Tab.call

        def call(tab: Tab, asked: str, **parameters: Any) -> Any:
            # It is answered before the page has left, as on a machine that is busy.
            if asked == "Page.navigate":
                later = f"setTimeout(() => {{ location = {json.dumps(parameters['url'])}; }}, 300)"
                return real(tab, "Runtime.evaluate", expression=later)
            return real(tab, asked, **parameters)

        self.patch(Tab, "call", call)
        tab.go(devnet().url + "/")
        self.assertIsNone(tab.js("window.old"))

    def test_door(self) -> None:
        """Prices and wallets are there, legible, and nobody else is asked for anything."""
        tab = self.open_page()
        self.assertIn("0.06 0G/min", tab.text("#prices"))
        self.assertIn("Alice", tab.text("#wallets"))
        self.assertIn(devnet().rpc("devnet_accounts")[1], tab.text("#where"))
        self.look("door", tab)
        self.assert_quiet()


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
        tab.sees("#alerts", "Acknowledge the provider")
        tab.click("#acknowledge")
        tab.sees("#dialog .prices", "0.06 0G/min")
        tab.click("#dialog button[type=submit]")
        tab.until("!document.getElementById('dialog').open")
        tab.sees("#acknowledge", "Revoke")
        self.create("my first one")
        self.watch_it_run()
        tab.click("#box-list [aria-label^=Stop]")
        tab.sees("#box-list .state", "stopped")
        tab.until("document.querySelectorAll('.receipt [data-state=paid]').length >= 2")
        self.check_usage()
        self.check_limits()
        tab.sees("#notice-list", "Your balance lasts")
        tab.click("#verify-all")
        tab.sees("#verify-all", "proven")
        self.assertNotIn("refuted", tab.text("#verify-all"))
        tab.sees(".receipt[data-verdict] .verdict-line", "Proven")
        self.look("account", tab)
        self.assert_quiet()
        self.check_forgeries()
        tab.click("#leave")
        tab.until("!document.getElementById('door').hidden && sessionStorage.length === 0")

    def deposit(self, amount: str) -> None:
        """Through the page."""
        tab = self.tab
        tab.click("#deposit")
        tab.until("document.activeElement.tagName === 'INPUT'")
        tab.write("half a token")
        tab.click("#dialog button.primary")
        tab.sees("#dialog .error", "That is no amount")
        tab.click("#dialog input")
        tab.write(amount)
        tab.click("#dialog button.primary")
        tab.until("!document.getElementById('dialog').open")

    def create(self, name: str) -> None:
        """With its price shown before."""
        tab = self.tab
        tab.click("#create")
        tab.until("document.activeElement.tagName === 'SELECT'")
        tab.sees("#dialog", "0.09 0G/min")
        tab.screenshot(PICTURES / "create.png", whole=False)
        tab.click("#dialog input")
        tab.write(name)
        tab.click("#dialog button.primary")
        tab.sees("#box-list", name)

    def watch_it_run(self) -> None:
        """The cost of what runs grows by itself, and so does the time left fall."""
        tab = self.tab
        tab.sees("#box-list .state", "started")
        tab.sees("#burn", "0.09")
        tab.until("document.querySelector('.box.is-live') !== null")
        # The page counts by itself; one answer at most is on its way.
        tab.js(WITHHELD)
        for _ in range(2):
            first = tab.text(".cost")
            tab.until(f"document.querySelector('.cost').innerText > {json.dumps(first)}")
        tab.js("window.answerAgain()")
        tab.until("/\\d (s|min)/.test(document.getElementById('left').innerText)")
        tab.screenshot(PICTURES / "running.png")
        tab.emulate(width=360, height=780, dark=True)
        tab.screenshot(PICTURES / "running-phone-dark.png", whole=False)
        tab.emulate(width=1280, height=900)

    def check_usage(self) -> None:
        """A bar for the eye, the same numbers in a table, and they add up."""
        tab = self.tab
        tab.sees("#usage-body .keys", "Settled on-chain")
        tab.click("#usage-body summary")
        tab.sees("#usage-body tfoot", "Together")
        told = tab.js(
            "[...document.querySelectorAll('#usage-body tfoot td[title]')]"
            ".map(e => /\\((\\d+) neuron/.exec(e.title)[1])"
        )
        compute, fees, charged, settled, owed, pending = map(int, told)
        self.assertEqual(compute + fees, charged)
        self.assertEqual(settled + owed + pending, charged)
        self.assertEqual(fees, 5 * 10**15)
        tab.click("#usage-body summary")

    def check_limits(self) -> None:
        """A limit is kept, and is there after a reload."""
        tab = self.tab
        tab.click("#settings-body input")
        tab.write("2.5")
        tab.click("#settings-body button")
        tab.sees("#toasts", "Saved")
        tab.go(devnet().url + "/")
        tab.until("document.querySelector('#settings-body input')?.value === '2.5'")
        tab.until("document.querySelectorAll('.receipt [data-state=paid]').length >= 2")

    def check_forgeries(self) -> None:
        """Each kind of forgery is told as one, and none is proven."""
        tab = self.tab
        tab.intercept("/api/receipts", forged)
        tab.go(devnet().url + "/")
        tab.until(f"document.querySelectorAll('.receipt').length === {len(FORGERIES)}")
        # What is above has its place by then, and moves nothing from under the pointer.
        tab.sees("#usage-body .keys", "Settled on-chain")
        tab.click("#verify-all")
        tab.until(
            f"document.querySelectorAll('[data-verdict]>.verdict').length === {len(FORGERIES)}"
        )
        told = tab.js("[...document.querySelectorAll('.receipt')].map(e => e.innerText)")
        for (change, expected), text in zip(FORGERIES, told, strict=True):
            self.assertIn(expected, text, str(change))
            self.assertNotIn("\nProven", text if expected.endswith("refuted") else "")
        tab.js("document.getElementById('receipts').scrollIntoView({behavior: 'instant'})")
        tab.screenshot(PICTURES / "forged.png", whole=False)


INJECTED = """
window.declines = ["personal_sign"];
window.onChain = "0x1";
const request = async ({ method, params = [] }) => {
  if (method === window.declines[0]) {
    window.declines.shift();
    throw { code: 4001, message: "User rejected the request." };
  }
  if (method === "eth_chainId") return window.onChain;
  if (method === "wallet_switchEthereumChain") { window.onChain = params[0].chainId; return null; }
  if (method === "eth_accounts" || method === "eth_requestAccounts") return [ACCOUNT];
  const names = {
    personal_sign: "devnet_personalSign",
    eth_sendTransaction: "devnet_sendTransaction",
  };
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: names[method] ?? method, params });
  const headers = { "Content-Type": "application/json" };
  const reply = await (await fetch(CHAIN, { method: "POST", headers, body })).json();
  if (reply.error) throw reply.error;
  return reply.result;
};
const detail = Object.freeze({ provider: { request }, info: { uuid: "u", rdns: "example.wallet",
  name: "<b>A wallet</b>", icon: "https://elsewhere.example/icon.png" } });
const tell = () => dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail }));
addEventListener("eip6963:requestProvider", tell);
"""
"""A wallet as extensions put it into a page: on another chain, and its user declines at first."""


class WalletTests(BrowserTestCase):
    """
    With a wallet of the user's own.
    """

    def test_injected_wallet(self) -> None:
        """It is asked to change its chain, may be declined, and a refund is asked for with it."""
        tab = self.tab
        account = json.dumps(devnet().rpc("devnet_accounts")[WHO["Erin"] - 1])
        places = f"const ACCOUNT = {account}; const CHAIN = {json.dumps(devnet().chain)};"
        tab.before(f"(() => {{ {places} {INJECTED} }})()")
        self.open_page()
        button = '[data-rdns="example.wallet"] button'
        self.assertEqual(tab.text(f"{button} strong"), "<b>A wallet</b>")
        tab.click(button)
        tab.sees("#door-error", "You declined this in your wallet.")
        self.assertEqual(tab.js("Number(window.onChain)"), 16602)
        tab.click(button)
        tab.until("!document.getElementById('inside').hidden")
        self.fill("#deposit", "0.2")
        tab.sees("#available", "0.20000")
        self.fill("#refund", "0.15")
        tab.sees("#legend", "Waiting to be refunded")
        tab.sees("#refund-note", "0.15 0G can be withdrawn from")
        tab.sees("#available", "0.05000")
        tab.click("#create")
        tab.click("#dialog button.primary")
        tab.sees("#dialog .error", "Acknowledge the provider")
        tab.press("Escape")
        self.assertEqual(tab.complaints, [])

    def fill(self, button: str, amount: str) -> None:
        """Ask for something with an amount, and wait until it is so."""
        tab = self.tab
        tab.click(button)
        tab.until("document.activeElement.tagName === 'INPUT'")
        tab.write(amount)
        tab.click("#dialog button.primary")
        tab.until("!document.getElementById('dialog').open")


class HandsTests(BrowserTestCase):
    """
    Those who use no mouse, and those who use the page for something else.
    """

    def test_keyboard(self) -> None:
        """Sign in, create and stop with keys alone, always seeing where one is."""
        tab = self.open_page()
        self.tab_to("document.activeElement.closest('[data-rdns=\"devnet.key4\"]')")
        tab.press("Enter")
        tab.until("!document.getElementById('inside').hidden")
        tab.sees("#acknowledge", "Revoke")
        self.tab_to("document.activeElement.id === 'create'")
        tab.press("Enter")
        tab.until("document.activeElement.tagName === 'SELECT'")
        tab.press("Escape")
        tab.until("document.activeElement.id === 'create'")
        tab.press("Enter")
        tab.until("document.activeElement.tagName === 'SELECT'")
        tab.press("Tab")
        tab.write("by hand")
        tab.press("Enter")
        tab.until("document.querySelector('[aria-label=\"Stop by hand\"]')?.checkVisibility()")
        self.tab_to("document.activeElement.getAttribute('aria-label') === 'Stop by hand'")
        tab.press("Space")
        tab.until("document.querySelector('[aria-label=\"Start by hand\"]')?.checkVisibility()")
        self.tab_to("document.activeElement.getAttribute('aria-label') === 'Delete by hand'")
        tab.press("Enter")
        tab.until("document.activeElement.innerText === 'Cancel'")
        tab.press("Tab", shift=True)
        tab.press("Enter")
        tab.until("document.querySelector('[aria-label=\"Delete by hand\"]') === null")
        self.assert_quiet()

    def tab_to(self, there: str) -> None:
        """Press Tab until something has the focus; whatever has it on the way shows it."""
        tab = self.tab
        for _ in range(60):
            tab.press("Tab")
            if not tab.js("document.activeElement === document.body"):
                drawn = tab.js("getComputedStyle(document.activeElement).outlineStyle")
                where = tab.js("document.activeElement.outerHTML.slice(0, 120)")
                self.assertNotEqual(drawn, "none", where)
            if tab.js(f"!!({there})"):
                return
        self.fail(f"no Tab leads there: {there}")

    def test_hostile_names(self) -> None:
        """What somebody calls his sandbox is text, whatever it looks like."""
        tab = self.sign_in("Alice")
        body = {"name": "hostile-one", "labels": {HOSTILE: HOSTILE}}
        made = tab.js(
            "(async () => (await (await fetch('api/sandbox', {method: 'POST', headers:"
            " {'Content-Type': 'application/json', Authorization: 'Bearer ' +"
            " JSON.parse(sessionStorage['sandbox-billing-session@/']).token},"
            f" body: {json.dumps(json.dumps(body))}}})).json()))()"
        )
        self.assertEqual(made.get("error"), None)
        tab.intercept("/api/sandbox", self.renamed)
        tab.go(devnet().url + "/")
        tab.sees("#box-list .name", HOSTILE)
        tab.sees("#box-list .tag", HOSTILE)
        self.assertEqual(
            tab.js("document.querySelectorAll('#box-list img, #box-list script').length"), 0
        )
        self.assertEqual(tab.js("window.hacked"), None)
        tab.click(f"[aria-label={json.dumps('Delete ' + HOSTILE)}]")
        tab.sees("#dialog", HOSTILE)
        tab.press("Escape")
        tab.emulate(width=360, height=740)
        self.assertEqual(tab.js(WIDE), [])
        self.assert_quiet()

    def renamed(self, listed: Any) -> Any:
        """As a Daytona would that takes any name."""
        for box in listed.get("items", []) if isinstance(listed, dict) else listed:
            box["name"] = HOSTILE
        return listed
