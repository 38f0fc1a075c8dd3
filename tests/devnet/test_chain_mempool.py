"""
Tests of the pool and of decoding: C{sandbox_billing.devnet.chain.mempool, transactions}.
"""

from __future__ import annotations

from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.devnet.chain.errors import RpcError
from sandbox_billing.devnet.chain.mempool import Mempool, Selection, outbids
from sandbox_billing.devnet.chain.transactions import PoolTransaction, decode_transaction

from .chain_probe import ADDRESS, GWEI, KEY, OTHER_KEY, signed, signed_legacy


RICH = 10**24


def decoded(nonce: int, **fields: object) -> PoolTransaction:
    """
    A transaction as the pool sees it.
    """
    return decode_transaction(signed(nonce, **fields), 16602)


class DecodingTests(SynchronousTestCase):
    """
    Bytes to transactions.
    """

    def test_dynamic_fee(self) -> None:
        """
        Sender, nonce and both fees of a type-2 transaction are found.
        """
        found = decoded(7, fee=5 * GWEI, maxPriorityFeePerGas=2 * GWEI)
        self.assertEqual(
            (found.sender, found.nonce, found.fee_cap, found.tip_cap, found.type_id),
            (ADDRESS, 7, 5 * GWEI, 2 * GWEI, 2),
        )

    def test_legacy(self) -> None:
        """
        A legacy transaction's gas price is both of its fees.
        """
        found = decode_transaction(signed_legacy(1, fee=4 * GWEI), 16602)
        self.assertEqual((found.fee_cap, found.tip_cap, found.type_id), (4 * GWEI, 4 * GWEI, 0))

    def test_hash_is_eth_accounts(self) -> None:
        """
        The hash is the one the sender's library computed.
        """
        form = {"chainId": 16602, "nonce": 0, "to": "0x" + "09" * 20, "value": 1, "gas": 21_000}
        for fees in ({"gasPrice": 1}, {"maxFeePerGas": 2, "maxPriorityFeePerGas": 1}):
            sealed = Account.sign_transaction({**form, **fees}, KEY)
            found = decode_transaction(bytes(sealed.raw_transaction), 16602)
            self.assertEqual(found.hash, bytes(sealed.hash))

    def test_other_chain(self) -> None:
        """
        What was signed for another chain is refused, typed and legacy alike.
        """
        for raw in (signed(0, chainId=1), signed_legacy(0, chainId=1)):
            error = self.assertRaises(RpcError, decode_transaction, raw, 16602)
            self.assertIn("invalid chain id for signer: have 1 want 16602", error.text)

    def test_unprotected(self) -> None:
        """
        A legacy transaction that is valid on every chain is refused.
        """
        form = {"nonce": 0, "to": "0x" + "09" * 20, "value": 1, "gas": 21_000, "gasPrice": 1}
        raw = bytes(Account.sign_transaction(form, KEY).raw_transaction)
        error = self.assertRaises(RpcError, decode_transaction, raw, 16602)
        self.assertIn("EIP-155", error.text)

    @given(st.binary(max_size=300))
    def test_any_bytes(self, raw: bytes) -> None:
        """
        Whatever bytes come, decoding either succeeds or refuses in words.
        """
        try:
            decode_transaction(raw, 16602)
        except RpcError as e:
            self.assertTrue(e.text)

    @given(st.sampled_from([signed(3), signed_legacy(3)]), st.data())
    def test_damaged_bytes(self, raw: bytes, data: st.DataObject) -> None:
        """
        A transaction with one byte changed never passes as the same one.
        """
        place = data.draw(st.integers(0, len(raw) - 1))
        other = data.draw(st.integers(0, 255).filter(lambda b: b != raw[place]))
        damaged = raw[:place] + bytes([other]) + raw[place + 1 :]
        try:
            found = decode_transaction(damaged, 16602)
        except RpcError:
            return
        self.assertNotEqual((found.sender, found.hash), (ADDRESS, decoded(3).hash))


