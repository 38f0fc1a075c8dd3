"""
What a wallet decides about its own money: its limits, and going on after a top-up.

Tests: C{tests.web.test_controls}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import evolve, field, frozen

from sandbox_billing.errors import BadInput, Refused
from sandbox_billing.interfaces import (
    IControls,
    IDoors,
    IIntake,
    IResumer,
    NoSuchSandbox,
    NotReady,
    NotYours,
    Stale,
    WalletOutlay,
    WalletState,
)
from sandbox_billing.ledger.controls import (
    MOST_LIMIT,
    MOST_LIMITED,
    Controls,
    SandboxLimit,
    changed,
)
from sandbox_billing.ledger.identity import Address, SandboxId, sandbox_id
from sandbox_billing.ledger.money import Neuron, parse_neuron
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web._router import Asked
from sandbox_billing.web.answers import Answer
from sandbox_billing.web.caller import Caller


BODY = (
    'the body is {"auto_resume": true or false, "limits": {"per_day": neuron or null,'
    ' "total": neuron or null, "sandboxes": {id: neuron}}}; what is left out stays as it is'
)
BOUNDED = "a token with a spend limit changes no settings: sign this request, or use another token"
TOO_MANY = f"at most {MOST_LIMITED} sandboxes have a limit of their own"
MOVES = "this wallet's sandboxes begin and end faster than that can be counted: ask again"

NOT_OWNED = "no such sandbox: {} is the id of none of this wallet's; no limit was changed"

TRIES = 5


def read_settings(asked: Any, before: Controls) -> Controls:
    """
    @param before: What is left out stays as it is there.
    @raise BadInput: The body is none of settings.
    """
    if not isinstance(asked, dict) or not set(asked) <= {"auto_resume", "limits"}:
        raise BadInput(BODY)
    auto_resume, limits = asked.get("auto_resume", before.auto_resume), asked.get("limits", {})
    if not isinstance(auto_resume, bool) or not isinstance(limits, dict):
        raise BadInput(BODY)
    if not set(limits) <= {"per_day", "total", "sandboxes"}:
        raise BadInput(BODY)
    after = evolve(before, auto_resume=auto_resume)
    if "per_day" in limits:
        after = evolve(after, per_day=_amount(limits["per_day"], "per_day"))
    if "total" in limits:
        after = evolve(after, total=_amount(limits["total"], "total"))
    if "sandboxes" in limits:
        after = evolve(after, sandboxes=_sandboxes(limits["sandboxes"]))
    return after


def _amount(told: Any, name: str) -> Neuron | None:
    if told is None:
        return None
    if not isinstance(told, str):
        raise BadInput(f"{name} is an amount in neuron, as a decimal string, or null")
    amount = parse_neuron(told)
    if amount > MOST_LIMIT:
        raise BadInput(f"{name} is at most 2^128 neuron, or null for no limit")
    return amount


def _sandboxes(told: Any) -> tuple[SandboxLimit, ...]:
    if told is None:
        return ()
    if not isinstance(told, dict):
        raise BadInput(BODY)
    if len(told) > MOST_LIMITED:
        raise BadInput(TOO_MANY)
    found = []
    for name in sorted(told):
        limit = _amount(told[name], "a sandbox's limit")
        if limit is not None:
            found.append(SandboxLimit(sandbox_id(name), limit))
    return tuple(found)


def _text(amount: Neuron | None) -> str | None:
    return None if amount is None else str(amount)


def _shown(controls: Controls) -> dict[str, Any]:
    return {
        "auto_resume": controls.auto_resume,
        "limits": {
            "per_day": _text(controls.per_day),
            "total": _text(controls.total),
            "sandboxes": {each.sandbox: str(each.limit) for each in controls.sandboxes},
        },
    }


@frozen(kw_only=True)
class MoneyControls:
    """
    The routes below C{/api/account} that change something.
    """

    controls: IControls = field(validator=provides(IControls))
    doors: IDoors = field(validator=provides(IDoors))
    intake: IIntake = field(validator=provides(IIntake))
    resumer: IResumer = field(validator=provides(IResumer))

    async def show(self, asked: Asked) -> Answer:
        """As they may be sent back."""
        return Answer(document=_shown(await self.controls.controls(asked.wallet)))

    async def change(self, asked: Asked) -> Answer:
        """In force at once, for what runs, too."""
        _check_unbounded(asked.known)
        for _ in range(TRIES):
            found = await self._outlay(asked.wallet)
            outlay = found.outlay
            wished = read_settings(asked.body, outlay.controls)
            await self._check_owned(asked.wallet, outlay.controls, wished)
            after = changed(outlay.controls, wished, spent=outlay.spent_for_good(), now=outlay.at)
            try:
                await self.controls.change(found, after)
            except Stale:
                continue
            return Answer(document=_shown(after))
        raise NotReady(MOVES, 1)

    async def _outlay(self, wallet: Address) -> WalletOutlay:
        """@raise NotReady: It moved while it was read, again and again."""
        try:
            return await self.controls.outlay(wallet)
        except Stale as why:
            raise NotReady(MOVES, 1) from why

    async def _check_owned(self, wallet: Address, before: Controls, after: Controls) -> None:
        """
        A limit under a mistyped id, or a name, would bound nothing, and nobody would notice.

        One that stands already may be of a sandbox that is gone since: it is not asked for again.

        @raise NoSuchSandbox: A limit is new, and its sandbox none of the wallet's.
        """
        known = {each.sandbox for each in before.sandboxes}
        for each in after.sandboxes:
            if each.sandbox not in known and not await self._owns(wallet, each.sandbox):
                raise NoSuchSandbox(NOT_OWNED.format(each.sandbox))

    async def _owns(self, wallet: Address, sandbox: SandboxId) -> bool:
        """By our own record, which outlives the sandbox; else Daytona says."""
        record = await self.doors.record(sandbox)
        if record is not None:
            return record.owner == wallet
        try:
            return (await self.intake.owned(wallet, sandbox)).id == sandbox
        except (NoSuchSandbox, NotYours):
            return False

    async def resume(self, asked: Asked) -> Answer:
        """Each by itself: what starts, and why the others do not."""
        done = await self.resumer.resume(asked.wallet, asked.known.allowance)
        return Answer(document={"resumed": list(done.resumed), "failed": dict(done.failed)})

    async def of_account(self, wallet: Address, state: WalletState) -> Mapping[str, Any]:
        """What an account tells of them, with what was spent."""
        outlay = (await self._outlay(wallet)).outlay
        told, spent = outlay.controls, {bound.sandbox: bound.spent() for bound in outlay.bounds()}
        waiting = await self.controls.resumable(wallet)
        return {
            "limits": {
                "per_day": _text(told.per_day),
                "spent_today": str(outlay.spent_today()),
                "total": _text(told.total),
                "spent_total": None
                if told.total is None
                else str(max(0, outlay.spent() - told.total_base)),
                "sandboxes": {
                    each.sandbox: {
                        "limit": str(each.limit),
                        "spent": str(spent[SandboxId(each.sandbox)]),
                    }
                    for each in told.sandboxes
                },
            },
            "auto_resume": told.auto_resume,
            "grace_since": state.funds.dry_since,
            "waiting_to_resume": [each.sandbox for each in waiting],
        }


def _check_unbounded(caller: Caller) -> None:
    """Whoever is bounded by a wallet does not lift its bounds."""
    if caller.allowance is not None:
        raise Refused(BOUNDED)
