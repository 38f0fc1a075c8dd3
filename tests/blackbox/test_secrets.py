"""What a daemon prints at its most talkative, through a whole story, holds no secret."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

from attrs import define, field
from twisted.trial.unittest import TestCase

from sandbox_billing.devnet.redis import free_port
from sandbox_billing.devnet.wallet import Client
from sandbox_billing.devnet.world import ADMIN_KEY, ALICE, SIGNER, TOKEN
from sandbox_billing.ledger.token import Scope
from sandbox_billing.log_text import HIDDEN
from tests.blackbox.process import Child
from tests.blackbox.scene import ANSWER_SECONDS, Scene
from tests.redis_server import new_server


REDIS_PASSWORD = "the-password-of-redis"
RPC_USER, RPC_PASSWORD = "rpc-customer-12", "rpc-password-34"
RPC_PATH, RPC_QUERY = "0123456789abcdef0123456789abcdef", "rpc-query-key-56"

ENV = "what-a-user-keeps-in-env"

SIGNED_HEADERS = ("X-Signed-Message", "X-Wallet-Signature")


@define(eq=False)
class Listening:
    """
    An HTTP client, and the secrets that went through it.

    @ivar heard: By what they are.
    @ivar ids: What the answers called the requests, by method and path.
    """

    inner: Any
    heard: dict[str, set[str]] = field(factory=dict)
    ids: dict[str, str] = field(factory=dict)

    async def request(self, method: str, url: str, **how: Any) -> Any:
        """As treq's."""
        for name, value in how.get("headers", {}).items():
            if name in SIGNED_HEADERS or name == "Authorization":
                self.heard.setdefault(name, set()).add(value.removeprefix("Bearer "))
            if name == "X-Signed-Message":
                self.heard.setdefault("nonce", set()).add(json.loads(b64decode(value))["nonce"])
        if url.endswith("/api/auth/session") and how.get("data"):
            login = json.loads(how["data"])
            self.heard.setdefault("login", set()).update(login.values())
            # A line of the message is enough to be found.
            self.heard["login"].update(x for x in login["message"].split("\n") if "Nonce" in x)
        response = await self.inner.request(method, url, **how)
        path = "/" + url.partition("://")[2].partition("/")[2]
        self.ids[f"{method} {path}"] = response.headers.getRawHeaders("X-Request-Id", [""])[0]
        return response


class SecretsTests(TestCase):
    """One daemon, at C{--verbose}."""

    timeout = 600

    async def test_story(self) -> None:
        """
        Create, login, webhook, refusals, a node and a Daytona that fail, settlement: no key,
        password, token, signature, signed message or credential is printed, and what is told
        of a request is found by its id.
        """
        scene = await Scene.open(self)
        server = new_server(password=REDIS_PASSWORD)
        self.addCleanup(server.stop)
        scene.redis_port, scene.redis_password = server.port, REDIS_PASSWORD
        port = scene.world.chain.url.rpartition(":")[2].rstrip("/")
        nodes = [
            f"http://{RPC_USER}:{RPC_PASSWORD}@127.0.0.1:{at}/v3/{RPC_PATH}?key={RPC_QUERY}"
            # The first of them is not there.
            for at in (free_port(), port)
        ]
        daemon = scene.start(
            "--verbose",
            REDIS_ADDR=f"127.0.0.1:{server.port}",
            REDIS_PASSWORD=REDIS_PASSWORD,
            RPC_URL=",".join(nodes),
            VOUCHER_INTERVAL_SEC="2",
        )
        alice = await scene.user("alice", ALICE, TOKEN)
        base = await scene.ready()
        listening = Listening(scene.http)
        client = Client(listening, base, alice)
        sandbox = await self.lived(scene, client, listening)
        await scene.until("a settlement", lambda: "settled in block" in daemon.said())
        self.assertEqual(0, await daemon.terminate())
        self.found(daemon, listening.ids[f"POST /api/sandbox/{sandbox}/stop"], sandbox)
        signatures = {record.seal.signature for record in await scene.records(alice) if record.seal}
        self.assertTrue(signatures)
        known = {
            **listening.heard,
            "settings": {ADMIN_KEY, SIGNER.hex(), REDIS_PASSWORD, ENV},
            "rpc": {RPC_USER, RPC_PASSWORD, RPC_PATH, RPC_QUERY},
            "vouchers": signatures,
        }
        self.assertLessEqual({*SIGNED_HEADERS, "Authorization", "login", "webhook"}, set(known))
        said = daemon.said().lower()
        self.assertIn("chain node 127.0.0.1:", said)
        # Nor was there one that the fence before the output had to take out.
        self.assertNotIn(HIDDEN, said)
        for what, secrets in known.items():
            for secret in secrets:
                self.assertNotIn(secret.lower().removeprefix("0x"), said, what)

    async def lived(self, scene: Scene, client: Client, listening: Listening) -> str:
        """What a user does, some of it in vain."""
        sandbox = await scene.created(client, env={"PASSWORD": ENV})
        token = await client.login(scopes=tuple(Scope))
        listening.heard["token"] = {token}
        headers = {"Authorization": f"Bearer {token}"}
        for path in ("/api/sandbox", "/api/sandbox/nowhere", "/api/account?x=1"):
            await listening.request(
                "GET", client.base + path, headers=headers, timeout=ANSWER_SECONDS
            )
        wrong = {"Authorization": f"Bearer {token[:-1]}"}
        await listening.request(
            "GET", f"{client.base}/api/sandbox", headers=wrong, timeout=ANSWER_SECONDS
        )
        path = "/api/webhooks"
        body = {"url": f"http://127.0.0.1:{free_port()}/hook-{RPC_PATH}"}
        status, made = await client.ask("POST", path, verb=f"POST:{path}", body=body)
        self.assertEqual(201, status, made)
        listening.heard["webhook"] = {made["secret"], f"hook-{RPC_PATH}"}
        path += f"/{made['id']}/test"
        await client.ask("POST", path, verb=f"POST:{path}")
        status, _ = await client.ask("GET", "/api/sandbox", verb="create")
        self.assertEqual(401, status)
        scene.world.simulator.fail_next(500, route="get")
        self.assertEqual(502, (await client.show(sandbox))[0])
        assert scene.daemon is not None
        said = scene.daemon.said
        await scene.until("a charge", lambda: f"charged {sandbox}" in said())
        status, shown = await client.act("stop", sandbox)
        self.assertEqual(200, status, shown)
        return sandbox

    def found(self, daemon: Child, id: str, sandbox: str) -> None:
        """The story of one request: what Daytona was asked, what came of it, the answer."""
        told = [line for line in daemon.lines() if line.get("request_id") == id]
        events = [line.get("event", "") for line in told]
        self.assertIn("Daytona answers {call} with {status} after {milliseconds} ms", events)
        self.assertIn("stopped {sandbox}", events)
        self.assertTrue(events[-1].startswith("{method} {path}"), events)
        self.assertEqual({sandbox}, {line["sandbox"] for line in told if "sandbox" in line})
        self.assertEqual({told[-1]["asker"]}, {line["wallet"] for line in told if "wallet" in line})
