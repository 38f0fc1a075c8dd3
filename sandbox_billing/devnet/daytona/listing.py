"""
The lists of sandboxes: filters, sort orders, cursors and pages.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any

from sandbox_billing.devnet.daytona.dialect import ApiError, Dialect
from sandbox_billing.devnet.daytona.records import Record, State
from sandbox_billing.devnet.daytona.simulator import DaytonaSimulator


_SORTS: Mapping[str, Callable[[Record], Any]] = {
    "name": lambda record: record.name,
    "cpu": lambda record: record.cpu,
    "memoryGib": lambda record: record.memory,
    "diskGib": lambda record: record.disk,
    "lastActivityAt": lambda record: record.last_activity_at,
    "createdAt": lambda record: record.created_at,
}

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


def _is_listed(record: Record, *, include_errored_deleted: bool) -> bool:
    if record.raw is State.DESTROYED:
        return False
    return record.visible or include_errored_deleted


def _matching(simulator: DaytonaSimulator, query: Query, *, simple: bool) -> list[Record]:
    """@param simple: The array dialects' list, which knows no other filter than labels."""
    wanted = _label_filter(query, simulator.dialect)
    errored = _one(query, "includeErroredDeleted", "false").lower() == "true"
    found = [
        record
        for record in simulator.records.values()
        if _is_listed(record, include_errored_deleted=errored) and _contains(record.labels, wanted)
    ]
    if simple:
        return found
    states = _many(query, "states")
    prefixes = {"id": _one(query, "id", ""), "name": _one(query, "name", "")}
    return [
        record
        for record in found
        if (not states or str(record.raw) in states)
        and record.id.startswith(prefixes["id"])
        and record.name.startswith(prefixes["name"])
    ]


def _sorted(found: list[Record], query: Query, default: str) -> tuple[list[Record], str]:
    sort, order = _one(query, "sort", default), _one(query, "order", "desc")
    if sort not in _SORTS or order not in ("asc", "desc"):
        raise ApiError(400, "sort or order is not a valid enum value")
    key = _SORTS[sort]
    found.sort(key=lambda record: (key(record), record.id), reverse=order == "desc")
    return found, sort


def list_sandboxes(simulator: DaytonaSimulator, query: Query) -> Any:
    """C{GET /sandbox}: a bare array, or C{{items, nextCursor}} from v0.180."""
    if not simulator.dialect.lists_pages:
        return [simulator.document(record) for record in _matching(simulator, query, simple=True)]
    limit = _whole(query, "limit", 100, 200)
    found, sort = _sorted(_matching(simulator, query, simple=False), query, "lastActivityAt")
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
    found, _ = _sorted(_matching(simulator, query, simple=False), query, "createdAt")
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
        "items": [snapshot.document() for snapshot in chosen],
        "total": len(found),
        "page": page,
        "totalPages": -(-len(found) // limit),
    }
