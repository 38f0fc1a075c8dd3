"""K13: users can leave before the first voucher lands."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from tests.evm.flaws import of_row
from tests.evm.flaws.standing import StandingCase
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


class ContractTests(StandingCase):
    """Builds of the contract that have it."""

    def test_noticed(self) -> None:
        """A refund without its lock turns the tests red."""
        self.assert_noticed(of_row("K13"))


class DaemonTests(TrapCase):
    """What the daemon makes of the lock."""

    @noticed_by("tests.test_startup.ContractTests.test_lock")
    def test_at_the_start(self) -> Patches:
        """The daemon starts with intervals longer than the lock."""

        def lenient(original: Any) -> Any:
            def contract_problems(facts: Any, *rest: Any) -> Any:
                return original(evolve(facts, lock_seconds=10 * facts.lock_seconds), *rest)

            return contract_problems

        return Patch("sandbox_billing.startup.contract_problems", lenient)

    @noticed_by("tests.services.test_backlog.BehindTests.test_closes_and_opens")
    def test_while_it_runs(self) -> Patches:
        """It lets in though its settlement is behind the lock."""
        return Patch(
            "sandbox_billing.services.admission.overdue",
            lambda _: lambda settled_until, now, **seconds: False,
        )

    @noticed_by("tests.services.test_settler.SettlerTests.test_refund_request_is_urgent")
    def test_at_a_request(self) -> Patches:
        """Small sums wait although their user has asked for his money."""

        def calm(original: Any) -> Any:
            def settle_at(queue: Any, policy: Any) -> Any:
                account = evolve(queue.account.value, pending_refund=0)
                return original(evolve(queue, account=evolve(queue.account, value=account)), policy)

            return settle_at

        return Patch("sandbox_billing.services.settler.settle_at", calm)
