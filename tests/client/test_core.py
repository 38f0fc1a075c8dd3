"""Operations, driven by hand: what is asked, what is asked again, and what an answer is."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.client import (
    Answer,
    ApiError,
    BadRequest,
    Call,
    CannotPay,
    Client,
    Conflict,
    ConnectionLost,
    Garbled,
    KeySigner,
    NotConnected,
    NotFound,
    NotYours,
    Settings,
    TimedOut,
    TooMany,
    Unauthorized,
    Unavailable,
    Unclear,
)
from sandbox_billing.client.calls import Pause
from sandbox_billing.client.errors import error_of
from sandbox_billing.client.values import Page, Pages
from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.request import (
    Body,
    RequestFacts,
    SignedMessage,
    authenticate,
    canonical_path,
    canonical_query,
    check_binding,
    parse_strict_json,
)
from sandbox_billing.signing.siwe import parse_siwe


# A WELL-KNOWN DEVELOPMENT KEY: 32 bytes of 0x11 (wire.md §2).
SIGNER = KeySigner.from_hex("11" * 32)
PROVIDER = Address("0x" + "22" * 20)
CHAIN_ID = 16602
NOW = 1_800_000_000
URL = "https://provider.example"

Reply = Answer | OSError | ApiError | Callable[[Call], Answer]


def told(document: object, status: int = 200, **headers: str) -> Answer:
    """JSON."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, headers=named, body=json.dumps(document).encode())


def refused(status: int, text: str, /, *, wait: str = "", **more: Any) -> Answer:
    """As the daemon refuses."""
    headers = {"retry_after": wait} if wait else {}
    return told({"error": text, **more}, status, **headers)


INFO = told({"provider_address": PROVIDER.hex, "chain_id": CHAIN_ID})


@define
class Scripted:
    """
    A provider of few words.

    @ivar replies: In their order; C{/info} is answered beside them.
    @ivar asked: But C{/info}.
    """

    replies: list[Reply]
    asked: list[Call] = field(factory=list)
    infos: int = 0
    slept: list[float] = field(factory=list)

    def send(self, call: Call) -> Answer:
        """The next reply."""
        if call.url == f"{URL}/info":
            self.infos += 1
            return INFO
        self.asked.append(call)
        reply = self.replies.pop(0)
        if isinstance(reply, OSError | ApiError):
            raise reply
        return reply if isinstance(reply, Answer) else reply(call)

    def open(self, call: Call) -> Any:
        """Of no use here."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is open."""

    def client(self, *, token: str | None = None, signed: bool = True, **more: Any) -> Client:
        """A client that asks it."""
        return Client(
            URL,
            SIGNER if signed and token is None else None,
            token=token,
            transport=self,
            now=lambda: NOW,
            sleep=self.slept.append,
            **more,
        )


def proven(call: Call) -> SignedMessage:
    """
    The message of a call, checked as the daemon checks it.
    """
    headers = call.headers
    message = authenticate(
        headers.get("X-Wallet-Address"),
        headers.get("X-Signed-Message"),
        headers.get("X-Wallet-Signature"),
        NOW,
    )
    path, _, query = call.url.removeprefix(URL).partition("?")
    content = call.content()
    try:
        body: Any = parse_strict_json(content) if content else Body.EMPTY
    except BadInput:
        body = Body.OPAQUE
    check_binding(
        message,
        RequestFacts(
            method=call.method,
            path=canonical_path(path),
            query=canonical_query(query),
            body=body,
            body_sha256=sha256(content).hexdigest(),
        ),
        binding="strict",
        is_toolbox=False,
        audience_required=True,
        provider=PROVIDER,
        chain_id=CHAIN_ID,
    )
    return message


