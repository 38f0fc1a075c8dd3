"""
What Daytona tells anybody, as far as it goes on.
"""

from __future__ import annotations

import json

from attrs import evolve

from sandbox_billing.errors import Transient
from tests.web.asking import AskingTestCase
from tests.web.world import World


INSIDE = "10.20.30.40"

CONFIG = {
    "version": "0.190.0",
    "proxyToolboxUrl": f"http://{INSIDE}:4000/toolbox",
    "proxyTemplateUrl": f"http://{{{{PORT}}}}-{{{{sandboxId}}}}.{INSIDE}:4000",
    "dashboardUrl": f"http://{INSIDE}:3000/dashboard",
    "sshGatewayCommand": f"ssh -p 2222 {{{{TOKEN}}}}@{INSIDE}",
    "sshGatewayPublicKey": "ssh-rsa AAAA",
    "defaultSnapshot": "daytona-small",
    "maxAutoArchiveInterval": 43_200,
    "maintananceMode": False,
    "environment": "production",
    "linkedAccountsEnabled": True,
    "announcements": {"a": {"text": INSIDE}},
    "oidc": {"issuer": f"http://{INSIDE}/dex", "clientId": "daytona", "audience": "d"},
    "posthog": {"apiKey": "phc_secret", "host": INSIDE},
    "billingApiUrl": f"http://{INSIDE}/billing",
    "analyticsApiUrl": f"http://{INSIDE}/analytics",
    "pylonAppId": "pylon",
    "somethingNew": INSIDE,
}


class SnapshotTests(AskingTestCase):
    """
    Snapshots a user may start from.
    """

    def setUp(self) -> None:
        """Three for everybody; one of a tenant's own, and others that no create is let from."""
        super().setUp()
        self.world.runtime.snapshot_documents = (
            *(
                {"id": f"s{n}", "name": f"Box-{n}", "general": True, "mem": 1, "disk": 8 + n}
                for n in range(3)
            ),
            {"id": "own", "general": False},
            {"id": "mute"},
            {"id": "gpu", "general": True, "gpu": 1},
            {"id": "large", "general": True, "disk": 11},
            {"id": "odd", "general": True, "cpu": "two"},
        )

    def test_general_ones(self) -> None:
        """In Daytona's shape, page by page, for anybody."""
        page = self.ask("GET", "/api/snapshots?page=2&limit=2").json
        self.assertEqual([one["id"] for one in page.pop("items")], ["s2"])
        self.assertEqual(page, {"total": 3, "page": 2, "totalPages": 2})

    def test_asked_for_once(self) -> None:
        """However often anybody asks, Daytona is asked once in thirty seconds (V2)."""
        for _ in range(5):
            self.assertEqual(self.ask("GET", "/api/snapshots").json["total"], 3)
        self.assertEqual(self.world.calls.asked, [("snapshots",)])
        self.world.clock.advance(30)
        self.ask("GET", "/api/snapshots/s1")
        self.assertEqual(len(self.world.calls.asked), 2)

    def test_failure(self) -> None:
        """A failure is 502 and is not kept."""
        self.world.calls.failing["snapshots"] = Transient("Daytona is away")
        self.assertEqual(self.ask("GET", "/api/snapshots").status, 502)
        self.world.calls.failing.clear()
        self.assertEqual(self.ask("GET", "/api/snapshots").status, 200)

    def test_larger_disks(self) -> None:
        """Where larger disks are offered, so are snapshots with them."""
        self.world = self.world.with_terms(max_disk_gb=11)
        self.world.runtime.snapshot_documents = ({"id": "large", "general": True, "disk": 11},)
        self.assertEqual(self.ask("GET", "/api/snapshots").json["total"], 1)

    def test_bounds(self) -> None:
        """Pages and orders are bounded."""
        for query in (
            *("limit=0", "limit=201", "page=0", "page=-1", "page=x"),
            *("sort=secret", "order=up", "name=a&name=b"),
        ):
            self.assertEqual(self.ask("GET", f"/api/snapshots?{query}").status, 400)

    def test_found_and_sorted(self) -> None:
        """A part of a name finds, without regard to case; an order orders."""
        page = self.ask("GET", "/api/snapshots?name=box-1").json
        self.assertEqual([one["id"] for one in page["items"]], ["s1"])
        for order, ids in (("asc", ["s0", "s1", "s2"]), ("desc", ["s2", "s1", "s0"])):
            page = self.ask("GET", f"/api/snapshots?sort=name&order={order}").json
            self.assertEqual([one["id"] for one in page["items"]], ids)

    def test_one(self) -> None:
        """By id or name; what is not offered does not exist."""
        for wanted in ("s1", "Box-1"):
            self.assertEqual(self.ask("GET", f"/api/snapshots/{wanted}").json["id"], "s1")
        for wanted in ("own", "gpu", "none"):
            reply = self.ask("GET", f"/api/snapshots/{wanted}")
            self.assertEqual(reply.error, (404, "no such snapshot"))

    def test_nothing_of_its_making(self) -> None:
        """Neither what built it nor where it lies is told."""
        self.world.runtime.snapshot_documents = (
            {
                "id": "s",
                "general": True,
                "buildInfo": {"dockerfileContent": INSIDE},
                "ref": INSIDE,
                "initialRunnerId": INSIDE,
                "errorReason": INSIDE,
            },
        )
        reply = self.ask("GET", "/api/snapshots/s").json
        self.assertEqual(reply, {"id": "s", "general": True, "errorReason": None})


