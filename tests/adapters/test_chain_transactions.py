"""
Tests of C{sandbox_billing.adapters.chain.transactions}, on the real contract.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from eth_utils.crypto import keccak
from zope.interface import implementer

from sandbox_billing.adapters.chain.adapter import Web3Chain
from sandbox_billing.devnet.chain.errors import RpcError
from sandbox_billing.errors import Refused, UnknownOutcome
from sandbox_billing.interfaces import ISigner, Line, TooMuch
from sandbox_billing.ledger.batch import Attempt
from tests.adapters.chain_stubs import Forward, StubNode, Twist, dead_url, honest
from tests.ports.chain import CHAIN_ID, NOW, TOKEN, USAGE_HASH, ChainCase


class TransactionCase(ChainCase):
    """A user with funds."""

    async def _funded(self, amount: int = 1_000) -> list[Line]:
        await self.run_on_chain(self.stage.fund, amount)
        return [self.stage.line(1, 30)]

    async def _balance(self, chain: Web3Chain) -> int:
        (account,) = await chain.accounts([self.user], await chain.head())
        return account.balance


class PrepareTests(TransactionCase):
    """What is signed, and what is not."""

    async def test_contents(self) -> None:
        """An attempt carries what is needed to send it again; nothing was sent."""
        chain = self.adapter()
        lines = await self._funded()
        attempt = await chain.prepare(lines, None)
        self.assertEqual(attempt.recorded_at, NOW)
        self.assertEqual(attempt.account_nonce, 0)
        self.assertEqual("0x" + keccak(bytes.fromhex(attempt.raw[2:])).hex(), attempt.hash)
        self.assertLess(attempt.gas_limit, 1_000_000)
        self.assertEqual(await self.run_on_chain(lambda: dict(self.stage.chain.pool.by_hash)), {})

    async def test_gas_floor(self) -> None:
        """Below the floor nothing is signed, and the text says where to send money (T-10)."""
        lines = await self._funded()
        await self.run_on_chain(self.stage.pay, self.stage.signer.address.hex, TOKEN // 100 - 1)
        with self.assertRaises(Refused) as caught:
            await self.adapter().prepare(lines, None)
        self.assertIn(self.stage.signer.address.hex, caught.exception.text)
        await self.run_on_chain(self.stage.pay, self.stage.signer.address.hex, TOKEN // 100)
        await self.adapter().prepare(lines, None)

    async def test_too_poor_for_the_gas(self) -> None:
        """A purse above the floor that cannot pay this transaction is refused too."""
        lines = await self._funded()
        await self.run_on_chain(self.stage.pay, self.stage.signer.address.hex, 1_000)
        with self.assertRaises(Refused):
            await self.adapter(floor=0).prepare(lines, None)

    async def test_what_waits_costs_too(self) -> None:
        """A purse has to pay for everything that may still be mined, not for each alone (T-10)."""
        lines = await self._funded()
        others = [self.stage.line(2, 10)]
        probe = await self.adapter(floor=0).prepare(lines, None)
        cost = probe.gas_limit * probe.fee_cap
        await self.run_on_chain(self.stage.pay, self.stage.signer.address.hex, cost * 3 // 2)
        chain = self.adapter(floor=0)
        first = await chain.prepare(lines, None)
        with self.assertRaises(Refused) as caught:
            await chain.prepare(others, None)
        self.assertIn("waits to be mined", caught.exception.text)
        # The same again, and a bump, take nothing beside it.
        again = await chain.prepare(lines, None)
        await chain.prepare(lines, again)
        restarted = self.adapter(floor=0)
        restarted.adopt_attempts([first])
        with self.assertRaises(Refused):
            await restarted.prepare(others, None)
        await chain.broadcast(first)
        await self.run_on_chain(self.stage.chain.mine)
        await self.run_on_chain(self.stage.pay, self.stage.signer.address.hex, cost * 3 // 2)
        await restarted.prepare(others, None)

    async def test_no_tips(self) -> None:
        """A node that does not know tips, in whatever words, gives its gas price."""
        lines = await self._funded()
        usual = await self.adapter().prepare(lines, None)
        for problem in (
            RpcError("the method does not exist", -32601),
            RpcError("Method not supported", -32004),
            RpcError("unsupported", -32000),
        ):

            def twist(
                method: str, params: list[Any], forward: Forward, problem: RpcError = problem
            ) -> Any:
                if method == "eth_maxPriorityFeePerGas":
                    raise problem
                return forward(method, params)

            attempt = await self.adapter(StubNode(self, twist).url).prepare(lines, None)
            self.assertLess(abs(attempt.fee_cap - usual.fee_cap), usual.fee_cap // 2)

    async def test_fee_cap(self) -> None:
        """No attempt offers more than the cap; above it nothing is signed."""
        lines = await self._funded()
        base_fee = await self.run_on_chain(self.stage.chain.next_base_fee)
        attempt = await self.adapter(fee_cap=base_fee * 3 // 2).prepare(lines, None)
        self.assertLessEqual(attempt.fee_cap, base_fee * 3 // 2)
        with self.assertRaises(Refused):
            await self.adapter(fee_cap=base_fee // 2).prepare(lines, None)

    async def test_bump_at_the_cap(self) -> None:
        """A bump above the cap is refused: the earlier attempt goes out again (T-4)."""
        lines = await self._funded()
        first = await self.adapter().prepare(lines, None)
        tight = self.adapter(fee_cap=first.fee_cap * 11 // 10 - 1)
        with self.assertRaises(Refused):
            await tight.prepare(lines, first)

    async def test_room_for_an_empty_call(self) -> None:
        """Under the cap no bump goes so high that an empty call could not outbid it."""
        lines = await self._funded()
        attempt = await self.adapter().prepare(lines, None)
        cap = attempt.fee_cap * 3 // 2
        chain = self.adapter(fee_cap=cap)
        with self.assertRaises(Refused):
            for _ in range(40):
                attempt = await chain.prepare(lines, attempt)
        empty = await chain.prepare([], attempt)
        self.assertLessEqual(empty.fee_cap, cap)

    async def test_bump_keeps_the_gas(self) -> None:
        """A bump after the batch was mined keeps the gas that a reorg would need again."""
        chain = self.adapter()
        lines = await self._funded()
        first = await chain.prepare(lines, None)
        await self.run_on_chain(self.stage.settle, *lines)
        bumped = await chain.prepare(lines, first)
        self.assertGreaterEqual(bumped.gas_limit, first.gas_limit)

    async def test_larger_than_a_block(self) -> None:
        """A batch that no node can estimate while its first line alone can be is refused."""

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            if method == "eth_estimateGas" and len(params[0]["data"]) > 1_500:
                raise RpcError("gas required exceeds allowance (30000000)")
            return forward(method, params)

        chain = self.adapter(StubNode(self, twist).url)
        lines = await self._funded()
        await chain.prepare(lines, None)
        with self.assertRaises(TooMuch) as caught:
            await chain.prepare([self.stage.line(n, 1) for n in range(1, 20)], None)
        self.assertFalse(caught.exception.reverts)
        self.assertIn("send fewer", caught.exception.text)

    async def test_gas_above_the_block(self) -> None:
        """An estimate above the block's limit is refused; its margin alone is cut off."""

        def answering(gas: int) -> Twist:
            def twist(method: str, params: list[Any], forward: Forward) -> Any:
                return hex(gas) if method == "eth_estimateGas" else forward(method, params)

            return twist

        lines = await self._funded()
        attempt = await self.adapter(StubNode(self, answering(29_000_000)).url).prepare(lines, None)
        self.assertEqual(attempt.gas_limit, 30_000_000)
        with self.assertRaises(Refused):
            await self.adapter(StubNode(self, answering(30_000_001)).url).prepare(lines, None)

    async def test_half_a_block(self) -> None:
        """Several vouchers take half a block at most, unless they cannot be split any more."""

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            if method == "eth_estimateGas":
                return hex(100_000 * len(params[0]["data"]) // 100)
            return forward(method, params)

        chain = self.adapter(StubNode(self, twist).url)
        lines = [self.stage.line(n, 1) for n in range(1, 60)]
        with self.assertRaises(TooMuch) as caught:
            await chain.prepare(lines, None)
        fits = caught.exception.fits
        assert fits is not None
        self.assertTrue(1 < fits < len(lines))
        attempt = await chain.prepare(lines[:fits], None)
        self.assertTrue(10_000_000 < attempt.gas_limit <= 15_000_000, attempt.gas_limit)
        whole = await chain.prepare(lines, None, whole=True)
        self.assertTrue(15_000_000 < whole.gas_limit <= 30_000_000, whole.gas_limit)

    async def test_revert(self) -> None:
        """A settle call that reverts is refused by the name of the contract's error."""
        data = "0x" + keccak(b"NotRegistered(address)")[:4].hex() + "00" * 32

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            if method == "eth_estimateGas":
                raise RpcError("execution reverted", 3, data)
            return forward(method, params)

        lines = await self._funded()
        with self.assertRaises(Refused) as caught:
            await self.adapter(StubNode(self, twist).url).prepare(lines, None)
        self.assertIn("NotRegistered", caught.exception.text)

    async def test_poison(self) -> None:
        """A call that reverts while one without vouchers passes is told apart (S8)."""

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            if method == "eth_estimateGas" and USAGE_HASH.hex() in params[0]["data"]:
                raise RpcError("execution reverted", 3, "0x4e487b71" + "11".zfill(64))
            return forward(method, params)

        lines = await self._funded()
        with self.assertRaises(TooMuch) as caught:
            await self.adapter(StubNode(self, twist).url).prepare(lines, None)
        self.assertTrue(caught.exception.reverts)
        self.assertIn("Panic(0x11)", caught.exception.text)

    async def test_poison_in_other_words(self) -> None:
        """However a node says that one voucher fails, the voucher is what waits (S8)."""
        lines = await self._funded()
        for code, words in (
            (-32015, "VM execution error."),
            (-32000, "gas required exceeds allowance (30000000)"),
            (-32000, "invalid opcode: INVALID"),
        ):

            def twist(
                method: str,
                params: list[Any],
                forward: Forward,
                said: tuple[int, str] = (code, words),
            ) -> Any:
                if method == "eth_estimateGas" and USAGE_HASH.hex() in params[0]["data"]:
                    raise RpcError(said[1], said[0])
                return forward(method, params)

            with self.assertRaises(TooMuch) as caught:
                await self.adapter(StubNode(self, twist).url).prepare(lines, None)
            # Not proven to revert: it is never given up for that.
            self.assertFalse(caught.exception.reverts)

    async def test_out_of_breath(self) -> None:
        """A node that refuses an estimate once does not make a batch look too large."""
        left = [1]

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            if method == "eth_estimateGas" and left:
                left.pop()
                raise RpcError("too many requests", -32005)
            return forward(method, params)

        lines = [*await self._funded(), self.stage.line(2, 30)]
        attempt = await self.adapter(StubNode(self, twist).url).prepare(lines, None)
        self.assertLess(attempt.gas_limit, 1_000_000)

    async def test_legacy_chain(self) -> None:
        """A chain without a base fee gets a legacy transaction, and a legacy bump."""

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            found = forward(method, params)
            if method.startswith("eth_getBlockBy") and found is not None:
                del found["baseFeePerGas"]
            return found

        chain = self.adapter(StubNode(self, twist).url)
        lines = await self._funded()
        first = await chain.prepare(lines, None)
        self.assertFalse(first.raw.startswith("0x02"))
        await chain.broadcast(first)
        bumped = await chain.prepare(lines, first)
        await chain.broadcast(bumped)
        await self.run_on_chain(self.stage.chain.mine)
        receipt = await chain.receipt(bumped.hash)
        assert receipt is not None
        self.assertTrue(receipt.succeeded)

    async def test_signer(self) -> None:
        """The signer gets plain fields for this chain and contract, with no value."""
        seen: list[dict[str, Any]] = []
        key = self.stage.signer

        @implementer(ISigner)
        class Watching:
            address = key.address

            def sign_digest(self, digest: bytes) -> bytes:
                return key.sign_digest(digest)

            def sign_transaction(self, fields: Any) -> Any:
                seen.append(dict(fields))
                return key.sign_transaction(fields)

        await self.adapter(signer=Watching()).prepare(await self._funded(), None)
        (fields,) = seen
        self.assertEqual(
            (fields["chainId"], fields["value"], fields["to"].lower()),
            (CHAIN_ID, 0, self.stage.contract.hex),
        )


class AccountNonceTests(TransactionCase):
    """No two batches share an account nonce, and none is left out (T-1, T-7)."""

    async def test_restart(self) -> None:
        """After a restart stored attempts keep their nonces, though no node knows them."""
        lines = await self._funded()
        stored = await self.adapter().prepare(lines, None)
        again = self.adapter()
        again.adopt_attempts([evolve(stored, account_nonce=4), stored])
        other = await again.prepare([self.stage.line(2, 30)], None)
        self.assertEqual(other.account_nonce, 5)
        self.assertEqual(other.sender, self.stage.signer.address)

    async def test_rotated(self) -> None:
        """Attempts of an earlier key take no account nonce of ours: a gap would stay."""
        stored = await self.adapter().prepare(await self._funded(), None)
        again = self.adapter()
        again.adopt_attempts([evolve(stored, account_nonce=4, sender=self.user)])
        other = await again.prepare([self.stage.line(2, 30)], None)
        self.assertEqual(other.account_nonce, 0)

    async def test_restart_without_attempts(self) -> None:
        """A new process counts what waits in the pool."""
        lines = await self._funded()
        first = self.adapter()
        await first.broadcast(await first.prepare(lines, None))
        other = await self.adapter().prepare([self.stage.line(2, 30)], None)
        self.assertEqual(other.account_nonce, 1)

    async def test_a_pool_that_is_not_counted(self) -> None:
        """A node whose pending count leaves its pool out does not make us reuse a nonce."""

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            if method == "eth_getTransactionCount":
                return forward(method, [params[0], "latest"])
            return forward(method, params)

        chain = self.adapter(StubNode(self, twist).url)
        lines = await self._funded()
        await chain.broadcast(await chain.prepare(lines, None))
        other = await chain.prepare([self.stage.line(2, 30)], None)
        self.assertEqual(other.account_nonce, 1)

    async def test_the_highest_count(self) -> None:
        """Of two nodes the one that counts more is believed."""

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            return "0x0" if method == "eth_getTransactionCount" else forward(method, params)

        lines = await self._funded()
        first = self.adapter()
        await first.broadcast(await first.prepare(lines, None))
        chain = self.adapter(StubNode(self, twist).url, self.service.url)
        other = await chain.prepare([self.stage.line(2, 30)], None)
        self.assertEqual(other.account_nonce, 1)

    async def test_prepared_again(self) -> None:
        """A batch whose attempt was not stored gets the same nonce again: no gap."""
        chain = self.adapter()
        lines = await self._funded()
        lost = await chain.prepare(lines, None)
        between = await chain.prepare([self.stage.line(2, 30)], None)
        again = await chain.prepare(lines, None)
        self.assertEqual(again.account_nonce, lost.account_nonce)
        self.assertEqual(between.account_nonce, lost.account_nonce + 1)

    async def test_prepared_again_when_mined(self) -> None:
        """The same vouchers offered again after their transaction was mined get a new nonce."""
        chain = self.adapter()
        lines = await self._funded()
        first = await chain.prepare(lines, None)
        await chain.broadcast(first)
        await self.run_on_chain(self.stage.chain.mine)
        again = await chain.prepare(lines, None)
        self.assertEqual(again.account_nonce, first.account_nonce + 1)

    async def test_abandoned(self) -> None:
        """An abandoned nonce goes to the next batch; only the newest can be abandoned."""
        chain = self.adapter()
        await self._funded()
        one, two, three = ([self.stage.line(n, 30)] for n in (1, 2, 3))
        first = await chain.prepare(one, None)
        second = await chain.prepare(two, None)
        chain.abandon(first)
        chain.abandon(second)
        self.assertEqual((await chain.prepare(three, None)).account_nonce, second.account_nonce)
        self.assertEqual((await chain.prepare(two, None)).account_nonce, second.account_nonce + 1)

    async def test_counts(self) -> None:
        """What is mined and what is known differ by what waits."""
        chain = self.adapter()
        await chain.broadcast(await chain.prepare(await self._funded(), None))
        counts = await chain.account_nonces()
        self.assertEqual((counts.mined, counts.pending), (0, 1))
        await self.run_on_chain(self.stage.chain.mine)
        counts = await chain.account_nonces()
        self.assertEqual((counts.mined, counts.pending), (1, 1))


class BroadcastTests(TransactionCase):
    """Only a transaction that is found was sent."""

    async def _prepared(self) -> Attempt:
        return await self.adapter().prepare(await self._funded(), None)

    async def test_accepted_but_error(self) -> None:
        """A node that takes it and answers an error has it all the same."""

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            found = forward(method, params)
            if method == "eth_sendRawTransaction":
                raise RpcError("internal error", -32603)
            return found

        attempt = await self._prepared()
        chain = self.adapter(StubNode(self, twist).url)
        await chain.broadcast(attempt)
        await self.run_on_chain(self.stage.chain.mine)
        self.assertIsNotNone(await chain.receipt(attempt.hash))

    async def test_accepted_but_lost(self) -> None:
        """A hash that no node can show proves nothing, and another node is tried."""

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            if method == "eth_sendRawTransaction":
                raise RpcError("already known")
            return forward(method, params)

        attempt = await self._prepared()
        with self.assertRaises(UnknownOutcome):
            await self.adapter(StubNode(self, twist).url).broadcast(attempt)
        both = self.adapter(StubNode(self, twist).url, self.service.url)
        await both.broadcast(attempt)
        await self.run_on_chain(self.stage.chain.mine)
        self.assertIsNotNone(await both.receipt(attempt.hash))

    async def test_another_hash(self) -> None:
        """A node that answers another hash did not take ours."""

        def twist(method: str, params: list[Any], forward: Forward) -> Any:
            return (
                "0x" + "00" * 32 if method == "eth_sendRawTransaction" else forward(method, params)
            )

        with self.assertRaises(UnknownOutcome):
            await self.adapter(StubNode(self, twist).url).broadcast(await self._prepared())

    async def test_no_answer(self) -> None:
        """Without an answer it may have happened, and it is sent once only."""
        node = StubNode(self, honest)
        node.hangs = {"eth_sendRawTransaction"}
        attempt = await self._prepared()
        chain = self.adapter(node.url, read_seconds=2.0)
        with self.assertRaises(UnknownOutcome):
            await chain.broadcast(attempt)
        self.assertEqual(node.heard.count("eth_sendRawTransaction"), 1)

    async def test_nobody_there(self) -> None:
        """No node at all leaves it unknown, too: an earlier send may have arrived."""
        with self.assertRaises(UnknownOutcome):
            await self.adapter(dead_url(self)).broadcast(await self._prepared())

    async def test_replaced(self) -> None:
        """Where the bump was mined, the first is sent in vain and settles nothing twice."""
        chain = self.adapter()
        lines = await self._funded()
        first = await chain.prepare(lines, None)
        await chain.broadcast(first)
        bumped = await chain.prepare(lines, first)
        await chain.broadcast(bumped)
        await self.run_on_chain(self.stage.chain.mine)
        with self.assertRaises(UnknownOutcome):
            await chain.broadcast(first)
        await self.run_on_chain(self.stage.chain.mine)
        self.assertEqual(await self._balance(chain), 970)
        self.assertIsNone(await chain.receipt(first.hash))

    async def test_first_mined_instead(self) -> None:
        """Where the first was mined, the bump has no receipt and the first has."""
        chain = self.adapter()
        lines = await self._funded()
        first = await chain.prepare(lines, None)
        bumped = await chain.prepare(lines, first)
        await chain.broadcast(first)
        await self.run_on_chain(self.stage.chain.mine)
        with self.assertRaises(UnknownOutcome):
            await chain.broadcast(bumped)
        self.assertIsNotNone(await chain.receipt(first.hash))
        self.assertIsNone(await chain.receipt(bumped.hash))

    async def test_reorganised_and_sent_again(self) -> None:
        """A transaction that a reorg forgot is sent again, the same bytes (S9)."""
        chain = self.adapter()
        attempt = await chain.prepare(await self._funded(), None)
        await chain.broadcast(attempt)
        await self.run_on_chain(self.stage.chain.mine)
        await self.run_on_chain(self.stage.reorg, 1)
        self.assertIsNone(await chain.receipt(attempt.hash))
        restarted = self.adapter()
        await restarted.broadcast(attempt)
        await self.run_on_chain(self.stage.chain.mine)
        self.assertIsNotNone(await restarted.receipt(attempt.hash))
        self.assertEqual(await self._balance(restarted), 970)
