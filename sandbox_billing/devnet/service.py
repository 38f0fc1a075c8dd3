"""C{twistd -n sandbox-billing --devnet}: the embedded world with the daemon in it, to play with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from sandbox_billing.configuration import read_configuration
from sandbox_billing.daemon import Daemon
from sandbox_billing.devnet.world import ALICE, BOB, TOKEN, World
from sandbox_billing.errors import ConfigurationError
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.key import SigningKey


BANNER = """
  The devnet is up.  Everything is on 127.0.0.1 and gone when this process ends.

    billing proxy   {proxy}
    chain           {chain}   chain id 16602
    Daytona         {daytona}
    Redis           {redis}
    contract        {contract}
    provider        {provider}

    alice           {alice}
                    key {key}   (a WELL-KNOWN DEVELOPMENT KEY)
                    1 0G deposited, signer acknowledged
    bob             {bob}
                    key {bob_key}   (another one; nothing deposited)

  Rent as alice, in another terminal:

    export SANDBOX_BILLING_URL={proxy} USER_KEY={key}
    {script} user create --name desk
    {script} user account

  Open {proxy} in a browser, or try:

    curl -s {proxy}/info
    curl -s {proxy}/readyz
    {python} -m sandbox_billing.devnet.sign {proxy} POST /api/sandbox '{{}}'
"""

EXEC_WARNING = """
  WARNING: --allow-exec is on.  Commands and files that users of a sandbox send become
  processes and files of THIS machine, of the user who started this, without isolation.
"""


class DevnetService(MultiService):
    """World first, then the daemon in it, then the banner."""

    _log = Logger()

    def __init__(
        self, reactor: Any, options: Mapping[str, Any], fatal: Callable[[Any, str], None]
    ) -> None:
        """
        @param options: The plugin's.
        @param fatal: Ends the process with a reason.
        """
        MultiService.__init__(self)
        self._reactor = reactor
        self._options = options
        self._fatal = fatal
        data = options["devnet-data"]
        self.world = World(
            reactor, data=Path(data) if data else None, allow_exec=bool(options["allow-exec"])
        )
        self.world.setServiceParent(self)  # type: ignore[no-untyped-call]
        self.daemon: Daemon | None = None
        self._up: Deferred[None] | None = None

    def stopService(self) -> Deferred[Any]:
        """The daemon first, while its world still stands."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._up is not None:
            self._up.cancel()
        if self.daemon is not None:
            await maybeDeferred(self.daemon.disownServiceParent)
        await maybeDeferred(MultiService.stopService, self)

    def startService(self) -> None:
        """Start the parts at once; the contracts are deployed meanwhile."""
        MultiService.startService(self)
        self._up = Deferred.fromCoroutine(self._start())
        self._up.addErrback(self._failed)

    def _failed(self, failure: Any) -> None:
        if failure.check(CancelledError):
            return
        self._log.failure("the devnet did not come up", failure=failure)
        self._fatal(self._reactor, f"the devnet did not come up: {failure.value}")

    async def _start(self) -> None:
        await self.world.up()
        addr = self._options["metrics-addr"]
        try:
            told = {} if addr is None else {"METRICS_ADDR": addr}
            configuration = read_configuration({**self.world.environment(), **told})
        except ConfigurationError as why:
            self._fatal(self._reactor, str(why))
            return
        options = self._options
        endpoint = options["endpoint"] or f"tcp:{options['port'] or 0}:interface=127.0.0.1"
        self.daemon = Daemon(
            configuration,
            self._reactor,
            endpoint=endpoint,
            role=options["role"],
            volatile_allowed=True,
            development_rpc_url=self.world.chain.url,
            fatal=lambda text: self._fatal(self._reactor, text),
        )
        alice = self.world.wallet("alice", ALICE)
        await deferToThread(lambda: (alice.deposit(TOKEN), alice.acknowledge()))
        self.daemon.setServiceParent(self)  # type: ignore[no-untyped-call]
        assert self.world.deployment is not None
        while self.daemon.readiness.reasons():
            await deferLater(self._reactor, 0.1)
        # The daemon's page may use the keys of the node.
        port = self.daemon.address.port
        self.world.chain.origins.update(
            f"http://{host}:{port}" for host in ("127.0.0.1", "localhost")
        )
        # Past the log, which takes standard error over.
        assert sys.__stderr__ is not None
        sys.__stderr__.write(
            BANNER.format(
                python=sys.executable,
                script=Path(sys.executable).with_name("sandbox-billing"),
                proxy=f"http://127.0.0.1:{self.daemon.address.port}",
                chain=self.world.chain.url,
                daytona=self.world.daytona.url,
                redis=f"127.0.0.1:{self.world.redis.port}",
                contract=self.world.deployment.proxy,
                provider=checksum(self.world.provider),
                alice=checksum(alice.address),
                key="0x" + ALICE.hex(),
                bob=checksum(SigningKey.from_bytes(BOB).address),
                bob_key="0x" + BOB.hex(),
            )
            + (EXEC_WARNING if options["allow-exec"] else "")
        )
        sys.__stderr__.flush()
