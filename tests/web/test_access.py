"""
Ways into a sandbox past us, and what its owner may open.
"""

from __future__ import annotations

import re

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput
from sandbox_billing.web.access import CLOSED_PORTS, preview_shown, read_network
from tests.web.asking import AskingTestCase, Reply
from tests.web.world import FOREIGN, NOW, OWNER, SANDBOX, World, token_for


ONE = f"/api/sandbox/{SANDBOX}"
OTHERS = f"/api/sandbox/{FOREIGN}"


class AccessTestCase(AskingTestCase):
    """
    Requests of the owner's.
    """

    def calls(self, name: str) -> list[tuple[object, ...]]:
        """What reached Daytona under that name."""
        return [call[1:] for call in self.world.calls.asked if call[0] == name]


class SshTests(AccessTestCase):
    """
    SSH.
    """

    def test_access(self) -> None:
        """The host is ours and the token ends before an unwatched sandbox would."""
        path = f"{ONE}/ssh-access"
        reply = self.ask_by_path("POST", f"{path}?expiresInMinutes=600")
        self.assertEqual(reply.json["sshCommand"], "ssh -p 2222 t0ken@ssh.example")
        self.ask_by_path("POST", f"{path}?expiresInMinutes=5")
        self.ask_signed("POST", path, "ssh-access", SANDBOX)
        self.assertEqual(self.calls("ssh_access"), [(SANDBOX, 60), (SANDBOX, 5), (SANDBOX, 60)])

    def test_for_no_time(self) -> None:
        """An expiry is a positive number."""
        for text in ("0", "-1", "1e3", "", "x"):
            reply = self.ask_by_path("POST", f"{ONE}/ssh-access?expiresInMinutes={text}")
            self.assertEqual(
                reply.error, (400, "expiresInMinutes must be a whole number from 1 to 1000000")
            )

    def test_revoked(self) -> None:
        """One token, or all of them; the reply is a Sandbox through our door."""
        reply = self.ask_by_path("DELETE", f"{ONE}/ssh-access?token=abc")
        self.assertEqual(reply.json["toolboxProxyUrl"], "https://sandboxes.example/toolbox")
        self.assertEqual(self.ask_by_path("DELETE", f"{ONE}/ssh-access").status, 200)
        self.assertEqual(self.calls("revoke_ssh"), [(SANDBOX, "abc"), (SANDBOX, None)])

    def test_odd_tokens(self) -> None:
        """What no token looks like, the empty one too, never reaches Daytona: empty is all."""
        for text in ("", "a%20b", "a%2Fb", "x" * 257):
            reply = self.ask_by_path("DELETE", f"{ONE}/ssh-access?token={text}")
            self.assertEqual(reply.status, 400)
        self.assertEqual(self.calls("revoke_ssh"), [])


class UnmeteredTests(AccessTestCase):
    """
    A sandbox that only its label gives to somebody.
    """

    def test_nobody_pays(self) -> None:
        """No way in for as long as it was never metered; every way out."""
        self.world.doors.recorded.clear()
        for method, path in (
            ("POST", "ssh-access"),
            ("GET", "ports/3000/signed-preview-url"),
            ("POST", "public/true"),
        ):
            reply = self.ask_by_path(method, f"{ONE}/{path}")
            self.assertEqual(reply.status, 409, path)
            self.assertIn("not metered", reply.json["error"])
        self.assertEqual({call[0] for call in self.world.calls.asked}, {"owned"})
        # What it says to do is something that can be done.
        (told,) = re.findall(r" POST (\S+),", reply.json["error"])
        self.assertEqual(self.ask_by_path("POST", told).status, 200)
        self.assertEqual(self.ask_by_path("POST", f"{ONE}/public/false").status, 200)
        self.assertEqual(self.ask_by_path("DELETE", f"{ONE}/ssh-access").status, 200)


