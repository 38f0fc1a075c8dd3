"""
Tests of the chain as one object, without a network: C{sandbox_billing.devnet.chain.devchain}.
"""

from __future__ import annotations

import itertools

from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.devnet.chain.errors import RpcError
from sandbox_billing.devnet.chain.evm import CallRequest

from .chain_probe import (
    ADDRESS,
    GWEI,
    POOR,
    PROBE_BYTECODE,
    START,
    deploy_probe,
    make_chain,
    signed,
    signed_legacy,
    store_call,
)


class MiningTests(SynchronousTestCase):
    """
    From the pool into blocks.
    """

    def test_transfer(self) -> None:
        """
        A sent transaction changes nothing until it is mined, and then what it says.
        """
        chain = make_chain()
        found = chain.send_raw(signed(0, value=5))
        self.assertEqual((chain.balance(POOR), chain.nonce(ADDRESS)), (0, 0))
        self.assertIsNone(chain.index.receipt(found))
        block = chain.mine()
        self.assertEqual((chain.balance(POOR), chain.nonce(ADDRESS)), (5, 1))
        self.assertTrue(block.receipts[0].succeeded)
        self.assertEqual(block.receipts[0].gas_used, 21_000)

    def test_fees_leave_the_sender(self) -> None:
        """
        The sender pays value and gas at base fee plus tip, no more.
        """
        chain = make_chain()
        before = chain.balance(ADDRESS)
        chain.send_raw(signed(0, value=7, fee=5 * GWEI, maxPriorityFeePerGas=2 * GWEI))
        receipt = chain.mine().receipts[0]
        self.assertEqual(receipt.gas_price, 3 * GWEI)
        self.assertEqual(before - chain.balance(ADDRESS), 7 + 21_000 * 3 * GWEI)

    def test_many_of_one_sender_in_one_block(self) -> None:
        """
        Nonces are mined in order, however they were sent; a gap holds back the rest.
        """
        chain = make_chain()
        for nonce in (3, 1, 0, 2, 5):
            chain.send_raw(signed(nonce))
        self.assertEqual(chain.nonce(ADDRESS, "pending"), 4)
        self.assertEqual(len(chain.mine().receipts), 4)
        self.assertEqual((chain.nonce(ADDRESS), len(chain.pool)), (4, 1))
        chain.send_raw(signed(4))
        self.assertEqual(len(chain.mine().receipts), 2)
        self.assertEqual(chain.nonce(ADDRESS), 6)

    def test_replacement_is_mined_alone(self) -> None:
        """
        Of two transactions with one nonce the one that outbid is mined.
        """
        chain = make_chain()
        old = chain.send_raw(signed(0, value=1, fee=3 * GWEI))
        new = chain.send_raw(signed(0, value=2, fee=4 * GWEI))
        chain.mine()
        self.assertIsNone(chain.transaction(old))
        self.assertIsNotNone(chain.index.receipt(new))
        self.assertEqual(chain.balance(POOR), 2)

    def test_dropped_and_sent_again(self) -> None:
        """
        A dropped transaction is mined only after the same bytes were sent again.
        """
        chain, raw = make_chain(), signed(0)
        found = chain.send_raw(raw)
        self.assertTrue(chain.drop_transaction(found))
        chain.mine()
        self.assertEqual(chain.balance(POOR), 0)
        self.assertEqual(chain.send_raw(raw), found)
        chain.mine()
        self.assertEqual(chain.balance(POOR), 1)

    def test_mined_is_known(self) -> None:
        """
        The bytes of a mined transaction are already known; others with its nonce too low.
        """
        chain = make_chain()
        chain.send_raw(signed(0))
        chain.mine()
        for raw, words in ((signed(0), "already known"), (signed(0, value=9), "nonce too low")):
            self.assertIn(words, self.assertRaises(RpcError, chain.send_raw, raw).text)

    def test_refused_alone(self) -> None:
        """
        What can never be in a block is refused before it is in the pool.
        """
        chain = make_chain()
        for raw, words in (
            (signed(0, gas=20_999), "intrinsic gas too low"),
            (signed(0, gas=30_000_001), "exceeds block gas limit"),
            (signed(0, maxFeePerGas=1), "max priority fee per gas higher"),
            (signed(0, to=b"", gas=10**7, data=bytes(49_153)), "max initcode size exceeded"),
            (signed(0, value=10**25), "insufficient funds"),
        ):
            self.assertIn(words, self.assertRaises(RpcError, chain.send_raw, raw).text)
        self.assertEqual(len(chain.pool), 0)

    def test_fee_below_base_fee_is_stuck(self) -> None:
        """
        A base fee above the cap leaves a transaction waiting; it is mined once it falls.
        """
        chain = make_chain()
        found = chain.send_raw(signed(0, fee=2 * GWEI))
        chain.set_next_base_fee(3 * GWEI)
        self.assertEqual(chain.mine().base_fee, 3 * GWEI)
        self.assertIsNone(chain.index.receipt(found))
        for _ in range(5):
            chain.mine()
        self.assertIsNotNone(chain.index.receipt(found))

    def test_block_gas_limit(self) -> None:
        """
        What does not fit goes into the next block, in order.
        """
        chain = make_chain(gas_limit=50_000)
        for nonce in range(3):
            chain.send_raw(signed(nonce))
        self.assertEqual([len(chain.mine().receipts) for _ in range(2)], [2, 1])

    def test_failed_transaction_is_mined(self) -> None:
        """
        A transaction that reverts is in the block with status 0, and its gas is gone.
        """
        chain = make_chain()
        probe = deploy_probe(chain)
        data = keccak(text="scold()")[:4]
        found = chain.send_raw(signed(1, to=probe, value=0, gas=100_000, data=data))
        chain.mine()
        place = chain.index.receipt(found)
        assert place is not None
        self.assertFalse(place[1].succeeded)
        self.assertEqual(chain.nonce(ADDRESS), 2)

    def test_unpayable_is_forgotten(self) -> None:
        """
        When an earlier one spends the money, a later one leaves the pool unmined.
        """
        chain = make_chain()
        chain.send_raw(signed(1, value=8 * 10**23))
        chain.set_balance(ADDRESS, 10**18)
        self.assertEqual(len(chain.pool), 0)

    def test_automine(self) -> None:
        """
        With automine each accepted transaction is in a block at once.
        """
        chain = make_chain(automine=True)
        found = chain.send_raw(signed_legacy(0))
        self.assertIsNotNone(chain.index.receipt(found))


