"""Tests for C{sandbox-billing verify}, against a stand-in that recompiles what it is sent."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.cli.explorer import Verdict, verdict
from sandbox_billing.cli.stack import Part
from tests.cli.releases import copy_release
from tests.cli.stage import CHAIN_ID, DevnetCase
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
            ("Max rate limit reached", Verdict.NOT_YET),
            ("Fail - Unable to verify", Verdict.FAILED),
            ("Invalid API Key", Verdict.FAILED),
            ("", Verdict.FAILED),
        ):
            with self.subTest(words=words):
                self.assertIs(meant, verdict(words))


class VerifyTests(DevnetCase):
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
            told = self.desk.run("verify", "--json", **api)
            self.assert_ended(told, 0)
            found = told.document["contracts"]
            self.assertEqual(
                [(deployed.document[part], "verified") for part in PARTS],
                [(found[part]["address"], found[part]["status"]) for part in PARTS],
            )
            self.assertEqual("s3cret-s3cret", self.explorer.posts[0]["apikey"])
            self.assertNotIn("s3cret", told.out + told.err)

            (self.desk.folder / RECORD).unlink()
            proxy = ("--proxy", deployed.document["proxy"])
            again = self.desk.run("verify", "--json", *proxy, **api)
            self.assert_ended(again, 0)
            self.assertEqual(
                ["already verified"] * 3,
                [one["status"] for one in again.document["contracts"].values()],
            )
            beacon = found["beacon"]["constructor_arguments"]
            self.assertEqual(beacon, again.document["contracts"]["beacon"]["constructor_arguments"])

            posts = len(self.explorer.posts)
            later = str(copy_release(self.desk.folder / "later"))
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
