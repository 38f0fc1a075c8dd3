"""All journal ports over one keyspace."""

from __future__ import annotations

import secrets

from attrs import frozen

from sandbox_billing.adapters.redis.chain import RedisChainMirror, RedisFunds
from sandbox_billing.adapters.redis.controls import RedisControls
from sandbox_billing.adapters.redis.desk import RedisDesk
from sandbox_billing.adapters.redis.doors import RedisDoors
from sandbox_billing.adapters.redis.forgiving import RedisForgiving
from sandbox_billing.adapters.redis.history import RedisHistory
from sandbox_billing.adapters.redis.idempotency import RedisIdempotency
from sandbox_billing.adapters.redis.keys import Keys
from sandbox_billing.adapters.redis.lease import RedisLease, RedisReplayGuard
from sandbox_billing.adapters.redis.letters import RedisDeadLetters
from sandbox_billing.adapters.redis.limits import RedisLifecycleCount
from sandbox_billing.adapters.redis.loss import RedisLoss
from sandbox_billing.adapters.redis.merging import RedisMerging
from sandbox_billing.adapters.redis.meter import RedisMeter
from sandbox_billing.adapters.redis.notices import RedisNotices
from sandbox_billing.adapters.redis.orders import RedisOrders
from sandbox_billing.adapters.redis.overview import RedisOverview
from sandbox_billing.adapters.redis.pause import RedisBacklog, RedisPause
from sandbox_billing.adapters.redis.queue import RedisVoucherQueue
from sandbox_billing.adapters.redis.receipts import RedisReceipts
from sandbox_billing.adapters.redis.seam import IKeyspace
from sandbox_billing.adapters.redis.second_look import RedisResolved
from sandbox_billing.adapters.redis.sessions import Sessions
from sandbox_billing.adapters.redis.spending import RedisSpending
from sandbox_billing.adapters.redis.stops import RedisStopOrders
from sandbox_billing.adapters.redis.store import Store, Timing
from sandbox_billing.adapters.redis.tokens import RedisTokens
from sandbox_billing.adapters.redis.warnings import RedisWarnings
from sandbox_billing.adapters.redis.webhooks import RedisWebhooks
from sandbox_billing.interfaces import UNMEASURED, IMeasures, IWallClock
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum


@frozen(kw_only=True)
class Journal:
    """
    What one process reads and writes.

    @ivar store: What they share, for start-up checks and repairs.
    """

    store: Store
    replay: RedisReplayGuard
    tokens: RedisTokens
    doors: RedisDoors
    history: RedisHistory
    receipts: RedisReceipts
    lease: RedisLease
    meter: RedisMeter
    queue: RedisVoucherQueue
    mirror: RedisChainMirror
    funds: RedisFunds
    stops: RedisStopOrders
    spending: RedisSpending
    controls: RedisControls
    pause: RedisPause
    backlog: RedisBacklog
    merging: RedisMerging
    forgiving: RedisForgiving
    desk: RedisDesk
    letters: RedisDeadLetters
    resolved: RedisResolved
    loss: RedisLoss
    idempotency: RedisIdempotency
    lifecycle: RedisLifecycleCount
    webhooks: RedisWebhooks
    notices: RedisNotices
    warnings: RedisWarnings
    overview: RedisOverview
    orders: RedisOrders

    @classmethod
    def over(
        cls,
        keyspace: IKeyspace,
        provider: Address,
        wall: IWallClock,
        *,
        owner: str | None = None,
        interval_seconds: int,
        lease_seconds: int = 15,
        ripen_seconds: int = 1800,
        measures: IMeasures = UNMEASURED,
    ) -> Journal:
        """
        @param owner: Names this process's life: never used twice; None: made up here.
        @param interval_seconds: VOUCHER_INTERVAL_SEC.
        @param ripen_seconds: SETTLE_MAX_AGE_SEC.
        @param measures: Told of charges once they are stored.
        """
        keys = Keys(provider, checksum(provider))
        store = Store(keyspace=keyspace, keys=keys, wall=wall, measures=measures)
        timing = Timing(interval_seconds=interval_seconds, ripen_seconds=ripen_seconds)
        sessions = Sessions(store, timing)
        owner = owner or secrets.token_hex(16)
        return cls(
            store=store,
            replay=RedisReplayGuard(store, owner),
            tokens=RedisTokens(store),
            doors=RedisDoors(store, sessions),
            history=RedisHistory(store),
            receipts=RedisReceipts(store),
            lease=RedisLease(store, owner, lease_seconds),
            meter=RedisMeter(store, sessions),
            queue=RedisVoucherQueue(store),
            mirror=RedisChainMirror(store),
            funds=RedisFunds(store),
            stops=RedisStopOrders(store),
            spending=RedisSpending(store),
            controls=RedisControls(store),
            pause=RedisPause(store),
            backlog=RedisBacklog(store),
            merging=RedisMerging(store),
            forgiving=RedisForgiving(store),
            desk=RedisDesk(store),
            letters=RedisDeadLetters(store),
            resolved=RedisResolved(store),
            loss=RedisLoss(store),
            idempotency=RedisIdempotency(store),
            lifecycle=RedisLifecycleCount(store),
            webhooks=RedisWebhooks(store),
            notices=RedisNotices(store),
            warnings=RedisWarnings(store),
            overview=RedisOverview(store),
            orders=RedisOrders(store),
        )
