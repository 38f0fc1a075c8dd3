"""
Conditions that take minutes to days: provoked in the simulated world, seen in what the daemon's
registry shows, until the alert fires; and ended as the playbook says, until none does.

The rules' own waiting times are kept.  How long each takes is in docs/alerts/provoked.rst.
"""

from __future__ import annotations

import re
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.memory import chain as memory_chain
from sandbox_billing.adapters.memory.contract import Contract
from sandbox_billing.interfaces import IChain
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.order import Kind, Order, OrderId
from sandbox_billing.ledger.reconciliation import OWNER_LABEL
from sandbox_billing.ledger.voucher import Seal
from sandbox_billing.measures import GAS_FEE_CAP_NEURON
from sandbox_billing.signing.eip712 import VoucherFields, digest
from tests.alerts.clockwork import WatchedWorld
from tests.alerts.playbook import sections
from tests.fixtures import ALICE, SIGNER
from tests.services.lives import DOMAIN, PROVIDER
from tests.services.test_watcher import line_of
from tests.simulation.settings import SIM_POLICY
from tests.simulation.stories import Story


PLENTY = 10**9

POLICY = evolve(SIM_POLICY, mirror_max_age=60, voucher_interval=60)


class HoursTests(SynchronousTestCase):
    """Each of these begins with a daemon that is well, and a sandbox that runs."""

    def begin(self, **policy: Any) -> None:
        """A world, a worker, a wallet with money, a sandbox; and nothing fires."""
        self.world = WatchedWorld(policy=evolve(POLICY, **policy))
        self.addCleanup(self.world.close)
        self.daemon = self.world.birth()
        self.story = Story(self.world)
        found = self.world.run(self.create(), 120)
        assert found is not None
        self.sandbox: SandboxId = found
        self.world.watched(4)
        self.firing()

    async def create(self) -> SandboxId | None:
        """Alice's."""
        await self.story.fund(ALICE, PLENTY)
        return await self.story.create(ALICE)

    def firing(self, *names: str) -> None:
        """These fire now, and no others."""
        self.assertEqual(self.world.prometheus.firing, set(names))

    def fires(self, name: str, within: float) -> None:
        """It does, within so many minutes."""
        prometheus = self.world.prometheus
        self.world.watched(within, lambda: name in prometheus.firing)
        self.assertIn(name, prometheus.firing)

    def is_over(self, within: float) -> None:
        """Nothing fires any more, within so many minutes."""
        prometheus = self.world.prometheus
        self.world.watched(within, lambda: not prometheus.firing)
        self.firing()

    def fill(self, balance: int) -> None:
        """What the gas account holds from now on."""
        net = self.world.net
        net.purses[SIGNER.address] = balance + net.head.spent.get(SIGNER.address, 0)

    def order(self, kind: Kind) -> None:
        """What the operator's route stores."""
        world = self.world
        order = Order(
            id=OrderId(f"{kind.value.encode().hex():0>32}"),
            digest=kind.value,
            kind=kind,
            by=PROVIDER,
            reason="maintenance",
            asked_at=world.wall.now(),
        )
        world.now(world.operator.orders.ask(order))

    def test_chain_away(self) -> None:
        """No node answers for over an hour, while an operator waits for a drain."""
        self.begin()
        world = self.world
        self.order(Kind.DRAIN)
        world.failing = {IChain}
        self.fires("MirrorOld", 5)
        self.fires("NotReady", 5)
        self.assertIn("watcher", self.daemon.readiness.reasons())
        self.fires("TurnFailing", 10)
        self.fires("TurnStuck", 20)
        self.fires("SettlementBehind", 40)
        self.fires("AdmissionsPausedLong", 20)
        self.fires("OrderStuck", 5)
        self.firing(
            *("AdmissionsPausedLong", "MirrorOld", "NotReady", "OrderStuck"),
            *("SettlementBehind", "TurnFailing", "TurnStuck"),
        )
        world.failing = set()
        world.watched(5)
        self.order(Kind.RESUME)
        self.is_over(15)

    def test_services(self) -> None:
        """The playbook says of each service of a worker what stands still with it."""
        self.begin()
        named = set(re.findall(r"``([a-z ]+)``", sections()["TurnStuck"]))
        found = set(self.daemon.readiness.services())
        self.assertIn("settler", found)
        self.assertEqual(found - named, set())

    def test_daytona_away(self) -> None:
        """Daytona refuses connections when somebody revokes, whose sandbox must stop."""
        self.begin()
        world = self.world
        world.http.down = True
        world.acknowledge(ALICE, yes=False)
        self.fires("SweepOld", 5)
        self.fires("StopsLate", 5)
        self.fires("DaytonaFailing", 12)
        self.assertTrue(self.story.running(ALICE))
        world.http.down = False
        self.is_over(15)
        self.assertFalse(self.story.running(ALICE))

    def test_adopted(self) -> None:
        """Somebody with Daytona's key starts a sandbox with a user's label."""
        self.begin()
        world = self.world
        body = {"labels": {OWNER_LABEL: ALICE.hex}}
        world.run(world.simulator.create(body), 30)
        self.fires("ReconcileAdopted", 3)
        self.is_over(20)

    def test_gas(self) -> None:
        """The purse empties while gas becomes dear and no block comes; then all of it ends."""
        self.begin(gas_floor=Neuron(10**16))
        world = self.world
        self.daemon.monitor.measures.set(GAS_FEE_CAP_NEURON, 200 * 10**9)
        self.patch(memory_chain, "GAS_PRICE", 300 * 10**9)
        self.fill(5 * 10**16)
        for _ in range(4):
            # Blocks come for some seconds only, each seven minutes.
            world.mining = False
            world.watched(7)
            world.mining = True
            world.clock.run_until(world.clock.rightNow + 8)
        for name in ("GasWalletLow", "GasPriceAtCap", "ConfirmationsSlow"):
            self.assertIn(name, world.prometheus.firing)
        self.fill(10**15)
        self.fires("GasWalletEmpty", 4)
        self.patch(memory_chain, "GAS_PRICE", 10**9)
        self.fill(10**24)
        self.is_over(45)

    def test_no_worker(self) -> None:
        """The worker dies beside a web process, a charge waits for its wallet; a day later."""
        self.begin()
        world = self.world
        world.birth(web=True)
        world.acknowledge(ALICE, yes=False)
        world.run(self.story.end(ALICE), 60)
        world.watched(2)
        world.crash(self.daemon.life)
        self.fires("NoWorker", 4)
        self.fires("TargetDown", 4)
        # It is taken off the scrape with its replacement; the machine was off for a day.
        world.daemons.remove(self.daemon)
        world.prometheus.forget(self.daemon.life.name)
        world.clock.rightNow += 25 * 3600
        world.birth()
        self.fires("QueueOld", 15)
        self.firing("QueueOld")
        world.acknowledge(ALICE)
        self.is_over(5)

    def test_restarts(self) -> None:
        """It dies within each minute and is started again: three times are an upgrade's."""
        self.begin()
        world = self.world
        for _ in range(4):
            self.firing()
            world.crash(self.daemon.life)
            world.daemons.remove(self.daemon)
            self.daemon = world.birth(instance=self.daemon.instance)
            world.watched(1)
        self.firing("RestartLoop")
        self.is_over(16)

    def test_two_workers(self) -> None:
        """A second worker has another Redis, and the first's name in the scrape."""
        self.begin()
        world = self.world
        other = WatchedWorld(policy=POLICY)
        self.addCleanup(other.close)
        second = other.birth()
        for _ in range(4):
            other.clock.run_until(world.clock.rightNow)
            world.prometheus.scrape("second", second.shown(), world.clock.rightNow)
            world.watched(1)
        self.firing("TwoLeases")
        second.stop()
        other.clock.run_until(other.clock.rightNow + 10)
        world.prometheus.forget("second")
        self.is_over(5)

    def test_forged(self) -> None:
        """Somebody signs with our key: a dead letter, and its wallet in quarantine."""
        self.begin()
        world = self.world
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.watched(2)
        nonce = world.net.head.state.slot(PROVIDER, ALICE).last_nonce + 1

        def forge(contract: Contract) -> None:
            fields = VoucherFields(
                user=ALICE, provider=PROVIDER, usage_hash=bytes(32), nonce=nonce, total_fee=1
            )
            signature = "0x" + SIGNER.sign_digest(digest(DOMAIN, fields)).hex()
            seal = Seal(
                nonce=nonce, fee=Neuron(1), usage_hash="0x" + "00" * 32, signature=signature
            )
            contract.settle(PROVIDER, PROVIDER, [line_of(seal)])

        world.net.act(forge)
        world.net.withholds = lambda _transaction: False
        self.fires("DeadLetters", 5)
        self.fires("WalletQuarantined", 2)
        # Dead letters alone make no NotReady, although /readyz says no.
        self.assertIn("dead letters", self.daemon.readiness.reasons())
        self.firing("DeadLetters", "WalletQuarantined")
        charges, letters = world.now(world.desk().dead())
        for one in charges:
            world.now(world.desk().drop(one.id, "somebody else signed"))
        for letter in letters:
            world.now(world.desk().drop(f"{letter.letter.kind}:{letter.letter.name}", "seen"))
        world.now(world.desk().release(ALICE, "the key is rotated"))
        self.is_over(5)
