"""
The routes below C{/api/sandbox}: what reaches intake and Daytona, and what is shown.
"""

from __future__ import annotations

import json

from sandbox_billing.errors import NoAnswerInTime, StoreDown, Transient, UnknownOutcome
from sandbox_billing.interfaces import (
    CannotPay,
    DaytonaRefused,
    NoSuchSnapshot,
    NotReady,
    StopPending,
    TooMany,
    TooSlow,
)
from sandbox_billing.ledger.money import Neuron
from tests.web.asking import AskingTestCase, Reply
from tests.web.world import FOREIGN, OWNER, SANDBOX, STRANGER, sandbox


class LifecycleTests(AskingTestCase):
    """
    One sandbox.
    """

    def test_create_rebuilds_the_body(self) -> None:
        """Only allowed fields reach intake; the wish for an auto-stop goes beside them."""
        body = {
            "name": "box",
            "snapshot": "small",
            "env": {"A": "1"},
            "labels": {"team": "x"},
            "autoStopInterval": 5,
            "autoArchiveInterval": 60,
            "autoDeleteInterval": -1,
            "volumes": [],
            "linkedSandbox": None,
        }
        reply = self.ask_signed("POST", "/api/sandbox", "create", "", body)
        self.assertEqual(reply.status, 200)
        self.assertEqual(
            self.world.calls.asked,
            [
                (
                    "create",
                    OWNER.address,
                    {
                        "name": "box",
                        "snapshot": "small",
                        "env": {"A": "1"},
                        "labels": {"team": "x"},
                    },
                    5,
                )
            ],
        )
        self.assertEqual(
            reply.header("X-Billing-Ignored"), "autoArchiveInterval, autoDeleteInterval"
        )
        self.assertEqual(reply.json["name"], "box")

    def test_create_without_a_body(self) -> None:
        """No body is an empty object, and nothing was ignored."""
        reply = self.ask_signed("POST", "/api/sandbox", "create")
        self.assertEqual(reply.status, 200)
        self.assertEqual(self.world.calls.asked, [("create", OWNER.address, {}, None)])
        self.assertIsNone(reply.header("X-Billing-Ignored"))

    def test_shown_through_our_door(self) -> None:
        """The toolbox is reached through us, and fields that newer SDKs need are there."""
        id, key = "old", OWNER.address
        old = sandbox(id, key)
        self.world.intake.sandboxes[id] = (key, old)
        document = {k: v for k, v in old.document.items() if k != "networkBlockAll"}
        object.__setattr__(old, "document", document)
        shown = self.ask_signed("GET", f"/api/sandbox/{id}", "list", id).json
        self.assertEqual(shown["toolboxProxyUrl"], "https://sandboxes.example/toolbox")
        self.assertIs(shown["kvm"], False)
        self.assertIs(shown["networkBlockAll"], False)

    def test_owner_routes(self) -> None:
        """Each verb asks intake for the same verb, by whatever name the path has."""
        for method, tail, verb, called in (
            ("POST", "/start", "start", "start"),
            ("POST", "/stop", "stop", "stop"),
            ("POST", "/archive", "archive", "archive"),
            ("DELETE", "", "delete", "delete"),
            ("GET", "", "list", "owned"),
        ):
            self.world.calls.asked.clear()
            reply = self.ask_signed(method, f"/api/sandbox/{SANDBOX}{tail}", verb, SANDBOX)
            self.assertEqual((reply.status, reply.json["id"]), (200, SANDBOX))
            self.assertEqual(self.world.calls.asked, [(called, OWNER.address, SANDBOX)])

    def test_names_are_decoded(self) -> None:
        """A name is signed as spelt in the path and looked up as it reads."""
        named = sandbox("id-2", OWNER.address, name="my box")
        self.world.intake.sandboxes["id-2"] = (OWNER.address, named)
        reply = self.ask_signed("POST", "/api/sandbox/my%20box/stop", "stop", "my%20box")
        self.assertEqual(reply.json["id"], "id-2")

    def test_strangers(self) -> None:
        """Another's id is 403, nobody's is 404."""
        reply = self.ask_signed("GET", f"/api/sandbox/{FOREIGN}", "list", FOREIGN)
        self.assertEqual(reply.error, (403, "this sandbox belongs to another wallet"))
        reply = self.ask_signed("GET", "/api/sandbox/none", "list", "none")
        self.assertEqual(reply.error, (404, "no such sandbox"))

    def test_labels(self) -> None:
        """What a user was shown he may send back: our own labels are not his to write."""
        body = {"labels": {"a": "b", "daytona-owner": STRANGER.address.hex}}
        reply = self.ask_signed("PUT", f"/api/sandbox/{SANDBOX}/labels", "labels", SANDBOX, body)
        self.assertEqual(reply.status, 200)
        self.assertEqual(
            self.world.calls.asked, [("replace_labels", OWNER.address, SANDBOX, {"a": "b"})]
        )

    def test_label_bodies_of_another_shape(self) -> None:
        """Nothing but C{labels}, and strings in it (P3)."""
        for body, text in (
            ({}, 'the body must be {"labels": {...}}'),
            ({"labels": None}, "labels must be an object of strings"),
            ({"labels": {"a": 1}}, "labels must be an object of strings"),
            (
                {"labels": {}, "daytona-owner": "x"},
                "unknown or forbidden field: daytona-owner",
            ),
        ):
            reply = self.ask_signed(
                "PUT", f"/api/sandbox/{SANDBOX}/labels", "labels", SANDBOX, body
            )
            self.assertEqual(reply.error, (400, text))
        self.assertEqual(self.world.calls.asked, [])

    def test_ensure_billing(self) -> None:
        """It waits for one reconcile, or says that there was none."""
        path = f"/api/sandbox/{SANDBOX}/ensure-billing"
        reply = self.ask_signed("POST", path, "ensure-billing", SANDBOX)
        self.assertEqual((reply.status, reply.json), (200, {"ok": True}))
        self.world.calls.failing["reconcile"] = NotReady("not looked at within 10 s")
        reply = self.ask_signed("POST", path, "ensure-billing", SANDBOX)
        self.assertEqual(reply.error, (503, "not looked at within 10 s"))

    def test_intervals_are_not_the_users(self) -> None:
        """With and without a number, whoever asks, signed or not: refused (P4, wire.md §5)."""
        for kind in ("autostop", "autoarchive", "autodelete"):
            for rest in ("", "/5", "/-1"):
                path = f"/api/sandbox/{SANDBOX}/{kind}{rest}"
                for reply in (
                    self.ask("POST", path),
                    self.ask_by_path("POST", path),
                    self.ask("POST", f"{path}?interval=5&interval=6"),
                ):
                    self.assertEqual(reply.error, (403, "managed by billing proxy"))
        self.assertEqual((self.world.calls.asked, self.world.guard.seen), ([], set()))

    def test_intervals_are_not_read(self) -> None:
        """A body of any kind is not looked at, nor a signature that is none."""
        path = f"/api/sandbox/{SANDBOX}/autostop"
        for headers in ({"Content-Type": "text/plain"}, {"X-Wallet-Address": "0x12"}):
            reply = self.ask("POST", path, headers, b"{not JSON")
            self.assertEqual(reply.error, (403, "managed by billing proxy"))

    def test_stop_and_force(self) -> None:
        """SDKs say C{force=false}; a forced stop is not offered."""
        path = f"/api/sandbox/{SANDBOX}/stop"
        self.assertEqual(self.ask_by_path("POST", f"{path}?force=false").status, 200)
        reply = self.ask_by_path("POST", f"{path}?force=true")
        self.assertEqual(reply.error, (400, "force is not offered"))


