"""What counts and remembers requests, over dictionaries and over a real server."""

from __future__ import annotations

from tests.ports import at_home
from tests.ports.journal_limits import limit_suites
from tests.ports.journal_worlds import WORLDS


for _name, _world in WORLDS.items():
    globals().update(limit_suites(_name, _world))

at_home(globals())
