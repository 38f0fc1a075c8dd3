"""
What users ask for: the intent is stored before Daytona is called, and the work
goes on when the client hangs up (B1, P10).

After the intent stands, every ending is one of: metered, undone, or left to the
reconciler under the intent, because nobody knows yet what Daytona did.

Tests: C{tests.services.test_intake}, C{tests.services.test_intake_create} and
C{tests.services.test_lifecycle}.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from zope.interface import implementer

from sandbox_billing.interfaces import (
    IDoors,
    IIds,
    IIntake,
    IRuntime,
    IWallClock,
    NotReady,
    Sandbox,
)
from sandbox_billing.ledger.account import Account
from sandbox_billing.ledger.identity import Address, Reference
from sandbox_billing.ledger.reconciliation import OWNER_LABEL, RESERVED_LABELS, without_ours
from sandbox_billing.ledger.token import Allowance
from sandbox_billing.services._supervise import Supervisor
from sandbox_billing.services.admission import Admission
from sandbox_billing.services.creating import Creating
from sandbox_billing.services.ending import Ending
from sandbox_billing.services.lifecycle import Lifecycle
from sandbox_billing.services.policy import Policy
from sandbox_billing.services.resizing import Resizing
from sandbox_billing.services.starting import Starting, Under


T = TypeVar("T")

RECONCILE_WAIT_SECONDS = 10


@implementer(IIntake)
@frozen(kw_only=True)
class Intake:
    """
    @ivar supervisor: Keeps the work when its client has gone.
    @ivar clock: Delays while waiting for the worker.
    @ivar snapshots: All that Daytona lists, kept for a while: whoever names one asks it nothing.
    """

    doors: IDoors
    runtime: IRuntime
    admission: Admission
    ids: IIds
    supervisor: Supervisor
    clock: IReactorTime
    wall: IWallClock
    policy: Policy
    snapshots: Callable[[], Awaitable[tuple[Mapping[str, Any], ...]]]

    @property
    def lifecycle(self) -> Lifecycle:
        """What the stories below share."""
        return Lifecycle(
            doors=self.doors,
            runtime=self.runtime,
            admission=self.admission,
            ids=self.ids,
            wall=self.wall,
            policy=self.policy,
            snapshots=self.snapshots,
        )

    async def meet(self, owner: Address) -> Account:
        funds = await self.admission.seen(owner)
        assert funds.account is not None, owner
        return funds.account.value

    async def owned(self, owner: Address, id_or_name: str) -> Sandbox:
        return await self.lifecycle.owned(owner, id_or_name)

    async def create(
        self,
        owner: Address,
        body: Mapping[str, Any],
        *,
        auto_stop_minutes: int | None,
        reference: Reference | None = None,
        allowance: Allowance | None = None,
    ) -> Sandbox:
        creating = Creating(self.lifecycle)
        wish = auto_stop_minutes or None
        work = creating.create(owner, dict(body), wish, reference, allowance)
        return await self._kept("create", owner, work)

    async def start(
        self,
        owner: Address,
        id_or_name: str,
        *,
        reference: Reference | None = None,
        allowance: Allowance | None = None,
    ) -> Sandbox:
        under = Under(reference=reference, allowance=allowance)
        work = Starting(self.lifecycle).start(owner, id_or_name, under)
        return await self._kept("start", owner, work)

    async def recover(
        self,
        owner: Address,
        id_or_name: str,
        *,
        skip_start: bool = False,
        reference: Reference | None = None,
        allowance: Allowance | None = None,
    ) -> Sandbox:
        under = Under(reference=reference, allowance=allowance)
        work = Starting(self.lifecycle).recover(owner, id_or_name, under, skip_start=skip_start)
        return await self._kept("recover", owner, work)

    async def stop(self, owner: Address, id_or_name: str) -> Sandbox:
        return await self._ended("stop", owner, id_or_name, delete=False)

    async def delete(self, owner: Address, id_or_name: str) -> Sandbox:
        return await self._ended("delete", owner, id_or_name, delete=True)

    async def archive(self, owner: Address, id_or_name: str) -> Sandbox:
        work = Ending(self.lifecycle).archive(owner, id_or_name)
        return await self._kept("archive", owner, work)

    async def resize(
        self,
        owner: Address,
        id_or_name: str,
        sizes: Mapping[str, int],
        *,
        allowance: Allowance | None = None,
    ) -> Sandbox:
        work = Resizing(self.lifecycle).resize(owner, id_or_name, dict(sizes), allowance)
        return await self._kept("resize", owner, work)

    async def replace_labels(
        self, owner: Address, id_or_name: str, labels: Mapping[str, str]
    ) -> Sandbox:
        return await self._kept("labels", owner, self._labels(owner, id_or_name, dict(labels)))

    async def reconcile(self, owner: Address, id_or_name: str) -> None:
        shown = await self.owned(owner, id_or_name)
        if await self.doors.record(shown.id) is None:
            # Only its label says whose it is; nobody is billed who is not mirrored.
            await self.lifecycle.admission.funds(owner)
        await self.doors.request_reconcile(shown.id)
        for _ in range(RECONCILE_WAIT_SECONDS * 10):
            if not await self.doors.reconcile_requested(shown.id):
                return
            await deferLater(self.clock, 0.1)
        raise NotReady("the worker has not looked at this sandbox yet; ask again")

    async def _kept(self, name: str, owner: Address, work: Coroutine[Any, Any, T]) -> T:
        return await self.supervisor.detached(name, work, wallet=owner.hex)

    async def _ended(self, name: str, owner: Address, id_or_name: str, *, delete: bool) -> Sandbox:
        """Whoever pays for it can end it, however much others have begun."""
        reserved = not self.supervisor.has_room(owner.hex)
        if reserved:
            # While its client waits: what strangers ask for takes nothing of the reserve.
            await self.owned(owner, id_or_name)
        work = Ending(self.lifecycle).end(owner, id_or_name, delete=delete)
        return await self.supervisor.detached(name, work, wallet=owner.hex, reserved=reserved)

    async def _labels(self, owner: Address, id_or_name: str, labels: dict[str, str]) -> Sandbox:
        shown = await self.owned(owner, id_or_name)
        ours = {name: shown.labels[name] for name in RESERVED_LABELS if name in shown.labels}
        after = await self.runtime.replace_labels(
            shown.id, {**without_ours(labels), **ours, OWNER_LABEL: owner.hex}
        )
        await self.lifecycle.keep_labels(after)
        return after
