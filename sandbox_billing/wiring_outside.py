"""
The electrician's work beyond the walls: the key service, the chain, Daytona's events.

Tests: C{tests.blackbox}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.python.threadpool import ThreadPool
from twisted.web.client import HTTPConnectionPool

from sandbox_billing.adapters.chain.adapter import ChainSettings, Web3Chain
from sandbox_billing.adapters.chain.transactions import GasPolicy
from sandbox_billing.adapters.daytona.connection import daytona_client
from sandbox_billing.adapters.daytona.events import DaytonaEvents
from sandbox_billing.adapters.daytona.exchange import Exchange, api_base
from sandbox_billing.adapters.daytona.runtime import DaytonaRuntime
from sandbox_billing.adapters.enclave.mock import MockEnclave
from sandbox_billing.adapters.enclave.tapp import TappKeyService
from sandbox_billing.configuration import Configuration
from sandbox_billing.interfaces import (
    UNMEASURED,
    IEnclave,
    IEvents,
    IMeasures,
    ISigner,
    IWallClock,
)
from sandbox_billing.ledger.account import Behaviour
from sandbox_billing.ledger.identity import Address
from sandbox_billing.measures import GAS_FEE_CAP_NEURON


def make_enclave(settings: Configuration, reactor: Any, pool: ThreadPool) -> IEnclave:
    """Where the key comes from; a mock only by an explicit word (wire.md §8)."""
    if settings.mock_tee:
        assert settings.mock_key is not None, "checked with the configuration"
        return MockEnclave.from_hex(settings.mock_key)
    assert settings.tapp_app is not None, "checked with the configuration"
    return TappKeyService(
        host=settings.tapp_host,
        port=settings.tapp_port,
        app_name=settings.tapp_app,
        trusted_hosts=frozenset(settings.tapp_trusted_hosts),
        reactor=reactor,
        thread_pool=pool,
    )


def make_events(settings: Configuration, reactor: Any) -> IEvents:
    """Daytona's own news."""
    return DaytonaEvents(
        api=settings.daytona_api_url, admin_key=settings.daytona_admin_key, reactor=reactor
    )


def make_runtime(
    settings: Configuration,
    reactor: Any,
    http_pool: HTTPConnectionPool,
    wall: IWallClock,
    measures: IMeasures = UNMEASURED,
) -> DaytonaRuntime:
    """Daytona's own API."""
    exchange = Exchange(
        daytona_client(reactor, http_pool),
        api_base(settings.daytona_api_url),
        settings.daytona_admin_key,
        reactor,
        measures,
    )
    return DaytonaRuntime(exchange, wall)


def make_chain(
    settings: Configuration,
    reactor: Any,
    *,
    signer: ISigner,
    provider: Address,
    read_pool: ThreadPool,
    submission_pool: ThreadPool,
    wall: IWallClock,
    measures: IMeasures = UNMEASURED,
    moved: Callable[[], None] = lambda: None,
) -> Web3Chain:
    """
    The settlement contract.

    @param moved: Called after each call of a node, in the context of whoever reads.
    """
    measures.set(GAS_FEE_CAP_NEURON, settings.gas_fee_cap)
    return Web3Chain.of(
        ChainSettings(
            urls=settings.rpc_urls,
            chain_id=settings.chain_id,
            contract=settings.settlement_contract,
            provider=provider,
            gas=GasPolicy(fee_cap=settings.gas_fee_cap, floor=settings.gas_floor),
            log_range=settings.log_range,
            confirmations=settings.confirmations,
            behaviour=(
                None
                if settings.contract_behaviour == "auto"
                else Behaviour(settings.contract_behaviour)
            ),
        ),
        reactor=reactor,
        read_pool=read_pool,
        submission_pool=submission_pool,
        signer=signer,
        clock=wall,
        measures=measures,
        moved=moved,
    )
