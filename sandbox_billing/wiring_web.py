"""
The electrician's work in the front room: what users meet, joined to what is behind it.

Tests: C{tests.web.test_every_route}, C{tests.blackbox}.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.python.threadpool import ThreadPool
from twisted.web.resource import IResource

from sandbox_billing.adapters.chain.contract_wallets import Web3ContractWallets
from sandbox_billing.adapters.daytona.relay import DaytonaRelay, NoRelay, relay_at
from sandbox_billing.adapters.system import request_id
from sandbox_billing.adapters.webhooks.sender import NoWebhooks
from sandbox_billing.configuration import Configuration
from sandbox_billing.interfaces import UNMEASURED, IContractWallets, IMeasures, IRelay
from sandbox_billing.services._periodic import Periodic
from sandbox_billing.services.backlog import left_before
from sandbox_billing.services.intake import Intake
from sandbox_billing.services.readiness import Readiness
from sandbox_billing.web.bounds import MOST_STREAMS
from sandbox_billing.web.caller import OtherProof, keys_only
from sandbox_billing.web.contract_wallets import ContractWallets
from sandbox_billing.web.notices import LOOK_SECONDS as NOTICES_SECONDS
from sandbox_billing.web.notices import MOST as MOST_LISTENERS
from sandbox_billing.web.notices import Listeners
from sandbox_billing.web.open_streams import LOOK_SECONDS, OpenStreams
from sandbox_billing.web.root import FrontDesk, make_root
from sandbox_billing.web.terms import Terms
from sandbox_billing.wiring import Parts
from sandbox_billing.wiring_money import make_resumer


def make_relay(settings: Configuration, terms: Terms, reactor: Any) -> DaytonaRelay:
    """The way of what only passes through."""
    return relay_at(
        settings.daytona_api_url,
        admin_key=settings.daytona_admin_key,
        own_url=terms.public_url,
        reactor=reactor,
    )


def make_contracts(settings: Configuration, reactor: Any, pool: ThreadPool) -> Web3ContractWallets:
    """
    Wallets that are contracts, asked beside everything else the chain is used for.

    @param pool: Nobody else's.
    """
    return Web3ContractWallets.of(
        settings.rpc_urls, chain_id=settings.chain_id, reactor=reactor, pool=pool
    )


def make_streams(parts: Parts, most: int = MOST_STREAMS) -> OpenStreams:
    """The streams of this process."""
    journal = parts.journal
    return OpenStreams(doors=journal.doors, tokens=journal.tokens, wall=parts.wall, most=most)


def make_turns(
    streams: OpenStreams,
    listeners: Listeners,
    clock: IReactorTime,
    measures: IMeasures = UNMEASURED,
) -> tuple[Periodic, ...]:
    """What looks after those who stay."""
    return (
        Periodic("streams", streams.turn, LOOK_SECONDS, clock, measures=measures),
        Periodic("notices", listeners.turn, NOTICES_SECONDS, clock, measures=measures),
    )


def make_listeners(parts: Parts, most: int = MOST_LISTENERS) -> Listeners:
    """
    Who is told of notices as they come, in this process.

    @param most: As many as there may be streams: each holds a connection.
    """
    journal = parts.journal
    return Listeners(
        notices=journal.notices,
        doors=journal.doors,
        tokens=journal.tokens,
        wall=parts.wall,
        clock=parts.clock,
        most=min(MOST_LISTENERS, most),
        environment=parts.policy.tariff,
        interval=parts.policy.voucher_interval,
    )


def make_front(
    parts: Parts,
    intake: Intake,
    readiness: Readiness,
    terms: Terms,
    *,
    relay: IRelay | None = None,
    streams: OpenStreams | None = None,
    listeners: Listeners | None = None,
    contracts: IContractWallets | None = None,
    measures: IMeasures = UNMEASURED,
) -> IResource:
    """
    The web's half of the daemon.

    @param relay: None where nothing can be streamed to.
    @param streams: Of L{make_streams}, where somebody takes their turns.
    @param listeners: Of L{make_listeners}, likewise.
    @param contracts: Of L{make_contracts}; without, no wallet is asked whether it signed.
    """
    otherwise: OtherProof = keys_only
    if contracts is not None:
        otherwise = ContractWallets(
            contracts=contracts,
            doors=parts.journal.doors,
            clock=parts.clock,
            detached=intake.supervisor.detached,
        )
    return make_root(
        FrontDesk(
            terms=terms,
            relay=NoRelay() if relay is None else relay,
            streams=make_streams(parts) if streams is None else streams,
            listeners=make_listeners(parts) if listeners is None else listeners,
            intake=intake,
            runtime=parts.runtime,
            doors=parts.journal.doors,
            history=parts.journal.history,
            receipts=parts.journal.receipts,
            replay=parts.journal.replay,
            tokens=parts.journal.tokens,
            webhooks=parts.journal.webhooks,
            sender=NoWebhooks() if parts.sender is None else parts.sender,
            readiness=readiness,
            wall=parts.wall,
            clock=parts.clock,
            idempotency=parts.journal.idempotency,
            lifecycle=parts.journal.lifecycle,
            controls=parts.journal.controls,
            resumer=make_resumer(parts.journal, intake),
            overview=parts.journal.overview,
            orders=parts.journal.orders,
            left=partial(left_before, parts.journal.meter, parts.journal.backlog),
            ids=parts.ids,
            detached=intake.supervisor.detached,
            new_request_id=request_id,
            random_bytes=secrets.token_bytes,
            otherwise=otherwise,
            measures=measures,
        )
    )
