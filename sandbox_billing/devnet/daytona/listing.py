"""
The lists of sandboxes: filters, sort orders, cursors and pages.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from sandbox_billing.devnet.daytona.dialect import ApiError, Dialect
from sandbox_billing.devnet.daytona.records import CONTAINER, VIRTUAL_MACHINES, Record, State
from sandbox_billing.devnet.daytona.simulator import DaytonaSimulator


Key = Callable[[Record], Any]

_SORTS: Mapping[str, Key] = {
    "name": lambda record: record.name,
    "cpu": lambda record: record.cpu,
    "memoryGib": lambda record: record.memory,
    "diskGib": lambda record: record.disk,
    "lastActivityAt": lambda record: record.last_activity_at,
    "createdAt": lambda record: record.created_at,
}

# The deprecated pages have others.
_PAGED_SORTS: Mapping[str, Key] = {
    "id": lambda record: record.id,
    "name": lambda record: record.name,
    "state": lambda record: str(record.raw),
    "snapshot": lambda record: record.snapshot or "",
    "region": lambda record: record.target,
    "updatedAt": lambda record: record.updated_at,
    "createdAt": lambda record: record.created_at,
    "lastActivityAt": lambda record: record.last_activity_at,
}

_SIZES: Mapping[str, Key] = {
    "Cpu": lambda record: record.cpu,
    "MemoryGiB": lambda record: record.memory,
    "DiskGiB": lambda record: record.disk,
}

# For how long a failed and then deleted one is kept.
_KEPT_SECONDS = 7 * 86_400

Query = Mapping[str, list[str]]


def _one(query: Query, key: str, default: str) -> str:
    return query.get(key, [default])[-1]


def _many(query: Query, key: str) -> set[str]:
    return {part for value in query.get(key, []) for part in value.split(",") if part}


def _whole(query: Query, key: str, default: int, maximum: int | None = None) -> int:
    text = _one(query, key, str(default))
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise ApiError(400, f"{key} must not be less than 1")
    if maximum is not None and int(text) > maximum:
        raise ApiError(400, f"{key} must not be greater than {maximum}")
    return int(text)


def _label_filter(query: Query, dialect: Dialect) -> Mapping[str, Any]:
    text = _one(query, "labels", "null")
    try:
        labels = json.loads(text)
    except ValueError:
        raise dialect.bad_labels() from None
    if labels is None:
        return {}
    if not isinstance(labels, dict):
        raise dialect.bad_labels()
    return labels


def _contains(labels: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """JSON containment: exact, case-sensitive, all pairs, and true is not 1."""
    return all(
        key in labels and type(labels[key]) is type(value) and labels[key] == value
        for key, value in wanted.items()
    )


def _is_listed(record: Record, *, errored_deleted: bool, now: float) -> bool:
    if record.raw is State.DESTROYED:
        return False
    return record.visible or (errored_deleted and now - record.updated_at < _KEPT_SECONDS)


def _labelled(simulator: DaytonaSimulator, query: Query) -> list[Record]:
    """All that the array dialects' list filters by."""
    wanted = _label_filter(query, simulator.dialect)
    errored = _one(query, "includeErroredDeleted", "false").lower() == "true"
    now = simulator.wall()
    return [
        record
        for record in simulator.records.values()
        if _is_listed(record, errored_deleted=errored, now=now) and _contains(record.labels, wanted)
    ]


Test = Callable[[Record], bool]


def _tests(query: Query, *, paged: bool) -> list[Test]:
    """
    What else the lists with pages filter by; each only when it is asked for.

    @param paged: For the deprecated pages, which call some differently and lack others.
    @raise ApiError: 400 for a value that cannot be.
    """
    tests: list[Test] = []
    # Of the raw state: what is shown as stopping is listed as started.
    tests += _among(query, "states", lambda record: str(record.raw), frozenset(State))
    tests += _among(query, "snapshots", lambda record: record.snapshot)
    tests += _among(query, "regions" if paged else "regionIds", lambda record: record.target)
    tests += _prefix(query, "id", lambda record: record.id)
    tests += _prefix(query, "name", lambda record: record.name)
    tests += _bounds(query, "lastEvent", lambda record: record.last_activity_at)
    for name, key in _SIZES.items():
        tests += _range(query, name, key)
    if not paged:
        classes = VIRTUAL_MACHINES | {CONTAINER}
        tests += _among(query, "sandboxClasses", lambda record: record.sandbox_class, classes)
        tests += _flag(query, "isPublic", lambda record: record.public)
        tests += _flag(query, "isRecoverable", lambda record: record.recoverable)
        tests += _bounds(query, "createdAt", lambda record: record.created_at)
    return tests


