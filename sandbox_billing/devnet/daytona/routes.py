"""
The table of routes: how Express matches them, and what each one does.

Literals match without regard to case and on the undecoded path; parameters are
decoded; exactly one trailing slash is ignored.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes

from attrs import frozen

from sandbox_billing.devnet.daytona import listing
from sandbox_billing.devnet.daytona.creation import checked_interval
from sandbox_billing.devnet.daytona.dialect import ApiError
from sandbox_billing.devnet.daytona.records import Record, Snapshot, iso
from sandbox_billing.devnet.daytona.simulator import DaytonaSimulator


@frozen(kw_only=True)
class Call:
    """
    A request that met a route.

    @ivar parameters: The path's, decoded.
    @ivar headers: Names in lower case.
    """

    simulator: DaytonaSimulator
    parameters: tuple[str, ...]
    query: Mapping[str, list[str]]
    body: bytes
    headers: Mapping[str, tuple[str, ...]]

    def record(self) -> Record:
        """The sandbox that the first parameter names, by id or name."""
        return self.simulator.find(self.parameters[0])

    def json(self) -> dict[str, Any]:
        """@raise ApiError: 400 unless the body is a JSON object; none at all is an empty one."""
        try:
            body = json.loads(self.body or b"{}")
        except ValueError as reason:
            raise ApiError(400, f"{reason}") from None
        if not isinstance(body, dict):
            raise ApiError(400, "Validation failed (object expected)")
        return body

    def flag(self, key: str) -> bool:
        """A boolean of the query."""
        return self.query.get(key, ["false"])[-1].lower() == "true"

    def shown(self) -> dict[str, Any]:
        """The sandbox as it is now."""
        return self.simulator.document(self.record())


Handler = Callable[[Call], Awaitable[Any]]


@frozen
class Route:
    """
    @ivar pattern: Segments below C{/api}; C{:} stands for a parameter.
    @ivar name: What faults and tests call it.
    @ivar status: Of its success: 200, or the 201 that the OpenAPI file denies.
    """

    method: str
    pattern: str
    name: str
    handler: Handler
    status: int = 200
    anonymous: bool = False

    def match(self, method: str, segments: list[str]) -> tuple[str, ...] | None:
        """
        @param segments: Of the path below C{/api}, undecoded.
        @return: The decoded parameters, or None.
        """
        pattern = self.pattern.split("/")
        if method != self.method or len(pattern) != len(segments):
            return None
        found: list[str] = []
        for expected, segment in zip(pattern, segments, strict=True):
            if expected == ":":
                if not segment:
                    return None
                found.append(_decoded(segment))
            elif expected != segment.lower():
                return None
        return tuple(found)


def _decoded(segment: str) -> str:
    try:
        return unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        raise ApiError(400, f"Failed to decode param '{segment}'") from None


def parse_query(text: str) -> dict[str, list[str]]:
    """A query string; empty values are kept."""
    return parse_qs(text, keep_blank_values=True)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ApiError(400, "Validation failed (numeric string is expected)") from None


async def _create(call: Call) -> Any:
    return await call.simulator.create(call.json())


async def _list(call: Call) -> Any:
    return listing.list_sandboxes(call.simulator, call.query)


async def _paginated(call: Call) -> Any:
    return listing.list_paginated(call.simulator, call.query)


async def _get(call: Call) -> Any:
    return call.simulator.lookup(call.parameters[0])


async def _start(call: Call) -> Any:
    record = call.record()
    await call.simulator.start(record)
    return call.simulator.document(record)


async def _stop(call: Call) -> Any:
    record = call.record()
    call.simulator.stop(record)
    return call.simulator.document(record)


async def _delete(call: Call) -> Any:
    record = call.record()
    call.simulator.delete(record)
    return call.simulator.document(record)


async def _archive(call: Call) -> Any:
    record = call.record()
    call.simulator.archive(record)
    return call.simulator.document(record)


async def _recover(call: Call) -> Any:
    record = call.record()
    await call.simulator.recover(record, skip_start=call.flag("skipStart"))
    return call.simulator.document(record)


async def _only_virtual_machines(call: Call) -> Any:
    call.record()
    raise ApiError(422, "Operation is not supported for this sandbox class")


async def _flag_is_off(call: Call) -> Any:
    raise ApiError(404, "Cannot POST /api/sandbox/:sandboxIdOrName/resize")


async def _backup(call: Call) -> Any:
    call.simulator.edit(call.record(), backup_state="Pending")
    return call.shown()


async def _labels(call: Call) -> Any:
    record, labels = call.record(), call.json().get("labels", call.record().labels)
    if not isinstance(labels, dict):
        raise ApiError(400, "labels must be an object")
    call.simulator.edit(record, labels=dict(labels))
    return call.simulator.document(record)


def _interval(kind: str) -> Handler:
    async def handle(call: Call) -> Any:
        minutes = checked_interval(kind, _number(call.parameters[1]))
        call.simulator.edit(call.record(), **{f"auto_{kind}": minutes})
        return call.shown()

    return handle


async def _last_activity(call: Call) -> None:
    if "x-daytona-skip-last-activity-update" not in call.headers:
        call.simulator.touch(call.record())


async def _public(call: Call) -> Any:
    call.simulator.edit(call.record(), public=call.parameters[1].lower() == "true")
    return call.shown()


async def _network(call: Call) -> Any:
    body = call.json()
    keys = {"networkBlockAll": "network_block_all", "networkAllowList": "network_allow_list"}
    columns = {column: body[key] for key, column in keys.items() if key in body}
    if not columns and "domainAllowList" not in body:
        raise ApiError(400, "At least one network setting must be given")
    call.simulator.edit(call.record(), **columns)
    return call.shown()


async def _ssh_access(call: Call) -> Any:
    minutes = _number(call.query.get("expiresInMinutes", ["60"])[-1])
    return call.simulator.ssh_access(call.record(), minutes)


async def _revoke_ssh(call: Call) -> Any:
    tokens = call.record().ssh_tokens
    revoked = call.query.get("token", list(tokens))
    tokens[:] = [token for token in tokens if token not in revoked]
    return call.shown()


async def _preview_url(call: Call) -> Any:
    id, port = call.record().id, call.parameters[1]
    url = f"http://{port}-{id}.proxy.localhost:4000"
    return {"sandboxId": id, "url": url, "token": f"preview-{id}"}


async def _toolbox_url(call: Call) -> Any:
    call.record()
    return {"url": call.simulator.toolbox_base}


async def _snapshots(call: Call) -> Any:
    return listing.list_snapshots(call.simulator, call.query)


async def _snapshot(call: Call) -> Any:
    return call.simulator.find_snapshot(call.parameters[0]).document()


async def _create_snapshot(call: Call) -> Any:
    body, simulator = call.json(), call.simulator
    name = body.get("name")
    if not isinstance(name, str) or not name:
        raise ApiError(400, "name should not be empty, name must be a string")
    if any(name == snapshot.name for snapshot in simulator.snapshots.values()):
        raise ApiError(409, f"Snapshot with name {name} already exists")
    sizes = {key: int(body.get(key) or default) for key, default in _SNAPSHOT_SIZES.items()}
    snapshot = Snapshot(
        id=simulator.new_id(), name=name, general=False, created_at=simulator.wall(), **sizes
    )
    simulator.snapshots[snapshot.id] = snapshot
    return snapshot.document()


_SNAPSHOT_SIZES = {"cpu": 1, "memory": 1, "disk": 3, "gpu": 0}


async def _delete_snapshot(call: Call) -> None:
    del call.simulator.snapshots[call.simulator.find_snapshot(call.parameters[0]).id]


async def _config(call: Call) -> Any:
    simulator = call.simulator
    return {
        "version": simulator.dialect.value,
        "proxyToolboxUrl": simulator.toolbox_base,
        "proxyTemplateUrl": "http://{{PORT}}-{{sandboxId}}.proxy.localhost:4000",
        "dashboardUrl": "http://localhost:3000/dashboard",
        "sshGatewayCommand": f"ssh -p 2222 {{{{TOKEN}}}}@{simulator.ssh_host}",
        "defaultSnapshot": next(iter(simulator.snapshots.values())).name,
        "maxAutoArchiveInterval": 43_200,
        "maintananceMode": False,
        "environment": "devnet",
        "linkedAccountsEnabled": False,
        "announcements": {},
        "oidc": {"issuer": "http://localhost:5556/dex", "clientId": "daytona", "audience": "d"},
    }


async def _current_key(call: Call) -> Any:
    return {"name": "devnet", "value": "dtn_****", "createdAt": iso(0), "permissions": []}


# Fixed paths stand before those whose parameter would swallow them.
ROUTES = (
    Route("GET", "config", "config", _config, anonymous=True),
    Route("GET", "api-keys/current", "api-key", _current_key),
    Route("POST", "sandbox", "create", _create),
    Route("GET", "sandbox", "list", _list),
    Route("GET", "sandbox/paginated", "paginated", _paginated),
    Route("GET", "sandbox/:", "get", _get),
    Route("DELETE", "sandbox/:", "delete", _delete),
    Route("POST", "sandbox/:/start", "start", _start),
    Route("POST", "sandbox/:/stop", "stop", _stop),
    Route("POST", "sandbox/:/archive", "archive", _archive),
    Route("POST", "sandbox/:/recover", "recover", _recover),
    Route("POST", "sandbox/:/pause", "pause", _only_virtual_machines),
    Route("POST", "sandbox/:/fork", "fork", _only_virtual_machines),
    Route("POST", "sandbox/:/snapshot", "snapshot-sandbox", _only_virtual_machines),
    Route("POST", "sandbox/:/resize", "resize", _flag_is_off),
    Route("POST", "sandbox/:/backup", "backup", _backup, 201),
    Route("PUT", "sandbox/:/labels", "labels", _labels),
    Route("POST", "sandbox/:/autostop/:", "autostop", _interval("stop"), 201),
    Route("POST", "sandbox/:/autoarchive/:", "autoarchive", _interval("archive"), 201),
    Route("POST", "sandbox/:/autodelete/:", "autodelete", _interval("delete"), 201),
    Route("POST", "sandbox/:/last-activity", "last-activity", _last_activity, 201),
    Route("POST", "sandbox/:/public/:", "public", _public, 201),
    Route("POST", "sandbox/:/network-settings", "network-settings", _network),
    Route("POST", "sandbox/:/ssh-access", "ssh-access", _ssh_access),
    Route("DELETE", "sandbox/:/ssh-access", "revoke-ssh", _revoke_ssh),
    Route("GET", "sandbox/:/ports/:/preview-url", "preview-url", _preview_url),
    Route("GET", "sandbox/:/toolbox-proxy-url", "toolbox-url", _toolbox_url),
    Route("GET", "snapshots", "snapshots", _snapshots),
    Route("GET", "snapshots/:", "snapshot", _snapshot),
    Route("POST", "snapshots", "create-snapshot", _create_snapshot),
    Route("DELETE", "snapshots/:", "delete-snapshot", _delete_snapshot),
)
