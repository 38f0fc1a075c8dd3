"""
Processes of two versions on one Redis: C{OLD_TREE=folder trial tests.forms.beside}.

Not among the tests, which have no older tree: run it before a release, with a checkout of the
version before.  The tests hold the rule that makes it come true (L{tests.forms.test_forms}).
"""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from sandbox_billing.devnet.world import ALICE, BOB, TOKEN
from tests.blackbox.audit import Account, money
from tests.blackbox.process import PLUGIN_FOLDER, TWISTD, Child, until
from tests.blackbox.scene import RECONCILE_SECONDS, Scene
from tests.blackbox.test_moving import Load


class BesideTests(TestCase):
    """The version before and this one, worker first; and back."""

    timeout = 180

    def version(self, scene: Scene, tree: Path, role: str) -> Child:
        """A process of a version."""
        child = Child.start(
            self,
            [
                *(str(TWISTD), "-n", "--pidfile=", "sandbox-billing", "--role", role),
                *("--endpoint", "tcp:0:interface=127.0.0.1"),
            ],
            {"PYTHONPATH": str(tree), **scene.environment()},
        )
        scene.daemons.append(child)
        return child

    async def work_of(self, worker: Child, before: Child | None = None) -> None:
        """Wait until it is the worker, having stopped the one before."""
        if before is not None:
            self.assertEqual(await before.terminate(), 0, before.said()[-2000:])
        await until(reactor, "the worker", lambda: "is the worker now" in worker.said())

    async def test_beside(self) -> None:
        """Each reads what the other writes; a run is charged once, whoever metered it."""
        old, new = Path(os.environ["OLD_TREE"]), PLUGIN_FOLDER
        scene = await Scene.open(self)
        alice = await scene.user("alice", ALICE, TOKEN)
        bob = await scene.user("bob", BOB, TOKEN)
        workers = [self.version(scene, old, "worker")]
        await self.work_of(workers[0])
        webs = [self.version(scene, tree, "web") for tree in (old, new)]
        bases = [await scene.ready(web) for web in webs]
        first = await scene.created(scene.client(bases[0], alice))
        second = await scene.created(scene.client(bases[1], bob))
        loads = [Load(scene.client(base, alice)) for base in bases]
        asking = [Deferred.fromCoroutine(load.go_on()) for load in loads]
        # Forward, back, and forward again.
        for tree in (new, old, new):
            workers.append(self.version(scene, tree, "worker"))
            before = [await scene.charged_seconds(w) for w in (alice, bob)]
            await self.work_of(workers[-1], workers[-2])
            for wallet, seconds in zip((alice, bob), before, strict=True):

                async def more(w: object = wallet, s: int = seconds) -> bool:
                    return await scene.charged_seconds(w) > s  # type: ignore[arg-type]

                await scene.until("a charge", more)
        for load in loads:
            load.over = True
        for ended in asking:
            await ended
        # Each is stopped by the version that did not make it.
        self.assertEqual((await scene.client(bases[1], alice).act("stop", first))[0], 200)
        self.assertEqual((await scene.client(bases[0], bob).act("stop", second))[0], 200)
        for wallet, sandbox in ((alice, first), (bob, second)):
            lost = 4 * RECONCILE_SECONDS
            await scene.books(wallet, sandbox, paid_in=TOKEN, lost_seconds=lost)
            self.assertEqual(list(money(await Account.of(scene, wallet, TOKEN))), [])
        for load in loads:
            self.assertEqual(set(load.told), {200}, (load.told, load.odd[:3]))
        for child in (*workers, *webs):
            odd = [line for line in child.lines() if line["level"] in ("error", "critical")]
            self.assertEqual(odd, [], odd[:3])
