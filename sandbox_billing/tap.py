"""C{twistd sandbox-billing}: options in, service out."""

from __future__ import annotations

import atexit
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.application.service import MultiService
from twisted.logger import ILogObserver, Logger
from twisted.python import usage

from sandbox_billing.configuration import (
    WRONG,
    Configuration,
    listening_address,
    read_configuration,
    read_env_file,
)
from sandbox_billing.errors import BadInput, ConfigurationError, WrongEnvFile
from sandbox_billing.secret_files import read_secrets


if TYPE_CHECKING:
    from sandbox_billing.notify import Pulse
    from sandbox_billing.services.standing import Standing


EX_CONFIG = 78
"""The exit code for wrong settings (sysexits.h); systemd does not restart on it."""

ROLES = ("all", "web", "worker")

FILES = 16_384
"""Open files: ten thousand clients, two thousand streams with two each, and our own."""

BACKLOG = 1024
"""Connections that wait to be taken: with Twisted's 50, a burst waits for seconds."""

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
        ("secrets", None, None, "Folder of files, each named as the setting it holds."),
        ("port", "p", None, "TCP port to listen on; wins over PORT."),
        ("endpoint", None, None, "Server endpoint to listen on, such as tcp:8080:interface=::1."),
        ("role", "r", "all", "all, web (no money work) or worker (no HTTP)."),
        (
            "metrics-addr",
            None,
            None,
            "host:port for metrics, health and readiness; wins over METRICS_ADDR.",
        ),
        ("devnet-data", None, None, "Keep the devnet's Redis in this directory."),
    )
    optFlags = (
        ("devnet", "d", "Start an embedded world (chain, Redis, Daytona) and bill in it."),
        (
            "allow-exec",
            None,
            "DANGEROUS, --devnet only: run what users of its sandboxes send as processes of"
            " this machine, as this user, without isolation.",
        ),
        ("verbose", "v", "Log debug events too."),
    )

    def opt_version(self) -> None:
        """Show the version and leave."""
        from sandbox_billing import __version__

        sys.stdout.write(f"sandbox_billing {__version__}\n")
        raise SystemExit(0)

    def problems(self) -> list[str]:
        """What is wrong with what only the command line says; told together with the rest."""
        found = []
        if self["role"] not in ROLES:
            found.append(f"--role must be one of {', '.join(ROLES)}")
        port = self["port"]
        if port is not None and not _is_port(port):
            found.append("--port must be a whole number from 0 to 65535")
        if port is not None and self["endpoint"] is not None:
            found.append("--port and --endpoint exclude each other")
        if self["metrics-addr"] is not None:
            try:
                listening_address(self["metrics-addr"])
            except BadInput as why:
                found.append(f"--metrics-addr {why.text}")
        if self["devnet-data"] is not None and not self["devnet"]:
            found.append("--devnet-data needs --devnet")
        if self["allow-exec"] and not self["devnet"]:
            found.append("--allow-exec needs --devnet")
        if self["env-file"] is not None and self["devnet"]:
            found.append("--devnet has settings of its own: leave --env-file out")
        if self["secrets"] is not None and self["devnet"]:
            found.append("--devnet has settings of its own: leave --secrets out")
        return found


def _is_port(given: str) -> bool:
    return given.isascii() and given.isdigit() and len(given) < 6 and int(given) < 65536


class Root(MultiService):
    """
    The top service: chooses the log's form, takes the signals, and ends with status 0 on SIGTERM.

    @ivar secrets: What the log never has; known once the settings are read.
    @ivar log_format: LOG_FORMAT; likewise.
    @ivar reload: Called at SIGHUP; None leaves that signal as it is.
    """

    def __init__(self, reactor: Any, *, verbose: bool) -> None:
        MultiService.__init__(self)
        self._reactor = reactor
        self._verbose = verbose
        self.secrets: tuple[str, ...] = ()
        self.log_format = "auto"
        self.reload: Callable[[], None] | None = None

    def setServiceParent(self, parent: Any) -> None:
        """Called once with the application, before its log begins."""
        from sandbox_billing.logs import observer_for

        if parent.getComponent(ILogObserver, None) is None and "--logfile" not in sys.argv:
            observer = observer_for(
                verbose=self._verbose, secrets=self.secrets, form=self.log_format
            )
            parent.setComponent(ILogObserver, observer)
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
        if self.reload is not None:
            signal.signal(signal.SIGHUP, self._read_again)

    def _read_again(self, number: int, frame: Any) -> None:
        self._reactor.callFromThread(self.reload)

    def _end(self, number: int, frame: Any) -> None:
        self._reactor.callFromThread(self._stop_once)

    def _stop_once(self) -> None:
        if self._reactor.running and not getattr(self._reactor, "_stopped", False):
            self._reactor.stop()


