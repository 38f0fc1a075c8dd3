"""
What the simulated Daytona answers, each with the name that the client gives to such a document.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field

from sandbox_billing.devnet.daytona import Dialect, Snapshot, Timings
from tests.devnet.daytona_bench import Bench


Document = tuple[str, Any]

MACHINE = Snapshot(id="5a000000-0000-4000-8000-0000000000aa", name="vm", sandbox_class="linux-vm")
GRAPHICS = Snapshot(
    id="5a000000-0000-4000-8000-0000000000ab", name="graphics", gpu=1, gpu_type="H100"
)


@define
class _Collector:
    bench: Bench
    found: list[Document] = field(factory=list)

    def ask(self, model: str | None, method: str, path: str, body: Any = None, **kw: Any) -> Any:
        """@param model: What the answer is; of a list, what each of it is; None for neither."""
        reply = self.bench.ask(method, f"/api/{path}", body, **kw)
        if reply.status not in (200, 201, 204):
            raise AssertionError(f"{method} {path}: {reply.status} {reply.body!r}")
        answer = reply.json if reply.body else None
        if model is not None:
            each = answer if isinstance(answer, list) else [answer]
            self.found += [(model, document) for document in each]
        return answer


def documents(dialect: Dialect) -> list[Document]:
    """
    @return: (model, document), of every route that answers with something.
    """
    bench = Bench(dialect, Timings(snapshot_seconds=4, pause_seconds=4))
    simulator = bench.simulator
    simulator.resizes = True
    simulator.snapshots[MACHINE.id] = MACHINE
    simulator.snapshots[GRAPHICS.id] = GRAPHICS
    collector = _Collector(bench)
    _organization(collector)
    id = _life(collector)
    _sandbox(collector, id)
    if dialect.knows(Dialect.MIDDLE):
        _machines(collector)
    _lists(collector)
    simulator.close()
    return collector.found


def _organization(collector: _Collector) -> None:
    ask = collector.ask
    ask("DaytonaConfiguration", "GET", "config")
    ask("ApiKeyList", "GET", "api-keys/current")
    ask("Region", "GET", "shared-regions")
    ask("StorageAccessDto", "GET", "object-storage/push-access")
    ask("VolumeDto", "POST", "volumes", {"name": "shared"})
    ask("VolumeDto", "GET", "volumes")
    ask("VolumeDto", "GET", "volumes/by-name/shared")
    body = {"name": "made", "buildInfo": {"dockerfileContent": "FROM x"}}
    made = ask("SnapshotDto", "POST", "snapshots", body)
    ask("Url", "GET", f"snapshots/{made['id']}/build-logs-url")
    ask(None, "POST", f"snapshots/{made['id']}/deactivate")
    ask("SnapshotDto", "POST", f"snapshots/{made['id']}/activate")
    ask("SnapshotDto", "GET", "snapshots/daytona-small")
    ask("PaginatedSnapshots", "GET", "snapshots")


def _life(collector: _Collector) -> str:
    """Every state that every dialect knows."""
    ask, bench = collector.ask, collector.bench
    body = {
        "labels": {"a": "b"},
        "env": {"c": "d"},
        "networkAllowList": "10.0.0.0/8",
        "domainAllowList": "example.org",
        "volumes": [{"volumeId": "shared", "mountPath": "/data"}],
    }
    id = str(ask("Sandbox", "POST", "sandbox", body)["id"])
    bench.until(id, "started")
    ask("Sandbox", "GET", f"sandbox/{id}")
    for verb, there in (("stop", "stopped"), ("archive", "archived"), ("start", "started")):
        ask("Sandbox", "POST", f"sandbox/{id}/{verb}")
        for _ in range(20):
            ask("Sandbox", "GET", f"sandbox/{id}")
            bench.clock.advance(0.5)
        bench.until(id, there)
    bench.simulator.break_sandbox(id)
    ask("Sandbox", "GET", f"sandbox/{id}")
    ask("Sandbox", "POST", f"sandbox/{id}/recover")
    built = ask("Sandbox", "POST", "sandbox", {"buildInfo": {"dockerfileContent": "FROM x"}})
    ask("Url", "GET", f"sandbox/{built['id']}/build-logs-url")
    for _ in range(8):
        ask("Sandbox", "GET", f"sandbox/{built['id']}")
        bench.clock.advance(1)
    ask("Sandbox", "POST", "sandbox", {"snapshot": "graphics", "autoDeleteInterval": 0})
    gone = ask("Sandbox", "POST", "sandbox", {"linkedSandbox": id})
    bench.until(gone["id"], "started")
    ask("Sandbox", "DELETE", f"sandbox/{gone['id']}")
    return id


def _sandbox(collector: _Collector, id: str) -> None:
    """What is done to one."""
    ask = collector.ask
    ask("Sandbox", "PUT", f"sandbox/{id}/labels", {"labels": {"e": "f"}})
    for path in ("autostop/5", "autoarchive/5", "autodelete/-1", "public/true", "backup"):
        ask("Sandbox", "POST", f"sandbox/{id}/{path}")
    ask("PortPreviewUrl", "GET", f"sandbox/{id}/ports/3000/preview-url")
    ask("SignedPortPreviewUrl", "GET", f"sandbox/{id}/ports/3000/signed-preview-url")
    ask("SshAccessDto", "POST", f"sandbox/{id}/ssh-access")
    ask("Sandbox", "DELETE", f"sandbox/{id}/ssh-access")
    ask("ToolboxProxyUrl", "GET", f"sandbox/{id}/toolbox-proxy-url")
    day = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    ask("PaginatedLogs", "GET", f"sandbox/{id}/telemetry/logs", query=day)
    ask("PaginatedTraces", "GET", f"sandbox/{id}/telemetry/traces", query=day)
    ask("MetricsResponse", "GET", f"sandbox/{id}/telemetry/metrics", query=day)
    ask("Sandbox", "POST", f"sandbox/{id}/resize", {"cpu": 2})
    ask("Sandbox", "GET", f"sandbox/{id}")
    collector.bench.until(id, "started")


def _machines(collector: _Collector) -> None:
    """What came after v0.149."""
    ask, bench = collector.ask, collector.bench
    id = bench.started(snapshot="vm")
    ask("Sandbox", "POST", f"sandbox/{id}/network-settings", {"networkBlockAll": True})
    fork = ask("Sandbox", "POST", f"sandbox/{id}/fork", {})
    ask("Sandbox", "GET", f"sandbox/{id}")
    ask("Sandbox", "GET", f"sandbox/{id}/forks")
    ask("Sandbox", "GET", f"sandbox/{fork['id']}/ancestors")
    bench.until(id, "started")
    ask("Sandbox", "POST", f"sandbox/{id}/snapshot", {"name": "of it"})
    ask("SnapshotDto", "GET", "snapshots/of%20it")
    bench.until(id, "started")
    if bench.simulator.dialect.knows(Dialect.NEW):
        ask("Sandbox", "POST", f"sandbox/{id}/pause")
        bench.until(id, "paused")
        ask("Sandbox", "GET", f"sandbox/{id}")
        done = bench.send("POST", f"/api/sandbox/{id}/start")
        ask("Sandbox", "GET", f"sandbox/{id}")
        bench.until(id, "started")
        bench.flush()
        if not done.called:
            raise AssertionError("the start is not answered")


def _lists(collector: _Collector) -> None:
    """With what has been made so far in them."""
    ask, dialect = collector.ask, collector.bench.simulator.dialect
    everything = {"includeErroredDeleted": "true"}
    if dialect.lists_pages:
        answer = ask("ListSandboxesResponse", "GET", "sandbox", query=everything)
        collector.found += [("SandboxListItem", each) for each in answer["items"]]
        ask("ListSandboxesResponse", "GET", "sandbox", query={"limit": "1"})
    else:
        ask("Sandbox", "GET", "sandbox", query=everything)
    old = dialect is Dialect.OLD
    paginated = "PaginatedSandboxes" if old else "PaginatedSandboxesDeprecated"
    answer = ask(paginated, "GET", "sandbox/paginated", query=everything)
    collector.found += [("Sandbox", each) for each in answer["items"]]
