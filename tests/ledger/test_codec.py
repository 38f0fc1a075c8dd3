"""Stored forms: one value, one form; what is not understood is refused, never guessed."""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve, fields
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger._codec import VERSION, decode, encode
from sandbox_billing.ledger.account import Account, Mirror, ServiceRecord, Settlement
from sandbox_billing.ledger.batch import Attempt, Batch
from sandbox_billing.ledger.hold import Intent
from sandbox_billing.ledger.identity import Nonce
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.notice import Numbered
from sandbox_billing.ledger.order import Order, Piece
from sandbox_billing.ledger.run import Run, run_of
from sandbox_billing.ledger.token import Token
from sandbox_billing.ledger.voucher import ChargeRecord, Open, Seal, Signed
from sandbox_billing.ledger.webhook import Standing, Webhook
from tests.ledger.test_metering import pending
from tests.ledger.test_notice import notices
from tests.ledger.test_order import orders, pieces
from tests.ledger.test_settlement import charge
from tests.ledger.test_token import tokens
from tests.ledger.test_webhook import standings, webhooks
from tests.strategies import (
    accounts,
    batches,
    charge_records,
    intents,
    mirrors,
    service_records,
    sessions,
    settlements,
)


STORED: dict[type[Any], st.SearchStrategy[Any]] = {
    Session: sessions(),
    ChargeRecord: charge_records(),
    Batch: batches(),
    Account: accounts(),
    Mirror: mirrors(),
    Intent: intents(),
    ServiceRecord: service_records(),
    Settlement: settlements(),
    Token: tokens(),
    Numbered: notices(),
    Webhook: webhooks(),
    Order: orders(),
    Piece: pieces(),
    Standing: standings(),
    Run: sessions().map(run_of),
}
"""Everything that is kept in Redis in this form."""


def stored() -> st.SearchStrategy[Any]:
    """Any of these values."""
    return st.one_of(*STORED.values())


def kinds() -> st.SearchStrategy[type[Any]]:
    """Any of these types."""
    return st.sampled_from(sorted(STORED, key=lambda cls: cls.__name__))