class ConfigTests(AskingTestCase):
    """
    C{/api/config} and C{/api/shared-regions}.
    """

    def test_nothing_of_the_inside(self) -> None:
        """No host, key or account of Daytona's goes on, not even one of a later release."""
        self.world.runtime.config_document = CONFIG
        reply = self.ask("GET", "/api/config").json
        text = json.dumps(reply)
        for word in (INSIDE, "phc_secret", "pylon", "AAAA", "somethingNew"):
            self.assertNotIn(word, text)
        self.assertEqual(reply["proxyToolboxUrl"], "https://sandboxes.example/toolbox")
        self.assertEqual(reply["sshGatewayCommand"], "ssh -p 2222 {{TOKEN}}@ssh.example")
        self.assertEqual((reply["version"], reply["defaultSnapshot"]), ("0.190.0", "daytona-small"))

    def test_whole(self) -> None:
        """Every field that SDKs insist on is there, even if Daytona had none of them."""
        needed = {
            *("version", "oidc", "linkedAccountsEnabled", "announcements", "proxyTemplateUrl"),
            *("proxyToolboxUrl", "defaultSnapshot", "dashboardUrl", "maxAutoArchiveInterval"),
            *("maintananceMode", "environment"),
        }
        self.assertLessEqual(needed, set(self.ask("GET", "/api/config").json))

    def test_previews(self) -> None:
        """The template of preview URLs names PROXY_DOMAIN, or nothing."""
        self.assertEqual(self.ask("GET", "/api/config").json["proxyTemplateUrl"], "")
        world = World(evolve(self.world.desk.terms, proxy_domain="p.example"))
        reply = self.ask("GET", "/api/config", world=world).json
        self.assertEqual(reply["proxyTemplateUrl"], "https://{{PORT}}-{{sandboxId}}.p.example")

    def test_asked_for_once(self) -> None:
        """Anybody may ask, as often as he likes."""
        for _ in range(5):
            self.ask("GET", "/api/config")
            self.ask("GET", "/api/shared-regions")
        self.assertEqual(self.world.calls.asked, [("config",), ("regions",)])

    def test_regions(self) -> None:
        """Regions without their hosts."""
        region = {"id": "us", "name": "us", "regionType": "shared", "createdAt": "a"}
        self.world.runtime.region_documents = (
            {
                **region,
                "updatedAt": "b",
                "proxyUrl": INSIDE,
                "sshGatewayUrl": INSIDE,
                "new": INSIDE,
            },
        )
        reply = self.ask("GET", "/api/shared-regions").json
        self.assertEqual(reply, [{**region, "updatedAt": "b"}])
