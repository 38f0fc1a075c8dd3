"""A wallet's settings, and going on after a top-up, through the front desk."""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from sandbox_billing.adapters.redis import controls as stored_controls
from sandbox_billing.interfaces import CannotPay, Resumed
from sandbox_billing.ledger.controls import Controls, SandboxLimit
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.token import Allowance, Scope
from sandbox_billing.web.controls import BODY, BOUNDED, MOVES, NOT_OWNED, TOO_MANY
from tests.web.asking import AskingTestCase, Reply
from tests.web.world import FOREIGN, NOW, OWNER, SANDBOX, STRANGER, sandbox, token_for


PATH = "/api/account/settings"
NOTHING_SET = {
    "auto_resume": False,
    "limits": {"per_day": None, "total": None, "sandboxes": {}},
}


class ControlCase(AskingTestCase):
    """Settings over a real journal in memory."""

    def put(self, body: Any, headers: Any = None) -> Reply:
        """Other settings."""
        sent = json.dumps(body).encode()
        if headers is not None:
            return self.ask("PUT", PATH, {**headers, "Content-Type": "application/json"}, sent)
        return self.ask_by_path("PUT", PATH, body=body)

    def stored(self, key: Any = OWNER) -> Controls:
        """As the journal has them."""
        work = self.world.journal.controls.controls(key.address)
        return self.successResultOf(Deferred.fromCoroutine(work))


class SettingsTests(ControlCase):
    """What a wallet sets."""

    def test_nothing_set(self) -> None:
        """Nothing is bounded that nobody bounded."""
        self.assertEqual(self.ask_by_path("GET", PATH).json, NOTHING_SET)

    def test_set_and_shown(self) -> None:
        """What is set is shown, to this wallet alone, and may be sent back as it was shown."""
        limits = {"per_day": "5", "total": "70", "sandboxes": {SANDBOX: "3"}}
        body = {"auto_resume": True, "limits": limits}
        self.assertEqual(self.put(body).json, body)
        self.assertEqual(self.ask_by_path("GET", PATH).json, body)
        self.assertEqual(self.put(body).json, body)
        self.assertEqual(self.ask_by_path("GET", PATH, key=STRANGER).json, NOTHING_SET)
        found = self.stored()
        self.assertEqual(found.sandboxes, (SandboxLimit(SandboxId(SANDBOX), Neuron(3)),))
        self.assertEqual((found.changed_at, found.revision), (NOW, 2))

    def test_what_is_left_out_stays(self) -> None:
        """One thing is changed without the others; null takes a limit away."""
        self.put({"limits": {"per_day": "5", "sandboxes": {SANDBOX: "3"}}})
        self.put({"auto_resume": True})
        self.put({"limits": {"per_day": None}})
        found = self.ask_by_path("GET", PATH).json
        self.assertEqual(found["limits"]["sandboxes"], {SANDBOX: "3"})
        self.assertEqual((found["auto_resume"], found["limits"]["per_day"]), (True, None))
        self.put({"limits": {"sandboxes": {}}})
        self.assertEqual(self.ask_by_path("GET", PATH).json["limits"]["sandboxes"], {})

    def test_malformed(self) -> None:
        """What is no setting changes nothing."""
        for body in (
            [],
            {"autoresume": True},
            {"auto_resume": "yes"},
            {"auto_resume": None},
            {"limits": None},
            {"limits": {"per_week": "1"}},
            {"limits": {"sandboxes": ["a"]}},
        ):
            self.assertEqual(self.put(body).error, (400, BODY), body)
        for limit in (5, "-1", "1.5", "", "1e9", True):
            reply = self.put({"limits": {"per_day": limit}})
            self.assertEqual(reply.status, 400, limit)
        for name in ("per_day", "total"):
            self.assertEqual(self.put({"limits": {name: str(2**128 + 1)}}).status, 400)
        reply = self.put({"limits": {"sandboxes": {SANDBOX: str(2**256 - 1)}}})
        self.assertEqual(reply.status, 400)
        many = {"limits": {"sandboxes": {f"sb-{n}": "1" for n in range(101)}}}
        self.assertEqual(self.put(many).error, (400, TOO_MANY))
        self.assertEqual(self.stored(), Controls())

    def test_moves_while_it_is_read(self) -> None:
        """What cannot be counted just now is asked for again, and nothing is changed."""
        self.patch(stored_controls, "TRIES", 0)
        self.assertEqual(self.put({"auto_resume": True}).error, (503, MOVES))
        self.assertEqual(self.ask_by_path("GET", "/api/account").status, 503)
        self.assertEqual(self.stored(), Controls())

    def test_whose_sandboxes(self) -> None:
        """What is no id of the wallet's own is named, and nothing at all is changed."""
        self.put({"limits": {"sandboxes": {SANDBOX: "3"}}})
        for other in (SANDBOX[:-1] + "7", FOREIGN, "desk"):
            limits = {"per_day": "5", "sandboxes": {SANDBOX: "4", other: "1"}}
            reply = self.put({"auto_resume": True, "limits": limits})
            self.assertEqual(reply.error, (404, NOT_OWNED.format(other)))
            found = self.stored()
            self.assertEqual((found.auto_resume, found.per_day, found.revision), (False, None, 1))
        # By Daytona's word, before there is a record.
        self.world.intake.sandboxes["new-1"] = (OWNER.address, sandbox("new-1", OWNER.address))
        named = sandbox("new-2", OWNER.address, name="desk")
        self.world.intake.sandboxes["new-2"] = (OWNER.address, named)
        self.assertEqual(self.put({"limits": {"sandboxes": {"desk": "1"}}}).status, 404)
        limits = {"sandboxes": {SANDBOX: "4", "new-1": "1"}}
        self.assertEqual(self.put({"limits": limits}).status, 200)
        # One that stands is kept when its sandbox, and what is known of it, are gone.
        self.world.intake.sandboxes.clear()
        self.world.doors.recorded.clear()
        self.assertEqual(self.put({"limits": {"per_day": "5", **limits}}).status, 200)

    def test_whose_word(self) -> None:
        """A token that manages may change them; one that is bounded, or only reads, may not."""
        wallet = OWNER.address
        ends = NOW + 60
        for scopes, status in (((Scope.READ,), 403), ((Scope.READ, Scope.MANAGE), 200)):
            headers = token_for(self.world, wallet, expires_at=ends, scopes=scopes)
            self.assertEqual(self.put({"auto_resume": True}, headers).status, status)
        headers = token_for(self.world, wallet, expires_at=ends)
        (token,) = self.world.tokens.kept.values()
        self.world.tokens.kept[token.id] = evolve(token, spend_limit=Neuron(10**30))
        reply = self.put({"limits": {"per_day": None}}, headers)
        self.assertEqual(reply.error, (403, BOUNDED))
        headers = token_for(self.world, wallet, expires_at=ends, only=SANDBOX)
        self.assertEqual(self.put({"auto_resume": True}, headers).status, 403)


