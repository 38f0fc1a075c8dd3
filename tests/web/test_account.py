"""
A wallet's settled vouchers.
"""

from __future__ import annotations

from sandbox_billing.ledger.account import Settlement
from sandbox_billing.ledger.identity import Address, Nonce
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from tests.web.asking import AskingTestCase
from tests.web.world import NOW, OWNER, PROVIDER, STRANGER


def settled(user: Address, nonce: int, timestamp: int) -> Settlement:
    """One that was paid."""
    return Settlement(
        user=user,
        provider=PROVIDER,
        fee=Neuron(10**20),
        usage_hash="0x" + "5" * 64,
        nonce=Nonce(nonce),
        status=0,
        paid=Neuron(10**20),
        transaction="0x" + "7" * 64,
        block=70,
        log_index=0,
        timestamp=UnixSeconds(timestamp),
    )


class EventTests(AskingTestCase):
    """
    C{/api/events}.
    """

    def setUp(self) -> None:
        """Three of the owner's, one of a stranger's."""
        super().setUp()
        own = [settled(OWNER.address, n, NOW + n) for n in range(3)]
        self.world.history.settled = [*own, settled(STRANGER.address, 9, NOW)]

    def test_own_ones(self) -> None:
        """Amounts and nonces are strings; block and timestamp are numbers."""
        reply = self.ask_signed("GET", f"/api/events?since={NOW + 2}", "list")
        self.assertEqual(
            (reply.status, reply.json),
            (
                200,
                {
                    "current_block": 77,
                    "since": NOW + 2,
                    "total": 1,
                    "page": 0,
                    "page_size": 50,
                    "events": [
                        {
                            "user": "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A",
                            "provider": "0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB",
                            "total_fee": "100000000000000000000",
                            "nonce": "2",
                            "status": 0,
                            "tx_hash": "0x" + "7" * 64,
                            "block": 70,
                            "timestamp": NOW + 2,
                        }
                    ],
                },
            ),
        )

    def test_pages(self) -> None:
        """From page 0; the total counts all of them, and none of others'."""
        page = self.ask_signed("GET", "/api/events?page=1&page_size=2", "list").json
        self.assertEqual((page["total"], [one["nonce"] for one in page["events"]]), (3, ["2"]))

    def test_bounds(self) -> None:
        """No page of nothing, of everything, or before the beginning (V2)."""
        for query, text in (
            ("page_size=0", "page_size must be a whole number from 1 to 200"),
            ("page_size=201", "page_size must be a whole number from 1 to 200"),
            ("page=-1", "page must be a whole number from 0 to 1000000000"),
            ("since=x", "since must be a whole number from 0 to 100000000000"),
        ):
            reply = self.ask_signed("GET", f"/api/events?{query}", "list")
            self.assertEqual(reply.error, (400, text))

    def test_before_the_first_step(self) -> None:
        """Without a mirror there is no current block."""
        self.world.doors.head = None
        reply = self.ask_signed("GET", "/api/events", "list")
        self.assertEqual(reply.error, (503, "the chain has not been read yet"))
