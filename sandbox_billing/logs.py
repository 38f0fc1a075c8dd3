"""
JSON lines for machines, text for people.

One event is one line: C{time}, C{level}, C{from}, C{message}, C{event} (the message before
its values were put in: a constant) and the values by the names of
L{sandbox_billing.log_fields}.  What is not a plain value is left out rather than guessed
at, so that an object which holds a secret cannot leak through its C{repr}.  What is caused
by a request has its C{request_id}, whoever logs it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import IO, Any

from attrs import field, frozen
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    formatTime,
)
from zope.interface import implementer

from sandbox_billing.log_context import ASKER, REQUEST
from sandbox_billing.log_text import Fence


_OURS = "sandbox_billing."

_WIDEST = 512
"""Bits of a number that is written: more than anything on a chain has."""

_NO_FENCE = Fence()

_PRIORITIES = {"critical": 2, "error": 3, "warn": 4, "info": 6, "debug": 7}
"""As syslog(3) counts them."""


@implementer(ILogObserver)
@frozen
class JSONLines:
    """
    @ivar out: Where the lines go.
    @ivar fence: What no line may hold.
    @ivar journal: That each begins with its priority, as journald takes it off: C{<4>}.
    """

    out: IO[str]
    fence: Fence = field(default=_NO_FENCE)
    journal: bool = False

    def __call__(self, event: LogEvent) -> None:
        priority = f"<{_PRIORITIES.get(_level(event), 6)}>" if self.journal else ""
        self.out.write(priority + json_line(event, self.fence) + "\n")
        self.out.flush()


@implementer(ILogObserver)
@frozen
class TextLines:
    """
    For people, in the form of Twisted's own.

    @ivar out: Where the lines go.
    @ivar fence: What no line may hold.
    """

    out: IO[str]
    fence: Fence = field(default=_NO_FENCE)

    def __call__(self, event: LogEvent) -> None:
        self.out.write(text_line(event, self.fence) + "\n")
        self.out.flush()


def _level(event: LogEvent) -> str:
    level: Any = event.get("log_level", LogLevel.info)
    return str(level.name)


def _with_cause(event: LogEvent) -> LogEvent:
    """The event, with the request that caused it and its wallet where there are any."""
    cause = {"request_id": REQUEST.get(), "asker": ASKER.get()}
    return {**{name: text for name, text in cause.items() if text is not None}, **event}


def json_line(event: LogEvent, fence: Fence = _NO_FENCE) -> str:
    """One event as one line of JSON, of characters that can be seen."""
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds"),
        "level": _level(event),
        "from": event.get("log_namespace", "-"),
        "message": fence.value(formatEvent(event)),
    }
    if line["from"].startswith(_OURS) and event.get("log_format"):
        line["event"] = event["log_format"]
    for name, value in _with_cause(event).items():
        if name.startswith("log_") or name in line:
            continue
        if isinstance(value, str):
            line[name] = fence.value(value)
        elif isinstance(value, int) and value.bit_length() <= _WIDEST:
            line[name] = value
        elif value is None:
            line[name] = None
    failure = event.get("log_failure")
    if failure is not None:
        line["failure"] = fence.traceback(failure.getTraceback())
    text = json.dumps(line, ensure_ascii=False)
    if text.isprintable():
        return text
    # Only inside of strings can there be any others.
    return "".join(one if one.isprintable() else json.dumps(one)[1:-1] for one in text)


def text_line(event: LogEvent, fence: Fence = _NO_FENCE) -> str:
    """One event as a line of text; only a traceback has more, which are indented."""
    message = fence.line(formatEvent(event))
    request = _with_cause(event).get("request_id")
    if request is not None and str(request) not in message:
        message += f" (request {fence.line(str(request))})"
    where = f"{event.get('log_namespace', '-')}#{_level(event)}"
    line = f"{formatTime(event['log_time'])} [{where}] {message}"
    failure = event.get("log_failure")
    if failure is not None:
        told = fence.traceback(failure.getTraceback()).rstrip("\n")
        line += "\n\t" + told.replace("\n", "\n\t")
    return line


def _form_for(out: IO[str], environment: Mapping[str, str]) -> str:
    if out.isatty():
        return "text"
    try:
        found = os.fstat(out.fileno())
    except (OSError, ValueError):
        return "json"
    # Inherited by whoever redirects us elsewhere, too (systemd.exec(5)).
    ours = environment.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
    return "journal" if ours else "json"


def observer_for(
    out: IO[str] | None = None,
    *,
    verbose: bool = False,
    secrets: Iterable[str] = (),
    form: str = "auto",
) -> ILogObserver:
    """
    The form that was asked for; debug events only on request.

    @param out: Standard output by default.
    @param form: LOG_FORMAT: C{text}, C{json}, C{journal}, or C{auto}: text on a terminal, for the
        journal where it listens, JSON to anything else.
    @param secrets: What is never written, from L{secrets_of<log_text.secrets_of>}.
    """
    out = out if out is not None else sys.stdout
    fence = Fence(tuple(secrets))
    form = _form_for(out, os.environ) if form == "auto" else form
    inner = TextLines(out, fence) if form == "text" else JSONLines(out, fence, form == "journal")
    level = LogLevel.debug if verbose else LogLevel.info
    observer: ILogObserver = FilteringLogObserver(inner, [LogLevelFilterPredicate(level)])
    return observer
