"""
What moves by itself in Daytona: transitions, the runners' sync, idle timers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from sandbox_billing.devnet.daytona.records import FAILED, Record, State, shown_state


# Exit codes that the runner's loop reports as stopped, and one that it learnt later.
CLEAN_EXITS = frozenset({0, 137, 143})
NEW_CLEAN_EXIT = 255

# After how many minutes a transition that does not end is an error.
LIMITS = {
    State.STARTING: 5,
    State.RESUMING: 5,
    State.CREATING: 15,
    State.PULLING_SNAPSHOT: 30,
    State.RESTORING: 30,
    State.PENDING_BUILD: 60,
    State.BUILDING_SNAPSHOT: 60,
}


@frozen(kw_only=True)
class Timings:
    """
    How long things take, in seconds of the simulator's clock.

    @ivar pull_seconds: Before that, while a runner fetches the snapshot; 0 where it has it.
    @ivar create_seconds: From the request to C{started}; so too for the other verbs.
    @ivar wait_seconds: How long create and start hold the request open (Daytona: 30).
    @ivar sync_seconds: The period of the runners' comparison and of the idle timers (Daytona: 10).
    @ivar minute_seconds: What the intervals, which are minutes, count as.
    @ivar limit_minute_seconds: What the limits of transitions, which are minutes, count as.
    @ivar lookup_cache_seconds: How stale a lookup by id or name may be (Daytona: up to 10).
    """

    pull_seconds: float = 0.0
    create_seconds: float = 2.0
    build_seconds: float = 5.0
    start_seconds: float = 1.0
    restore_seconds: float = 3.0
    stop_seconds: float = 1.0
    archive_seconds: float = 3.0
    delete_seconds: float = 1.0
    pause_seconds: float = 1.0
    resize_seconds: float = 1.0
    snapshot_seconds: float = 3.0
    wait_seconds: float = 30.0
    sync_seconds: float = 10.0
    minute_seconds: float = 60.0
    lookup_cache_seconds: float = 0.0
    limit_minute_seconds: float = 60.0

    @classmethod
    def scaled(cls, factor: float) -> Timings:
        """Everything at C{factor} of its usual length, the minutes too."""
        usual = cls()
        return cls(
            **{name: getattr(usual, name) * factor for name in cls.__annotations__},
        )


@define(eq=False)
class Engine:
    """
    Moves records along on an injected clock.

    @ivar clock: For delays.
    @ivar wall: Unix seconds, for what is shown and for the truth.
    @ivar forget_name: Called when a delete has been accepted and frees the name.
    @ivar is_new: Whether it is v0.190.
    @ivar announce: Called whenever a record may have another state.
    """

    clock: IReactorTime
    wall: Callable[[], float]
    timings: Timings
    forget_name: Callable[[Record], None]
    announce: Callable[[Record], None]
    is_new: Callable[[], bool]
    records: dict[str, Record] = field(factory=dict)
    _tick: IDelayedCall | None = None

    def transition(
        self, record: Record, *steps: tuple[float, State], reason: str | None = None
    ) -> None:
        """
        Walk a record through raw states; replaces a walk under way.

        @param steps: (seconds to wait, raw state then).
        @param reason: C{errorReason}, once the walk reaches a failed state.
        """
        self._halt(record)
        record.pending = record.desired is not State.ARCHIVED
        self.changed(record)
        self._schedule(record, steps, reason)

    def _schedule(
        self, record: Record, steps: tuple[tuple[float, State], ...], reason: str | None
    ) -> None:
        waiting = shown_state(record.raw, record.desired, listed=True)
        limit = LIMITS.get(waiting, float("inf")) * self.timings.limit_minute_seconds
        if steps[0][0] > limit:
            steps = ((limit, State.ERROR),)
            reason = f"Timeout while {waiting.replace('_', ' ')} the sandbox"
        record.timer = self.clock.callLater(steps[0][0], self._step, record, steps, reason)

    def _step(
        self, record: Record, steps: tuple[tuple[float, State], ...], reason: str | None
    ) -> None:
        record.timer = None
        record.raw = steps[0][1]
        if steps[1:]:
            self._schedule(record, steps[1:], reason)
        else:
            record.pending = False
        if record.raw in FAILED:
            record.error_reason = reason
            if record.backup_state == "InProgress":
                record.backup_state = "Error"
        if record.raw is State.ARCHIVED:
            self.backed_up(record)
        if record.raw is State.STARTED:
            record.exited, record.exit_code = False, None
            record.starts += 1
        self.changed(record)

    def occupy(self, record: Record, raw: State, seconds: float, then: Callable[[], None]) -> None:
        """
        Something is done to a sandbox that stays as it is: resized, snapshotted, forked.

        @param raw: The state meanwhile; no other verb is accepted.
        @param then: Called at the end, before it is back in its state.
        """
        record.resumes, record.raw, record.pending = record.raw, raw, True
        record.desired = State.RESIZED if raw is State.RESIZING else record.desired
        self.changed(record)

        def end() -> None:
            record.timer = None
            then()
            self.settle(record, record.resumes, record.resumes)

        record.timer = self.clock.callLater(seconds, end)

    def back_up(self, record: Record) -> None:
        """Pending, in progress, completed; beside whatever else happens to the sandbox."""
        record.backup_state = "Pending"
        half = self.timings.archive_seconds / 2

        def progress() -> None:
            record.backup_state = "InProgress"
            record.backup_timer = self.clock.callLater(half, complete)

        def complete() -> None:
            record.backup_timer = None
            self.backed_up(record)

        self._cancel_backup(record)
        record.backup_timer = self.clock.callLater(half, progress)

    def backed_up(self, record: Record) -> None:
        """There is a backup from now."""
        record.backup_state, record.backup_created_at = "Completed", self.wall()

    def _cancel_backup(self, record: Record) -> None:
        if record.backup_timer is not None:
            record.backup_timer.cancel()
            record.backup_timer = None

    def settle(self, record: Record, raw: State, desired: State) -> None:
        """Put a record into a state of rest at once."""
        self._halt(record)
        record.raw, record.desired, record.pending = raw, desired, False
        self.changed(record)

    def _halt(self, record: Record) -> None:
        if record.timer is not None and record.timer.active():
            record.timer.cancel()
        record.timer = None

    def changed(self, record: Record) -> None:
        """Stamp a state change, note the truth of it, wake who waits for it."""
        now = self.wall()
        record.updated_at = record.last_activity_at = now
        self.note(record)
        self.announce(record)
        waiters, record.waiters = record.waiters, []
        for waiter in waiters:
            waiter.callback(None)
        self._keep_ticking()

    def note(self, record: Record) -> None:
        """Bring the two meters up to date with the record."""
        now = self.wall()
        record.truth.observe(record.runs, now)
        shows_started = record.raw is State.STARTED and record.desired is State.STARTED
        record.shown.observe(shows_started, now)

    async def wait_started(self, record: Record) -> None:
        """Hold on until it has started or failed, at most C{wait_seconds}."""
        deadline = self.clock.seconds() + self.timings.wait_seconds
        while record.pending and record.raw is not State.STARTED:
            if not await self._next_change(record, deadline):
                return

    async def wait_settled(self, record: Record) -> None:
        """Hold on until nothing is under way, at most C{wait_seconds}."""
        deadline = self.clock.seconds() + self.timings.wait_seconds
        while record.pending and await self._next_change(record, deadline):
            pass

    async def next_step(self, record: Record) -> None:
        """Hold on until its state has been set once more, at most C{wait_seconds}."""
        await self._next_change(record, self.clock.seconds() + self.timings.wait_seconds)

    async def _next_change(self, record: Record, deadline: float) -> bool:
        left = deadline - self.clock.seconds()
        if left <= 0:
            return False
        changed: Deferred[None] = Deferred()
        record.waiters.append(changed)
        try:
            await changed.addTimeout(left, self.clock)
        except TimeoutError:
            record.waiters.remove(changed)
            return False
        return True

    def begin_stop(self, record: Record) -> None:
        """A stop was accepted, ours or Daytona's own; an ephemeral sandbox goes for good."""
        if record.auto_delete == 0:
            self.begin_delete(record)
        else:
            record.desired = State.STOPPED
            self.transition(record, (self.timings.stop_seconds, State.STOPPED))

    def begin_delete(self, record: Record) -> None:
        """A delete was accepted: the name is free from here."""
        for follower in [self.records[id] for id in record.followers]:
            if follower.visible and follower.desired is not State.DESTROYED:
                self.begin_delete(follower)
        self.forget_name(record)
        record.name = f"DESTROYED_{record.name}_{int(self.wall() * 1000)}"
        record.desired = State.DESTROYED
        if record.raw in FAILED:
            self._halt(record)
            self.changed(record)
        else:
            self.transition(record, (self.timings.delete_seconds, State.DESTROYED))

    def _keep_ticking(self) -> None:
        if self._tick is None:
            self._tick = self.clock.callLater(self.timings.sync_seconds, self._on_tick)

    def _on_tick(self) -> None:
        self._tick = None
        alive = [record for record in self.records.values() if record.visible]
        self._sync_exits(alive)
        self._run_intervals(alive)
        if alive:
            self._keep_ticking()

    def _sync_exits(self, records: Iterable[Record]) -> None:
        """Runners report clean exits, late and never through C{stopping}; others never."""
        clean = CLEAN_EXITS | ({NEW_CLEAN_EXIT} if self.is_new() else set())
        for record in records:
            shows_started = record.raw is State.STARTED and record.desired is State.STARTED
            if shows_started and record.exited and record.exit_code in clean:
                self.settle(record, State.STOPPED, State.STOPPED)

    def _run_intervals(self, records: Iterable[Record]) -> None:
        """Auto-stop, auto-archive and auto-delete of what has been idle for long enough."""
        for record in records:
            idle = (self.wall() - record.last_activity_at) / self.timings.minute_seconds
            if record.pending or record.raw is not record.desired:
                continue
            if record.raw is State.STARTED and 0 < record.auto_stop <= idle:
                self.begin_stop(record)
            elif record.raw is State.STOPPED and 0 < record.auto_delete <= idle:
                self.begin_delete(record)
            elif record.raw is State.STOPPED and 0 < record.auto_archive <= idle:
                self.begin_archive(record)

    def begin_archive(self, record: Record) -> None:
        """First a backup, and if that fails three times an error."""
        record.desired = State.ARCHIVED
        end = State.ERROR if record.backup_fails else State.ARCHIVED
        record.backup_fails = False
        record.backup_state = "InProgress"
        self.transition(
            record, (self.timings.archive_seconds, end), reason="Failed to create a backup 3 times"
        )

    def close(self) -> None:
        """Nothing moves any more; whoever waits is cancelled."""
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        for record in self.records.values():
            self._halt(record)
            self._cancel_backup(record)
            waiters, record.waiters = record.waiters, []
            for waiter in waiters:
                waiter.cancel()
