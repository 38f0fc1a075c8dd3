"""
The simulator's ways into a sandbox, and what its control plane gives to who comes with the key.
"""

from __future__ import annotations

from typing import Any

from treq.testing import StubTreq
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.devnet.daytona import Dialect, Timings, simulator_resource
from sandbox_billing.devnet.daytona.control import CONTROL
from tests.devnet.daytona_bench import Bench


class _Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.bench = Bench(timings=Timings(build_seconds=4))
        self.sandbox = self.bench.started()

    def get(self, path: str, status: int = 200, **query: str) -> Any:
        """C{GET} of something about the sandbox."""
        reply = self.bench.ask("GET", f"/api/sandbox/{self.sandbox}/{path}", query=query)
        self.assertEqual(reply.status, status, reply.body)
        return reply.json

    def post(self, path: str, status: int, body: Any = None, **query: str) -> Any:
        """C{POST} of something about the sandbox."""
        reply = self.bench.ask("POST", f"/api/sandbox/{self.sandbox}/{path}", body, query=query)
        self.assertEqual(reply.status, status, reply.body)
        return reply.json if reply.body else None


class AccessTests(_Case):
    """Previews, SSH, the network."""

    def test_preview(self) -> None:
        """One token opens every port, and is another after the next start."""
        first = self.get("ports/3000/preview-url")
        self.assertEqual(first["url"], f"http://3000-{self.sandbox}.proxy.localhost:4000")
        self.assertEqual(self.get("ports/2280/preview-url")["token"], first["token"])
        self.bench.verb(self.sandbox, "stop")
        self.bench.until(self.sandbox, "stopped")
        self.bench.verb(self.sandbox, "start")
        self.assertNotEqual(self.get("ports/3000/preview-url")["token"], first["token"])
        for port in ("0", "65536", "http", "-1"):
            self.get(f"ports/{port}/preview-url", 400)

    def test_signed_preview(self) -> None:
        """A signed one has a port and an end, and anybody's can be expired."""
        signed = self.get("ports/3000/signed-preview-url", expiresInSeconds="120")
        self.assertEqual(signed["url"], f"http://3000-{signed['token']}.proxy.localhost:4000")
        sandbox, port, until = self.bench.simulator.signed[signed["token"]]
        self.assertEqual((sandbox, port), (self.sandbox, 3000))
        self.assertEqual(until, self.bench.simulator.wall() + 120)
        for seconds in ("0", "86401", "long"):
            self.get("ports/3000/signed-preview-url", 400, expiresInSeconds=seconds)
        self.sandbox = self.bench.started()
        self.post(f"ports/1/signed-preview-url/{signed['token']}/expire", 201)
        self.assertEqual(self.bench.simulator.signed, {})

    def test_ssh(self) -> None:
        """A new access ends the older ones; nobody limits its life; revoked with or without."""
        first = self.post("ssh-access", 200, expiresInMinutes="9999999")
        second = self.post("ssh-access", 200)
        self.assertNotEqual(first["token"], second["token"])
        record = self.bench.simulator.records[self.sandbox]
        self.assertEqual(record.ssh_tokens, [second["token"]])
        path = f"/api/sandbox/{self.sandbox}/ssh-access"
        self.bench.ask("DELETE", path, query={"token": "other"})
        self.assertEqual(record.ssh_tokens, [second["token"]])
        shown = self.bench.ask("DELETE", path)
        self.assertEqual(
            (shown.status, shown.json["id"], record.ssh_tokens), (200, self.sandbox, [])
        )

    def test_network(self) -> None:
        """At least one setting; what is given is shown."""
        self.post("network-settings", 400, {})
        shown = self.post("network-settings", 200, {"domainAllowList": "a.example"})
        self.assertEqual(shown["domainAllowList"], "a.example")

    def test_urls(self) -> None:
        """Where the toolbox is, by a route of its own too."""
        self.assertEqual(self.get("toolbox-proxy-url"), {"url": self.bench.simulator.toolbox_base})
        self.get("build-logs-url", 404)

    def test_telemetry(self) -> None:
        """It wants a range and has nothing to say."""
        self.get("telemetry/logs", 400)
        day = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
        self.assertEqual(self.get("telemetry/logs", **day)["items"], [])
        self.assertEqual(self.get("telemetry/traces", **day)["items"], [])
        self.assertEqual(self.get("telemetry/traces/1"), [])
        self.assertEqual(self.get("telemetry/metrics", **day), {"series": []})

    def test_ids_only(self) -> None:
        """Routes that say id take no name, and other keys than ours."""
        self.bench.started(name="named")
        for name, status in (("named", 400), (self.sandbox, 403)):
            reply = self.bench.ask("PUT", f"/api/sandbox/{name}/state", {})
            self.assertEqual(reply.status, status)


