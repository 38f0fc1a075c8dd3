"""What a wallet is told, and how often."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.ledger._codec import decode, encode
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.notice import Kind, Notice
from sandbox_billing.ledger.warning import (
    REST_SECONDS,
    Findings,
    Picture,
    Standing,
    compare,
    margin,
)


NOW = UnixSeconds(1_700_000_000)
WALLET = Address("0x" + "1a" * 20)
LEVELS = (86_400, 3_600, 600)
ONE, OTHER = SandboxId("sb-1"), SandboxId("sb-2")

STANDING = Standing(
    wallet=WALLET,
    balance=Neuron(1_000),
    pending_refund=Neuron(0),
    refund_unlock_at=UnixSeconds(0),
    acknowledged=True,
    signer_version=1,
    acknowledge_until=None,
    blocked=None,
)


def left(seconds: int | None, now: int = NOW, **changes: object) -> Standing:
    """So much running time left."""
    dry_at = None if seconds is None else UnixSeconds(now + seconds)
    return evolve(STANDING, dry_at=dry_at, **changes)  # type: ignore[arg-type]


class Wallet:
    """One wallet and what it is told."""

    def __init__(self) -> None:
        self.picture: Picture | None = None
        self.told: list[Notice] = []
        self.keys: list[str] = []
        self.again: UnixSeconds | None = None

    def look(self, found: Standing, now: int = NOW) -> list[str]:
        """@return: The kinds, and of how much is left the level."""
        findings: Findings = compare(self.picture, found, LEVELS, UnixSeconds(now))
        self.picture, self.again = findings.picture, findings.again
        for notice, key in findings.notices:
            self.told.append(notice)
            self.keys.append(key)
        return [_short(notice) for notice, _ in findings.notices]


def _short(notice: Notice) -> str:
    level = dict(notice.facts).get("level_seconds")
    return level or notice.kind.value


class LevelsTests(SynchronousTestCase):
    """Running time left."""

    def setUp(self) -> None:
        self.wallet = Wallet()

    def test_one_descent(self) -> None:
        """Each level once, when it is reached and not before; then nothing is left to tell."""
        dry_at = NOW + 100_000
        seen = [
            (level, now)
            for now in range(NOW, dry_at + 120, 60)
            for level in self.wallet.look(left(dry_at - now, now), now)
        ]
        self.assertEqual([level for level, _ in seen], [str(level) for level in LEVELS])
        for level, now in seen:
            self.assertTrue(0 <= int(level) - (dry_at - now) < 60)

    def test_facts(self) -> None:
        """What a program needs to act on."""
        self.wallet.look(left(3_000))
        (notice,) = self.wallet.told
        facts = {"level_seconds": "3600", "runs_dry_at": str(NOW + 3_000), "balance": "1000"}
        self.assertEqual((notice.kind, dict(notice.facts)), (Kind.RUNS_DRY, facts))

    def test_looked_at_in_time(self) -> None:
        """The next look is when the next level is reached, though nothing else happens."""
        self.wallet.look(left(90_000))
        self.assertEqual(self.wallet.again, NOW + 90_000 - 86_400)
        self.wallet.look(left(50_000))
        self.assertEqual(self.wallet.again, NOW + 50_000 - 3_600)
        self.wallet.look(left(500))
        self.assertIsNone(self.wallet.again)

    def test_starts_short(self) -> None:
        """Whoever starts below an hour is told the hour, and not the day too."""
        self.assertEqual(self.wallet.look(left(1_800)), ["3600"])
        self.assertEqual(self.wallet.look(left(1_700, NOW + 100), NOW + 100), [])
        self.assertEqual(self.wallet.look(left(600, NOW + 1_200), NOW + 1_200), ["600"])

    def test_nothing_runs(self) -> None:
        """Nothing is told of money that lasts for ever."""
        self.assertEqual(self.wallet.look(left(None)), [])
        self.assertIsNone(self.wallet.again)

    def test_empty(self) -> None:
        """At the end there is no time to be told of: the block is."""
        self.assertEqual(self.wallet.look(left(0)), [])
        self.assertEqual(self.wallet.look(left(-5, blocked="insufficient_balance")), ["blocked"])
        self.assertEqual(self.wallet.look(left(-9, blocked="insufficient_balance")), [])

    def test_blocked_while_money_is_left(self) -> None:
        """A debt has closed the door: what the money would last for is nothing to anybody."""
        self.assertEqual(self.wallet.look(left(500, blocked="insufficient_balance")), ["blocked"])

    def test_money_arms(self) -> None:
        """After a top-up the next descent is told again, under a name of its own."""
        self.wallet.look(left(500))
        more = {"balance": Neuron(9_000)}
        self.assertEqual(self.wallet.look(left(5_000, NOW + 9, **more), NOW + 9), ["topped_up"])
        self.assertEqual(self.wallet.look(left(3_500, NOW + 10, **more), NOW + 10), ["3600"])
        self.assertEqual(len(set(self.wallet.keys)), 3)

    def test_too_little_money(self) -> None:
        """A top-up that does not reach beyond the margin arms nothing."""
        self.wallet.look(left(3_500))
        more = {"balance": Neuron(1_001)}
        self.wallet.look(left(3_600 + margin(3_600) - 1, **more))
        self.assertEqual(self.wallet.look(left(3_500, **more)), [])

    def test_short_jobs(self) -> None:
        """Trap: short jobs beside a long one halve what is left with each; that is told once."""
        told = []
        for minute in range(120):
            now = NOW + 60 * minute
            told += self.wallet.look(left(3_000 if minute % 2 else 6_000, now), now)
        self.assertEqual(told, ["86400", "3600"])

    def test_at_the_threshold(self) -> None:
        """Trap: a price that trembles about a level is told once."""
        told = []
        for second in range(0, 7_200, 2):
            now = NOW + second
            told += self.wallet.look(left(3_600 + (second % 7 - 3) * 40, now), now)
        self.assertEqual(told, ["3600"])

    def test_rest_arms(self) -> None:
        """What was stopped for long is a new descent when it is started."""
        self.wallet.look(left(500))
        self.wallet.look(left(None, NOW + 10), NOW + 10)
        self.assertEqual(self.wallet.again, NOW + 10 + REST_SECONDS)
        self.assertEqual(self.wallet.look(left(500, NOW + 600), NOW + 600), [])
        self.wallet.look(left(None, NOW + 700), NOW + 700)
        self.wallet.look(left(None, NOW + 1_300), NOW + 1_300)
        self.assertIsNone(self.wallet.again)
        self.assertEqual(self.wallet.look(left(500, NOW + 1_301), NOW + 1_301), ["600"])

    @given(
        st.lists(
            st.tuples(st.integers(1, 900), st.none() | st.integers(1, 200_000), st.booleans()),
            max_size=60,
        )
    )
    def test_any_walk(self, steps: list[tuple[int, int | None, bool]]) -> None:
        """
        However it goes: a level is told only at or below it, only the nearest, and twice only
        with a climb between, by money at once or by what runs for long enough.
        """
        wallet, now, balance = Wallet(), int(NOW), 1_000
        last: dict[int, int] = {}
        above: dict[int, list[tuple[int, bool]]] = {level: [] for level in LEVELS}
        for wait, seconds, paid in steps:
            now, balance = now + wait, balance + paid
            told = wallet.look(left(seconds, now, balance=Neuron(balance)), now)
            levels = [int(level) for level in told if level.isdigit()]
            self.assertLessEqual(len(levels), 1)
            for level in LEVELS:
                if seconds is None or seconds >= level + margin(level):
                    above[level].append((now, paid))
                else:
                    above[level] = []
                    continue
                rested = now - above[level][0][0] >= REST_SECONDS
                if rested or paid:
                    last.pop(level, None)
            for level in levels:
                assert seconds is not None
                self.assertLessEqual(seconds, level)
                self.assertEqual(level, min(each for each in LEVELS if seconds <= each))
                self.assertNotIn(level, last)
            for level in LEVELS:
                if seconds is not None and seconds <= level:
                    if level not in last and level == min(
                        each for each in LEVELS if seconds <= each
                    ):
                        self.assertEqual(levels, [level])
                    last[level] = now
        self.assertEqual(len(wallet.keys), len(set(wallet.keys)))

    @given(st.lists(st.tuples(st.integers(1, 900), st.integers(-9, 99_999)), max_size=9))
    def test_kept(self, steps: list[tuple[int, int]]) -> None:
        """A picture is what it was when it is read again."""
        now = int(NOW)
        for picture in self._pictures(steps, now):
            self.assertEqual(decode(Picture, encode(picture)), picture)

    def _pictures(self, steps: list[tuple[int, int]], now: int) -> Iterator[Picture]:
        wallet = Wallet()
        for wait, seconds in steps:
            now += wait
            orders = {ONE: "spend_limit"}
            wallet.look(left(seconds, now, orders=orders, open=(ONE,)), now)
            assert wallet.picture is not None
            yield wallet.picture


class ChangesTests(SynchronousTestCase):
    """What else a wallet is told."""

    def setUp(self) -> None:
        self.wallet = Wallet()

    def test_at_first(self) -> None:
        """Of a wallet nobody has looked at, only what is the case is news."""
        self.assertEqual(self.wallet.look(evolve(STANDING, pending_refund=Neuron(5))), [])
        other = Wallet()
        found = evolve(STANDING, blocked="quarantined", debts={"debt:c": Neuron(7)})
        self.assertEqual(other.look(found), ["debt", "blocked"])

    def test_debts(self) -> None:
        """Each once, also when an earlier one stays."""
        self.wallet.look(STANDING)
        one, two = {"debt:a": Neuron(7)}, {"debt:a": Neuron(7), "debt:b": Neuron(8)}
        for debts, expected in ((one, 1), (one, 0), (two, 1), ({}, 0)):
            told = self.wallet.look(evolve(STANDING, debts=debts))
            self.assertEqual(told, ["debt"] * expected)
        self.assertEqual(dict(self.wallet.told[1].facts), {"charge": "b", "owed": "8"})

    def test_stop(self) -> None:
        """A stop is told when it is ordered and when it is done, with its reason."""
        self.wallet.look(evolve(STANDING, open=(ONE, OTHER)))
        ordered = evolve(STANDING, open=(ONE, OTHER), orders={ONE: "spend_limit"})
        self.assertEqual(self.wallet.look(ordered), ["stop_ordered"])
        self.assertEqual(self.wallet.look(ordered), [])
        done = evolve(ordered, open=(OTHER,))
        self.assertEqual(self.wallet.look(done), ["stopped"])
        for notice in self.wallet.told:
            self.assertEqual(notice.sandbox, ONE)
            self.assertEqual(dict(notice.facts), {"reason": "spend_limit"})

    def test_stopped_at_once(self) -> None:
        """Also one that was carried out before anybody looked."""
        self.wallet.look(evolve(STANDING, open=(ONE,)))
        done = evolve(STANDING, orders={ONE: "spend_limit"})
        self.assertEqual(self.wallet.look(done), ["stop_ordered", "stopped"])
        self.assertIsNone(self.wallet.again)

    def test_blocked_for_a_moment(self) -> None:
        """A block that was lifted before anybody looked is told; one that was told is not."""
        self.wallet.look(STANDING)
        lifted = evolve(STANDING, was_blocked="insufficient_balance")
        self.assertEqual(self.wallet.look(lifted), ["blocked"])
        self.assertEqual(self.wallet.look(STANDING), [])
        stands = evolve(lifted, blocked="insufficient_balance")
        self.assertEqual(self.wallet.look(stands), ["blocked"])
        self.assertEqual(self.wallet.look(stands), [])
        self.assertEqual(self.wallet.look(lifted), [])

    def test_stop_dropped(self) -> None:
        """An order that is dropped stops nothing."""
        self.wallet.look(evolve(STANDING, open=(ONE,), orders={ONE: "spend_limit"}))
        self.assertIsNotNone(self.wallet.again)
        self.assertEqual(self.wallet.look(evolve(STANDING, open=(ONE,))), [])

    def test_own_stop(self) -> None:
        """What its owner stopped is no news to him."""
        self.wallet.look(evolve(STANDING, open=(ONE,)))
        self.assertEqual(self.wallet.look(STANDING), [])

    def test_refund(self) -> None:
        """What is asked back, and from when it can be had."""
        self.wallet.look(STANDING)
        asked = evolve(STANDING, pending_refund=Neuron(5), refund_unlock_at=UnixSeconds(9))
        self.assertEqual(self.wallet.look(asked), ["refund_requested"])
        self.assertEqual(dict(self.wallet.told[0].facts), {"amount": "5", "unlock_at": "9"})
        self.assertEqual(self.wallet.look(STANDING), [])

    def test_signer(self) -> None:
        """A new version is to be acknowledged by who had the old one; a revoke is his own."""
        raised = evolve(
            STANDING, acknowledged=False, signer_version=2, acknowledge_until=UnixSeconds(77)
        )
        self.wallet.look(STANDING)
        self.assertEqual(self.wallet.look(raised), ["acknowledge_needed"])
        self.assertEqual(dict(self.wallet.told[0].facts), {"signer_version": "2", "until": "77"})
        self.assertEqual(self.wallet.look(raised), [])
        self.assertEqual(self.wallet.look(evolve(raised, acknowledged=True)), [])
        self.assertEqual(self.wallet.look(raised), [])

    def test_leaving(self) -> None:
        """Whoever has something here is told; again when the day is another."""
        self.wallet.look(STANDING)
        for day, expected in ((5, 1), (5, 0), (8, 1), (None, 0), (8, 1)):
            moment = None if day is None else UnixSeconds(day)
            told = self.wallet.look(evolve(STANDING, leaving_at=moment))
            self.assertEqual(told, ["provider_leaving"] * expected)
        stranger = Wallet()
        gone = evolve(STANDING, balance=Neuron(0), leaving_at=UnixSeconds(8))
        self.assertEqual(stranger.look(gone), [])
