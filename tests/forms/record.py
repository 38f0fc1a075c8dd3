"""
Records what a version stores: C{python -m tests.forms.record [--run] FOLDER}.

It writes C{shapes.json} (which keys there are, and what its readers take) and C{examples.json}
(values of every type); with C{--run} also C{run.json}: what Redis, the chain and Daytona held when
the daemon of a small world was killed with a batch under way.  To record an older version, copy
this folder into a tree of it and run it there, with that tree first on PYTHONPATH.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from twisted.scripts.trial import run
from twisted.trial.unittest import TestCase

from sandbox_billing.adapters.redis.keys import Keys
from sandbox_billing.devnet.wallet import Client
from sandbox_billing.devnet.world import ALICE, BOB, MALLORY, TOKEN
from sandbox_billing.ledger._codec import encode
from tests.blackbox.scene import INTERVAL_SECONDS, PRICES, STOP_DELAY_SECONDS, Scene, cost
from tests.forms.shapes import examples, shapes, stored_types
from tests.redis_server import Respite


FOLDER = "FORMS_FOLDER"

READS = {
    "string": ("GET",),
    "hash": ("HGETALL",),
    "list": ("LRANGE", 0, -1),
    "set": ("SMEMBERS",),
    "zset": ("ZRANGE", 0, -1, "WITHSCORES"),
}
"""By type: what reads all of a key."""

SHORT_OF_MONEY = PRICES.create_fee + cost(2 * INTERVAL_SECONDS + STOP_DELAY_SECONDS + 1)


def contents(port: int) -> dict[str, dict[str, Any]]:
    """Every key: its type, what it holds, and how long it lives, ms (-1: for ever)."""
    asked = Respite(port)
    try:
        names: Any = asked.call("KEYS", "*")
        found = {}
        for name in sorted(names):
            kind = str(asked.call("TYPE", name), "ascii")  # type: ignore[call-overload]
            command, *rest = READS[kind]
            value: Any = asked.call(command, name, *rest)
            held = [item.decode() for item in value] if kind != "string" else value.decode()
            if kind == "set":
                held = sorted(held)
            found[name.decode()] = {"type": kind, "holds": held, "left": asked.call("PTTL", name)}
        return found
    finally:
        asked.close()


class Recording(TestCase):
    """One small world, until its daemon is killed."""

    timeout = 120

    async def test_run(self) -> None:
        """Three users, of whom one runs dry and one has left; then the end, in a settlement."""
        scene = await Scene.open(self)
        wallets = [
            await scene.user("alice", ALICE, TOKEN),
            await scene.user("bob", BOB, SHORT_OF_MONEY),
            await scene.user("carol", MALLORY, TOKEN // 2),
        ]
        scene.start()
        base = await scene.ready()
        alice, bob, carol = [scene.client(base, wallet) for wallet in wallets]
        first = await scene.created(alice, labels={"project": "forms"})
        dry = await scene.created(bob)
        left = await scene.created(carol)
        await self.settings(alice)
        token = await alice.login(spend_limit=TOKEN // 10)
        second = await self.under_token(scene, base, token)
        await scene.until("bob to run dry", lambda: scene.stopped(dry))
        self.assertEqual((await carol.act("stop", left))[0], 200)
        self.assertEqual((await alice.act("stop", second))[0], 200)
        await scene.until("carol to be settled", lambda: scene.all_settled(wallets[2]))
        await scene.until("bob to be settled", lambda: scene.all_settled(wallets[1]))
        await scene.transaction_held()
        assert scene.daemon is not None
        await scene.daemon.kill()
        document = {
            "killed_at": time.time(),
            "redis": contents(scene.world.redis.port),
            **await scene.world.chain.run(lambda: chain(scene)),
            "daytona": daytona(scene, (first, dry, left, second)),
            "paid_in": {w.address.hex: n for w, n in zip(wallets, self.deposits(), strict=True)},
            "environment": {
                name: value
                for name, value in scene.environment().items()
                if name in ("PROVIDER_ADDRESS", "SETTLEMENT_CONTRACT", "CHAIN_ID")
            },
        }
        write("run.json", document)

    @staticmethod
    def deposits() -> tuple[int, ...]:
        """What alice, bob and carol have paid in."""
        return TOKEN, SHORT_OF_MONEY, TOKEN // 2

    async def settings(self, client: Client) -> None:
        """A webhook that nobody hears, a limit, and auto-resume."""
        path = "/api/webhooks"
        body: Any = {"url": "http://127.0.0.1:9/hook", "kinds": ["topped_up"]}
        status, told = await client.ask("POST", path, verb=f"POST:{path}", body=body)
        self.assertEqual(status, 201, told)
        path = "/api/account/settings"
        body = {"auto_resume": True, "limits": {"per_day": str(TOKEN), "total": None}}
        status, told = await client.ask("PUT", path, verb=f"PUT:{path}", body=body)
        self.assertEqual(status, 200, told)

    async def under_token(self, scene: Scene, base: str, token: str) -> str:
        """Create under a token with a spend limit, and with an Idempotency-Key."""
        response = await scene.http.post(
            f"{base}/api/sandbox",
            headers={
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/json",
                "Idempotency-Key": "forms",
            },
            data=b"{}",
            timeout=30,
        )
        answer = json.loads(await response.content())
        self.assertEqual(response.code, 200, answer)
        return str(answer["id"])


def chain(scene: Scene) -> dict[str, Any]:
    """The chain as the transactions that made it, and what waits for a block."""
    blocks = scene.world.blocks
    found = [blocks.block(number) for number in range(blocks.head.number + 1)]
    return {
        "chain": [
            {
                "timestamp": block.timestamp,
                "hash": block.hash.hex(),
                "raw": [receipt.transaction.raw.hex() for receipt in block.receipts],
            }
            for block in found
            if block is not None
        ],
        "pool": [one.raw.hex() for one in blocks.pool],
    }


def daytona(scene: Scene, sandboxes: tuple[str, ...]) -> list[dict[str, Any]]:
    """What a world needs to have these sandboxes again."""
    rows = [scene.world.simulator.records[sandbox] for sandbox in sandboxes]
    return [
        {
            "id": row.id,
            "labels": dict(row.labels),
            "ran": [[begin, end] for begin, end in row.shown.intervals],
        }
        for row in rows
    ]


def write(name: str, document: Any) -> None:
    """Into the folder of the recording."""
    place = Path(os.environ[FOLDER]) / name
    place.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=0, sort_keys=True, ensure_ascii=True)
    place.write_text(text + "\n")


def still() -> None:
    """What needs no world."""
    keys = {name: kind for name, kind, _holds in Keys.names()}
    write("shapes.json", {"keys": keys, "types": shapes()})
    write("examples.json", {name: examples(cls, encode) for name, cls in stored_types().items()})


def main() -> None:
    """Record all of it."""
    *options, folder = sys.argv[1:]
    os.environ[FOLDER] = str(Path(folder).resolve())
    still()
    if "--run" in options:
        sys.argv = ["trial", f"--temp-directory={folder}.trial", "tests.forms.record"]
        run()


if __name__ == "__main__":
    main()
