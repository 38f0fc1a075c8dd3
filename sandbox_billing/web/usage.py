"""
What a wallet was charged for any time, and what one sandbox ran and cost.

Whatever is asked, no more is held than its rows: a wallet may have charges in the hundreds of
thousands.  One statement of a wallet is made at a time.

Tests: C{tests.web.test_usage}.
"""

from __future__ import annotations

import csv
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from contextlib import aclosing
from io import StringIO
from itertools import islice
from typing import Any, TypeVar

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import (
    IDoors,
    IHistory,
    IIntake,
    IRuntime,
    IWallClock,
    NotYours,
    SandboxHistory,
    TooMany,
)
from sandbox_billing.ledger.identity import Address, SandboxId, sandbox_id
from sandbox_billing.ledger.reconciliation import OWNER_LABEL, without_ours
from sandbox_billing.ledger.run import Derived, Run, Told, Transition, transitions
from sandbox_billing.ledger.statement import Amounts, Entry, Group, Statement
from sandbox_billing.ledger.voucher import ChargeKind
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web._router import Asked
from sandbox_billing.web.answers import Answer
from sandbox_billing.web.payloads import whole


_T = TypeVar("_T")

DAY_SECONDS = 86_400
USUAL_DAYS = 30
MOST_DAYS = 366

MOST_RUNS = 10_000
"""
Of one sandbox in one answer, whether written down or made out from charges: with what they
tell of its states some three and a half megabytes.
"""

_RUNS_AT_ONCE = 1_000
"""Put into an answer in one step: some ten milliseconds of ours."""

