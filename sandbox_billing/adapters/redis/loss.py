"""Whether the store may have lost its newest writes, and whose books are behind the chain."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import Read, Reply
from sandbox_billing.adapters.redis.letters import write_letter
from sandbox_billing.adapters.redis.resolution import last_given
from sandbox_billing.adapters.redis.store import Store, texts
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import BlockedWallet, ILoss
from sandbox_billing.ledger.dead_letter import DeadLetter
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import Address, Nonce


@implementer(ILoss)
@frozen
class RedisLoss:
    """A server has another C{run_id} after each start."""

    store: Store

    async def run_id(self) -> str:
        return (await self.store.keyspace.facts()).run_id

    async def given(self) -> Mapping[Address, Nonce]:
        keys = self.store.keys
        ready, in_flight, charged, mirrored = await self.store.read(
            Read("ZRANGE", keys.ready(), (0, -1)),
            Read("HGETALL", keys.in_flight()),
            Read("SMEMBERS", keys.wallets()),
            Read("SMEMBERS", keys.accounts()),
        )
        # Whoever is known: a session that came back open is charged again only later.
        names = {*texts(ready), *texts(in_flight)[::2], *texts(charged), *texts(mirrored)}
        wallets = sorted(map(Address, names))
        nonces = await self.store.read_many([Read("GET", keys.nonce(w)) for w in wallets])
        return {
            wallet: _known(wallet, nonce) for wallet, nonce in zip(wallets, nonces, strict=True)
        }

    async def behind(self, blocked: BlockedWallet) -> None:
        funds, now = blocked.funds, self.store.wall.now()
        draft = self.store.draft(f"quarantine {funds.wallet}")
        draft.expect_funds(funds)
        draft.block(funds, QUARANTINED, now)
        letter = DeadLetter(kind="wallet", name=funds.wallet.hex, reason=blocked.reason, since=now)
        write_letter(draft, letter)
        await self.store.carry_out(draft.commit(token=self.store.token.now()))


def _known(wallet: Address, form: Reply) -> Nonce:
    try:
        return last_given(wallet, form)
    except BadInput:
        # Nothing is known: if the chain has seen one, its wallet is behind it.
        return Nonce(0)
