"""
What C{reconcile} is connected with: all that the daemon is, but for the key.

Tests: L{tests.cli.test_reconcile}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from attrs import frozen
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from sandbox_billing.adapters.daytona.connection import daytona_client, daytona_pool
from sandbox_billing.adapters.daytona.runtime import DaytonaRuntime
from sandbox_billing.adapters.redis.inventory import Inventory
from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.adapters.redis.keyspace import RedisKeyspace
from sandbox_billing.adapters.system import SystemClock
from sandbox_billing.cli.reconcile_world import LEASE_SECONDS, Scales
from sandbox_billing.configuration import Configuration
from sandbox_billing.errors import BadInput, Refused, Transient
from sandbox_billing.interfaces import IChain, ISigner
from sandbox_billing.ledger.account import ServiceRecord
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.wiring_outside import make_chain


T = TypeVar("T")


@implementer(ISigner)
@frozen
class Onlooker:
    """The registered signer's address, without its key: nothing is signed here."""

    address: Address

    def sign_digest(self, digest: bytes) -> bytes:
        raise Refused("this command has no key")

    def sign_transaction(self, fields: Mapping[str, Any]) -> Any:
        raise Refused("this command has no key")


async def with_scales(
    reactor: Any,
    settings: Configuration,
    say: Callable[[str], None],
    work: Callable[[Scales], Awaitable[T]],
) -> T:
    """
    Connect with everything, work, and leave nothing behind.

    @raise BadInput: The settings do not say whose books these are, or are wrong.
    """
    if settings.provider is None:
        raise BadInput("PROVIDER_ADDRESS is required here: this command does not ask for the key")
    provider, wall = settings.provider, SystemClock()
    host, port = settings.redis
    keyspace = RedisKeyspace(
        host=host, port=port, password=settings.redis_password, clock=reactor, wall=wall
    )
    pools = ThreadPool(0, 8, name="chain-read"), ThreadPool(0, 1, name="chain-submit")
    http: Any = daytona_pool(reactor)

    def chain_of(signer: Address) -> IChain:
        return make_chain(
            settings,
            reactor,
            signer=Onlooker(signer),
            provider=provider,
            read_pool=pools[0],
            submission_pool=pools[1],
            wall=wall,
        )

    for pool in pools:
        pool.start()
    try:
        try:
            await keyspace.connect()
        except Transient:
            raise Transient(f"no Redis answers at {host}:{port}: look at REDIS_ADDR") from None
        service = await _service(chain_of(provider), provider, settings.chain_id)
        journal = Journal.over(
            keyspace,
            provider,
            wall,
            interval_seconds=settings.voucher_interval,
            lease_seconds=LEASE_SECONDS,
            ripen_seconds=settings.settle_max_age,
        )
        return await work(
            Scales(
                reactor=reactor,
                pool=pools[0],
                settings=settings,
                provider=provider,
                service=service,
                journal=journal,
                inventory=Inventory(journal.store, keyspace),
                chain=chain_of(service.signer),
                runtime=DaytonaRuntime.over(
                    daytona_client(reactor, http),
                    url=settings.daytona_api_url,
                    admin_key=settings.daytona_admin_key,
                    clock=reactor,
                    wall=wall,
                ),
                say=say,
            )
        )
    finally:
        await keyspace.close()
        await http.closeCachedConnections()
        for pool in pools:
            pool.stop()


async def _service(chain: IChain, provider: Address, chain_id: int) -> ServiceRecord:
    """
    @raise BadInput: The chain or the registration is not what the settings say.
    """
    facts = await chain.facts()
    if facts.chain_id != chain_id or not facts.has_code:
        raise BadInput(
            f"RPC_URL answers for chain {facts.chain_id}, CHAIN_ID says {chain_id}; "
            f"a contract {'is' if facts.has_code else 'is not'} at SETTLEMENT_CONTRACT"
        )
    service = await chain.service(provider, await chain.head())
    if service is None:
        raise BadInput(f"provider {checksum(provider)} is not registered at SETTLEMENT_CONTRACT")
    return service