class BuildLogTests(_Case):
    """Text in parts."""

    def setUp(self) -> None:
        super().setUp()
        body = {"buildInfo": {"dockerfileContent": "FROM x"}}
        self.sandbox = str(self.bench.ask("POST", "/api/sandbox", body).json["id"])

    def logs(self, **query: str) -> bytes:
        """The whole text."""
        return self.bench.ask("GET", f"/api/sandbox/{self.sandbox}/build-logs", query=query).body

    def test_now(self) -> None:
        """Without follow it is what was said so far."""
        self.assertEqual(self.logs(), b"Building image...\n")

    def test_follow(self) -> None:
        """With it, the parts come while the image is built, and end with it."""
        treq = StubTreq(simulator_resource(self.bench.simulator, "admin-key"))
        asked = treq.get(
            f"http://daytona.test/api/sandbox/{self.sandbox}/build-logs?follow=true",
            headers={"Authorization": "Bearer admin-key"},
        )
        treq.flush()
        response = self.successResultOf(asked)
        said: list[bytes] = []
        ended = treq.collect(response, said.append)
        treq.flush()
        self.assertEqual(b"".join(said), b"Building image...\n")
        self.assertNoResult(ended)
        for _ in range(8):
            self.bench.clock.advance(0.5)
            treq.flush()
        self.assertEqual(
            b"".join(said), b"Building image...\nStep: building_snapshot\nStep: started\nBuilt.\n"
        )
        self.successResultOf(ended)

    def test_failed(self) -> None:
        """It says why."""
        self.bench.simulator.fail_start_next("no such base", build=True)
        body = {"buildInfo": {"dockerfileContent": "FROM y"}}
        self.sandbox = str(self.bench.ask("POST", "/api/sandbox", body).json["id"])
        self.bench.until(self.sandbox, "build_failed")
        self.assertEqual(self.logs(follow="true"), b"Building image...\nError: no such base\n")


class ControlTests(_Case):
    """A request that should not have reached Daytona would succeed."""

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Status and answer."""
        reply = self.bench.ask(method, f"/api/{path}", body)
        return reply.status, reply.json if reply.body else None

    def test_volumes(self) -> None:
        """Anybody's volume can be found, mounted and deleted by its name."""
        status, volume = self.ask("POST", "volumes", {"name": "theirs"})
        self.assertEqual(status, 200)
        self.assertEqual(self.ask("POST", "volumes", {"name": "theirs"})[0], 409)
        self.assertEqual(self.ask("GET", "volumes"), (200, [volume]))
        self.assertEqual(self.ask("GET", "volumes/by-name/theirs"), (200, volume))
        mounts = [{"volumeId": "theirs", "mountPath": "/loot"}]
        _, sandbox = self.ask("POST", "sandbox", {"volumes": mounts})
        self.assertEqual(sandbox["volumes"], [{"volumeId": volume["id"], "mountPath": "/loot"}])
        self.assertEqual(self.ask("POST", "sandbox", {"volumes": [{"volumeId": "x"}]})[0], 404)
        self.assertEqual(self.ask("POST", "sandbox", {"volumes": "x"})[0], 400)
        self.assertEqual(self.ask("DELETE", f"volumes/{volume['id']}")[0], 200)
        self.assertEqual(self.ask("GET", f"volumes/{volume['id']}")[0], 404)

    def test_snapshots(self) -> None:
        """A snapshot that is inactive or gone starts nothing."""
        small = "5a000000-0000-4000-8000-000000000001"
        self.assertEqual(self.ask("POST", f"snapshots/{small}/deactivate"), (204, None))
        self.assertEqual(self.ask("POST", f"snapshots/{small}/deactivate")[0], 400)
        self.assertEqual(self.ask("POST", "sandbox", {"snapshot": "daytona-small"})[0], 400)
        self.assertEqual(self.ask("POST", f"snapshots/{small}/activate")[0], 200)
        self.assertEqual(self.ask("POST", "sandbox", {"snapshot": "daytona-small"})[0], 200)
        self.assertEqual(self.ask("GET", f"snapshots/{small}/build-logs-url")[0], 404)

    def test_everything_answers(self) -> None:
        """Each route of the control plane answers with its success, or wants another key."""
        for dialect in Dialect:
            self.bench.simulator.dialect = dialect
            for route in CONTROL:
                if not route.exists(dialect) or route.name != "control":
                    continue
                status, _ = self.ask(route.method, route.pattern.replace(":", "x"))
                self.assertEqual(status, route.status, route.pattern)

    def test_other_keys(self) -> None:
        """What runners and gateways ask is not for the admin key, nor is it a sandbox's name."""
        self.assertEqual(self.ask("GET", "sandbox/for-runner")[0], 403)
        self.assertEqual(self.ask("GET", "sandbox/ssh-access/validate")[0], 403)

    def test_gone(self) -> None:
        """Routes of one release only are not in the other."""
        self.bench.simulator.dialect = Dialect.OLD
        self.assertEqual(self.ask("GET", "workspace")[0], 200)
        self.bench.simulator.dialect = Dialect.NEW
        self.assertEqual(self.ask("GET", "workspace")[0], 404)

    def test_push_access(self) -> None:
        """Keys to everybody's storage, for the asking."""
        status, access = self.ask("GET", "object-storage/push-access")
        self.assertEqual(
            (status, set(access) & {"accessKey", "secret"}), (200, {"accessKey", "secret"})
        )

    def test_regions(self) -> None:
        """The shared regions."""
        self.assertEqual(self.ask("GET", "shared-regions")[1][0]["id"], "us")