class AddingTests(SynchronousTestCase):
    """
    What the pool lets in, and in which words it refuses.
    """

    def refused(self, pool: Mempool, transaction: PoolTransaction, nonce: int = 0) -> str:
        """
        The words of a refusal that must come.
        """
        before = dict(pool.by_hash)
        error = self.assertRaises(RpcError, pool.add, transaction, nonce, RICH)
        self.assertEqual(pool.by_hash, before, "a refusal changed the pool")
        self.assertEqual(error.code, -32000)
        return error.text

    def test_already_known(self) -> None:
        """
        The same bytes again are already known.
        """
        pool = Mempool()
        pool.add(decoded(0), 0, RICH)
        self.assertEqual(self.refused(pool, decoded(0)), "already known")

    def test_nonce_too_low(self) -> None:
        """
        A used nonce is refused, and the next one is named.
        """
        text = self.refused(Mempool(), decoded(4), nonce=5)
        self.assertEqual(text, "nonce too low: next nonce 5, tx nonce 4")

    def test_replacement_needs_a_tenth_on_both_fees(self) -> None:
        """
        A tenth more on one fee only is underpriced; on both it replaces.
        """
        pool = Mempool()
        pool.add(decoded(0, maxFeePerGas=100 * GWEI, maxPriorityFeePerGas=10 * GWEI), 0, RICH)
        for cap, tip in ((110, 10), (100, 11), (109, 11), (150, 10)):
            new = decoded(0, maxFeePerGas=cap * GWEI, maxPriorityFeePerGas=tip * GWEI)
            self.assertEqual(self.refused(pool, new), "replacement transaction underpriced")
        new = decoded(0, maxFeePerGas=110 * GWEI, maxPriorityFeePerGas=11 * GWEI)
        pool.add(new, 0, RICH)
        self.assertEqual(list(pool), [new])

    @given(st.integers(1, 10**12), st.integers(0, 10**12))
    def test_bump_rule(self, old_fee: int, more: int) -> None:
        """
        A replacement is let in exactly from 110 % on (rounded down), and never at par.
        """
        old = decoded(0, fee=old_fee)
        new = decoded(0, fee=old_fee + more)
        self.assertEqual(outbids(new, old), more > 0 and old_fee + more >= old_fee * 110 // 100)

    def test_insufficient_funds(self) -> None:
        """
        Gas at the cap and the value must be there, together with what already waits.
        """
        pool, one = Mempool(), decoded(0)
        error = self.assertRaises(RpcError, pool.add, one, 0, one.cost - 1)
        self.assertIn("insufficient funds for gas * price + value", error.text)
        pool.add(one, 0, one.cost)
        error = self.assertRaises(RpcError, pool.add, decoded(1), 0, 2 * one.cost - 1)
        self.assertIn("queued cost", error.text)
        pool.add(decoded(1), 0, 2 * one.cost)

    def test_gap(self) -> None:
        """
        A future nonce is kept, not run and not counted, until the gap is filled.
        """
        pool = Mempool()
        for nonce in (0, 2, 3):
            pool.add(decoded(nonce), 0, RICH)
        self.assertEqual(pool.pending_nonce(ADDRESS, 0), 1)
        self.assertEqual([t.nonce for t in pool.executable(lambda s: 0)], [0])
        pool.add(decoded(1), 0, RICH)
        self.assertEqual(pool.pending_nonce(ADDRESS, 0), 4)
        self.assertEqual([t.nonce for t in pool.executable(lambda s: 0)], [0, 1, 2, 3])


class ForgettingTests(SynchronousTestCase):
    """
    How transactions leave the pool.
    """

    def test_drop_opens_a_gap(self) -> None:
        """
        What was dropped can be sent again; until then later nonces wait.
        """
        pool = Mempool()
        for nonce in range(3):
            pool.add(decoded(nonce), 0, RICH)
        self.assertTrue(pool.drop(decoded(1).hash))
        self.assertFalse(pool.drop(decoded(1).hash))
        self.assertEqual(pool.pending_nonce(ADDRESS, 0), 1)
        pool.add(decoded(1), 0, RICH)
        self.assertEqual(pool.pending_nonce(ADDRESS, 0), 3)

    def test_prune(self) -> None:
        """
        Used nonces and what can no longer be paid are forgotten, the rest is not.
        """
        pool = Mempool()
        pool.add(decoded(0), 0, RICH)
        pool.add(decoded(1, value=10**20), 0, RICH)
        pool.add(decoded(2), 0, RICH)
        pool.prune(lambda s: 1, lambda s: 10**19)
        self.assertEqual([t.nonce for t in pool], [2])

    def test_restore_yields(self) -> None:
        """
        A transaction from an orphaned block does not push out what took its nonce.
        """
        pool, newer = Mempool(), decoded(0, value=2)
        pool.add(newer, 0, RICH)
        pool.restore(decoded(0))
        pool.restore(decoded(1))
        self.assertEqual({t.hash for t in pool}, {newer.hash, decoded(1).hash})

    def test_copy_is_apart(self) -> None:
        """
        A snapshot of the pool does not follow the pool.
        """
        pool = Mempool()
        pool.add(decoded(0), 0, RICH)
        kept = pool.copy()
        pool.drop(decoded(0).hash)
        self.assertEqual((len(kept), len(pool)), (1, 0))
        self.assertEqual(kept.pending_nonce(ADDRESS, 0), 1)


class SelectionTests(SynchronousTestCase):
    """
    The order in which a block takes the pool.
    """

    def taken(self, base_fee: int, *transactions: PoolTransaction) -> list[int]:
        """
        Values of the transactions, in the order in which they are offered and taken.
        """
        selection, order = Selection(base_fee), []
        for transaction in selection.fill(list(transactions)):
            order.append(transaction.value)
            selection.taken(transaction)
        return order

    def test_best_tip_first(self) -> None:
        """
        Among senders the tip decides, within one the nonce.
        """
        order = self.taken(
            GWEI,
            decoded(0, value=1, fee=2 * GWEI),
            decoded(1, value=2, fee=9 * GWEI),
            decoded(0, value=3, fee=5 * GWEI, key=OTHER_KEY),
        )
        self.assertEqual(order, [3, 1, 2])

    def test_fee_below_the_base_fee_waits(self) -> None:
        """
        Who cannot pay the base fee holds back his later transactions too.
        """
        order = self.taken(
            4 * GWEI, decoded(0, value=1, fee=3 * GWEI), decoded(1, value=2, fee=9 * GWEI)
        )
        self.assertEqual(order, [])

    def test_not_taken_holds_back(self) -> None:
        """
        After one that did not fit, no later nonce of its sender is offered.
        """
        selection = Selection(GWEI).fill([decoded(0, value=1), decoded(1, value=2)])
        self.assertEqual([t.value for t in selection], [1])
