"""
Daytona's verbs on sandboxes, with Daytona's answers, and the accidents a test can order.

Statuses and the order of checks follow what was read in Daytona's source; the
dialect decides where releases differ.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime

from sandbox_billing.devnet.daytona.accidents import Accidents
from sandbox_billing.devnet.daytona.creation import new_record
from sandbox_billing.devnet.daytona.dialect import ApiError, Dialect
from sandbox_billing.devnet.daytona.engine import Engine, Timings
from sandbox_billing.devnet.daytona.events import Events
from sandbox_billing.devnet.daytona.faults import Faults
from sandbox_billing.devnet.daytona.records import FAILED, Record, Snapshot, State
from sandbox_billing.devnet.daytona.volumes import Volumes


__all__ = ["DaytonaSimulator", "Received", "Timings"]


def _standard_snapshots() -> dict[str, Snapshot]:
    """The first one is the default."""
    snapshots = (
        Snapshot(id="5a000000-0000-4000-8000-000000000001", name="daytona-small"),
        Snapshot(
            id="5a000000-0000-4000-8000-000000000002",
            name="daytona-medium",
            cpu=2,
            memory=4,
            disk=8,
        ),
        Snapshot(
            id="5a000000-0000-4000-8000-000000000003",
            name="daytona-large",
            cpu=4,
            memory=8,
            disk=10,
        ),
        Snapshot(id="5a000000-0000-4000-8000-000000000004", name="daytona-gpu", gpu=1),
    )
    return {snapshot.id: snapshot for snapshot in snapshots}


@frozen(kw_only=True)
class Received:
    """
    A request as it came in, before anything was checked.

    @ivar target: Path and query, undecoded.
    @ivar headers: Every header, names in lower case.
    @ivar at: Wall seconds.
    """

    method: str
    target: str
    headers: Mapping[str, tuple[str, ...]]
    body: bytes
    at: float


@define(eq=False, kw_only=True)
class DaytonaSimulator(Accidents):
    """
    The state of one Daytona; give it to L{simulator_site} to talk to it.

    @ivar clock: For delays.
    @ivar wall: Unix seconds.
    @ivar dialect: May be changed at any time, as an upgrade would.
    @ivar warm_pool: Creates from a snapshot are C{started} at once.
    @ivar resizes: The flag behind which resize is.
    @ivar suspended: The organization may neither create nor start.
    @ivar version: What C{/config} and C{X-Daytona-Api-Version} say; None for the dialect's own.
    @ivar failed_key_limit: After how many bad credentials everybody from there is refused.
    @ivar pause_failures: How many of the next pauses the runner will not carry out.
    @ivar toolbox_base: What C{toolboxProxyUrl} says; the service sets it.
    @ivar received: The newest requests, whatever became of them.
    @ivar hanging: How many requests are held without an answer.
    @ivar before: Called with the route's name before a request is carried out, so that a
        test can let something happen between two of them.
    """

    clock: IReactorTime
    wall: Callable[[], float]
    timings: Timings = field(factory=Timings)
    dialect: Dialect = Dialect.NEW
    new_id: Callable[[], str] = lambda: str(uuid.uuid4())
    warm_pool: bool = False
    resizes: bool = False
    suspended: bool = False
    version: str | None = None
    failed_key_limit: int | None = None
    failed_keys: int = 0
    pause_failures: int = 0
    toolbox_base: str = "http://127.0.0.1/toolbox"
    ssh_host: str = "localhost"
    proxy_base: str = "http://proxy.localhost:4000"
    snapshots: dict[str, Snapshot] = field(factory=_standard_snapshots)
    faults: Faults = field(factory=Faults)
    received: deque[Received] = field(factory=lambda: deque(maxlen=20_000))
    hanging: int = 0
    before: Callable[[str], None] = lambda route: None
    engine: Engine = field(init=False)
    events: Events = field(init=False)
    volumes: Volumes = field(init=False)
    # Signed preview tokens: (sandbox, port, wall seconds of its end).
    signed: dict[str, tuple[str, int, float]] = field(factory=dict, init=False)
    _names: dict[str, str] = field(factory=dict, init=False)
    _lookups: dict[str, tuple[float, dict[str, Any]]] = field(factory=dict, init=False)
    _failures: deque[tuple[State, str, bool]] = field(factory=deque, init=False)

    def __attrs_post_init__(self) -> None:
        self.engine = Engine(
            self.clock, self.wall, self.timings, self._forget_name, self._announce, self._is_new
        )
        self.events = Events(self.clock)
        self.volumes = Volumes(self.wall, self.new_id)

    # -- lookups ---------------------------------------------------------------

    @property
    def records(self) -> Mapping[str, Record]:
        """Every sandbox there ever was, by id."""
        return self.engine.records

    def find(self, id_or_name: str) -> Record:
        """
        Id wins over name.

        @raise ApiError: 404.
        """
        record = self.records.get(id_or_name)
        if record is None:
            record = self.records.get(self._names.get(id_or_name, ""))
        if record is None or not record.visible:
            raise ApiError(404, f"Sandbox with ID or name {id_or_name} not found")
        return record

    def document(self, record: Record) -> dict[str, Any]:
        """The Sandbox DTO as it is now."""
        return record.document(self.toolbox_base, old=self.dialect is Dialect.OLD)

    def snapshot_document(self, snapshot: Snapshot) -> dict[str, Any]:
        """The SnapshotDto."""
        return snapshot.document(old=self.dialect is Dialect.OLD)

    def lookup(self, id_or_name: str) -> dict[str, Any]:
        """
        The DTO as C{GET} answers it: up to C{lookup_cache_seconds} old.

        @raise ApiError: 404.
        """
        now, fresh_for = self.clock.seconds(), self.timings.lookup_cache_seconds
        at, document = self._lookups.get(id_or_name, (float("-inf"), {}))
        if now - at >= fresh_for:
            at, document = now, self.document(self.find(id_or_name))
            if fresh_for:
                self._lookups[id_or_name] = (at, document)
        return document

    def find_snapshot(self, id_or_name: str) -> Snapshot:
        """@raise ApiError: 404."""
        for snapshot in self.snapshots.values():
            if id_or_name in (snapshot.id, snapshot.name):
                return snapshot
        raise ApiError(404, f"Snapshot with ID or name {id_or_name} not found")

    def check_snapshot_name(self, name: str) -> None:
        """@raise ApiError: 409 when it is taken."""
        if any(name == snapshot.name for snapshot in self.snapshots.values()):
            raise ApiError(409, f"Snapshot with name {name} already exists")

    def _is_new(self) -> bool:
        return self.dialect is Dialect.NEW

    def _announce(self, record: Record) -> None:
        """Tell what has changed since it was told of last."""
        was, now = record.announced, (record.raw, record.desired)
        record.announced = now
        if was is None:
            self.events.publish("sandbox.created", lambda: self.document(record))
            return
        for kind, old, new in zip(("State", "DesiredState"), was, now, strict=True):
            if old is not new:
                name = "sandbox.state.updated"
                if kind == "DesiredState":
                    name = "sandbox.desired-state.updated"
                self.events.publish(name, partial(self._change, record, kind, old, new))

    def _change(self, record: Record, kind: str, old: State, new: State) -> dict[str, Any]:
        return {"sandbox": self.document(record), f"old{kind}": str(old), f"new{kind}": str(new)}

    def _forget_name(self, record: Record) -> None:
        self._names.pop(record.name, None)

    @property
    def shown_version(self) -> str:
        """A hint, which a deployment may leave at C{0.0.0-dev}."""
        return self.version or self.dialect.value

    # -- verbs -----------------------------------------------------------------

    async def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """
        @return: The DTO from before the wait, except from the warm pool.
        @raise ApiError: 400 or 409; after C{Sandbox failed to start} a row is left.
        """
        self._check_suspension()
        record = new_record(body, id=self.new_id(), now=self.wall(), simulator=self)
        self.admit(record)
        failure = self._failures.popleft() if self._failures else None
        if self.warm_pool and record.build_info is None and failure is None:
            self.engine.settle(record, State.STARTED, State.STARTED)
            return self.document(record)
        self._begin_start(record, failure)
        early = self.document(record)
        if record.build_info is None:
            await self.engine.wait_started(record)
            self._raise_if_failed(record)
        return early

    def admit(self, record: Record) -> None:
        """
        Give a new one its name.

        @raise ApiError: 409 when it is taken, by whomever.
        """
        if record.name in self._names:
            raise ApiError(409, f"Sandbox with name {record.name} already exists")
        self.engine.records[record.id] = record
        self._names[record.name] = record.id
        if record.linked_id is not None:
            self.records[record.linked_id].followers.append(record.id)

    def _check_suspension(self) -> None:
        if self.suspended:
            raise ApiError(403, "Organization is suspended")

    def _begin_start(self, record: Record, failure: tuple[State, str, bool] | None) -> None:
        timings = self.timings
        record.desired = State.STARTED
        end, reason = State.STARTED, None
        if failure is not None:
            end, reason, record.recoverable = failure
        match record.raw:
            case State.PENDING_BUILD:
                half = timings.build_seconds / 2
                steps = [(half, State.BUILDING_SNAPSHOT), (half, end)]
            case State.CREATING:
                steps = [(timings.create_seconds, end)]
                if timings.pull_seconds:
                    record.raw = State.PULLING_SNAPSHOT
                    steps.insert(0, (timings.pull_seconds, State.CREATING))
            case State.ARCHIVED:
                half = timings.restore_seconds / 2
                steps = [(half, State.RESTORING), (half, end)]
            case State.PAUSED:
                record.raw = State.RESUMING
                steps = [(timings.start_seconds, end)]
            case _:
                steps = [(timings.start_seconds, end)]
        self.engine.transition(record, *steps, reason=reason)

    def _raise_if_failed(self, record: Record) -> None:
        if record.raw in FAILED:
            raise ApiError(400, f"Sandbox failed to start: {record.error_reason}")

    async def start(self, record: Record) -> None:
        """@raise ApiError: As the table of verbs and states says."""
        if record.raw is record.desired is State.STARTED:
            return
        if record.raw in FAILED:
            raise ApiError(400, "Sandbox is not in valid state")
        self._check_suspension()
        if record.pending:
            raise self.dialect.in_progress()
        if record.raw not in (State.STOPPED, State.ARCHIVED, State.PAUSED):
            raise ApiError(400, "Sandbox is not in valid state")
        archived = record.raw is State.ARCHIVED
        self._begin_start(record, self._failures.popleft() if self._failures else None)
        if not archived:
            await self.engine.wait_started(record)
            self._raise_if_failed(record)

    def stop(self, record: Record) -> None:
        """The order of checks is Daytona's: error, goal, state, pending."""
        if record.raw in FAILED:
            raise ApiError(400, "Sandbox is in an error state")
        if record.raw is not record.desired:
            raise self.dialect.in_progress()
        if record.raw not in (State.STARTED, State.PAUSED):
            raise self.dialect.not_stoppable()
        if record.pending:
            raise self.dialect.in_progress()
        self.engine.begin_stop(record)

    def delete(self, record: Record) -> None:
        """Accepted while archiving or waiting for a build; in progress otherwise."""
        if record.desired is State.DESTROYED:
            raise self.dialect.in_progress()
        if record.pending and record.raw is not State.PENDING_BUILD:
            raise self.dialect.in_progress()
        if any(self.records[id].visible for id in record.forks):
            raise ApiError(400, "Sandbox has active fork children")
        self.engine.begin_delete(record)

    def archive(self, record: Record) -> None:
        """Only from stopped, and not an ephemeral one."""
        if record.pending or (record.raw is State.STOPPED and record.desired is State.ARCHIVED):
            raise self.dialect.in_progress()
        if record.raw is not State.STOPPED:
            raise ApiError(400, "Sandbox is not stopped")
        if record.auto_delete == 0:
            raise ApiError(400, "Ephemeral sandboxes cannot be archived")
        self.engine.begin_archive(record)

    async def recover(self, record: Record, *, skip_start: bool) -> None:
        """From error; starts it too unless told not to."""
        if record.pending or record.desired is State.DESTROYED:
            raise self.dialect.in_progress()
        if record.raw not in FAILED:
            raise ApiError(400, "Sandbox must be in error state to recover")
        if not record.recoverable and self.dialect is Dialect.NEW:
            raise ApiError(400, "Sandbox is not recoverable")
        if record.backup_state == "Completed":
            self._restore(record)
        record.error_reason, record.recoverable = None, False
        record.raw = State.RESTORING
        if skip_start:
            record.desired = State.STOPPED
            self.engine.transition(record, (self.timings.start_seconds, State.STOPPED))
            return
        self._begin_start(record, self._failures.popleft() if self._failures else None)
        await self.engine.wait_started(record)
        self._raise_if_failed(record)

    def _restore(self, record: Record) -> None:
        now, hour = self.wall(), 60 * self.timings.minute_seconds
        if record.restored_at is not None and now - record.restored_at < hour:
            raise ApiError(409, "Sandbox was restored from its backup less than an hour ago")
        record.restored_at = now

    def touch(self, record: Record) -> None:
        """Activity: postpones auto-stop."""
        record.last_activity_at = self.wall()

    def edit(self, record: Record, **columns: Any) -> None:
        """Labels, intervals and the like, accepted in any state."""
        for name, value in columns.items():
            setattr(record, name, value)
        record.updated_at = self.wall()

    # -- the truth -------------------------------------------------------------

    def running_seconds(self, id: str) -> float:
        """
        How long the container ran, for tests to compare bills with.

        From each start to the instant our stop or delete was accepted, or the
        container ended by itself, whichever came first.
        """
        return self.records[id].truth.seconds(self.wall())

    def shown_seconds(self, id: str) -> float:
        """How long readers were shown C{started}: what an honest bill may not exceed."""
        return self.records[id].shown.seconds(self.wall())

    def close(self) -> None:
        """Nothing moves any more."""
        self.events.close()
        self.engine.close()
