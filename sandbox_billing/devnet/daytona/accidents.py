"""
What goes wrong with Daytona and its sandboxes, at the order of a test.
"""

from __future__ import annotations

from collections import deque

from sandbox_billing.devnet.daytona.engine import Engine
from sandbox_billing.devnet.daytona.faults import Fault, FaultKind, Faults
from sandbox_billing.devnet.daytona.records import State


class Accidents:
    """
    The part of L{DaytonaSimulator} that breaks it.
    """

    __slots__ = ()

    engine: Engine
    faults: Faults
    _failures: deque[tuple[State, str, bool]]

    def fail_next(
        self, status: int, *, route: str | None = None, count: int | None = 1, effect: bool = False
    ) -> None:
        """The next C{count} requests (None: all) answer C{status}; 5xx as a gateway would."""
        kind = FaultKind.GATEWAY if status in (502, 504) else FaultKind.STATUS
        fault = Fault(kind=kind, status=status, route=route, count=count, effect=effect)
        self.faults.add(fault)

    def hang_next(self, *, route: str | None = None, effect: bool = False) -> None:
        """The next request gets no answer."""
        self.faults.add(Fault(kind=FaultKind.HANG, route=route, effect=effect))

    def lose_reply_next(self, *, route: str | None = None) -> None:
        """The next request is carried out and its connection closed."""
        self.faults.add(Fault(kind=FaultKind.LOSE_REPLY, route=route, effect=True))

    def lose_race_next(self, *, route: str | None = None) -> None:
        """The next request meets another operation on its row."""
        text = "Sandbox was modified by another operation, please try again"
        self.faults.add(Fault(kind=FaultKind.STATUS, status=409, message=text, route=route))

    def fail_start_next(
        self, reason: str = "no space left", *, build: bool = False, recoverable: bool = True
    ) -> None:
        """The next create, start or recover ends in error: 400, and the row stays."""
        state = State.BUILD_FAILED if build else State.ERROR
        self._failures.append((state, reason, recoverable))

    def fail_archive_next(self, id: str) -> None:
        """Its next three backups fail: archiving ends in error."""
        self.engine.records[id].backup_fails = True

    def exit_container(self, id: str, code: int = 0) -> None:
        """The container ends by itself; the row learns of it late, or never."""
        record = self.engine.records[id]
        record.exited, record.exit_code = True, code
        self.engine.note(record)

    def vanish_container(self, id: str) -> None:
        """The container is gone from its runner: the row stays C{started}."""
        record = self.engine.records[id]
        record.exited, record.exit_code = True, None
        self.engine.note(record)

    def remove_behind(self, id: str) -> None:
        """Someone deleted it past us: 404 from now on."""
        record = self.engine.records[id]
        self.engine.forget_name(record)
        self.engine.settle(record, State.DESTROYED, State.DESTROYED)

    def lose_sight(self, id: str) -> None:
        """The runner does not answer for it: what it does is unknown."""
        record = self.engine.records[id]
        self.engine.settle(record, State.UNKNOWN, record.desired)

    def stop_behind(self, id: str) -> None:
        """A draining runner or a suspended organization stops it at once."""
        self.engine.settle(self.engine.records[id], State.STOPPED, State.STOPPED)

    def start_behind(self, id: str) -> None:
        """Someone with Daytona's own key started it past us."""
        self.engine.settle(self.engine.records[id], State.STARTED, State.STARTED)

    def break_sandbox(
        self, id: str, reason: str = "runner lost", *, recoverable: bool = True
    ) -> None:
        """It fails while running."""
        record = self.engine.records[id]
        record.error_reason, record.recoverable = reason, recoverable
        self.engine.settle(record, State.ERROR, record.desired)
