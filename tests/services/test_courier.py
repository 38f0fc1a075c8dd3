"""Tests of C{sandbox_billing.services.courier}: a journal in memory, and receivers that fail."""

from __future__ import annotations

import json
from collections.abc import Coroutine, Mapping
from typing import Any

from attrs import define, evolve, field
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import BrowserLikePolicyForHTTPS
from zope.interface import implementer

from sandbox_billing.adapters.memory import Fault
from sandbox_billing.adapters.webhooks.sender import WebhookSender
from sandbox_billing.errors import BadInput, Transient, UnknownOutcome
from sandbox_billing.interfaces import IWebhookSender, LeaseLost, Sent
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.notice import Kind, Notice
from sandbox_billing.ledger.target import read_allowed, read_target
from sandbox_billing.ledger.webhook import (
    DISABLED_SECONDS,
    GIVEN_UP_SECONDS,
    Standing,
    Webhook,
    WebhookId,
    signature,
)
from sandbox_billing.services.courier import AT_ONCE, TROUBLE_SECONDS, WALLETS, Courier
from sandbox_billing.signing.eip55 import checksum
from tests.adapters.receiver import Receiver, answer, until
from tests.ports.journal import OWNER, PROVIDER, STRANGER, T0, World
from tests.ports.journal_worlds import memory_world


CHAIN_ID = 16602
GOOD, BAD = Sent(200, "answered 200"), Sent(500, "answered 500")
SECRET = "whsec_test"


@implementer(IWebhookSender)
@define(eq=False)
class Scripted:
    """
    Receivers that answer as they are told to.

    @ivar answers: By host: the next ones, of which the last stays; a Deferred is waited for.
    @ivar sent: URL, headers and document of each try.
    """

    answers: dict[str, list[Any]] = field(factory=dict)
    sent: list[tuple[str, Mapping[str, str], Any]] = field(factory=list, init=False)
    bodies: list[bytes] = field(factory=list, init=False)

    async def check(self, url: str) -> None:
        """Everything may be sent to."""

    async def test(
        self, wallet: Address, url: str, headers: Mapping[str, str], body: bytes
    ) -> Sent:
        """Nobody tests here."""
        raise NotImplementedError

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        self.sent.append((url, headers, json.loads(body)))
        self.bodies.append(body)
        script = self.answers.get(read_target(url).host, [GOOD])
        found = script.pop(0) if len(script) > 1 else script[0]
        return await found if isinstance(found, Deferred) else found

    def balances(self, host: str = "a.example") -> list[str]:
        """What a host was sent."""
        return [
            told["facts"]["balance"] for url, _, told in self.sent if read_target(url).host == host
        ]


def wallet(number: int) -> Address:
    """One of many."""
    return Address(f"0x{number:040x}")


