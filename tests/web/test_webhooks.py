"""Webhooks through the front desk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attrs import define, evolve, field
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers
from zope.interface import implementer

from sandbox_billing.errors import BadInput, Transient
from sandbox_billing.interfaces import IWebhookSender, NotReady, Sent, Stored
from sandbox_billing.ledger.account import Account
from sandbox_billing.ledger.identity import Address, Nonce
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.notice import Kind, Notice
from sandbox_billing.ledger.target import NOT_A_HOST, NOT_A_URL, REFUSED
from sandbox_billing.ledger.token import Scope
from sandbox_billing.ledger.webhook import signature
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.key import SigningKey
from sandbox_billing.web.root import make_root
from sandbox_billing.web.webhooks import (
    ALL_BUSY,
    BODY,
    DEPOSIT_FIRST,
    ENOUGH,
    KINDS,
    NO_WEBHOOK,
    TESTS_AT_ONCE,
    TOO_OFTEN,
    TRIES,
)
from tests.web.asking import AskingTestCase, Reply
from tests.web.world import CHAIN_ID, NOW, OWNER, PROVIDER, SANDBOX, STRANGER, token_for


PATH = "/api/webhooks"
TAKEN = Sent(200, "answered 200")
URL = "https://hooks.example/in/s3cret?t=1"


@implementer(IWebhookSender)
@define(eq=False)
class Sender:
    """
    @ivar refused: URLs that lead nowhere good.
    @ivar answer: What receivers say; a list to be filled with what they will say.
    """

    answer: Any = TAKEN
    refused: dict[str, Exception] = field(factory=dict)
    sent: list[tuple[str, Mapping[str, str], bytes]] = field(factory=list)

    async def check(self, url: str) -> None:
        if url in self.refused:
            raise self.refused[url]

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        raise AssertionError("a test takes none of the courier's places")

    async def test(
        self, wallet: Address, url: str, headers: Mapping[str, str], body: bytes
    ) -> Sent:
        self.sent.append((url, headers, body))
        if isinstance(self.answer, list):
            self.answer.append(Deferred())
            return await self.answer[-1]
        return self.answer


class WebhooksCase(AskingTestCase):
    """Two wallets with funds."""

    def setUp(self) -> None:
        """Nothing is registered."""
        super().setUp()
        self.sender = Sender()
        world = self.world
        world.desk = evolve(world.desk, sender=self.sender)
        world.root = make_root(world.desk)
        world.agent = RequestTraversalAgent(world.root)
        for key in (OWNER, STRANGER):
            self.fund(key, 1)

    def fund(self, key: SigningKey, neuron: int) -> None:
        """Mirror a balance."""
        account = Account(
            wallet=key.address,
            balance=Neuron(neuron),
            pending_refund=Neuron(0),
            refund_unlock_at=UnixSeconds(0),
            acknowledged=False,
            last_nonce=Nonce(0),
            block=1,
        )
        self.world.doors.accounts[key.address] = Stored(account, b"")

    def asking(self, method: str, path: str, body: Any = None, key: SigningKey = OWNER) -> Reply:
        """A signed request, after a rest."""
        self.world.clock.advance(TRIES.room_seconds)
        return self.ask_by_path(method, path, body, key=key)

    def registered(self, url: str = URL, key: SigningKey = OWNER, **more: Any) -> dict[str, Any]:
        """A webhook."""
        reply = self.asking("POST", PATH, {"url": url, **more}, key)
        self.assertEqual(reply.status, 201, reply.json)
        return dict(reply.json)

    def listed(self, key: SigningKey = OWNER) -> list[dict[str, Any]]:
        """A wallet's."""
        return list(self.asking("GET", PATH, key=key).json["webhooks"])


