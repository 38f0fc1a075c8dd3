"""
A charge and what becomes of it: C{NEXT} is the whole of it, and C{docs/settlement.md} draws it.

Whether a signed voucher is sent, unknown or mined is a fact about its batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import TypeAlias

from attrs import evolve, field, frozen

from sandbox_billing.errors import BrokenLaw
from sandbox_billing.ledger.identity import Address, ChargeId, Nonce, SandboxId
from sandbox_billing.ledger.money import Neuron, UnixSeconds


class ChargeKind(Enum):
    """What a charge is for; the units of its usage hash follow from it (wire.md §2)."""

    CREATE = "create"
    COMPUTE = "compute"
    DEBT = "debt"
    IMPORTED = "imported"


@frozen(kw_only=True)
class Charge:
    """
    An amount owed for a period, not yet numbered.

    @ivar id: Derived from what it is for, never random.
    @ivar period_start: unix seconds; equal to the end for a create fee.
    @ivar period_end: unix seconds, not in the period.
    @ivar units: Seconds it charges for: 0 for create fees and debts.
    @ivar amount: neuron.
    @ivar rate: neuron per minute it was rated with; 0 for create fees.
    @ivar usage_hash: 32 bytes, hex, where it was made elsewhere and what it is made of is not
        known (C{IMPORTED}, and what that leaves owed): the time of such a charge is the moment
        of its import.  None: it is the hash of sandbox, period and units.
    """

    id: ChargeId
    sandbox: SandboxId
    owner: Address
    provider: Address
    kind: ChargeKind
    period_start: UnixSeconds
    period_end: UnixSeconds
    units: int
    amount: Neuron
    rate: int
    created_at: UnixSeconds
    usage_hash: str | None = field(default=None, metadata={"added": True, "rare": True})


@frozen(kw_only=True)
class Seal:
    """
    What is bound to a charge for life once it is signed.

    @ivar fee: Equal to the charge's amount; kept because it is what was signed.
    @ivar usage_hash: 32 bytes, hex.
    @ivar signature: 65 bytes, hex.
    """

    nonce: Nonce
    fee: Neuron
    usage_hash: str
    signature: str


@frozen
class Open:
    """Owed; no nonce yet."""


@frozen
class Signed:
    """Numbered and sealed; in a batch, or waiting for the next one."""

    seal: Seal


@frozen
class Parked:
    """Refused for want of an acknowledgement; the seal stays valid and is offered again."""

    seal: Seal


@frozen(kw_only=True)
class Paid:
    """Final: the whole fee moved."""

    seal: Seal
    transaction: str
    block: int


@frozen(kw_only=True)
class Partial:
    """Final: part of the fee moved; C{owed} lives on as the charge C{debt}."""

    seal: Seal
    paid: Neuron
    owed: Neuron
    debt: ChargeId
    transaction: str
    block: int


@frozen(kw_only=True)
class DeadLettered:
    """A human must look."""

    seal: Seal | None
    reason: str


@frozen
class Merged:
    """Final: the charge C{into} collects it together with its neighbours."""

    into: ChargeId


@frozen(kw_only=True)
class Forgiven:
    """
    Final: an operator's decision that nobody pays this any more.

    @ivar seal: What was signed, of a dead letter; None when nothing was.
    @ivar reason: For the books.
    @ivar by: Who decided.
    """

    seal: Seal | None
    reason: str
    by: str
    at: UnixSeconds


ChargeState: TypeAlias = Open | Signed | Parked | Paid | Partial | DeadLettered | Merged | Forgiven

NEXT: Mapping[type[ChargeState], Mapping[type[ChargeState], str]] = MappingProxyType(
    {
        Open: {
            Signed: "the settler numbers and signs it",
            Merged: "its neighbours and it go out as one voucher",
            Forgiven: "an operator writes it off",
        },
        Signed: {
            Signed: "a new key signs the same nonce, fee and hash",
            Paid: "its event says that the whole fee moved",
            Partial: "its event says that a part moved; the rest is a debt",
            Parked: "refused: the user has not acknowledged",
            DeadLettered: "nothing was proven, or it alone is wrong",
            Open: "void: its nonce is proven lost",
        },
        Parked: {Signed: "acknowledged: the same nonce, fee and hash go out again"},
        DeadLettered: {
            Signed: "an operator offers it again: the same nonce, fee and hash",
            Forgiven: "an operator writes it off",
        },
        Paid: {},
        Partial: {},
        Merged: {},
        Forgiven: {},
    }
)
"""From a state to those that may follow, and what has happened then; none: it is final."""


@frozen(kw_only=True)
class Setback:
    """
    Transactions with a signed charge that were mined and settled nothing of it, in a row.

    @ivar times: How many.
    @ivar room: How many vouchers the next one that it is in has at most.
    @ivar until: It is not sent before, unix seconds.
    @ivar fault: What is wrong with our configuration, where that was the reason: nothing is
        settled before it is mended.
    """

    times: int
    room: int
    until: UnixSeconds
    fault: str | None = None


@frozen
class ChargeRecord:
    """
    A charge together with what has become of it: what is stored under the charge's id.

    @ivar voided: Whether it had a seal whose nonce was proven lost: a second time is a human's.
    @ivar setback: Of a signed charge that failed to settle; None: it did not.
    """

    charge: Charge
    state: ChargeState = Open()
    voided: bool = field(default=False, kw_only=True, metadata={"added": True, "rare": True})
    setback: Setback | None = field(
        default=None, kw_only=True, metadata={"added": True, "rare": True}
    )

    @property
    def seal(self) -> Seal | None:
        """What was signed, once it was."""
        return None if isinstance(self.state, Open | Merged) else self.state.seal

    def become(self, state: ChargeState) -> ChargeRecord:
        """
        The record in its next state; as it is, if it is in that one already.

        @raise BrokenLaw: C{NEXT} does not lead there (L6; L5 if the state is final: anybody
            who has a signed voucher might still submit it), or the seal would change (L5).
        """
        before, after = type(self.state), type(state)
        if not NEXT[before]:
            raise BrokenLaw("L5", f"charge {self.charge.id} is final and cannot become {state!r}")
        mine, theirs = self.seal, ChargeRecord(self.charge, state).seal
        if mine is not None and theirs is None:
            raise BrokenLaw("L5", f"charge {self.charge.id} would forget what was signed")
        if state != self.state and after not in NEXT[before]:
            raise BrokenLaw(
                "L6", f"charge {self.charge.id} is {before.__name__} and cannot be {after.__name__}"
            )
        if mine is not None and theirs is not None and not _same_promise(mine, theirs):
            raise BrokenLaw("L5", f"charge {self.charge.id} would be signed a second time")
        if theirs is not None and theirs.fee != self.charge.amount:
            raise BrokenLaw("L5", f"charge {self.charge.id} would be signed for another amount")
        return evolve(self, state=state, setback=self.setback if after is Signed else None)

    def void(self) -> ChargeRecord:
        """
        The charge without its seal: it gets another nonce.

        Only for who has proof that nothing was paid under this one, and never will be.

        @raise BrokenLaw: It is not in a state that leads back, or came back before (L5).
        """
        if Open not in NEXT[type(self.state)]:
            raise BrokenLaw("L5", f"charge {self.charge.id} cannot be void: {self.state!r}")
        if self.voided:
            raise BrokenLaw("L5", f"charge {self.charge.id} would be void a second time")
        return evolve(self, state=Open(), voided=True, setback=None)


SETBACK_SECONDS, SETBACK_SECONDS_AT_MOST = 30, 600
"""How long a charge rests after its first setback; doubled with each, up to so long."""


def set_back(
    record: ChargeRecord, room: int, now: UnixSeconds, jitter: int, fault: str | None = None
) -> ChargeRecord:
    """
    A signed charge after one more transaction that settled nothing of it.

    @param room: Vouchers in the next one, at most.
    @param jitter: From 0 to 255: what stretches the rest by up to a half.
    @param fault: What is wrong with our configuration: then it rests no longer than that,
        unless it seemed mended before.
    """
    times = 1 if record.setback is None else record.setback.times + 1
    rest = min(SETBACK_SECONDS * 2 ** min(times - 1, 16), SETBACK_SECONDS_AT_MOST)
    seconds = 0 if fault and times == 1 else rest + rest * jitter // 512
    setback = Setback(times=times, room=room, until=UnixSeconds(now + seconds), fault=fault)
    return evolve(record, setback=setback)


def _same_promise(one: Seal, other: Seal) -> bool:
    """Nonce, fee and hash; a new signer may sign the same three again (design.md §4.6)."""
    return (one.nonce, one.fee, one.usage_hash) == (other.nonce, other.fee, other.usage_hash)
