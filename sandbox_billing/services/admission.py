"""
Whether a wallet may run something: the one place that says so.

Admit when the provider is registered and stays, the wallet has acknowledged, has
no debt, is not blocked, and its funds cover everything it owes and the new hold
(design.md §4.1).  A pending refund is never counted as funds.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve, frozen

from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import (
    CannotPay,
    DoorState,
    IDoors,
    IWallClock,
    NotReady,
    SpendLimitReached,
    Stale,
    Stored,
    TooMany,
    WalletFunds,
)
from sandbox_billing.ledger.account import Account, Behaviour, Mirror
from sandbox_billing.ledger.backlog import overdue
from sandbox_billing.ledger.hold import Exposure, Intent, covers, hold_for
from sandbox_billing.ledger.identity import Address, Reference, SandboxId, create_charge_id
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds, neuron
from sandbox_billing.ledger.rating import RateCard, card_in_force, rate_of
from sandbox_billing.ledger.resources import Resources
from sandbox_billing.ledger.voucher import Charge, ChargeKind
from sandbox_billing.services._lookup import Lookup
from sandbox_billing.services.allowed import Allowed
from sandbox_billing.services.policy import Policy


TRIES = 5

PAUSED_SECONDS = 30
"""When to ask again under a pause: it lasts until a batch or two are final."""

RETRY_SECONDS = 60
"""When to ask again for a slot: nobody knows when one of the wallet's sandboxes ends."""


@frozen(kw_only=True)
class Quote:
    """
    What running something would take.

    @ivar rate: neuron per minute.
    @ivar create_fee: neuron; 0 unless something is created.
    @ivar hold: neuron to set aside.
    """

    card: RateCard
    rate: NeuronPerMinute
    create_fee: Neuron
    hold: Neuron


