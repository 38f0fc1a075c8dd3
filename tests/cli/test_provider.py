"""
Tests for C{sandbox-billing setup}, C{checkbal} and C{provider}, as processes against the
devnet's chain and anvil.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.memory.contract import LOCK_SECONDS
from sandbox_billing.signing.eip55 import checksum
from tests.anvil import Anvil, skip_reason
from tests.cli.provider_stage import (
    PROVIDER,
    PROVIDER_KEY,
    SIGNER,
    STAKE,
    USER,
    Office,
)
from tests.cli.stage import OWNER, STRANGER_KEY, Desk, DevnetCase


TERMS = (
    *("--url", "https://p.example", "--tee-signer", checksum(SIGNER.address)),
    *("--price-cpu", "600 neuron", "--price-mem", "300", "--create-fee", "0.000001 0G"),
)
DOCUMENT = {
    "url": "https://p.example",
    "tee_signer": checksum(SIGNER.address),
    "price_per_cpu_per_min": "600",
    "price_per_mem_gb_per_min": "300",
    "create_fee": str(10**12),
}
HALF = 5 * 10**16
SETUP = ("setup", "--deposit", "0.05 0G", "--url", "https://p.example")
PRICES = ("--price-cpu", "600", "--price-mem", "300")
STEPS = ["register", "deposit", "acknowledge"]
RECEIVER = "0x" + "ab" * 20
"""Somebody who has nothing."""


class RegisterTests(DevnetCase):
    """The registration and its changes."""

    async def test_story(self) -> None:
        """Refused without a price; registered once; changed with a word on what it costs."""

        def work() -> None:
            office = Office.open(self.desk)
            status = office.ok("provider", "status")
            self.assertEqual((status["registered"], status["stake"]), (False, "0"))

            register = ("provider", "register")
            for arguments, said in (
                ((*TERMS[:4],), "--price-cpu"),
                ((*TERMS[:4], "--price-cpu", "0", "--price-mem", "0"), "gives sandboxes away"),
                ((*TERMS[:2], "--price-cpu", "1", "--price-mem", "1"), "--tee-signer"),
                ((*TERMS, "--flat"), "not both"),
                ((*TERMS[:4], "--price-cpu", "1.5 neuron"), "never divided"),
            ):
                told = office.run(*register, *arguments)
                self.assert_ended(told, 2)
                self.assertIn(said, told.err)
            before = self.desk.nonce(PROVIDER.address.hex)
            dry = office.ok(*register, *TERMS, "--dry-run")
            (planned,) = dry["transactions"]
            self.assertEqual(planned["value"], str(STAKE))
            self.assertEqual(self.desk.nonce(PROVIDER.address.hex), before)

            told = office.ok("provider", "init-service", *TERMS)
            self.assertEqual({name: told[name] for name in DOCUMENT}, DOCUMENT)
            self.assertEqual((told["signer_version"], told["drained"]), ("1", False))
            again = office.run(*register, *TERMS)
            self.assert_ended(again, 0)
            self.assertIn("Nothing to do", again.out)
            self.assertEqual(self.desk.nonce(PROVIDER.address.hex), before + 1)

            told = office.ok(*register, "--url", "https://q.example")
            self.assertEqual((told["url"], told["signer_version"]), ("https://q.example", "1"))

            refused = office.run(*register, "--price-cpu", "700", "--json")
            self.assert_ended(refused, 1)
            self.assertIn("voids every user's acknowledgement", refused.document["error"])
            self.assertIn("--redis", refused.document["error"])
            nowhere = {"REDIS_ADDR": "127.0.0.1:9"}
            dry = office.ok(*register, "--price-cpu", "700", "--dry-run", **nowhere)
            self.assertIn("admissions would be paused", dry["first"])
            dead = office.run(*register, "--price-cpu", "700", **nowhere)
            self.assert_ended(dead, 5)
            self.assertIn("no Redis answers at 127.0.0.1:9: look at --redis", dead.err)
            self.assertNotIn("still trying", dead.err)
            told = office.ok(*register, "--price-cpu", "700", "--yes")
            self.assertEqual((told["signer_version"], told["price_per_cpu_per_min"]), ("2", "700"))
            status = office.run("provider", "status")
            self.assert_ended(status, 0)
            for part in ("700 neuron (0.0000000000000007 0G)", f"{STAKE} neuron (0.1 0G)"):
                self.assertIn(part, status.out)

        await self.at_work(work)

    async def test_stake(self) -> None:
        """The owner sets it; nobody else does; twice is once."""

        def work() -> None:
            office = Office.open(self.desk)
            told = office.run("provider", "set-stake", "0.5 0G", OWNER_KEY=STRANGER_KEY)
            self.assert_ended(told, 1)
            self.assertIn("is not the owner", told.err)
            found = office.ok("provider", "set-stake", "0.5 0G")
            self.assertEqual((found["before"], found["stake"]), (str(STAKE), str(5 * 10**17)))
            count = self.desk.nonce(OWNER.address.hex)
            self.assertTrue(office.ok("provider", "set-stake", "0.5 0G")["nothing_to_do"])
            self.assertEqual(self.desk.nonce(OWNER.address.hex), count)

        await self.at_work(work)


class DyingNode:
    """
    Before a node: hands on until the first transaction is told as mined, then hangs up.

    With no confirmations to wait for, that is after the first of several steps.
    """

    def __init__(self, target: str) -> None:
        node = self
        self.alive = True
        self._mined = False
        self._target = target

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answer = node.answer(body)
                if answer is None:
                    self.close_connection = True
                    return
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="dying node")
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        """Listen, in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End it and wait for its end."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, body: bytes) -> bytes | None:
        """The node's; None once it is dead."""
        method = json.loads(body)["method"]
        if self._mined and method == "eth_getTransactionCount":
            self.alive = False
        if not self.alive:
            return None
        headers = {"Content-Type": "application/json"}
        answer = requests.post(self._target, data=body, headers=headers, timeout=60).content
        if method == "eth_getTransactionReceipt" and json.loads(answer)["result"]:
            self._mined = True
        return answer


