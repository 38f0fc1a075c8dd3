"""
Tests of the index over mined blocks: C{sandbox_billing.devnet.chain.blocks}.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.devnet.chain.blocks import LogEntry, LogFilter

from .chain_probe import (
    ADDRESS,
    STORED_TOPIC,
    deploy_probe,
    make_chain,
    signed,
    store_call,
)


_words = st.sampled_from([bytes([n]) * 32 for n in range(3)])
_addresses = st.sampled_from([bytes([n]) * 20 for n in range(3)])


class FilterTests(SynchronousTestCase):
    """
    Which logs a filter accepts.
    """

    @given(
        _addresses,
        st.lists(_words, max_size=4),
        st.frozensets(_addresses),
        st.lists(st.none() | st.frozensets(_words, min_size=1), max_size=4),
    )
    def test_by_definition(
        self,
        address: bytes,
        topics: list[bytes],
        addresses: frozenset[bytes],
        wanted: list[frozenset[bytes] | None],
    ) -> None:
        """
        A log is accepted when its address and every filtered position are.
        """
        log = LogEntry(address=address, topics=tuple(topics), data=b"", index=0)
        expected = not addresses or address in addresses
        for position, choices in enumerate(wanted):
            if position >= len(topics) or (choices is not None and topics[position] not in choices):
                expected = False
        accepted = LogFilter(addresses=addresses, topics=tuple(wanted)).matches(log)
        self.assertEqual(accepted, expected)


class IndexTests(SynchronousTestCase):
    """
    Finding what was mined.
    """

    def setUp(self) -> None:
        """
        Twenty events, one in every third block.
        """
        self.chain = make_chain()
        self.probe = deploy_probe(self.chain)
        for i in range(1, 21):
            data = store_call(i)
            self.chain.send_raw(signed(i, to=self.probe, gas=100_000, data=data))
            for _ in range(3):
                self.chain.mine()

    def values(self, first: int, last: int, wanted: LogFilter | None = None) -> list[int]:
        """
        The stored values that are found, in order.
        """
        found = self.chain.index.logs(first, last, wanted or LogFilter())
        return [int.from_bytes(log.topics[2], "big") for _, _, log in found]

    def test_ranges(self) -> None:
        """
        Both ends of a range are included; a range beyond the head finds what is there.
        """
        self.assertEqual(self.values(0, 10**9), list(range(1, 21)))
        self.assertEqual(self.values(2, 2), [1])
        self.assertEqual(self.values(3, 4), [])
        self.assertEqual(self.values(5, 8), [2, 3])

    def test_topics(self) -> None:
        """
        Positions select by event, sender and value.
        """
        sender = frozenset([bytes(12) + ADDRESS])
        two = frozenset([(7).to_bytes(32, "big"), (9).to_bytes(32, "big")])
        stored = frozenset([STORED_TOPIC])
        self.assertEqual(self.values(0, 99, LogFilter(topics=(stored, sender, two))), [7, 9])
        self.assertEqual(self.values(0, 99, LogFilter(topics=(sender,))), [])

    def test_truncated_and_replaced(self) -> None:
        """
        What is cut off is found nowhere, and again everywhere when it is put back.
        """
        index = self.chain.index
        whole, head = index.blocks(), index.head
        last = head.number - 2
        transaction = index.blocks()[last].receipts[0].transaction.hash
        removed = index.truncate(last)
        self.assertEqual([b.number for b in removed], [last, last + 1, last + 2])
        self.assertEqual(self.values(0, 99), list(range(1, 20)))
        self.assertIsNone(index.receipt(transaction))
        self.assertIsNone(index.by_hash(head.hash))
        self.assertIsNone(index.at(last))
        index.replace(whole)
        self.assertEqual(self.values(0, 99), list(range(1, 21)))
        self.assertIs(index.by_hash(head.hash), head)
        self.assertIsNotNone(index.receipt(transaction))

    def test_log_index_runs_through_the_block(self) -> None:
        """
        Logs are numbered through their block, not through their transaction.
        """
        for nonce in (21, 22, 23):
            self.chain.send_raw(signed(nonce, to=self.probe, gas=100_000, data=store_call(nonce)))
        number = self.chain.mine().number
        found = self.chain.index.logs(number, number, LogFilter())
        self.assertEqual([(r.index, log.index) for _, r, log in found], [(0, 0), (1, 1), (2, 2)])
