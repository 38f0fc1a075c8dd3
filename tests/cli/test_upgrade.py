"""Tests for C{sandbox-billing upgrade}, as a process against the devnet's chain and anvil."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from web3 import Web3

from sandbox_billing.adapters.chain.artifacts import load
from sandbox_billing.cli.exits import WrongChain
from sandbox_billing.cli.options import ChainOptions
from sandbox_billing.cli.session import connect
from sandbox_billing.cli.upgrade import discover
from sandbox_billing.devnet.contracts import Deployment, deploy_stack
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum
from tests.anvil import Anvil, skip_reason
from tests.cli.releases import copy_release
from tests.cli.stage import (
    CHAIN_ID,
    OWNER,
    OWNER_ACCOUNT,
    STRANGER_KEY,
    Desk,
    DevnetCase,
    send,
    soon,
)


USER = "0x" + "11" * 20
PROVIDER = "0x" + "22" * 20
RECORD = f"upgrade-{CHAIN_ID}.json"


def deployed(w3: Web3) -> Deployment:
    """Today's contract with somebody's money in it."""
    wait = w3.eth.wait_for_transaction_receipt
    deployment = deploy_stack(w3, OWNER_ACCOUNT, 100, wait=lambda h: wait(h, poll_latency=0.02))
    serving = w3.eth.contract(address=deployment.proxy, abi=load("SandboxServing").abi)
    send(w3, serving.functions.deposit(checksum_of(USER), checksum_of(PROVIDER)), value=4242)
    return deployment


def checksum_of(address: str) -> str:
    """As web3 wants it."""
    return Web3.to_checksum_address(address)


def books(w3: Web3, deployment: Deployment) -> Any:
    """What must survive."""
    serving = w3.eth.contract(address=deployment.proxy, abi=load("SandboxServing").abi).functions
    return (
        serving.getBalance(checksum_of(USER), checksum_of(PROVIDER)).call(),
        serving.providerStake().call(),
        serving.owner().call(),
    )


def implementation(w3: Web3, deployment: Deployment) -> str:
    """What the beacon names."""
    beacon = w3.eth.contract(address=deployment.beacon, abi=load("UpgradeableBeacon").abi)
    return str(beacon.functions.implementation().call())


class UpgradeTests(DevnetCase):
    """Between two releases."""

    async def test_story(self) -> None:
        """Shown dry, killed in the middle, resumed; money stays; and then nothing is to do."""

        def work() -> None:
            w3 = self.desk.w3()
            stack = deployed(w3)
            before, sent = books(w3, stack), self.desk.nonce()
            current = self.desk.run("upgrade", "--proxy", stack.proxy)
            self.assert_ended(current, 0)
            self.assertIn("Nothing to do", current.out)

            later = {"PYTHONPATH": str(copy_release(self.desk.folder / "later"))}
            command = ("upgrade", "--proxy", stack.proxy, "--json")
            dry = self.desk.run(*command, "--dry-run", **later)
            self.assert_ended(dry, 0)
            labels = [one["label"] for one in dry.document["transactions"]]
            self.assertEqual(["implementation", "upgradeTo"], labels)
            self.assertEqual(sent, self.desk.nonce())

            process = self.desk.start(*command, **later)
            soon("the record", (self.desk.folder / RECORD).exists)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            told = self.desk.run(*command, "--resume", **later)
            self.assert_ended(told, 0)
            for planned, one in zip(
                dry.document["transactions"], told.document["transactions"], strict=True
            ):
                self.assertLess(one["gas_used"], planned["gas"])
            self.assertEqual(stack.implementation, told.document["old_implementation"])
            self.assertEqual(told.document["implementation"], implementation(w3, stack))
            self.assertNotEqual(stack.implementation, implementation(w3, stack))
            self.assertEqual(sent + 2, self.desk.nonce(), "something was sent twice")
            self.assertEqual(before, books(w3, stack))

            by_beacon = ("upgrade", "--beacon", stack.beacon, "--json")
            again = self.desk.run(*by_beacon, **later)
            self.assert_ended(again, 0)
            self.assertTrue(again.document["nothing_to_do"])
            # This release does not know what the later one has stored.
            back = self.desk.run(*by_beacon)
            self.assert_ended(back, 1)
            self.assertIn("none of this project's", back.document["error"])

        await self.at_work(work)

    async def test_refused(self) -> None:
        """Another's key (he can prepare), storage that is no append, an unlisted build."""

        def retype(layout: Any) -> None:
            layout["storage"][0]["label"] = "_renamed"

        def work() -> None:
            w3 = self.desk.w3()
            stack = deployed(w3)
            sent = self.desk.nonce()
            later = str(copy_release(self.desk.folder / "later"))
            stranger = self.desk.run(
                "upgrade", "--proxy", stack.proxy, PYTHONPATH=later, OWNER_KEY=STRANGER_KEY
            )
            self.assert_ended(stranger, 1)
            self.assertIn(f"belongs to {checksum(OWNER.address)}", stranger.err)
            prepared = self.desk.run(
                *("upgrade", "--proxy", stack.proxy, "--prepare", "--json"),
                PYTHONPATH=later,
                OWNER_KEY=STRANGER_KEY,
            )
            self.assert_ended(prepared, 0)
            self.assertEqual(stack.beacon, prepared.document["to"])
            call = {"from": OWNER_ACCOUNT.address, "to": stack.beacon}
            w3.eth.call({**call, "data": prepared.document["data"]})
            self.assertTrue(w3.eth.get_code(prepared.document["implementation"]))
            moved = str(copy_release(self.desk.folder / "moved", relayout=retype))
            told = self.desk.run("upgrade", "--proxy", stack.proxy, PYTHONPATH=moved)
            self.assert_ended(told, 1)
            self.assertIn("_providerStake is gone", told.err)
            odd = str(copy_release(self.desk.folder / "odd", listed=False))
            told = self.desk.run("upgrade", "--proxy", stack.proxy, PYTHONPATH=odd)
            self.assert_ended(told, 1)
            self.assertIn("not in its own list of layouts", told.err)
            self.assertEqual(sent, self.desk.nonce())
            self.assertEqual(stack.implementation, implementation(w3, stack))

        await self.at_work(work)

    async def test_foreign(self) -> None:
        """Somebody else's code behind a beacon, no beacon at all, no contract at all."""

        def work() -> None:
            w3 = self.desk.w3()
            stack = deployed(w3)
            # The beacon's own code stands for somebody else's.
            beacon = w3.eth.contract(address=stack.beacon, abi=load("UpgradeableBeacon").abi)
            send(w3, beacon.functions.upgradeTo(stack.beacon))
            told = self.desk.run("upgrade", "--beacon", stack.beacon)
            self.assert_ended(told, 1)
            self.assertIn("Moving from the Go contract means a new deployment", told.err)
            session = connect(ChainOptions(rpc=self.desk.url, chain_id=CHAIN_ID))
            with self.assertRaisesRegex(WrongChain, "is no beacon"):
                discover(session, None, Address(stack.implementation))
            with self.assertRaisesRegex(WrongChain, "is no beacon"):
                discover(session, None, Address(USER))
            with self.assertRaisesRegex(WrongChain, "there is no contract at"):
                discover(session, Address(USER), None)
            with self.assertRaisesRegex(WrongChain, "is no proxy"):
                discover(session, Address(stack.implementation), None)
            with self.assertRaisesRegex(WrongChain, "is not the settlement contract"):
                discover(session, Address(stack.beacon), None)

        await self.at_work(work)


class AnvilTests(SynchronousTestCase):
    """The same on a node that is not ours, with a block each second."""

    skip = skip_reason()

    def test_upgrade(self) -> None:
        """The new code is behind the proxy, and the money is still there."""
        anvil = Anvil()
        anvil.start()
        self.addCleanup(anvil.stop)
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        desk = Desk(url=anvil.url, folder=folder)
        w3 = desk.w3()
        stack = deployed(w3)
        before = books(w3, stack)
        later = str(copy_release(folder / "later"))
        told = desk.run("upgrade", "--proxy", stack.proxy, "--json", PYTHONPATH=later)
        self.assertEqual(0, told.status, told.err)
        self.assertEqual(told.document["implementation"], implementation(w3, stack))
        self.assertNotEqual(stack.implementation, implementation(w3, stack))
        self.assertEqual(before, books(w3, stack))
