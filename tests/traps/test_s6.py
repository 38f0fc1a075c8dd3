"""S6: what was refused is dropped, and its sandbox runs on."""

from __future__ import annotations

from typing import Any

from sandbox_billing.ledger.settlement import NOT_ACKNOWLEDGED, Resolved
from sandbox_billing.ledger.voucher import DeadLettered
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


QUEUE = "tests.adapters.test_memory_ports.MemoryQueueTests."


class DaemonTests(TrapCase):
    """Refusals."""

    @noticed_by("tests.services.test_settler.SettlerTests.test_not_acknowledged")
    def test_dropped(self) -> Patches:
        """A voucher of a wallet that has not acknowledged is given up."""

        def dropping(original: Any) -> Any:
            def resolve(evidence: Any, now: Any) -> Any:
                if evidence.settled is None and evidence.refusal == NOT_ACKNOWLEDGED:
                    dead = DeadLettered(seal=evidence.record.seal, reason="refused")
                    return Resolved(evidence.record.become(dead))
                return original(evidence, now)

            return resolve

        return Patch("sandbox_billing.services.resolver.resolve", dropping)

    @noticed_by(
        "tests.services.test_watcher.OutcomeTests.test_forged",
        QUEUE + "test_resolve_blocking",
        QUEUE + "test_resolve_overtaken",
    )
    def test_runs_on(self) -> Patches:
        """What a voucher was refused for stops nothing."""

        def unblocked(original: Any) -> Any:
            async def resolve(
                queue: Any,
                batch: Any,
                block: Any,
                rulings: Any,
                accounts: Any,
                blocked: Any,
                *rest: Any,
                **gas: Any,
            ) -> None:
                await original(queue, batch, block, rulings, accounts, (), *rest, **gas)

            return resolve

        return Patch("sandbox_billing.adapters.redis.queue.RedisVoucherQueue.resolve", unblocked)

    @noticed_by(QUEUE + "test_resolve_dead")
    def test_nobody_can_read_it(self) -> Patches:
        """What is given up is in no list that a human reads."""

        def unlisted(original: Any) -> Any:
            def write(draft: Any, command: str, key: str, *arguments: Any) -> None:
                if key != draft.keys.dead():
                    original(draft, command, key, *arguments)

            return write

        return Patch("sandbox_billing.adapters.redis.draft.Draft.write", unlisted)