class SigningTests(SynchronousTestCase):
    """Each request proves who asks what of whom."""

    def test_bound(self) -> None:
        """A create is signed with its body, for one provider on one chain, asked for once."""
        world = Scripted([told({"id": "a"}), told({"id": "b"})])
        client = world.client()
        self.assertEqual(client.create(labels={"x": "ü"}, cpu=2).id, "a")
        self.assertEqual(client.get("desk 1/2").id, "b")
        self.assertEqual(world.infos, 1)
        create, get = world.asked
        self.assertEqual(proven(create).payload, {"labels": {"x": "ü"}, "cpu": 2})
        self.assertEqual(get.url, f"{URL}/api/sandbox/desk%201%2F2")
        self.assertEqual(create.headers["Content-Type"], "application/json")
        self.assertNotIn("Content-Type", get.headers)

    @given(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\\%\x7f"), min_size=1)
        .filter(lambda one: one not in (".", "..") and min(one) >= " ")
        .filter(lambda one: len(one) < 60),
        st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
        ),
        st.text("ab&=?#+ /%ü", max_size=12),
    )
    def test_any_words(self, name: str, labels: dict[str, str], state: str) -> None:
        """Whatever names and labels are, the daemon's own reading finds what was signed."""
        world = Scripted([told({"id": "a"}), told([])])
        client = world.client()
        client.set_labels(name, labels)
        self.assertEqual(list(client.list(labels=labels, states=[state])), [])
        for call in world.asked:
            proven(call)

    def test_pinned(self) -> None:
        """Where provider and chain are given, nobody is asked, and nobody can say otherwise."""
        world = Scripted([told({"id": "a"})])
        world.client(provider=PROVIDER.hex, chain_id=CHAIN_ID).get("a")
        self.assertEqual(world.infos, 0)
        proven(world.asked[0])

    def test_token(self) -> None:
        """A token in place of a wallet, and nothing is signed."""
        world = Scripted([told({"id": "a"}), told({"revoked": 1})])
        client = world.client(token="sbt_secret")
        client.get("a")
        self.assertEqual(world.asked[0].headers["Authorization"], "Bearer sbt_secret")
        self.assertNotIn("X-Signed-Message", world.asked[0].headers)
        self.assertEqual(client.logout(), 1)
        ours = sha256(b"sbt_secret").hexdigest()[:32]
        self.assertEqual(world.asked[1].url, f"{URL}/api/auth/session/{ours}")

    def test_nobody(self) -> None:
        """What is for wallets says so before it is sent; what is for everybody goes."""
        world = Scripted([told([])])
        client = world.client(signed=False)
        self.assertRaises(BadInput, client.get, "a")
        self.assertRaises(BadInput, client.login)
        self.assertEqual(client.providers(), ())

    def test_login_refused(self) -> None:
        """A scope that there is not is the caller's mistake, and nothing is sent."""
        world = Scripted([])
        wrong = self.assertRaises(BadInput, world.client().login, scopes=["all"])
        self.assertIn("toolbox", str(wrong))
        self.assertEqual(world.asked, [])

    def test_login(self) -> None:
        """The message names the provider, the scopes and the limits that were asked for."""
        world = Scripted([told({"token": "sbt_x", "expires_at": NOW + 60, "scopes": ["read"]})])
        client = world.client()
        session = client.login(scopes=["toolbox", "read"], ttl=60, spend_limit=5, sandbox="box")
        self.assertEqual((session.token, session.scopes), ("sbt_x", ("read",)))
        self.assertNotIn("sbt_x", repr(session))
        body = json.loads(world.asked[0].content())
        message = parse_siwe(body["message"])
        self.assertEqual((message.address, message.chain_id), (SIGNER.address, CHAIN_ID))
        urn = "urn:sandbox-billing:"
        self.assertEqual(
            message.resources,
            (
                f"{urn}provider:{PROVIDER}",
                f"{urn}scope:read",
                f"{urn}scope:toolbox",
                f"{urn}ttl:60",
                f"{urn}spend-limit:5",
                f"{urn}sandbox:box",
            ),
        )

    def test_secrets_unseen(self) -> None:
        """No repr shows a signature or a body."""
        world = Scripted([told({"id": "a"})])
        world.client().create(env={"PASSWORD": "hunter2"})
        shown = repr(world.asked[0])
        self.assertNotIn("hunter2", shown)
        self.assertNotIn(world.asked[0].headers["X-Wallet-Signature"], shown)


