"""
JSON lines for machines, text for people.

One event is one line: C{time}, C{level}, C{from}, C{message} and the fields that
were logged, by name.  What is not a plain value is left out rather than guessed
at, so that an object which holds a secret cannot leak through its C{repr}.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import IO, Any

from attrs import frozen
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    textFileLogObserver,
)
from zope.interface import implementer


_PLAIN = (str, int, bool, type(None))


@implementer(ILogObserver)
@frozen
class JSONLines:
    """
    @ivar out: Where the lines go.
    """

    out: IO[str]

    def __call__(self, event: LogEvent) -> None:
        self.out.write(json_line(event) + "\n")
        self.out.flush()


def json_line(event: LogEvent) -> str:
    """One event as one line of JSON."""
    level: Any = event.get("log_level", LogLevel.info)
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds"),
        "level": level.name,
        "from": event.get("log_namespace", "-"),
        "message": formatEvent(event),
    }
    for name, value in event.items():
        if not name.startswith("log_") and name not in line and isinstance(value, _PLAIN):
            line[name] = value
    failure = event.get("log_failure")
    if failure is not None:
        line["failure"] = failure.getTraceback()
    return json.dumps(line, ensure_ascii=False)


def observer_for(out: IO[str] | None = None, *, verbose: bool = False) -> ILogObserver:
    """
    Text on a terminal, JSON to anything else; debug events only on request.

    @param out: Standard output by default.
    """
    out = out if out is not None else sys.stdout
    inner = textFileLogObserver(out) if out.isatty() else JSONLines(out)
    level = LogLevel.debug if verbose else LogLevel.info
    observer: ILogObserver = FilteringLogObserver(inner, [LogLevelFilterPredicate(level)])
    return observer
