"""
What a user may name, ask of Daytona and be shown (daytona.md §3, §9, §11, §12).

Tests: C{tests.web.test_policy}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from sandbox_billing.errors import BadInput, Transient
from sandbox_billing.interfaces import NoSuchSandbox
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.reconciliation import OWNER_LABEL
from sandbox_billing.ledger.resources import read_resources
from sandbox_billing.signing.request import parse_strict_json


RESERVED_NAMES = frozenset({"paginated", "for-runner", "ssh-access", "force"})
"""
Last segments that are routes of Daytona's own where we mean an id.  Its router ignores
case, so that C{GET /sandbox/Paginated} lists every tenant's.
"""

NO_SANDBOX = "no such sandbox"

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
        raise NoSuchSandbox(NO_SANDBOX)
    return text


def owner_filter(given: str | None, wallet: Address) -> str:
    """
    The label filter that goes upstream: the user's, narrowed to his own.

    @param given: The C{labels} of his query; SDK 0.149 sends C{null}.
    @raise BadInput: It is no JSON object of strings.
    """
    wanted = parse_strict_json(given.encode("utf-8")) if given else None
    if wanted is None:
        wanted = {}
    if not isinstance(wanted, dict) or not all(isinstance(v, str) for v in wanted.values()):
        raise BadInput("labels must be a JSON object of strings")
    return json.dumps({**wanted, OWNER_LABEL: wallet.hex}, separators=(",", ":"))


def _is_of(document: Any, wallet: Address) -> bool:
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


def shown(document: Mapping[str, Any], public_url: str) -> dict[str, Any]:
    """
    A Sandbox as a user gets it: the toolbox behind our door, and the fields that
    newer SDKs insist on.
    """
    return {
        "kvm": False,
        "networkBlockAll": False,
        **document,
        "toolboxProxyUrl": f"{public_url}/toolbox",
    }


def own_page(page: Any, wallet: Address, public_url: str) -> tuple[Any, int]:
    """
    A page of a list in its own shape, with nothing of others in it.

    @param page: An array, or an object with C{items}.
    @return: The page, and how many items were somebody else's.
    @raise Transient: It has neither shape.
    """
    items = page.get("items") if isinstance(page, Mapping) else page
    if not isinstance(items, list | tuple):
        raise Transient("Daytona answered a list in a shape that is not known")
    own = [shown(item, public_url) for item in items if _is_of(item, wallet)]
    kept = {**page, "items": own} if isinstance(page, Mapping) else own
    return kept, len(items) - len(own)


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