class AgainTests(SynchronousTestCase):
    """What is asked again, and what never is."""

    def test_read(self) -> None:
        """A lost read is asked again, signed anew; what was answered in passing, too."""
        world = Scripted([OSError("gone"), refused(503, "starting"), told({"id": "a"})])
        self.assertEqual(world.client().get("a").id, "a")
        self.assertEqual(len({proven(call).nonce for call in world.asked}), 3)
        self.assertEqual(world.slept, [0.5, 1.0])

    def test_create(self) -> None:
        """A create whose answer is lost is asked again under its key, and with a new nonce."""
        under_way = refused(409, "a request with this Idempotency-Key is under way", wait="2")
        world = Scripted([OSError("reset"), under_way, refused(504, "slow"), told({"id": "a"})])
        self.assertEqual(world.client().create().id, "a")
        self.assertEqual(len({call.headers["Idempotency-Key"] for call in world.asked}), 1)
        self.assertEqual(len({proven(call).nonce for call in world.asked}), 4)
        self.assertEqual(world.slept, [0.5, 2.0, 2.0])

    def test_never_answered(self) -> None:
        """In the end the key is told, so that the same can be asked later."""
        world = Scripted([OSError("reset")] * 6)
        found = self.assertRaises(ConnectionLost, world.client().create, idempotency_key="mine")
        self.assertIn("idempotency_key='mine'", str(found))
        self.assertEqual(len(world.asked), 6)

    def test_lost_and_then_refused_in_passing(self) -> None:
        """That the last try came to nothing does not say so of one that may have been done."""
        for last in (refused(503, "stopping", wait="99"), refused(429, "x"), NotConnected(text="")):
            world = Scripted([OSError("reset"), *[last] * 5])
            found = self.assertRaises(Unclear, world.client().create, idempotency_key="mine")
            self.assertIn("idempotency_key='mine'", str(found))
        busy = refused(409, "a request with this Idempotency-Key is under way", wait="99")
        world = Scripted([refused(504, "slow"), busy])
        found = self.assertRaises(Unclear, world.client().create, idempotency_key="mine")
        self.assertEqual(found.status, 504)
        self.assertIn("idempotency_key='mine'", str(found))
        # What is refused for good is: the key would have told of what was done.
        world = Scripted([OSError("reset"), refused(402, "insufficient balance")])
        self.assertRaises(CannotPay, world.client().create)

    def test_too_long(self) -> None:
        """Who says to wait for longer than anybody would is not waited for."""
        world = Scripted([refused(503, "admissions are paused", wait="3600")])
        found = self.assertRaises(Unavailable, world.client().create)
        self.assertEqual((found.retry_after, world.slept), (3600.0, []))
        self.assertIn("in 3600 s", str(found))

    def test_told_of_each_wait(self) -> None:
        """How long, and for what: who waits for half a minute may know why."""
        heard: list[tuple[float, object]] = []

        def hear(pause: Pause) -> None:
            assert pause.why is not None
            heard.append((pause.seconds, pause.why.body.get("error")))

        paused = refused(503, "admissions are paused", wait="30")
        world = Scripted([paused, OSError("reset"), told({"id": "sb", "state": "started"})])
        world.client(on_pause=hear).create()
        self.assertEqual(heard, [(30.0, "admissions are paused"), (1.0, None)])
        self.assertEqual(world.slept, [30.0, 1.0])

    def test_exec(self) -> None:
        """A command may have run: it is sent once."""
        world = Scripted([OSError("reset")])
        found = self.assertRaises(ConnectionLost, world.client().exec, "a", "make")
        self.assertIn("look whether it was done", str(found))
        self.assertIsInstance(found, UnknownOutcome)

    def test_refused(self) -> None:
        """What was refused stays refused, also under a key."""
        for status in (400, 401, 402, 403, 404, 409, 429):
            world = Scripted([refused(status, "no")])
            self.assertRaises(ApiError, world.client().create)
            self.assertEqual((len(world.asked), world.slept), (1, []))

    def test_redirect(self) -> None:
        """A redirect is an error, and not followed."""
        world = Scripted([Answer(status=302, headers={"Location": "https://evil.example"})])
        found = self.assertRaises(Garbled, world.client().get, "a")
        self.assertIn("redirect", str(found))


