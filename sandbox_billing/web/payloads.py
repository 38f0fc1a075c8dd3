"""
What a user may say in a body or a query: allow-lists with types (daytona.md §4, P4, P16).

Daytona drops what it does not know without a word, and each release knows more; so a
body is rebuilt from what is named here, in Daytona's exact spelling.

Tests: C{tests.web.test_payloads}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from attrs import field, frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.reconciliation import RESERVED_LABELS
from sandbox_billing.signing.request import JSONValue
from sandbox_billing.web.policy import is_possible_name


_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\Z")
_WHOLE = re.compile(r"[0-9]{1,12}\Z")
_MAX_SIZE = 4096
_MAX_SNAPSHOT_NAME = 255
_IGNORED_INTERVALS = (
    *("autoArchiveInterval", "autoDeleteInterval"),
    # Of newer servers.
    *("autoPauseInterval", "ttlMinutes"),
)
_AUTO_STOP = "autoStopInterval"
_MOST_MINUTES = 100 * 366 * 24 * 60

MAX_TEXT_BYTES = 4 * 1024
MAX_ENV_BYTES = 32 * 1024
MAX_LABEL_BYTES = 8 * 1024
MAX_BUILD_BYTES = 64 * 1024
"""
Daytona shows all of this in its lists, which are read in pages of bounded size: what one
user may store in a sandbox must not keep the daemon from seeing everybody's.  Counted as JSON.
"""


@frozen(kw_only=True)
class CreateWish:
    """
    A create body, read.

    @ivar body: For Daytona: allowed fields only.
    @ivar auto_stop_minutes: The user's wish; None when he has none.
    @ivar ignored: Intervals that were given and are not followed: they are not his to
        set, or are none.
    """

    body: Mapping[str, Any] = field(converter=dict)
    auto_stop_minutes: int | None
    ignored: tuple[str, ...]


def _checked(key: str, *texts: str, most: int) -> None:
    # Daytona's database takes no NUL: it would answer 500.
    if any("\0" in text for text in texts):
        raise BadInput(f"{key} contains a NUL character")
    if sum(map(_json_bytes, texts)) > most:
        raise BadInput(f"{key} is longer than {most} bytes as JSON")


def _json_bytes(text: str) -> int:
    """As Daytona's lists show it: a control character takes six bytes there."""
    return len(json.dumps(text, ensure_ascii=False).encode("utf-8", "surrogatepass")) - 2


def _text(key: str, value: JSONValue, *, most: int = MAX_TEXT_BYTES) -> str:
    if not isinstance(value, str):
        raise BadInput(f"{key} must be a string")
    _checked(key, value, most=most)
    return value


def _flag(key: str, value: JSONValue) -> bool:
    if not isinstance(value, bool):
        raise BadInput(f"{key} must be true or false")
    return value


def _size(key: str, value: JSONValue) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_SIZE:
        raise BadInput(f"{key} must be a whole number from 0 to {_MAX_SIZE}")
    return value


def _texts(key: str, value: JSONValue, *, most: int) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise BadInput(f"{key} must be an object of strings")
    texts = {name: str(text) for name, text in value.items()}
    _checked(key, *texts.keys(), *texts.values(), most=most)
    return texts


def _environment(key: str, value: JSONValue) -> dict[str, str]:
    variables = _texts(key, value, most=MAX_ENV_BYTES)
    if any(not name or "=" in name for name in variables):
        raise BadInput(f"{key} has a name that no variable can have")
    return variables


def _name(key: str, value: JSONValue) -> str:
    name = _text(key, value)
    if not is_possible_name(name):
        raise BadInput("name must be 1 to 128 characters without / \\ ? # % or a reserved word")
    # Daytona looks for an id first: such a name could shadow somebody's sandbox.
    if _UUID.match(name):
        raise BadInput("name must not look like an id")
    if name.upper().startswith("DESTROYED_"):
        raise BadInput("name must not begin with DESTROYED_")
    return name