class MoneyStory:
    """One key sets up; vouchers are paid; earnings are taken; the provider leaves."""

    def live(self, desk: Desk) -> Office:
        """On any node."""
        assert isinstance(self, SynchronousTestCase)
        office = Office.open(desk)
        found = office.ok(*SETUP, *PRICES)
        self.assertEqual([t["label"] for t in found["transactions"]], STEPS)
        self.assertEqual((found["balance"], found["acknowledged"]), (str(HALF), True))
        self.assertEqual((found["nonce"], found["earnings"]), ("0", "0"))
        office.settle(PROVIDER, user=PROVIDER.address, nonce=7, fee=10**16)
        after = office.ok("checkbal", "--user", checksum(PROVIDER.address))
        self.assertEqual(
            {name: after[name] for name in ("balance", "nonce", "earnings", "pending_refund")},
            {
                "balance": str(4 * 10**16),
                "nonce": "7",
                "earnings": str(10**16),
                "pending_refund": "0",
            },
        )
        told = office.ok("provider", "withdraw", "--to", RECEIVER)
        self.assertEqual((told["withdrawn"], self.has(office, RECEIVER)), (str(10**16), 10**16))
        announced = office.ok("provider", "leave")
        self.assertEqual(announced["state"], "announced")
        status = office.ok("provider", "status")
        self.assertEqual(
            (status["leaving_since"] + LOCK_SECONDS, status["leaving_at"]),
            (announced["leaving_at"], announced["leaving_at"]),
        )
        self.assertEqual(
            office.ok("provider", "register", *PRICES)["leaving_at"], announced["leaving_at"]
        )
        setup = office.run("setup", "--deposit", "9 0G", *PRICES)
        self.assertEqual((setup.status, setup.out), (1, ""), setup.err)
        self.assertRegex(setup.err, r"is leaving \(announced .*; possible from .*UTC")
        waiting = office.ok("provider", "leave")
        self.assertEqual(
            (waiting["leaving_at"], waiting["nothing_to_do"]), (announced["leaving_at"], True)
        )
        # Our own chain is ahead of the clock by a second for each block.
        office.later(LOCK_SECONDS + 3_600)
        unsure = office.run("provider", "leave", "--to", RECEIVER)
        self.assertEqual((unsure.status, unsure.out), (1, ""), unsure.err)
        self.assertIn("never will be. There is nobody to ask: name the daemon's Redis", unsure.err)
        left = office.ok("provider", "leave", "--to", RECEIVER, "--yes")
        self.assertEqual((left["state"], left["stake"]), ("left", str(STAKE)))
        self.assertIsNone(left["left_behind"])
        self.assertEqual(self.has(office, RECEIVER), 10**16 + STAKE)
        return office

    def has(self, office: Office, who: str) -> int:
        """What an account has, beside the contract."""
        return int(office.desk.rpc("eth_getBalance", who, "latest"), 16)