class ErrorTests(SynchronousTestCase):
    """Each refusal is of a family, and says what to do."""

    def test_families(self) -> None:
        """By its status."""
        for status, kind, family in (
            (400, BadRequest, BadInput),
            (401, Unauthorized, BadInput),
            (402, CannotPay, Refused),
            (403, NotYours, Refused),
            (404, NotFound, Refused),
            (408, TimedOut, Refused),
            (409, Conflict, Refused),
            (413, BadRequest, BadInput),
            (429, TooMany, Transient),
            (500, Unclear, UnknownOutcome),
            (502, Unclear, UnknownOutcome),
            (503, Unavailable, Transient),
        ):
            error = error_of(status, {"error": "no"}, {"x-request-id": "r", "retry-after": "7"})
            self.assertIs(type(error), kind)
            self.assertIsInstance(error, family)
            self.assertTrue(str(error).startswith("no"), error)
            self.assertEqual((error.status, error.request_id, error.retry_after), (status, "r", 7))

    def test_next_step(self) -> None:
        """What is wrong decides what to do."""
        money = {"balance": "1", "required": str(10**18), "exposure": "1"}
        for status, body, step in (
            (402, {"error": "x", "code": "insufficient_balance", **money}, "at least 1 0G more"),
            (402, {"error": "x", "code": "not_acknowledged"}, "acknowledge"),
            (402, {"error": "TEE signer not acknowledged"}, "acknowledge"),
            (402, {"error": "x", "code": "debt"}, "owed from before"),
            (402, {"error": "x", "code": "blocked"}, "being settled"),
            (402, {"error": "x", "code": "spend_limit"}, "set_settings"),
            (402, {"error": "x"}, "deposit more"),
            (401, {"error": "invalid or expired token"}, "log in again"),
            (401, {"error": "request expired"}, "clock"),
            (401, {"error": "signature does not match request"}, "address"),
            (409, {"error": "stop pending", "reason": "insufficient_balance"}, "(insufficient"),
            (429, {"error": "x"}, "ask again in a moment"),
            (502, {"error": "x"}, "look whether"),
        ):
            self.assertIn(step, str(error_of(status, body, {})))
        error = error_of(402, {"error": "x", **money}, {})
        assert isinstance(error, CannotPay)
        self.assertEqual((error.balance, error.required, error.exposure), (1, 10**18, 1))

    @given(st.integers(300, 599), st.recursive(st.none() | st.text(), st.lists), st.text())
    def test_anything(self, status: int, body: object, wait: str) -> None:
        """Whatever a stranger's server answers is an error with words, and no accident."""
        for one in (body, {"error": body, "code": body, "balance": body}):
            self.assertTrue(str(error_of(status, one, {"retry-after": wait})))


