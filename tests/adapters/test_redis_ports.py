"""The journal's ports on a real server."""

from __future__ import annotations

from tests.ports import at_home
from tests.ports.journal_controls import controls_suite
from tests.ports.journal_desk import desk_suite
from tests.ports.journal_doors import doors_suite
from tests.ports.journal_merging import merging_suites
from tests.ports.journal_meter import meter_suite
from tests.ports.journal_notices import notices_suite
from tests.ports.journal_orders import orders_suite
from tests.ports.journal_overview import overview_suite
from tests.ports.journal_pause import pause_suites
from tests.ports.journal_queue import queue_suite
from tests.ports.journal_receipts import receipts_suite
from tests.ports.journal_resolved import resolved_suite
from tests.ports.journal_spending import spending_suite
from tests.ports.journal_split import split_suite
from tests.ports.journal_tokens import tokens_suite
from tests.ports.journal_usage import usage_suite
from tests.ports.journal_warnings import warnings_suite
from tests.ports.journal_webhooks import webhooks_suite
from tests.ports.journal_worker import worker_suites
from tests.ports.journal_worlds import redis_world


RedisDoorsTests = doors_suite("Redis", redis_world)
RedisMeterTests = meter_suite("Redis", redis_world)
RedisQueueTests = queue_suite("Redis", redis_world)
globals().update(worker_suites("Redis", redis_world))
globals().update(pause_suites("Redis", redis_world))
globals().update(merging_suites("Redis", redis_world))
RedisSplitTests = split_suite("Redis", redis_world)
RedisReceiptsTests = receipts_suite("Redis", redis_world)
RedisResolvedTests = resolved_suite("Redis", redis_world)
RedisTokensTests = tokens_suite("Redis", redis_world)
RedisUsageTests = usage_suite("Redis", redis_world)
RedisWebhooksTests = webhooks_suite("Redis", redis_world)
RedisSpendingTests = spending_suite("Redis", redis_world)
RedisControlsTests = controls_suite("Redis", redis_world)
RedisNoticesTests = notices_suite("Redis", redis_world)
RedisWarningsTests = warnings_suite("Redis", redis_world)
RedisOrdersTests = orders_suite("Redis", redis_world)
RedisOverviewTests = overview_suite("Redis", redis_world)
RedisDeskTests = desk_suite("Redis", redis_world)

at_home(globals())
