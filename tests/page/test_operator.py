"""
What an operator sees on his page, in a real browser against a devnet.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

from sandbox_billing.client import Client, KeySigner
from sandbox_billing.signing.eip55 import checksum
from tests.page.chromium import PATIENCE_SECONDS
from tests.page.sight import WIDE
from tests.page.world import BrowserTestCase, devnet


HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
WALLET = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
ALICE = KeySigner.from_hex(f"{4:064x}")
"""Of a WELL-KNOWN DEVELOPMENT KEY."""

PROVIDER = '[data-rdns="devnet.key2"] button'
STRANGER = '[data-rdns="devnet.key4"] button'


def busy(told: dict[str, Any]) -> dict[str, Any]:
    """A bad day: something of everything, named by somebody who means harm."""
    now = told["as_of"]
    for place, hour in enumerate(told["settled"]["hours"]):
        if place % 5:
            hour.update(amount=str(place * 10**17), vouchers=place, batches=1, gas="21000")
    attempt = {
        "transaction": "0x" + "77" * 32,
        "sender": WALLET,
        "account_nonce": 1,
        "gas_limit": 80000,
        "fee_cap": "1000000000",
        "recorded_at": now,
        "empty": False,
    }
    batch = {
        "id": HOSTILE,
        "created_at": now - 90,
        "wallets": [WALLET],
        "vouchers": 7,
        "attempts": [attempt, attempt],
    }
    letter = {
        "kind": "session",
        "name": HOSTILE,
        "reason": HOSTILE,
        "since": now - 900,
        "wallet": WALLET,
        "sandbox": "sb",
        "amount": str(10**18),
    }
    order = {"sandbox": HOSTILE, "reason": HOSTILE, "ordered_at": now, "age": 1, "attempts": 3}
    found = {"at": now - 5, "sandbox": HOSTILE, "what": "adopted", "text": HOSTILE}
    return {
        **told,
        "queue": {**told["queue"], "depth": 812, "counted": 500, "unsigned": 480, "parked": 20}
        | {"oldest_at": now - 7300, "oldest_age": 7300},
        "batches": {"count": 21, "batches": [batch]},
        "gas": {
            "address": WALLET,
            "balance": str(10**17),
            "floor": str(10**16),
            "batch_cost": "1000",
            "read_at": now,
            "seconds_left": 86400,
        },
        "settled": {
            **told["settled"],
            "together": {"amount": str(10**19), "vouchers": 190, "batches": 20, "gas": "42"},
        },
        "dead_letters": {"count": 60, "letters": [letter]},
        "stop_orders": {"count": 1, "orders": [order]},
        "reconcile": {"swept_at": now - 4, "differences": [found]},
        "wallets": {"charged": 9, "mirrored": 9, "blocked": 2, "quarantined": [WALLET]},
        "pause": {"reason": HOSTILE, "since": now - 60, "by": HOSTILE},
        "readiness": {"reasons": {"watcher": HOSTILE}, "notices": {"credits": HOSTILE}},
    }


HELD = """
  const asks = window.fetch;
  window.asked = 0;
  window.fetch = async (url, how) => {
    if (!String(url).includes("operator/summary")) return asks(url, how);
    window.asked += 1;
    const status = window.hold;
    const came = await asks(url, how);
    if (status === undefined) return came;
    await new Promise((resume) => { window.letGo = resume; });
    return status === 200 ? came : new Response('{"error": "late"}', { status });
  };