class TimeTests(SynchronousTestCase):
    """
    Timestamps.
    """

    def test_wall_clock(self) -> None:
        """
        A block bears the wall clock's time.
        """
        clock = Clock()
        chain = make_chain(clock)
        clock.advance(10.5)
        self.assertEqual(chain.mine().timestamp, START + 10)

    def test_strictly_later(self) -> None:
        """
        Blocks within one second are a second apart, and later rejoin the wall clock.
        """
        clock = Clock()
        chain = make_chain(clock)
        self.assertEqual([chain.mine().timestamp - START for _ in range(3)], [1, 2, 3])
        clock.advance(7)
        self.assertEqual(chain.mine().timestamp, START + 7)

    def test_fast_chain_keeps_the_wall_clock(self) -> None:
        """
        Without strict time blocks of one second share its timestamp.
        """
        chain = make_chain(strict_time=False)
        self.assertEqual({chain.mine().timestamp for _ in range(5)}, {START})

    def test_increase_time(self) -> None:
        """
        Time moved forward stays moved, and the wall clock runs on.
        """
        clock = Clock()
        chain = make_chain(clock)
        chain.increase_time(3600)
        self.assertEqual(chain.mine().timestamp, START + 3600)
        clock.advance(5)
        self.assertEqual(chain.mine().timestamp, START + 3605)
        self.assertRaises(RpcError, chain.increase_time, -1)

    def test_chosen_timestamp(self) -> None:
        """
        A chosen timestamp is the next block's, the clock goes on from it, the past is refused.
        """
        clock = Clock()
        chain = make_chain(clock)
        self.assertEqual(chain.mine(START + 500).timestamp, START + 500)
        clock.advance(10)
        self.assertEqual(chain.mine().timestamp, START + 510)
        self.assertRaises(RpcError, chain.mine, START + 510)

    def test_paused(self) -> None:
        """
        A paused chain ignores the timer and obeys a call.
        """
        chain = make_chain()
        chain.paused = True
        self.assertIsNone(chain.tick())
        self.assertEqual(chain.mine().number, 1)
        chain.paused = False
        self.assertIsNotNone(chain.tick())