class ResumeTests(ControlCase):
    """Going on."""

    def test_told_of_each(self) -> None:
        """What runs, and why the others do not."""
        self.world.resumer.done = Resumed(
            resumed=(SandboxId("a"),), failed={SandboxId("b"): "insufficient balance"}
        )
        reply = self.ask_by_path("POST", "/api/account/resume")
        self.assertEqual(
            (reply.status, reply.json),
            (200, {"resumed": ["a"], "failed": {"b": "insufficient balance"}}),
        )
        self.assertEqual(self.world.calls.asked[-1], ("resume", OWNER.address, None))

    def test_no_money(self) -> None:
        """Refused as a start is."""
        self.world.calls.failing["resume"] = CannotPay(
            text="insufficient balance",
            code="debt",
            balance=Neuron(0),
            required=Neuron(5),
            exposure=Neuron(0),
        )
        reply = self.ask_by_path("POST", "/api/account/resume")
        self.assertEqual((reply.status, reply.json["code"]), (402, "debt"))

    def test_counts_for_its_token(self) -> None:
        """A token with a limit resumes within it."""
        headers = token_for(self.world, OWNER.address, expires_at=NOW + 60)
        (token,) = self.world.tokens.kept.values()
        self.world.tokens.kept[token.id] = evolve(token, spend_limit=Neuron(9))
        self.assertEqual(self.ask("POST", "/api/account/resume", headers).status, 200)
        allowance = Allowance(token.id, Neuron(9))
        self.assertEqual(self.world.calls.asked[-1], ("resume", OWNER.address, allowance))
