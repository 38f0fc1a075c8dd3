"""
What must not be done twice, must not be lost, and must not be shown to somebody else.
"""

from __future__ import annotations

import json
from typing import Any

from eth_utils import keccak

from tests.page.world import BrowserTestCase


HASH = "0x" + "ab" * 32

WALLET = """\
(async (answers, patience) => {
  const m = await import("./page/wallet.js");
  const wallet = new m.Wallet({ request: async ({ method }) => {
    if (method === "eth_sendTransaction") return HASH;
    const next = answers.length > 1 ? answers.shift() : answers[0];
    if (next?.code) throw next;
    return next;
  } }, {});
  try {
    const [hash, receipt] = await wallet.transact({ to: HASH, data: "0x" }, () => {}, patience);
    return [hash, receipt.blockNumber];
  } catch (problem) {
    return [problem.message, problem.sent];
  }
})
"""

RECORDER = """
window.asked = [];
window.trouble = [];
const real = window.fetch;
window.fetch = async (url, how = {}) => {
  if (how.method === "POST" || how.method === "PUT") {
    const key = how.headers?.["Idempotency-Key"] ?? null;
    const path = new URL(url).pathname;
    window.asked.push({ path, key, body: how.body ? JSON.parse(how.body) : null });
    if (key !== null && window.trouble.length > 0) {
      const status = window.trouble.shift();
      if (status === 0) throw new TypeError("Failed to fetch");
      return new Response(JSON.stringify({ error: "made up" }), { status });
    }
  }
  return real(url, how);
};
"""
"""Keeps what is sent, and loses or refuses some of what has a key."""


