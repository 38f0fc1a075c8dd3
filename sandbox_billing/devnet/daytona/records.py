"""
One sandbox as the simulator keeps it, and as Daytona would show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall


ORGANIZATION = "00000000-0000-4000-8000-00000000da70"

# What a list item of the new dialect leaves out of a Sandbox.
_NOT_LISTED = (
    "env",
    "networkBlockAll",
    "networkAllowList",
    "domainAllowList",
    "volumes",
    "buildInfo",
    "backupCreatedAt",
    "linkedSandboxId",
)


class State(StrEnum):
    """C{state} and C{desiredState} as spelt on the wire; only the latter is ever C{resized}."""

    CREATING = "creating"
    RESTORING = "restoring"
    DESTROYED = "destroyed"
    DESTROYING = "destroying"
    STARTED = "started"
    STOPPED = "stopped"
    STARTING = "starting"
    STOPPING = "stopping"
    ERROR = "error"
    BUILD_FAILED = "build_failed"
    PENDING_BUILD = "pending_build"
    BUILDING_SNAPSHOT = "building_snapshot"
    UNKNOWN = "unknown"
    PULLING_SNAPSHOT = "pulling_snapshot"
    ARCHIVED = "archived"
    ARCHIVING = "archiving"
    RESIZING = "resizing"
    SNAPSHOTTING = "snapshotting"
    FORKING = "forking"
    PAUSING = "pausing"
    PAUSED = "paused"
    RESUMING = "resuming"
    RESIZED = "resized"


FAILED = frozenset({State.ERROR, State.BUILD_FAILED})

# While these last the container runs on, if it ran before.
BUSY = frozenset({State.RESIZING, State.SNAPSHOTTING, State.FORKING})

CONTAINER = "container"
VIRTUAL_MACHINES = frozenset({"linux-vm", "android", "windows"})

# What a Sandbox gained after v0.149, and a list item never had.
_NOT_OLD = ("domainAllowList", "gpuType", "lastActivityAt", "sandboxClass", "linkedSandboxId")

_DERIVED = {
    (State.STARTED, State.STOPPED): State.STOPPING,
    (State.STARTED, State.DESTROYED): State.DESTROYING,
    (State.STOPPED, State.DESTROYED): State.DESTROYING,
    (State.STOPPED, State.STARTED): State.STARTING,
    (State.STOPPED, State.ARCHIVED): State.ARCHIVING,
    (State.UNKNOWN, State.STARTED): State.CREATING,
}


def shown_state(raw: State, desired: State, *, listed: bool = False) -> State:
    """
    The state a reader sees; derived from what is and what is wanted.

    @param listed: In a list item of the new dialect, which alone knows C{restoring} early.
    """
    if listed and (raw, desired) == (State.ARCHIVED, State.STARTED):
        return State.RESTORING
    return _DERIVED.get((raw, desired), raw)


def iso(at: float) -> str:
    """Unix seconds as Daytona prints them: milliseconds and a Z."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


@frozen(kw_only=True)
class Snapshot:
    """
    What sandboxes start from; its sizes are theirs.

    @ivar memory: GiB; the wire calls it C{mem}.
    @ivar disk: GiB.
    @ivar sandbox_class: Of the sandboxes that start from it.
    @ivar state: C{active}, or C{inactive} as deactivated.
    @ivar built: It was built from a Dockerfile, so that there are logs.
    """

    id: str
    name: str
    cpu: int = 1
    memory: int = 1
    disk: int = 3
    gpu: int = 0
    gpu_type: str | None = None
    general: bool = True
    created_at: float = 0.0
    sandbox_class: str = CONTAINER
    state: str = "active"
    built: bool = False

    def document(self, *, old: bool = False) -> dict[str, Any]:
        """
        The SnapshotDto.

        @param old: As v0.149 shows it, without the fields that came later.
        """
        document: dict[str, Any] = {
            "id": self.id,
            "organizationId": ORGANIZATION,
            "general": self.general,
            "name": self.name,
            "imageName": f"daytonaio/{self.name}:devnet",
            "state": self.state,
            "size": None,
            "entrypoint": None,
            "cpu": self.cpu,
            "gpu": self.gpu,
            "mem": self.memory,
            "disk": self.disk,
            "errorReason": None,
            "createdAt": iso(self.created_at),
            "updatedAt": iso(self.created_at),
            "lastUsedAt": None,
            "regionIds": ["us"],
        }
        if not old:
            document["sandboxClass"] = self.sandbox_class
            if self.gpu_type is not None:
                document["gpuType"] = self.gpu_type
        return document


@define
class Meter:
    """
    When something was on: half-open intervals C{[on, off)}, the last one perhaps open.

    @ivar intervals: Wall seconds; C{None} where it is still on.
    """

    intervals: list[tuple[float, float | None]] = field(factory=list)

    def observe(self, on: bool, at: float) -> None:
        """@param at: Wall seconds of a change, or of no change."""
        is_open = bool(self.intervals) and self.intervals[-1][1] is None
        if on and not is_open:
            self.intervals.append((at, None))
        elif is_open and not on:
            self.intervals[-1] = (self.intervals[-1][0], at)

    def seconds(self, now: float) -> float:
        """The sum, an open interval counted up to C{now}."""
        return sum((now if until is None else until) - since for since, until in self.intervals)