"""
"""The summary comes when it is let go, as an answer of C{window.hold}."""


def chain(*without: int) -> dict[str, Any]:
    """Four entries, the newest first, these of which carry no hash; the daemon sees no fault."""
    told = audit(tampered=False)
    one, forms = told["entries"][0]["entry"], list[str]()
    for number in range(1, 5):
        before = hashlib.sha256(forms[-1].encode()).hexdigest() if forms else "0" * 64
        previous = None if number in without else before
        forms.append(json.dumps({"v": 1, **one, "subject": str(number), "previous": previous}))
    entries = [
        {"number": number, "entry": one, "follows": None, "problem": None, "form": form}
        | {"hash": hashlib.sha256(form.encode()).hexdigest()}
        for number, form in enumerate(forms, 1)
    ]
    return {"total": 4, "entries": entries[::-1], "next": None}


def audit(*, tampered: bool) -> dict[str, Any]:
    """Two entries, the newest first; somebody may have changed the older one afterwards."""
    forms: list[str] = []
    entries = []
    for number in (1, 2):
        previous = hashlib.sha256(forms[-1].encode()).hexdigest() if forms else "0" * 64
        entry = {
            "at": 1_700_000_000,
            "by": HOSTILE,
            "what": "forgive",
            "subject": HOSTILE,
            "amount": str(10**18),
            "reason": HOSTILE,
            "before": None,
            "previous": previous,
        }
        forms.append(json.dumps({"v": 1, **entry}))
        entries.append({"number": number, "entry": entry, "follows": True, "problem": None})
    if tampered:
        forms[0] = forms[0].replace("forgive", "release")
    for entry, form in zip(entries, forms, strict=True):
        entry |= {"form": form, "hash": hashlib.sha256(form.encode()).hexdigest()}
    return {"total": 2, "entries": entries[::-1], "next": None}


class OperatorTests(BrowserTestCase):
    """
    The provider's own wallet is the operator of a devnet.
    """

    def open_door(self) -> None:
        """The page, before anybody is signed in."""
        self.tab.go(devnet().url + "/operator")
        self.tab.until("document.querySelectorAll('#wallets button').length === 2")

    def enter(self) -> None:
        """As the provider."""
        self.open_door()
        self.tab.click(PROVIDER)
        self.tab.until("!document.getElementById('inside').hidden")

    def test_door(self) -> None:
        """Who is no operator is told so in words, and keeps no session; so is a bad token."""
        self.open_door()
        self.tab.click(STRANGER)
        self.tab.sees("#door-error", "This wallet is no operator")
        self.assertEqual(self.tab.js("sessionStorage.length"), 0)
        self.assertEqual(len(self.tab.refused), 1)
        for wrong, said in (("abc", "That is no session token"), ("sbt_" + "x" * 43, "not valid")):
            self.tab.click("#token")
            self.tab.write(wrong)
            self.tab.press("Enter")
            self.tab.sees("#door-error", said)
        self.look("operator-door", self.tab)
        self.assertEqual(self.tab.complaints, [])

    def test_story(self) -> None:
        """What a user runs is seen running, then settled, in its hour; in by token, and out."""
        tab = self.tab
        with Client(devnet().url, ALICE) as client:
            box = client.create(labels={"a": "b"}).id
            client.wait(box, "started")
            self.enter()
            tab.sees("#sessions-body", box)
            self.assertIn(checksum(ALICE.address)[:6], tab.text("#sessions-body"))
            self.seen_soon("#sessions-body", "running")
            client.delete(box)
        self.seen_soon("#figures", "0 blocked")
        # Its create fee may have gone before the rest, in a batch of its own.
        self.seen_soon("#settled-body", r"[1-9]\d* batch")
        self.assertGreater(tab.js("document.querySelectorAll('#settled-body svg rect').length"), 0)
        self.assertNotIn("not read yet", tab.text("#health-body"))
        self.seen_soon("#sessions-body", "Nothing runs")
        self.assertIn("Nothing: no dead letters", tab.text("#human-body"))
        tab.sees("#audit-body", "No operator has decided anything yet")
        token = tab.js("JSON.parse(sessionStorage.getItem('sandbox-billing-operator@/')).token")
        other = self.open_tab()
        other.go(devnet().url + "/operator")
        other.until("document.querySelectorAll('#wallets button').length === 2")
        other.click("#token")
        other.write(token)
        other.press("Enter")
        other.sees("#address", "by token")
        self.look("operator", tab)
        self.assert_quiet()
        tab.click("#leave")
        tab.until("!document.getElementById('door').hidden && sessionStorage.length === 0")

    def seen_soon(self, selector: str, pattern: str) -> None:
        """Look again and again, as somebody does who goes away and comes back."""
        chosen, wanted = json.dumps(selector), json.dumps(pattern)
        self.tab.until(
            f"(new RegExp({wanted}).test(document.querySelector({chosen})?.innerText)) ||"
            " (document.dispatchEvent(new Event('visibilitychange')), false)"
        )

    def test_bad_day(self) -> None:
        """Everything that can be wrong is shown, legibly, and as text whatever it is called."""
        tab = self.tab
        tab.intercept("/api/operator/summary", busy)
        tab.intercept("/api/audit-log", lambda _: audit(tampered=False))
        self.enter()
        tab.sees("#figures", "Oldest waits 2 h 01 min")
        tab.sees("#human-body", HOSTILE)
        tab.sees("#human-body", "59 more are not shown here")
        tab.sees("#health-body", "Paused by")
        tab.sees("#audit-verdict", "follow from one another")
        tab.click("#settled-body summary")
        tab.sees("#settled-body tfoot", "Together")
        self.assertEqual(tab.js("document.querySelectorAll('#settled-body svg rect').length"), 19)
        self.look("operator-bad-day", tab)
        tab.emulate(width=360, height=740)
        self.assertEqual(tab.js(WIDE), [])
        self.assertIsNone(tab.js("window.hacked ?? null"))
        self.assertEqual(
            tab.js("document.querySelectorAll('main img[src=x], main script').length"), 0
        )
        self.assert_quiet()

    def test_tampered(self) -> None:
        """An entry that was changed afterwards is found out in the page itself."""
        self.tab.intercept("/api/audit-log", lambda _: audit(tampered=True))
        self.enter()
        self.tab.sees("#audit-verdict", "Entry 2 does not follow from entry 1")

    def order(self, button: str, reason: str) -> None:
        """Press it, say why, and confirm."""
        self.tab.click(button)
        self.tab.until("document.querySelector('#dialog[open] input') === document.activeElement")
        self.tab.write(reason)
        self.tab.press("Enter")
        self.tab.until("!document.getElementById('dialog').open")

    def test_things_ordered(self) -> None:
        """Paused, seen, resumed, a sandbox stopped: under a session that may, asked for once."""
        # By its name after C{test_story}, which begins with nothing settled and nothing decided.
        tab, kept = self.tab, "JSON.parse(sessionStorage.getItem('sandbox-billing-operator@/'))"
        with Client(devnet().url, ALICE) as client:
            box = client.create().id
            client.wait(box, "started")
            self.enter()
            tab.sees("#sessions-body", box)
            reading = tab.js(kept + ".token")
            tab.click("#order-pause")
            tab.press("Enter")
            tab.sees("#dialog .error", "Say why")
            tab.click("#dialog .actions button[type=button]")
            self.assertEqual(tab.js(kept + ".token"), reading)
            self.order("#order-pause", "the node is changed")
            tab.sees("#health-body", "the node is changed")
            ordering = tab.js(kept + ".token")
            self.assertNotEqual(ordering, reading)
            self.assertTrue(tab.js("document.getElementById('order-pause').hidden"))
            self.order("#order-resume", "")
            tab.until("document.getElementById('order-resume').hidden")
            self.assertNotIn("the node is changed", tab.text("#health-body"))
            self.order(f"[aria-label='Stop {box}']", "it scans the network")
            self.seen_soon("#sessions-body", "Nothing runs")
            tab.sees("#audit-body", "it scans the network")
            tab.sees("#audit-verdict", "follow from one another")
            self.assertEqual(tab.js(kept + ".token"), ordering)
            client.wait(box, "stopped")
            client.delete(box)
        self.assert_quiet()

    def test_without_hash(self) -> None:
        """Entries without a hash prove nothing, and none may be newer than one that has it."""
        told = chain(1, 2)
        self.tab.intercept("/api/audit-log", lambda _: told)
        for without, said in (
            ((1, 2), "2 entries shown follow from one another: computed in this page. 2 others"),
            ((1, 2, 3, 4), "All 4 shown are older than the chain"),
            ((1, 3), "Entry 3 carries no hash, though an older one does"),
            ((4,), "Entry 4 carries no hash, though an older one does"),
        ):
            told = chain(*without)
            self.enter()
            self.tab.sees("#audit-verdict", said)
            self.tab.click("#leave")
            self.tab.until("!document.getElementById('door').hidden")
            self.assertEqual(
                self.tab.js("document.getElementById('audit-verdict').textContent"), ""
            )

    def test_late_answers(self) -> None:
        """What comes after somebody has left does not end the session of who came next."""
        tab = self.tab
        tab.before(HELD)
        turn = "document.dispatchEvent(new Event('visibilitychange'))"
        for status in (200, 401, 403):
            self.enter()
            tab.until("document.querySelector('#audit-body').innerText !== ''")
            tab.js(f"window.letGo = undefined; window.hold = {status}")
            tab.until(f"window.letGo !== undefined || ({turn}, false)")
            tab.click("#leave")
            tab.until("!document.getElementById('door').hidden && sessionStorage.length === 0")
            tab.js("window.hold = undefined")
            tab.click(PROVIDER)
            tab.until("!document.getElementById('inside').hidden")
            asked = tab.js("window.asked")
            tab.js("window.letGo()")
            tab.until(f"window.asked > {asked} || ({turn}, false)")
            self.assertEqual(tab.js("sessionStorage.length"), 1, status)
            self.assertTrue(tab.js("document.getElementById('door').hidden"), status)
            tab.click("#leave")
            tab.until("!document.getElementById('door').hidden && sessionStorage.length === 0")
        self.forget_refusals()
        self.assert_quiet()

    def forget_refusals(self) -> None:
        """What was asked with a session that has ended meanwhile is refused, rightly."""
        refused = self.tab.refused
        refused[:] = [one for one in refused if "401" not in one]

    def test_left_for_good(self) -> None:
        """An answer that comes at the door is not put back into the page."""
        tab = self.tab
        tab.before(HELD)
        self.enter()
        tab.until("document.querySelector('#audit-body').innerText !== ''")
        tab.js("window.hold = 200")
        turn = "document.dispatchEvent(new Event('visibilitychange'))"
        tab.until(f"window.letGo !== undefined || ({turn}, false)")
        tab.click("#leave")
        tab.until("!document.getElementById('door').hidden && sessionStorage.length === 0")
        tab.js("window.letGo(), new Promise((done) => setTimeout(done, 0))")
        self.assertEqual(tab.js("document.getElementById('figures').textContent"), "")
        self.assertNotIn("Cannot be brought", tab.text("#alerts"))
        self.forget_refusals()
        self.assert_quiet()

    def test_keyboard(self) -> None:
        """In by keys alone; a table that is made anew under somebody's hands keeps its focus."""
        tab = self.tab
        told = audit(tampered=False)
        tab.intercept("/api/audit-log", lambda _: {**told, "next": "0"})
        self.open_door()
        for _ in range(9):
            tab.press("Tab")
            if tab.js("document.activeElement.closest('[data-rdns=\"devnet.key2\"]') !== null"):
                break
        tab.press("Enter")
        tab.sees("#audit-body", "forgive")
        self.assertEqual(tab.js("document.activeElement.id"), "main")
        region = "document.activeElement.getAttribute('aria-label') === 'Audit log'"
        for _ in range(30):
            tab.press("Tab")
            if tab.js(region):
                break
        told["total"] = 3
        tab.js("document.querySelector('#audit-body .scroll').dataset.old = '1'")
        tab.press("Tab")
        tab.press("Enter")
        tab.until("document.querySelector('#audit-body [data-old]') === null")
        self.assertEqual(tab.js("document.activeElement.innerText"), "Show older")
        self.assert_quiet()

    def test_hidden(self) -> None:
        """Nothing is asked for while nobody looks; who looks again sees what is new at once."""
        tab = self.tab
        self.enter()
        tab.sees("#audit-body", "No operator")
        turn = "document.dispatchEvent(new Event('visibilitychange'))"
        hide = "Object.defineProperty(document, 'hidden', {configurable: true, get: () => %s});"
        tab.js(hide % "true" + turn)

        # With this each look begins; what a look that is under way asks then may follow.
        def begun() -> int:
            return sum("operator/summary" in url for url in tab.asked)

        asked = begun()
        tab.js(turn)
        self.assertEqual(begun(), asked)
        tab.js(hide % "false" + turn)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while begun() == asked and time.monotonic() < deadline:
            tab.browser.listen(0.05)
        self.assertGreater(begun(), asked)