class PreviewTests(AccessTestCase):
    """
    Preview URLs.
    """

    def signed(self, tail: str, base: str = ONE) -> Reply:
        """A signed preview of a port."""
        return self.ask_by_path("GET", f"{base}/ports/{tail}")

    def test_unsigned(self) -> None:
        """An unsigned token opens the toolbox around us: nobody gets one."""
        reply = self.signed("3000/preview-url")
        self.assertEqual(reply.status, 403)
        self.assertIn("signed-preview-url", reply.json["error"])
        self.assertEqual(self.world.calls.asked, [])

    def test_capped(self) -> None:
        """A preview ends before an unwatched sandbox would."""
        for query, seconds in (
            ("", 60),
            ("?expiresInSeconds=5", 5),
            ("?expiresInSeconds=86400", 3600),
        ):
            self.assertEqual(self.signed(f"3000/signed-preview-url{query}").status, 200)
            self.assertEqual(self.calls("signed_preview")[-1], (SANDBOX, 3000, seconds))

    def test_expiry_is_bounded(self) -> None:
        """As Daytona bounds it."""
        for text in ("0", "86401", "x"):
            reply = self.signed(f"3000/signed-preview-url?expiresInSeconds={text}")
            self.assertEqual(reply.status, 400)

    def test_closed_ports(self) -> None:
        """No preview leads into the toolbox or to SSH, however the port is spelt."""
        for port in CLOSED_PORTS:
            for text in (str(port), f"0{port}"):
                self.assertEqual(self.signed(f"{text}/signed-preview-url").status, 403)
        for text in ("0", "65536", "http", "-1", "3000%20"):
            self.assertEqual(self.signed(f"{text}/signed-preview-url").status, 400)
        self.assertEqual(self.world.calls.asked, [])

    def test_host(self) -> None:
        """With PROXY_DOMAIN the URL leads there; without, where Daytona says."""
        reply = self.signed("3000/signed-preview-url")
        self.assertEqual(reply.json["url"], "http://3000-t0ken.proxy.internal:4000")
        self.world = World(evolve(self.world.desk.terms, proxy_domain="p.example"))
        reply = self.signed("3000/signed-preview-url")
        self.assertEqual(reply.json["url"], "https://3000-t0ken.p.example")

    def test_others(self) -> None:
        """Daytona is not asked for a way into another's sandbox."""
        self.assertEqual(self.signed("3000/signed-preview-url", OTHERS).status, 403)
        self.assertEqual(self.calls("signed_preview"), [])

    def test_expired(self) -> None:
        """A token is ended when it is this sandbox's and this port's."""
        self.signed("3000/signed-preview-url")
        path = f"{ONE}/ports/3000/signed-preview-url/t0ken/expire"
        self.assertEqual(self.ask_by_path("POST", path).status, 200)
        self.assertEqual(self.calls("expire_preview"), [(SANDBOX, 3000, "t0ken")])

    def test_expiry_of_others(self) -> None:
        """Daytona would end anybody's: nobody's, another's and odd ones are 404."""
        self.world.runtime.held["theirs", 3000] = FOREIGN
        for token in ("theirs", "none", "a%20b", "%2e%2e"):
            path = f"{ONE}/ports/3000/signed-preview-url/{token}/expire"
            self.assertIn(self.ask_by_path("POST", path).status, (400, 404))
        self.assertEqual(self.calls("expire_preview"), [])


class OpenTests(AccessTestCase):
    """
    Who may reach a sandbox, and what it may reach.
    """

    def test_public(self) -> None:
        """The owner opens and closes it with his own signature."""
        for text, flag in (("true", True), ("false", False)):
            reply = self.ask_by_path("POST", f"{ONE}/public/{text}")
            self.assertEqual((reply.status, reply.json["kvm"]), (200, False))
            self.assertEqual(self.calls("set_public")[-1], (SANDBOX, flag))

    def test_public_is_one_of_two(self) -> None:
        """Daytona reads anything but C{true} as no; here it is a mistake."""
        for text in ("1", "TRUE", "yes"):
            self.assertEqual(self.ask_by_path("POST", f"{ONE}/public/{text}").status, 400)
        self.assertEqual(self.calls("set_public"), [])

    def test_public_by_token(self) -> None:
        """A program may close it, and not open it to everybody (P17)."""
        bearer = token_for(self.world, OWNER.address, expires_at=NOW + 60)
        reply = self.ask("POST", f"{ONE}/public/true", bearer)
        self.assertEqual(reply.status, 403)
        self.assertEqual(self.ask("POST", f"{ONE}/public/false", bearer).status, 200)
        self.assertEqual(self.calls("set_public"), [(SANDBOX, False)])

    def test_created_public(self) -> None:
        """Nor does a program create one that is open; C{public: false}, as SDKs say, it may."""
        bearer = token_for(self.world, OWNER.address, expires_at=NOW + 60)
        reply = self.ask("POST", "/api/sandbox", bearer, b'{"public":true}')
        self.assertEqual(reply.status, 403)
        reply = self.ask("POST", "/api/sandbox", bearer, b'{"public":false}')
        self.assertEqual(reply.status, 200)
        self.assertEqual(
            self.ask_signed("POST", "/api/sandbox", "create", "", {"public": True}).status, 200
        )

    def test_network(self) -> None:
        """Daytona's three fields, in their types, and no other."""
        path, body = f"{ONE}/network-settings", {"networkBlockAll": True, "domainAllowList": None}
        self.assertEqual(self.ask_by_path("POST", path, body).status, 200)
        self.assertEqual(self.calls("set_network"), [(SANDBOX, {"networkBlockAll": True})])
        self.assertEqual(self.ask_by_path("POST", path, {"public": True}).status, 400)

    def test_others(self) -> None:
        """Of another's sandbox nothing is opened, closed or told."""
        for method, tail in (
            ("DELETE", "/ssh-access"),
            ("POST", "/public/true"),
            ("GET", "/telemetry/logs"),
            ("GET", "/telemetry/traces/abc"),
            ("GET", "/toolbox-proxy-url"),
            ("GET", "/build-logs-url"),
            ("POST", "/ports/3000/signed-preview-url/t/expire"),
        ):
            self.assertEqual(self.ask_by_path(method, f"{OTHERS}{tail}").status, 403, tail)
        body = {"networkBlockAll": True}
        self.assertEqual(self.ask_by_path("POST", f"{OTHERS}/network-settings", body).status, 403)
        self.assertEqual({call[0] for call in self.world.calls.asked}, {"owned"})


