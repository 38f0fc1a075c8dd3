"""What is wrong ends the process with 78 and says so; what is missing is waited for."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

from attrs import define, field
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredSemaphore, maybeDeferred
from twisted.protocols.policies import WrappingFactory
from twisted.protocols.portforward import ProxyFactory
from twisted.trial.unittest import TestCase

from sandbox_billing.devnet.chain.accounts import DEVELOPMENT_KEYS
from sandbox_billing.devnet.redis import RedisServer, ServerOptions, free_port
from sandbox_billing.devnet.world import ADMIN_KEY, CHAIN_ID, MALLORY, SIGNER
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.eip712 import EIP712Domain
from sandbox_billing.signing.key import SigningKey
from tests.blackbox.process import PLUGIN_FOLDER, TREE, Child, new_folder, together, twistd
from tests.blackbox.scene import Scene
from tests.redis_server import new_server


EX_CONFIG = 78

WRONG_SETTINGS = {
    "DAYTONA_API_URL": "daytona.internal",
    "SETTLEMENT_CONTRACT": "0x12",
    "RPC_URL": "ftp://127.0.0.1",
    "CHAIN_ID": "sixteen",
    "REDIS_ADDR": "localhost",
    "VOUCHER_INTERVAL_SEC": "0",
    "CREATE_FEE": "1.5",
    "PORT": "65536",
    "MOCK_TEE": "TRUE",
    "MOCK_APP_PRIVATE_KEY": "0x1234",
    "BACKEND_TAPP_IP": "10.0.0.1",
    "AUTH_BINDING": "loose",
    "PUBLIC_RPC_URL": "https://user:hunter2@rpc.test",
    "METRICS_ADDR": ":9464",
}

PROBLEMS = """\
sandbox-billing: the settings are wrong:
  - DAYTONA_API_URL must be an http:// or https:// address
  - DAYTONA_ADMIN_KEY is required: its key; only it and its toolbox get it
  - SETTLEMENT_CONTRACT must be an address: 0x and 40 hex digits
  - RPC_URL must be an http:// or https:// address
  - CHAIN_ID must be a whole number from 1 to 9007199254740992
  - REDIS_ADDR must be host:port
  - VOUCHER_INTERVAL_SEC must be a whole number from 1 to 2147483647
  - CREATE_FEE must be a whole number of neuron (1 0G = 10^18 neuron)
  - PORT must be a whole number from 0 to 65535
  - MOCK_TEE must be true, 1, false or 0
  - MOCK_APP_PRIVATE_KEY must be a private key: 0x and 64 hex digits
  - AUTH_BINDING must be one of compat, toolbox-compat, strict
  - PUBLIC_RPC_URL must have no user name or password in it
  - METRICS_ADDR must be host:port, such as 127.0.0.1:9464 or [::1]:9464
