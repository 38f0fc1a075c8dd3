"""
A world as a recorded one was when its daemon was killed: the same chain, the same Redis, and a
Daytona in which what ran has been stopped meanwhile.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.task import LoopingCall
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, HTTPConnectionPool

from sandbox_billing.devnet import world as world_module
from sandbox_billing.devnet.chain.devchain import DevChain, make_dev_chain
from sandbox_billing.devnet.contracts import Deployment
from sandbox_billing.devnet.daytona.creation import new_record
from sandbox_billing.devnet.daytona.records import State
from sandbox_billing.devnet.daytona.simulator import DaytonaSimulator, Timings
from sandbox_billing.devnet.world import CHAIN_ID, World
from tests.blackbox.scene import INTERVAL_SECONDS, PRICES, RECONCILE_SECONDS, Scene
from tests.blackbox.scene import STOP_DELAY_SECONDS as STOP_DELAY
from tests.redis_server import Respite


HERE = Path(__file__).parent

PREVIOUS, CURRENT = HERE / "previous", HERE / "current"


def read(folder: Path, name: str) -> Any:
    """A recorded document."""
    return json.loads((folder / name).read_text("utf-8"))


def replayed(run: Any) -> DevChain:
    """The recorded chain, block by block, with what waited in its pool."""
    blocks = run["chain"]
    chain = make_dev_chain(now=lambda: blocks[0]["timestamp"], chain_id=CHAIN_ID, strict_time=False)
    for block in blocks[1:]:
        for raw in block["raw"]:
            chain.send_raw(bytes.fromhex(raw))
        made = chain.mine(block["timestamp"])
        assert made.hash.hex() == block["hash"], "the chain is not what it was"
    for raw in run["pool"]:
        chain.send_raw(bytes.fromhex(raw))
    chain.clock.now = time.time
    chain.clock.reset(0)
    return chain


def restore(port: int, keys: dict[str, Any]) -> None:
    """Write what was stored into an empty server, with what was left of each key's life."""
    asked = Respite(port)
    writes = {"string": "SET", "hash": "HSET", "list": "RPUSH", "set": "SADD"}
    try:
        for name, key in keys.items():
            held = [key["holds"]] if isinstance(key["holds"], str) else key["holds"]
            if key["type"] == "zset":
                pairs = zip(held[1::2], held[::2], strict=True)
                asked.call("ZADD", name, *(one for pair in pairs for one in pair))
            else:
                asked.call(writes[key["type"]], name, *held)
            if key["left"] >= 0:
                asked.call("PEXPIRE", name, max(1, key["left"]))
    finally:
        asked.close()


def stopped_at_the_end(simulator: DaytonaSimulator, run: Any) -> None:
    """Every sandbox there was, as it was, but stopped since the daemon died."""
    for row in run["daytona"]:
        body = {"labels": row["labels"]}
        begun = row["ran"][0][0]
        record = new_record(body, id=row["id"], now=begun, simulator=simulator)
        record.raw, record.desired, record.pending = State.STOPPED, State.STOPPED, False
        for meter in (record.truth, record.shown):
            meter.intervals.extend(
                (begin, run["killed_at"] if end is None else end) for begin, end in row["ran"]
            )
            record.updated_at = float(meter.intervals[-1][1] or 0)
        simulator.admit(record)


async def restored(case: TestCase, run: Any) -> Scene:
    """
    Start it; it ends with the test.

    @param run: A recorded C{run.json}.
    """
    chain = replayed(run)
    case.patch(world_module, "make_dev_chain", lambda **_kept: chain)
    world = World(
        reactor,
        block_seconds=None,
        prices=PRICES,
        timings=Timings(create_seconds=0.7, stop_seconds=0.5, sync_seconds=2.0),
    )
    stopped_at_the_end(world.simulator, run)
    pool: Any = HTTPConnectionPool(reactor, persistent=False)
    http: Any = HTTPClient(Agent(reactor, pool=pool))
    world.startService()
    scene = Scene(case, world, http)
    case.addCleanup(scene.close)
    await world.redis.ready()
    restore(world.redis.port, run["redis"])
    proxy = run["environment"]["SETTLEMENT_CONTRACT"]
    world.deployment = Deployment(implementation=proxy, beacon=proxy, proxy=proxy)
    scene.settings = {
        "VOUCHER_INTERVAL_SEC": str(INTERVAL_SECONDS),
        "RECONCILE_INTERVAL_SEC": str(RECONCILE_SECONDS),
        "STOP_DELAY_SEC": str(STOP_DELAY),
    }
    scene.mining = LoopingCall(scene.mine)
    scene.mined = scene.mining.start(0.5)
    return scene