class FailureTests(AskingTestCase):
    """
    What intake raises is what the client sees.
    """

    def refused(self, error: Exception) -> Reply:
        """A start that fails so."""
        self.world.calls.failing["start"] = error
        return self.ask_signed("POST", f"/api/sandbox/{SANDBOX}/start", "start", SANDBOX)

    def test_no_funds(self) -> None:
        """402 says how much there is, how much it takes and what is owed already."""
        reply = self.refused(
            CannotPay(
                text="insufficient balance",
                code="insufficient_balance",
                balance=Neuron(10**19),
                required=Neuron(7),
                exposure=Neuron(2**64),
            )
        )
        self.assertEqual(
            (reply.status, reply.json),
            (
                402,
                {
                    "error": "insufficient balance",
                    "balance": "10000000000000000000",
                    "required": "7",
                    "exposure": "18446744073709551616",
                    "code": "insufficient_balance",
                    "statusCode": 402,
                    "message": "insufficient balance",
                    "path": f"/api/sandbox/{SANDBOX}/start",
                    "timestamp": "2023-11-14T22:13:20.000Z",
                },
            ),
        )

    def test_each_family(self) -> None:
        """Every exception has one status, and inner texts stay inside."""
        failed = "a part behind this proxy failed and nothing was changed; try again"
        store = "the store of this proxy does not answer; try again later"
        may = "it may or may not have happened; look before trying again"
        late = f"no answer came in time and {may}"
        unknown = f"a part behind this proxy failed and {may}"
        for error, expected in (
            (StopPending("stop pending"), (409, "stop pending")),
            (NotReady("no mirror"), (503, "no mirror")),
            (TooSlow("Daytona is slow"), (504, "Daytona is slow")),
            (DaytonaRefused("in progress", status=409), (409, "in progress")),
            (NoSuchSnapshot("there is no snapshot x"), (404, "there is no snapshot x")),
            (DaytonaRefused("gone", status=404), (404, "gone")),
            (DaytonaRefused("bad key", status=401), (502, failed)),
            (DaytonaRefused("suspended", status=403), (502, failed)),
            (Transient("http://10.0.0.1 refused"), (502, failed)),
            (StoreDown("10.0.0.2:6379"), (503, store)),
            (UnknownOutcome("POST: answered 500"), (502, unknown)),
            (NoAnswerInTime("POST: 30 s"), (504, late)),
        ):
            self.assertEqual(self.refused(error).error, expected)

    def test_stop_pending(self) -> None:
        """409 has one text and why beside it; what has no reason has no such field."""
        reply = self.refused(StopPending("stop pending", reason="insufficient_balance"))
        self.assertEqual(reply.error, (409, "stop pending"))
        self.assertEqual(reply.json["reason"], "insufficient_balance")
        busy = self.refused(StopPending("in progress", retry_after=12))
        self.assertNotIn("reason", busy.json)
        self.assertEqual("12", busy.header("Retry-After"))
        self.assertIsNone(reply.header("Retry-After"))

    def test_too_many(self) -> None:
        """429 says when to come back, where that helps."""
        reply = self.refused(TooMany("too many starts", retry_after=12))
        self.assertEqual(
            (reply.error, reply.header("Retry-After")), ((429, "too many starts"), "12")
        )
        reply = self.refused(TooMany("too many sandboxes"))
        self.assertIsNone(reply.header("Retry-After"))

    def test_paused(self) -> None:
        """503 says when to come back where admissions are closed for a while."""
        reply = self.refused(NotReady("admissions are paused: prices change", 30))
        self.assertEqual(reply.error, (503, "admissions are paused: prices change"))
        self.assertEqual(reply.header("Retry-After"), "30")
        self.assertIsNone(self.refused(NotReady("no mirror")).header("Retry-After"))

    def test_the_unforeseen(self) -> None:
        """One bland line outside; everything, with the request's id, in the log."""
        reply = self.refused(ZeroDivisionError("secret"))
        self.assertEqual(reply.error, (500, "something went wrong here; it was logged"))
        self.assertNotIn("secret", json.dumps(reply.json))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