class SentTests(BrowserTestCase):
    """
    What the wallet has sent.
    """

    def setUp(self) -> None:
        """The page, nobody signed in."""
        super().setUp()
        self.open_page()

    def transact(self, answers: list[Any], patience: int = 60_000) -> list[Any]:
        """Send something, the node answering so about its receipt."""
        asked = f"{WALLET}({json.dumps(answers)}, {patience})"
        told: list[Any] = self.tab.js(f"(() => {{ const HASH = '{HASH}'; return {asked}; }})()")
        return told

    def test_errors_while_waiting(self) -> None:
        """An error of a node that is asked for the receipt is no failure of what was sent."""
        limited = {"code": -32005, "message": "limit exceeded"}
        mined = {"status": "0x1", "blockNumber": "0x5"}
        self.assertEqual(self.transact([limited, {"status": "x"}, mined]), [HASH, "0x5"])
        for answers in ([limited], [None], [{"status": "0x0", "blockNumber": "0x5"}]):
            text, sent = self.transact(answers, patience=0)
            self.assertIn(HASH, text)
            self.assertTrue(sent)

    def ask(self, name: str, before: str = "") -> None:
        """A dialog that works until C{window.end} is called; opened at once, after C{before}."""
        self.tab.js(
            "import('./page/dom.js').then(m => { "
            + before
            + "; m.ask({title: NAME, confirm: 'Go', fields: [],"
            " act: () => new Promise((yes, no) => { window.end = { yes, no };"
            " window.count = (window.count ?? 0) + 1; })})"
            ".then(one => { window.told = one; }); })".replace("NAME", json.dumps(name))
        )
        self.tab.sees("#dialog h2", name)

    def test_busy_dialog(self) -> None:
        """While something is being sent nothing closes the dialog; once sent, none repeats it."""
        tab = self.tab
        self.ask("one")
        tab.click("#dialog [type=submit]")
        tab.until("window.count === 1")
        for _ in range(3):
            tab.press("Escape")
        self.assertTrue(tab.js("document.querySelector('#dialog [type=button]').disabled"))
        self.assertTrue(tab.js("document.getElementById('dialog').open"))
        tab.js("window.end.no(Object.assign(new Error('look at 0xab'), { sent: true }))")
        tab.sees("#dialog .error", "look at 0xab")
        self.assertTrue(tab.js("document.querySelector('#dialog [type=submit]').disabled"))
        tab.press("Escape")
        tab.until("!document.getElementById('dialog').open && window.told === null")
        tab.sees("#alerts", "look at 0xab")

    def test_late_act(self) -> None:
        """What ends after its dialog was taken away closes no other, and is told all the same."""
        tab = self.tab
        self.ask("one")
        tab.click("#dialog [type=submit]")
        tab.until("window.count === 1")
        # The event of closing comes when the next one is open already.
        self.ask("two", "window.first = window.end; document.getElementById('dialog').close()")
        tab.js("window.first.no(new Error('what became of it'))")
        tab.sees("#alerts", "what became of it")
        tab.sees("#dialog h2", "two")
        self.assertTrue(tab.js("document.getElementById('dialog').open"))

    def test_refundable(self) -> None:
        """What the provider advances is available, and nobody's to be asked back."""
        self.tab.js(
            "Promise.all([import('./page/account.js'), import('./page/api.js')]).then(([m, api])"
            " => { window.view = new m.AccountView({smallestRate: () => 0n}); window.told ="
            " (balance, available, total) => { view.syncedAt = api.now(); view.account = {"
            " burn_rate_per_minute: '0', runs_dry_at: null, balance, available,"
            " exposure: {total}}; view.tick();"
            " return [String(view.refundable()),"
            " document.getElementById('available-note').textContent]; }; })"
        )
        self.tab.until("typeof window.told === 'function'")
        token = 10**18

        def told(balance: int, available: int, total: int) -> Any:
            given = ", ".join(f"'{one}'" for one in (balance, available, total))
            return self.tab.js(f"window.told({given})")

        refundable, text = told(token, 3 * token // 2, 0)
        self.assertEqual(refundable, str(token))
        self.assertIn("1 on-chain", text)
        self.assertNotIn("of 1", text)
        self.assertEqual(told(token, 3 * token // 4, token // 4)[0], str(3 * token // 4))
        self.assertEqual(told(token, token // 2, 5 * token // 4)[0], "0")

    def test_agreement(self) -> None:
        """The version that was looked at is agreed to, and no other, where one can be named."""
        provider = "a1" * 20
        self.tab.js(
            "import('./page/account.js').then(m => { window.told = async (version, known) => {"
            " const request = async () => { if (!known) throw new Error('reverted'); };"
            " const read = async () => '0x' + [192, 1, 2, 3, version, 5]"
            ".map(one => one.toString(16).padStart(64, '0')).join('');"
            " const wallet = { useChain: async () => {}, request, read };"
            f" const at = '0x{provider}';"
            " const info = { contract_address: at, provider_address: at };"
            " const view = new m.AccountView({ info, wallet: async () => wallet });"
            " return view.agreement(7).catch(problem => problem.message); }; })"
        )
        self.tab.until("typeof window.told === 'function'")
        bound = keccak(text="acknowledgeTEESignerVersion(address,uint256)")[:4].hex()
        plain = keccak(text="acknowledgeTEESigner(address,bool)")[:4].hex()
        words = f"{provider.rjust(64, '0')}{7:064x}"
        self.assertEqual(self.tab.js("window.told(7, true)"), f"0x{bound}{words}")
        words = f"{provider.rjust(64, '0')}{1:064x}"
        self.assertEqual(self.tab.js("window.told(7, false)"), f"0x{plain}{words}")
        self.assertIn("just changed", self.tab.js("window.told(8, true)"))

    def test_enough(self) -> None:
        """What has to be deposited is told with all its digits: cut off it would be too little."""
        self.tab.js(
            "import('./page/sandboxes.js').then(m => { window.told ="
            " m.SandboxesView.prototype.explained({ document: { code: 'insufficient_balance',"
            " required: '12000000000000001', balance: '7000000000000000', exposure: '0' } }); })"
        )
        self.tab.until("window.told !== undefined")
        self.assertIn("at least 0.005000000000000001 0G", self.tab.js("window.told"))


class SignedInTests(BrowserTestCase):
    """
    One wallet after the other.
    """

    def test_settings_keys_and_leftovers(self) -> None:
        """Only changes are saved, nothing is made twice, and the next wallet sees nothing of it."""
        tab = self.tab
        tab.before(f"(() => {{ {RECORDER} }})()")
        self.sign_in("Frank")
        tab.until("document.querySelector('#settings-body input') !== null")
        tab.click("#settings-body input")
        tab.write("2.5")
        tab.click("#settings-body button")
        tab.sees("#toasts", "Saved")
        saved = [one["body"] for one in tab.js("window.asked") if "settings" in one["path"]]
        self.assertEqual(saved, [{"limits": {"per_day": "2500000000000000000"}}])
        self.check_create()
        tab.until("document.querySelector('#usage-body *') !== null")
        tab.click("#leave")
        tab.until("!document.getElementById('door').hidden")
        self.assertEqual(tab.js("document.getElementById('available').textContent"), "–")
        for left in ("settings-body", "usage-body", "box-list", "notice-list", "legend"):
            self.assertEqual(tab.js(f"document.getElementById('{left}').children.length"), 0, left)
        self.assertFalse(
            tab.js("document.querySelector('#receipts-body button').checkVisibility()")
        )
        self.assertEqual(tab.complaints, [])

    def test_new_prices(self) -> None:
        """With another version its prices are shown, and what the chain does not say is no deal."""
        tab = self.sign_in("Grace")
        tab.sees("#legend", "Balance on-chain")
        tab.intercept("/info", lambda one: {**one, "price_per_cpu_per_min": str(12 * 10**16)})
        raised = {"signer_version": 2, "acknowledged": False}
        tab.intercept("/api/account", lambda one: {**one, **raised})
        tab.js("document.dispatchEvent(new Event('visibilitychange'))")
        tab.sees("#alerts", "version 2")
        tab.click("#acknowledge")
        tab.sees("#dialog .prices", "0.12 0G/min")
        tab.click("#dialog [type=submit]")
        tab.sees("#dialog .error", "just changed")
        self.assert_quiet()

    def check_create(self) -> None:
        """A key per dialog, kept while nobody knows what came of it, and new after a refusal."""
        tab = self.tab
        tab.click("#create")
        tab.until("document.activeElement.tagName === 'SELECT'")
        tab.js("window.asked = []; window.trouble = [0, 503, 409]")
        for at, text in enumerate(("reached", "made up", "made up", "", ""), 1):
            tab.click("#dialog .primary")
            tab.until(f"window.asked.length === {at}")
            tab.sees("#dialog .error", text)
            tab.until("!document.querySelector('#dialog .primary').disabled")
            self.assertTrue(tab.js("document.querySelector('#dialog select').disabled"))
        keys = [one["key"] for one in tab.js("window.asked")]
        self.assertEqual(len(set(keys[:4])), 1)
        self.assertRegex(keys[0], r"^[0-9a-f]{32}\Z")
        self.assertNotEqual(keys[4], keys[3], "the provider has refused it")
        tab.press("Escape")
        tab.until("!document.getElementById('dialog').open")
