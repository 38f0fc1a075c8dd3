"""A5: a lost reply cannot be retried: a second signature makes a second sandbox and fee."""

from __future__ import annotations

from typing import Any

from sandbox_billing.adapters.redis.commit import Read
from tests.simulation.faults import FaultKind
from tests.traps.trap import Death, Patch, Patches, TrapCase, noticed_by


IDEMPOTENCY = "sandbox_billing.web.idempotency."


class WebTests(TrapCase):
    """Keys of requests."""

    @noticed_by(
        "tests.web.test_idempotency.ReplayTests.test_same",
        "tests.web.test_idempotency.ReplayTests.test_all_of_them",
    )
    def test_no_keys(self) -> Patches:
        """A key is not read."""
        return Patch(
            IDEMPOTENCY + "Idempotency.once",
            lambda _: lambda heeding, route, handler, found: handler,
        )

    @noticed_by("tests.web.test_idempotency.ReplayTests.test_other_body")
    def test_any_body(self) -> Patches:
        """Another request under the same key is told the first one's reply."""
        return Patch(IDEMPOTENCY + "digest_of", lambda _: lambda route, asked: "same")

    @noticed_by(
        "tests.web.test_idempotency.UnderWayTests.test_dead_after_opening",
        Death("retry-create", FaultKind.CRASH_AFTER, ("IRuntime.create",)),
    )
    def test_forgets_what_came_of_it(self) -> Patches:
        """After a crash nobody looks what became of the first try."""

        async def spend(records: Any, reference: Any) -> None:
            """Nothing came of it."""

        return Patch(
            "sandbox_billing.adapters.redis.idempotency.RedisIdempotency.spend", lambda _: spend
        )

    @noticed_by(
        "tests.adapters.test_limit_ports.MemoryIdempotencyTests.test_spent",
        "tests.simulation.test_keys.StandingStillTests.test_after_its_hold_is_released",
    )
    def test_the_first_goes_on(self) -> Patches:
        """A process that stood still makes its sandbox after the retry has made another."""

        def blind(original: Any) -> Any:
            async def spend(records: Any, reference: Any) -> Any:
                keys = records.store.keys
                keyspace = records.store.keyspace
                (mark,) = await keyspace.read([Read("GET", keys.spent(reference))])
                return mark.decode() if mark else None

            return spend

        return Patch("sandbox_billing.adapters.redis.idempotency.RedisIdempotency.spend", blind)

    @noticed_by("tests.web.test_idempotency.UnderWayTests.test_client_gone")
    def test_told_to_nobody(self) -> Patches:
        """The reply is remembered where the client waits, who has gone."""

        def attached(original: Any) -> Any:
            def once(heeding: Any, *rest: Any) -> Any:
                from attrs import evolve

                return original(evolve(heeding, detached=lambda _, work, **whose: work), *rest)

            return once

        return Patch(IDEMPOTENCY + "Idempotency.once", attached)
