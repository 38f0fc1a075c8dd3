"""Tests for C{sandbox-billing verify}, against a stand-in that recompiles what it is sent."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Event
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.cli.explorer import Verdict, verdict
from sandbox_billing.cli.session import Pace
from sandbox_billing.cli.stack import Part
from sandbox_billing.cli.verify import Waits
from tests import anvil
from tests.cli.releases import STACK, copy_release, list_build
from tests.cli.stage import CHAIN_ID, Desk, DevnetCase, soon
from tests.explorer import Explorer, skip_reason


PARTS = [part.value for part in Part]
RECORD = f"deployment-{CHAIN_ID}.json"


class VerdictTests(SynchronousTestCase):
    """Explorers' prose."""

    def test_words(self) -> None:
        """What Etherscan, Blockscout and Conflux's scan say."""
        for words, meant in (
            ("Pass - Verified", Verdict.VERIFIED),
            ("Pending in queue", Verdict.PENDING),
            ("In progress", Verdict.PENDING),
            ("Already Verified", Verdict.ALREADY),
            ("Contract source code already verified", Verdict.ALREADY),
            ("Smart-contract already verified.", Verdict.ALREADY),
            ("Unable to locate ContractCode at 0x12", Verdict.NOT_YET),
            ("Fail - Unable to verify", Verdict.FAILED),
            ("Invalid API Key", Verdict.FAILED),
            ("", Verdict.FAILED),
        ):
            with self.subTest(words=words):
                self.assertIs(meant, verdict(words))


class WaitsTests(SynchronousTestCase):
    """How often an explorer is asked."""

    def test_backs_off(self) -> None:
        """Longer each time up to half a minute, as long as it says, and at once short again."""
        slept: list[float] = []
        waits = Waits(Pace(seconds=lambda: 0.0, sleep=slept.append))
        for _ in range(7):
            waits.longer(None)
        self.assertEqual([2, 4, 8, 16, 30, 30, 30], slept)
        waits.usual()
        waits.longer(20.0)
        waits.longer(3600.0)
        self.assertEqual([1, 20, 30], slept[7:])


class StandInTests(SynchronousTestCase):
    """L{Explorer}, whose opinion takes as long as a compiler takes on a busy machine."""

    def test_pending(self) -> None:
        """A submission is answered at once, and its status is pending until there is a verdict."""
        explorer, compiled = Explorer("http://127.0.0.1:1"), Event()

        def judge(_self: Explorer, _fields: Any) -> str:
            compiled.wait(60)
            return "Pass - Verified"

        self.patch(Explorer, "judge", judge)
        explorer.start()
        self.addCleanup(explorer.stop)
        self.addCleanup(compiled.set)
        wish = {"module": "contract", "action": "verifysourcecode", "contractaddress": "0x12"}
        accepted, guid = explorer.answer(wish)
        self.assertTrue(accepted)
        status = {"module": "contract", "action": "checkverifystatus", "guid": guid}
        for _ in range(3):
            self.assertEqual((False, "Pending in queue"), explorer.answer(status))
        compiled.set()
        soon("the verdict", lambda: explorer.verdicts)
        self.assertEqual((True, "Pass - Verified"), explorer.answer(status))
        self.assertEqual({"0x12"}, explorer.verified)


class AcrossCompilers:
    """A deployment by an older build, upgraded and verified by this one."""

    def live(self, desk: Desk, explorer: Explorer) -> None:
        """On any node."""
        assert isinstance(self, SynchronousTestCase)
        older = copy_release(desk.folder / "older", rebuilt=STACK)
        newer = copy_release(desk.folder / "newer", rebuilt=())
        list_build(newer, older)
        old, new = {"PYTHONPATH": str(older)}, {"PYTHONPATH": str(newer)}
        deployed = self.document(desk, "deploy", "--stake", "1", **old)
        proxy = ("--proxy", deployed["proxy"])
        upgraded = self.document(desk, "upgrade", *proxy, **new)
        api = {"EXPLORER_API": explorer.url}
        found = self.document(desk, "verify", **new, **api)["contracts"]
        alone = "another build, left alone"
        self.assertEqual(
            [
                (upgraded["implementation"], "verified"),
                (deployed["beacon"], alone),
                (deployed["proxy"], alone),
            ],
            [(found[part]["address"], found[part]["status"]) for part in PARTS],
        )
        self.assertEqual({upgraded["implementation"].lower()}, explorer.verified)
        dry = self.document(desk, "verify", "--dry-run", **old, **api)
        self.assertEqual(
            [deployed["beacon"], deployed["proxy"]],
            [post["contractaddress"] for post in dry["posts"]],
        )
        self.assertEqual(["implementation"], list(dry["left_alone"]))

    def document(self, desk: Desk, *arguments: str, **more: str) -> Any:
        """Of a command that succeeds."""
        assert isinstance(self, SynchronousTestCase)
        told = desk.run(*arguments, "--json", **more)
        self.assertEqual(0, told.status, f"{told.out}\n{told.err}")
        return told.document


