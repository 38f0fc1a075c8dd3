"""Tests for C{sandbox-billing user}'s commands that go to the chain, with nobody behind a URL."""

from __future__ import annotations

from sandbox_billing.adapters.memory.contract import LOCK_SECONDS
from sandbox_billing.cli import user_money
from sandbox_billing.cli.user_money import PAYS_TWICE
from sandbox_billing.errors import Transient
from sandbox_billing.signing.eip55 import checksum
from tests.cli.provider_stage import PROVIDER, USER, USER_KEY, Office
from tests.cli.stage import CHAIN_ID, DevnetCase
from tests.cli.test_user import broken
from tests.cli.user_stage import Shell


TERMS = ("--url", "https://p.example", "--tee-signer", checksum(PROVIDER.address))
PRICES = ("--price-cpu", "600", "--price-mem", "300", "--create-fee", "50")
RECEIVER = "0x" + "ab" * 20
"""Somebody who has nothing."""
OTHER = "0x" + "ac" * 20
"""Somebody else."""


class MoneyTests(DevnetCase):
    """What the provider need not be asked for."""

    automine = True
    block_seconds = None

    async def test_story(self) -> None:
        """Paid in, agreed to, revoked, asked back and taken: each once, and told as it is."""
        await self.at_work(self.story)

    def story(self) -> None:
        """All of it; blocking."""
        office = Office.open(self.desk)
        alice = Shell(
            environment={
                "USER_KEY": USER_KEY,
                "RPC_URL": self.desk.url,
                "CHAIN_ID": str(CHAIN_ID),
                "SETTLEMENT_CONTRACT": office.proxy,
                "PROVIDER_ADDRESS": checksum(PROVIDER.address),
                "CONFIRMATIONS": "0",
            }
        )
        told = alice.run("acknowledge")
        self.assertEqual((told.status, "is not registered" in told.err), (1, True), told.err)
        office.ok("provider", "register", *TERMS, *PRICES, CONFIRMATIONS="0")
        self.pay_in(alice)
        self.not_twice(alice)
        self.agree(alice)
        self.take_back(alice)

    def pay_in(self, alice: Shell) -> None:
        """Dry, wet, and up to an amount."""
        mined = self.desk.nonce(USER.address.hex)
        told = alice.run("deposit", "0")
        self.assertEqual((told.status, "is 0" in told.err), (2, True), told.err)
        (planned,) = alice.ok("deposit", "700", "--dry-run")["transactions"]
        self.assertEqual((planned["label"], planned["value"]), ("deposit", "700"))
        self.assertEqual(alice.ok("balance")["balance"], "0")
        self.assertEqual(self.desk.nonce(USER.address.hex), mined)

        told = alice.run("deposit", "700")
        self.assertEqual(told.status, 0, told.err)
        self.assertIn("sandbox-billing user acknowledge", told.out)
        for wanted, paid in (("1000", "300"), ("1000", "0"), ("5", "0")):
            again = alice.ok("deposit", wanted, "--at-least")
            self.assertEqual((again["deposited"], again["balance"]), (paid, "1000"))
            self.assertEqual(again["nothing_to_do"], paid == "0")
        gift = alice.ok("deposit", "8", "--to", RECEIVER)
        self.assertEqual((gift["user"].lower(), gift["balance"]), (RECEIVER, "8"))
        # For looking no key is needed.
        found = alice.ok("balance", "--wallet", RECEIVER, USER_KEY="")
        self.assertEqual((found["balance"], "earnings" in found), ("8", False))
        told = alice.run("balance", USER_KEY="")
        self.assertEqual((told.status, "set USER_KEY" in told.err), (2, True), told.err)

    def not_twice(self, alice: Shell) -> None:
        """What fails after a payment does not say to give the same command again."""
        with broken(user_money, "standing", Transient("the node is silent")):
            for amount, more, said in (
                ("7", (), PAYS_TWICE),
                ("10", ("--at-least",), "run it again"),
            ):
                told = alice.run("deposit", amount, *more, "--to", OTHER)
                self.assertEqual((told.status, said in told.err), (4, True), told.err)
        self.assertEqual(alice.ok("balance", "--wallet", OTHER)["balance"], "10")

    def agree(self, alice: Shell) -> None:
        """To one version and no other; taken back, and given again."""
        told = alice.run("acknowledge", "--version", "7")
        self.assertEqual(told.status, 1)
        self.assertIn("sandbox-billing user acknowledge --version 1", told.err)
        done = alice.ok("acknowledge", "--version", "1")
        self.assertEqual((done["acknowledged"], done["nothing_to_do"]), (True, False))
        self.assertEqual(done["price_per_cpu_per_min"], "600")
        self.assertTrue(alice.ok("acknowledge")["nothing_to_do"])
        self.assertFalse(alice.ok("acknowledge", "--revoke")["acknowledged"])
        self.assertFalse(alice.ok("balance")["acknowledged"])
        self.assertTrue(alice.ok("acknowledge", "--revoke")["nothing_to_do"])
        told = alice.run("acknowledge", "--revoke", "--version", "1")
        self.assertEqual(told.status, 2, told.err)

    def take_back(self, alice: Shell) -> None:
        """Asked, asked otherwise, cancelled, locked, taken; and nothing is left to take."""
        request = ("refund", "request")
        for wrong in ((), ("5", "--all"), ("0",)):
            self.assertEqual(alice.run(*request, *wrong).status, 2, wrong)
        told = alice.run(*request, "1001")
        self.assertEqual((told.status, "only 1000 neuron" in told.err), (1, True), told.err)
        self.assertTrue(alice.ok(*request, "--cancel")["nothing_to_do"])
        self.assertTrue(alice.ok("refund", "withdraw")["nothing_to_do"])
        found = alice.ok(*request, "400")
        self.assertEqual((found["balance"], found["pending_refund"]), ("600", "400"))
        found = alice.ok(*request, "--cancel")
        self.assertEqual((found["balance"], found["pending_refund"]), ("1000", "0"))
        found = alice.ok(*request, "--all")
        self.assertEqual((found["balance"], found["pending_refund"]), ("0", "1000"))
        self.assertTrue(alice.ok(*request, "--all")["nothing_to_do"])
        told = alice.run("refund", "withdraw")
        self.assertEqual((told.status, "locked until" in told.err), (1, True), told.err)
        self.desk.rpc("evm_increaseTime", LOCK_SECONDS + 60)
        self.desk.rpc("evm_mine")
        done = alice.ok("refund", "withdraw", "--to", RECEIVER)
        self.assertEqual((done["withdrawn"], done["pending_refund"]), ("1000", "0"))
        self.assertEqual(int(self.desk.rpc("eth_getBalance", RECEIVER, "latest"), 16), 1000)
