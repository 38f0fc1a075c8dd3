"""K7: a later nonce that lands first makes the earlier voucher worthless."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from sandbox_billing.adapters.redis.commit import Read, absent
from sandbox_billing.adapters.redis.store import texts
from sandbox_billing.ledger.identity import Address
from tests.evm.flaws import of_row
from tests.evm.flaws.standing import StandingCase
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


class ContractTests(StandingCase):
    """Builds of the contract that have it."""

    def test_noticed(self) -> None:
        """Nonces that repeat or fall turn the tests red."""
        self.assert_noticed(of_row("K7"))


class DaemonTests(TrapCase):
    """Our own order of a wallet's vouchers."""

    @noticed_by("tests.ledger.test_settlement.PlanWalletTests.test_offered_again")
    def test_order_of_a_batch(self) -> Patches:
        """Signed vouchers go out highest nonce first."""

        def falling(original: Any) -> Any:
            def _order(record: Any) -> Any:
                if record.seal is None:
                    return original(record)
                return (0, -record.seal.nonce, 0)

            return _order

        return Patch("sandbox_billing.ledger.settlement._order", falling)

    @noticed_by("tests.services.test_settler.SettlerTests.test_waits_for_the_wallet_s_batch")
    def test_one_batch_at_a_time(self) -> Patches:
        """A wallet's next voucher goes out in another transaction before the earlier is final."""
        queue = "sandbox_billing.adapters.redis.queue.RedisVoucherQueue."

        # Three stand behind each other: who is offered, who is planned, what is stored.
        def offering(original: Any) -> Any:
            async def ready(queue: Any, now: Any, limit: int) -> Any:
                wallets = await queue.store.read(Read("SMEMBERS", queue.store.keys.wallets()))
                return tuple(Address(name) for name in texts(wallets[0]))[:limit]

            return ready

        def forgetting(original: Any) -> Any:
            async def queue(queue: Any, wallet: Any, now: Any, limit: int) -> Any:
                return evolve(await original(queue, wallet, now, limit), in_flight=None)

            return queue

        unheld = lambda _: lambda key, name: absent("billing:nothing")  # noqa: E731
        return [
            Patch(queue + "ready", offering),
            Patch(queue + "queue", forgetting),
            Patch("sandbox_billing.adapters.redis.queue.field_absent", unheld),
        ]