@frozen(kw_only=True)
class Admission:
    """
    @ivar lookup: For a wallet that is not mirrored yet, at the mirror's block.
    """

    doors: IDoors
    lookup: Lookup
    wall: IWallClock
    policy: Policy

    async def mirror(self) -> Stored[Mirror]:
        """
        The chain as we know it.

        @raise NotReady: We do not know it well enough for money, or admissions are closed.
        """
        mirror = await self._known()
        if self.wall.now() - mirror.value.updated_at > self.policy.mirror_max_age:
            raise NotReady("not ready: the chain has not answered for a while")
        if mirror.value.leaving_at is not None:
            raise NotReady("this provider is leaving and takes no new work")
        return mirror

    async def check_open(self) -> DoorState:
        """
        @raise NotReady: Nothing new is let in for now, whoever asks.
        """
        state = await self.doors.door_state()
        if state.pause is not None:
            raise NotReady(
                f"admissions are paused: {state.pause.value.reason}; what runs goes on",
                PAUSED_SECONDS,
            )
        if state.settled_until is None:
            raise NotReady("not ready: what is settled has not been looked at yet")
        if overdue(
            state.settled_until,
            self.wall.now(),
            lock_seconds=self.policy.lock_time,
            interval_seconds=self.policy.voucher_interval,
        ):
            raise NotReady(
                "admissions are closed: settlement is behind, and nothing new may run unpaid",
                PAUSED_SECONDS,
            )
        if unswept(state.swept_at, self.wall.now(), self.policy):
            raise NotReady(
                "not ready: Daytona's list has not been seen for a while, and what nobody sees"
                " run cannot be metered",
                PAUSED_SECONDS,
            )
        return state

    @property
    def allowed(self) -> Allowed:
        """What limits let it spend."""
        return Allowed(doors=self.doors, wall=self.wall, stop_delay=self.policy.stop_delay)

    async def _known(self) -> Stored[Mirror]:
        """
        The chain as we knew it last: enough for what runs already and must be metered,
        though nothing new may be let in on it.

        @raise NotReady: There is no price to be known.
        """
        mirror = await self.doors.mirror()
        if mirror is None:
            raise NotReady("not ready: the chain has not been read yet")
        if mirror.value.service is None:
            raise NotReady("not ready: this provider is not registered on the contract")
        return mirror

    async def quote(self, owner: Address, resources: Resources, *, creating: bool) -> Quote:
        """
        What a sandbox of this size takes; whether it may be had is C{reserve}'s to say.

        @raise Refused: It cannot be had at any price.
        """
        service = (await self._known()).value.service
        assert service is not None
        card = card_in_force(service.prices, self.policy.prices, service.signer_version)
        fee = card.prices.create_fee if creating else Neuron(0)
        return self._quote(card, resources, fee)

    async def funds(self, owner: Address) -> WalletFunds:
        """A wallet's account and exposure; a new wallet is mirrored first."""
        return await self._funds(owner, lambda account: True)

    async def seen(self, owner: Address) -> WalletFunds:
        """
        The same for who only looks: a wallet without anything to collect is read and not
        mirrored.  Keys cost nothing, and what is mirrored stays.
        """
        return await self._funds(owner, lambda account: account.collectable > 0)

    async def _funds(self, owner: Address, kept: Callable[[Account], bool]) -> WalletFunds:
        """@param kept: Which new wallets are mirrored."""
        for _ in range(TRIES):
            funds = await self.doors.funds(owner)
            if funds.account is not None:
                return funds
            mirror = await self._known()
            account = await self.lookup.account(owner, mirror.value.block)
            if not kept(account):
                return evolve(funds, account=Stored(account, b""))
            try:
                await self.doors.add_account(mirror, account)
            except Stale:
                continue
        raise NotReady("not ready: the chain moves faster than it can be read")

    async def reserve(self, intent: Intent, quote: Quote, *, growing: bool = False) -> None:
        """
        Store an intent with its hold, or say why not and store nothing.

        @param growing: It belongs to one that was let in already.
        @raise CannotPay: With the reason as code.
        @raise TooMany: The wallet runs as many as it may.
        @raise SpendLimitReached: The token it is asked with may not cause so much, or a limit
            that its wallet has set.
        @raise NotReady: The chain is not known well enough, the provider is leaving, or
            nothing new is let in (K13, K21).
        """
        behaviour = (await self.mirror()).value.behaviour
        for _ in range(TRIES):
            if not growing:
                self._check_rows(intent, await self.check_open())
            # Whoever has not acknowledged goes no further, and need not be mirrored for that.
            funds = await self._funds(
                intent.owner, lambda account: account.acknowledged or account.collectable > 0
            )
            assert funds.account is not None, funds.wallet
            account = funds.account.value
            self._check_standing(funds, account, quote)
            try:
                exposure = await self.doors.reserve(intent, funds, while_paused=growing)
            except Stale:
                continue
            try:
                self._check_money(account, behaviour, exposure, quote.hold, included=True)
                self._check_count(exposure)
                await self.allowed.check(intent, quote.hold)
            except (CannotPay, TooMany, SpendLimitReached, Transient):
                await self.doors.release(intent)
                raise
            return
        raise NotReady("not ready: this wallet's account keeps changing")

    async def why_not(self, owner: Address, quote: Quote) -> CannotPay | None:
        """The same questions without a reservation; None when it would be admitted."""
        funds = await self.funds(owner)
        assert funds.account is not None, funds.wallet
        account = funds.account.value
        try:
            self._check_standing(funds, account, quote)
            behaviour = (await self._known()).value.behaviour
            self._check_money(account, behaviour, funds.exposure, quote.hold, included=False)
        except CannotPay as why:
            return why
        return None

    async def grow(self, intent: Intent, resources: Resources) -> Intent | None:
        """
        Set aside what the allotted size takes beyond what was asked for.

        @return: A second intent for the rest, to be released once the session is open;
            None when nothing more is needed.
        @raise CannotPay: It does not fit; nothing was stored.
        @raise SpendLimitReached: Likewise.
        @raise Refused: That size has no price.
        """
        allotted = self.quote_on(intent, resources)
        if allotted.hold <= intent.hold:
            return None
        rest = neuron(allotted.hold - intent.hold)
        more = evolve(intent, reference=Reference(f"{intent.reference}-more"), hold=rest)
        try:
            await self.reserve(more, evolve(allotted, hold=rest), growing=True)
        except CannotPay as why:
            others = neuron(why.exposure - intent.hold)
            raise evolve(why, required=allotted.hold, exposure=others) from why
        except SpendLimitReached as why:
            others = neuron(why.reserved - intent.hold)
            raise evolve(why, required=allotted.hold, reserved=others) from why
        return more

    def quote_on(self, intent: Intent, resources: Resources) -> Quote:
        """
        What a size takes on the card of an intent: the wallet was admitted on no other.

        @raise Refused: It cannot be had at any price.
        """
        card = RateCard(prices=intent.prices, signer_version=intent.signer_version)
        return self._quote(card, resources, intent.create_fee)

    def _quote(self, card: RateCard, resources: Resources, fee: Neuron) -> Quote:
        rate = rate_of(card, resources)
        hold = hold_for(
            rate, fee, interval=self.policy.voucher_interval, stop_delay=self.policy.stop_delay
        )
        return Quote(card=card, rate=rate, create_fee=fee, hold=hold)

    def session_for(self, intent: Intent, sandbox: SandboxId, resources: Resources) -> Session:
        """
        The session that ends an intent, at the price of what was allotted.

        @raise Refused: That size has no price.
        """
        return opened(
            sandbox=sandbox,
            owner=intent.owner,
            reference=intent.reference,
            resources=resources,
            quote=self.quote_on(intent, resources),
            policy=self.policy,
            now=self.wall.now(),
            auto_stop_minutes=intent.auto_stop_minutes,
        )

    def _check_standing(self, funds: WalletFunds, account: Account, quote: Quote) -> None:
        now = self.wall.now()

        def refuse(text: str, code: str) -> CannotPay:
            return CannotPay(
                text=text,
                code=code,
                balance=account.balance,
                required=quote.hold,
                exposure=funds.exposure.total(now),
            )

        if not account.acknowledged:
            raise refuse("TEE signer not acknowledged", "not_acknowledged")
        if funds.exposure.in_debt:
            raise refuse("insufficient balance", "debt")
        if funds.blocked is not None or funds.dry_since is not None:
            raise refuse("insufficient balance", "blocked")

    def _check_rows(self, intent: Intent, state: DoorState) -> None:
        if intent.action == "create" and intent.owner.hex in state.crowded:
            raise TooMany(
                f"a wallet may keep {self.policy.max_rows} sandboxes, those that are stopped or"
                " failed among them: delete one first",
                RETRY_SECONDS,
            )

    def _check_count(self, exposure: Exposure) -> None:
        """On what the reservation returned: two at once may both be refused, never both let in."""
        most = self.policy.max_sandboxes
        if exposure.count() > most:
            raise TooMany(
                f"a wallet may run {most} sandboxes at once: stop one first", RETRY_SECONDS
            )

    def _check_money(
        self,
        account: Account,
        behaviour: Behaviour,
        exposure: Exposure,
        hold: Neuron,
        *,
        included: bool,
    ) -> None:
        exposed = exposure.total(self.wall.now())
        others = neuron(exposed - hold) if included else exposed
        if not covers(account.spendable(behaviour), self.policy.loss_cap, neuron(others + hold)):
            raise CannotPay(
                text="insufficient balance",
                code="insufficient_balance",
                balance=account.balance,
                required=hold,
                exposure=others,
            )


