"""
The port's suite on the double of the contract that is deployed today, by the real adapter and
by L{MemoryChain}: all but what that contract has not, and what it does not say.  And what
L{sandbox_billing.services.tracing} finds out on each of them.
"""

from __future__ import annotations

from typing import Any

from sandbox_billing.ledger.account import Behaviour
from sandbox_billing.ledger.identity import Address, ChargeId, Nonce, SandboxId
from sandbox_billing.ledger.money import UnixSeconds, neuron
from sandbox_billing.ledger.settlement import SUCCESS, Evidence
from sandbox_billing.ledger.voucher import Charge, ChargeKind, ChargeRecord, Seal, Signed
from sandbox_billing.services.tracing import Tracer
from tests.adapters.test_memory_chain import MemoryCase, MemoryStage, client
from tests.ports.chain import TOKEN, StandingClock, chain_suite
from tests.ports.deployed import DeployedStage


class Deployed:
    """What differs; to be mixed in before the suite."""

    chain: Any
    stage: Any
    provider: Address
    user: Address
    run_on_chain: Any
    newest: Any

    async def test_service(self: Any) -> None:
        """Versions start at 0."""
        record = await self.chain.service(self.provider, await self.newest())
        self.assertEqual((record.signer, record.signer_version), (self.stage.signer.address, 0))

    async def test_service_in_the_past(self: Any) -> None:
        """A raise counts from its block on."""
        before = await self.newest()
        await self.run_on_chain(self.stage.register, cpu=61, stake=0)
        now = await self.newest()
        self.assertEqual((await self.chain.service(self.provider, before)).signer_version, 0)
        self.assertEqual((await self.chain.service(self.provider, now)).signer_version, 1)

    async def test_leaving(self: Any) -> None:
        """Nobody can."""
        self.assertIsNone(await self.chain.leaving_at(await self.newest()))

    async def test_shortfall(self: Any) -> None:
        """A voucher that found too little does not say what it took (K3)."""
        await self.run_on_chain(self.stage.fund, 12)
        await self.run_on_chain(self.stage.settle, self.stage.line(1, 30))
        head = await self.newest()
        (found,) = (await self.chain.happenings(head.number, head.number)).settlements
        self.assertEqual((found.fee, found.status, found.paid), (30, 1, None))

    async def test_moves(self: Any) -> None:
        """What moved for one wallet, as far as it is told."""
        first = (await self.newest()).number + 1
        await self.run_on_chain(self.stage.fund, 100)
        await self.run_on_chain(self.stage.settle, self.stage.line(1, 30), self.stage.line(2, 90))
        head = await self.newest()
        moves = await self.chain.moves(self.user, first, head.number)
        self.assertEqual((100, 0), (moves.deposited, moves.withdrawn))
        self.assertEqual([30, None], [settled.paid for settled in moves.settlements])

    async def test_acknowledged_versions(self: Any) -> None:
        """The yes of version 0 is one of its own; a revoke takes every yes back."""

        async def told() -> bool:
            (account,) = await self.chain.accounts([self.user], await self.newest())
            return bool(account.acknowledged)

        await self.run_on_chain(self.stage.acknowledge)
        self.assertTrue(await told())
        await self.run_on_chain(self.stage.register, cpu=61, stake=0)
        self.assertFalse(await told())
        await self.run_on_chain(self.stage.acknowledge)
        self.assertTrue(await told())
        await self.run_on_chain(self.stage.acknowledge, acknowledged=False)
        self.assertFalse(await told())

    async def test_behaviour(self: Any) -> None:
        """It is known for what it is."""
        self.assertIs(Behaviour.FLAWED, await self.chain.behaviour(await self.newest()))

    async def _traced(self: Any, nonce: int, fee: int) -> Any:
        head = await self.newest()
        found = (await self.chain.happenings(head.number, head.number)).settlements
        (settled,) = [s for s in found if s.nonce == nonce]
        seal = Seal(
            nonce=Nonce(nonce), fee=neuron(fee), usage_hash=settled.usage_hash, signature="0x"
        )
        charge = Charge(
            id=ChargeId("sb-1:40"),
            sandbox=SandboxId("sb-1"),
            owner=self.user,
            provider=self.provider,
            kind=ChargeKind.COMPUTE,
            period_start=UnixSeconds(40),
            period_end=UnixSeconds(100),
            units=60,
            amount=neuron(fee),
            rate=1,
            created_at=UnixSeconds(100),
        )
        evidence = Evidence(
            record=ChargeRecord(charge, Signed(seal)), settled=settled, last_nonce=Nonce(nonce)
        )
        tracer = Tracer(chain=self.chain, wall=StandingClock())
        ((proof,), races, waiting) = await tracer.traced([evidence], head)
        self.assertEqual({}, waiting)
        return proof.settled, [(race.lost, race.credit) for race in races]

    async def test_traced_partial(self: Any) -> None:
        """D7: what was paid is what was there."""
        await self.run_on_chain(self.stage.fund, 12)
        await self.run_on_chain(self.stage.settle, self.stage.line(1, 30))
        settled, races = await self._traced(1, 30)
        self.assertEqual((1, 12, []), (settled.status, settled.paid, races))

    async def test_traced_k1(self: Any) -> None:
        """failures.md's figures: 65 belong to nobody."""
        await self.run_on_chain(self.stage.fund, 100)
        await self.run_on_chain(self.stage.request_refund, 80)
        await self.run_on_chain(self.stage.settle, self.stage.line(1, 5))
        settled, races = await self._traced(1, 5)
        self.assertEqual((SUCCESS, 5, [(65, 0)]), (settled.status, settled.paid, races))

    async def test_traced_k2(self: Any) -> None:
        """failures.md's figures: 98 too much, and the fee is paid."""
        await self.run_on_chain(self.stage.fund, 100)
        await self.run_on_chain(self.stage.request_refund, 99)
        await self.run_on_chain(self.stage.settle, self.stage.line(1, 2), self.stage.line(2, 3))
        settled, races = await self._traced(1, 2)
        self.assertEqual((SUCCESS, 2, [(0, 98)]), (settled.status, settled.paid, races))
        settled, races = await self._traced(2, 3)
        self.assertEqual((1, 0, []), (settled.status, settled.paid, races))


class RealTests(Deployed, chain_suite(lambda case: case.adapter())):  # type: ignore[misc]
    """The adapter, a node, and the double in the EVM."""

    stage_kind = DeployedStage

    async def test_one_signature_each(self) -> None:
        """It has no C{settleBatch}: each voucher carries its own, and our key may submit."""
        await self.run_on_chain(self.stage.fund, TOKEN)
        lines = [self.stage.line(1, 30), self.stage.line(2, 20)]
        attempt = await self.chain.prepare(lines, None)
        await self.chain.broadcast(attempt)
        await self.run_on_chain(self.stage.chain.mine)
        receipt = await self.chain.receipt(attempt.hash)
        self.assertTrue(receipt.succeeded)
        (account,) = await self.chain.accounts([self.user], receipt.block)
        self.assertEqual((TOKEN - 50, 2), (account.balance, account.last_nonce))


class DeployedMemoryStage(MemoryStage):
    """Flawed from its birth."""

    behaviour = Behaviour.FLAWED


class MemoryTests(  # type: ignore[misc]
    Deployed, chain_suite(lambda case: client(case.stage)), MemoryCase
):
    """The model says the same."""

    memory_stage = DeployedMemoryStage