class LookTests(AccessTestCase):
    """
    Telemetry and addresses.
    """

    def test_telemetry(self) -> None:
        """Each kind with its own query; a name that may stand twice does."""
        for target, kind, query in (
            (
                "logs?from=a&to=b&page=1&limit=5&search=x&severities=warn&severities=error",
                ("logs",),
                {
                    "from": "a",
                    "to": "b",
                    "page": "1",
                    "limit": "5",
                    "search": "x",
                    "severities": ("warn", "error"),
                },
            ),
            ("metrics?from=a&to=b&metricNames=cpu", ("metrics",), {"metricNames": ("cpu",)}),
            ("traces?from=a&to=b", ("traces",), {}),
            ("traces/0af7", ("traces", "0af7"), None),
        ):
            reply = self.ask_by_path("GET", f"{ONE}/telemetry/{target}")
            self.assertEqual((reply.status, reply.json), (200, {"items": []}))
            span = {} if query is None else {"from": "a", "to": "b"}
            expected = (SANDBOX, kind, {**span, **(query or {})})
            self.assertEqual(self.calls("telemetry")[-1], expected)

    def test_odd_traces(self) -> None:
        """A trace's name is one step of a path."""
        for text in ("a%20b", "a.b", "x" * 65):
            self.assertEqual(self.ask_by_path("GET", f"{ONE}/telemetry/traces/{text}").status, 404)
        self.assertEqual(self.world.calls.asked, [])

    def test_addresses(self) -> None:
        """Toolbox and build logs are reached through us; Daytona is not asked where."""
        reply = self.ask_by_path("GET", f"{ONE}/toolbox-proxy-url")
        self.assertEqual(reply.json, {"url": "https://sandboxes.example/toolbox"})
        reply = self.ask_by_path("GET", f"{ONE}/build-logs-url")
        url = f"https://sandboxes.example/sandboxes/{SANDBOX}/build-logs"
        self.assertEqual(reply.json, {"url": url})


class ReadingTests(SynchronousTestCase):
    """
    Bodies and addresses by themselves.
    """

    def test_network_bodies(self) -> None:
        """Another type, an unknown name and nothing at all are refused."""
        for body in (
            [],
            {},
            {"networkBlockAll": None},
            {"networkBlockAll": 1},
            {"networkAllowList": ["10.0.0.0/8"]},
            {"domainAllowList": "x" * 20_000},
            {"networkBlockAll": True, "labels": {}},
        ):
            self.assertRaises(BadInput, read_network, body)
        self.assertEqual(
            read_network({"networkAllowList": "10.0.0.0/8"}), {"networkAllowList": "10.0.0.0/8"}
        )

    def test_preview_hosts(self) -> None:
        """Path and query stay; what has no URL stays as it is."""
        moved = preview_shown({"url": "http://80-a.b.c:1/d?e=f"}, "g.h")
        self.assertEqual(moved, {"url": "https://80-a.g.h/d?e=f"})
        self.assertEqual(preview_shown({"url": None}, "g.h"), {"url": None})
