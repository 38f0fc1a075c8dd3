"""
Daytona's own SDK through our door, with nothing of us in the customer's hands but an address
and a token, against the Daytona of its time.

C{bin/sdk} makes the environments; a release that is in none is skipped, and a failure when
REQUIRE_SDK names it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SkipTest, TestCase

from sandbox_billing.devnet.daytona.dialect import Dialect
from sandbox_billing.devnet.world import ALICE, TOKEN
from tests.blackbox.process import Child
from tests.blackbox.scene import PRICES, RECONCILE_SECONDS, Scene, cost


TREE = Path(__file__).resolve().parents[2]

CUSTOMER = Path(__file__).resolve().with_name("customer.py")

RELEASES = {"0.149.0": Dialect.OLD, "0.190.0": Dialect.NEW, "0.226.1": Dialect.NEW}
"""Each release and the Daytona of its time; the newest server whose source is public is 0.190."""


def interpreter(release: str) -> Path:
    """
    The Python of a release's environment.

    @raise SkipTest: There is none, and nobody has asked for it.
    """
    found = TREE / "build" / "sdk" / release / "bin" / "python"
    if found.exists():
        return found
    if release in os.environ.get("REQUIRE_SDK", "").split():
        raise AssertionError(f"no environment of daytona {release}: bin/sdk --install {release}")
    raise SkipTest(f"no environment of daytona {release}: bin/sdk --install {release}")


class _Mixin:
    """One release; the suites below name it."""

    timeout = 600
    release: ClassVar[str]

    async def test_customer(self: Any) -> None:
        """A customer's program works as it does with Daytona itself, and is billed."""
        python = interpreter(self.release)
        scene = await Scene.open(self, dialect=RELEASES[self.release], allow_exec=True)
        scene.start()
        alice = await scene.user("alice", ALICE, TOKEN)
        base = await scene.ready()
        at_alice = scene.client(base, alice)
        await scene.until("a session to be admitted", lambda: self.funded(at_alice))
        token = await at_alice.login()
        told = await self.lived(scene, python, base, token)
        sandbox = told.pop("id")
        labels, new_labels = told.pop("labels"), told.pop("new_labels")
        self.assertEqual((labels["team"], new_labels["team"]), ("red", "green"))
        self.assertEqual(labels["daytona-owner"], alice.address.hex)
        self.assertEqual(new_labels["daytona-owner"], alice.address.hex)
        self.assertEqual(
            told,
            {
                "exec": "hello",
                "exit_code": 7,
                "code_run": "42",
                "file": True,
                "files": True,
                "followed": "one two",
                "terminal": "True 3",
                "listed": [sandbox],
                "got": sandbox,
                "stopped": True,
                "started": "again",
                "gone": True,
            },
        )
        self.nothing_leaked(scene, token)
        await self.billed(scene, alice, sandbox)

    async def funded(self: Any, client: Any) -> bool:
        """Whether the daemon has seen the deposit."""
        status, _shown = await client.listed()
        return bool(status == 200)

    async def lived(self: Any, scene: Scene, python: Path, base: str, token: str) -> dict[str, Any]:
        """Run the customer's program to its end."""
        customer = Child.start(
            self,
            [str(python), str(CUSTOMER)],
            {
                "DAYTONA_API_KEY": token,
                "DAYTONA_API_URL": f"{base}/api",
                "DAYTONA_TARGET": "us",
                "HOME": "/nonexistent",
            },
        )
        await scene.until(
            "the customer's program to end", lambda: customer.status is not None, seconds=400
        )
        self.assertEqual(customer.status, 0, customer.said()[-3000:])
        told: dict[str, Any] = json.loads(customer.out)
        return told

    def nothing_leaked(self: Any, scene: Scene, token: str) -> None:
        """Daytona heard the operator's key, never the customer's token."""
        for asked in scene.world.simulator.received:
            self.assertNotIn(token, repr((asked.headers, asked.target)))
            self.assertNotIn("cookie", asked.headers)

    async def billed(self: Any, scene: Scene, wallet: Any, sandbox: str) -> None:
        """The create fee and the seconds that ran are paid, on-chain, to the neuron."""
        await scene.until("all to be settled", lambda: scene.all_settled(wallet))
        seconds = await scene.charged_seconds(wallet)
        events = await deferToThread(scene.settled, wallet)
        paid = sum(int(event["args"]["totalFee"]) for event in events)
        self.assertAlmostEqual(paid, PRICES.create_fee + cost(seconds), delta=4)
        ran = scene.world.simulator.running_seconds(sandbox)
        self.assertLessEqual(seconds, ran + 0.001)
        # Two runs, each may lose a reconcile period at both of its ends.
        late = 4 * scene.late_seconds()
        self.assertGreaterEqual(seconds, ran - 4 * RECONCILE_SECONDS - 4 - late)


class OldTests(_Mixin, TestCase):
    """Arrays, pages, 400 for what is in progress."""

    release = "0.149.0"


class NewTests(_Mixin, TestCase):
    """Cursors."""

    release = "0.190.0"


class CurrentTests(_Mixin, TestCase):
    """Stricter about what a sandbox must have; asks for events first."""

    release = "0.226.1"
