"""
Snapshots over HTTP: they set prices, and deleting one breaks who starts from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve

from sandbox_billing.devnet.daytona import listing
from sandbox_billing.devnet.daytona.dialect import ApiError, Dialect
from sandbox_billing.devnet.daytona.records import CONTAINER, Snapshot
from sandbox_billing.devnet.daytona.routing import Call, Route, Text


_SIZES = {"cpu": 1, "memory": 1, "disk": 3, "gpu": 0}


def _named(call: Call) -> Snapshot:
    return call.simulator.find_snapshot(call.parameters[0])


async def _list(call: Call) -> Any:
    return listing.list_snapshots(call.simulator, call.query)


async def _get(call: Call) -> Any:
    return call.simulator.snapshot_document(_named(call))


async def _create(call: Call) -> Any:
    body, simulator = call.json(), call.simulator
    name = body.get("name")
    if not isinstance(name, str) or not name:
        raise ApiError(400, "name should not be empty, name must be a string")
    simulator.check_snapshot_name(name)
    sizes: Mapping[str, Any] = {
        key: int(body.get(key) or default) for key, default in _SIZES.items()
    }
    snapshot = Snapshot(
        id=simulator.new_id(),
        name=name,
        general=False,
        created_at=simulator.wall(),
        sandbox_class=body.get("sandboxClass") or CONTAINER,
        built=bool(body.get("buildInfo")),
        **sizes,
    )
    simulator.snapshots[snapshot.id] = snapshot
    return simulator.snapshot_document(snapshot)


async def _general(call: Call) -> Any:
    general = call.json().get("general")
    if not isinstance(general, bool):
        raise ApiError(400, "general must be a boolean value")
    turned = evolve(_named(call), general=general)
    call.simulator.snapshots[turned.id] = turned
    return call.simulator.snapshot_document(turned)


async def _delete(call: Call) -> None:
    del call.simulator.snapshots[_named(call).id]


def _turn(call: Call, state: str) -> Snapshot:
    found = _named(call)
    if found.state == state:
        raise ApiError(400, f"Snapshot {found.id} is already {state}")
    turned = evolve(found, state=state)
    call.simulator.snapshots[turned.id] = turned
    return turned


async def _activate(call: Call) -> Any:
    return call.simulator.snapshot_document(_turn(call, "active"))


async def _deactivate(call: Call) -> None:
    _turn(call, "inactive")


def _built(call: Call) -> Snapshot:
    found = _named(call)
    if not found.built:
        raise ApiError(404, f"Snapshot {found.id} has no build info")
    return found


async def _build_logs_url(call: Call) -> Any:
    return {"url": f"{call.simulator.proxy_base}/snapshots/{_built(call).id}/build-logs"}


async def _build_logs(call: Call) -> Any:
    _built(call)

    async def write_to(write: Any) -> None:
        write(b"Built.\n")

    return Text(write_to)


SNAPSHOTS = (
    Route("GET", "snapshots", "snapshots", _list),
    Route("POST", "snapshots", "create-snapshot", _create),
    Route("GET", "snapshots/:", "snapshot", _get),
    Route("DELETE", "snapshots/:", "delete-snapshot", _delete),
    Route("PATCH", "snapshots/:/general", "general-snapshot", _general, until=Dialect.OLD),
    Route("PATCH", "admin/snapshots/:/general", "general-snapshot", _general, since=Dialect.MIDDLE),
    Route("POST", "snapshots/:/activate", "activate-snapshot", _activate),
    Route("POST", "snapshots/:/deactivate", "deactivate-snapshot", _deactivate, 204),
    Route("GET", "snapshots/:/build-logs", "snapshot-logs", _build_logs),
    Route("GET", "snapshots/:/build-logs-url", "snapshot-logs-url", _build_logs_url),
)