_LATEST = 10**11
_COLUMNS = (
    *("seconds", "compute", "create_fees", "charged"),
    *("settled", "owed", "pending", "forgiven"),
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_MOST_LABEL = 256


@frozen(kw_only=True)
class Usage:
    """
    Statements; nobody sees another wallet's, and the owner of a sandbox sees it after its end.

    @ivar clock: Lets others have their turn.
    @ivar busy: Wallets whose statement is being made.
    """

    history: IHistory = field(validator=provides(IHistory))
    doors: IDoors = field(validator=provides(IDoors))
    intake: IIntake = field(validator=provides(IIntake))
    runtime: IRuntime = field(validator=provides(IRuntime))
    wall: IWallClock = field(validator=provides(IWallClock))
    clock: IReactorTime = field(validator=provides(IReactorTime))
    busy: set[Address] = field(factory=set, repr=False)

    async def show(self, asked: Asked) -> Answer:
        """Rows by sandbox, day or label, as JSON or CSV."""
        as_csv = _wants_csv(asked)
        group, label = _group_of(asked.query)
        since, until = self._span(asked.query, USUAL_DAYS)
        statement = Statement(since=since, until=until, group=group)
        await self._add_up(asked.wallet, statement)
        rows: Mapping[str, Amounts] = statement.rows
        if group is Group.LABEL:
            labels = await self._labels(asked.wallet, map(SandboxId, rows), label)
            rows = statement.labelled(labels)
        if as_csv:
            return _csv_answer(group, rows)
        return Answer(
            document={
                "wallet": checksum(asked.wallet),
                "from": since,
                "to": until,
                "group": group.value,
                "totals": _told(statement.totals),
                "rows": [{"key": key, **_told(rows[key])} for key in sorted(rows)],
            }
        )

    async def show_sandbox(self, asked: Asked) -> Answer:
        """Its runs and what became of it, while there is a record of it."""
        since, until = self._span(asked.query, MOST_DAYS)
        sandbox = await self._owned(asked.wallet, asked.id)
        ran = await self.history.ran(sandbox, since=since, most=MOST_RUNS)
        statement = Statement(since=since, until=until)
        found = () if ran is None else ran.runs
        begun = [run for run in found if _begun(run)[0] <= until]
        others = await self._add_up(asked.wallet, statement, (sandbox, ran), MOST_RUNS - len(begun))
        runs = sorted([*begun, *others], key=_begun)
        ended = None if ran is None or any(r.ended_at is None for r in runs) else ran.destroyed_at
        return Answer(
            document={
                "sandbox": sandbox,
                "owner": checksum(asked.wallet),
                "from": since,
                "to": until,
                "totals": _told(statement.totals),
                "runs": await self._turns(map(_run, runs)),
                "transitions": await self._turns(map(_transition, transitions(runs, ended))),
            }
        )

    async def _turns(self, many: Iterable[_T]) -> list[_T]:
        """All of them, made a thousand at a time."""
        left, found = iter(many), list[_T]()
        while some := list(islice(left, _RUNS_AT_ONCE)):
            found += some
            if len(some) == _RUNS_AT_ONCE:
                await deferLater(self.clock, 0)
        return found

    def _span(self, query: Mapping[str, str], usual_days: int) -> tuple[int, int]:
        until = whole(query, "to", self.wall.now(), least=0, most=_LATEST)
        usual = max(0, until - usual_days * DAY_SECONDS)
        since = whole(query, "from", usual, least=0, most=_LATEST)
        if not 0 <= until - since <= MOST_DAYS * DAY_SECONDS:
            raise BadInput(f"from must not be after to, nor more than {MOST_DAYS} days before it")
        return since, until

    async def _add_up(
        self,
        wallet: Address,
        statement: Statement,
        only: tuple[SandboxId, SandboxHistory | None] | None = None,
        most: int = 0,
    ) -> list[Run]:
        """
        @param only: One sandbox, as far as its history goes.
        @param most: Runs that are returned.
        @return: Of that, runs made out from those charges that no run tells of.
        @raise BadInput: There are more.
        """
        if wallet in self.busy:
            raise TooMany("a statement of this wallet is being made: ask again when it is there", 1)
        sandbox, ran = (None, None) if only is None else only
        told, untold = Told.by(() if ran is None else ran.runs), Derived()
        self.busy.add(wallet)
        try:
            span = {"since": statement.since, "until": statement.until}
            async with aclosing(self.history.entries(wallet, **span, sandbox=sandbox)) as slices:
                async for entry in _each(slices):
                    charge = entry.charge
                    compute = charge.kind is ChargeKind.COMPUTE
                    if compute and ran is not None and charge.period_start >= ran.charged_until:
                        # Made after its runs were read.
                        continue
                    statement.add(entry)
                    if sandbox is not None and compute and not told.has(charge):
                        if charge.period_end > statement.since:
                            untold.add(entry.whole)
                        if len(untold.runs) > most:
                            raise BadInput(f"more than {MOST_RUNS} runs: ask for a later beginning")
        finally:
            self.busy.discard(wallet)
        return untold.runs

    async def _labels(
        self, wallet: Address, sandboxes: Iterable[SandboxId], label: str
    ) -> Mapping[SandboxId, str]:
        """
        Daytona's word for those that are there, and ours for those that are gone; ours for all
        while Daytona does not answer.
        """
        known = dict(await self.history.labels(list(sandboxes)))
        try:
            living = await self.runtime.labelled(OWNER_LABEL, wallet.hex)
        except (Refused, Transient, UnknownOutcome):
            living = ()
        known |= {one.id: without_ours(one.labels) for one in living}
        return {sandbox: own[label] for sandbox, own in known.items() if label in own}

    async def _owned(self, wallet: Address, id_or_name: str) -> SandboxId:
        """By our own record, which outlives the sandbox; a name is Daytona's to resolve."""
        try:
            record = await self.doors.record(sandbox_id(id_or_name))
        except BadInput:
            record = None
        if record is None:
            return (await self.intake.owned(wallet, id_or_name)).id
        if record.owner != wallet:
            raise NotYours("this sandbox belongs to another wallet")
        return record.sandbox


async def _each(slices: AsyncIterable[tuple[Entry, ...]]) -> AsyncGenerator[Entry, None]:
    async for some in slices:
        for entry in some:
            yield entry


def _wants_csv(asked: Asked) -> bool:
    wanted = asked.query.get("format")
    if wanted is None:
        return asked.accept.split(",")[0].split(";")[0].strip().lower() == "text/csv"
    if wanted not in ("json", "csv"):
        raise BadInput("format must be json or csv")
    return wanted == "csv"


def _group_of(query: Mapping[str, str]) -> tuple[Group, str]:
    label = query.get("label", "")
    try:
        group = Group(query.get("group", Group.SANDBOX.value))
    except ValueError as why:
        raise BadInput("group must be sandbox, day or label") from why
    if (group is Group.LABEL) != bool(label) or len(label) > _MOST_LABEL:
        raise BadInput("label names the label to group by: with group=label, and only there")
    return group, label


def _told(amounts: Amounts) -> dict[str, Any]:
    return {
        "seconds": amounts.seconds,
        "compute": str(amounts.compute),
        "create_fees": str(amounts.create_fees),
        "charged": str(amounts.charged),
        "settled": str(amounts.settled),
        "owed": str(amounts.owed),
        "pending": str(amounts.pending),
        "forgiven": str(amounts.forgiven),
    }


def _csv_answer(group: Group, rows: Mapping[str, Amounts]) -> Answer:
    text = StringIO()
    writer = csv.writer(text)
    writer.writerow((group.value, *_COLUMNS))
    for key in sorted(rows):
        told = _told(rows[key])
        writer.writerow((_harmless(key), *(told[name] for name in _COLUMNS)))
    headers = {
        "Content-Type": "text/csv; charset=utf-8; header=present",
        "Content-Disposition": f'attachment; filename="usage-by-{group.value}.csv"',
    }
    return Answer(raw=text.getvalue().encode("utf-8"), headers=headers)


def _harmless(key: str) -> str:
    """Spreadsheets carry out what begins like a formula; a quote makes a text of it."""
    return f"'{key}" if key.startswith(_FORMULA) else key


def _begun(run: Run) -> tuple[int, int]:
    return run.opened_at if run.started_at is None else run.started_at, run.opened_at


def _run(run: Run) -> dict[str, Any]:
    size = run.resources
    told = {
        "reference": run.reference,
        "opened_at": run.opened_at,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "seconds": run.seconds,
        "cpu": None if size is None else size.cpu,
        "memory_gib": None if size is None else size.memory_gib,
        "disk_gib": None if size is None else size.disk_gib,
        "rate_per_minute": str(run.rate),
        "cost": str(run.cost),
        "open": run.ended_at is None,
    }
    return {**told, "derived": True} if run.derived else told


def _transition(one: Transition) -> dict[str, Any]:
    return {"at": one.at, "state": one.state, "why": one.why or None}