class DevnetStoryTests(MoneyStory, DevnetCase):
    """On our own chain."""

    async def test_story(self) -> None:
        """From nothing to nothing; what is done is not done twice; coming back is possible."""

        def work() -> None:
            office = self.live(self.desk)
            self.assertTrue(office.ok("provider", "withdraw")["nothing_to_do"])
            self.assertTrue(office.ok("provider", "leave")["nothing_to_do"])
            self.assertFalse(office.ok("checkbal")["registered"])
            back = office.ok("provider", "register", *TERMS)
            self.assertEqual(back["signer_version"], "2")

        await self.at_work(work)

    async def test_setup_half_done(self) -> None:
        """A node that dies after the first step: not "nothing was sent"; then only the rest is."""

        def work() -> None:
            office = Office.open(self.desk)
            dry = office.ok(*SETUP, *PRICES, "--dry-run")
            node = DyingNode(self.desk.url)
            node.start()
            self.addCleanup(node.stop)
            told = office.run(*SETUP, *PRICES, "--json", "--confirmations", "0", RPC_URL=node.url)
            self.assertFalse(node.alive)
            self.assert_ended(told, 4)
            (registered,) = told.document["transactions"]
            self.assertEqual(("register", 4), (registered["label"], told.document["code"]))
            self.assertIn(f"mined: register {registered['hash']}", told.document["error"])
            self.assertIn(registered["hash"], told.err)
            rest = office.ok(*SETUP, *PRICES)
            self.assertEqual(STEPS[1:], [one["label"] for one in rest["transactions"]])
            used = [one["gas_used"] for one in (registered, *rest["transactions"])]
            for planned, gas in zip(dry["transactions"], used, strict=True):
                self.assertLess(gas, planned["gas"])

        await self.at_work(work)

    async def test_setup_again(self) -> None:
        """Free by no accident; what is so is left alone; terms that users have are not moved."""

        def work() -> None:
            office = Office.open(self.desk)
            told = office.run(*SETUP, "--json")
            self.assert_ended(told, 2)
            self.assertEqual(told.document["code"], 2)
            self.assertIn("--flat", told.document["error"])
            self.assertEqual(office.ok(*SETUP, "--flat")["price_per_cpu_per_min"], "0")
            again = office.ok(*SETUP, "--flat")
            self.assertEqual((again["nothing_to_do"], again["transactions"]), (True, []))
            more = office.ok("setup", "--deposit", "0.06 0G")
            self.assertEqual([t["label"] for t in more["transactions"]], ["deposit"])
            self.assertEqual(more["balance"], str(6 * 10**16))
            dearer = office.run(*SETUP, *PRICES)
            self.assert_ended(dearer, 1)
            self.assertIn("provider register", dearer.err)
            shown = office.run("checkbal")
            self.assert_ended(shown, 0)
            self.assertIn(checksum(USER.address), shown.out)
            self.assertIn("0 neuron (0 0G)", shown.out)
            self.assertNotIn(PROVIDER_KEY[2:], shown.out + shown.err)

        await self.at_work(work)


class AnvilStoryTests(MoneyStory, SynchronousTestCase):
    """On a node that is not ours, with a block each second."""

    skip = skip_reason()

    def test_story(self) -> None:
        """From nothing to nothing."""
        anvil = Anvil()
        anvil.start()
        self.addCleanup(anvil.stop)
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        self.live(Desk(url=anvil.url, folder=folder))


class AskedTests(DevnetCase):
    """Who is meant, and what may not be said."""

    async def test_whom(self) -> None:
        """Without a provider it asks for one; a bad key is never repeated."""

        def work() -> None:
            office = Office.open(self.desk)
            told = office.run("checkbal", PROVIDER_KEY="")
            self.assert_ended(told, 2)
            self.assertIn("PROVIDER_ADDRESS", told.err)
            secret = "0x" + "fe" * 31
            told = office.run("checkbal", PROVIDER_KEY=secret)
            self.assert_ended(told, 2)
            self.assertNotIn("fefe", told.out + told.err)
            told = office.run("provider", "status", SETTLEMENT_CONTRACT="0x" + "11" * 20)
            self.assert_ended(told, 3)

        await self.at_work(work)
