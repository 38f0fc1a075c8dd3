"""Webhooks of a real daemon: tried out, delivered, and delivered again after C{kill -9}."""

from __future__ import annotations

import json
import time

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from sandbox_billing.client.webhooks import verify_signature
from sandbox_billing.devnet.world import ALICE, TOKEN
from tests.adapters.receiver import Receiver, answer
from tests.blackbox.scene import Scene


PATH = "/api/webhooks"


class WebhookTests(TestCase):
    """One daemon after another, one wallet, one receiver."""

    timeout = 600

    async def test_whole_way(self) -> None:
        """What was under way when the daemon died comes again, under the same id."""
        scene = await Scene.open(self)
        scene.start()
        alice = await scene.user("alice", ALICE, TOKEN)
        client = scene.client(await scene.ready(), alice)
        # Taken, then silence, then taken.
        receiver = Receiver([answer(200), None, answer(204)])
        port = await receiver.listen()
        self.addCleanup(lambda: Deferred.fromCoroutine(receiver.close()))
        body = {"url": f"http://127.0.0.1:{port}/hook", "kinds": ["topped_up"]}
        status, made = await client.ask("POST", PATH, verb=f"POST:{PATH}", body=body)
        self.assertEqual(status, 201, made)
        path = f"{PATH}/{made['id']}/test"
        status, told = await client.ask("POST", path, verb=f"POST:{path}")
        self.assertEqual(
            (status, told), (200, {"delivered": True, "status": 200, "told": "answered 200"})
        )
        await deferToThread(alice.deposit, TOKEN)
        await scene.until("a notice", lambda: len(receiver.heard) == 2)
        assert scene.daemon is not None
        await scene.daemon.kill()
        scene.start()
        await scene.until("the notice again", lambda: len(receiver.heard) == 3)
        for which, (_, sent) in enumerate(receiver.heard):
            signed = receiver.headers(which)["x-sandbox-billing-signature"]
            verify_signature(made["secret"], signed, sent, time.time())
        kinds = [json.loads(sent)["kind"] for _, sent in receiver.heard]
        self.assertEqual(kinds, ["ping", "topped_up", "topped_up"])
        name = "x-sandbox-billing-delivery"
        self.assertEqual(receiver.headers(1)[name], receiver.headers(2)[name])
        client = scene.client(await scene.ready(), alice)

        async def delivered() -> bool:
            _, listed = await client.ask("GET", PATH, verb=f"GET:{PATH}")
            return bool(listed["webhooks"][0]["delivered"] == 1)

        await scene.until("it to be stored", delivered)
        self.assertEqual(len(receiver.heard), 3)
        said = b"".join(child.out + child.err for child in scene.daemons)
        self.assertNotIn(made["secret"].encode(), said)
        self.assertNotIn(b"/hook", said)
