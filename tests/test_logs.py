"""JSON lines for machines, text for people, and no object that could hold a secret."""

from __future__ import annotations

import io
import json
from contextvars import copy_context
from typing import Any

from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.log_context import REQUEST
from sandbox_billing.logs import JSONLines, json_line, observer_for, text_line


@frozen
class Secretive:
    """An object that shows what it holds."""

    secret: str


class Terminal(io.StringIO):
    """Text that a person reads."""

    def isatty(self) -> bool:
        """As a terminal answers."""
        return True


def event(**fields: Any) -> dict[str, Any]:
    """An event as C{twisted.logger} makes it."""
    return {
        "log_time": 1_700_000_000.25,
        "log_level": LogLevel.info,
        "log_namespace": "sandbox_billing.tests",
        "log_format": "something happened",
        **fields,
    }


class JSONLineTests(SynchronousTestCase):
    """One event, one line."""

    def test_example(self) -> None:
        """Time in UTC with milliseconds, level, origin, the whole message, and the fields."""
        line = json_line(event(log_format="charged {fee} to {wallet}", fee=10**20, wallet="0x11"))
        self.assertEqual(
            {
                "time": "2023-11-14T22:13:20.250+00:00",
                "level": "info",
                "from": "sandbox_billing.tests",
                "message": "charged 100000000000000000000 to 0x11",
                "event": "charged {fee} to {wallet}",
                "fee": 10**20,
                "wallet": "0x11",
            },
            json.loads(line),
        )

    def test_plain_fields(self) -> None:
        """Text, whole numbers, truth and nothing are fields; whatever else is left out."""
        line = json.loads(
            json_line(event(text="a", number=-1, truth=True, nothing=None, fraction=1.5, raw=b"x"))
        )
        kept = {name: line.get(name, "absent") for name in ("text", "number", "truth", "nothing")}
        self.assertEqual({"text": "a", "number": -1, "truth": True, "nothing": None}, kept)
        self.assertEqual(set(), {"fraction", "raw"} & set(line))

    def test_objects_stay_out(self) -> None:
        """An object that a caller passes along cannot leak by its repr."""
        line = json_line(event(key=Secretive("hunter2"), keys=[Secretive("hunter2")]))
        self.assertNotIn("hunter2", line)

    def test_own_names_win(self) -> None:
        """A field cannot pass itself off as the line's time, level, origin or message."""
        line = json.loads(
            json_line(event(time="never", level="none", message="forged", **{"from": "nowhere"}))
        )
        self.assertEqual("something happened", line["message"])
        self.assertEqual(("info", "sandbox_billing.tests"), (line["level"], line["from"]))
        self.assertNotEqual("never", line["time"])

    def test_nothing_internal(self) -> None:
        """What twisted adds for itself is not repeated."""
        line = json.loads(json_line(event(log_source="x", log_system="y")))
        self.assertEqual({"time", "level", "from", "message", "event"}, set(line))

    def test_others(self) -> None:
        """What is no constant of ours is not called an event."""
        line = json.loads(json_line(event(log_namespace="twisted.web", log_format="{log_text}")))
        self.assertEqual({"time", "level", "from", "message"}, set(line))

    def test_failure(self) -> None:
        """A failure is told whole, in the same line."""
        try:
            raise ValueError("no such thing")
        except ValueError:
            failure = Failure()
        line = json_line(event(log_failure=failure, log_level=LogLevel.critical))
        self.assertEqual(1, len(line.splitlines()))
        found = json.loads(line)
        self.assertEqual("critical", found["level"])
        self.assertIn("builtins.ValueError: no such thing", found["failure"])
        self.assertIn("Traceback", found["failure"])

    def test_bad_format(self) -> None:
        """A message that cannot be made is no reason to lose the event."""
        for bad in ("{missing}", "{", "{a.b}"):
            with self.subTest(bad=bad):
                self.assertEqual("info", json.loads(json_line(event(log_format=bad)))["level"])

    def test_least(self) -> None:
        """An event of old, without level or namespace, is a line too."""
        line = json.loads(json_line({"log_time": 0.0, "log_format": "x"}))
        self.assertEqual(("info", "-", "x"), (line["level"], line["from"], line["message"]))

    @given(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.integers() | st.booleans() | st.none(),
    )
    def test_one_line(self, text: str, value: object) -> None:
        """Whatever is logged stays within its line: nobody forges the next one (style.md §7)."""
        line = json_line(event(log_format="{text}", text=text, value=value))
        self.assertNotIn("\n", line)
        self.assertNotIn("\r", line)
        found = json.loads(line)
        self.assertEqual((text, text, value), (found["message"], found["text"], found["value"]))


class ObserverTests(SynchronousTestCase):
    """Where lines go."""

    def logged(self, out: io.StringIO, *, verbose: bool = False) -> str:
        """What an observer writes of one event at each level."""
        log = Logger("tests", observer=LogPublisher(observer_for(out, verbose=verbose)))
        for level in LogLevel.iterconstants():
            log.emit(level, "at {level_name}", level_name=level.name)
        return out.getvalue()

    def test_pipe(self) -> None:
        """To a pipe: one JSON object a line."""
        lines = [json.loads(line) for line in self.logged(io.StringIO()).splitlines()]
        self.assertEqual(["info", "warn", "error", "critical"], [line["level"] for line in lines])
        self.assertEqual("at info", lines[0]["message"])

    def test_terminal(self) -> None:
        """To a terminal: text."""
        told = self.logged(Terminal())
        self.assertIn("[tests#info] at info\n", told)
        self.assertNotIn("{", told)

    def test_request_on_a_terminal(self) -> None:
        """The request that caused it stands at the end, unless the message has it."""
        context = copy_context()
        context.run(REQUEST.set, "req-1")
        self.assertIn("at info (request req-1)\n", context.run(self.logged, Terminal()))
        told = context.run(text_line, event(log_format="{request_id} ends", request_id="req-2"))
        self.assertTrue(told.endswith("] req-2 ends"), told)

    def test_verbose(self) -> None:
        """Debug events only on request."""
        for out in (io.StringIO, Terminal):
            self.assertNotIn("at debug", self.logged(out()))
            self.assertIn("at debug", self.logged(out(), verbose=True))

    def test_flushed(self) -> None:
        """A line is out when it is logged: the last words of a dying process count."""
        raw = io.BytesIO()
        out = io.TextIOWrapper(io.BufferedWriter(raw, 10**6), encoding="utf-8")  # type: ignore[arg-type]
        JSONLines(out)(event())
        self.assertTrue(raw.getvalue().endswith(b"}\n"))