"""


@define(eq=False)
class Bridge:
    """
    A port that leads to another once it is open, and cuts off who came over it when closed.
    """

    port: int
    target: int
    _listening: Any = None
    _factory: Any = field(default=None, init=False)

    def open(self) -> None:
        """Lead on."""
        inner: Any = ProxyFactory("127.0.0.1", self.target)
        wrap: Any = WrappingFactory
        self._factory = wrap(inner)
        listen: Any = reactor
        self._listening = listen.listenTCP(self.port, self._factory, interface="127.0.0.1")

    async def close(self) -> None:
        """Refuse from now on."""
        listening, self._listening = self._listening, None
        if listening is None:
            return
        await maybeDeferred(listening.stopListening)
        for connection in list(self._factory.protocols):
            connection.transport.abortConnection()


def port_of(url: str) -> int:
    """Of a URL on this machine."""
    return int(url.rpartition(":")[2])


def separator(contract: str) -> str:
    """What the daemon computes for a contract."""
    return "0x" + EIP712Domain(CHAIN_ID, Address(contract)).separator.hex()


class StartTests(TestCase):
    """Status 78, or none at all: it stays."""

    timeout = 600

    async def test_start(self) -> None:
        """In two worlds at once: one where all is wrong, one where nothing is there yet."""
        await together(wrong=self.wrong(), late=self.late())

    async def test_settings(self) -> None:
        """Every wrong or missing setting is named, at once, and nothing is started."""
        child = twistd(self, WRONG_SETTINGS, endpoint=False)
        self.assertEqual(await child.end(), EX_CONFIG, child.said())
        self.assertEqual(child.err.decode(), PROBLEMS)

    async def wrong(self) -> None:
        """What the self-check finds wrong is told in a line that says what to do."""
        scene = await Scene.open(self)
        deployment = scene.world.deployment
        assert deployment is not None
        stranger = checksum(SigningKey.from_bytes(MALLORY).address)
        signer = SigningKey.from_bytes(SIGNER).address
        provider = scene.world.provider
        # A well-known development key.
        other = SigningKey.from_bytes(DEVELOPMENT_KEYS[8])
        nowhere = "0x" + "de" * 20
        evicting = self.redis(more=("--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"))
        forgetting = self.redis(appendonly=False)
        locked = self.redis(password="the redis password")
        taken = self.taken_port()
        places = DeferredSemaphore(2)

        async def told(expected: str, *options: str, **settings: str) -> None:
            child = twistd(self, scene.environment(**settings), *options, endpoint=not options)
            self.assertEqual(await child.end(), EX_CONFIG, child.said())
            self.assertEqual(child.err.decode(), f"sandbox-billing: {expected}\n")
            levels = [line["level"] for line in child.lines()]
            self.assertIn("critical", levels)

        cases = {
            "chain": told(
                "RPC_URL answers for chain 16602, CHAIN_ID says 16601: correct the one that is"
                " wrong",
                CHAIN_ID="16601",
            ),
            "no_contract": told(
                f"there is no contract at SETTLEMENT_CONTRACT {nowhere}: deploy it first, or"
                " correct the address",
                SETTLEMENT_CONTRACT=nowhere,
            ),
            "lock": told(
                "VOUCHER_INTERVAL_SEC + SETTLE_MAX_AGE_SEC is 7200 s and a refund is locked for"
                " 7200 s only: users could leave before they are charged; shorten either",
                VOUCHER_INTERVAL_SEC="5400",
            ),
            "unregistered": told(
                f"provider {stranger.lower()} is not registered: call addOrUpdateService with"
                f" teeSignerAddress {signer} from the provider's own key, as"
                " `sandbox-billing provider register --tee-signer` does (docs: operations)",
                PROVIDER_ADDRESS=stranger,
            ),
            "signer": told(
                f"provider {provider} is registered with signer {signer}, the enclave's key is"
                f" {other.address}: register again with the latter, or correct PROVIDER_ADDRESS",
                MOCK_APP_PRIVATE_KEY="0x" + DEVELOPMENT_KEYS[8].hex(),
            ),
            "daytona": told(
                "Daytona refuses DAYTONA_ADMIN_KEY (401): correct it",
                DAYTONA_ADMIN_KEY="not-" + ADMIN_KEY,
            ),
            "eviction": told(
                "Redis has maxmemory-policy allkeys-lru, which throws charges away: set it to"
                " noeviction",
                REDIS_ADDR=evicting,
            ),
            "volatile": told(
                "Redis has its append-only file off, so nothing signed could be proven to be"
                " stored: set appendonly yes",
                REDIS_ADDR=forgetting,
            ),
            "port": told(
                f"cannot listen on tcp:{taken}:interface=127.0.0.1: Couldn't listen on"
                f" 127.0.0.1:{taken}: [Errno 98] Address already in use.",
                "--endpoint",
                f"tcp:{taken}:interface=127.0.0.1",
            ),
            "metrics": told(
                f"cannot listen on METRICS_ADDR 127.0.0.1:{taken}: Couldn't listen on"
                f" 127.0.0.1:{taken}: [Errno 98] Address already in use. Name an address of this"
                " machine and a port that nobody has, or leave it out",
                "--metrics-addr",
                f"127.0.0.1:{taken}",
            ),
            "beacon": told(
                "the contract's domain separator is 0x, ours"
                f" {separator(deployment.beacon)}: SETTLEMENT_CONTRACT must be the proxy's"
                " address, of a SandboxServing",
                SETTLEMENT_CONTRACT=deployment.beacon,
            ),
            "password": told(
                "Redis error: could not auth: WRONGPASS invalid username-password pair or user"
                " is disabled.; check REDIS_PASSWORD",
                REDIS_ADDR=locked,
                REDIS_PASSWORD="wrong",
            ),
            "endpoint": told(
                "cannot listen on tcp:http: invalid literal for int() with base 10: 'http'",
                "--endpoint",
                "tcp:http",
            ),
            "endpoint_options": told(
                "cannot listen on tcp:0:host=a: _parseTCP() got an unexpected keyword argument"
                " 'host'",
                "--endpoint",
                "tcp:0:host=a",
            ),
        }
        await together(**{name: self.in_turn(places, case) for name, case in cases.items()})

    async def in_turn(self, places: DeferredSemaphore, story: Any) -> None:
        """Two cores: two at a time."""
        await places.run(Deferred.fromCoroutine, story)

    def redis(self, **how: Any) -> str:
        """A server of the test's own, as REDIS_ADDR."""
        server = new_server(**how)
        self.addCleanup(server.stop)
        return f"127.0.0.1:{server.port}"

    def taken_port(self) -> int:
        """A port that somebody listens on."""
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        port: int = taken.getsockname()[1]
        return port

    async def late(self) -> None:
        """
        With nothing there it lives, answers, and says what it waits for; part by part comes,
        and then it is ready; and what goes away is named again until it is back.
        """
        scene = await Scene.open(self)
        redis = RedisServer(ServerOptions(directory=new_folder(self), port=free_port()))
        self.addCleanup(redis.stop)
        key_port = free_port()
        chain = Bridge(free_port(), port_of(scene.world.chain.url))
        daytona = Bridge(free_port(), port_of(scene.world.daytona.url))
        for bridge in (chain, daytona):
            self.addCleanup(bridge.close)
        child = scene.start(
            MOCK_TEE="",
            MOCK_APP_PRIVATE_KEY="",
            BACKEND_TAPP_PORT=str(key_port),
            BACKEND_APP_NAME="sandbox-test",
            REDIS_ADDR=f"127.0.0.1:{redis.port}",
            RPC_URL=f"http://127.0.0.1:{chain.port}",
            DAYTONA_API_URL=f"http://127.0.0.1:{daytona.port}",
        )
        port = await scene.until("the daemon to listen", child.port)
        base = f"http://127.0.0.1:{port}"
        for part, comes in (
            ("key service", lambda: self.key_service(key_port)),
            ("redis", redis.start),
            ("chain", chain.open),
            ("daytona", daytona.open),
        ):
            await self.waits_for(scene, base, part)
            comes()
        await scene.ready()
        await daytona.close()
        await self.waits_for(scene, base, "reconciler")
        daytona.open()
        await scene.ready()
        await chain.close()
        await self.waits_for(scene, base, "watcher")
        chain.open()
        await scene.ready()
        redis.kill()
        await self.waits_for(scene, base, "generator")
        self.assertEqual((await scene.get(base, "/info"))[0], 503)
        await self.lease_unknown(scene, base)
        redis.start()
        await scene.ready()
        self.assertEqual(await child.terminate(), 0)
        self.assertEqual(child.err, b"")
        waited = [line["dependency"] for line in child.lines() if "waiting for" in line["message"]]
        self.assertEqual(list(dict.fromkeys(waited)), ["key service", "redis", "chain", "daytona"])

    async def lease_unknown(self, scene: Scene, base: str) -> None:
        """The lease is lost, and not to another process."""

        async def says_so() -> str | None:
            _, shown = await scene.get(base, "/readyz")
            why: str | None = shown["reasons"].get("lease")
            return why

        why = await scene.until("the lease to be lost", says_so)
        self.assertNotIn("another process", why)

    def key_service(self, port: int) -> None:
        """Start one."""
        command = [sys.executable, "-m", "tests.blackbox.key_service", str(port)]
        Child.start(self, command, {"PYTHONPATH": f"{PLUGIN_FOLDER}{os.pathsep}{TREE}"})

    async def waits_for(self, scene: Scene, base: str, part: str) -> None:
        """Alive, not ready, for a reason that is more than a name, and refusing in words."""

        async def says_so() -> bool:
            status, shown = await scene.get(base, "/readyz")
            why = shown["reasons"].get(part, "not reached yet")
            self.assertNotIn("text=", why, "a repr, not a sentence")
            return status == 503 and why not in ("not reached yet", "has not run yet")

        await scene.until(f"{part} to be missed", says_so)
        self.assertEqual(await scene.get(base, "/healthz"), (200, {"ok": True}))