class RegisterTests(WebhooksCase):
    """Making them."""

    def test_registered(self) -> None:
        """Shown whole once, and afterwards without its secret."""
        made = self.registered(kinds=["blocked", "runs_dry", "blocked"])
        self.assertRegex(made["secret"], "^whsec_[0-9A-Za-z_-]{43}$")
        secret = made.pop("secret")
        self.assertEqual(
            made,
            {
                "id": made["id"],
                "url": URL,
                "kinds": ["runs_dry", "blocked"],
                "created_at": NOW,
            },
        )
        (shown,) = self.listed()
        self.assertEqual(
            shown,
            {
                **made,
                "delivered": 0,
                "given_up": 0,
                "failures": 0,
                "failing_since": None,
                "retry_at": None,
                "last_at": None,
                "last": None,
                "disabled": None,
            },
        )
        self.assertNotIn(secret, json.dumps(self.listed()))
        self.assertNotEqual(self.registered()["secret"], secret)

    def test_all_kinds(self) -> None:
        """Where none is named, or null, all are meant."""
        self.assertIsNone(self.registered()["kinds"])
        self.assertIsNone(self.registered(kinds=None)["kinds"])

    def test_from_now_on(self) -> None:
        """It is sent what comes after it."""
        notices = self.world.journal.notices
        old = Notice(kind=Kind.BLOCKED, at=UnixSeconds(NOW), wallet=OWNER.address)
        self.successResultOf(Deferred.fromCoroutine(notices.tell(old, "a")))
        self.registered()
        kept = self.successResultOf(
            Deferred.fromCoroutine(self.world.journal.webhooks.of(OWNER.address))
        )
        newest = self.successResultOf(Deferred.fromCoroutine(notices.newest([OWNER.address])))
        self.assertEqual(kept[0].standing.value.after, newest[0])
        self.assertGreater(newest[0], 0)

    def test_wrong_bodies(self) -> None:
        """What is no registration is told so."""
        for body, why in (
            ({}, BODY),
            ({"url": 1}, BODY),
            ({"url": URL, "secret": "mine"}, BODY),
            ({"url": URL, "kinds": []}, KINDS),
            ({"url": URL, "kinds": "blocked"}, KINDS),
            ({"url": URL, "kinds": ["nothing"]}, KINDS),
            ({"url": URL, "kinds": [["blocked"]]}, KINDS),
            ({"url": "ftp://hooks.example/"}, NOT_A_URL),
            ({"url": "https://u:p@hooks.example/"}, NOT_A_URL),
            ({"url": "https://hooks.example/#x"}, NOT_A_URL),
            ({"url": "https://2130706433/"}, NOT_A_HOST),
        ):
            with self.subTest(body=body):
                self.assertEqual(self.asking("POST", PATH, body).error, (400, why))
        self.assertEqual(self.listed(), [])

    def test_refused_targets(self) -> None:
        """Where the sender will not go is said at once; name servers may be asked again."""
        self.sender.refused = {URL: BadInput(REFUSED)}
        self.assertEqual(self.asking("POST", PATH, {"url": URL}).error, (400, REFUSED))
        self.sender.refused = {URL: Transient("the host's name servers do not answer")}
        self.assertEqual(self.asking("POST", PATH, {"url": URL}).status, 502)
        self.assertEqual(self.listed(), [])

    def test_five(self) -> None:
        """No more than five, and another's do not count."""
        for _ in range(5):
            self.registered()
        self.registered(key=STRANGER)
        self.assertEqual(self.asking("POST", PATH, {"url": URL}).error, (409, ENOUGH))
        self.assertEqual(self.asking("DELETE", f"{PATH}/{self.listed()[0]['id']}").status, 200)
        self.registered()

    def test_without_funds(self) -> None:
        """Keys cost nothing; who has nothing here fills nobody's store."""
        self.fund(OWNER, 0)
        self.assertEqual(self.asking("POST", PATH, {"url": URL}).error, (403, DEPOSIT_FIRST))
        del self.world.doors.accounts[OWNER.address]
        self.assertEqual(self.asking("POST", PATH, {"url": URL}).error, (403, DEPOSIT_FIRST))
        self.world.calls.failing["meet"] = NotReady("the chain has not been read yet", 5)
        self.assertEqual(self.asking("POST", PATH, {"url": URL}).status, 503)

    def test_too_often(self) -> None:
        """Each makes us ask somewhere: six at once, then slowly; another wallet is not held up."""

        def once(key: SigningKey) -> Reply:
            return self.ask_by_path("POST", PATH, {"url": URL}, key=key)

        for _ in range(6):
            self.ask_by_path("POST", PATH, {"url": "x"})
        statuses = [once(OWNER).status for _ in range(5)]
        self.assertEqual(statuses, [201] * 5)
        self.assertEqual(once(OWNER).status, 409)
        reply = once(OWNER)
        self.assertEqual(reply.error, (429, TOO_OFTEN))
        self.assertEqual(reply.header("Retry-After"), "10")
        self.assertEqual(once(STRANGER).status, 201)


