"""The journal's ports on dictionaries."""

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
from tests.ports.journal_worlds import memory_world


MemoryDoorsTests = doors_suite("Memory", memory_world)
MemoryMeterTests = meter_suite("Memory", memory_world)
MemoryQueueTests = queue_suite("Memory", memory_world)
globals().update(worker_suites("Memory", memory_world))
globals().update(pause_suites("Memory", memory_world))
globals().update(merging_suites("Memory", memory_world))
MemorySplitTests = split_suite("Memory", memory_world)
MemoryReceiptsTests = receipts_suite("Memory", memory_world)
MemoryResolvedTests = resolved_suite("Memory", memory_world)
MemoryTokensTests = tokens_suite("Memory", memory_world)
MemoryUsageTests = usage_suite("Memory", memory_world)
MemoryWebhooksTests = webhooks_suite("Memory", memory_world)
MemorySpendingTests = spending_suite("Memory", memory_world)
MemoryControlsTests = controls_suite("Memory", memory_world)
MemoryNoticesTests = notices_suite("Memory", memory_world)
MemoryWarningsTests = warnings_suite("Memory", memory_world)
MemoryOrdersTests = orders_suite("Memory", memory_world)
MemoryOverviewTests = overview_suite("Memory", memory_world)
MemoryDeskTests = desk_suite("Memory", memory_world)

at_home(globals())
