"""
Whose pause stands, whether its run can still be under way, and what people are told of it.

Without Twisted: looked at before and after everything that C{provider register} does.

Tests: L{tests.cli.test_standing}.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import field, frozen

from sandbox_billing.errors import BadInput, Transient
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.backlog import Pause
from sandbox_billing.ledger.money import UnixSeconds


BY = "provider register"
"""How the pauses of this command begin, whichever run has set them."""

HOW = "the same command with --take-over goes on from there and lifts it"

_RUN = re.compile(rf"{BY} ([0-9a-f]+) until ([0-9]+)")

_KEY = "billing:paused"

_SECONDS = 5.0


@frozen(kw_only=True)
class Run:
    """
    One run of the command, as its pause names it.

    @ivar name: Random: no other has it.
    @ivar until: unix seconds: it has ended by then, whatever has become of it.
    """

    name: str
    until: UnixSeconds

    def __str__(self) -> str:
        return f"{BY} {self.name} until {self.until}"

    @classmethod
    def of(cls, pause: Pause) -> Run | None:
        """None when it was no run that says until when."""
        found = _RUN.fullmatch(pause.by)
        if found is None:
            return None
        return cls(name=found[1], until=UnixSeconds(int(found[2])))


def is_ours(pause: Pause) -> bool:
    """Whether some run of this command has set it."""
    return pause.by == BY or Run.of(pause) is not None


def is_leftover(pause: Pause, now: UnixSeconds) -> bool:
    """Whether it is of a run that has ended by now, and was killed or did not see its end."""
    run = Run.of(pause)
    return run is not None and run.until < now


def told_of(pause: Pause) -> str:
    """Who, since when, and why."""
    return f"{pause.by} since {pause.since} ({pause.reason})"


# --- the look -------------------------------------------------------------------------


@frozen(kw_only=True)
class RedisPlace:
    """
    Where the daemon's Redis is.

    @ivar address: C{host:port}.
    @ivar password: None for none.
    """

    address: str
    password: str | None = field(repr=False)

    def host_and_port(self) -> tuple[str, int]:
        """
        @raise BadInput: The address is none.
        """
        from sandbox_billing.configuration import SETTINGS

        (parse,) = (setting.parse for setting in SETTINGS if setting.name == "REDIS_ADDR")
        try:
            host, port = parse(self.address)
        except BadInput as why:
            raise BadInput(f"--redis: {why}") from None
        return host, port

    def paused(self) -> Pause | None:
        """
        The pause that stands; blocking, for a process may run its reactor only once.

        @raise Transient: It could not be seen.
        @raise BadInput: It cannot be read, or the address is none.
        """
        try:
            with socket.create_connection(self.host_and_port(), timeout=_SECONDS) as connection:
                if self.password is not None:
                    _ask(connection, "AUTH", self.password)
                form = _ask(connection, "GET", _KEY)
        except OSError as why:
            raise Transient(f"Redis at {self.address}: {type(why).__name__}") from None
        return None if form is None else decode(Pause, form)


def _ask(connection: socket.socket, *command: str) -> bytes | None:
    raw = [part.encode() for part in command]
    sent = b"*%d\r\n" % len(raw) + b"".join(b"$%d\r\n%b\r\n" % (len(one), one) for one in raw)
    connection.sendall(sent)
    with connection.makefile("rb") as reader:
        line = reader.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            length = int(rest)
            return None if length < 0 else reader.read(length + 2)[:-2]
    if kind == b"+":
        return None
    # Its own word for what is wrong, NOAUTH or LOADING, and nothing that was sent.
    word = rest.split(b" ")[0].decode("ascii", "replace")
    raise Transient(f"Redis answers {word or 'nothing'}")


@contextmanager
def telling(look: Callable[[], Pause | None], note: Callable[[str], None]) -> Iterator[None]:
    """
    Tell of a pause that stands before something, and of one that stands after it, however it
    ends: a door that stays shut is never a surprise.
    """
    seen = True
    try:
        pause = look()
    except (Transient, BadInput) as why:
        seen = False
        note(f"whether admissions are paused could not be seen: {why}")
    else:
        if pause is not None:
            note(f"admissions are paused by {told_of(pause)}")
    try:
        yield
    finally:
        try:
            pause = look()
        except (Transient, BadInput) as why:
            if seen:
                note(
                    f"whether admissions stay paused could not be seen: {why}. The daemon's "
                    "/readyz tells it"
                )
        else:
            if pause is not None:
                note(f"admissions stay paused by {told_of(pause)}" + _how(pause))


def _how(pause: Pause) -> str:
    return f"; once that run has ended, {HOW}" if is_ours(pause) else ""