def _labels(key: str, value: JSONValue) -> dict[str, str]:
    labels = _texts(key, value, most=MAX_LABEL_BYTES)
    for reserved in sorted(RESERVED_LABELS & labels.keys()):
        raise BadInput(f"label {reserved} is reserved")
    return labels


def _no_gpu(key: str, value: JSONValue) -> int:
    if _size(key, value) > 0:
        raise BadInput("gpu must be 0: it has no price yet")
    return 0


def _build(key: str, value: JSONValue) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadInput(f"{key} must be an object")
    allowed = ("dockerfileContent", "contextHashes")
    _drop_empty(value, allowed, prefix=f"{key}.")
    text = _text(f"{key}.dockerfileContent", value.get("dockerfileContent"), most=MAX_BUILD_BYTES)
    built: dict[str, Any] = {"dockerfileContent": text}
    hashes = value.get("contextHashes")
    if hashes is not None:
        if not isinstance(hashes, list) or not all(isinstance(h, str) for h in hashes):
            raise BadInput(f"{key}.contextHashes must be a list of strings")
        _checked(f"{key}.contextHashes", *map(str, hashes), most=MAX_TEXT_BYTES)
        built["contextHashes"] = hashes
    return built


def _drop_empty(body: Mapping[str, JSONValue], allowed: Any, *, prefix: str = "") -> None:
    """
    Official SDKs send C{volumes: []} and the like: what is empty asks for nothing.

    @raise BadInput: A key that is not allowed asks for something.
    """
    for key, value in body.items():
        if key not in allowed and value not in (None, False, 0, "", [], {}):
            raise BadInput(f"unknown or forbidden field: {prefix}{key[:64]}")


_CREATE: Mapping[str, Callable[[str, JSONValue], Any]] = {
    "name": _name,
    "snapshot": _text,
    "user": _text,
    "env": _environment,
    "labels": _labels,
    "public": _flag,
    "networkBlockAll": _flag,
    "networkAllowList": _text,
    "domainAllowList": _text,
    "target": _text,
    "cpu": _size,
    "memory": _size,
    "disk": _size,
    "gpu": _no_gpu,
    "buildInfo": _build,
}


def _minutes(value: JSONValue) -> int | None:
    """A wish for an auto-stop; None for what is none, which is no reason to refuse."""
    if isinstance(value, Decimal) and value == value.to_integral_value():
        value = int(value)
    return value if type(value) is int and 0 <= value <= _MOST_MINUTES else None


def read_create(body: JSONValue, *, max_disk_gb: int) -> CreateWish:
    """
    Read the body of a create.

    @param body: Parsed JSON.
    @param max_disk_gb: MAX_DISK_GB, in Daytona's GiB.
    @raise BadInput: It is no object, has a field it may not have, or one of a wrong type.
    """
    if not isinstance(body, dict):
        raise BadInput("the body must be a JSON object")
    _drop_empty(body, {*_CREATE, *_IGNORED_INTERVALS, _AUTO_STOP})
    rebuilt = {
        key: read(key, body[key]) for key, read in _CREATE.items() if body.get(key) is not None
    }
    if rebuilt.get("disk", 0) > max_disk_gb:
        raise BadInput(f"disk must be at most {max_disk_gb}")
    if "snapshot" in rebuilt and "buildInfo" in rebuilt:
        raise BadInput("snapshot and buildInfo exclude each other")
    minutes = _minutes(body.get(_AUTO_STOP))
    unusable = (_AUTO_STOP,) if minutes is None else ()
    return CreateWish(
        body=rebuilt,
        auto_stop_minutes=minutes,
        ignored=tuple(key for key in (*unusable, *_IGNORED_INTERVALS) if body.get(key) is not None),
    )