def exit_with(reactor: Any, text: str, secrets: tuple[str, ...] = ()) -> None:
    """
    End the process with L{EX_CONFIG} after an orderly shutdown.

    @param text: What is wrong and what to do; goes to the log and to standard error.
    @param secrets: What the text may have of an error that nobody expected; as the log's.
    """
    from sandbox_billing.log_text import Fence

    _log.critical("the daemon cannot run: {why}", why=text)
    # Past the log, which takes standard error over.
    if sys.__stderr__ is not None:
        sys.__stderr__.write(f"sandbox-billing: {Fence(secrets).hidden(text)}\n")

    def leave() -> None:
        # twistd always ends with 0 here; the last exit handler has the last word.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EX_CONFIG)

    atexit.register(leave)
    reactor.callWhenRunning(lambda: reactor.callLater(0, reactor.stop))


def configuration_of(options: Options, environment: Mapping[str, str]) -> Configuration:
    """
    The environment file's settings, under those of secret files, under the environment's.

    @raise ConfigurationError: Naming all that is wrong with command line, file and settings.
    """
    problems, settings = options.problems(), {}
    if options["env-file"] is not None:
        path = Path(options["env-file"])
        try:
            settings = dict(read_env_file(path.read_text("utf-8")))
        except WrongEnvFile as why:
            problems.extend(f"--env-file {one}" for one in why.problems)
            settings = dict(why.settings)
        except (OSError, UnicodeDecodeError) as why:
            said = why.strerror if isinstance(why, OSError) else "is no text in UTF-8"
            # Of the settings nothing can be said without it.
            raise ConfigurationError.of(WRONG, [*problems, f"--env-file {path}: {said}"]) from why
    if options["secrets"] is not None:
        held, wrong = read_secrets(Path(options["secrets"]))
        settings.update(held)
        problems.extend(wrong)
    settings.update({name: value for name, value in environment.items() if value})
    settings.update(told_by(options))
    return read_configuration(settings, already_wrong=problems)


def told_by(options: Options) -> dict[str, str]:
    """Settings that the command line says; what is wrong with them is told as the option's."""
    given = options["metrics-addr"]
    return {} if given is None or options.problems() else {"METRICS_ADDR": given}


def secrets_in(configuration: Configuration) -> tuple[str, ...]:
    """What of the settings the log must not have."""
    from sandbox_billing.log_text import secrets_of

    keys = (configuration.daytona_admin_key, configuration.redis_password, configuration.mock_key)
    return secrets_of(keys, configuration.rpc_urls)


def makeService(options: Options) -> MultiService:
    """
    Called by twistd.

    @raise SystemExit: With L{EX_CONFIG} when settings are wrong.
    """
    from twisted.internet import reactor

    root = Root(reactor, verbose=bool(options["verbose"]))
    try:
        if options["devnet"]:
            _add_devnet(root, reactor, options)
        else:
            _add_daemon(root, reactor, options)
    except ConfigurationError as why:
        sys.stderr.write(f"sandbox-billing: {why}\n")
        raise SystemExit(EX_CONFIG) from why
    return root


def raised_file_limit() -> int:
    """
    Ask for more open files, as far as the hard limit lets us.

    @return: How many there may be.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return FILES if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def _add_devnet(root: Root, reactor: Any, options: Options) -> None:
    problems = options.problems()
    if problems:
        raise ConfigurationError.of(WRONG, problems)
    from sandbox_billing.devnet.service import DevnetService

    DevnetService(reactor, options, exit_with).setServiceParent(root)  # type: ignore[no-untyped-call]


def _add_daemon(root: Root, reactor: Any, options: Options) -> None:
    configuration = configuration_of(options, os.environ)
    root.secrets, root.log_format = secrets_in(configuration), configuration.log_format
    from sandbox_billing.daemon import Daemon
    from sandbox_billing.reloading import make_reload

    port = options["port"] if options["port"] is not None else configuration.port
    daemon = Daemon(
        configuration,
        reactor,
        endpoint=options["endpoint"] or f"tcp:{port}:backlog={BACKLOG}",
        role=options["role"],
        files=raised_file_limit(),
        fatal=lambda text: exit_with(reactor, text, root.secrets),
    )
    pulse = pulse_of(daemon.standing, reactor, os.environ)
    daemon.setServiceParent(pulse or root)  # type: ignore[no-untyped-call]
    if pulse is not None:
        pulse.setServiceParent(root)  # type: ignore[no-untyped-call]
    root.reload = make_reload(
        read=lambda: configuration_of(options, os.environ),
        applied=configuration,
        tariff=daemon.tariff,
        pulse=pulse,
    )


def pulse_of(standing: Standing, reactor: Any, environment: Mapping[str, str]) -> Pulse | None:
    """What tells systemd, where it listens."""
    from sandbox_billing.notify import Pulse, notifier_of, watchdog_of

    notifier = notifier_of(environment)
    if notifier is None:
        return None
    return Pulse(
        daemon=standing,
        notifier=notifier,
        clock=reactor,
        monotonic=lambda: time.monotonic_ns() // 1000,
        watchdog=watchdog_of(environment, os.getpid()),
    )
