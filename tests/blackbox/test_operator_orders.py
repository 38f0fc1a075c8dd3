"""Orders through a web process and a worker apart, over sockets."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from sandbox_billing.devnet.wallet import Client
from sandbox_billing.devnet.world import ALICE, MALLORY, TOKEN
from sandbox_billing.ledger.audit import broken_at
from tests.blackbox.scene import Scene


WHY = {"reason": "it attacks others"}


class OperatorOrdersTests(TestCase):
    """An operator, a user, two processes."""

    timeout = 600

    async def test_whole_way(self) -> None:
        """What the one stores the other carries out, and the audit says so."""
        scene = await Scene.open(self)
        alice = await scene.user("alice", ALICE, TOKEN)
        boss = await scene.user("boss", MALLORY, 0, acknowledge=False)
        more = {"ADMIN_ADDRESSES": str(boss.account.address)}
        web = scene.start("--role", "web", **more)
        scene.start("--role", "worker", **more)
        base = await scene.ready(web)
        user, operator = scene.client(base, alice), scene.client(base, boss)
        sandbox = await scene.created(user)
        path = f"/api/operator/sandbox/{sandbox}/stop"
        self.assertEqual((await self.order(user, "POST", path, WHY))[0], 403)
        status, told = await self.order(operator, "POST", path, WHY)
        self.assertEqual((status, told["result"]), (200, {"state": "stopped"}), told)
        status, started = await user.act("start", sandbox)
        self.assertEqual(status, 200, started)
        status, told = await self.order(operator, "DELETE", f"/api/sandbox/{sandbox}/force")
        self.assertEqual((status, told["state"]), (200, "done"), told)
        self.assertEqual((await user.show(sandbox))[0], 404)
        _, page = await self.order(operator, "GET", "/api/audit-log")
        forms = [one["form"].encode() for one in page["entries"][::-1]]
        self.assertIsNone(broken_at(forms))
        kinds = [json.loads(form)["what"] for form in forms]
        self.assertEqual(kinds, ["stop", "force-delete"])

    async def order(
        self, client: Client, method: str, path: str, body: dict[str, Any] | None = None
    ) -> tuple[int, Any]:
        """Signed for exactly this; on a busy machine an order may take longer than its answer."""
        status, told = await client.ask(method, path, verb=f"{method}:{path}", body=body)
        while status == 202 or told.get("state") in ("asked", "under_way"):
            await deferLater(reactor, 0.2)  # type: ignore[arg-type]
            path = f"/api/operator/orders/{told['id']}"
            status, told = await client.ask("GET", path, verb=f"GET:{path}")
        return status, told
