"""
Recover and resize: what reaches intake.
"""

from __future__ import annotations

from attrs import evolve

from sandbox_billing.errors import Refused
from tests.web.asking import AskingTestCase
from tests.web.world import OWNER, SANDBOX, TERMS, World


class RecoverTests(AskingTestCase):
    """C{POST /api/sandbox/{id}/recover}."""

    PATH = f"/api/sandbox/{SANDBOX}/recover"

    def test_recover(self) -> None:
        """Started, unless it is asked to rest."""
        for query, rests in (("", False), ("?skipStart=false", False), ("?skipStart=true", True)):
            self.world.calls.asked.clear()
            reply = self.ask_by_path("POST", f"{self.PATH}{query}")
            self.assertEqual((200, SANDBOX), (reply.status, reply.json["id"]))
            self.assertEqual(self.world.calls.asked[-1], ("recover", OWNER.address, SANDBOX, rests))

    def test_odd_wish(self) -> None:
        """What Daytona might read as true or false is not guessed."""
        reply = self.ask_by_path("POST", f"{self.PATH}?skipStart=1")
        self.assertEqual(reply.error, (400, "skipStart must be true or false"))

    def test_counted(self) -> None:
        """It counts as a start does, and not when it was refused."""
        self.world = World(evolve(TERMS, lifecycle_per_hour=2))
        self.world.calls.failing["recover"] = Refused("no")
        self.assertEqual(403, self.ask_by_path("POST", self.PATH).status)
        del self.world.calls.failing["recover"]
        for _ in range(2):
            self.assertEqual(200, self.ask_by_path("POST", self.PATH).status)
        self.assertEqual(429, self.ask_by_path("POST", self.PATH).status)


class ResizeTests(AskingTestCase):
    """C{POST /api/sandbox/{id}/resize}."""

    PATH = f"/api/sandbox/{SANDBOX}/resize"

    def test_sizes(self) -> None:
        """Those that are named; null and 0 are omitted, as Daytona reads them."""
        for body, sizes in (
            ({"cpu": 2}, {"cpu": 2}),
            ({"cpu": 2, "memory": 4, "disk": 9}, {"cpu": 2, "memory": 4, "disk": 9}),
            ({"cpu": 2, "memory": None, "disk": 0, "gpu": 0}, {"cpu": 2}),
        ):
            reply = self.ask_by_path("POST", self.PATH, body)
            self.assertEqual(200, reply.status)
            self.assertEqual(self.world.calls.asked[-1], ("resize", OWNER.address, SANDBOX, sizes))

    def test_odd_bodies(self) -> None:
        """No size, no whole number, or a part that nobody prices (P9)."""
        for body in ({}, [], {"cpu": -1}, {"cpu": "2"}, {"memory": True}, {"gpu": 1}, {"cpu": 0}):
            self.assertEqual(400, self.ask_by_path("POST", self.PATH, body).status, body)
        self.assertEqual([], [one for one in self.world.calls.asked if one[0] == "resize"])

    def test_not_offered(self) -> None:
        """403 with the reason."""
        self.world.calls.failing["resize"] = Refused("this provider does not offer it")
        reply = self.ask_by_path("POST", self.PATH, {"cpu": 2})
        self.assertEqual(reply.error, (403, "this provider does not offer it"))
