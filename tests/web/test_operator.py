"""
What operators are shown, over HTTP, and nobody else.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred

from sandbox_billing.adapters.redis.commit import Commit, Write
from sandbox_billing.adapters.redis.draft import stored_form
from sandbox_billing.ledger.audit import FIRST, AuditEntry, chained
from sandbox_billing.ledger.batch import Batch
from sandbox_billing.ledger.dead_letter import DeadLetter
from sandbox_billing.ledger.identity import Address, BatchId, ChargeId, Reference, SandboxId
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds
from sandbox_billing.ledger.overview import HOUR_SECONDS, Difference, Hour, Purse
from sandbox_billing.ledger.resources import Resources
from sandbox_billing.ledger.token import Scope
from sandbox_billing.ledger.totals import Totals
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.key import SigningKey
from sandbox_billing.web._denied import ADMIN_ONLY
from sandbox_billing.web._schemas import SCHEMAS
from sandbox_billing.web.operator import BAD_HOURS, SUMMARY_KEPT_SECONDS
from tests.ports.journal import attempt
from tests.web.asking import AskingTestCase, Reply
from tests.web.world import NOW, OWNER, PROVIDER, SANDBOX, STRANGER, TERMS, World, token_for


# A published key, for tests only.
OPERATOR = SigningKey.from_bytes(bytes([0x55]) * 32)

ROUTES = ("/api/operator/summary", "/api/sessions", "/api/audit-log")
THIS_HOUR = NOW - NOW % HOUR_SECONDS


def session(sandbox: str, owner: Address = OWNER.address) -> Session:
    """One that runs."""
    return Session(
        sandbox=SandboxId(sandbox),
        owner=owner,
        provider=PROVIDER,
        reference=Reference("ref"),
        resources=Resources(cpu=2, memory_gib=4, disk_gib=10),
        rate=NeuronPerMinute(930),
        signer_version=2,
        opened_at=UnixSeconds(NOW - 90),
        started_at=UnixSeconds(NOW - 60),
        charged_until=UnixSeconds(NOW - 60),
        changed_at=UnixSeconds(NOW - 90),
        hold=Neuron(1000),
        auto_stop_minutes=None,
        revision=1,
    )


def hour(begins: int, fees: int, gas: int) -> Hour:
    """Two vouchers in one batch."""
    totals = Totals(batches=1, vouchers=2, fees=Neuron(fees), gas=Neuron(gas))
    return Hour(begins=UnixSeconds(begins), totals=totals)


def faults(value: Any, schema: Mapping[str, Any], at: str = "") -> list[str]:
    """Where a document is not as our OpenAPI document says, in the words that it uses for this."""
    if "$ref" in schema:
        return faults(value, SCHEMAS[schema["$ref"].rpartition("/")[2]], at)
    if "anyOf" in schema:
        tried = [faults(value, one, at) for one in schema["anyOf"]]
        return [] if [] in tried else tried[0]
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    wanted = schema.get("type", [])
    names = [wanted] if isinstance(wanted, str) else wanted
    if names and not any(
        value is None if name == "null" else type(value) is kinds[name] for name in names
    ):
        return [f"{at}: {value!r} is no {wanted}"]
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{at}: {value!r} is none of {schema['enum']}")
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        found.append(f"{at}: {value!r} is not {schema['pattern']}")
    if isinstance(value, int) and value < schema.get("minimum", value):
        found.append(f"{at}: {value} is too small")
    if isinstance(value, list):
        found += [f for one in value for f in faults(one, schema["items"], f"{at}[]")]
    if isinstance(value, dict):
        found += [f"{at}: no {name}" for name in schema.get("required", ()) if name not in value]
        known = schema.get("properties", {})
        if known:
            found += [f"{at}: {name} is not described" for name in value if name not in known]
        for name, one in known.items():
            found += faults(value[name], one, f"{at}.{name}") if name in value else []
    return found


class OperatorCase(AskingTestCase):
    """One operator, who is not the provider."""

    def setUp(self) -> None:
        """Nothing happened yet."""
        self.world = World(evolve(TERMS, operators=frozenset({OPERATOR.address})))
        self.keys = self.world.journal.store.keys

    def write(self, *writes: Write) -> None:
        """As the worker has written it."""
        fact = Commit(name="as stored", fence="f", writes=writes)
        self.successResultOf(Deferred.fromCoroutine(self.world.keyspace.commit(fact)))

    def look(self, target: str, key: SigningKey = OPERATOR) -> Reply:
        """Signed, each for what it asks."""
        return self.ask_by_path("GET", target, key=key)

    def summary(self, query: str = "") -> Any:
        """What is answered now, not what was a moment ago."""
        self.world.clock.advance(SUMMARY_KEPT_SECONDS)
        reply = self.look(f"/api/operator/summary{query}")
        self.assertEqual(reply.status, 200, reply.json)
        self.assertEqual(faults(reply.json, SCHEMAS["OperatorSummary"]), [])
        return reply.json


class WhoTests(OperatorCase):
    """Whom it is for."""

    def test_others(self) -> None:
        """Another wallet is told 403, also the provider where others are named; nobody 401."""
        for path in ROUTES:
            self.assertEqual(self.look(path, STRANGER).error, (403, ADMIN_ONLY))
            self.assertEqual(self.ask("GET", path).error, (401, "missing auth headers"))
            token = token_for(self.world, PROVIDER, expires_at=NOW + 60)
            self.assertEqual(self.ask("GET", path, token).error, (403, ADMIN_ONLY))

    def test_operator(self) -> None:
        """Served with a signature, by path and by verb, and with a token that may read."""
        for path in ROUTES:
            self.assertEqual(self.look(path).status, 200)
            token = token_for(
                self.world, OPERATOR.address, expires_at=NOW + 60, scopes=[Scope.READ]
            )
            self.assertEqual(self.ask("GET", path, token).status, 200)
        for path in ROUTES[1:]:
            self.assertEqual(self.ask_signed("GET", path, "list", key=OPERATOR).status, 200)

    def test_narrow_tokens(self) -> None:
        """A token without the scope, or for one sandbox, opens none of it."""
        for path in ROUTES:
            token = token_for(
                self.world, OPERATOR.address, expires_at=NOW + 60, scopes=[Scope.TOOLBOX]
            )
            self.assertEqual(self.ask("GET", path, token).status, 403)
            token = token_for(self.world, OPERATOR.address, expires_at=NOW + 60, only=SANDBOX)
            self.assertEqual(self.ask("GET", path, token).status, 403)

    def test_provider_by_default(self) -> None:
        """Where nobody is named, the provider is the operator."""
        world = World(evolve(TERMS, provider=OWNER.address))
        token = token_for(world, OWNER.address, expires_at=NOW + 60)
        reply = self.ask("GET", "/api/sessions", token, world=world)
        self.assertEqual(reply.status, 200)


class SummaryTests(OperatorCase):
    """How everything stands."""

    def test_can_fail(self) -> None:
        """What is not as it is described is found."""
        told = self.summary()
        for change in ({"sessions": "0"}, {"gas": {}}, {"more": 1}, {"sessions": -1}):
            self.assertNotEqual(faults({**told, **change}, SCHEMAS["OperatorSummary"]), [], change)

    def test_empty(self) -> None:
        """Before anything happened, nothing is made up."""
        told = self.summary()
        self.assertEqual((told["sessions"], told["queue"]["depth"], told["gas"]), (0, 0, None))
        self.assertIsNone(told["queue"]["oldest_age"])
        self.assertEqual(len(told["settled"]["hours"]), 24)
        self.assertEqual(told["settled"]["together"]["amount"], "0")
        self.assertEqual(told["readiness"], {"reasons": {}, "notices": {}})

    def test_settled(self) -> None:
        """Each hour has a row, and all rows together are the sum; a week has 168."""
        key = self.keys.hours()
        for one in (
            hour(THIS_HOUR, 10**30, 7),
            hour(THIS_HOUR - 2 * HOUR_SECONDS, 5, 3),
            hour(THIS_HOUR - 30 * HOUR_SECONDS, 11, 10),
            # By a worker whose clock is ahead: it counts when its hour has come.
            hour(THIS_HOUR + HOUR_SECONDS, 10**20, 1),
        ):
            self.write(Write("ZADD", key, (one.begins, stored_form(one))))
        settled = self.summary()["settled"]
        rows = settled["hours"]
        self.assertEqual([row["begins"] for row in rows][-1], THIS_HOUR)
        self.assertEqual([row["amount"] for row in rows][-3:], ["5", "0", str(10**30)])
        self.assertEqual(settled["together"]["amount"], str(10**30 + 5))
        self.assertEqual(sum(int(row["gas"]) for row in rows), 10)
        settled = self.summary("?hours=168")["settled"]
        self.assertEqual(len(settled["hours"]), 168)
        self.assertEqual(settled["together"]["vouchers"], 6)
        self.assertEqual(self.look("/api/operator/summary?hours=25").error, (400, BAD_HOURS))

    def test_gas(self) -> None:
        """The purse lasts as long as it would at the pace of this week."""
        purse = Purse(
            sender=STRANGER.address,
            balance=Neuron(110),
            floor=Neuron(10),
            transaction=Neuron(3),
            read_at=UnixSeconds(NOW - 5),
        )
        self.write(Write("SET", self.keys.purse(), (stored_form(purse),)))
        self.assertIsNone(self.summary()["gas"]["seconds_left"])
        begun = THIS_HOUR - 9 * HOUR_SECONDS
        spent = hour(begun, 5, 50)
        self.write(Write("ZADD", self.keys.hours(), (begun, stored_form(spent))))
        gas = self.summary()["gas"]
        self.assertEqual(gas["seconds_left"], 2 * (NOW - begun))
        self.assertEqual((gas["address"], gas["balance"]), (checksum(STRANGER.address), "110"))

    def test_what_needs_a_human(self) -> None:
        """Letters as they stand, with whatever words are in them; differences; readiness."""
        hostile = "<script>alert(1)</script>"
        letter = DeadLetter(
            kind="session", name=hostile, reason="it cannot be read", since=UnixSeconds(NOW - 9)
        )
        found = Difference(at=UnixSeconds(NOW), sandbox=hostile, what="adopted", text="ran")
        self.write(
            Write("HSET", self.keys.letters(), (f"session:{hostile}", stored_form(letter))),
            Write("RPUSH", self.keys.differences(), (stored_form(found),)),
            Write("ZADD", self.keys.stops(), (NOW, SANDBOX)),
            Write("SET", self.keys.stop_reason(SandboxId(SANDBOX)), ("spend_limit",)),
            Write("HSET", self.keys.stop(SandboxId(SANDBOX)), ("ordered_at", NOW - 70)),
        )
        self.world.readiness.now["watcher"] = "no node answers"
        told = self.summary()
        self.assertEqual(told["dead_letters"]["count"], 1)
        self.assertEqual(told["dead_letters"]["letters"][0]["name"], hostile)
        self.assertEqual(told["reconcile"]["differences"][0]["sandbox"], hostile)
        self.assertEqual(told["stop_orders"]["orders"][0]["age"], 70)
        self.assertEqual(told["readiness"]["reasons"], {"watcher": "no node answers"})

    def test_batches(self) -> None:
        """Those under way with their attempts, and not a byte of their transactions."""
        batch = Batch(
            id=BatchId("batch-1"),
            wallets=(OWNER.address,),
            charges=(ChargeId("c"),),
            created_at=UnixSeconds(NOW - 9),
            attempts=(attempt(), evolve(attempt(), fee_cap=Neuron(10**30))),
        )
        self.write(
            Write("SET", self.keys.batch(batch.id), (stored_form(batch),)),
            Write("ZADD", self.keys.batches(), (NOW - 9, batch.id)),
        )
        told = self.summary()["batches"]
        self.assertEqual((told["count"], told["batches"][0]["vouchers"]), (1, 1))
        caps = [one["fee_cap"] for one in told["batches"][0]["attempts"]]
        self.assertEqual(caps, [str(attempt().fee_cap), str(10**30)])
        self.assertNotIn(attempt().raw, str(told))

    def test_kept(self) -> None:
        """Who looks again at once costs the store nothing; a moment later he sees what is new."""
        self.summary()
        self.write(Write("SADD", self.keys.sessions(), ("sb",)))
        self.assertEqual(self.look("/api/operator/summary").json["sessions"], 0)
        self.assertEqual(self.summary()["sessions"], 1)


class SessionsTests(OperatorCase):
    """Open sessions of all wallets."""

    def setUp(self) -> None:
        """Three, of two wallets."""
        super().setUp()
        for name, owner in (("a", OWNER), ("b", STRANGER), ("c", OWNER)):
            one = session(name, owner.address)
            self.write(
                Write("SET", self.keys.session(one.sandbox), (stored_form(one),)),
                Write("SADD", self.keys.sessions(), (name,)),
            )

    def test_pages(self) -> None:
        """Each once, with owner, size and rate."""
        page = self.look("/api/sessions?limit=2").json
        self.assertEqual(faults(page, SCHEMAS["OpenSessions"]), [])
        self.assertEqual((page["total"], page["next"]), (3, "b"))
        first = page["sessions"][0]
        self.assertEqual((first["sandbox"], first["owner"]), ("a", checksum(OWNER.address)))
        self.assertEqual((first["cpu"], first["rate_per_minute"], first["seconds"]), (2, "930", 60))
        page = self.look("/api/sessions?limit=2&cursor=b").json
        self.assertEqual(
            ([one["sandbox"] for one in page["sessions"]], page["next"]), (["c"], None)
        )

    def test_damaged(self) -> None:
        """One that cannot be read hides none of the others."""
        self.write(Write("SET", self.keys.session(SandboxId("b")), ("{",)))
        page = self.look("/api/sessions").json
        self.assertEqual([one["sandbox"] for one in page["sessions"]], ["a", "c"])

    def test_bad_limit(self) -> None:
        """No page is longer than others."""
        self.assertEqual(self.look("/api/sessions?limit=201").status, 400)


class AuditTests(OperatorCase):
    """What operators decided."""

    def append(self, count: int) -> None:
        """Entries that follow one another, as the desk writes them."""
        last = None
        for number in range(count):
            previous = FIRST if last is None else hashlib.sha256(last).hexdigest()
            entry = AuditEntry(
                at=UnixSeconds(NOW + number),
                by="somebody",
                what="forgive",
                subject=f"charge {number}",
                amount=Neuron(10**20),
                reason="<b>a gift</b>",
                previous=previous,
            )
            last = stored_form(entry)
            self.write(Write("RPUSH", self.keys.audit(), (last,)))

    def test_pages(self) -> None:
        """Newest first; each page begins where the one before ended, and all entries follow."""
        self.append(5)
        found, query = [], "?limit=2"
        while True:
            page = self.look(f"/api/audit-log{query}").json
            self.assertEqual(faults(page, SCHEMAS["AuditLog"]), [])
            found += page["entries"]
            if page["next"] is None:
                break
            query = f"?limit=2&cursor={page['next']}"
        self.assertEqual([one["number"] for one in found], [5, 4, 3, 2, 1])
        self.assertEqual({one["follows"] for one in found}, {True})
        for newer, older in pairwise(found):
            digest = hashlib.sha256(older["form"].encode()).hexdigest()
            self.assertEqual((older["hash"], newer["entry"]["previous"]), (digest, digest))
        self.assertEqual(found[0]["entry"]["amount"], str(10**20))

    def test_tampered(self) -> None:
        """An entry that was taken out is missed by the one after it, also across pages."""
        self.append(4)
        self.write(Write("LREM", self.keys.audit(), (1, self.entry_form(2))))
        page = self.look("/api/audit-log?limit=1").json
        self.assertIs(page["entries"][0]["follows"], False)
        page = self.look("/api/audit-log").json
        self.assertEqual([one["follows"] for one in page["entries"]], [False, True, True])

    def entry_form(self, place: int) -> str:
        """As it is stored."""
        entries = self.look("/api/audit-log").json["entries"]
        form: str = entries[::-1][place]["form"]
        return form

    def test_damaged_and_old(self) -> None:
        """What cannot be read is shown as it is; what is older than the chain follows nothing."""
        old = AuditEntry(
            at=UnixSeconds(NOW),
            by="x",
            what="drop",
            subject="y",
            amount=Neuron(0),
            reason="",
        )
        self.write(Write("RPUSH", self.keys.audit(), (stored_form(old), "{")))
        page = self.look("/api/audit-log").json
        self.assertEqual(faults(page, SCHEMAS["AuditLog"]), [])
        damaged, first = page["entries"]
        self.assertEqual(
            (damaged["entry"], damaged["form"], damaged["follows"]), (None, "{", False)
        )
        self.assertIsNone(first["follows"])

    def test_hash_taken_out(self) -> None:
        """An entry without a hash among those that have one is no older one, on no page."""
        old = AuditEntry(
            at=UnixSeconds(NOW),
            by="x",
            what="drop",
            subject="y",
            amount=Neuron(0),
            reason="",
        )
        self.write(Write("RPUSH", self.keys.audit(), (stored_form(old),)))
        first = stored_form(chained(old, stored_form(old)))
        put_in = stored_form(evolve(old, subject="put in"))
        last = stored_form(chained(old, put_in))
        self.write(Write("RPUSH", self.keys.audit(), (first, put_in, put_in, last)))
        told = [one["follows"] for one in self.look("/api/audit-log").json["entries"]]
        self.assertEqual(told, [True, False, False, True, None])
        page = self.look("/api/audit-log?limit=1&cursor=3").json
        self.assertEqual([one["follows"] for one in page["entries"]], [False])

    def test_bad_cursor(self) -> None:
        """A cursor is a number."""
        self.assertEqual(self.look("/api/audit-log?cursor=-1").status, 400)
