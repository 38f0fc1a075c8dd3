"""
What the settler plans on: wallets as mirrored and, on a flawed contract, as they are now.

Money decisions rest on the mirror.  Where the contract has flaws, one look at the newest
block is added right before signing, and another before a first broadcast: it never lets
anything out, it only holds back what a refund asked for meanwhile would make harmful.

Tests: C{tests.services.test_flawed}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from sandbox_billing.interfaces import IChain, StoredQueue
from sandbox_billing.ledger.account import Account, Behaviour, Mirror
from sandbox_billing.ledger.deployed import Purse, first_harmful
from sandbox_billing.ledger.identity import Address, Nonce
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.settlement import NOTHING, WalletQueue
from sandbox_billing.ledger.voucher import ChargeKind, ChargeRecord
from sandbox_billing.services.policy import Policy
from sandbox_billing.services.purse import GAS_OF_A_VOUCHER


@frozen(kw_only=True)
class Outlook:
    """Part of the settler."""

    chain: IChain
    policy: Policy

    async def plannable(self, queues: Sequence[StoredQueue], mirror: Mirror) -> list[WalletQueue]:
        """Queues with all that a plan takes, in the order given."""
        wallets = [queue.wallet for queue in queues]
        nonces = await self.chain.last_nonces(wallets, mirror.block)
        newest = await self._newest(wallets, mirror)
        worth = await self._worth(queues)
        return [
            self._plannable(queue, nonce, mirror, newest.get(queue.wallet), worth)
            for queue, nonce in zip(queues, nonces, strict=True)
        ]

    async def _worth(self, queues: Sequence[StoredQueue]) -> Neuron:
        """What a transaction with one voucher costs now; nothing where no debt asks for it."""
        kinds = {record.value.charge.kind for queue in queues for record in queue.records}
        if ChargeKind.DEBT not in kinds:
            return NOTHING
        return Neuron(GAS_OF_A_VOUCHER * await self.chain.gas_price())

    def _plannable(
        self,
        queue: StoredQueue,
        nonce: Nonce,
        mirror: Mirror,
        newest: Account | None,
        worth: Neuron,
    ) -> WalletQueue:
        assert queue.account is not None
        account = queue.account.value
        return WalletQueue(
            account=account,
            records=tuple(record.value for record in queue.records),
            last_nonce=max(nonce, queue.last_nonce, account.last_nonce),
            behaviour=mirror.behaviour,
            newest=newest,
            accepted_loss=self.policy.refund_loss,
            worth=worth,
        )

    async def _newest(
        self, wallets: Sequence[Address], mirror: Mirror
    ) -> Mapping[Address, Account]:
        if mirror.behaviour is Behaviour.FIXED:
            return {}
        found = await self.chain.accounts(wallets, await self.chain.head())
        return {account.wallet: account for account in found}

    async def harmless(self, records: Sequence[ChargeRecord], mirror: Mirror) -> int:
        """
        How many of a batch's first vouchers set off no flaw in the newest block.

        @param records: In their order.
        """
        owners = list(dict.fromkeys(record.charge.owner for record in records))
        good = len(records)
        for wallet, account in (await self._newest(owners, mirror)).items():
            places = [p for p, record in enumerate(records) if record.charge.owner == wallet]
            fees = [records[place].charge.amount for place in places]
            bad = first_harmful(Purse.of(account), fees, self.policy.refund_loss)
            if bad is not None:
                good = min(good, places[bad])
        return good