def _among(query: Query, name: str, key: Key, known: Collection[str] | None = None) -> list[Test]:
    wanted = _many(query, name)
    if known is not None and not wanted <= set(known):
        raise ApiError(400, f"each value in {name} must be one of the following values")
    return [lambda record: key(record) in wanted] if wanted else []


def _prefix(query: Query, name: str, key: Key) -> list[Test]:
    start = _one(query, name, "")
    return [lambda record: key(record).startswith(start)] if start else []


def _flag(query: Query, name: str, key: Key) -> list[Test]:
    text = _one(query, name, "")
    return [lambda record: key(record) is (text.lower() == "true")] if text else []


def _range(query: Query, name: str, key: Key) -> list[Test]:
    tests: list[Test] = []
    for side in ("min", "max"):
        text = _one(query, side + name, "")
        if not text:
            continue
        if not text.isascii() or not text.isdigit():
            raise ApiError(400, f"{side}{name} must be a number")
        tests.append(partial(_within, key, int(text), side == "min"))
    return tests


def _bounds(query: Query, name: str, key: Key) -> list[Test]:
    tests: list[Test] = []
    for side in ("After", "Before"):
        text = _one(query, name + side, "")
        if not text:
            continue
        try:
            at = datetime.fromisoformat(text).timestamp()
        except ValueError:
            raise ApiError(400, f"{name}{side} must be a valid ISO 8601 date string") from None
        tests.append(partial(_within, key, at, side == "After"))
    return tests


def _within(key: Key, bound: float, at_least: bool, record: Record) -> bool:
    found: float = key(record)
    return found >= bound if at_least else found <= bound


def _matching(simulator: DaytonaSimulator, query: Query, *, paged: bool) -> list[Record]:
    tests = _tests(query, paged=paged)
    return [
        record for record in _labelled(simulator, query) if all(passes(record) for passes in tests)
    ]


def _sorted(
    found: list[Record], query: Query, sorts: Mapping[str, Key], default: str
) -> tuple[list[Record], str]:
    sort, order = _one(query, "sort", default), _one(query, "order", "desc")
    if sort not in sorts or order not in ("asc", "desc"):
        raise ApiError(400, "sort or order is not a valid enum value")
    key = sorts[sort]
    found.sort(key=lambda record: (key(record), record.id), reverse=order == "desc")
    return found, sort


def list_sandboxes(simulator: DaytonaSimulator, query: Query) -> Any:
    """C{GET /sandbox}: a bare array, or C{{items, nextCursor}} from v0.180."""
    if not simulator.dialect.lists_pages:
        return [simulator.document(record) for record in _labelled(simulator, query)]
    limit = _whole(query, "limit", 100, 200)
    found, sort = _sorted(_matching(simulator, query, paged=False), query, _SORTS, "lastActivityAt")
    key, descending = _SORTS[sort], _one(query, "order", "desc") == "desc"
    if "cursor" in query:
        after = _read_cursor(query["cursor"][-1])
        found = [
            record
            for record in found
            if (
                (key(record), record.id) < after if descending else (key(record), record.id) > after
            )
        ]
    page = found[:limit]
    cursor = None
    if len(found) > limit:
        cursor = _write_cursor(key(page[-1]), page[-1].id)
    items = [record.list_item(simulator.toolbox_base) for record in page]
    return {"items": items, "nextCursor": cursor}


def _write_cursor(value: Any, id: str) -> str:
    return base64.b64encode(json.dumps({"sortValue": value, "id": id}).encode()).decode()


def _read_cursor(text: str) -> tuple[Any, str]:
    try:
        cursor = json.loads(base64.b64decode(text, validate=True))
        return cursor["sortValue"], cursor["id"]
    except (binascii.Error, ValueError, KeyError, TypeError):
        raise ApiError(400, "Invalid cursor") from None


def list_paginated(simulator: DaytonaSimulator, query: Query) -> Any:
    """C{GET /sandbox/paginated}: the deprecated pages, alike in every dialect."""
    page, limit = _whole(query, "page", 1), _whole(query, "limit", 100, 200)
    found, _ = _sorted(_matching(simulator, query, paged=True), query, _PAGED_SORTS, "createdAt")
    chosen = found[(page - 1) * limit : page * limit]
    return {
        "items": [simulator.document(record) for record in chosen],
        "total": len(found),
        "page": page,
        "totalPages": -(-len(found) // limit),
    }


def list_snapshots(simulator: DaytonaSimulator, query: Query) -> Any:
    """C{GET /snapshots}: pages of SnapshotDto."""
    page, limit = _whole(query, "page", 1), _whole(query, "limit", 100, 200)
    found = list(simulator.snapshots.values())
    chosen = found[(page - 1) * limit : page * limit]
    return {
        "items": [simulator.snapshot_document(snapshot) for snapshot in chosen],
        "total": len(found),
        "page": page,
        "totalPages": -(-len(found) // limit),
    }