def read_labels(body: JSONValue) -> dict[str, str]:
    """
    Read C{{"labels": {...}}}.

    Reserved ones are left out, not refused: whoever changes one of his labels sends back
    all that he was shown.  Ours are put on again by intake.

    @raise BadInput: It has another shape (P3).
    """
    if not isinstance(body, dict) or "labels" not in body:
        raise BadInput('the body must be {"labels": {...}}')
    _drop_empty(body, ("labels",))
    labels = _texts("labels", body["labels"], most=MAX_LABEL_BYTES)
    return {name: text for name, text in labels.items() if name not in RESERVED_LABELS}


def read_sizes(body: JSONValue) -> dict[str, int]:
    """
    Read C{{"cpu": n, "memory": n, "disk": n}}, one of them at least; GiB.

    @return: Those that are named; 0 and null count as omitted, as in a create.
    @raise BadInput: It has another shape (P9).
    """
    names = ("cpu", "memory", "disk")
    if not isinstance(body, dict):
        raise BadInput("the body must be an object")
    _drop_empty(body, names)
    given = {name: _size(name, body[name]) for name in names if body.get(name) is not None}
    sizes = {name: size for name, size in given.items() if size > 0}
    if not sizes:
        raise BadInput("name a new size: cpu, memory or disk")
    return sizes


def whole(query: Mapping[str, str], name: str, default: int, *, least: int, most: int) -> int:
    """
    A number in a query.

    @raise BadInput: It is no whole number in C{[least, most]}.
    """
    text = query.get(name)
    if text is None:
        return default
    if not _WHOLE.match(text) or not least <= int(text) <= most:
        raise BadInput(f"{name} must be a whole number from {least} to {most}")
    return int(text)


@frozen(kw_only=True)
class SnapshotWish:
    """
    What an operator's snapshot is to be.

    @ivar body: For Daytona: allowed fields only.
    @ivar general: Whether users may start from it.
    @ivar reason: As it was given; not Daytona's.
    """

    body: Mapping[str, Any] = field(converter=dict)
    general: bool
    reason: JSONValue


def _list(key: str, value: JSONValue) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise BadInput(f"{key} must be a list of strings")
    texts = [str(one) for one in value]
    _checked(key, *texts, most=MAX_TEXT_BYTES)
    return texts


def read_snapshot_name(value: JSONValue, key: str = "name") -> str:
    """@raise BadInput: No snapshot can be called that."""
    name = _text(key, value, most=_MAX_SNAPSHOT_NAME)
    if not name.strip() or name != name.strip() or not name.isprintable():
        raise BadInput(f"{key} must be one line of 1 to {_MAX_SNAPSHOT_NAME} characters")
    return name


def _snapshot_name(key: str, value: JSONValue) -> str:
    return read_snapshot_name(value, key)


_SNAPSHOT: Mapping[str, Callable[[str, JSONValue], Any]] = {
    "name": _snapshot_name,
    "imageName": _text,
    "entrypoint": _list,
    "cpu": _size,
    "gpu": _size,
    "gpuType": _list,
    "memory": _size,
    "disk": _size,
    "buildInfo": _build,
    "regionId": _text,
    "sandboxClass": _text,
}


def read_snapshot(body: JSONValue) -> SnapshotWish:
    """
    Read Daytona's CreateSnapshot, with C{general} and C{reason}, which are ours.

    @raise BadInput: It is no object, has a field it may not have, or one of a wrong type.
    """
    if not isinstance(body, dict):
        raise BadInput("the body must be a JSON object")
    _drop_empty(body, {*_SNAPSHOT, "general", "reason"})
    rebuilt = {
        key: read(key, body[key]) for key, read in _SNAPSHOT.items() if body.get(key) is not None
    }
    if "name" not in rebuilt:
        raise BadInput("name must be a string")
    general = body.get("general")
    return SnapshotWish(
        body=rebuilt,
        general=True if general is None else _flag("general", general),
        reason=body.get("reason"),
    )