class CourierCase(SynchronousTestCase):
    """A wallet with a webhook, and a worker's courier."""

    def setUp(self) -> None:
        """Nothing is registered yet."""
        self.world: World = self.now(memory_world())
        self.assertTrue(self.now(self.world.journal.lease.acquire()))
        self.sender = Scripted()
        self.courier = self.make()
        self.told = 0
        self.made = 0

    def make(self, sender: Any = None) -> Courier:
        """A courier that has just become the worker's."""
        journal = self.world.journal
        courier = Courier(
            notices=journal.notices,
            webhooks=journal.webhooks,
            sender=self.sender if sender is None else sender,
            wall=self.world.wall,
            provider=PROVIDER,
            chain_id=CHAIN_ID,
            chance=lambda: 0.0,
        )
        courier.supervisor.startService()  # type: ignore[no-untyped-call]
        return courier

    def now(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What comes of it, at once."""
        return self.successResultOf(Deferred.fromCoroutine(work))

    def register(self, host: str = "a.example", *, owner: Address = OWNER, **more: Any) -> Webhook:
        """A webhook there."""
        self.made += 1
        webhook = Webhook(
            id=WebhookId(f"{self.made:032x}"),
            wallet=owner,
            url=more.pop("url", f"https://{host}/hook"),
            secret=SECRET,
            created_at=UnixSeconds(T0 + self.made),
            **more,
        )
        self.assertTrue(self.now(self.world.other.webhooks.add(webhook, most=5)))
        return webhook

    def tell(self, kind: Kind = Kind.TOPPED_UP, *, owner: Address = OWNER) -> None:
        """One more notice, with a balance that counts them."""
        self.told += 1
        notice = Notice(
            kind=kind,
            at=self.world.wall.now(),
            wallet=owner,
            facts={"balance": str(self.told)},
        )
        self.assertTrue(self.now(self.world.other.notices.tell(notice, str(self.told))))

    def turn(self, seconds: int = 1) -> None:
        """Some time passes, then there is a turn."""
        self.world.wall.moment += seconds
        self.now(self.courier.turn())

    def survive(self, seconds: int = 1) -> None:
        """A turn that may fail as the store does."""
        self.world.wall.moment += seconds
        turned = Deferred.fromCoroutine(self.courier.turn())
        turned.addErrback(lambda why: why.trap(Transient, UnknownOutcome))
        self.successResultOf(turned)

    def standing(self, owner: Address = OWNER) -> Standing:
        """Of the wallet's first."""
        found = self.now(self.world.other.webhooks.of(owner))
        return found[0].standing.value  # type: ignore[no-any-return]

    def listed(self) -> int:
        """Wallets that are to be looked at, ever."""
        far = UnixSeconds(self.world.wall.moment + 10**9)
        return len(self.now(self.world.other.notices.wallets_with_news(far, 100)))


class DeliveryTests(CourierCase):
    """What is sent."""

    def test_sent(self) -> None:
        """The notice, whose it is, and a signature that the receiver can check."""
        webhook = self.register()
        self.tell(Kind.RUNS_DRY)
        self.turn()
        ((url, headers, told),) = self.sender.sent
        (entry,) = self.now(self.world.other.notices.after(OWNER, 0, 9))
        self.assertEqual(url, webhook.url)
        self.assertEqual(
            told,
            {
                "id": str(entry.number),
                "kind": "runs_dry",
                "at": T0,
                "wallet": checksum(OWNER),
                "sandbox": None,
                "facts": {"balance": "1"},
                "provider": checksum(PROVIDER),
                "chain_id": CHAIN_ID,
            },
        )
        now = self.world.wall.now()
        self.assertEqual(
            dict(headers),
            {
                "Content-Type": "application/json",
                "X-Sandbox-Billing-Event": "runs_dry",
                "X-Sandbox-Billing-Delivery": f"{webhook.id}-{entry.number}",
                "X-Sandbox-Billing-Signature": signature(SECRET, now, self.sender.bodies[0]),
            },
        )
        standing = self.standing()
        self.assertEqual((standing.delivered, standing.last), (1, "answered 200"))

    def test_in_order(self) -> None:
        """All of them, oldest first, once each; then nobody is looked at any more."""
        self.register()
        for _ in range(45):
            self.tell()
        for _ in range(5):
            self.turn()
        self.assertEqual(self.sender.balances(), [str(n + 1) for n in range(45)])
        self.assertEqual(self.listed(), 0)
        self.tell()
        self.turn()
        self.assertEqual(self.sender.balances()[45:], ["46"])

    def test_from_then_on(self) -> None:
        """What was told before a webhook was there is not sent to it."""
        self.tell()
        self.register()
        self.tell()
        self.turn()
        self.assertEqual(self.sender.balances(), ["2"])

    def test_kinds(self) -> None:
        """Only what a webhook asked for, and what it did not is done with."""
        self.register(kinds=(Kind.BLOCKED,))
        for _ in range(60):
            self.tell()
        self.tell(Kind.BLOCKED)
        self.tell()
        self.turn()
        self.assertEqual([told["kind"] for _, _, told in self.sender.sent], ["blocked"])
        self.assertEqual(self.listed(), 0)
        newest = self.now(self.world.other.notices.newest([OWNER]))[0]
        self.assertEqual(self.standing().after, newest)

    def test_each_wallet_its_own(self) -> None:
        """Nobody is told another's."""
        self.register("a.example")
        self.register("b.example", owner=STRANGER)
        self.tell()
        self.tell(owner=STRANGER)
        self.turn()
        self.assertEqual(self.sender.balances("a.example"), ["1"])
        self.assertEqual(self.sender.balances("b.example"), ["2"])

    def test_no_webhooks(self) -> None:
        """A wallet without is looked at once."""
        self.tell()
        self.turn()
        self.assertEqual((self.sender.sent, self.listed()), ([], 0))

    def test_told_meanwhile(self) -> None:
        """What is told while something is under way is not forgotten."""
        slow: Deferred[Sent] = Deferred()
        self.sender.answers["a.example"] = [slow, GOOD]
        self.register()
        self.tell()
        self.turn()
        self.tell()
        self.turn()
        self.assertEqual(self.sender.balances(), ["1"])
        slow.callback(GOOD)
        for _ in range(3):
            self.turn()
        self.assertEqual(self.sender.balances(), ["1", "2"])
        self.assertEqual(self.listed(), 0)


class FailureTests(CourierCase):
    """Receivers that do not take it."""

    def test_again(self) -> None:
        """Tried again a minute later, then two, under the same id, signed anew; order is kept."""
        self.sender.answers["a.example"] = [BAD, BAD, GOOD]
        self.register()
        self.tell()
        self.tell()
        self.turn()
        for seconds, tries in ((58, 1), (2, 2), (118, 2), (2, 4)):
            self.turn(seconds)
            self.assertEqual(len(self.sender.sent), tries)
        self.assertEqual(self.sender.balances(), ["1", "1", "1", "2"])
        ids = [headers["X-Sandbox-Billing-Delivery"] for _, headers, _ in self.sender.sent]
        self.assertEqual(len(set(ids)), 2)
        self.assertEqual(self.sender.bodies[0], self.sender.bodies[2])
        signed = [headers["X-Sandbox-Billing-Signature"] for _, headers, _ in self.sender.sent]
        self.assertEqual(len(set(signed[:3])), 3)
        self.assertEqual(self.standing().failures, 0)

    def test_no_faster_for_news(self) -> None:
        """News does not make a failing receiver's next try come sooner."""
        self.sender.answers["a.example"] = [BAD]
        self.register()
        for _ in range(10):
            self.tell()
            self.turn()
        self.assertEqual(len(self.sender.sent), 1)

    def test_redirects_are_failures(self) -> None:
        """A receiver that has moved has not taken it."""
        self.sender.answers["a.example"] = [Sent(301, "answered 301"), GOOD]
        self.register()
        self.tell()
        self.turn()
        self.assertEqual(self.standing().last, "answered 301")
        self.turn(60)
        self.assertEqual(self.sender.balances(), ["1", "1"])

    def test_given_up(self) -> None:
        """After a day a notice is given up, and what is younger is still sent."""
        self.sender.answers["a.example"] = [BAD]
        self.register()
        self.tell()
        self.turn(GIVEN_UP_SECONDS // 2)
        self.tell()
        for _ in range(20):
            self.turn(3600)
        self.assertEqual((self.standing().given_up, self.standing().disabled), (1, None))
        self.sender.answers["a.example"] = [GOOD]
        self.sender.sent.clear()
        self.turn(7 * 3600)
        self.assertEqual(self.sender.balances(), ["2"])

    def test_disabled(self) -> None:
        """After days of failures nothing is tried any more, and it is said why."""
        self.sender.answers["a.example"] = [BAD]
        self.register()
        for _ in range(DISABLED_SECONDS // 7200 + 6):
            self.tell()
            self.turn(7200)
        self.assertIn("5 days", self.standing().disabled or "")
        self.sender.sent.clear()
        self.tell()
        self.turn(7200)
        self.assertEqual((self.sender.sent, self.listed()), ([], 0))

    def test_one_failure_days_later(self) -> None:
        """Whoever was away for a day, and misses one notice weeks later, is not disabled."""
        self.sender.answers["a.example"] = [BAD]
        self.register()
        self.tell()
        for _ in range(40):
            self.turn(3600)
        self.assertEqual((self.standing().given_up, self.listed()), (1, 0))
        self.sender.answers["a.example"] = [BAD, GOOD]
        self.world.wall.moment += 3 * DISABLED_SECONDS
        self.tell()
        self.turn()
        self.assertIsNone(self.standing().disabled)
        self.turn(60)
        self.assertEqual(self.sender.balances()[-2:], ["2", "2"])
        self.assertEqual((self.standing().delivered, self.standing().failures), (1, 0))

    def test_gone(self) -> None:
        """A receiver may say that it is gone for good."""
        self.sender.answers["a.example"] = [Sent(410, "answered 410")]
        self.register()
        self.tell()
        self.turn()
        self.assertIn("410", self.standing().disabled or "")

    def test_rules_changed(self) -> None:
        """A URL that is none any more disables its webhook, and holds up no other."""
        self.register(url="https://0177.0.0.1/")
        self.register("b.example")
        self.tell()
        self.turn()
        self.assertIsNotNone(self.standing().disabled)
        self.assertEqual(self.sender.balances("b.example"), ["1"])

    def test_no_room_here(self) -> None:
        """What is our own trouble is no failure of the receiver's: it is tried again at once."""
        self.sender.answers["a.example"] = [Sent(None, "too many names", busy=True), GOOD]
        self.register()
        self.tell()
        self.turn()
        self.assertEqual((self.standing().failures, self.standing().last_at), (0, None))
        self.turn()
        self.assertEqual((self.standing().delivered, self.sender.balances()), (1, ["1", "1"]))

    def test_removed_meanwhile(self) -> None:
        """One that was removed while it was sent to does not come back, nor does anybody wait."""
        slow: Deferred[Sent] = Deferred()
        self.sender.answers["a.example"] = [slow]
        webhook = self.register()
        self.tell()
        self.turn()
        self.assertTrue(self.now(self.world.other.webhooks.remove(OWNER, webhook.id)))
        slow.callback(BAD)
        self.assertEqual(self.now(self.world.other.webhooks.of(OWNER)), ())
        self.turn()
        self.assertEqual(self.listed(), 0)


class SideBySideTests(CourierCase):
    """Many at once."""

    def test_slow_one(self) -> None:
        """A receiver that hangs delays nobody else, of the same wallet or of another."""
        slow: Deferred[Sent] = Deferred()
        self.sender.answers["a.example"] = [slow, GOOD]
        self.register("a.example")
        self.register("b.example")
        self.register("c.example", owner=STRANGER)
        self.tell()
        self.tell(owner=STRANGER)
        self.turn()
        self.assertEqual(self.sender.balances("b.example"), ["1"])
        self.assertEqual(self.sender.balances("c.example"), ["2"])
        self.tell(owner=STRANGER)
        self.turn()
        self.assertEqual(self.sender.balances("c.example"), ["2", "3"])
        slow.callback(GOOD)

    def test_one_to_a_host(self) -> None:
        """A host is sent one thing at a time, whoever asked for it and at whichever port."""
        slow: Deferred[Sent] = Deferred()
        self.sender.answers["a.example"] = [slow, GOOD]
        self.register("a.example")
        self.register(owner=STRANGER, url="https://A.example:8443/other")
        self.tell()
        self.tell(owner=STRANGER)
        self.turn()
        self.turn()
        self.assertEqual(len(self.sender.sent), 1)
        slow.callback(GOOD)
        self.turn()
        self.assertEqual(len(self.sender.sent), 2)

    def test_next_at_once(self) -> None:
        """Who waits for a busy host is sent to when it is free, not a second later."""
        waiting: list[Deferred[Sent]] = [Deferred() for _ in range(10)]
        self.sender.answers["a.example"] = [*waiting, GOOD]
        for number in range(10):
            self.register("a.example", owner=wallet(number))
            self.tell(owner=wallet(number))
        self.turn()
        for number, slow in enumerate(waiting):
            self.assertEqual(len(self.sender.sent), number + 1)
            slow.callback(GOOD)
        self.assertEqual(sorted(self.sender.balances()), sorted(str(n + 1) for n in range(10)))
        for _ in range(3):
            self.turn()
        self.assertEqual((len(self.sender.sent), self.listed()), (10, 0))

    def test_two_at_one_host(self) -> None:
        """A wallet's second webhook at a host has its turn, though every read takes a while."""
        notices = self.world.journal.notices
        gate: list[Deferred[None]] = []

        class Slow:
            """Answers as Redis does: later."""

            def __getattr__(self, name: str) -> Any:
                return getattr(notices, name)

            async def after(self, *what: Any) -> Any:
                """Read when the gate opens."""
                asked: Deferred[None] = Deferred()
                gate.append(asked)
                await asked
                return await notices.after(*what)

        self.courier.notices = Slow()  # type: ignore[assignment]
        # The first never wants anything, and another wallet waits for the same host.
        self.register(kinds=(Kind.BLOCKED,))
        self.register(url="https://a.example/second")
        self.register(owner=STRANGER)
        self.tell()
        self.tell(owner=STRANGER)
        for _ in range(4):
            self.turn()
            while gate:
                gate.pop(0).callback(None)
        self.assertEqual(sorted(self.sender.balances()), ["1", "2"])
        self.assertEqual(self.listed(), 0)

    def test_so_many(self) -> None:
        """Only so many hosts at once; the others have their turn when there is room."""
        waiting: list[Deferred[Sent]] = [Deferred() for _ in range(AT_ONCE + 4)]
        for number, slow in enumerate(waiting):
            self.sender.answers[f"h{number}.example"] = [slow, GOOD]
            self.register(f"h{number}.example", owner=wallet(number))
            self.tell(owner=wallet(number))
        self.turn()
        self.turn()
        self.assertEqual(len(self.sender.sent), AT_ONCE)
        waiting[0].callback(GOOD)
        self.turn(2)
        self.assertEqual(len(self.sender.sent), AT_ONCE + 1)
        for slow in waiting[1:]:
            slow.callback(GOOD)
        self.turn(2)
        self.turn(2)
        self.assertEqual(len(self.sender.sent), AT_ONCE + 4)
        self.assertEqual(self.listed(), 0)

    def test_many_behind_one_host(self) -> None:
        """However many wait for one busy host, others are looked at."""
        slow: Deferred[Sent] = Deferred()
        self.sender.answers["a.example"] = [slow, GOOD]
        for number in range(2 * WALLETS):
            self.register("a.example", owner=wallet(number))
            self.tell(owner=wallet(number))
        self.turn()
        self.register("b.example", owner=STRANGER)
        self.tell(owner=STRANGER)
        for _ in range(4):
            self.turn()
        self.assertEqual(len(self.sender.balances("b.example")), 1)
        self.assertEqual(len(self.sender.balances("a.example")), 1)
        slow.callback(GOOD)
        for _ in range(200):
            self.turn()
        self.assertEqual(len(self.sender.balances("a.example")), 2 * WALLETS)


class RestartTests(CourierCase):
    """Processes come and go."""

    def test_goes_on(self) -> None:
        """Whoever is the worker next goes on where the last one stored how far it had got."""
        self.sender.answers["a.example"] = [GOOD, BAD, GOOD]
        self.register()
        self.tell()
        self.tell()
        self.turn()
        self.courier = self.make()
        self.turn(30)
        self.assertEqual(self.sender.balances(), ["1", "2"])
        self.turn(30)
        self.assertEqual(self.sender.balances(), ["1", "2", "2"])

    def test_died_before_it_was_stored(self) -> None:
        """What was sent and not stored is sent again, under the same id."""
        slow: Deferred[Sent] = Deferred()
        self.sender.answers["a.example"] = [slow, GOOD]
        self.register()
        self.tell()
        self.turn()
        self.courier = self.make()
        self.turn()
        first, second = (headers for _, headers, _ in self.sender.sent)
        name = "X-Sandbox-Billing-Delivery"
        self.assertEqual(first[name], second[name])
        # The first one's word comes too late, and changes nothing.
        slow.callback(BAD)
        self.assertEqual((self.standing().delivered, self.standing().failures), (1, 0))

    def test_lease_lost(self) -> None:
        """Another worker's standing is not touched, and the turns are told."""
        slow: Deferred[Sent] = Deferred()
        self.sender.answers["a.example"] = [slow]
        self.register()
        self.tell()
        self.turn()
        before = self.standing()
        self.world.journal.store.token.value = b"0"
        slow.callback(GOOD)
        self.assertEqual(self.standing(), before)
        self.failureResultOf(Deferred.fromCoroutine(self.courier.turn()), LeaseLost)

    def test_stopping(self) -> None:
        """A stop waits for what is under way, and begins nothing after it."""
        slow: Deferred[Sent] = Deferred()
        self.sender.answers["a.example"] = [slow, GOOD]
        self.register()
        self.tell()
        self.tell()
        self.turn()
        stopped = self.courier.supervisor.stopService()
        self.assertNoResult(stopped)
        slow.callback(GOOD)
        self.successResultOf(stopped)
        self.turn()
        self.assertEqual(self.sender.balances(), ["1"])
        self.assertEqual(self.standing().delivered, 1)

    def test_store_down(self) -> None:
        """A store that does not answer costs a while, and no notice."""
        self.register()
        self.tell()
        sender, faults = self.sender, self.world.faults.faults

        @implementer(IWebhookSender)
        class Breaking(Scripted):
            """Breaks the store with its first answer."""

            async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
                if not sender.sent:
                    faults.append(Fault.REPLY_LOST)
                return await sender.send(url, headers, body)

        self.courier = self.make(Breaking())
        self.turn()
        self.turn()
        self.assertEqual(len(self.sender.sent), 1)
        self.turn(TROUBLE_SECONDS)
        self.assertEqual(self.standing().delivered, 1)
        self.tell()
        self.turn()
        self.assertEqual(self.sender.balances()[-1], "2")

    def test_unexpected(self) -> None:
        """What nobody expected is logged, does not come every second, and ends no turn."""

        @implementer(IWebhookSender)
        class Broken(Scripted):
            """Fails otherwise than a sender may."""

            async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
                raise ZeroDivisionError

        self.courier = self.make(Broken())
        self.register()
        self.tell()
        self.turn()
        self.turn()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class AnyOrderTests(SynchronousTestCase):
    """Whatever happens, in whichever order."""

    @given(
        st.lists(st.sampled_from(["tell", "turn", "later", "die", "lost"]), max_size=40), st.data()
    )
    @settings(max_examples=40, deadline=None)
    def test_each_once_in_order(self, moves: list[str], data: st.DataObject) -> None:
        """
        With a receiver that fails, workers that die and answers of the store that are lost:
        every notice comes, first ones in order, and what comes twice has the same id.
        """
        case = CourierCase()
        case.setUp()
        outcomes = st.lists(st.sampled_from([GOOD, BAD, BAD]), max_size=6)
        case.sender.answers["a.example"] = [*data.draw(outcomes), GOOD]
        case.register()
        for move in moves:
            match move:
                case "tell":
                    case.tell()
                case "lost":
                    case.world.faults.faults.append(Fault.REPLY_LOST)
                    case.survive()
                case "die":
                    case.courier = case.make()
                case "later":
                    case.survive(7 * 3600)
                case _:
                    case.survive()
        del case.world.faults.faults[:]
        case.sender.answers["a.example"] = [GOOD]
        for _ in range(60):
            case.turn(600)
        ids = [headers["X-Sandbox-Billing-Delivery"] for _, headers, _ in case.sender.sent]
        told = [one["id"] for _, _, one in case.sender.sent]
        self.assertEqual(ids, [f"{1:032x}-{one}" for one in told])
        self.assertEqual(told, sorted(told, key=int))
        standing = case.standing()
        self.assertEqual(standing.delivered + standing.given_up, case.told)
        if not standing.given_up:
            self.assertEqual(len(set(told)), case.told)
        self.assertEqual(case.listed(), 0)


class ReceiverTests(TestCase):
    """The whole way, to a receiver on a real socket."""

    async def test_500_then_200(self) -> None:
        """Refused, sent again, taken; the receiver proves who sent it."""
        receiver = Receiver([answer(500), answer(200)])
        port = await receiver.listen()
        self.addCleanup(lambda: Deferred.fromCoroutine(receiver.close()))
        case = CourierCase()
        case.setUp()

        async def names(host: str) -> Any:
            raise BadInput("no name is asked for")

        sender = WebhookSender(
            reactor=reactor,
            names=names,
            asked_names=names,
            tested_names=names,
            allowed=read_allowed(["127.0.0.1"]),
            trust=BrowserLikePolicyForHTTPS(),
        )
        case.courier = case.make(sender)
        case.register(url=f"http://127.0.0.1:{port}/hook")
        case.tell()
        case.turn()
        await until(lambda: case.standing().failures == 1)
        case.turn(60)
        await until(lambda: case.standing().delivered == 1)
        self.assertEqual(len(receiver.heard), 2)
        body, told = receiver.heard[1][1], receiver.headers()["x-sandbox-billing-signature"]
        self.assertEqual(told, signature(SECRET, case.world.wall.now(), body))
        self.assertEqual(evolve(case.standing(), last_at=None).last, "answered 200")