class VerifyTests(AcrossCompilers, DevnetCase):
    """All three contracts of a deployment."""

    skip = skip_reason()

    def setUp(self) -> None:
        """Have an explorer of the chain."""
        super().setUp()
        self.explorer = Explorer(self.desk.url)
        self.explorer.start()
        self.addCleanup(self.explorer.stop)

    async def test_story(self) -> None:
        """Shown dry, verified, already verified; without the record too; and never what differs."""

        def work() -> None:
            deployed = self.desk.run("deploy", "--stake", "1", "--json")
            self.assert_ended(deployed, 0)
            api = {"EXPLORER_API": self.explorer.url, "EXPLORER_API_KEY": "s3cret-s3cret"}
            dry = self.desk.run("verify", "--dry-run", "--json", **api)
            self.assert_ended(dry, 0)
            self.assertEqual(3, len(dry.document["posts"]))
            self.assertEqual([], self.explorer.posts)

            self.explorer.unindexed = 1
            self.explorer.busy = 2
            told = self.desk.run("verify", "--json", **api)
            self.assert_ended(told, 0)
            found = told.document["contracts"]
            self.assertEqual(
                [(deployed.document[part], "verified") for part in PARTS],
                [(found[part]["address"], found[part]["status"]) for part in PARTS],
            )
            self.assertEqual("s3cret-s3cret", self.explorer.posts[0]["apikey"])
            self.assertNotIn("s3cret", told.out + told.err)
            for words in ("HTTP 429", "rate limit reached"):
                self.assertRegex(told.err, f"implementation: .*{words}.*; asking less often")

            (self.desk.folder / RECORD).unlink()
            proxy = ("--proxy", deployed.document["proxy"])
            self.explorer.busy = 1
            again = self.desk.run("verify", "--json", *proxy, **api)
            self.assert_ended(again, 0)
            self.assertEqual(
                ["already verified"] * 3,
                [one["status"] for one in again.document["contracts"].values()],
            )
            beacon = found["beacon"]["constructor_arguments"]
            self.assertEqual(beacon, again.document["contracts"]["beacon"]["constructor_arguments"])

            posts = len(self.explorer.posts)
            later = str(copy_release(self.desk.folder / "later", rebuilt=STACK))
            told = self.desk.run("verify", *proxy, PYTHONPATH=later, **api)
            self.assert_ended(told, 1)
            self.assertIn("another build", told.err)
            self.assertEqual(posts, len(self.explorer.posts))
            self._tampered()

        await self.at_work(work)

    def _tampered(self) -> None:
        """The stand-in itself refuses what is not so: other sources, arguments, compiler."""
        beacon = self.explorer.posts[2]
        self.assertEqual("Pass - Verified", self.explorer.judge(beacon))
        sources = json.loads(beacon["sourceCode"])
        unit = sources["sources"]["src/proxy/UpgradeableBeacon.sol"]
        unit["content"] += "\n// A comment changes the metadata's hash.\n"
        for name, value in (
            ("constructorArguements", beacon["constructorArguements"][:-1] + "0"),
            ("compilerversion", "v0.8.33+commit.64118f21"),
            ("sourceCode", json.dumps(sources)),
            ("contractname", "src/proxy/UpgradeableBeacon.sol:Nothing"),
            ("codeformat", "solidity-single-file"),
        ):
            with self.subTest(name=name):
                judged = self.explorer.judge({**beacon, name: value})
                self.assertTrue(judged.startswith("Fail"), f"{name}: {judged}")

    async def test_across_compilers(self) -> None:
        """After an upgrade each build's program posts its own parts and leaves the others."""
        await self.at_work(lambda: self.live(self.desk, self.explorer))

    async def test_refused(self) -> None:
        """No explorer, no deployment, and an explorer that is none."""

        def work() -> None:
            told = self.desk.run("verify", "--api", self.explorer.url)
            self.assert_ended(told, 2)
            self.assertIn("--proxy", told.err)
            self.assert_ended(self.desk.run("deploy", "--stake", "1"), 0)
            told = self.desk.run("verify", "--api", self.desk.url, "--json")
            self.assert_ended(told, 5)
            self.assertIn("look at --api", told.document["error"])

        await self.at_work(work)


class AnvilTests(AcrossCompilers, SynchronousTestCase):
    """On a node that is not ours, with a block each second."""

    skip = skip_reason() or anvil.skip_reason()

    def test_across_compilers(self) -> None:
        """Deployed, upgraded, verified."""
        node = anvil.Anvil()
        node.start()
        self.addCleanup(node.stop)
        explorer = Explorer(node.url)
        explorer.start()
        self.addCleanup(explorer.stop)
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        self.live(Desk(url=node.url, folder=folder), explorer)
