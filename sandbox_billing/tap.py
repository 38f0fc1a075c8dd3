"""C{twistd sandbox-billing}: options in, service out."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.application.service import MultiService
from twisted.logger import ILogObserver, Logger
from twisted.python import usage

from sandbox_billing.configuration import read_configuration, read_env_file
from sandbox_billing.errors import ConfigurationError


EX_CONFIG = 78
"""The exit code for wrong settings (sysexits.h); systemd does not restart on it."""

ROLES = ("all", "web", "worker")

_log = Logger()


class Options(usage.Options):
    """The command line; every other setting is an environment variable."""

    synopsis = "[options]"
    longdesc = (
        "The billing daemon in front of Daytona. Settings are environment variables"
        " (DAYTONA_API_URL, DAYTONA_ADMIN_KEY, SETTLEMENT_CONTRACT, RPC_URL, CHAIN_ID, ...);"
        " all that are missing or wrong are listed at once, exit code 78."
    )
    optParameters = (
        ("env-file", "e", None, "Read settings from this file; the environment wins."),
        ("port", "p", None, "TCP port to listen on; wins over PORT."),
        ("endpoint", None, None, "Server endpoint to listen on, such as tcp:8080:interface=::1."),
        ("role", "r", "all", "all, web (no money work) or worker (no HTTP)."),
        ("devnet-data", None, None, "Keep the devnet's Redis in this directory."),
    )
    optFlags = (
        ("devnet", "d", "Start an embedded world (chain, Redis, Daytona) and bill in it."),
        ("verbose", "v", "Log debug events too."),
    )

    def opt_version(self) -> None:
        """Show the version and leave."""
        from sandbox_billing import __version__

        sys.stdout.write(f"sandbox_billing {__version__}\n")
        raise SystemExit(0)

    def postOptions(self) -> None:
        """Check what only the command line says."""
        if self["role"] not in ROLES:
            raise usage.UsageError(f"--role must be one of {', '.join(ROLES)}")
        port = self["port"]
        if port is not None and not (port.isascii() and port.isdigit() and int(port) < 65536):
            raise usage.UsageError("--port must be a number from 0 to 65535")
        if port is not None and self["endpoint"] is not None:
            raise usage.UsageError("--port and --endpoint exclude each other")
        if self["devnet-data"] is not None and not self["devnet"]:
            raise usage.UsageError("--devnet-data needs --devnet")


class Root(MultiService):
    """The top service: chooses the log's form, and ends with status 0 on SIGTERM."""

    def __init__(self, reactor: Any, *, verbose: bool) -> None:
        MultiService.__init__(self)
        self._reactor = reactor
        self._verbose = verbose

    def setServiceParent(self, parent: Any) -> None:
        """Called once with the application, before its log begins."""
        from sandbox_billing.logs import observer_for

        if parent.getComponent(ILogObserver, None) is None and "--logfile" not in sys.argv:
            parent.setComponent(ILogObserver, observer_for(verbose=self._verbose))
        MultiService.setServiceParent(self, parent)

    def startService(self) -> None:
        """Take the signals over once the reactor has installed its own."""
        MultiService.startService(self)
        self._reactor.callLater(0, self._take_signals)

    def _take_signals(self) -> None:
        # twistd raises the signal again after a clean shutdown, which looks like a crash
        # to whoever reads the status; a stopped reactor ends with 0.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)

    def _end(self, number: int, frame: Any) -> None:
        self._reactor.callFromThread(self._stop_once)

    def _stop_once(self) -> None:
        if self._reactor.running and not getattr(self._reactor, "_stopped", False):
            self._reactor.stop()


def exit_with(reactor: Any, text: str) -> None:
    """
    End the process with L{EX_CONFIG} after an orderly shutdown.

    @param text: What is wrong and what to do; goes to the log and to standard error.
    """
    _log.critical("{text}", text=text)
    # Past the log, which takes standard error over.
    if sys.__stderr__ is not None:
        sys.__stderr__.write(f"sandbox-billing: {text}\n")

    def leave() -> None:
        # twistd always ends with 0 here; the last exit handler has the last word.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EX_CONFIG)

    atexit.register(leave)
    reactor.callWhenRunning(lambda: reactor.callLater(0, reactor.stop))


def environment_of(options: Options, environment: Mapping[str, str]) -> dict[str, str]:
    """The environment file's settings under those of the environment."""
    if options["env-file"] is None:
        return dict(environment)
    path = Path(options["env-file"])
    try:
        text = path.read_text()
    except OSError as why:
        raise ConfigurationError(f"--env-file {path}: {why.strerror}") from why
    return {**read_env_file(text), **{k: v for k, v in environment.items() if v}}


def makeService(options: Options) -> MultiService:
    """
    Called by twistd.

    @raise SystemExit: With L{EX_CONFIG} when settings are wrong.
    """
    from twisted.internet import reactor

    root = Root(reactor, verbose=bool(options["verbose"]))
    if options["devnet"]:
        from sandbox_billing.devnet.service import DevnetService

        DevnetService(reactor, options, exit_with).setServiceParent(root)  # type: ignore[no-untyped-call]
        return root
    try:
        configuration = read_configuration(environment_of(options, os.environ))
    except ConfigurationError as why:
        sys.stderr.write(f"sandbox-billing: {why}\n")
        raise SystemExit(EX_CONFIG) from why
    from sandbox_billing.daemon import Daemon

    port = options["port"] if options["port"] is not None else configuration.port
    Daemon(
        configuration,
        reactor,
        endpoint=options["endpoint"] or f"tcp:{port}",
        role=options["role"],
        fatal=lambda text: exit_with(reactor, text),
    ).setServiceParent(root)  # type: ignore[no-untyped-call]
    return root
