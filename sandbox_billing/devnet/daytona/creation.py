"""
From a create body to a row: defaults, the rules that refuse, the keys that are dropped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sandbox_billing.devnet.daytona.dialect import ApiError, Dialect
from sandbox_billing.devnet.daytona.records import Record, Snapshot, State, iso


if TYPE_CHECKING:
    from sandbox_billing.devnet.daytona.simulator import DaytonaSimulator

MAX_AUTO_ARCHIVE = 43_200
_SIZES = ("cpu", "gpu", "memory", "disk")


def checked_interval(kind: str, minutes: float) -> int:
    """
    @param kind: C{stop}, C{archive} or C{delete}.
    @raise ApiError: 400, where Daytona refuses a negative one.
    """
    whole = int(minutes)
    if kind != "delete" and whole < 0:
        raise ApiError(400, f"Auto-{kind} interval must be non-negative")
    if kind == "archive":
        return min(whole or MAX_AUTO_ARCHIVE, MAX_AUTO_ARCHIVE)
    return max(whole, -1)


def new_record(
    body: Mapping[str, Any], *, id: str, now: float, simulator: DaytonaSimulator
) -> Record:
    """
    @param body: The JSON body; keys nobody knows are ignored, as Daytona does.
    @raise ApiError: 400.
    """
    _check_types(body)
    build = body.get("buildInfo")
    sizes = {key: body.get(key) or 0 for key in _SIZES}
    if body.get("snapshot") and build:
        raise ApiError(400, "Cannot specify a snapshot when using a build info entry")
    if build is None and any(sizes.values()):
        raise ApiError(400, "Cannot specify Sandbox resources when using a snapshot")
    snapshot = None if build else _snapshot_for(body, simulator)
    auto_delete = checked_interval("delete", _or(body.get("autoDeleteInterval"), -1))
    if snapshot is not None and snapshot.gpu and auto_delete != 0:
        raise ApiError(400, "GPU sandboxes must have autoDeleteInterval set to 0")
    return Record(
        id=id,
        name=body.get("name") or id,
        created_at=now,
        updated_at=now,
        last_activity_at=now,
        cpu=snapshot.cpu if snapshot else sizes["cpu"] or 1,
        memory=snapshot.memory if snapshot else sizes["memory"] or 1,
        disk=snapshot.disk if snapshot else sizes["disk"] or 3,
        gpu=snapshot.gpu if snapshot else sizes["gpu"],
        gpu_type=snapshot.gpu_type if snapshot else None,
        sandbox_class=snapshot.sandbox_class if snapshot else "container",
        snapshot=snapshot.name if snapshot else None,
        build_info=_build_info(build, now) if build else None,
        user=body.get("user") or "daytona",
        env=dict(body.get("env") or {}),
        labels=dict(body.get("labels") or {}),
        public=bool(body.get("public", False)),
        network_block_all=bool(body.get("networkBlockAll", False)),
        network_allow_list=body.get("networkAllowList"),
        domain_allow_list=body.get("domainAllowList"),
        volumes=_volumes(body, simulator),
        linked_id=_linked(body, simulator),
        target=body.get("target") or "us",
        auto_stop=checked_interval("stop", _or(body.get("autoStopInterval"), 15)),
        auto_archive=checked_interval("archive", _or(body.get("autoArchiveInterval"), 10_080)),
        auto_delete=auto_delete,
        raw=State.PENDING_BUILD if build else State.CREATING,
    )


def forked_record(parent: Record, *, id: str, name: str, now: float) -> Record:
    """A child as its parent was made: size, labels and intervals are copied."""
    return Record(
        id=id,
        name=name,
        created_at=now,
        updated_at=now,
        last_activity_at=now,
        cpu=parent.cpu,
        memory=parent.memory,
        disk=parent.disk,
        snapshot=parent.snapshot,
        user=parent.user,
        env=dict(parent.env),
        labels=dict(parent.labels),
        target=parent.target,
        auto_stop=parent.auto_stop,
        auto_archive=parent.auto_archive,
        auto_delete=parent.auto_delete,
        sandbox_class=parent.sandbox_class,
        parent_id=parent.id,
    )


def _build_info(build: Mapping[str, Any], now: float) -> dict[str, Any]:
    dockerfile = str(build.get("dockerfileContent", ""))
    digest = hashlib.sha256(dockerfile.encode()).hexdigest()
    return {
        "dockerfileContent": dockerfile,
        "contextHashes": list(build.get("contextHashes") or []),
        "createdAt": iso(now),
        "updatedAt": iso(now),
        "snapshotRef": f"daytona-{digest}:daytona",
    }


def _volumes(body: Mapping[str, Any], simulator: DaytonaSimulator) -> list[dict[str, Any]]:
    """Any volume of the organization, by id or name: whoever may create may mount it."""
    mounted = []
    for wanted in body.get("volumes") or []:
        volume = simulator.volumes.find(str(wanted.get("volumeId")))
        mounted.append({**wanted, "volumeId": volume["id"]})
    return mounted


def _linked(body: Mapping[str, Any], simulator: DaytonaSimulator) -> str | None:
    """Any sandbox of the organization, another tenant's too."""
    wanted = body.get("linkedSandbox")
    if not wanted or not simulator.dialect.knows(Dialect.MIDDLE):
        return None
    return simulator.find(str(wanted)).id


def _or(value: Any, default: int) -> int:
    return default if value is None else int(value)


def _snapshot_for(body: Mapping[str, Any], simulator: DaytonaSimulator) -> Snapshot:
    wanted = body.get("snapshot")
    if not wanted:
        return next(iter(simulator.snapshots.values()))
    try:
        snapshot = simulator.find_snapshot(wanted)
    except ApiError:
        raise ApiError(400, f"Snapshot {wanted} not found") from None
    if snapshot.state != "active":
        raise ApiError(400, f"Snapshot {wanted} is {snapshot.state}")
    return snapshot


def _check_types(body: Mapping[str, Any]) -> None:
    """Only what Daytona's validators look at; label values are not."""
    problems = [
        f"{key} must be a string"
        for key in ("name", "snapshot", "user", "target")
        if not isinstance(body.get(key) or "", str)
    ]
    problems += [
        f"{key} must be an object"
        for key in ("labels", "env", "buildInfo")
        if not isinstance(body.get(key) or {}, dict)
    ]
    problems += [
        f"{key} must be a number conforming to the specified constraints"
        for key in (*_SIZES, "autoStopInterval", "autoArchiveInterval", "autoDeleteInterval")
        if isinstance(body.get(key), bool) or not isinstance(body.get(key) or 0, (int, float))
    ]
    volumes = body.get("volumes") or []
    if not isinstance(volumes, list) or not all(isinstance(each, dict) for each in volumes):
        problems.append("volumes must be an array of objects")
    if problems:
        raise ApiError(400, ", ".join(problems))
