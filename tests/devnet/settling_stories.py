"""
What a worker must come through on any node: failures.md, T-1 to T-9, S7 and S9.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel
from twisted.trial.unittest import TestCase

from sandbox_billing.ledger.batch import Attempt
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.services.gas_account import GAP_SECONDS
from sandbox_billing.services.second_look import DEPTH
from tests.devnet.settling import BUMP_SECONDS, CONFIRMATIONS, MAX_AGE, RESEND_SECONDS, SettlingCase
from tests.ports.chain import TOKEN


def settling_stories(
    make: Callable[[TestCase], Awaitable[Any]], *, keeps_orphans: bool = True
) -> type[SettlingCase]:
    """
    @param make: A fresh node.
    @param keeps_orphans: Whether what a reorganisation removes can go back to the pool.
    """

    class SettlingStories(SettlingCase):
        """The services of a worker on a node with faults."""

        def setUp(self) -> Deferred[None]:
            return Deferred.fromCoroutine(self._set_up())

        async def _set_up(self) -> None:
            await self.open(await make(self))
            await self.rounds(CONFIRMATIONS + 2)
            self.assertEqual(self.troubles, {})

        async def test_calm(self) -> None:
            """Without faults: signed, sent, confirmed, paid once, and forgotten as checked."""
            await self.charge()
            await self.sent()
            await self.settled()
            self.assertEqual(await self.node.count(), 1)
            await self.node.mine(DEPTH)
            await self.turn()
            self.assertEqual(await self.journal.resolved.due(10**9, 9), ())
            self.assertEqual(self.alarms.events, [])

        async def test_replacement(self) -> None:
            """
            What is not mined is offered again for a tenth more of each fee, under the same
            account nonce and with the same call; one of them settles (T-1, T-3).
            """
            await self.charge()
            first = await self.sent()
            (waits,) = await self.node.pool()
            for tries in (2, 3):
                await self.node.mine_nothing(BUMP_SECONDS // 10 + 1, seconds=10)
                await self.turn()
                attempts = await self.attempts()
                self.assertEqual(len(attempts), tries)
                (replaced,) = await self.node.pool()
                self.assertEqual(replaced["hash"], attempts[-1].hash)
                self.assertEqual(
                    (replaced["nonce"], replaced["input"]), (waits["nonce"], waits["input"])
                )
                for fee in ("tip", "cap"):
                    self.assertGreaterEqual(replaced[fee], -(-waits[fee] * 11 // 10))
                waits = replaced
            await self.settled()
            self.assertEqual(await self.node.count(), first.account_nonce + 1)
            self.assertIsNone(await self.chain.receipt(first.hash))

        async def test_earlier_one_mined(self) -> None:
            """
            Some miner still had the attempt that was replaced: it is found, and when a
            reorganisation puts the other one in its place, the voucher is paid once (T-5).
            """
            await self.charge()
            first = await self.sent()
            await self.node.mine_nothing(BUMP_SECONDS // 10 + 1, seconds=10)
            await self.turn()
            _, second = await self.attempts()
            await self.node.drop(second.hash)
            await self.node.send(first.raw)
            await self.rounds(1)
            self.assertIsNotNone(await self.chain.receipt(first.hash))
            await self.node.reorg(1, keep=False)
            await self.node.send(second.raw)
            await self.turn()
            self.assertEqual(await self.attempts(), [first, second])
            await self.settled()
            self.assertIsNone(await self.chain.receipt(first.hash))
            self.assertIsNotNone(await self.chain.receipt(second.hash))
            self.assertEqual(await self.node.count(), 1)

        async def test_cap(self) -> None:
            """
            A bump stops at the operator's cap: the last attempt is sent as it is, and settles
            (T-3, T-4).
            """
            await self.charge()
            first = await self.sent()
            self.fee_cap = first.fee_cap * 13 // 10
            await self.birth()
            await self.turn()
            for _ in range(5):
                await self.node.mine_nothing(BUMP_SECONDS // 10 + 1, seconds=10)
                await self.turn()
            attempts = await self.attempts()
            self.assertGreater(len(attempts), 1)
            self.assertEqual({a.account_nonce for a in attempts}, {first.account_nonce})
            self.assertLessEqual(attempts[-1].fee_cap, self.fee_cap)
            self.assertTrue(self.alarms.told("is sent as it is"))
            await self.node.drop(attempts[-1].hash)
            await self.rounds(RESEND_SECONDS + 1, nothing=True)
            self.assertEqual([t["hash"] for t in await self.node.pool()], [attempts[-1].hash])
            await self.settled()

        async def test_dropped(self) -> None:
            """
            What the node has forgotten is sent again, the same bytes, also by the next worker
            (T-4).
            """
            await self.charge()
            attempt = await self.sent()
            for reborn in (False, True):
                await self.node.drop(attempt.hash)
                if reborn:
                    await self.birth()
                await self.rounds(RESEND_SECONDS + 1, nothing=True)
                self.assertEqual([t["hash"] for t in await self.node.pool()], [attempt.hash])
            self.assertEqual(await self.attempts(), [attempt])
            await self.settled()
            self.assertEqual(await self.node.count(), 1)

        async def test_gap(self) -> None:
            """
            An account nonce that a vanished transaction took is used up, and what waits behind
            it goes on (T-7).
            """
            foreign = await self.node.use_up(0)
            await self.charge()
            await self.rounds(1, nothing=True)
            (attempt,) = await self.attempts()
            self.assertEqual(attempt.account_nonce, 1)
            await self.node.drop(foreign)
            await self.rounds(GAP_SECONDS // 2)
            self.assertEqual(await self.node.count(), 0)
            self.assertEqual(self.alarms.told("is missing"), [])
            await self.rounds(GAP_SECONDS // 2 + 5)
            self.assertEqual(len(self.alarms.told("is missing")), 1)
            await self.settled()
            self.assertEqual(await self.node.count(), 2)
            self.assertIsNotNone(await self.chain.receipt(attempt.hash))

        async def test_account_nonce_taken(self) -> None:
            """
            An attempt whose account nonce another transaction used is given up, with an alarm,
            and its voucher goes out as it was signed (T-6).
            """
            await self.charge()
            attempt = await self.sent()
            (record,) = await self.records()
            await self.node.drop(attempt.hash)
            await self.node.use_up(attempt.account_nonce)
            await self.rounds(GAP_SECONDS // 2)
            self.assertEqual(await self.attempts(), [attempt])
            await self.rounds(GAP_SECONDS // 2 + 3)
            self.assertEqual(
                len(self.alarms.told("was used by a transaction", LogLevel.critical)), 1
            )
            await self.settled()
            self.assertEqual((await self.records())[0].seal, record.seal)
            self.assertEqual(await self.node.count(), 2)

        async def test_stall(self) -> None:
            """
            While no block comes for a quarter of an hour nothing is given up, nothing new is
            let in, and afterwards all goes on (S7).
            """
            await self.charge()
            attempt = await self.sent()
            (batch,) = await self.batches()
            await self.stand(900)
            self.assertIn("too old to settle on", self.troubles["settler"])
            self.assertIn("has not answered for a while", await self.refused())
            (stalled,) = await self.batches()
            self.assertEqual((stalled.id, stalled.charges), (batch.id, batch.charges))
            # A mirror that has just become too old may still have let it be offered for more.
            self.assertEqual(stalled.attempts[0], attempt)
            self.assertEqual({a.account_nonce for a in stalled.attempts}, {attempt.account_nonce})
            self.assertEqual(
                [t["hash"] for t in await self.node.pool()], [stalled.attempts[-1].hash]
            )
            self.assertEqual(self.alarms.told("", LogLevel.critical), [])
            await self.settled()
            self.assertEqual(self.troubles, {})
            await self.intake.admission.mirror()
            self.assertEqual(await self.node.count(), 1)

        async def test_standing_chain_is_old(self) -> None:
            """
            A node that answers and shows no newer block passes for fresh no longer than twice
            C{MIRROR_MAX_AGE_SEC}: so long a chain may stand, and so old a mirror may be.
            """
            await self.node.mine()
            await self.turn()
            await self.stand(MAX_AGE - 1, 1)
            await self.intake.admission.mirror()
            await self.stand(MAX_AGE + 2, 1)
            self.assertIn("has not answered for a while", await self.refused())
            await self.rounds(2)
            await self.intake.admission.mirror()

        async def test_reorg_before_confirmation(self) -> None:
            """
            A receipt that goes away before it is confirmed leaves the batch waiting; the same
            bytes are mined again, and the outcome is applied once (T-5, S9).
            """
            for keep in (False, True) if keeps_orphans else (False,):
                await self.charge()
                attempt = await self.sent()
                await self.rounds(1)
                self.assertIsNotNone(await self.chain.receipt(attempt.hash))
                before, seals = await self.batches(), [r.seal for r in await self.records()]
                await self.node.reorg(1, keep=keep)
                await self.turn()
                self.assertIsNone(await self.chain.receipt(attempt.hash))
                self.assertEqual(await self.batches(), before)
                await self.settled()
                self.assertEqual([r.seal for r in await self.records()], seals)
                self.assertIsNotNone(await self.chain.receipt(attempt.hash))
            self.assertEqual(self.alarms.told("was replaced"), [])
            await self.node.mine(DEPTH + 3)
            await self.turn()
            self.assertIsNone((await self.journal.funds.funds(self.node.user)).blocked)

        async def test_reorg_after_confirmation(self) -> None:
            """
            An outcome that vanishes after it was confirmed raises an alarm, is not charged
            again, and its wallet is quarantined by the second look (S9).
            """
            await self.charge()
            await self.sent()
            await self.settled()
            books = await self.records()
            await self.node.mine(CONFIRMATIONS)
            await self.node.reorg(2 * CONFIRMATIONS + 4, keep=False)
            await self.node.mine(2)
            self.assertEqual(await self.node.settlements(), [])
            await self.turn()
            self.assertEqual(
                len(self.alarms.told("was replaced after it was confirmed", LogLevel.critical)), 1
            )
            await self.rounds(3)
            self.assertIsNone((await self.journal.funds.funds(self.node.user)).blocked)
            await self.node.mine(DEPTH)
            await self.rounds(2)
            self.assertEqual((await self.journal.funds.funds(self.node.user)).blocked, QUARANTINED)
            (letter,) = await self.journal.letters.letters()
            self.assertIn("nothing is settled under it now", letter.reason)
            self.assertEqual(await self.records(), books)
            self.assertEqual(await self.node.settlements(), [])

        async def two_in_flight(self) -> tuple[Attempt, Attempt]:
            """Two wallets' batches, one behind the other."""
            await self.charge()
            first = await self.sent()
            await self.charge(self.node.other)
            await self.rounds(1, nothing=True)
            found, second = await self.attempts()
            self.assertEqual(found, first)
            self.assertEqual(
                (first.account_nonce, second.account_nonce), (0, 1), "not one behind the other"
            )
            return first, second

        async def test_two_dropped(self) -> None:
            """When the node forgets the first of two, both are mined in their order (T-1)."""
            first, second = await self.two_in_flight()
            await self.node.drop(first.hash)
            await self.rounds(1)
            self.assertEqual(await self.node.count(), 0)
            await self.settled()
            for attempt in (first, second):
                self.assertIsNotNone(await self.chain.receipt(attempt.hash))
            self.assertEqual(await self.node.count(), 2)

        async def test_two_taken_back(self) -> None:
            """A reorganisation that takes two back, and forgets them, has them sent again."""
            first, second = await self.two_in_flight()
            await self.rounds(1)
            self.assertEqual(await self.node.count(), 2)
            await self.node.reorg(1, keep=False)
            await self.turn()
            self.assertEqual(await self.attempts(), [first, second])
            await self.birth()
            await self.settled()
            self.assertEqual(await self.node.count(), 2)
            self.assertIsNotNone(await self.chain.receipt(second.hash))

        async def test_empty_purse(self) -> None:
            """
            Below the floor nothing is sent, and nothing is given up; with money again all goes
            on (T-10).
            """
            await self.node.purse(10**15)
            await self.charge()
            await self.rounds(5)
            self.assertEqual(await self.attempts(), [])
            (batch,) = await self.batches()
            self.assertIn("below GAS_FLOOR_NEURON", self.troubles["settler"])
            await self.node.purse(TOKEN)
            await self.rounds(2, nothing=True)
            (after,) = await self.batches()
            self.assertEqual((after.id, after.charges), (batch.id, batch.charges))
            await self.settled()
            self.assertEqual(await self.node.count(), 1)

        async def test_deposit_taken_back(self) -> None:
            """
            A deposit that vanishes after it was confirmed is no longer counted: accounts are
            read again where the chain was replaced (S9).
            """
            await self.charge()
            await self.settled()
            await self.node.mine(2 * CONFIRMATIONS)
            await self.turn()
            before = await self.funds()
            await self.node.deposit(777)
            await self.rounds(CONFIRMATIONS)
            self.assertEqual(await self.funds(), before + 777)
            await self.node.reorg(CONFIRMATIONS + 1, keep=False)
            await self.rounds(2)
            self.assertEqual(await self.funds(), before)
            self.assertTrue(self.alarms.told("was replaced after it was confirmed"))

        async def funds(self) -> int:
            """The user's balance, as mirrored."""
            account = (await self.journal.funds.funds(self.node.user)).account
            assert account is not None
            return account.value.balance

    return SettlingStories
