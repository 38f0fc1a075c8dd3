"""
Ways into a sandbox and what it has to say: previews, SSH, build logs, telemetry.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from sandbox_billing.devnet.daytona.dialect import ApiError, Dialect
from sandbox_billing.devnet.daytona.records import FAILED, Record, State, iso
from sandbox_billing.devnet.daytona.routing import Call, Route, Text, number
from sandbox_billing.devnet.daytona.simulator import DaytonaSimulator


_BUILDING = (State.PENDING_BUILD, State.BUILDING_SNAPSHOT)


def proxy_template(simulator: DaytonaSimulator, port: str, name: str) -> str:
    """@param name: A sandbox's id, or a signed token."""
    scheme, _, host = simulator.proxy_base.partition("://")
    return f"{scheme}://{port}-{name}.{host}"


def _port(call: Call) -> int:
    text = call.parameters[1]
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65_536:
        raise ApiError(400, "Invalid port")
    return int(text)


async def _preview_url(call: Call) -> Any:
    record, port = call.record(), _port(call)
    url = proxy_template(call.simulator, str(port), record.id)
    return {"sandboxId": record.id, "url": url, "token": record.preview_token}


async def _signed_preview_url(call: Call) -> Any:
    record, port, simulator = call.record(), _port(call), call.simulator
    seconds = number(call.query.get("expiresInSeconds", ["60"])[-1])
    if not 1 <= seconds <= 86_400:
        raise ApiError(400, "expiresInSeconds must be between 1 second and 24 hours")
    token = secrets.token_hex(12)
    simulator.signed[token] = (record.id, port, simulator.wall() + seconds)
    url = proxy_template(simulator, str(port), token)
    return {"sandboxId": record.id, "port": port, "token": token, "url": url}


async def _expire(call: Call) -> None:
    """Whosever token it is: that it is this sandbox's is not checked."""
    call.record()
    call.simulator.signed.pop(call.parameters[2], None)


async def _holder(call: Call) -> Any:
    """Which sandbox a signed token opens at a port: what Daytona's proxy asks."""
    token, port = call.parameters
    id, held, until = call.simulator.signed.get(token, ("", 0, 0.0))
    if str(held) != port or until < call.simulator.wall():
        raise ApiError(404, "Signed preview URL token not found")
    return id


async def _ssh_access(call: Call) -> Any:
    """A new token; the older ones are void; nobody limits how long it lives."""
    record, simulator = call.record(), call.simulator
    minutes = number(call.query.get("expiresInMinutes", ["60"])[-1])
    token = secrets.token_urlsafe(24)
    record.ssh_tokens[:] = [token]
    now = simulator.wall()
    return {
        "id": simulator.new_id(),
        "sandboxId": record.id,
        "token": token,
        "expiresAt": iso(now + minutes * simulator.timings.minute_seconds),
        "createdAt": iso(now),
        "updatedAt": iso(now),
        "sshCommand": f"ssh -p 2222 {token}@{simulator.ssh_host}",
    }


async def _revoke_ssh(call: Call) -> Any:
    tokens = call.record().ssh_tokens
    revoked = call.query.get("token", list(tokens))
    tokens[:] = [token for token in tokens if token not in revoked]
    return call.shown()


async def _toolbox_url(call: Call) -> Any:
    call.record()
    return {"url": call.simulator.toolbox_base}


def _built(call: Call) -> Record:
    record = call.record()
    if record.build_info is None:
        raise ApiError(404, f"Sandbox with ID {record.id} has no build info")
    return record


async def _build_logs_url(call: Call) -> Any:
    record = _built(call)
    return {"url": f"{call.simulator.proxy_base}/sandboxes/{record.id}/build-logs"}


async def _build_logs(call: Call) -> Any:
    return build_logs(call.simulator, _built(call), follow=call.flag("follow"))


def build_logs(simulator: DaytonaSimulator, record: Record, *, follow: bool) -> Text:
    """
    What the builder said so far.

    @param follow: Go on until it has ended.
    """

    async def write_to(write: Callable[[bytes], None]) -> None:
        write(b"Building image...\n")
        while follow and record.pending and record.raw in _BUILDING:
            before = record.raw
            await simulator.engine.next_step(record)
            if record.raw is not before:
                write(b"Step: %s\n" % str(record.raw).encode())
        if record.raw in FAILED:
            write(b"Error: %s\n" % (record.error_reason or "").encode())
        elif record.raw not in _BUILDING:
            write(b"Built.\n")

    return Text(write_to)


def _needs_range(call: Call) -> None:
    call.record()
    missing = [key for key in ("from", "to") if not call.query.get(key, [""])[-1]]
    if missing:
        raise ApiError(400, ", ".join(f"{key} should not be empty" for key in missing))


async def _telemetry_pages(call: Call) -> Any:
    _needs_range(call)
    return {"items": [], "total": 0, "page": 1, "totalPages": 0}


async def _trace(call: Call) -> Any:
    call.record()
    return []


async def _metrics(call: Call) -> Any:
    _needs_range(call)
    return {"series": []}


async def _state_of_runner(call: Call) -> Any:
    call.by_id()
    raise ApiError(403, "Forbidden resource")


ACCESS = (
    Route("POST", "sandbox/:/ssh-access", "ssh-access", _ssh_access),
    Route("DELETE", "sandbox/:/ssh-access", "revoke-ssh", _revoke_ssh),
    Route("GET", "sandbox/:/ports/:/preview-url", "preview-url", _preview_url),
    Route("GET", "sandbox/:/ports/:/signed-preview-url", "signed-preview-url", _signed_preview_url),
    Route("POST", "sandbox/:/ports/:/signed-preview-url/:/expire", "expire", _expire, 201),
    Route("GET", "preview/:/:/sandbox-id", "preview-holder", _holder),
    Route("GET", "sandbox/:/toolbox-proxy-url", "toolbox-url", _toolbox_url),
    Route("GET", "sandbox/:/build-logs", "build-logs", _build_logs),
    Route("GET", "sandbox/:/build-logs-url", "build-logs-url", _build_logs_url),
    Route("GET", "sandbox/:/telemetry/logs", "telemetry-logs", _telemetry_pages),
    Route("GET", "sandbox/:/telemetry/traces", "telemetry-traces", _telemetry_pages),
    Route("GET", "sandbox/:/telemetry/traces/:", "telemetry-trace", _trace),
    Route("GET", "sandbox/:/telemetry/metrics", "telemetry-metrics", _metrics),
    Route("PUT", "sandbox/:/state", "put-state", _state_of_runner),
    Route("GET", "sandbox/:/organization", "of-sandbox", _state_of_runner, since=Dialect.NEW),
    Route("GET", "sandbox/:/region-quota", "quota-of", _state_of_runner, since=Dialect.NEW),
)