class ServerTests(_Case):
    """What is the server's, whatever the route."""

    def test_version(self) -> None:
        """The version is a hint that a deployment may have left unset."""
        self.bench.simulator.version = "0.0.0-dev"
        reply = self.bench.ask("GET", "/api/config", key=None)
        self.assertEqual(
            (reply.json["version"], reply.headers["x-daytona-api-version"]), ("0.0.0-dev",) * 2
        )

    def test_failed_keys_count(self) -> None:
        """A client's own credential, let through, blocks everybody who comes from there."""
        self.bench.simulator.failed_key_limit = 2
        for status in (401, 401, 429):
            self.assertEqual(self.bench.ask("GET", "/api/sandbox", key="mine").status, status)
        self.assertEqual(self.bench.ask("GET", "/api/sandbox").status, 429)
        self.assertEqual(self.bench.ask("GET", "/api/config", key=None).status, 200)

    def test_busy(self) -> None:
        """429 says when to come back, and 503 is an error of Daytona's own kind."""
        self.bench.simulator.fail_next(429)
        reply = self.bench.ask("GET", "/api/sandbox")
        self.assertEqual((reply.status, reply.headers["retry-after"]), (429, "1"))
        self.assertIn("x-ratelimit-remaining-authenticated", reply.headers)
        self.bench.simulator.fail_next(503)
        self.assertEqual(self.bench.ask("GET", "/api/sandbox").json["statusCode"], 503)
        self.bench.simulator.fail_next(502)
        self.assertIn("text/html", self.bench.ask("GET", "/api/sandbox").headers["content-type"])

    def test_lost_race(self) -> None:
        """Another operation on the row is 409 in every dialect."""
        for dialect in Dialect:
            self.bench.simulator.dialect = dialect
            self.bench.simulator.lose_race_next(route="stop")
            reply = self.bench.verb(self.sandbox, "stop")
            self.assertEqual(reply.status, 409)
            self.assertIn("modified by another operation", reply.json["message"])

    def test_leaked_header(self) -> None:
        """A client's wish to leave the last activity alone is honoured, so that it is seen."""
        self.bench.clock.advance(100)
        path, record = (
            f"/api/sandbox/{self.sandbox}/last-activity",
            self.bench.simulator.records[self.sandbox],
        )
        before = record.last_activity_at
        header = {"X-Daytona-Skip-Last-Activity-Update": "true"}
        self.assertEqual(self.bench.ask("POST", path, headers=header).status, 201)
        self.assertEqual(record.last_activity_at, before)
        self.assertEqual(self.bench.ask("POST", path).status, 201)
        self.assertGreater(record.last_activity_at, before)