def leaves(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to everything inside a JSON document."""
    inside: list[tuple[Any, ...]] = [path] if path else []
    pairs = document.items() if isinstance(document, dict) else ()
    pairs = enumerate(document) if isinstance(document, list) else pairs
    for key, value in pairs:
        inside += leaves(value, (*path, key))
    return inside


def at(document: Any, path: tuple[Any, ...]) -> Any:
    """What is found there."""
    for key in path:
        document = document[key]
    return document


class RoundTripTests(SynchronousTestCase):
    """What is written is what is read."""

    def _round_trip(self, value: Any) -> None:
        text = encode(value)
        for form in (text, text.encode()):
            again = decode(type(value), form)
            self.assertEqual(value, again)
            self.assertEqual(text, encode(again))

    @given(STORED[Session])
    def test_session(self, value: Session) -> None:
        """Sessions, pending and running."""
        self._round_trip(value)

    @given(STORED[ChargeRecord])
    def test_charge_record(self, value: ChargeRecord) -> None:
        """Charges in every state."""
        self._round_trip(value)

    @given(STORED[Batch])
    def test_batch(self, value: Batch) -> None:
        """Batches; the raw transactions, which no log shows, are in the stored form."""
        self._round_trip(value)
        for attempt in value.attempts:
            self.assertIn(attempt.raw, encode(value))

    @given(STORED[Account])
    def test_account(self, value: Account) -> None:
        """Mirrored accounts."""
        self._round_trip(value)

    @given(STORED[Mirror])
    def test_mirror(self, value: Mirror) -> None:
        """The mirror's head, with and without a registration."""
        self._round_trip(value)

    @given(STORED[Intent])
    def test_intent(self, value: Intent) -> None:
        """Intents of every action."""
        self._round_trip(value)

    @given(STORED[ServiceRecord])
    def test_service_record(self, value: ServiceRecord) -> None:
        """Registrations of every provider."""
        self._round_trip(value)

    @given(STORED[Settlement])
    def test_settlement(self, value: Settlement) -> None:
        """Events, with and without what was paid."""
        self._round_trip(value)


class FormTests(SynchronousTestCase):
    """The form itself."""

    def test_example(self) -> None:
        """A form that is in somebody's Redis; a change of it needs a new version."""
        seal = Seal(nonce=Nonce(7), fee=Neuron(10), usage_hash="0xab", signature="0xcd")
        one = ChargeRecord(charge("sb-1:40", 10), Signed(seal))
        self.assertEqual(
            '{"charge":{"amount":"10","created_at":100,"id":"sb-1:40","kind":"compute",'
            '"owner":"0x1111111111111111111111111111111111111111","period_end":100,'
            '"period_start":40,"provider":"0x2222222222222222222222222222222222222222",'
            '"rate":10,"sandbox":"sb-1","units":60},'
            '"state":{"is":"Signed","seal":{"fee":"10","nonce":"7","signature":"0xcd",'
            '"usage_hash":"0xab"}},"v":1}',
            encode(one),
        )
        # What is rarely so is written only then: forms from before it are what they were.
        again = evolve(one, voided=True)
        self.assertEqual(encode(one)[:-1] + ',"voided":true}', encode(again))
        self.assertEqual(again, decode(ChargeRecord, encode(again)))

    @given(stored())
    def test_canonical(self, value: Any) -> None:
        """Sorted, without spaces, with its version: scripts compare whole strings."""
        text = encode(value)
        document = json.loads(text)
        self.assertEqual(VERSION, document["v"])
        again = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        self.assertEqual(again, text)

    @given(kinds().flatmap(lambda cls: st.tuples(STORED[cls], STORED[cls])))
    def test_injective(self, pair: tuple[Any, Any]) -> None:
        """Two values share a form only if they are equal."""
        self.assertEqual(pair[0] == pair[1], encode(pair[0]) == encode(pair[1]))

    def test_amounts_are_strings(self) -> None:
        """Q-9: beyond 2^53 a JSON number loses digits, and 64-bit counters end at 9.2 0G."""
        text = encode(charge_of := ChargeRecord(charge("c", 2**200), Open()))
        self.assertIn(f'"amount":"{2**200}"', text)
        self.assertEqual(charge_of, decode(ChargeRecord, text))

    def test_no_form(self) -> None:
        """What has no stored form is a programming error, told at once."""
        from attrs import frozen

        @frozen
        class Odd:
            """Holds what nobody stores."""

            content: float

        self.assertRaises(TypeError, encode, Odd(1.5))


_LATE_IN_ATTEMPTS = {a.name for a in fields(Attempt) if a.metadata.get("added")}


class RefusalTests(SynchronousTestCase):
    """What is not understood."""

    def refused(self, cls: type[Any], document: Any) -> str:
        """Why it was refused."""
        text = document if isinstance(document, str) else json.dumps(document)
        return self.assertRaises(BadInput, decode, cls, text).text

    @given(stored(), st.none() | st.booleans() | st.integers() | st.just("1") | st.just(1.0))
    def test_version(self, value: Any, version: Any) -> None:
        """Another version, also one that only Python takes for 1, is refused."""
        document = json.loads(encode(value))
        if type(version) is int and version == VERSION:
            return
        document["v"] = version
        expected = f"a stored {type(value).__name__} has version {version}; this daemon reads 1"
        self.assertEqual(expected, self.refused(type(value), document))

    def test_no_form(self) -> None:
        """Not JSON, not an object, not UTF-8, or without a version."""
        for text in ("", "{", "null", "1", '"v"', "[]", '["v"]', "{}", '{"sandbox":"a"}'):
            why = self.refused(Session, text)
            self.assertTrue(why.startswith("not a stored Session: "), why)
        self.assertRaises(BadInput, decode, Session, b"\xff\xfe")

    @given(stored(), st.data())
    def test_missing_field(self, value: Any, data: st.DataObject) -> None:
        """A field that is missing, at any depth, is not given a default."""
        document = json.loads(encode(value))
        named = [path for path in leaves(document) if isinstance(path[-1], str)]
        # What was added to a form later has a default, for forms from before (N reads N-1).
        late = {(a.name,) for a in fields(type(value)) if a.metadata.get("added")}
        late |= {path for path in named if path[0] == "attempts" and path[-1] in _LATE_IN_ATTEMPTS}
        path = data.draw(st.sampled_from([one for one in named if one not in {("v",), *late}]))
        del at(document, path[:-1])[path[-1]]
        self.refused(type(value), document)

    def test_no_owner(self) -> None:
        """B4: a meter without its owner is nobody's, and not the zero address's."""
        document = json.loads(encode(pending()))
        del document["owner"]
        self.assertIn("owner", self.refused(Session, document))

    @given(stored(), st.data())
    def test_unknown_field(self, value: Any, data: st.DataObject) -> None:
        """A field that nobody knows, at any depth, is not dropped."""
        document = json.loads(encode(value))
        objects = [path for path in leaves(document) if isinstance(at(document, path), dict)]
        path = data.draw(st.sampled_from([(), *objects]))
        at(document, path)["surprise"] = 1
        self.assertIn("damaged", self.refused(type(value), document))

    @given(
        stored(),
        st.data(),
        st.sampled_from([1.5, [], {}, [1], {"is": "Open"}, "", "x", "-1", "1.0", True, -1.0]),
    )
    def test_damaged_field(self, value: Any, data: st.DataObject, damage: Any) -> None:
        """A field of another type is refused, or it was a good value of that field."""
        document = json.loads(encode(value))
        path = data.draw(st.sampled_from([one for one in leaves(document) if one != ("v",)]))
        at(document, path[:-1])[path[-1]] = damage
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        try:
            again = decode(type(value), text)
        except BadInput:
            return
        self.assertEqual(text, encode(again))

    def test_string_for_a_list(self) -> None:
        """A string is no list of its letters."""
        document = json.loads(encode(Batch(id="b", wallets=(), charges=("c",), created_at=1)))
        document["charges"] = "abc"
        self.assertIn("damaged", self.refused(Batch, document))

    @given(kinds(), kinds(), st.data())
    def test_another_type(self, cls: type[Any], other: type[Any], data: st.DataObject) -> None:
        """The form of one type is never read as another."""
        if cls is not other:
            self.assertIn("damaged", self.refused(other, encode(data.draw(STORED[cls]))))

    @given(
        kinds(),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["v", "is", "seal", "state"]), inner, max_size=3)
            ),
            max_leaves=6,
        ),
    )
    def test_any_json(self, cls: type[Any], document: Any) -> None:
        """Whatever stands there, a refusal is the only surprise."""
        self.refused(cls, json.dumps(document))

    def test_unknown_alternative(self) -> None:
        """A state that this daemon does not know is refused."""
        document = json.loads(encode(ChargeRecord(charge("c", 1))))
        document["state"] = {"is": "Stolen"}
        self.assertIn("unknown alternative 'Stolen'", self.refused(ChargeRecord, document))

    def test_null(self) -> None:
        """Null stands only where nothing may stand."""
        document = json.loads(encode(pending()))
        document["auto_stop_minutes"] = None
        decode(Session, json.dumps(document))
        for name in ("sandbox", "owner", "rate", "resources", "revision"):
            self.refused(Session, {**document, name: None})
        state = json.loads(encode(ChargeRecord(charge("c", 1))))
        self.refused(ChargeRecord, {**state, "state": None})
