"""
The verbs of machines: pause, fork and snapshot for the virtual ones, resize behind a flag.

Each is refused with 422 for a class that cannot; the order of the other checks
is Daytona's.  What they cost is in the record's meters.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import define, evolve

from sandbox_billing.devnet.daytona.creation import forked_record
from sandbox_billing.devnet.daytona.dialect import ApiError
from sandbox_billing.devnet.daytona.engine import Engine
from sandbox_billing.devnet.daytona.records import FAILED, Record, Snapshot, State
from sandbox_billing.devnet.daytona.simulator import DaytonaSimulator


_RESTING = (State.STARTED, State.STOPPED)


@define(eq=False)
class Machines:
    """
    The verbs.

    @ivar simulator: Whose sandboxes.
    """

    simulator: DaytonaSimulator

    @property
    def _engine(self) -> Engine:
        return self.simulator.engine

    async def pause(self, record: Record) -> None:
        """
        Waits for the runner's call, unlike stop; the memory stays allocated.

        @raise ApiError: 422 for a container, 400, in progress.
        """
        self._only_virtual(record)
        if record.raw is State.STARTED and (record.pending or record.desired is not record.raw):
            raise self.simulator.dialect.in_progress()
        if record.raw is not State.STARTED:
            raise ApiError(400, "Sandbox is not in a pausable state")
        half = self.simulator.timings.pause_seconds / 2
        if self.simulator.pause_failures:
            self.simulator.pause_failures -= 1
            record.desired, record.raw = State.PAUSED, State.PAUSING
            self._engine.transition(record, (half, State.PAUSING))
            await self._engine.wait_settled(record)
            self._engine.settle(record, State.STARTED, State.STARTED)
            raise ApiError(500, "An unexpected error occurred.")
        record.desired, record.raw = State.PAUSED, State.PAUSING
        self._engine.transition(record, (half, State.PAUSING), (half, State.PAUSED))
        await self._engine.next_step(record)

    def resize(self, record: Record, body: Mapping[str, Any]) -> None:
        """
        Only more of cpu and memory while it runs; of disk only when stopped.

        @raise ApiError: 404 with the flag off, 400, in progress.
        """
        if not self.simulator.resizes:
            raise ApiError(404, "Cannot POST /api/sandbox/:sandboxIdOrName/resize")
        sizes = {key: body[key] for key in ("cpu", "memory", "disk") if body.get(key) is not None}
        for key, size in sizes.items():
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                raise ApiError(400, f"{key} must not be less than 1")
        if not any(getattr(record, key) != size for key, size in sizes.items()):
            raise ApiError(400, "No resource changes specified - sandbox is already at this size")
        if record.raw not in _RESTING:
            raise ApiError(400, "Sandbox must be in started or stopped state to resize")
        if record.pending or record.raw is not record.desired:
            raise self.simulator.dialect.in_progress()
        if sizes.get("disk", record.disk) < record.disk:
            raise ApiError(400, "Sandbox disk size cannot be decreased")
        if record.raw is State.STARTED:
            self._check_hot(record, sizes)

        def apply() -> None:
            for key, size in sizes.items():
                setattr(record, key, size)

        seconds = self.simulator.timings.resize_seconds
        self._engine.occupy(record, State.RESIZING, seconds, apply)

    def _check_hot(self, record: Record, sizes: Mapping[str, int]) -> None:
        if sizes.get("disk", record.disk) != record.disk:
            raise ApiError(400, "Disk can only be resized when the sandbox is stopped")
        for key in ("cpu", "memory"):
            if sizes.get(key, getattr(record, key)) < getattr(record, key):
                raise ApiError(400, f"Sandbox {key} cannot be decreased while it is running")

    def fork(self, record: Record, name: str | None) -> Record:
        """
        A new sandbox that copies labels, owner and intervals, and starts by itself.

        @raise ApiError: 422 for a container, 400, 409 for a name that is taken.
        """
        self._only_virtual(record)
        self._at_rest(record)
        if record.raw not in _RESTING:
            raise ApiError(400, "Sandbox is not in a forkable state")
        simulator = self.simulator
        id = simulator.new_id()
        child = forked_record(record, id=id, name=name or id, now=simulator.wall())
        simulator.admit(child)
        record.forks.append(child.id)
        self._engine.transition(child, (simulator.timings.create_seconds, State.STARTED))
        self._engine.occupy(record, State.FORKING, simulator.timings.snapshot_seconds, lambda: None)
        return child

    def snapshot(self, record: Record, body: Mapping[str, Any]) -> None:
        """
        A snapshot for the whole organization; nothing else is accepted while it is made.

        @raise ApiError: 422 for a container, 400, 409 for a name that is taken.
        """
        self._only_virtual(record)
        name = body.get("name")
        if not isinstance(name, str) or not name:
            raise ApiError(400, "name should not be empty, name must be a string")
        simulator = self.simulator
        simulator.check_snapshot_name(name)
        self._at_rest(record)
        if record.raw not in _RESTING:
            raise ApiError(400, "Sandbox is not in a state that can be snapshotted")
        made = Snapshot(
            id=simulator.new_id(),
            name=name,
            cpu=record.cpu,
            memory=record.memory,
            disk=record.disk,
            general=False,
            created_at=simulator.wall(),
            sandbox_class=record.sandbox_class,
            state="building",
        )
        simulator.snapshots[made.id] = made

        def finish() -> None:
            simulator.snapshots[made.id] = evolve(made, state="active")

        self._engine.occupy(record, State.SNAPSHOTTING, simulator.timings.snapshot_seconds, finish)

    def family(self, record: Record) -> list[dict[str, Any]]:
        """Its ancestors, the nearest first, whoever owns them."""
        found = []
        while record.parent_id is not None:
            record = self.simulator.records[record.parent_id]
            found.append(self.simulator.document(record))
        return found

    def forks(self, record: Record) -> list[dict[str, Any]]:
        """What was forked from it and lives, whoever owns it."""
        children = [self.simulator.records[id] for id in record.forks]
        return [self.simulator.document(child) for child in children if child.visible]

    def _only_virtual(self, record: Record) -> None:
        if not record.is_virtual_machine:
            raise ApiError(422, "Operation is not supported for this sandbox class")

    def _at_rest(self, record: Record) -> None:
        if record.raw in FAILED:
            raise ApiError(400, "Sandbox is in an error state")
        if record.pending or record.raw is not record.desired:
            raise self.simulator.dialect.in_progress()
