"""
What anybody may know, and the probes.
"""

from __future__ import annotations

import json

from attrs import evolve
from treq.testing import RequestTraversalAgent

from sandbox_billing.errors import StoreDown
from sandbox_billing.interfaces import PartState, TurnState
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.web.gate import Gate
from sandbox_billing.web.health import standing
from tests.web.asking import AskingTestCase
from tests.web.world import SERVICE, mirror_at


class InfoTests(AskingTestCase):
    """
    C{/info} and C{/api/providers}.
    """

    def test_chain_prices(self) -> None:
        """The chain's prices win; a minimal balance is fee, interval and stop delay at 1/1."""
        reply = self.ask("GET", "/info")
        self.assertEqual(
            (reply.status, reply.json),
            (
                200,
                {
                    "contract_address": "0xCdCDCdCdcdcdcdCdcDcDCdcDcDCdCdcdCdcDCDcD",
                    "provider_address": "0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB",
                    "chain_id": 16602,
                    "rpc_url": "https://rpc.example",
                    "create_fee": "1000",
                    "compute_price_per_sec": "0",
                    "price_per_cpu_per_min": "600",
                    "price_per_mem_gb_per_min": "330",
                    "voucher_interval_sec": 3600,
                    # 1000 + 930 a minute for 61 minutes
                    "min_balance": "57730",
                    "ssh_gateway_host": "ssh.example",
                },
            ),
        )

    def test_environment_prices(self) -> None:
        """While the chain carries none, the environment's flat price stands."""
        for service in (None, evolve(SERVICE, prices=Prices())):
            self.world.doors.head = mirror_at(service)
            info = self.ask("GET", "/info").json
            self.assertEqual(
                (info["compute_price_per_sec"], info["create_fee"], info["min_balance"]),
                ("16667", "5000000", str(5_000_000 + 16667 * 3660)),
            )

    def test_before_the_first_step(self) -> None:
        """A price that is not known is not told (B19)."""
        self.world.doors.head = None
        reply = self.ask("GET", "/info")
        self.assertEqual(reply.error, (503, "the chain has not been read yet"))

    def test_without_any_price(self) -> None:
        """Nor is one of nothing."""
        world = self.world.with_terms(environment=Prices())
        world.doors.head = mirror_at(None)
        reply = self.ask("GET", "/info", world=world)
        self.assertEqual(reply.error, (503, "this provider has no price yet"))

    def test_providers(self) -> None:
        """Amounts are strings, the version is a number."""
        self.world.history.records = (
            evolve(SERVICE, prices=evolve(SERVICE.prices, per_cpu_per_minute=Neuron(10**20 + 59))),
        )
        self.assertEqual(
            self.ask("GET", "/api/providers").json,
            [
                {
                    "address": "0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB",
                    "url": "https://sandboxes.example",
                    "tee_signer": "0xeFEfeFEfeFeFEFEFEfefeFeFefEfEfEfeFEFEFEf",
                    "price_per_cpu_per_min": "100000000000000000059",
                    "price_per_cpu_per_sec": "1666666666666666667",
                    "price_per_mem_gb_per_min": "330",
                    "price_per_mem_gb_per_sec": "5",
                    "create_fee": "1000",
                    "signer_version": 2,
                }
            ],
        )


class StoreTests(AskingTestCase):
    """
    The public routes while our own store is away.
    """

    def test_store_away(self) -> None:
        """It is we who cannot answer, not Daytona: 503, without the store's address."""

        async def away(*_: object) -> None:
            raise StoreDown("not connected to Redis at 10.0.0.2")

        self.world.doors.mirror = away
        self.world.history.providers = away
        for path in ("/info", "/api/providers"):
            self.assertEqual(
                self.ask("GET", path).error,
                (503, "the store of this proxy does not answer; try again later"),
            )


class HealthTests(AskingTestCase):
    """
    The probes.
    """

    def test_alive(self) -> None:
        """Alive is alive, whatever does not work."""
        self.world.readiness.now["redis"] = "away"
        reply = self.ask("GET", "/healthz")
        self.assertEqual((reply.status, reply.json), (200, {"ok": True}))

    def test_ready(self) -> None:
        """Ready, or what is not."""
        reply = self.ask("GET", "/readyz")
        empty = {"services": {}, "dependencies": {}}
        self.assertEqual((reply.status, reply.json), (200, {"ready": True, "reasons": {}, **empty}))
        self.world.readiness.now["redis"] = "away"
        reply = self.ask("GET", "/readyz")
        self.assertEqual(
            (reply.status, reply.json),
            (503, {"ready": False, "reasons": {"redis": "away"}, **empty}),
        )

    def test_inside(self) -> None:
        """Anybody may ask here: no text has the address of a part, nor before there is a front."""
        readiness, why = self.world.readiness, "node.example:8545 and 10.0.0.7 cannot be reached"
        readiness.now["redis"] = readiness.told["contract"] = why
        readiness.parts["chain"] = PartState(ok=False, reason=why, checked_at=None)
        readiness.turns["settler"] = TurnState(last_good_turn=None, trouble=why, every=1.0)
        gate = Gate(
            readiness=readiness,
            wall=self.world.wall,
            new_request_id=self.world.new_request_id,
        )
        for path, agent in (
            ("/readyz", self.world.agent),
            ("/readyz", RequestTraversalAgent(gate)),
            ("/info", RequestTraversalAgent(gate)),
        ):
            self.world.agent = agent
            told = json.dumps(self.ask("GET", path).json)
            self.assertNotIn("node.example", told)
            self.assertNotIn("10.0.0.7", told)
            hidden = "(hidden) and (hidden) cannot be reached"
            self.assertEqual(4 if path == "/readyz" else 2, told.count(hidden), told)
        self.assertEqual(why, standing(readiness).document["reasons"]["redis"])

    def test_notices(self) -> None:
        """What is worth knowing and no fault makes nobody unready."""
        self.world.readiness.told["admissions"] = "paused"
        reply = self.ask("GET", "/readyz")
        self.assertEqual((200, True), (reply.status, reply.json["ready"]))
        self.assertEqual({"admissions": "paused"}, reply.json["notices"])

    def test_parts(self) -> None:
        """Each service with its last good turn, and each part outside with its last answer."""
        readiness = self.world.readiness
        readiness.turns["settler"] = TurnState(
            last_good_turn=UnixSeconds(1_700_000_000), trouble=None, every=1.0
        )
        readiness.parts["chain"] = PartState(ok=False, reason="no node answers", checked_at=None)
        reply = self.ask("GET", "/readyz")
        self.assertEqual(
            {"settler": {"last_good_turn": 1_700_000_000, "trouble": None, "every": 1.0}},
            reply.json["services"],
        )
        self.assertEqual(
            {"chain": {"ok": False, "reason": "no node answers", "checked_at": None}},
            reply.json["dependencies"],
        )
