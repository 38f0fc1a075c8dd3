"""
The embedded world: a Redis server, a chain with the contract, a Daytona.

Everything listens on 127.0.0.1 on free ports and ends with the service.  All
keys are WELL-KNOWN DEVELOPMENT KEYS, the numbers 1 to 10.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from attrs import frozen
from eth_account import Account
from twisted.application.service import MultiService
from twisted.internet.threads import deferToThread

from sandbox_billing.devnet.chain.accounts import DEVELOPMENT_KEYS
from sandbox_billing.devnet.chain.devchain import make_dev_chain
from sandbox_billing.devnet.chain.service import DevChainService
from sandbox_billing.devnet.contracts import Deployment, deploy_stack
from sandbox_billing.devnet.daytona.service import DaytonaSimulatorService
from sandbox_billing.devnet.daytona.simulator import DaytonaSimulator, Timings
from sandbox_billing.devnet.redis import RedisServerService
from sandbox_billing.devnet.wallet import Wallet, connect, wait_for
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.key import SigningKey


CHAIN_ID = 16602
ADMIN_KEY = "devnet-admin-key"
STAKE = 10**18

OWNER, PROVIDER, SIGNER, ALICE, BOB, MALLORY = DEVELOPMENT_KEYS[:6]

TOKEN = 10**18


@frozen(kw_only=True)
class DevnetPrices:
    """neuron; about 0.0015 0G a second for one cpu and one GiB, so that money moves visibly."""

    per_cpu_per_minute: int = 60 * TOKEN // 1000
    per_memory_gib_per_minute: int = 30 * TOKEN // 1000
    create_fee: int = 5 * TOKEN // 1000


class World(MultiService):
    """
    @ivar blocks: The chain itself; only C{chain.run} may touch it.
    @ivar deployment: The contracts, once L{up} has ended.
    """

    def __init__(
        self,
        reactor: Any,
        *,
        data: Path | None = None,
        block_seconds: float | None = 1.0,
        timings: Timings | None = None,
        prices: DevnetPrices | None = None,
        ports: tuple[int, int] = (0, 0),
        allow_exec: bool = False,
    ) -> None:
        """
        @param data: Where Redis keeps its files; a temporary folder when None.
        @param block_seconds: Between blocks.
        @param timings: Of the simulated Daytona.
        @param ports: Of the chain and of Daytona; 0 for any free one.
        @param allow_exec: What users of a sandbox send really runs here: B{no isolation}.
        """
        MultiService.__init__(self)
        self.prices = prices or DevnetPrices()
        self.redis = RedisServerService(reactor, data=data)
        self.blocks = make_dev_chain(now=time.time, chain_id=CHAIN_ID, strict_time=False)
        self.chain = DevChainService(
            reactor=reactor,
            chain=self.blocks,
            port=ports[0],
            block_seconds=block_seconds,
        )
        self.simulator = DaytonaSimulator(
            clock=reactor, wall=time.time, timings=timings or Timings(sync_seconds=2.0)
        )
        self.daytona = DaytonaSimulatorService(
            reactor, self.simulator, ADMIN_KEY, port=ports[1], allow_exec=allow_exec
        )
        for part in (self.redis, self.chain, self.daytona):
            part.setServiceParent(self)  # type: ignore[no-untyped-call]
        self.deployment: Deployment | None = None

    @property
    def provider(self) -> Address:
        """The provider's own address, which is not the signer's."""
        return SigningKey.from_bytes(PROVIDER).address

    async def up(self) -> None:
        """Wait for Redis, deploy the contracts, register the provider."""
        await self.redis.ready()
        self.deployment = await deferToThread(self._deploy)

    def _deploy(self) -> Deployment:
        w3 = connect(self.chain.url)
        owner = Account.from_key(OWNER)
        deployment = deploy_stack(
            w3, owner, STAKE, wait=lambda hashed: wait_for(w3, hashed, mine=True)
        )
        provider = self._wallet("provider", PROVIDER, deployment, mine=True)
        functions = provider.contract.functions
        provider.send(
            functions.addOrUpdateService(
                "http://127.0.0.1",
                checksum(SigningKey.from_bytes(SIGNER).address),
                self.prices.per_cpu_per_minute,
                self.prices.create_fee,
                self.prices.per_memory_gib_per_minute,
            ),
            value=STAKE,
        )
        return deployment

    def _wallet(self, name: str, secret: bytes, deployment: Deployment, *, mine: bool) -> Wallet:
        return Wallet(
            name=name,
            secret=secret,
            w3=connect(self.chain.url),
            contract_address=deployment.proxy,
            provider=self.provider,
            chain_id=CHAIN_ID,
            mine=mine,
        )

    def wallet(self, name: str, secret: bytes, *, mine: bool = True) -> Wallet:
        """
        A user of this world.

        @param mine: Ask for a block after each transaction instead of waiting for one.
        """
        assert self.deployment is not None, "the world is not up yet"
        return self._wallet(name, secret, self.deployment, mine=mine)

    def environment(self, **more: str) -> dict[str, str]:
        """
        The daemon's settings for this world: short intervals, a development key.

        @param more: Settings that win over these.
        """
        assert self.deployment is not None, "the world is not up yet"
        return {
            "DAYTONA_API_URL": self.daytona.url,
            "DAYTONA_ADMIN_KEY": ADMIN_KEY,
            "SETTLEMENT_CONTRACT": self.deployment.proxy,
            "RPC_URL": self.chain.url,
            "CHAIN_ID": str(CHAIN_ID),
            "PROVIDER_ADDRESS": checksum(self.provider),
            "REDIS_ADDR": f"127.0.0.1:{self.redis.port}",
            "PORT": "0",
            "MOCK_TEE": "true",
            # A WELL-KNOWN DEVELOPMENT KEY: the number 3.
            "MOCK_APP_PRIVATE_KEY": "0x" + SIGNER.hex(),
            "VOUCHER_INTERVAL_SEC": "5",
            "RECONCILE_INTERVAL_SEC": "1",
            "CONFIRMATIONS": "1",
            "BATCH_WAIT_SEC": "1",
            "STOP_DELAY_SEC": "3",
            "LEASE_SEC": "3",
            "WEBHOOK_PRIVATE_TARGETS": "127.0.0.0/8,::1",
            **more,
        }
