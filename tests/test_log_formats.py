"""LOG_FORMAT: which form the log has, and how journald learns the level."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import IO

from twisted.logger import Logger, LogPublisher
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.logs import observer_for


class FormatTests(SynchronousTestCase):
    """L{observer_for}."""

    def logged(self, out: IO[str], form: str) -> None:
        """An event of each level."""
        log = Logger("tests", observer=LogPublisher(observer_for(out, form=form, verbose=True)))
        for level in ("debug", "info", "warn", "error", "critical"):
            getattr(log, level)("it is so")

    def test_journal(self) -> None:
        """Each line begins with its priority; the rest is the JSON of always."""
        out = io.StringIO()
        self.logged(out, "journal")
        lines = out.getvalue().splitlines()
        self.assertEqual([line[:3] for line in lines], ["<7>", "<6>", "<4>", "<3>", "<2>"])
        levels = [json.loads(line[3:])["level"] for line in lines]
        self.assertEqual(levels, ["debug", "info", "warn", "error", "critical"])

    def test_named(self) -> None:
        """What is asked for is done, wherever it goes."""
        for form, first in (("json", "{"), ("text", "2"), ("journal", "<")):
            out = io.StringIO()
            self.logged(out, form)
            self.assertEqual(out.getvalue()[0], first)

    def test_auto(self) -> None:
        """JSON to a file, unless that file is what the journal listens to."""
        path = Path(self.mktemp())
        with path.open("w") as out:
            found = os.fstat(out.fileno())
            self.patch(os, "environ", {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
            self.logged(out, "auto")
            self.patch(os, "environ", {"JOURNAL_STREAM": f"{found.st_dev}:1"})
            self.logged(out, "auto")
        first = [line[0] for line in path.read_text().splitlines()]
        self.assertEqual(first, ["<"] * 5 + ["{"] * 5)
