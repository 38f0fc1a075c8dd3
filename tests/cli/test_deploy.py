"""Tests for C{sandbox-billing deploy}, as a process against the devnet's chain and anvil."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from eth_account import Account
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.chain.artifacts import load
from sandbox_billing.cli.stack import PART_GAS, Part
from sandbox_billing.signing.eip55 import checksum
from tests.anvil import Anvil, skip_reason
from tests.cli.stage import CHAIN_ID, OWNER, OWNER_KEY, STRANGER_KEY, Desk, DevnetCase, Told, soon


STAKE = 10**16
DEPLOY = ("deploy", "--stake", "0.01 0G")
RECORD = f"deployment-{CHAIN_ID}.json"
PARTS = [part.value for part in Part]


def stored(desk: Desk) -> Any:
    """The record; None as long as there is none."""
    path = desk.folder / RECORD
    return json.loads(path.read_text()) if path.exists() else None


def begun(desk: Desk, part: str) -> bool:
    """Whether the record has a transaction of this part."""
    found = stored(desk)
    return found is not None and part in found["contracts"]


class DeployChecks:
    """What must be so after a deployment, whatever the node."""

    def assert_deployed(self, desk: Desk, told: Told) -> None:
        """The three stand, are wired, and belong to the deployer."""
        assert isinstance(self, SynchronousTestCase)
        self.assertEqual(0, told.status, f"{told.out}\n{told.err}")
        found = told.document
        w3 = desk.w3()
        serving = w3.eth.contract(address=found["proxy"], abi=load("SandboxServing").abi)
        beacon = w3.eth.contract(address=found["beacon"], abi=load("UpgradeableBeacon").abi)
        owner = checksum(OWNER.address)
        self.assertEqual(
            (owner, owner, STAKE, found["implementation"]),
            (
                serving.functions.owner().call(),
                beacon.functions.owner().call(),
                serving.functions.providerStake().call(),
                beacon.functions.implementation().call(),
            ),
        )
        self.assertEqual(3, desk.nonce(), "something was deployed twice")
        self.assertTrue(stored(desk)["complete"])


class FirstTests(DeployChecks, DevnetCase):
    """A first deployment, and all that is asked before it."""

    async def test_story(self) -> None:
        """Shown dry, deployed, and not again; with another stake it is another deployment."""

        def work() -> None:
            dry = self.desk.run(*DEPLOY, "--dry-run", "--json")
            self.assert_ended(dry, 0)
            planned = dry.document["transactions"]
            self.assertEqual(PARTS, [one["label"] for one in planned])
            self.assertEqual(load("SandboxServing").bytecode, planned[0]["data"])
            self.assertEqual([True, False, False], [one["gas_estimated"] for one in planned])
            total = dry.document["total"]
            self.assertEqual(sum(one["gas"] for one in planned), total["gas"])
            self.assertEqual(sum(int(one["cost"]) for one in planned), int(total["cost"]))
            self.assertEqual(checksum(OWNER.address), dry.document["sender"])
            self.assertEqual(0, self.desk.nonce())
            self.assertIsNone(stored(self.desk))

            told = self.desk.run(*DEPLOY, "--json")
            self.assert_deployed(self.desk, told)
            for part, one in zip(Part, told.document["transactions"], strict=True):
                self.assertLess(one["gas_used"] * 6 // 5, PART_GAS[part])

            again = self.desk.run(*DEPLOY)
            self.assert_ended(again, 0)
            self.assertIn("Nothing to do", again.out)
            for part in PARTS:
                self.assertIn(told.document[part], again.out)
            other = self.desk.run("deploy", "--stake", "1")
            self.assert_ended(other, 1)
            self.assertIn("--fresh", other.err)
            self.assertEqual(3, self.desk.nonce())

        await self.at_work(work)

    async def test_refused(self) -> None:
        """Another chain, a poor account: each with its status, and nothing is sent."""

        def work() -> None:
            told = self.desk.run(*DEPLOY, "--chain-id", "1")
            self.assert_ended(told, 3)
            self.assertIn(f"serves chain {CHAIN_ID}, and --chain-id says 1", told.err)

            poor = "0x" + (2**200).to_bytes(32, "big").hex()
            told = self.desk.run(*DEPLOY, "--json", OWNER_KEY=poor)
            self.assert_ended(told, 1)
            self.assertEqual(1, told.document["code"])
            self.assertIn("has 0 neuron (0 0G): send it some", told.document["error"])
            self.assertEqual(0, self.desk.nonce())
            self.assertIsNone(stored(self.desk))

        await self.at_work(work)


class KilledTests(DeployChecks, DevnetCase):
    """A deployment is killed; the next one goes on from there."""

    block_seconds = None

    def _mine_until(self, what: str, check: Any) -> None:
        def turn() -> Any:
            self.desk.rpc("evm_mine")
            return check()

        soon(what, turn, pause=0.1)

    def _finish(self, *arguments: str) -> Told:
        """Run it again, with blocks coming."""
        process = self.desk.start(*DEPLOY, "--json", *arguments)
        self._mine_until("the end", lambda: process.poll() is not None)
        out, err = process.communicate()
        return Told(status=process.returncode, out=out, err=err)

    def _kill(self, process: Any) -> None:
        process.send_signal(signal.SIGKILL)
        process.communicate()

    async def test_anywhere(self) -> None:
        """Killed while the first, then the second, then the third waits; no other key goes on."""

        def work() -> None:
            arguments: tuple[str, ...] = ()
            for place, part in enumerate(PARTS):
                process = self.desk.start(*DEPLOY, *arguments)
                self._mine_until(part, lambda part=part: begun(self.desk, part))
                self._kill(process)
                self.assertLessEqual(self.desk.nonce(), place + 1)
                arguments = ("--resume",)
            told = self.desk.run(*DEPLOY, "--resume", OWNER_KEY=STRANGER_KEY)
            self.assert_ended(told, 1)
            self.assertIn("has the account", told.err)
            # Nobody decides here.
            asked = self.desk.run(*DEPLOY)
            self.assert_ended(asked, 1)
            self.assertIn("say --resume", asked.err)
            self.assert_deployed(self.desk, self._finish("--yes"))

        await self.at_work(work)

    async def test_never_heard(self) -> None:
        """Killed after the record and before the node heard: the stored bytes are sent."""

        def work() -> None:
            self.desk.rpc("devnet_failNext", "eth_sendRawTransaction", "unheard")
            process = self.desk.start(*DEPLOY)
            soon("the record", lambda: begun(self.desk, PARTS[0]))
            self._kill(process)
            first = stored(self.desk)["contracts"][PARTS[0]]["transactions"]
            told = self._finish("--resume")
            self.assert_deployed(self.desk, told)
            self.assertEqual(first[0]["hash"], told.document["transactions"][0]["hash"])

        await self.at_work(work)

    async def test_unanswered(self) -> None:
        """The node took it and its answer was lost: it is waited for and not sent twice."""

        def work() -> None:
            self.desk.rpc("devnet_failNext", "eth_sendRawTransaction", "unanswered")
            self.assert_deployed(self.desk, self._finish())

        await self.at_work(work)

    async def test_time_is_up(self) -> None:
        """No block comes: the outcome is unknown, the hash is told, and it can be gone on with."""

        def work() -> None:
            told = self.desk.run(*DEPLOY, "--timeout", "1", "--json")
            self.assert_ended(told, 4)
            sent = stored(self.desk)["contracts"][PARTS[0]]["transactions"][0]["hash"]
            self.assertIn(sent, told.document["error"])
            self.assertIn("run the same command again", told.document["error"])
            self.assert_deployed(self.desk, self._finish("--resume"))

        await self.at_work(work)

    async def test_nonce_taken(self) -> None:
        """The stored transaction was pushed out by another: the part is created anew."""

        def work() -> None:
            self.desk.rpc("devnet_failNext", "eth_sendRawTransaction", "unheard")
            process = self.desk.start(*DEPLOY)
            soon("the record", lambda: begun(self.desk, PARTS[0]))
            self._kill(process)
            # Killed before it sent, it has left the failure to whoever sends next: to us.
            self.desk.rpc("devnet_failNext", "eth_sendRawTransaction", "unheard", 0)
            signed = Account.sign_transaction(
                {
                    "chainId": CHAIN_ID,
                    "nonce": 0,
                    "to": "0x" + "11" * 20,
                    "value": 1,
                    "gas": 21000,
                    "gasPrice": 10**10,
                },
                OWNER_KEY,
            )
            self.desk.rpc("eth_sendRawTransaction", signed.raw_transaction.to_0x_hex())
            self.desk.rpc("evm_mine")
            told = self._finish("--resume")
            self.assert_ended(told, 0)
            self.assertIn("another transaction took its nonce 0", told.err)
            self.assertEqual(4, self.desk.nonce())

        await self.at_work(work)


class AnotherChainTests(DevnetCase):
    """A record meets a chain that has the same id and was begun anew."""

    async def test_complete(self) -> None:
        """What the record says stands nowhere: nothing is claimed."""

        def work() -> None:
            before = self.desk.rpc("evm_snapshot")
            self.assert_ended(self.desk.run(*DEPLOY), 0)
            self.desk.rpc("evm_revert", before)
            told = self.desk.run(*DEPLOY)
            self.assert_ended(told, 1)
            self.assertIn("another chain with the same id", told.err)
            told = self.desk.run(*DEPLOY, "--fresh")
            self.assert_ended(told, 0)
            self.assertIn("kept as", told.err)
            self.assertTrue((self.desk.folder / f"deployment-{CHAIN_ID}.1.json").exists())

        await self.at_work(work)


class AnvilTests(DeployChecks, SynchronousTestCase):
    """The same on a node that is not ours, with a block each second."""

    skip = skip_reason()

    def test_deploy(self) -> None:
        """Killed in the middle, resumed, and not deployed twice."""
        anvil = Anvil()
        anvil.start()
        self.addCleanup(anvil.stop)
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        desk = Desk(url=anvil.url, folder=folder)
        process = desk.start(*DEPLOY)
        soon("the second contract", lambda: begun(desk, PARTS[1]))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        self.assert_deployed(desk, desk.run(*DEPLOY, "--resume", "--json"))
        again = desk.run(*DEPLOY, "--json")
        self.assertEqual((0, True), (again.status, again.document["nothing_to_do"]))