class HistoryTests(SynchronousTestCase):
    """
    Reading the past, and losing it.
    """

    def test_old_blocks_can_be_read(self) -> None:
        """
        Balance, nonce, storage and a call at an old block answer as of that block.
        """
        chain = make_chain()
        probe = deploy_probe(chain)
        value = CallRequest(to=probe, data=keccak(text="value()")[:4])
        for i in range(1, 4):
            chain.send_raw(signed(i, to=probe, gas=100_000, data=store_call(100 + i)))
            chain.mine()
        for i in range(1, 4):
            self.assertEqual(int.from_bytes(chain.call(value, i + 1), "big"), 100 + i)
            self.assertEqual(chain.balance(probe, i + 1), i)
            self.assertEqual(chain.nonce(ADDRESS, i + 1), i + 1)
            block_hash = chain.require_block(i + 1).hash
            self.assertEqual(int.from_bytes(chain.call(value, block_hash), "big"), 100 + i)
        self.assertRaises(RpcError, chain.call, value, 99)

    def test_block_context(self) -> None:
        """
        Number, time, chain id and parent hash inside a call are those of its block.
        """
        chain = make_chain()
        probe = deploy_probe(chain)
        chain.mine()
        request = CallRequest(to=probe, data=keccak(text="moment()")[:4])
        for number in (1, 2):
            block = chain.require_block(number)
            answer = chain.call(request, number)
            self.assertEqual(
                decode(["uint256", "uint256", "uint256", "bytes32"], answer),
                (number, block.timestamp, 16602, chain.require_block(number - 1).hash),
            )

    def test_pending_state(self) -> None:
        """
        A pending read sees what the pool would do, and leaves no trace.
        """
        chain = make_chain()
        probe = deploy_probe(chain)
        chain.send_raw(signed(1, to=probe, gas=100_000, data=store_call(5)))
        value = CallRequest(to=probe, data=keccak(text="value()")[:4])
        root = chain.head.header.state_root
        self.assertEqual(int.from_bytes(chain.call(value, "pending"), "big"), 5)
        self.assertEqual(chain.state_at("pending").get_balance(probe), 1)
        self.assertEqual(int.from_bytes(chain.call(value), "big"), 0)
        self.assertEqual(chain.head.header.state_root, root)

    def test_reorg_loses_receipts_and_mines_again(self) -> None:
        """
        Kept transactions lose their receipts with the block, and get new ones next.
        """
        chain = make_chain()
        found = chain.send_raw(signed(0))
        old = chain.mine()
        chain.mine()
        self.assertEqual(chain.reorg(2, keep_transactions=True), [found])
        self.assertEqual(chain.head.number, 2)
        self.assertIsNone(chain.index.receipt(found))
        self.assertIsNone(chain.block(old.hash))
        self.assertNotEqual(chain.require_block(1).hash, old.hash)
        self.assertEqual((chain.nonce(ADDRESS), chain.nonce(ADDRESS, "pending")), (0, 1))
        self.assertEqual(chain.mine().receipts[0].transaction.hash, found)

    def test_reorg_forgets(self) -> None:
        """
        Forgotten transactions are gone, with what they did, and may be sent again.
        """
        chain, raw = make_chain(), signed(0)
        found = chain.send_raw(raw)
        chain.mine()
        chain.reorg(1, keep_transactions=False)
        self.assertIsNone(chain.transaction(found))
        self.assertEqual((chain.nonce(ADDRESS, "pending"), chain.balance(POOR)), (0, 0))
        chain.send_raw(raw)
        self.assertEqual(len(chain.mine().receipts), 1)

    def test_reorg_keeps_times_and_links(self) -> None:
        """
        The replacing blocks bear the old times and stand on one another.
        """
        chain = make_chain()
        times = [chain.mine().timestamp for _ in range(4)]
        chain.reorg(3, keep_transactions=True)
        blocks = chain.index.blocks()
        self.assertEqual([b.timestamp for b in blocks[1:]], times)
        for parent, child in itertools.pairwise(blocks):
            self.assertEqual(child.header.parent_hash, parent.hash)

    def test_reorg_of_an_empty_block(self) -> None:
        """
        Also an empty block is replaced by one with another hash.
        """
        chain = make_chain()
        old = chain.mine().hash
        chain.reorg(1, keep_transactions=True)
        self.assertNotEqual(chain.head.hash, old)

    def test_reorg_bounds(self) -> None:
        """
        The genesis block cannot be replaced.
        """
        chain = make_chain()
        chain.mine()
        for depth in (0, 2):
            self.assertRaises(RpcError, chain.reorg, depth, keep_transactions=True)

    def test_snapshot(self) -> None:
        """
        Reverting restores blocks, pool and clock, also across a reorg, and only once.
        """
        chain = make_chain()
        mined = chain.send_raw(signed(0))
        chain.mine()
        waiting = chain.send_raw(signed(1))
        kept, later = chain.snapshot(), chain.head.hash
        chain.increase_time(1000)
        chain.reorg(1, keep_transactions=False)
        chain.mine()
        self.assertTrue(chain.revert(kept))
        self.assertEqual(chain.head.hash, later)
        self.assertIsNotNone(chain.index.receipt(mined))
        self.assertEqual([t.hash for t in chain.pool], [waiting])
        self.assertLess(chain.mine().timestamp, START + 1000)
        self.assertFalse(chain.revert(kept))

    def test_set_balance(self) -> None:
        """
        A balance out of nothing is there from the next block on, not before.
        """
        chain = make_chain()
        chain.set_balance(POOR, 77)
        self.assertEqual((chain.balance(POOR), chain.balance(POOR, 0)), (77, 0))