def unswept(swept_at: int | None, now: UnixSeconds, policy: Policy) -> bool:
    """Whether nobody has seen for too long what runs: what starts now would run for nothing."""
    return swept_at is None or now - swept_at > policy.sweep_max_age


def opened(
    *,
    sandbox: SandboxId,
    owner: Address,
    reference: Reference,
    resources: Resources,
    quote: Quote,
    policy: Policy,
    now: UnixSeconds,
    auto_stop_minutes: int | None,
) -> Session:
    """
    A session as it opens; nothing accrues before it was seen running.

    Its hold is the running part alone: the create fee is a charge of its own by then.
    """
    return Session(
        sandbox=sandbox,
        owner=owner,
        provider=policy.provider,
        reference=reference,
        resources=resources,
        rate=quote.rate,
        signer_version=quote.card.signer_version,
        opened_at=now,
        started_at=None,
        charged_until=now,
        changed_at=now,
        hold=neuron(quote.hold - quote.create_fee),
        auto_stop_minutes=auto_stop_minutes,
    )


def create_charge(intent: Intent, sandbox: SandboxId, now: UnixSeconds) -> Charge | None:
    """
    The create fee of an intent; None when creating is free.  That of a start is what was
    forgiven because it failed, and is due when it is made to run.
    """
    if intent.create_fee == 0:
        return None
    return Charge(
        id=create_charge_id(sandbox),
        sandbox=sandbox,
        owner=intent.owner,
        provider=intent.provider,
        kind=ChargeKind.CREATE,
        period_start=now,
        period_end=now,
        units=0,
        amount=intent.create_fee,
        rate=0,
        created_at=now,
    )
