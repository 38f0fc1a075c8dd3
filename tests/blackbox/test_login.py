"""A token from the command line, against a daemon with a real Redis."""

from __future__ import annotations

import json
import sys
from typing import Any

from twisted.trial.unittest import TestCase

from sandbox_billing.devnet.wallet import Client
from sandbox_billing.devnet.world import ALICE, TOKEN
from sandbox_billing.errors import Refused
from sandbox_billing.ledger.token import Scope
from tests.blackbox.process import Child
from tests.blackbox.scene import ANSWER_SECONDS, Scene


class LoginTests(TestCase):
    """One daemon, one wallet, and programs that cannot sign."""

    timeout = 600

    async def test_life_of_a_token(self) -> None:
        """Given to whoever signs in, good until it is revoked, also in the next process."""
        scene = await Scene.open(self)
        scene.start()
        alice = await scene.user("alice", ALICE, TOKEN)
        base = await scene.ready()
        client = scene.client(base, alice)
        made = await self.logged_in(scene, base)
        self.assertEqual((made["scopes"], made["sandbox"]), (["read"], None))
        self.assertEqual(made["expires_at"] - made["issued_at"], 600)
        secret = made["token"]
        self.assertEqual(await self.asked(client, secret, "GET", "/api/sandbox"), (200, None))
        self.assertEqual(
            await self.asked(client, secret, "POST", "/api/sandbox"),
            (403, "this token has not the scope manage"),
        )
        whole = await client.login(scopes=tuple(Scope))
        status, listed = await client.ask("GET", PATH, verb=f"GET:{PATH}")
        self.assertEqual((status, len(listed["tokens"])), (200, 2))
        self.assertNotIn(secret, json.dumps(listed))
        path = f"{PATH}/{made['id']}"
        self.assertEqual(await self.asked(client, secret, "DELETE", path), (200, None))
        self.assertEqual(
            await self.asked(client, secret, "GET", "/api/sandbox"),
            (401, "invalid or expired token"),
        )
        self.assertEqual(await self.asked(client, whole, "GET", "/api/sandbox"), (200, None))
        status, ended = await client.ask("DELETE", PATH, verb=f"DELETE:{PATH}")
        self.assertEqual((status, ended), (200, {"revoked": 1}))
        self.assertEqual((await self.asked(client, whole, "GET", PATH))[0], 401)

    async def test_other_address(self) -> None:
        """A login that was signed for another address than PUBLIC_URL is refused."""
        scene = await Scene.open(self)
        scene.start(PUBLIC_URL="https://sandboxes.example")
        alice = await scene.user("alice", ALICE, TOKEN)
        client = scene.client(await scene.ready(), alice)
        try:
            await client.login()
        except Refused as refused:
            text = "no token: 401 this message is for another address than"
            self.assertEqual(str(refused), f"{text} https://sandboxes.example")
        else:
            self.fail("a token was given")

    async def logged_in(self, scene: Scene, base: str) -> dict[str, Any]:
        """What the command prints."""
        command = Child.start(
            self,
            [
                *(sys.executable, "-m", "sandbox_billing.devnet.login", base),
                *("--scope", "read", "--ttl", "600", "--json"),
            ],
            {},
        )
        await scene.until("the command to end", lambda: command.status is not None)
        self.assertEqual(command.status, 0, command.said()[-2000:])
        told: dict[str, Any] = json.loads(command.out)
        return told

    async def asked(
        self, client: Client, token: str, method: str, path: str
    ) -> tuple[int, str | None]:
        """Status and error of a request that bears a token."""
        headers = {"Authorization": f"Bearer {token}"}
        response = await client.http.request(
            method, client.base + path, headers=headers, timeout=ANSWER_SECONDS
        )
        found = json.loads(await response.content())
        return response.code, found.get("error") if isinstance(found, dict) else None


PATH = "/api/auth/session"
