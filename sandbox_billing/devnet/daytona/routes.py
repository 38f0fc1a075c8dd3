"""
The table of routes: sandboxes and C{/config} here, the rest in its own modules.
"""

from __future__ import annotations

from typing import Any

from sandbox_billing.devnet.daytona import listing
from sandbox_billing.devnet.daytona.access import ACCESS, proxy_template
from sandbox_billing.devnet.daytona.control import CONTROL, FIXED
from sandbox_billing.devnet.daytona.creation import checked_interval
from sandbox_billing.devnet.daytona.dialect import ApiError, Dialect
from sandbox_billing.devnet.daytona.machines import Machines
from sandbox_billing.devnet.daytona.routing import Call, Handler, Route, Text, number, parse_query


__all__ = ["ROUTES", "Call", "Route", "Text", "parse_query"]


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


async def _pause(call: Call) -> Any:
    record = call.record()
    await Machines(call.simulator).pause(record)
    return call.simulator.document(record)


async def _resize(call: Call) -> Any:
    record = call.record()
    Machines(call.simulator).resize(record, call.json())
    return call.simulator.document(record)


async def _fork(call: Call) -> Any:
    name = call.json().get("name")
    return call.simulator.document(Machines(call.simulator).fork(call.record(), name))


async def _snapshot_sandbox(call: Call) -> Any:
    record = call.record()
    Machines(call.simulator).snapshot(record, call.json())
    return call.simulator.document(record)


async def _forks(call: Call) -> Any:
    return Machines(call.simulator).forks(call.record())


async def _ancestors(call: Call) -> Any:
    return Machines(call.simulator).family(call.record())


async def _parent(call: Call) -> Any:
    family = Machines(call.simulator).family(call.record())
    if not family:
        raise ApiError(404, "Sandbox has no parent")
    return family[0]


async def _backup(call: Call) -> Any:
    record = call.record()
    call.simulator.engine.back_up(record)
    return call.simulator.document(record)


async def _labels(call: Call) -> Any:
    record, labels = call.record(), call.json().get("labels", call.record().labels)
    if not isinstance(labels, dict):
        raise ApiError(400, "labels must be an object")
    call.simulator.edit(record, labels=dict(labels))
    return call.simulator.document(record)


def _interval(kind: str) -> Handler:
    async def handle(call: Call) -> Any:
        minutes = checked_interval(kind, number(call.parameters[1]))
        if kind == "delete" and call.record().gpu:
            raise ApiError(400, "GPU sandboxes cannot change their auto-delete interval")
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
    keys = {
        "networkBlockAll": "network_block_all",
        "networkAllowList": "network_allow_list",
        "domainAllowList": "domain_allow_list",
    }
    columns = {column: body[key] for key, column in keys.items() if key in body}
    if not columns:
        raise ApiError(400, "At least one network setting must be given")
    call.simulator.edit(call.record(), **columns)
    return call.shown()


async def _config(call: Call) -> Any:
    simulator = call.simulator
    return {
        "version": simulator.shown_version,
        "proxyToolboxUrl": simulator.toolbox_base,
        "proxyTemplateUrl": proxy_template(simulator, "{{PORT}}", "{{sandboxId}}"),
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


# Fixed paths stand before those whose parameter would swallow them.
ROUTES = (
    Route("GET", "config", "config", _config, anonymous=True),
    Route("POST", "sandbox", "create", _create),
    Route("GET", "sandbox", "list", _list),
    Route("GET", "sandbox/paginated", "paginated", _paginated),
    *FIXED,
    Route("GET", "sandbox/:", "get", _get),
    Route("DELETE", "sandbox/:", "delete", _delete),
    Route("POST", "sandbox/:/start", "start", _start),
    Route("POST", "sandbox/:/stop", "stop", _stop),
    Route("POST", "sandbox/:/archive", "archive", _archive),
    Route("POST", "sandbox/:/recover", "recover", _recover),
    Route("POST", "sandbox/:/pause", "pause", _pause, since=Dialect.NEW),
    Route("POST", "sandbox/:/fork", "fork", _fork, since=Dialect.MIDDLE),
    Route(
        "POST",
        "sandbox/:/snapshot",
        "snapshot-sandbox",
        _snapshot_sandbox,
        since=Dialect.MIDDLE,
    ),
    Route("GET", "sandbox/:/forks", "forks", _forks, since=Dialect.MIDDLE),
    Route("GET", "sandbox/:/parent", "parent", _parent, since=Dialect.MIDDLE),
    Route("GET", "sandbox/:/ancestors", "ancestors", _ancestors, since=Dialect.MIDDLE),
    Route("POST", "sandbox/:/resize", "resize", _resize),
    Route("POST", "sandbox/:/backup", "backup", _backup, 201),
    Route("PUT", "sandbox/:/labels", "labels", _labels),
    Route("POST", "sandbox/:/autostop/:", "autostop", _interval("stop"), 201),
    Route("POST", "sandbox/:/autoarchive/:", "autoarchive", _interval("archive"), 201),
    Route("POST", "sandbox/:/autodelete/:", "autodelete", _interval("delete"), 201),
    Route("POST", "sandbox/:/last-activity", "last-activity", _last_activity, 201),
    Route("POST", "sandbox/:/public/:", "public", _public, 201),
    Route(
        "POST",
        "sandbox/:/network-settings",
        "network-settings",
        _network,
        since=Dialect.MIDDLE,
    ),
    *ACCESS,
    *CONTROL,
)