class ReadingTests(SynchronousTestCase):
    """Answers, as they may come."""

    def test_lists(self) -> None:
        """An array, or page after page."""
        world = Scripted([told([{"id": "a"}, {"id": "b"}])])
        self.assertEqual([one.id for one in world.client().list()], ["a", "b"])
        world = Scripted(
            [
                told({"items": [{"id": "a"}], "nextCursor": "n&x"}),
                told({"items": [{"id": "b"}], "nextCursor": None}),
            ]
        )
        self.assertEqual([one.id for one in world.client().list()], ["a", "b"])
        self.assertIn("cursor=n%26x", world.asked[1].url)

    def test_pages(self) -> None:
        """Receipts by cursor, events and snapshots by number."""
        world = Scripted(
            [
                told({"receipts": [{"id": "1"}], "next": "c"}),
                told({"receipts": [{"id": "2", "fee": "7", "new": 1}], "next": None}),
                told({"total": 201, "events": [{"tx_hash": "0x1"}]}),
                told({"total": 201, "events": [{"tx_hash": "0x2", "total_fee": "9"}]}),
                told({"items": [{"name": "s"}], "totalPages": 1}),
            ]
        )
        client = world.client()
        found = list(client.receipts(from_=5, sandbox="x"))
        self.assertEqual([(one.id, one.fee) for one in found], [("1", None), ("2", 7)])
        self.assertEqual(found[1].raw["new"], 1)
        self.assertEqual([one.transaction for one in client.events()], ["0x1", "0x2"])
        self.assertEqual([one.name for one in client.snapshots()], ["s"])
        self.assertIn("from=5&sandbox=x&cursor=c&", world.asked[1].url)

    def test_pages_that_turn_back(self) -> None:
        """A list that leads back to a page that was read ends there; one without end is left."""
        pages = [told({"receipts": [{"id": str(n)}], "next": "ab"[n % 2]}) for n in range(9)]
        world = Scripted(list(pages))
        self.assertEqual([one.id for one in world.client().receipts()], ["0", "1", "2"])
        turned = Pages(most=3)
        for cursor in "abc":
            self.assertTrue(turned.turn(Page(items=(), next=cursor)))
            self.assertEqual(turned.cursor, cursor)
        self.assertFalse(turned.turn(Page(items=(), next="a")))
        self.assertRaises(Garbled, turned.turn, Page(items=(), next="d"))

    def test_money(self) -> None:
        """Amounts are integers, whatever their size; what is not told is None."""
        large = 2**200
        account = {
            "balance": str(large),
            "exposure": {"total": "3", "debts": "1"},
            "runs_dry_at": None,
            "acknowledged": True,
            "new": {},
        }
        sums = {"seconds": 1.5, "charged": "10", "settled": "4", "owed": "1", "pending": "5"}
        world = Scripted(
            [
                told(account),
                told({"totals": sums, "rows": [{"key": "a", **sums}]}),
                told({"totals": sums, "runs": [{}], "transitions": []}),
                told({"auto_resume": True, "limits": {"per_day": "5"}}),
                told({"auto_resume": False, "limits": {}}),
                told({"resumed": ["a"], "failed": {"b": "why"}}),
                told({"id": "w", "url": "https://x.example", "secret": "whsec_1"}, 201),
            ]
        )
        client = world.client()
        shown = client.account()
        self.assertEqual((shown.balance, shown.exposure, shown.debts), (large, 3, 1))
        self.assertEqual((shown.available, shown.runs_dry_at, shown.acknowledged), (None, None, 1))
        usage = client.usage(group="sandbox")
        self.assertEqual([(row.key, row.charged) for row in usage.rows], [("a", 10)])
        self.assertEqual(usage.totals.settled + usage.totals.owed + usage.totals.pending, 10)
        self.assertEqual(len(client.sandbox_usage("a").runs), 1)
        settings = client.settings()
        self.assertEqual((settings.auto_resume, settings.limits["per_day"]), (True, "5"))
        client.set_settings(Settings({"auto_resume": False}))
        self.assertEqual(proven(world.asked[4]).payload, {"auto_resume": False})
        self.assertEqual(dict(client.resume().failed), {"b": "why"})
        self.assertEqual(
            client.add_webhook("https://x.example", kinds=["blocked"]).secret, "whsec_1"
        )

    def test_wait(self) -> None:
        """Until it is so; a failure is told at once, and patience ends."""
        world = Scripted([told({"state": "creating"}), told({"state": "started"})])
        self.assertEqual(world.client().wait("a").state, "started")
        world = Scripted([told({"state": "error", "errorReason": "no image"})])
        self.assertIn("no image", str(self.assertRaises(Conflict, world.client().wait, "a")))
        world = Scripted([told({"state": "creating"})] * 3)
        self.assertRaises(Unclear, world.client().wait, "a", timeout=2)

    def test_strangers(self) -> None:
        """A page of something else is no answer."""
        page = Answer(status=200, body=b"<html>")
        for call in ("get", "exec"):
            arguments = ("a", "b") if call == "exec" else ("a",)
            for reply in (page, told([]), told("x"), told({"result": 1})):
                client = Scripted([reply]).client()
                if call == "get" and reply.body.startswith(b"{"):
                    continue
                self.assertRaises(Garbled, getattr(client, call), *arguments)


class InsideTests(SynchronousTestCase):
    """Commands and files."""

    def test_exec(self) -> None:
        """The command with its folder, time and variables; its output and how it ended."""
        world = Scripted([told({"exitCode": 3, "result": "out"})])
        done = world.client().exec("a", "ls", cwd="/tmp", env={"A": "it's"}, timeout=5)
        self.assertEqual((done.exit_code, done.output), (3, "out"))
        body: Mapping[str, Any] = proven(world.asked[0]).payload
        self.assertEqual((body["cwd"], body["timeout"]), ("/tmp", 5))
        self.assertTrue(str(body["command"]).startswith("sh -c "))
        self.assertEqual(world.asked[0].timeout, 35.0)

    def test_toolbox(self) -> None:
        """Any path and query, spelt so that it is what was signed."""
        world = Scripted([told({}), told({})])
        client = world.client()
        client.toolbox("a", "GET", "files?path=/tmp/a b")
        self.assertEqual(world.asked[0].url, f"{URL}/toolbox/a/files?path=/tmp/a%20b")
        client.toolbox("a", "POST", "x", b"\x00raw", content_type="text/plain")
        for call in world.asked:
            proven(call)

    def test_large(self) -> None:
        """A body too long for a header is signed by its hash."""
        world = Scripted([told({"id": "a"})])
        world.client().create(env={"A": "x" * 60_000})
        message = proven(world.asked[0])
        self.assertEqual(message.payload, {})
        raw = base64.b64decode(world.asked[0].headers["X-Signed-Message"])
        self.assertLess(len(raw), 1000)