class OwnersTests(WebhooksCase):
    """Whose they are."""

    def test_own_only(self) -> None:
        """Nobody sees, tests or deletes another's."""
        made = self.registered()
        self.assertEqual(self.listed(STRANGER), [])
        one = f"{PATH}/{made['id']}"
        for method, path in (("DELETE", one), ("POST", f"{one}/test")):
            reply = self.asking(method, path, key=STRANGER)
            self.assertEqual(reply.error, (404, NO_WEBHOOK))
        self.assertEqual((len(self.listed()), self.sender.sent), (1, []))

    def test_deleted(self) -> None:
        """It is gone, and is not deleted twice."""
        one = f"{PATH}/{self.registered()['id']}"
        self.assertEqual(self.asking("DELETE", one).json, {"deleted": 1})
        self.assertEqual(self.asking("DELETE", one).error, (404, NO_WEBHOOK))
        self.assertEqual(self.asking("DELETE", f"{PATH}/x").error, (404, NO_WEBHOOK))
        self.assertEqual(self.listed(), [])

    def test_tokens(self) -> None:
        """To read is to see hosts; to manage is to change; one sandbox's token does neither."""
        made = self.registered()
        one = f"{PATH}/{made['id']}"
        wallet, until = OWNER.address, NOW + 300
        read = token_for(self.world, wallet, expires_at=until, scopes=[Scope.READ])
        reply = self.ask("GET", PATH, read)
        self.assertEqual(reply.json["webhooks"][0]["url"], "https://hooks.example/...")
        asks = (("POST", PATH), ("DELETE", one), ("POST", f"{one}/test"))
        for method, path in asks:
            self.assertEqual(self.ask(method, path, read).status, 403)
        narrow = token_for(self.world, wallet, expires_at=until, only=SANDBOX)
        for method, path in (("GET", PATH), *asks):
            self.assertEqual(self.ask(method, path, narrow).status, 403)
        full = token_for(self.world, wallet, expires_at=until)
        self.assertEqual(self.ask("GET", PATH, full).json["webhooks"][0]["url"], URL)
        self.assertEqual(self.ask("DELETE", one, full).json, {"deleted": 1})

    def test_nobody(self) -> None:
        """Without a signature nothing is shown."""
        self.assertEqual(self.ask("GET", PATH).status, 401)


class PingTests(WebhooksCase):
    """Trying one out."""

    def test_ping(self) -> None:
        """Signed as every other, and told what came of it."""
        made = self.registered()
        self.sender.answer = Sent(503, "answered 503")
        reply = self.asking("POST", f"{PATH}/{made['id']}/test")
        self.assertEqual(reply.json, {"delivered": False, "status": 503, "told": "answered 503"})
        ((url, headers, body),) = self.sender.sent
        self.assertEqual(url, URL)
        self.assertEqual(headers["X-Sandbox-Billing-Event"], "ping")
        told = signature(made["secret"], UnixSeconds(NOW), body)
        self.assertEqual(headers["X-Sandbox-Billing-Signature"], told)
        self.assertEqual(
            json.loads(body),
            {
                "id": "0",
                "kind": "ping",
                "at": NOW,
                "wallet": checksum(OWNER.address),
                "sandbox": None,
                "facts": {},
                "provider": checksum(PROVIDER),
                "chain_id": CHAIN_ID,
            },
        )

    def test_no_answer(self) -> None:
        """That nobody was there is an answer of ours, too."""
        self.sender.answer = Sent(None, "cannot be connected to")
        reply = self.asking("POST", f"{PATH}/{self.registered()['id']}/test")
        self.assertEqual(
            (reply.status, reply.json),
            (200, {"delivered": False, "status": None, "told": "cannot be connected to"}),
        )

    def test_no_room(self) -> None:
        """Where too many names are looked up, nothing was tried, and it is asked again."""
        self.sender.answer = Sent(None, "too many names", busy=True)
        one = f"{PATH}/{self.registered()['id']}/test"
        self.assertEqual(self.asking("POST", one).error, (503, ALL_BUSY))

    def test_so_many_at_once(self) -> None:
        """Slow receivers take so many places and no more."""
        one = f"{PATH}/{self.registered()['id']}/test"
        waiting: list[Deferred[Sent]] = []
        self.sender.answer = waiting
        asked = [self.begun(one) for _ in range(TESTS_AT_ONCE)]
        self.assertEqual(self.asking("POST", one).error, (503, ALL_BUSY))
        self.sender.answer = TAKEN
        waiting[0].callback(TAKEN)
        self.assertEqual(self.asking("POST", one).status, 200)
        for one_asked, slow in zip(asked[1:], waiting[1:], strict=True):
            slow.callback(TAKEN)
            self.world.agent.flush()
            self.assertEqual(self.successResultOf(one_asked).code, 200)

    def begun(self, path: str) -> Any:
        """A request whose answer does not come yet."""
        self.world.clock.advance(TRIES.room_seconds)
        headers = Headers({n: [v] for n, v in self.world.signed(f"POST:{path}").items()})
        url = b"https://front.example" + path.encode()
        return self.world.agent.request(b"POST", url, headers)