@define(kw_only=True, eq=False)
class Record:
    """
    A row and the container behind it.

    @ivar raw: The state column.
    @ivar pending: The hidden flag: a transition is under way.
    @ivar exited: The container ended by itself and nobody may know it yet.
    @ivar exit_code: With which code; None when the container vanished.
    @ivar truth: When the container ran: from its start to our accepted stop or its own end.
    @ivar shown: When readers saw C{started}.
    @ivar waiters: Fired at the next change.
    @ivar resumes: What a C{BUSY} one goes back to.
    @ivar starts: How often it was started; each start makes a new preview token.
    @ivar followers: Sandboxes linked to it, which die with it.
    @ivar forks: Those forked from it.
    @ivar backup_fails: The next archiving ends in error.
    @ivar restored_at: When it was last recovered from its backup, in wall seconds.
    @ivar announced: The raw and the desired state that subscribers were told of.
    """

    id: str
    name: str
    created_at: float
    updated_at: float
    last_activity_at: float
    cpu: int
    memory: int
    disk: int
    gpu: int = 0
    snapshot: str | None = None
    build_info: Mapping[str, Any] | None = None
    user: str = "daytona"
    env: dict[str, Any] = field(factory=dict)
    labels: dict[str, Any] = field(factory=dict)
    public: bool = False
    network_block_all: bool = False
    network_allow_list: str | None = None
    domain_allow_list: str | None = None
    volumes: list[dict[str, Any]] = field(factory=list)
    sandbox_class: str = CONTAINER
    gpu_type: str | None = None
    linked_id: str | None = None
    parent_id: str | None = None
    target: str = "us"
    auto_stop: int = 15
    auto_archive: int = 10_080
    auto_delete: int = -1
    raw: State = State.CREATING
    desired: State = State.STARTED
    pending: bool = True
    error_reason: str | None = None
    recoverable: bool = False
    backup_state: str = "None"
    backup_created_at: float | None = None
    restored_at: float | None = None
    exited: bool = False
    exit_code: int | None = None
    truth: Meter = field(factory=Meter)
    shown: Meter = field(factory=Meter)
    ssh_tokens: list[str] = field(factory=list)
    resumes: State = State.STOPPED
    starts: int = 0
    followers: list[str] = field(factory=list)
    forks: list[str] = field(factory=list)
    announced: tuple[State, State] | None = None
    timer: IDelayedCall | None = None
    backup_timer: IDelayedCall | None = None
    backup_fails: bool = False
    waiters: list[Deferred[None]] = field(factory=list)

    @property
    def visible(self) -> bool:
        """A lookup finds it: not destroyed, nor failed and then deleted."""
        hidden = self.raw in FAILED and self.desired is State.DESTROYED
        return self.raw is not State.DESTROYED and not hidden

    @property
    def runs(self) -> bool:
        """The container runs, and nobody who stops or deletes it was promised otherwise."""
        if self.exited:
            return False
        if self.raw in BUSY:
            return self.resumes is State.STARTED
        return self.raw is State.STARTED and self.desired is State.STARTED

    @property
    def is_virtual_machine(self) -> bool:
        """Only these can be paused, forked and snapshotted."""
        return self.sandbox_class in VIRTUAL_MACHINES

    @property
    def preview_token(self) -> str:
        """Opens every port, the toolbox's too, until the next start."""
        return f"preview-{self.id}-{self.starts}"

    def document(self, toolbox_base: str, *, old: bool = False) -> dict[str, Any]:
        """
        The Sandbox DTO.

        @param old: As v0.149 shows it, without the fields that came later.
        """
        document: dict[str, Any] = {
            "id": self.id,
            "organizationId": ORGANIZATION,
            "name": self.name,
            "snapshot": self.snapshot,
            "user": self.user,
            "env": dict(self.env),
            "labels": dict(self.labels),
            "public": self.public,
            "networkBlockAll": self.network_block_all,
            "networkAllowList": self.network_allow_list,
            "domainAllowList": self.domain_allow_list,
            "target": self.target,
            "cpu": self.cpu,
            "gpu": self.gpu,
            "gpuType": self.gpu_type,
            "memory": self.memory,
            "disk": self.disk,
            "state": str(shown_state(self.raw, self.desired)),
            "desiredState": str(self.desired),
            "errorReason": self.error_reason,
            "recoverable": self.recoverable,
            "backupState": self.backup_state,
            "backupCreatedAt": None
            if self.backup_created_at is None
            else iso(self.backup_created_at),
            "autoStopInterval": self.auto_stop,
            "autoArchiveInterval": self.auto_archive,
            "autoDeleteInterval": self.auto_delete,
            "volumes": list(self.volumes),
            "buildInfo": self.build_info,
            "createdAt": iso(self.created_at),
            "updatedAt": iso(self.updated_at),
            "lastActivityAt": iso(self.last_activity_at),
            "sandboxClass": self.sandbox_class,
            "daemonVersion": "devnet",
            "runnerId": "runner-1",
            "linkedSandboxId": self.linked_id,
            "toolboxProxyUrl": toolbox_base,
        }
        if old:
            for key in _NOT_OLD:
                del document[key]
            document["class"] = "small"
        return {key: value for key, value in document.items() if value is not None}

    def list_item(self, toolbox_base: str) -> dict[str, Any]:
        """The SandboxListItem of the new dialect."""
        document = self.document(toolbox_base)
        for key in _NOT_LISTED:
            document.pop(key, None)
        document["state"] = str(shown_state(self.raw, self.desired, listed=True))
        return document
