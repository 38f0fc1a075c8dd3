"""Buckets, and what the front desk does with them (V1, V4)."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.interfaces import TooMany
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing import message
from sandbox_billing.signing.request import sign_message
from sandbox_billing.web import _router
from sandbox_billing.web.limits import (
    Buckets,
    Rate,
    Rates,
    RequestLimits,
    full_at,
    overdrawn,
)
from tests.web.asking import AskingTestCase
from tests.web.world import NOW, OWNER, SANDBOX, STRANGER, TERMS, World, signed_json


WALLET = Address("0x" + "1a" * 20)

rates = st.builds(
    Rate, per_second=st.floats(min_value=0.01, max_value=1000), burst=st.integers(1, 1000)
)
waits = st.lists(st.floats(min_value=0, max_value=20), min_size=1, max_size=60)


class BucketTests(SynchronousTestCase):
    """One bucket, as a moment."""

    @given(rates, waits)
    def test_never_more(self, rate: Rate, steps: list[float]) -> None:
        """In any span of time no more is let in than a burst and what flows in meanwhile."""
        now, full, taken = 0.0, 0.0, []
        for step in steps:
            now += step
            after = full_at(rate, full, now)
            if not overdrawn(rate, after, now):
                full = after
                taken.append(now)
        for first, since in enumerate(taken):
            for last in range(first, len(taken)):
                most = rate.burst + (taken[last] - since) * rate.per_second
                self.assertLessEqual(last - first + 1, most + 0.01)

    @given(rates)
    def test_burst(self, rate: Rate) -> None:
        """After a rest the whole burst is there, and not one more."""
        full = 0.0
        for _ in range(rate.burst):
            full = full_at(rate, full, 1000.0)
            self.assertEqual(overdrawn(rate, full, 1000.0), 0.0)
        self.assertGreater(overdrawn(rate, full_at(rate, full, 1000.0), 1000.0), 0.0)

    @given(rates, st.integers(0, 2000), st.floats(min_value=0, max_value=10))
    def test_told_wait(self, rate: Rate, before: int, later: float) -> None:
        """Whoever waits as long as he was told is let in, and not any sooner."""
        full = 0.0
        for _ in range(before):
            after = full_at(rate, full, 1000.0)
            if overdrawn(rate, after, 1000.0):
                break
            full = after
        wait = overdrawn(rate, full_at(rate, full, 1000.0), 1000.0)
        then = 1000.0 + wait + later
        self.assertEqual(overdrawn(rate, full_at(rate, full, then), then), 0.0)
        if wait > 0.001:
            early = 1000.0 + wait * 0.9
            self.assertGreater(overdrawn(rate, full_at(rate, full, early), early), 0.0)

    @given(rates, st.floats(min_value=1, max_value=10**9))
    def test_clock_set_back(self, rate: Rate, back: float) -> None:
        """A bucket of the future is an empty one: nobody waits until the clock has caught up."""
        wait = overdrawn(rate, full_at(rate, 10.0**9 + back, 10.0**9), 10.0**9)
        self.assertLessEqual(wait, 1 / rate.per_second + 0.001)


class BucketsTests(SynchronousTestCase):
    """Many of them, in bounded memory."""

    def setUp(self) -> None:
        """Two at once, then one in ten seconds; room for three names."""
        self.clock = Clock()
        self.buckets = Buckets(Rate(0.1, 2), self.clock, most=3)

    def test_each_its_own(self) -> None:
        """One name's share is not another's."""
        self.assertEqual([self.buckets.take("a") for _ in range(3)], [0, 0, 10])
        self.assertEqual(self.buckets.take("b"), 0)
        self.clock.advance(10)
        self.assertEqual([self.buckets.take("a") for _ in range(2)], [0, 10])

    def test_refusals_cost_nothing(self) -> None:
        """Whoever asks while he must wait does not wait longer for it."""
        for _ in range(50):
            self.buckets.take("a")
        self.clock.advance(10)
        self.assertEqual(self.buckets.take("a"), 0)

    def test_full(self) -> None:
        """When every bucket is in use, newcomers share one; those who have one keep it."""
        for name in "abc":
            self.buckets.take(name)
        self.assertEqual([self.buckets.take(name) for name in "defg"], [0, 0, 10, 10])
        self.assertEqual([self.buckets.waits(name) for name in "ad"], [0, 10])
        self.assertEqual(self.buckets.take("a"), 0)
        self.assertEqual(len(self.buckets), 3)

    def test_idle_ones_go(self) -> None:
        """A bucket that is full again says nothing, and makes room for a newcomer."""
        for name in "abc":
            self.buckets.take(name)
        self.clock.advance(9)
        self.buckets.take("a")
        self.clock.advance(1)
        for name in "de":
            self.assertEqual([self.buckets.take(name) for _ in range(3)], [0, 0, 10])
        self.assertEqual(self.buckets.waits("a"), 0)
        self.assertEqual(len(self.buckets), 3)

    @given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 30)), max_size=200))
    def test_bounded(self, calls: list[tuple[int, float]]) -> None:
        """However many ask, no more are remembered than may be."""
        clock = Clock()
        buckets = Buckets(Rate(0.1, 2), clock, most=5)
        for name, later in calls:
            clock.advance(later)
            expected = buckets.waits(str(name))
            self.assertEqual(buckets.take(str(name)), expected)
            self.assertLessEqual(len(buckets), 5)


class RequestLimitsTests(SynchronousTestCase):
    """The three questions."""

    def setUp(self) -> None:
        """One at once of everything."""
        self.clock = Clock()
        self.limits = RequestLimits.of(
            Rates(peer=Rate(0.4, 1), wallet=Rate(0.1, 1), forged=Rate(0.05, 1)), self.clock
        )

    def test_whole_seconds(self) -> None:
        """What is told to wait is a whole number of seconds, rounded up."""
        self.limits.arrived("1.2.3.4")
        problem = self.assertRaises(TooMany, self.limits.arrived, "1.2.3.4")
        self.assertEqual(problem.retry_after, 3)
        self.limits.arrived("1.2.3.5")

    def test_wallet(self) -> None:
        """A wallet has a share of its own."""
        self.limits.admitted(WALLET)
        self.assertEqual(self.assertRaises(TooMany, self.limits.admitted, WALLET).retry_after, 10)

    def test_forgers(self) -> None:
        """Who proved nothing too often is not looked at for a while; asking is no failure."""
        for _ in range(5):
            self.limits.may_prove("1.2.3.4")
        self.limits.forged("1.2.3.4")
        problem = self.assertRaises(TooMany, self.limits.may_prove, "1.2.3.4")
        self.assertEqual(problem.retry_after, 20)
        self.limits.may_prove("1.2.3.5")
        self.clock.advance(20)
        self.limits.may_prove("1.2.3.4")

    def test_as_set(self) -> None:
        """Five seconds of what is set may come at once."""
        made = Rates.of(peer_per_second=7, wallet_per_second=3)
        self.assertEqual((made.peer, made.wallet), (Rate(7.0, 35), Rate(3.0, 15)))


class FrontDeskTests(AskingTestCase):
    """Where the router asks them."""

    def limited(self, **changes: Rate) -> World:
        """A world with narrow limits."""
        wide = Rates(peer=Rate(1.0, 1000), wallet=Rate(1.0, 1000), forged=Rate(1.0, 1000))
        return World(evolve(TERMS, rates=evolve(wide, **changes)))

    def test_peer(self) -> None:
        """429 with the time to wait; the probes are never limited."""
        world = self.limited(peer=Rate(0.2, 2))
        for _ in range(2):
            self.assertEqual(self.ask("GET", "/info", world=world).status, 200)
        reply = self.ask("GET", "/info", world=world)
        self.assertEqual(reply.status, 429)
        self.assertEqual(reply.json["error"], "too many requests from this address")
        self.assertEqual(reply.header("Retry-After"), "5")
        for probe in ("/healthz", "/readyz"):
            self.assertEqual(self.ask("GET", probe, world=world).status, 200)
        self.assertEqual(self.ask("GET", "/healthz/x", world=world).status, 429)
        world.clock.advance(5)
        self.assertEqual(self.ask("GET", "/info", world=world).status, 200)

    def test_claimed_wallet(self) -> None:
        """Forged requests in a wallet's name cost that wallet nothing."""
        world = self.limited(wallet=Rate(0.1, 1))
        target = f"/api/sandbox/{SANDBOX}"
        forged = signed_json(world.message(resource_id=SANDBOX), STRANGER)
        forged["X-Wallet-Address"] = OWNER.address.hex
        for _ in range(5):
            self.assertEqual(self.ask("GET", target, forged, world=world).status, 401)
        honest = world.signed("list", SANDBOX)
        self.assertEqual(self.ask("GET", target, honest, world=world).status, 200)
        # Whoever saw it go by sends it again: still nothing.
        for _ in range(5):
            self.assertEqual(self.ask("GET", target, honest, world=world).status, 401)
        reply = self.ask("GET", target, world.signed("list", SANDBOX), world=world)
        self.assertEqual(reply.status, 429)
        self.assertEqual(reply.json["error"], "too many requests of this wallet")
        self.assertEqual(reply.header("Retry-After"), "10")
        other = world.signed("list", "", key=STRANGER)
        self.assertEqual(self.ask("GET", "/api/events", other, world=world).status, 200)

    def test_forger(self) -> None:
        """After some failed signatures a peer is not looked at, and no nonce is stored for it."""
        world = self.limited(forged=Rate(0.1, 3))
        forged = signed_json(world.message(), STRANGER)
        forged["X-Wallet-Address"] = OWNER.address.hex
        codes = [self.ask("GET", "/api/events", forged, world=world).status for _ in range(5)]
        self.assertEqual(codes, [401, 401, 401, 429, 429])
        honest = world.signed("list", "")
        reply = self.ask("GET", "/api/events", honest, world=world)
        self.assertEqual(reply.error, (429, "too many failed signatures from this address"))
        self.assertEqual(world.guard.seen, set())
        self.assertEqual(self.ask("GET", "/info", world=world).status, 200)
        world.clock.advance(10)
        self.assertEqual(self.ask("GET", "/api/events", honest, world=world).status, 200)

    def test_malformed(self) -> None:
        """A message that is none is work for nothing, whoever signed it."""
        for raw in (b"[" + b"[]," * 3_000 + b"[]]", b"{", b'{"action":1}'):
            world = self.limited(forged=Rate(0.1, 3))
            made = sign_message(OWNER, raw)
            codes = [self.ask("GET", "/api/events", made, world=world).status for _ in range(5)]
            self.assertEqual(codes, [401, 401, 401, 429, 429])
        world = self.limited(forged=Rate(0.1, 3))
        made = {**world.signed("list", ""), "X-Signed-Message": "%%%"}
        codes = [self.ask("GET", "/api/events", made, world=world).status for _ in range(5)]
        self.assertEqual(codes, [401, 401, 401, 429, 429])

    def test_unsigned_and_old(self) -> None:
        """An old message that nobody signed counts; one's own, of a clock that lags, does not."""
        world = self.limited(forged=Rate(0.1, 3))
        late = signed_json(world.message(expires_at=NOW - 1), OWNER)
        for _ in range(5):
            reply = self.ask("GET", "/api/events", late, world=world)
            self.assertEqual(reply.error, (401, "request expired"))
        late["X-Wallet-Address"] = STRANGER.address.hex
        codes = [self.ask("GET", "/api/events", late, world=world).status for _ in range(5)]
        self.assertEqual(codes, [401, 401, 401, 429, 429])

    def test_nothing_is_parsed_of_who_forges(self) -> None:
        """Whoever may prove nothing more costs no parsing."""
        world = self.limited(forged=Rate(0.1, 1))
        made = sign_message(OWNER, b"{")
        self.assertEqual(self.ask("GET", "/api/events", made, world=world).status, 401)
        parsed: list[bytes] = []
        self.patch(message, "parse_strict_json", parsed.append)
        self.assertEqual(self.ask("GET", "/api/events", made, world=world).status, 429)
        self.assertEqual(parsed, [])

    def test_nothing_signed(self) -> None:
        """Who sends no signature at all has forged none."""
        world = self.limited(forged=Rate(0.1, 1))
        for _ in range(3):
            self.assertEqual(self.ask("GET", "/api/events", {}, world=world).status, 401)

    def test_unknown_tokens(self) -> None:
        """A program with a token that is gone, or was none, locks out no signature beside it."""
        for secret in ("sbt_" + "A" * 43, "dtn_of_daytona"):
            world = self.limited(forged=Rate(0.1, 1), guessed=Rate(0.1, 2))
            guess = {"Authorization": f"Bearer {secret}"}
            replies = [self.ask("GET", "/api/events", guess, world=world) for _ in range(4)]
            self.assertEqual([reply.status for reply in replies], [401, 401, 429, 429])
            text = "too many unknown tokens from this address"
            self.assertEqual(replies[-1].json["error"], text)
            honest = world.signed("list", "")
            self.assertEqual(self.ask("GET", "/api/events", honest, world=world).status, 200)

    def test_logins(self) -> None:
        """A login is counted before its body is looked at."""
        world = self.limited(login=Rate(0.1, 2))
        parsed: list[bytes] = []
        self.patch(_router, "parse_strict_json", lambda raw, **bounds: parsed.append(raw))
        path, body = "/api/auth/session", b"[" + b"[]," * 3000 + b"[]]"
        codes = [self.ask("POST", path, {}, body, world=world).status for _ in range(4)]
        self.assertEqual((codes, len(parsed)), ([400, 400, 429, 429], 2))

    def test_logins_of_a_site(self) -> None:
        """
        Whoever has a /48 has 65,536 addresses to log in from; of them all together few are
        taken, and nobody else is turned away for it (V4).
        """
        limits = RequestLimits.of(Rates(), Clock())

        def is_taken(peer: str) -> bool:
            try:
                limits.signs_in(peer)
            except TooMany:
                return False
            return True

        taken = sum(is_taken(f"2001:db8:1:{number:x}::/64") for number in range(5_000))
        self.assertEqual(taken, Rates().site.burst)
        for other in ("2001:db8:2::/64", "192.0.2.1", "unknown"):
            self.assertTrue(is_taken(other), other)
