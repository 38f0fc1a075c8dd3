"""
What a user may name, ask of Daytona and be shown (daytona.md §3, §9, §11, §12).

Tests: C{tests.web.test_policy}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from math import isfinite
from typing import Any

from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import NoSuchSandbox
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.reconciliation import OWNER_LABEL
from sandbox_billing.ledger.resources import read_resources
from sandbox_billing.ledger.token import Scope
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.request import parse_strict_json
from sandbox_billing.web._inside import image_alone, without_inside


RESERVED_NAMES = frozenset({"paginated", "for-runner", "ssh-access", "force"})
"""
Last segments that are routes of Daytona's own where we mean an id.  Its router ignores
case, so that C{GET /sandbox/Paginated} lists every tenant's.
"""

_SIZES = ("cpu", "gpu", "memory", "disk")
_FLAGS = ("kvm", "networkBlockAll")
_SANDBOX = frozenset(
    {
        *("id", "name", "snapshot", "user", "env", "labels", "public", "target", "volumes"),
        *("networkBlockAll", "networkAllowList", "domainAllowList"),
        *("cpu", "gpu", "gpuType", "memory", "disk", "class", "sandboxClass", "kvm"),
        *("state", "desiredState", "errorReason", "recoverable", "buildInfo", "daemonVersion"),
        *("backupState", "backupCreatedAt", "createdAt", "updatedAt", "lastActivityAt"),
        *("autoStopInterval", "autoArchiveInterval", "autoDeleteInterval", "linkedSandboxId"),
        # What releases after those whose source is public have added for users.
        *("autoPauseInterval", "autoDestroyAt", "ttlMinutes", "queueTimeout", "queueTimedOutAt"),
        *("spot", "spotEvictedAt"),
    }
)
"""
Fields of a Sandbox that are a user's to know (daytona.md §4).  Not those that name what is
behind: the runner, the pool, hosts; nor what next year's Daytona may add of that kind.
"""

_BUILD = ("dockerfileContent", "contextHashes", "createdAt", "updatedAt")

NO_ORGANIZATION = "00000000-0000-0000-0000-000000000000"
"""SDKs insist on one, and Daytona's only one is the operator's."""

_MAX_NAME = 128
_ODD = re.compile(r"[\x00-\x1f\x7f/\\?#%]")
_HOST = re.compile(r"@[^\s@]+")


def is_possible_name(text: str) -> bool:
    """Whether an id or name could stand in one segment of Daytona's paths, and mean itself."""
    return (
        0 < len(text) <= _MAX_NAME
        and text == text.strip()
        and not _ODD.search(text)
        and text not in (".", "..")
        and text.lower() not in RESERVED_NAMES
    )


def checked_name(text: str) -> str:
    """@raise NoSuchSandbox: Nothing can be called that."""
    if not is_possible_name(text):
        raise NoSuchSandbox()
    return text


def wanted_labels(given: str | None) -> dict[str, str]:
    """
    The label filter of a user's query.

    @param given: SDK 0.149 sends C{null}, which is none.
    @raise BadInput: It is no JSON object of strings.
    """
    wanted = parse_strict_json(given.encode("utf-8")) if given else None
    if wanted is None:
        wanted = {}
    if not isinstance(wanted, dict) or not all(isinstance(v, str) for v in wanted.values()):
        raise BadInput("labels must be a JSON object of strings")
    return {name: str(text) for name, text in wanted.items()}


def spellings(wallet: Address) -> tuple[str, ...]:
    """
    How a wallet stands in owner labels: ours in lower case, the Go implementation's in
    checksum case.  Daytona compares exactly.
    """
    ours, theirs = wallet.hex, checksum(wallet)
    return (ours,) if ours == theirs else (ours, theirs)


def owner_filter(wanted: Mapping[str, str], spelt: str) -> str:
    """
    The label filter that goes upstream: the user's, narrowed to his own.

    @param spelt: Of L{spellings}.
    """
    return json.dumps({**wanted, OWNER_LABEL: spelt}, separators=(",", ":"))


def is_of(document: Any, wallet: Address) -> bool:
    """Whether an item of a list names this wallet, in any case, as its owner."""
    try:
        return Address(document["labels"][OWNER_LABEL]) == wallet
    except (TypeError, KeyError, BadInput):
        return False


def is_offered(snapshot: Mapping[str, Any], *, max_disk_gb: int) -> bool:
    """Whether a user's create from this snapshot would be admitted, but for his funds."""
    try:
        allotted = read_resources(snapshot)
    except BadInput:
        return False
    return (
        snapshot.get("general") is True and allotted.gpu == 0 and allotted.disk_gib <= max_disk_gb
    )


def _whole(value: Any) -> Any:
    """SDKs refuse 1.0 where an integer belongs."""
    is_whole = isinstance(value, float | Decimal) and isfinite(value) and value == int(value)
    return int(value) if is_whole else value


def _label(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _build_shown(build: Mapping[str, Any]) -> dict[str, Any]:
    document = {name: build[name] for name in _BUILD if name in build}
    reference = build.get("snapshotRef")
    if isinstance(reference, str):
        document["snapshotRef"] = image_alone(reference)
    return document


def shown(document: Mapping[str, Any], public_url: str) -> dict[str, Any]:
    """
    A Sandbox as a user gets it: the toolbox behind our door, the fields that newer SDKs
    insist on, in the types that they insist on, and nothing of Daytona's inside.
    """
    labels = document.get("labels")
    told = {
        **{name: value for name, value in document.items() if name in _SANDBOX},
        **{name: _whole(document[name]) for name in _SIZES if name in document},
        **{name: document.get(name) is True for name in _FLAGS},
        # Daytona stores any JSON as a label's value, and SDKs cannot read such a sandbox.
        "labels": {name: _label(value) for name, value in labels.items()}
        if isinstance(labels, Mapping)
        else {},
        "organizationId": NO_ORGANIZATION,
        "toolboxProxyUrl": toolbox_url(public_url),
    }
    if "errorReason" in told:
        reason = told["errorReason"]
        told["errorReason"] = without_inside(reason) if isinstance(reason, str) else None
    if "buildInfo" in told:
        build = told.pop("buildInfo")
        if isinstance(build, Mapping):
            told["buildInfo"] = _build_shown(build)
    return told


def seen_by(scopes: frozenset[Scope], document: dict[str, Any]) -> dict[str, Any]:
    """
    A Sandbox as far as a caller may see it: whoever may look and nothing else sees neither
    its environment nor what it was built from, where users keep secrets.

    @param document: Of L{shown}.
    """
    if not scopes <= {Scope.READ}:
        return document
    kept = {name: value for name, value in document.items() if name != "buildInfo"}
    return {**kept, "env": {}} if "env" in kept else kept


def toolbox_url(public_url: str) -> str:
    """No slash at its end: SDKs add C{/<id>/process/...}."""
    return f"{public_url}/toolbox"


def ssh_shown(access: Mapping[str, Any], gateway: str) -> dict[str, Any]:
    """
    An ssh access with the gateway that users can reach.

    @param gateway: SSH_GATEWAY_HOST; empty keeps Daytona's.
    """
    document = dict(access)
    command = document.get("sshCommand")
    if gateway and isinstance(command, str):
        document["sshCommand"] = _HOST.sub(lambda _: f"@{gateway}", command)
    return document
