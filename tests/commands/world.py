"""
The world of the how-to guides: C{world.py FOLDER}.

A chain, a Redis and a Daytona, as the devnet has them, and no daemon: its settings are left in
C{FOLDER/environment} and C{FOLDER/secrets}, as an operator's are in C{/etc}.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from sandbox_billing.devnet.redis import free_port
from sandbox_billing.devnet.world import World


async def stand(reactor: Any, folder: str) -> None:
    """Until Ctrl-C."""
    world = World(reactor)
    world.startService()
    reactor.addSystemEventTrigger("before", "shutdown", world.stopService)
    await world.up()
    metrics = f"127.0.0.1:{free_port()}"
    settings = world.environment(PORT=str(free_port()), METRICS_ADDR=metrics)
    secrets = Path(folder) / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "DAYTONA_ADMIN_KEY").write_text(settings.pop("DAYTONA_ADMIN_KEY"), "utf-8")
    # As an operator may write it, and the daemon reads it: two nodes, quotes and blanks.
    nodes = settings.pop("RPC_URL")
    text = f'RPC_URL = "{nodes}, {nodes}/"\n'
    text += "".join(f"{name}={value}\n" for name, value in settings.items())
    file = Path(folder) / "environment"
    file.write_text(text, "utf-8")
    file.chmod(0o640)
    sys.stdout.write(f"    chain           {world.chain.url}\n")
    sys.stdout.flush()
    await Deferred()


if __name__ == "__main__":
    react(lambda reactor, folder: Deferred.fromCoroutine(stand(reactor, folder)), sys.argv[1:])