class CallTests(SynchronousTestCase):
    """
    Calls and estimates.
    """

    def test_custom_error(self) -> None:
        """
        A revert is code 3 with the returned bytes.
        """
        chain = make_chain()
        probe = deploy_probe(chain)
        data = keccak(text="refuse(uint256)")[:4] + encode(["uint256"], [42])
        error = self.assertRaises(RpcError, chain.call, CallRequest(to=probe, data=data))
        expected = keccak(text="Refused(uint256)")[:4] + encode(["uint256"], [42])
        self.assertEqual((error.code, error.data), (3, "0x" + expected.hex()))

    def test_reason(self) -> None:
        """
        A revert with a reason says it, in a call and in an estimate.
        """
        chain = make_chain()
        request = CallRequest(to=deploy_probe(chain), data=keccak(text="scold()")[:4])
        for ask in (chain.call, chain.estimate_gas):
            error = self.assertRaises(RpcError, ask, request)
            self.assertEqual((error.code, error.text), (3, "execution reverted: no"))

    def test_calls_need_no_money(self) -> None:
        """
        A sender without anything may call and estimate, but not move value.
        """
        chain = make_chain()
        probe = deploy_probe(chain)
        request = CallRequest(sender=POOR, to=probe, data=store_call(1))
        self.assertEqual(chain.call(request), b"")
        self.assertGreater(chain.estimate_gas(request), 21_000)
        error = self.assertRaises(RpcError, chain.call, CallRequest(sender=POOR, to=probe, value=1))
        self.assertIn("insufficient funds", error.text)

    def test_estimate_suffices(self) -> None:
        """
        What was estimated is enough for the transaction, and 2 % less is not.
        """
        chain = make_chain()
        probe = deploy_probe(chain)
        request = CallRequest(sender=ADDRESS, to=probe, data=store_call(9))
        gas = chain.estimate_gas(request)
        tried = []
        for limit in (gas, gas * 98 // 100):
            kept = chain.snapshot()
            chain.send_raw(signed(1, to=probe, value=0, gas=limit, data=store_call(9)))
            tried.append(chain.mine().receipts[0].succeeded)
            chain.revert(kept)
        self.assertEqual(tried, [True, False])

    def test_estimate_of_a_deployment(self) -> None:
        """
        Creating a contract can be estimated.
        """
        chain = make_chain()
        gas = chain.estimate_gas(CallRequest(sender=ADDRESS, data=PROBE_BYTECODE))
        chain.send_raw(signed(0, to=b"", value=0, gas=gas, data=PROBE_BYTECODE))
        self.assertTrue(chain.mine().receipts[0].succeeded)

    def test_plain_transfer(self) -> None:
        """
        A transfer costs 21,000, and more than the sender's purse allows is said.
        """
        chain = make_chain()
        request = CallRequest(sender=ADDRESS, to=POOR, value=1, fee=GWEI)
        self.assertEqual(chain.estimate_gas(request), 21_000)
        poor = CallRequest(sender=POOR, to=deploy_probe(chain), data=store_call(1), fee=GWEI)
        error = self.assertRaises(RpcError, chain.estimate_gas, poor)
        self.assertIn("gas required exceeds allowance (0)", error.text)

    def test_little_gas(self) -> None:
        """
        A call with too little gas says so, before it starts and while it runs.
        """
        chain = make_chain()
        probe = deploy_probe(chain)
        for gas, words in ((20_000, "intrinsic gas too low"), (22_500, "out of gas")):
            request = CallRequest(to=probe, data=store_call(1), gas=gas)
            self.assertIn(words, self.assertRaises(RpcError, chain.call, request).text)
