"""
The ports: every interface between the rooms of the daemon.

A method says what a stranger must know to call it or to implement it: what it
stores at once, whether it may be repeated, and who catches what it raises.  All
of them may raise L{Transient} (it did not happen) and, where they write,
L{UnknownOutcome} (it may have happened); only others are named.

Journal ports share three rules.  One method is one business fact and one atomic
write.  What was read before is handed back as a L{Stored} and compared as a
whole: if it has changed, nothing is written and L{Stale} is raised, so that the
caller reads and decides again.  Repeating a fact that is already stored just so
is success without effect.  I{Worker} methods also carry the lease's fencing
token and raise L{LeaseLost} under an old one; I{door} methods run in any process.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Generic, TypeVar

from attrs import field, frozen
from zope.interface import Attribute, Interface, implementer

from sandbox_billing.errors import Refused, Transient
from sandbox_billing.ledger.account import (
    Account,
    Behaviour,
    BlockRef,
    Mirror,
    ServiceRecord,
    Settlement,
)
from sandbox_billing.ledger.audit import AuditEntry
from sandbox_billing.ledger.backlog import Claim, Pause
from sandbox_billing.ledger.batch import Attempt, Batch
from sandbox_billing.ledger.controls import Controls, Outlay, Resumable, Which
from sandbox_billing.ledger.dead_letter import DeadLetter
from sandbox_billing.ledger.deployed import Race
from sandbox_billing.ledger.hold import Exposure, Intent
from sandbox_billing.ledger.idempotency import Remembered
from sandbox_billing.ledger.identity import (
    Address,
    BatchId,
    ChargeId,
    Nonce,
    Reference,
    SandboxId,
)
from sandbox_billing.ledger.metering import Session, Tick
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.notice import Notice, Numbered
from sandbox_billing.ledger.order import Order, OrderId, Piece
from sandbox_billing.ledger.overview import Difference, Hour, Purse, QueueCount
from sandbox_billing.ledger.receipt import BatchProof
from sandbox_billing.ledger.reconciliation import Unread
from sandbox_billing.ledger.resources import Resources
from sandbox_billing.ledger.run import Run
from sandbox_billing.ledger.second_look import Resolution
from sandbox_billing.ledger.spending import Spending
from sandbox_billing.ledger.statement import Entry
from sandbox_billing.ledger.token import Allowance, Token, TokenId
from sandbox_billing.ledger.totals import Totals
from sandbox_billing.ledger.voucher import Charge, ChargeRecord, Forgiven, Seal
from sandbox_billing.ledger.warning import Picture, Told
from sandbox_billing.ledger.webhook import Standing, Webhook, WebhookId
from sandbox_billing.measures import Measure


T = TypeVar("T")

NOTHING = Neuron(0)


@frozen
class Stored(Generic[T]):
    """
    A value together with its exact stored form.

    @ivar raw: What a script compares; opaque to everybody but the journal.
    """

    value: T
    raw: bytes = field(repr=False)


@frozen(auto_exc=False)
class Stale(Transient):
    """What was read has changed since; nothing was written; read again and decide again."""


@frozen(auto_exc=False)
class LeaseLost(Transient):
    """
    This process is no longer the worker; nothing was written.

    Caught by the supervisor, which ends the worker's services until the lease is back.
    """


# --- time, randomness ---------------------------------------------------------------


class IWallClock(Interface):
    """What time it is, for stamps and expiries; delays use C{IReactorTime}."""

    def now() -> UnixSeconds:
        """Whole seconds since 1970, rounded down: no later than this moment."""

    def after() -> UnixSeconds:
        """
        Whole seconds since 1970, rounded up: no earlier than this moment.

        A run begins with it and ends with C{now}: a second that ran in part is nobody's.
        """


class IIds(Interface):
    """Identifiers nobody can guess."""

    def reference() -> Reference:
        """A new, unique reference: lower-case letters, digits and hyphens, at most 40."""

    def batch() -> BatchId:
        """A new, unique batch id, of the same letters."""


# --- measuring ----------------------------------------------------------------------


class IMeasures(Interface):
    """
    What is measured: figures for whoever watches, on which nothing here rests.

    Safe in any thread.  Nothing raises: what is measured wrongly is lost, and a test finds it
    (C{adapters.memory.measures} does raise).
    """

    def count(measure: Measure, amount: int = 1, **labels: str) -> None:
        """@param amount: How many more; never negative."""

    def observe(measure: Measure, value: float, **labels: str) -> None:
        """One more value of a histogram."""

    def set(measure: Measure, value: float, **labels: str) -> None:
        """What a gauge shows from now on."""

    def forget(*measures: Measure) -> None:
        """Gauges that show nothing until they are set again."""


@implementer(IMeasures)
@frozen
class Unmeasured:
    """Nobody watches, and nothing is kept: what services are made with unless they are told."""

    def count(self, measure: Measure, amount: int = 1, **labels: str) -> None:
        """Nothing."""

    def observe(self, measure: Measure, value: float, **labels: str) -> None:
        """Nothing."""

    def set(self, measure: Measure, value: float, **labels: str) -> None:
        """Nothing."""

    def forget(self, *measures: Measure) -> None:
        """Nothing."""


UNMEASURED: IMeasures = Unmeasured()


# --- the journal: doors -------------------------------------------------------------


@frozen(kw_only=True)
class WalletFunds:
    """
    Everything an admission or a stop decision rests on, for one wallet.

    @ivar account: None when the wallet is not mirrored yet.
    @ivar revision: Changes with every write to the exposure.
    @ivar blocked: Why the wallet may not run anything; None when it may.
    @ivar dry_since: Since when its own money has ended and it is in its grace: nothing more may
        be begun.
    """

    wallet: Address
    account: Stored[Account] | None
    exposure: Exposure
    revision: bytes
    blocked: str | None
    dry_since: UnixSeconds | None = None


@frozen(kw_only=True)
class SandboxRecord:
    """
    What outlives a session (30 days after the sandbox is destroyed).

    @ivar charged_until: No period before this moment may ever be charged again.
    @ivar create_charged: Whether the create fee was written.
    @ivar allowance: Of the session opened last.
    @ivar create_forgiven: The create fee was written and dropped, since it had failed before it
        ever ran.
    @ivar destroyed_at: When its deletion was accepted or seen; None while it is there, and of
        those that ended before this was written down.
    """

    sandbox: SandboxId
    owner: Address
    reference: Reference
    create_charged: bool
    charged_until: UnixSeconds
    allowance: Allowance | None = None
    create_forgiven: bool = False
    destroyed_at: UnixSeconds | None = None

    @property
    def owes_creation(self) -> bool:
        """Whether its create fee is due as soon as it is made to run after all."""
        return self.create_forgiven and not self.create_charged


@frozen(kw_only=True)
class DoorState:
    """
    What closes the door to everybody, or to a wallet whatever it has.

    @ivar pause: While it stands nothing new is let in.
    @ivar settled_until: Everything charged earlier that could be settled is (K13), unix
        seconds; None before a worker has looked.
    @ivar swept_at: When the last sweep that saw all of Daytona's list began; None before one.
    @ivar crowded: Wallets, 0x and lower case, with so many sandboxes, running or not, that they
        may create none.
    """

    pause: Stored[Pause] | None
    settled_until: UnixSeconds | None
    swept_at: UnixSeconds | None
    crowded: frozenset[str] = frozenset()


class IPause(Interface):
    """The stored pause: door facts that the command line writes, too."""

    async def paused() -> Stored[Pause] | None:
        """The one that stands."""

    async def pause(pause: Pause) -> Stored[Pause]:
        """
        From this write on no intent is stored any more (L{IDoors.reserve}).

        @raise Stale: Another one stands.
        """

    async def renew(stands: Stored[Pause], pause: Pause) -> Stored[Pause]:
        """
        Put another in the place of one, in one step: nothing is let in between.

        @raise Stale: What was read stands no longer.
        """

    async def lift(pause: Stored[Pause]) -> None:
        """
        End it; one that is gone is ended.

        @raise Stale: Another one stands.
        """


class IReplayGuard(Interface):
    """Which signed requests were seen."""

    async def first_use(wallet: Address, nonce: str, expires_at: UnixSeconds) -> bool:
        """
        Remember a nonce until sixty seconds after its request expires.

        @return: False when it was used before, whatever became of that request; or when
            the request has expired, so that nobody may remember.
        """


class ITokens(Interface):
    """
    Session tokens, without their secrets: door facts.
    """

    async def issue(token: Token, *, most: int) -> None:
        """
        Keep a token until it expires, or for a while longer; no other has its id.

        @param most: So many of the wallet's may be live together.
        @raise TooMany: They are; it says after how many seconds the first ends.
        @raise Stale: Others of this wallet came between, again and again.
        """

    async def find(id: TokenId) -> Token | None:
        """The token of that name, live or not; the caller compares digest and time."""

    async def of(wallet: Address) -> tuple[Token, ...]:
        """A wallet's live tokens, oldest first."""

    async def revoke(wallet: Address, id: TokenId) -> bool:
        """
        End one; for whoever reads after this it is not live.

        @return: False when this wallet has no such live token.
        """

    async def revoke_all(wallet: Address) -> int:
        """
        End every token of a wallet.

        @return: How many were live.
        @raise Stale: New ones came between, again and again.
        """


class INotices(Interface):
    """
    What wallets are told, a log for each: door facts.

    Nothing rests on them: whoever tells does so after the fact, tells again until it is
    stored, and lets nothing else wait for it.
    """

    async def tell(notice: Notice, key: str) -> bool:
        """
        Append to the log of its wallet, once for each key as long as that one is kept:
        L{KEPT_SECONDS<sandbox_billing.ledger.notice.KEPT_SECONDS>}, and no more than
        L{KEPT_ENTRIES<sandbox_billing.ledger.notice.KEPT_ENTRIES>} of a wallet.

        @param key: What it is told for, of this wallet; it does not begin with C{#}.
        @return: False when it was told before.
        @raise Stale: Others came between, again and again.
        """

    async def after(wallet: Address, number: int, limit: int) -> tuple[Numbered, ...]:
        """
        What came after a number, oldest first; fewer than C{limit} may still not be all, where
        some have become too old.

        @param number: 0 for all that is kept.
        """

    async def newest(wallets: Sequence[Address]) -> tuple[int, ...]:
        """The highest number given to each; 0 for none.  One read for some hundreds."""

    async def wallets_with_news(now: UnixSeconds, limit: int) -> tuple[Address, ...]:
        """
        Wallets that were told something since it was last said when to look again, or whose
        time has come; for the one that passes it on.
        """

    async def look_again(wallet: Address, newest: int, at: UnixSeconds | None) -> None:
        """
        Say when to look at a wallet's news again; without effect when there is newer.

        @param newest: As it was read I{before} what is passed on.
        @param at: None when everything up to that number is passed on.
        """


@frozen
class Sent:
    """
    What became of one try to send something to a receiver that a user named.

    @ivar status: Of the answer; None where there was none.
    @ivar told: In few words, for that user's eyes.
    @ivar busy: Nothing was tried: there is no room here, which is nobody's failure.
    """

    status: int | None
    told: str
    busy: bool = False

    @property
    def good(self) -> bool:
        """Whether the receiver has it."""
        return self.status is not None and 200 <= self.status < 300


class IWebhookSender(Interface):
    """
    HTTP to receivers that users named.
    """

    async def check(url: str) -> None:
        """
        Whether this may be sent to at all, as far as can be said now.

        @raise BadInput: It may not.
        @raise Transient: Its name servers do not answer.
        """

    async def test(wallet: Address, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        """
        As C{send}, because a wallet wants it now: so much of that at once that neither other
        wallets nor C{send} have to wait for it.
        """

    async def send(url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        """
        One POST, within seconds; where it leads to is judged again.

        Nothing is raised for what the receiver does: it may or may not have it, and is sent it
        again under the same delivery id.
        """


@frozen(kw_only=True)
class KeptWebhook:
    """
    A webhook and how far it got, as they are stored.
    """

    webhook: Stored[Webhook]
    standing: Stored[Standing]


class IWebhooks(Interface):
    """
    Webhooks: registered and removed by door facts, delivered to by the worker.
    """

    async def add(webhook: Webhook, *, most: int) -> bool:
        """
        Keep a webhook until it is removed; it is for what is told from then on.

        @param most: So many a wallet may have.
        @return: False when it has them; this one is not kept.
        @raise Stale: Others of this wallet came between, again and again.
        """

    async def of(wallet: Address) -> tuple[KeptWebhook, ...]:
        """A wallet's, oldest first; those that cannot be read are left out."""

    async def remove(wallet: Address, id: WebhookId) -> bool:
        """@return: False when the wallet has no such webhook."""

    async def move(kept: KeptWebhook, standing: Standing) -> KeptWebhook:
        """
        A worker fact: how far one got.

        @raise Stale: It was removed, or somebody else moved it.
        @raise LeaseLost: This process is not the worker.
        """


@frozen(kw_only=True)
class WalletSeen:
    """
    A wallet as it was read to be told something.

    @ivar picture: What it was told of last; None where that cannot be read, or it never was.
    @ivar raw: That, as it is stored.
    @ivar orders: Sandboxes of which a stop was ordered, and why; also when it has been carried
        out since, as long as the wallet was not told.
    @ivar block: Why it was blocked since it was told so last, also when that was lifted again.
    @ivar standing: Stop orders that stand, of what the wallet has open.
    """

    funds: WalletFunds
    picture: Picture | None
    raw: bytes | None = field(repr=False)
    block: str | None
    orders: Mapping[SandboxId, str]
    standing: Mapping[SandboxId, str]


class IWarnings(Interface):
    """
    Worker facts of what wallets are told of their money: never a part of what moves it.

    A wallet is listed whenever the treasurer has looked at it, and when a stop is ordered.
    """

    async def to_look(now: UnixSeconds, limit: int) -> tuple[Address, ...]:
        """Wallets whose time has come, or that were listed."""

    async def look(wallet: Address) -> WalletSeen:
        """@raise BadInput: Its account or exposure cannot be read."""

    async def told(
        seen: WalletSeen, picture: Picture, notices: Sequence[Told], at: UnixSeconds | None
    ) -> None:
        """
        Append to its log and keep the picture, in one step; orders that are not in it any more
        are over.

        @param at: When to look again; None for when it is listed.
        @raise Stale: What was read has changed: it is still listed.
        """

    async def later(wallet: Address, at: UnixSeconds) -> None:
        """Look again at a moment: for one that cannot be read."""

    async def announced() -> UnixSeconds | None:
        """The end of the provider that everybody was last listed for; None for none."""

    async def announce(wallets: Sequence[Address], leaving_at: UnixSeconds | None) -> None:
        """List all of these, then remember what for; repeating it is success."""


class IIdempotency(Interface):
    """
    Requests with an Idempotency-Key: remembered for a day, in every process (A5).

    A slot names a wallet's route and key.
    """

    async def begin(wallet: Address, slot: str, fresh: Remembered) -> Stored[Remembered]:
        """
        Remember a request before its work, unless one is remembered there.

        @return: What stands there: C{fresh}, or the earlier one.
        @raise TooMany: As many of this wallet are remembered as may be; this one is not.
        """

    async def write(
        wallet: Address, slot: str, stands: Stored[Remembered], after: Remembered
    ) -> Stored[Remembered]:
        """
        Put another form in place of what stands; that does not lengthen its day.

        @raise Stale: Something else stands there.
        """

    async def forget(wallet: Address, slot: str, stands: Stored[Remembered]) -> None:
        """
        As if it had never been asked; repeating it is success.

        @raise Stale: Something else stands there.
        """

    async def spend(reference: Reference) -> SandboxId | None:
        """
        From now on nothing can be reserved under a reference, whoever still tries.

        @return: The sandbox of which a session was opened under it, even if it is gone;
            None when nothing ever came of it.
        @raise Stale: An intent stands under it: ask again when that has ended.
        """


class ILifecycleCount(Interface):
    """Creates, starts and recovers of each wallet in the last hour, over all processes."""

    async def take(wallet: Address, mark: str, most: int) -> int:
        """
        Count one more, unless there are so many already.

        @param mark: Names this call; taking it twice counts once.
        @return: 0 when it was counted, else the seconds after which one may be.
        """

    async def give_back(wallet: Address, mark: str) -> None:
        """It was not accepted, and counts no more; repeating it is success."""


class IDoors(Interface):
    """
    Door facts: what a request may change, in any process, without the lease.
    """

    async def funds(wallet: Address) -> WalletFunds:
        """Read in one step."""

    async def door_state() -> DoorState:
        """Read in one step."""

    async def reserve(
        intent: Intent, funds: WalletFunds, *, while_paused: bool = False
    ) -> Exposure:
        """
        Store an intent with its hold.

        Refused when the account or the blocked flag is no longer as in C{funds};
        other holds may have come meanwhile: the caller adds up what is returned.

        @param while_paused: It belongs to what was let in before.
        @return: All fields of the wallet as they stand after this write.
        @raise Stale: The account or the flag has changed, or a pause stands.
        """

    async def release(intent: Intent) -> None:
        """Forget an intent and its hold; repeating it is success."""

    async def spending(token: TokenId) -> Spending:
        """
        What a token with a spend limit has caused; no fields when nothing ever.

        Every fact above and below that moves money of its runs moves it with them.
        """

    async def outlay(wallet: Address) -> Outlay | None:
        """
        What counts for a wallet's own limits; None where it has set none.

        @raise Stale: It moved while it was read, again and again.
        """

    async def not_resumable(wallet: Address, sandbox: SandboxId) -> None:
        """What was stopped for want of money stays so; repeating it is success."""

    async def wish_ended(wallet: Address, sandbox: SandboxId) -> None:
        """
        Its owner has asked for its end, and nobody knows what came of it: as C{not_resumable},
        and whoever ends the run that is open, until the next start it is its owner's wish.

        Repeating it is success.
        """

    async def wish_running(wallet: Address, sandbox: SandboxId) -> None:
        """
        Its owner has asked for a start of what runs: C{wish_ended} no longer holds.

        Nothing is written where no such wish of this wallet is kept.
        """

    async def undo(intent: Intent, sandbox: SandboxId) -> None:
        """
        Turn a create's intent into the order to delete what it made; its hold is given back.

        Also when a sweep has ended the intent by a session meanwhile.  Repeating it is success.
        """

    async def intents_of(sandbox: SandboxId) -> tuple[Intent, ...]:
        """Stored intents that name this sandbox (starts under way)."""

    async def intent(reference: Reference) -> Intent | None:
        """One that stands; None when it has ended."""

    async def open_session(
        intent: Intent, session: Session, create_charge: Charge | None
    ) -> Session:
        """
        End an intent by opening its session.

        Session, owner record, create charge, exposure and the end of the hold are one
        write.  The session's C{opened_at} and C{charged_until} are raised to the
        sandbox's record; it counts for the intent's token.  Under a blocked wallet a stop
        order is written with it.  The create charge is written once in a sandbox's life,
        whoever opens first.

        @return: The session that is open now; somebody else's when they were first.
        @raise Stale: The intent is gone and no session is open.
        """

    async def begin_session(session: Stored[Session], begun: Session) -> None:
        """
        As L{IMeter.begin}, by a door that has seen it run.

        @raise Stale: The session has changed.
        """

    async def close_session(
        session: Stored[Session], closing: Tick, *, destroyed: bool, forgive_create: bool
    ) -> None:
        """
        End a session: the last charge, the record's C{charged_until} and the exposure are
        one write; with C{destroyed} the record is kept 30 more days and a create charge
        that waits to ripen is ripe.

        @param forgive_create: Drop the create charge while it is unsigned: the sandbox must
            not run and nothing is charged for it.
        @raise Stale: The session has changed; read it, compute the closing again.
        """

    async def destroyed(sandbox: SandboxId) -> None:
        """Keep the record of a sandbox without a session 30 more days; its create fee is due."""

    async def label(sandbox: SandboxId, labels: Mapping[str, str]) -> None:
        """
        Keep what its owner labels a sandbox, for statements after its end; repeating it is
        success, and of what has no record nothing is kept.
        """

    async def session(sandbox: SandboxId) -> Stored[Session] | None:
        """The open session."""

    async def record(sandbox: SandboxId) -> SandboxRecord | None:
        """What is known of a sandbox; None when it was never ours."""

    async def seen_at(sandbox: SandboxId) -> UnixSeconds | None:
        """The newest observation of C{started}; None when there is none."""

    async def stop_reason(sandbox: SandboxId) -> str | None:
        """The reason of a standing stop order."""

    async def mirror() -> Stored[Mirror] | None:
        """The head of the chain mirror; None before the watcher's first step."""

    async def add_account(mirror: Stored[Mirror], account: Account) -> None:
        """
        Mirror a wallet that is not mirrored yet.

        @raise Stale: The mirror moved on or the wallet is there already.
        """

    async def request_reconcile(sandbox: SandboxId) -> None:
        """Ask the worker to look at one sandbox now."""

    async def reconcile_requested(sandbox: SandboxId) -> bool:
        """Whether that request still stands."""


@frozen(kw_only=True)
class WalletState:
    """
    What a wallet has and owes, as of one moment.

    @ivar mirror: The head of the chain mirror; None before the watcher's first step.
    """

    mirror: Mirror | None
    funds: WalletFunds


@frozen(kw_only=True)
class SandboxHistory:
    """
    What a sandbox ran, as of one moment.

    @ivar runs: By time; the last may go on.
    @ivar charged_until: Charges for what begins earlier were all made before that moment.
    @ivar destroyed_at: As of its record.
    """

    runs: tuple[Run, ...]
    charged_until: UnixSeconds
    destroyed_at: UnixSeconds | None


class IHistory(Interface):
    """What happened, for those who may know."""

    async def state(wallet: Address) -> WalletState:
        """Read in one step."""

    def entries(
        wallet: Address, *, since: int, until: int, sandbox: SandboxId | None = None
    ) -> AsyncGenerator[tuple[Entry, ...], None]:
        """
        What a wallet was charged for a span, in slices, roughly by age.  All that overlaps the
        span is among it, and perhaps some that does not.

        @param since: unix seconds.
        @param until: unix seconds, not in the span.
        @param sandbox: None for all.
        @raise BadInput: The wallet has more charges since then than are looked at.
        """

    async def ran(sandbox: SandboxId, *, since: int, most: int) -> SandboxHistory | None:
        """
        The runs of a sandbox that ended after C{since}.

        @return: None where it has no record.
        @raise BadInput: There are more than C{most}.
        """

    async def labels(sandboxes: Collection[SandboxId]) -> Mapping[SandboxId, Mapping[str, str]]:
        """What sandboxes were labelled last; those that have no labels are left out."""

    async def settlements(
        wallet: Address, *, since: UnixSeconds, page: int, page_size: int
    ) -> tuple[int, tuple[Settlement, ...]]:
        """
        A wallet's settled vouchers by block timestamp, oldest first.

        @param page: From 0.
        @return: How many there are in all, and this page of them.
        """

    async def races() -> tuple[Race, ...]:
        """What the deployed contract's flaws took of wallets by a race, oldest first."""

    async def providers() -> tuple[ServiceRecord, ...]:
        """Every provider that ever registered, as of the mirror's block."""

    async def charges(wallet: Address) -> tuple[ChargeRecord, ...]:
        """Every charge of a wallet, oldest first."""

    async def wallets() -> tuple[Address, ...]:
        """Every wallet that was ever charged."""

    async def totals() -> Totals:
        """How much was settled so far, and what that cost."""

    async def pending() -> tuple[ChargeId, ...]:
        """C{voucher:<provider>}: the ids of charges that are not final, in arrival order."""


@frozen
class ChargeMark:
    """
    A place among a wallet's charges.

    @ivar made_at: When the charge there was made, unix seconds.
    """

    made_at: int
    charge: ChargeId


@frozen(kw_only=True)
class ChargePage:
    """
    Some of a wallet's charges.

    @ivar records: Newest first.
    @ivar after: Where the next page goes on; None at the end.
    """

    records: tuple[ChargeRecord, ...]
    after: ChargeMark | None


class IReceipts(Interface):
    """What proves to a wallet what it paid for."""

    async def page(
        wallet: Address, *, after: ChargeMark | None, since: int, limit: int
    ) -> ChargePage:
        """
        A wallet's charges by when they were made, newest first.

        @param after: Behind which to go on; None from the newest one.
        @param since: None that was made before, unix seconds.
        @param limit: To look at; those that cannot be read are left out.
        """

    async def charge(charge: ChargeId) -> ChargeRecord | None:
        """Anybody's; None where there is none, or where it cannot be read."""

    async def collected(wholes: Sequence[Charge]) -> Mapping[ChargeId, tuple[Charge, ...]]:
        """What was merged into each, by time; nothing of what is no merged charge."""

    async def proofs(transactions: Collection[str]) -> Mapping[str, BatchProof]:
        """What the one signature was made of, by transaction; not of any other settlement."""


# --- the journal: worker ------------------------------------------------------------


class ILease(Interface):
    """One worker at a time."""

    async def acquire() -> bool:
        """
        Become the worker, under a new and higher fencing token.

        @return: False while another process is.
        """

    async def renew() -> bool:
        """@return: False when the lease is no longer ours."""

    async def give_up() -> None:
        """Let another process become the worker at once; harmless when it is not ours."""


@frozen
class DueSession:
    """
    @ivar seen_at: Newest observation of C{started}; None when there is none.
    """

    session: Stored[Session]
    seen_at: UnixSeconds | None


class IMeter(Interface):
    """Worker facts of sessions."""

    async def due(now: UnixSeconds, limit: int) -> tuple[DueSession, ...]:
        """Running sessions whose next period is full, the longest overdue first."""

    async def charge(session: Stored[Session], tick: Tick) -> Stored[Session]:
        """
        Append a period's charge and move C{charged_until}, record and exposure with it.

        @raise Stale: The session changed, or was not seen running up to the period's end.
        @return: The session as stored now.
        """

    async def postpone(session: Stored[Session], due_at: UnixSeconds) -> None:
        """Ask for a session again at C{due_at}; nothing when it is gone."""

    async def seen(
        observations: Mapping[SandboxId, UnixSeconds],
        swept_at: UnixSeconds | None = None,
        crowded: Collection[Address] = (),
    ) -> None:
        """
        Store when sandboxes were last seen running, in one write.

        @param swept_at: When the sweep that saw them began; None where it was a look at a few.
        @param crowded: Of that sweep, wallets that may create no more.
        """

    async def seen_at(sandbox: SandboxId) -> UnixSeconds | None:
        """The newest observation of C{started}."""

    async def begin(session: Stored[Session], begun: Session) -> None:
        """
        A pending session runs: its exposure accrues from now and its create charge is ripe.

        Also the way on for a running one at another rate (L{ledger.metering.rerated}).

        @raise Stale: The session has changed.
        """

    async def close(
        session: Stored[Session], closing: Tick, *, destroyed: bool, forgive_create: bool
    ) -> None:
        """
        As L{IDoors.close_session}, by the worker.

        @param forgive_create: Drop the create charge while it is unsigned: the sandbox
            never started.
        """

    async def open_under(intent: Intent, session: Session, create_charge: Charge | None) -> Session:
        """As L{IDoors.open_session}, by the worker."""

    async def adopt(session: Session, stop_reason: str | None) -> None:
        """
        Open a session without an intent; it counts for the token of the session before.

        @param stop_reason: Write this stop order with it: it did not pass admission.
        @raise Stale: A session is open already.
        """

    async def sessions() -> tuple[Stored[Session], ...]:
        """All open sessions."""

    async def intents() -> tuple[Intent, ...]:
        """All stored intents."""

    async def records(sandboxes: Collection[SandboxId]) -> Mapping[SandboxId, SandboxRecord]:
        """Those that have a record."""

    async def requested() -> tuple[SandboxId, ...]:
        """Sandboxes somebody wants looked at now."""

    async def answered(sandbox: SandboxId) -> None:
        """It was looked at."""


@frozen(kw_only=True)
class StoredQueue:
    """
    A wallet's ripe charges.

    @ivar in_flight: The batch that holds the wallet; nothing more of it goes out before
        that is resolved.
    @ivar last_nonce: The last nonce given by us; 0 when none.
    @ivar revision: Changes with every charge, and with every other write to the exposure.
    @ivar paused: Whether a pause stands: everything is urgent (K21).
    @ivar blocked: Why the wallet may run nothing; None when it may.
    """

    wallet: Address
    account: Stored[Account] | None
    revision: bytes
    records: tuple[Stored[ChargeRecord], ...]
    in_flight: BatchId | None
    last_nonce: Nonce
    paused: bool = False
    blocked: str | None = None


@frozen
class Promise:
    """
    A charge about to be signed, or signed before, with the seal it goes out under.

    @ivar rest: What is split off it in the same write, where the seal is for a part (D2).
    """

    record: Stored[ChargeRecord]
    seal: Seal
    rest: Charge | None = None


@frozen(kw_only=True)
class Ruling:
    """
    What the chain decided of one voucher of a batch.

    @ivar after: The charge's next state.
    @ivar debt: A new charge for what stayed owed.
    @ivar retry_at: For a charge that goes back to the queue.
    """

    record: Stored[ChargeRecord]
    after: ChargeRecord
    debt: Charge | None
    retry_at: UnixSeconds


@frozen
class BlockedWallet:
    """A wallet to be blocked with stop orders for what it runs, as its funds were read."""

    funds: WalletFunds
    reason: str


class IVoucherQueue(Interface):
    """Worker facts of charges, from open to final."""

    async def ready(now: UnixSeconds, limit: int) -> tuple[Address, ...]:
        """Wallets with ripe charges and no batch in flight, the longest waiting first."""

    async def queue(wallet: Address, now: UnixSeconds, limit: int) -> StoredQueue:
        """A wallet's ripe charges, sealed ones first, then by age."""

    async def rest(queue: StoredQueue, until: UnixSeconds) -> None:
        """
        Do not offer a wallet before C{until}: it cannot pay, or has not acknowledged.

        A new account state (L{IChainMirror.step}) or charge offers it again at once; if
        one came since C{queue} was read, nothing is changed.
        """

    async def set_aside(wallet: Address, until: UnixSeconds) -> None:
        """Do not offer a wallet before C{until}, whatever came: its queue is damaged."""

    async def sign(batch: Batch, promises: Sequence[Promise]) -> Stored[Batch]:
        """
        Claim, number and seal: charges, wallets' last nonces and batch in one write; with
        them the debts that are split off charges.

        @raise Stale: A charge changed, a wallet is in flight or was given other nonces.
        """

    async def batches() -> tuple[Stored[Batch], ...]:
        """All unresolved batches, oldest first."""

    async def batch_records(batch: Batch) -> tuple[Stored[ChargeRecord], ...]:
        """
        The charges of a batch, in its order.

        @raise BadInput: The stored form of one cannot be read, or is gone.
        """

    async def expel(batch: Stored[Batch]) -> Stored[Batch] | None:
        """
        Take the charges that cannot be read, or are gone, out of a batch; they become dead
        letters, and their wallets are quarantined: a later nonce of theirs would make the
        promise void (L5).

        What was sent stays sent: what became of them is a human's to find out.

        @return: What is left; None when that is nothing, and the batch is ended.
        @raise Stale: The batch is no longer as it was read.
        """

    async def shrink(batch: Stored[Batch], keep: int) -> Stored[Batch]:
        """
        Keep the first charges of a batch that has no attempt; the others go back to their
        queues, sealed as they are (L5).

        @param keep: How many; not all.
        @raise Stale: The batch is no longer as it was read.
        """

    async def condemn(batch: Stored[Batch], reason: str, funds: WalletFunds) -> None:
        """
        End a batch of one charge that has no attempt: the charge is dead-lettered, its
        wallet quarantined.

        @param funds: Of that wallet.
        @raise Stale: The batch, account or exposure is no longer as it was read.
        """

    async def drop_attempts(batch: Stored[Batch], sender: Address) -> Stored[Batch] | None:
        """
        Forget a sender's attempts: their account nonce was used by another transaction, so
        that none of them can be mined any more (T-6).

        @return: The batch without them; None when it held no charges and is ended.
        @raise Stale: The batch is no longer as it was read.
        """

    async def record_attempt(batch: Stored[Batch], attempt: Attempt) -> Stored[Batch]:
        """
        Store an attempt and wait until it is on disk; only then may it be broadcast.

        @raise Transient: It is stored but not proven on disk: do not broadcast yet.
        """

    async def on_disk(batch: Stored[Batch]) -> None:
        """
        Wait until a batch as it was read, with its attempts, is on disk.

        Asked before attempts that an earlier turn or process stored are broadcast: its
        proof may have failed, or died with it.

        @raise Transient: It is not proven, or no longer stored so: do not broadcast yet.
        """

    async def resolve(
        batch: Stored[Batch],
        block: BlockRef,
        rulings: Sequence[Ruling],
        accounts: Sequence[Account],
        blocked: Sequence[BlockedWallet],
        races: Sequence[Race] = (),
        *,
        gas: Neuron = NOTHING,
    ) -> None:
        """
        End a batch: charges, debts, exposure, accounts, flags, stop orders, totals and what
        flaws of the contract did to its wallets in one write.  Its debts are collected after
        a second look (L{IResolved}).

        Some wallets of it may be left: what becomes of theirs is not known yet.  Then the batch
        stays, with their charges alone.

        @param rulings: Of all charges of the wallets that they are of.
        @param block: The block its outcome was read at.
        @param gas: neuron that its transaction cost; counted once nothing of it is left.
        @raise Stale: The batch is gone, or a wallet in C{blocked} opened something meanwhile.
        """


class IResolved(Interface):
    """Worker facts of resolved batches, until they were looked at a second time."""

    async def due(upto: int, limit: int) -> tuple[Stored[Resolution], ...]:
        """
        Those that were not looked at again, the oldest first.

        @param upto: Whose outcome was read at this block or an earlier one.
        """

    async def checked(
        resolution: Stored[Resolution],
        doubts: Mapping[Address, str],
        blocked: Sequence[BlockedWallet],
    ) -> None:
        """
        It was looked at again: its debts may be collected now, and it is kept one more day.

        @param doubts: Wallets with another outcome now, and what: a dead letter each.
        @param blocked: Their funds; they are quarantined.
        @raise Stale: It was looked at before, or a wallet's funds have moved.
        """


class ILoss(Interface):
    """Worker facts after a start of the store, which may have lost its newest writes."""

    async def run_id() -> str:
        """Which life of the store this is: another one after each of its starts."""

    async def given() -> Mapping[Address, Nonce]:
        """
        Every wallet that is known, with the last nonce given to it, or 0.

        Not only who has something to settle: after a loss a session may stand open whose last
        seconds are paid, and would be charged again once Daytona was looked at.
        """

    async def behind(blocked: BlockedWallet) -> None:
        """
        Quarantine a wallet whose books are behind the chain, with a dead letter that says so.

        @param blocked: With the reason for a human.
        @raise Stale: Account or exposure changed meanwhile.
        """


class IDeadLetters(Interface):
    """
    What a human must look at beside dead-lettered charges: stored forms that cannot be read,
    outcomes that changed, wallets whose books are behind the chain.
    """

    async def letters() -> tuple[DeadLetter, ...]:
        """All of them, oldest first."""

    async def dismiss(letter: DeadLetter) -> None:
        """
        A human has looked at it: a door fact; one that is gone is dismissed.

        @raise Stale: It is another by now.
        """


class IChainMirror(Interface):
    """Worker facts of the chain mirror: its single writer is the watcher."""

    async def mirror() -> Stored[Mirror] | None:
        """Its head."""

    async def wallets() -> tuple[Address, ...]:
        """All mirrored wallets; a wallet that is mirrored stays so."""

    async def step(
        before: Stored[Mirror] | None,
        after: Mirror,
        accounts: Sequence[Account],
        settlements: Sequence[Settlement],
        services: Sequence[ServiceRecord],
        *,
        known: Sequence[Address] | None = None,
    ) -> None:
        """
        Move to a later block: head and accounts in one write; with them the history, or
        before them, in parts, where it is long.

        @param known: What C{wallets} returned; C{accounts} are those of them that changed, and
            new ones.  None where there are none: at the first step, and where the block stays.
        @raise Stale: The head is not C{before}, or a wallet was mirrored that is not among
            C{known}: what happened to it since C{before} would never be read.  History
            may have been written.
        """

    async def add_history(
        settlements: Sequence[Settlement], services: Sequence[ServiceRecord]
    ) -> None:
        """Store events of blocks that a first step passes over; repeating it is success."""


class IFunds(Interface):
    """Worker facts of wallets that run dry."""

    async def to_check(now: UnixSeconds, limit: int) -> tuple[Address, ...]:
        """Wallets whose time has come, or whose exposure or account changed."""

    async def check_again(funds: WalletFunds, at: UnixSeconds | None) -> None:
        """
        @param at: None when nothing of the wallet runs.
        @raise Stale: Account or exposure changed meanwhile.
        """

    async def block(blocked: BlockedWallet) -> None:
        """
        Set the flag and write stop orders for all its sandboxes.

        @raise Stale: Account or exposure changed meanwhile.
        """

    async def unblock(funds: WalletFunds) -> None:
        """
        Lift the flag, and the grace with it.

        @raise Stale: Account or exposure changed meanwhile.
        """

    async def begin_grace(funds: WalletFunds, now: UnixSeconds) -> None:
        """
        From now on nothing more may be begun.

        @raise Stale: Account or exposure changed meanwhile.
        """

    async def funds(wallet: Address) -> WalletFunds:
        """As L{IDoors.funds}."""


@frozen(kw_only=True)
class TokenSpending:
    """
    What a token with a spend limit has caused, as it was read.

    @ivar revision: Changes with every write to it.
    """

    token: TokenId
    spending: Spending
    revision: bytes


class ISpending(Interface):
    """Worker facts of tokens with a spend limit."""

    async def to_check(now: UnixSeconds, limit: int) -> tuple[TokenId, ...]:
        """Tokens whose time has come, or whose spending changed."""

    async def spending(token: TokenId) -> TokenSpending:
        """Read in one step."""

    async def check_again(found: TokenSpending, at: UnixSeconds | None) -> None:
        """
        @param at: None when nothing that was started with it runs; with nothing about to,
            either, what it has caused is kept for as long as a token lives.
        @raise Stale: It changed meanwhile.
        """


@frozen(kw_only=True)
class WalletOutlay:
    """
    A wallet's settings and what it has spent, as they were read.

    @ivar stored: None where it never set any.
    @ivar revision: Of the exposure.
    """

    wallet: Address
    stored: Stored[Controls] | None
    outlay: Outlay
    revision: bytes


class IControls(Interface):
    """What wallets decide about their own money, and what was stopped for want of it."""

    async def controls(wallet: Address) -> Controls:
        """A wallet's settings alone."""

    async def outlay(wallet: Address) -> WalletOutlay:
        """
        Settings and what counts for them, also where there is no limit.

        @raise Stale: It moved while it was read, again and again.
        """

    async def change(found: WalletOutlay, after: Controls) -> None:
        """
        Door fact: other settings, in force for whoever reads after this.

        @raise Stale: Settings or exposure changed meanwhile.
        """

    async def to_check(now: UnixSeconds, limit: int) -> tuple[Address, ...]:
        """Wallets with a limit whose time has come, or of which something began."""

    async def check_again(found: WalletOutlay, at: UnixSeconds | None) -> None:
        """
        Worker fact.

        @param at: None when nothing of the wallet runs.
        @raise Stale: Settings or exposure changed meanwhile.
        """

    async def fold(found: WalletOutlay) -> None:
        """
        Worker fact: add up what sandboxes cost that nobody asks for one by one.

        @raise Stale: The exposure changed meanwhile.
        """

    async def resumable(wallet: Address) -> tuple[Resumable, ...]:
        """
        What was stopped by an order for want of money, in the order in which it was, and was
        neither started nor stopped nor deleted by its owner since.
        """

    async def not_resumable(wallet: Address, sandbox: SandboxId) -> None:
        """Door fact: leave it as it is; repeating it is success."""

    async def to_resume(now: UnixSeconds, limit: int) -> tuple[Address, ...]:
        """Wallets with such sandboxes whose time has come."""

    async def resume_again(wallet: Address, at: UnixSeconds | None) -> None:
        """
        Worker fact.

        @param at: None when nothing waits, or nobody wished it: without effect where that is
            not so, for it may have changed meanwhile.
        """


@frozen
class StopOrder:
    """
    @ivar reason: C{insufficient_balance}, C{not_acknowledged}, C{spend_limit}, ...
    @ivar ordered_at: unix seconds.
    @ivar attempts: Stop calls made for it.
    """

    sandbox: SandboxId
    reason: str
    ordered_at: UnixSeconds
    attempts: int


@frozen(kw_only=True)
class Claims:
    """
    @ivar listed: How many there were in the list.
    @ivar damaged: Those whose stored form cannot be read: a human must look.
    """

    found: tuple[Claim, ...]
    damaged: tuple[ChargeId, ...]
    listed: int


class IBacklog(Interface):
    """What is not settled yet: for the worker's watch over it, and for a change of price."""

    async def claims(first: int, count: int | None) -> Claims:
        """
        Charges that are not final, in arrival order.

        @param first: How many to pass over.
        @param count: None for all, as they were listed at one moment.
        """

    async def quarantined() -> frozenset[Address]:
        """Wallets that a human has to look at."""

    async def offer_all(now: UnixSeconds) -> None:
        """Worker fact: have the settler look at every resting wallet now."""

    async def mark(settled_until: UnixSeconds) -> None:
        """Worker fact: everything charged earlier that could be settled is."""


class IMerging(Interface):
    """Worker facts of a backlog that goes out in few vouchers (L{ledger.merging})."""

    async def backlogs(
        now: UnixSeconds, *, more_than: int, late: UnixSeconds, limit: int
    ) -> tuple[Address, ...]:
        """
        Of the wallets that L{IVoucherQueue.ready} offers, in flight or not, those with many
        unsigned charges: more than so many; or more than one, the oldest of them ripe since
        C{late}.  Not those that a human has to look at.

        @param limit: How many wallets are looked at, the longest waiting first.
        """

    async def unsigned(
        wallet: Address, now: UnixSeconds, limit: int
    ) -> tuple[Stored[ChargeRecord], ...]:
        """
        A wallet's ripe charges that were never numbered, the oldest first; no debts.

        @raise BadInput: The stored form of one cannot be read.
        """

    async def merge(parts: Sequence[Stored[ChargeRecord]]) -> Stored[ChargeRecord]:
        """
        Make one charge of several; queue, list and exposure hold it instead of them.

        @return: The charge that collects them, open, in the place of the oldest.
        @raise BrokenLaw: They cannot be one.
        @raise Stale: One of them was signed, forgiven or merged otherwise meanwhile.
        """


class IForgiving(Interface):
    """
    Ending what nobody is to pay any more (Q-6): an operator's word, stored with its reason.

    An operator's command needs no lease, for it compares what was read; a turn of the worker
    carries the token as all its facts do (L10).
    """

    async def blocked() -> tuple[Address, ...]:
        """Wallets that may run nothing, for want of money: those in debt are among them."""

    async def debts(wallet: Address) -> tuple[Stored[ChargeRecord], ...]:
        """What earlier vouchers left owed and no voucher collects yet, the oldest first."""

    async def forgivable(charge: ChargeId) -> Stored[ChargeRecord] | None:
        """A charge as it stands, for C{forgive}; None when there is none."""

    async def forgive(record: Stored[ChargeRecord], forgiven: Forgiven, *, fenced: bool) -> None:
        """
        End a charge: it is owed no more, in one write with its entry in the audit.

        The wallet's funds are looked at again: one that was blocked for a debt alone, and can
        pay, is unblocked by the worker.  A quarantine stays.

        @param forgiven: With the seal of what is forgiven, if it has one.
        @param fenced: Whether it is the worker that forgives; only with the newest token then.
        @raise LeaseLost: It is not the worker any more.
        @raise BrokenLaw: It is signed, or final: anybody who has the voucher might submit it.
        @raise Stale: It has changed since it was read.
        """

    async def audit(first: int, count: int) -> tuple[AuditEntry, ...]:
        """What operators decided, the oldest first."""


@frozen(kw_only=True)
class DeadCharge:
    """
    A dead-lettered charge.

    @ivar record: None where its stored form cannot be read.
    @ivar raw: That form as it is; None where there is none.
    """

    id: ChargeId
    since: UnixSeconds
    record: Stored[ChargeRecord] | None
    raw: bytes | None = field(repr=False)


@frozen(kw_only=True)
class StoredLetter:
    """
    A letter together with what it is about.

    @ivar raw: The letter's own stored form; None where nobody has written one yet.
    @ivar about: What is stored there now, as it is; None where there is nothing, or where it
        is no single value.
    """

    letter: DeadLetter
    raw: bytes | None = field(repr=False)
    about: bytes | None = field(repr=False)


class IDesk(Interface):
    """
    An operator's decisions about the queue (Q-11), beside L{IForgiving}.

    Door facts: each compares exactly what was read, is one write with its entry in the audit,
    and is safe while a worker runs.  An entry says what was decided by whom; it is chained to
    the one before it here.
    """

    async def dead() -> tuple[DeadCharge, ...]:
        """All dead-lettered charges, the oldest first."""

    async def letters() -> tuple[StoredLetter, ...]:
        """All letters (L{IDeadLetters}), the oldest first."""

    async def owner_of(charge: ChargeId) -> tuple[Address, Neuron] | None:
        """Whose exposure counts a charge, and how much: known also where it cannot be read."""

    async def retry(record: Stored[ChargeRecord], entry: AuditEntry) -> None:
        """
        Offer a dead letter again under the seal that it has (L5), ahead of all that the wallet
        owes beside; it counts as owed again.  A quarantine stays.

        @raise BrokenLaw: It is no dead letter, or was never signed.
        @raise Stale: It has changed since it was read, or its wallet is in flight.
        """

    async def strike(letter: StoredLetter, owner: Address | None, entry: AuditEntry) -> None:
        """
        End a letter.  Of a charge that still cannot be read, the charge goes with it: out of
        queue, list, usage and exposure; C{entry.before} has to keep its text.

        @param owner: Whose exposure counts that charge.
        @raise Stale: The letter, or what it is about, has changed since it was read.
        """

    async def release(funds: WalletFunds, entry: AuditEntry) -> None:
        """
        End a wallet's quarantine; the worker looks at its funds and its queue at once.

        @raise Stale: It is not quarantined, its exposure has moved since, or there is a letter
            that its books are behind the chain.
        """

    async def entries(first: int, count: int) -> tuple[bytes, ...]:
        """Stored forms of the audit's entries, the oldest first."""


class IStopOrders(Interface):
    """Worker facts of stop orders; an order stands until its sandbox is shown stopped."""

    async def order(sandbox: SandboxId, reason: str, now: UnixSeconds) -> None:
        """Write an order; an earlier one keeps its time and takes the new reason."""

    async def due(now: UnixSeconds, limit: int) -> tuple[StopOrder, ...]:
        """Orders whose next attempt is due, oldest first."""

    async def get(sandbox: SandboxId) -> StopOrder | None:
        """One order, as it stands now."""

    async def attempted(order: StopOrder, retry_at: UnixSeconds) -> None:
        """Count an attempt and say when the next may be made."""

    async def done(order: StopOrder) -> None:
        """
        The sandbox was shown stopped, or the reason has gone.

        Nothing is changed when the order has another reason or time by now, or is gone.
        """


@frozen(kw_only=True)
class OrderPage:
    """
    Some of what operators have ordered.

    @ivar orders: The newest first.
    @ivar before: Below which number the next page begins; None at the end.
    """

    orders: tuple[Order, ...]
    before: int | None


class IOrders(Interface):
    """
    What operators have ordered (L{sandbox_billing.ledger.order}): asked for by doors, carried
    out and ended by the worker; kept for ever.
    """

    async def ask(order: Order) -> Order:
        """
        A door fact: have something done.

        @return: The order as it stands under this id, which may be an earlier one: the caller
            compares the digest.
        @raise TooMany: So many have not ended: L{MOST_OPEN
            <sandbox_billing.ledger.order.MOST_OPEN>}, and of those that end at once some more.
        @raise Stale: Others came between, again and again.
        """

    async def order(id: OrderId) -> Order | None:
        """One, as it stands now."""

    async def page(upto: int | None, limit: int) -> OrderPage:
        """
        @param upto: How many, from the oldest, to look at; None for all.
        @param limit: The newest so many of these.
        """

    async def unended() -> tuple[Stored[Order], ...]:
        """Those that have not ended, in the order in which they were asked for."""

    async def begin(
        order: Stored[Order],
        begun: Order,
        *,
        pause: Pause | None = None,
        stop: SandboxId | None = None,
        pieces: Mapping[SandboxId, Piece] | None = None,
    ) -> Stored[Order]:
        """
        A worker fact: from now on something is done.

        @param pause: Stands from this write on.
        @param stop: Gets a stop order in this write.
        @param pieces: What is to be done with each of many.
        @raise Stale: It was begun or ended, or another pause stands.
        """

    async def pieces(id: OrderId) -> Mapping[SandboxId, Piece]:
        """How far each of many is; none once the order has ended."""

    async def mark(
        order: Stored[Order],
        pieces: Mapping[SandboxId, Piece],
        *,
        stop: Collection[SandboxId] = (),
    ) -> None:
        """
        A worker fact: how far some of them are.

        @param stop: Those that get a stop order in this write.
        @raise Stale: The order has ended.
        """

    async def end(
        order: Stored[Order],
        ended: Order,
        entry: AuditEntry,
        *,
        pause: Pause | None = None,
        lift: Stored[Pause] | None = None,
    ) -> None:
        """
        A worker fact: it is over, its entry is in the audit, and the pause is as it says.

        @param pause: Stands from this write on.
        @param lift: Stands no longer.
        @raise Stale: It has ended, another entry or another pause came between.
        """


@frozen(kw_only=True)
class SessionPage:
    """
    Some of the open sessions of all wallets.

    @ivar total: How many there are.
    @ivar sessions: By sandbox; those that cannot be read are left out.
    @ivar stops: Why some of them are to be stopped.
    @ivar after: Behind which the next page begins; None at the end.
    """

    total: int
    sessions: tuple[Session, ...]
    stops: Mapping[SandboxId, str]
    after: SandboxId | None


@frozen(kw_only=True)
class AuditPage:
    """
    Some of what operators decided.

    @ivar total: How many entries there are.
    @ivar first: The place of the first of these, from 0.
    @ivar forms: Their stored forms, the oldest first.
    @ivar before: That of the one before them; None where there is none.
    """

    total: int
    first: int
    forms: tuple[bytes, ...]
    before: bytes | None


@frozen(kw_only=True)
class Overview:
    """
    How much there is of everything, and the first of what a human may have to look at.

    @ivar sessions: Open.
    @ivar wallets: That were ever charged.
    @ivar mirrored: Wallets whose account is mirrored.
    @ivar blocked: Wallets that may run nothing.
    @ivar quarantined: Those of them that a human has to look at; None where there are too many
        blocked ones to look through.
    @ivar waiting: Wallets with charges to settle.
    @ivar in_flight: Wallets that a batch holds.
    @ivar batches: Unresolved, the oldest first; those that cannot be read are left out.
    @ivar dead: Dead-lettered charges, of C{dead_count}.
    @ivar letters: Other dead letters, of C{letter_count}.
    @ivar stops: Orders, those with the next attempt first, of C{stop_count}.
    @ivar stop_oldest: When the oldest of all that are looked through was ordered; None for none.
    @ivar differences: Of sweeps, newest first.
    @ivar hours: What was settled by the hour, the oldest first; hours without are left out.
        Of the same moment as C{totals}.
    @ivar holder: Which process holds the worker's lease, and under which token; None for none.
    """

    sessions: int
    wallets: int
    mirrored: int
    blocked: int
    quarantined: tuple[Address, ...] | None
    queue: QueueCount
    waiting: int
    in_flight: int
    batch_count: int
    batches: tuple[Batch, ...]
    dead_count: int
    dead: tuple[DeadCharge, ...]
    letter_count: int
    letters: tuple[DeadLetter, ...]
    stop_count: int
    stops: tuple[StopOrder, ...]
    stop_oldest: UnixSeconds | None
    purse: Purse | None
    differences: tuple[Difference, ...]
    holder: tuple[str, str] | None
    hours: tuple[Hour, ...]
    totals: Totals


class IOverview(Interface):
    """
    What operators look at: reads of bounded length, in any process, and what the worker keeps
    for them.
    """

    async def overview() -> Overview:
        """Of everything, at about one moment."""

    async def sessions(after: SandboxId | None, limit: int) -> SessionPage:
        """@param after: None from the first."""

    async def audit(upto: int | None, limit: int) -> AuditPage:
        """
        @param upto: How many entries, from the oldest, to look at; None for all.
        @param limit: The newest so many of these.
        """

    async def note_purse(purse: Purse) -> None:
        """Worker fact: what the gas account holds."""

    async def note_differences(found: Sequence[Difference]) -> None:
        """Worker fact: what a sweep found; so many are kept as an operator may look at."""


# --- the chain ----------------------------------------------------------------------


@frozen(kw_only=True)
class Receipt:
    """
    @ivar succeeded: Whether the transaction did not revert.
    @ivar gas_price: neuron per gas, as paid.
    """

    transaction: str
    block: BlockRef
    succeeded: bool
    gas_used: int
    gas_price: Neuron


@frozen(kw_only=True)
class AccountEvent:
    """
    Something that changes a wallet's account with our provider, or our registration.

    @ivar amount: neuron, of what moves money; None for everything else.
    """

    name: str
    wallet: Address | None
    block: int
    log_index: int
    amount: Neuron | None = None


@frozen(kw_only=True)
class Happenings:
    """
    What the contract logged in a range of blocks.

    @ivar settlements: Of our provider.
    @ivar events: All others of our provider, in log order.
    @ivar services: Providers whose registration changed, ours included.
    """

    settlements: tuple[Settlement, ...]
    events: tuple[AccountEvent, ...]
    services: tuple[Address, ...]


@frozen(kw_only=True)
class Moves:
    """
    All that moved a wallet's money with our provider, or used a nonce of it, in a range of
    blocks.

    @ivar deposited: neuron, in all.
    @ivar withdrawn: neuron, in all.
    @ivar settlements: In log order.
    @ivar sources: How many configured nodes know exactly this.
    """

    deposited: Neuron
    withdrawn: Neuron
    settlements: tuple[Settlement, ...]
    sources: int


@frozen(kw_only=True)
class ContractFacts:
    """
    What a start-up check compares.

    @ivar has_code: Whether anything is deployed at the contract's address.
    """

    chain_id: int
    has_code: bool
    domain_separator: str
    lock_seconds: int


@frozen(kw_only=True)
class Line:
    """One voucher as the contract takes it."""

    user: Address
    fee: Neuron
    usage_hash: str
    nonce: Nonce
    signature: str


@frozen(auto_exc=False)
class NodeBehind(Transient):
    """No configured node has the block that was asked for."""


@frozen(auto_exc=False)
class Unreadable(Transient):
    """Nodes answer, and what they say is nothing that the contract could have answered."""


@frozen(kw_only=True)
class AccountNonces:
    """
    How many transactions of the gas account nodes know.

    @ivar mined: In blocks.
    @ivar pending: With those that wait; a node need not count them.
    """

    mined: int
    pending: int


@frozen(auto_exc=False)
class TooMuch(Refused):
    """
    A settle call cannot be made as it is, and one without vouchers could: fewer may pass.

    @ivar reverts: It would revert; otherwise it takes more gas than it should.
    @ivar fits: How many vouchers would be few enough, about; None where that is not known.
    """

    reverts: bool = False
    fits: int | None = None


class IChain(Interface):
    """
    The settlement contract.  Every read names its block; amounts are neuron.

    L{Transient} covers time-outs of reads; L{UnknownOutcome} is raised by
    C{broadcast} alone.
    """

    async def facts() -> ContractFacts:
        """For the start-up check."""

    async def head() -> BlockRef:
        """
        The newest block that any node has of those that answer quickly.

        @raise NodeBehind: What is named as newest, no node has.
        """

    async def block(number: int) -> BlockRef:
        """@raise NodeBehind: No node has it."""

    async def first_block() -> int:
        """The block the contract was created in, found by bisecting C{eth_getCode}."""

    async def happenings(first: int, last: int) -> Happenings:
        """
        The contract's logs in C{[first, last]}; the range is halved where a node refuses it.
        """

    async def moves(wallet: Address, first: int, last: int) -> Moves:
        """
        What any configured node that answers knows of a wallet in C{[first, last]}: one may
        have left something out.

        @raise NodeBehind: None has C{last}.
        """

    async def service(provider: Address, at: BlockRef) -> ServiceRecord | None:
        """
        A registration; None when there is none.

        @raise Unreadable: No node's answer can be read.
        """

    async def behaviour(at: BlockRef) -> Behaviour:
        """Of the contract's code at a block; flawed unless it is known to be fixed."""

    async def domain_separator(at: BlockRef) -> str | None:
        """
        The contract's, at a block: what voucher signatures are checked against there.

        @return: C{0x} and 64 hex digits; None where the contract has no such function.
        """

    async def leaving_at(at: BlockRef) -> UnixSeconds | None:
        """When our provider may leave; None when it has not announced it."""

    async def accounts(wallets: Sequence[Address], at: BlockRef) -> tuple[Account, ...]:
        """In the order asked."""

    async def last_nonces(wallets: Sequence[Address], at: BlockRef) -> tuple[Nonce, ...]:
        """In the order asked."""

    def adopt_attempts(attempts: Iterable[Attempt]) -> None:
        """
        Tell of all stored attempts before the first C{prepare} of a turn: the account
        nonces of our sender's are taken, whatever nodes know of them.  Repeating it is
        harmless.
        """

    def abandon(attempt: Attempt) -> None:
        """
        Take back the newest prepared attempt, which was neither stored nor sent.

        Otherwise its account nonce would stay unused, and later transactions would wait.
        """

    async def account_nonce(at: BlockRef) -> int:
        """How many transactions of our sender are in blocks up to this one."""

    async def account_nonces() -> AccountNonces:
        """The highest counts of our sender's that nodes answer."""

    async def prepare(
        lines: Sequence[Line],
        replacing: Attempt | None,
        *,
        account_nonce: int | None = None,
        whole: bool = False,
    ) -> Attempt:
        """
        Make and sign a transaction for a batch; nothing is sent.

        The account nonce follows every transaction this process prepared; only one caller
        may prepare at a time.

        @param lines: None at all make a call that settles nothing: also in the place of an
            attempt that did.
        @param replacing: An earlier attempt of the same batch and of our own sender: same
            account nonce, fees at least a tenth higher.  Refused where a higher fee would not
            help: above a multiple of today's (T-3).
        @param account_nonce: One that was left unused, to be used up now (T-7).
        @param whole: It cannot be split any more: it may take a block, and not only half of one,
            as several vouchers otherwise do at most: what fills blocks waits long for one.
        @raise TooMuch: The batch is larger than that, or something in it makes it revert.
        @raise Refused: The gas wallet is below its floor, or no call would pass now.
        @raise NodeBehind: No block came since C{replacing}: it does not wait for want of a price.
        """

    async def broadcast(attempt: Attempt) -> None:
        """
        Send an attempt; sending the same again is harmless.

        @raise UnknownOutcome: No answer, or one that does not prove that no node has it.
        """

    async def receipt(transaction: str) -> Receipt | None:
        """None while it is not mined, or no longer."""

    async def refusals(lines: Sequence[Line], at: BlockRef) -> tuple[int | None, ...]:
        """
        The statuses the settle call would answer, replayed as a read from our sender.

        @param at: The parent of the block the transaction stands in.
        @return: None for each line when the call as a whole reverts.
        """

    async def gas_balance() -> Neuron:
        """What is left to pay for transactions."""

    async def gas_price() -> Neuron:
        """What a transaction would pay per gas now, about."""


class IContractWallets(Interface):
    """Wallets that are contracts: what they say of signatures (EIP-1271, EIP-6492)."""

    async def has_signed(wallet: Address, digest: bytes, signature: bytes) -> bool:
        """
        Ask the contract as it is at the newest block; nothing is changed by that.

        @param digest: 32 bytes.
        @param signature: Of any form, at most 4,096 bytes.  One that EIP-6492 wraps is taken
            from a wallet that is not deployed yet, too.
        @return: False whatever else the wallet does than say yes, and when there is none.
        @raise NotReady: Too many are being asked.
        @raise Transient: No node says, in time.
        """


# --- Daytona ------------------------------------------------------------------------


@frozen(auto_exc=False)
class DaytonaRefused(Refused):
    """
    Daytona answered 4xx.  A 400 to create or start may still have left a row behind.

    @ivar text: Daytona's message.
    @ivar status: Its code; 409 for a transition under way in every dialect, though the one
        before v0.160 answers 400.
    @ivar retry_after: Seconds after which the same call may pass; 0 when waiting does not help.
    @ivar looked: It was only to show something: before anything was asked for.
    """

    status: int = 400
    retry_after: int = 0
    looked: bool = False


@frozen(kw_only=True)
class Sandbox:
    """
    A sandbox as Daytona shows it.

    @ivar state: As spelt; C{started} when the key is absent (very old servers).
    @ivar labels: Those whose values are strings.
    @ivar document: The JSON as it came.
    @ivar as_found: It was only looked at: nothing was asked for it, or nothing that was accepted.
    """

    id: SandboxId
    name: str
    state: str
    desired_state: str | None
    labels: Mapping[str, str]
    resources: Resources
    auto_stop_minutes: int | None
    last_activity_at: str | None
    document: Mapping[str, Any] = field(repr=False)
    as_found: bool = field(default=False, eq=False)


@frozen
class Listing:
    """
    One page of a sweep.

    @ivar sent_at: When its request was sent, rounded down: what it shows running has run until
        then, if it ran before.
    @ivar answered_at: When its answer had come, rounded up: what it shows running has begun.
    @ivar unread: Rows that cannot be read; they hold up none of the others.
    """

    sandboxes: tuple[Sandbox, ...]
    sent_at: UnixSeconds
    answered_at: UnixSeconds
    unread: tuple[Unread, ...] = ()


class IRuntime(Interface):
    """
    Daytona.  Mutating calls raise L{UnknownOutcome} when they were sent and no answer, or
    a 5xx, came; reads raise L{Transient} for the same.  Every call raises
    L{DaytonaRefused} on a 4xx that its text below does not speak of.
    """

    async def ping() -> None:
        """A cheap authenticated call."""

    async def create(body: Mapping[str, Any]) -> Sandbox:
        """@param body: CreateSandbox, already allow-listed and labelled."""

    async def get(id_or_name: str) -> Sandbox | None:
        """A lookup, possibly from a cache of up to ten seconds; None on 404."""

    async def sweep() -> tuple[Listing, ...]:
        """Every sandbox, page by page, without its document; never a part of them."""

    async def look(sandbox: SandboxId) -> Listing:
        """
        One sandbox as lists show it, which are not cached; no sandbox in it when there is none.
        """

    async def labelled(label: str, value: str) -> tuple[Sandbox, ...]:
        """Those of the organization with this label, and no others."""

    async def lists_pages() -> bool:
        """
        Whether C{GET /sandbox} answers C{{items, nextCursor}}, as from v0.180, and not all of
        them in one array.
        """

    async def page(query: Mapping[str, str | tuple[str, ...]], *, paginated: bool) -> Any:
        """
        One page of a list in the shape of the Daytona behind, for a user's own query.

        @param query: Several values for one name are several pairs.
        @raise Transient: It is too large to be held: 32 MiB.
        """

    async def start(sandbox: SandboxId) -> Sandbox:
        """Waits up to 30 s for C{started}, then returns whatever is there."""

    async def stop(sandbox: SandboxId) -> Sandbox | None:
        """The sandbox at acceptance; None on 404."""

    async def delete(sandbox: SandboxId, *, force: bool = False) -> Sandbox | None:
        """
        The sandbox at acceptance; None on 404.

        @param force: Older servers then ask nothing of its state; newer ones ignore it.
        """

    async def archive(sandbox: SandboxId) -> Sandbox:
        """Only from C{stopped}."""

    async def recover(sandbox: SandboxId, *, skip_start: bool) -> Sandbox:
        """From C{error}; starts it too, and waits as C{start} does, unless told not to."""

    async def resize(sandbox: SandboxId, sizes: Mapping[str, int]) -> Sandbox:
        """@param sizes: Of C{cpu}, C{memory} and C{disk} those that change; GiB."""

    async def replace_labels(sandbox: SandboxId, labels: Mapping[str, str]) -> Sandbox:
        """All labels at once."""

    async def set_auto_stop(sandbox: SandboxId, minutes: int) -> None:
        """0 for never."""

    async def touch(sandbox: SandboxId) -> None:
        """Postpone the auto-stop: POST last-activity."""

    async def ssh_access(sandbox: SandboxId, minutes: int) -> Mapping[str, Any]:
        """A new token; earlier ones end."""

    async def revoke_ssh(sandbox: SandboxId, token: str | None) -> Sandbox:
        """@param token: None for every token of this sandbox."""

    async def signed_preview(sandbox: SandboxId, port: int, seconds: int) -> Mapping[str, Any]:
        """A URL with a token in its host that opens this port alone, for so long."""

    async def preview_holder(token: str, port: int) -> SandboxId | None:
        """Whose sandbox a signed preview token opens; None when it opens nothing."""

    async def expire_preview(sandbox: SandboxId, port: int, token: str) -> None:
        """Ends any sandbox's token: whoever asks has looked who holds it."""

    async def set_public(sandbox: SandboxId, public: bool) -> Sandbox:
        """Whether preview ports ask for no token."""

    async def set_network(sandbox: SandboxId, settings: Mapping[str, Any]) -> Sandbox:
        """@param settings: At least one of Daytona's three; since v0.169."""

    async def telemetry(
        sandbox: SandboxId, kind: tuple[str, ...], query: Mapping[str, str | tuple[str, ...]]
    ) -> Any:
        """@param kind: C{("logs",)}, C{("metrics",)}, C{("traces",)} or C{("traces", id)}."""

    async def config() -> Mapping[str, Any]:
        """What Daytona tells anybody; it names its inside."""

    async def regions() -> tuple[Mapping[str, Any], ...]:
        """The shared ones."""

    async def snapshots() -> tuple[Mapping[str, Any], ...]:
        """All of the organization, every page."""

    async def create_snapshot(body: Mapping[str, Any]) -> Mapping[str, Any]:
        """For operators."""

    async def set_snapshot_general(snapshot: str, general: bool) -> Mapping[str, Any]:
        """
        Whether users may start from it; for operators.

        @param snapshot: Its id.
        """

    async def delete_snapshot(snapshot: str) -> None:
        """For operators."""


# --- the relay: bytes that only pass through ----------------------------------------


class Place(Enum):
    """Where Daytona serves what is relayed (daytona.md §3)."""

    TOOLBOX = "the toolbox of one sandbox, on the host its toolboxProxyUrl names"
    LEGACY_TOOLBOX = "the same on the API host; gone in newer releases"
    BUILD_LOGS = "on the host of the toolbox"
    LEGACY_BUILD_LOGS = "on the API host"


@frozen(kw_only=True)
class RelayCall:
    """
    A request that goes on to Daytona; where exactly, the relay knows.

    @ivar sandbox: Whose; its canonical id goes into the path.
    @ivar tail: What stands below the toolbox, canonical and percent-encoded, without its
        first slash; empty for build logs.
    @ivar query: Encoded, without its question mark.
    @ivar headers: Allow-listed; the relay adds its own credential, C{Host} and framing.
    @ivar door: The path of ours that stands for the toolbox, for redirects.
    """

    method: str
    place: Place
    sandbox: Sandbox
    tail: str = ""
    query: str = ""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    door: str = ""


class ITunnel(Interface):
    """A connection to Daytona that has been upgraded: bytes, no longer HTTP."""

    headers = Attribute("Of the 101, as L{Headers<twisted.web.http_headers.Headers>}.")

    def join(protocol: Any) -> None:
        """
        Connect a protocol; what came right behind the 101 is its first data.

        Until then nothing is read.  When it provides C{IHalfCloseableProtocol}, it is told
        when Daytona stops writing.
        """

    def abort() -> None:
        """End the connection, joined or not."""


class IEvents(Interface):
    """Daytona's news of its sandboxes: where to look, never what is there."""

    async def follow(heard: Callable[[SandboxId], None], joined: Callable[[], None]) -> None:
        """
        Listen until that ends, which is always an error; cancelling it ends the connection.

        News may be lost, late, repeated or wrong, and may come in any number.

        @param heard: Something may have changed there.
        @param joined: From now on news comes.
        @raise Transient: They cannot be listened to, or not any more.
        """


class IRelay(Interface):
    """
    Streams to Daytona.  Nothing is ever sent twice and no redirect is followed; only
    connecting has a time-out.  Cancelling a call ends its connection.
    """

    async def send(call: RelayCall, body: Any) -> Any:
        """
        @param body: An C{IBodyProducer}, or None.  When its Deferred fails, the connection
            is cut and the failure is this call's.
        @return: An C{IResponse}, as soon as its headers are there, also while the body is
            still on its way; it reads when its body is delivered, and back-pressure goes
            both ways.  C{Location} leads through our door or is left out.
        @raise Transient: It was not sent.
        @raise UnknownOutcome: No readable answer came.
        """

    async def upgrade(call: RelayCall) -> Any:
        """
        Ask for a WebSocket.

        @return: An L{ITunnel}, or an C{IResponse} when Daytona does not change protocols.
        @raise Transient: It was not sent.
        @raise UnknownOutcome: No readable answer came.
        """


# --- the enclave --------------------------------------------------------------------


class ISigner(Interface):
    """The enclave's key, once fetched; it never leaves the object."""

    address = Attribute("The key's L{Address}.")

    def sign_digest(digest: bytes) -> bytes:
        """@return: 65 bytes r, s, v with v 27 or 28 and a low s."""

    def sign_transaction(fields: Mapping[str, Any]) -> Any:
        """@return: Something with C{raw} and C{hash}, both bytes."""


class IEnclave(Interface):
    """Whoever has the key."""

    async def fetch_key() -> ISigner:
        """
        Ask once; retries are the caller's.

        @raise BadInput: It refuses for good, or answers with another key than it reports.
        """


# --- intake: what the web room asks for ---------------------------------------------


@frozen(auto_exc=False, kw_only=True)
class CannotPay(Refused):
    """
    402.

    @ivar code: C{insufficient_balance}, C{not_acknowledged}, C{debt} or C{blocked}.
    @ivar balance: neuron, the mirror's, without a pending refund.
    @ivar required: neuron, the hold that was asked for.
    @ivar exposure: neuron, everything else the wallet owes already.
    """

    text: str
    code: str
    balance: Neuron
    required: Neuron
    exposure: Neuron


@frozen(auto_exc=False, kw_only=True)
class SpendLimitReached(Refused):
    """
    402: the wallet may well have more.

    @ivar limit: neuron, the token's, or which else it is.
    @ivar spent: neuron, what it has caused so far.
    @ivar reserved: neuron, what is set aside for what runs or is about to.
    @ivar required: neuron, the hold that was asked for.
    @ivar resets_at: When it begins anew, unix seconds; None: never.
    """

    text: str = "spend limit of this token reached"
    limit: Neuron
    spent: Neuron
    reserved: Neuron
    required: Neuron
    which: Which = Which.TOKEN
    resets_at: UnixSeconds | None = None


@frozen(auto_exc=False)
class StopPending(Refused):
    """
    409: a stop order stands for this sandbox, or another call is under way.

    @ivar reason: The order's, C{insufficient_balance} and the like; empty for none.
    @ivar retry_after: Seconds; 0 when nobody can tell.
    """

    reason: str = ""
    retry_after: int = 0


@frozen(auto_exc=False)
class NotYours(Refused):
    """403: proven to belong to another wallet."""


@frozen(auto_exc=False)
class NoSuchSandbox(Refused):
    """404: in the same words whether it never was, is gone or has a stranger's name."""

    text: str = "no such sandbox"


@frozen(auto_exc=False)
class NoSuchSnapshot(Refused):
    """404: what is not listed for everybody is nobody's to start from."""


@frozen(auto_exc=False)
class TooMany(Refused):
    """
    429.

    @ivar retry_after: Seconds; 0 when waiting does not help.
    """

    retry_after: int = 0


@frozen(auto_exc=False)
class NotReady(Transient):
    """
    503: we cannot decide now: no mirror, one that is too old, or admissions are closed.

    @ivar retry_after: Seconds; 0 when nobody can tell.
    """

    retry_after: int = 0


@frozen(auto_exc=False)
class TooSlow(Transient):
    """
    504: Daytona has not answered in time.

    Whatever it did will be found by the reconciler and metered or undone.
    """


@frozen(kw_only=True)
class Resumed:
    """
    @ivar resumed: What runs again.
    @ivar failed: What does not, and why, in words for its owner.
    """

    resumed: tuple[SandboxId, ...]
    failed: Mapping[SandboxId, str]


class IResumer(Interface):
    """Going on after a top-up."""

    async def resume(owner: Address, allowance: Allowance | None = None) -> Resumed:
        """
        Start again what was stopped for want of money, each as an ordinary start; the work goes
        on when the caller stops waiting.

        @param allowance: Of the token that asks; None where that has no limit.
        @raise CannotPay: Nothing could be started for want of money.
        @raise NotReady: There is too much under way.
        """


class IIntake(Interface):
    """
    Lifecycle calls of users.

    The work goes on when the caller stops waiting: cancelling what is returned cancels
    the waiting alone.  The caller has authenticated the wallet and resolved the id; the
    owner check is made here, on our own record first and the label second.
    """

    async def meet(owner: Address) -> Account:
        """
        A wallet's account; one that is not mirrored yet is read from the chain, and mirrored
        from then on when it has anything.

        @raise NotReady: The chain has not been read yet.
        """

    async def owned(owner: Address, id_or_name: str) -> Sandbox:
        """
        Resolve an id or name to a sandbox of this wallet.

        @raise NoSuchSandbox: There is none, or the name belongs to a stranger.
        @raise NotYours: The id belongs to another wallet.
        """

    async def create(
        owner: Address,
        body: Mapping[str, Any],
        *,
        auto_stop_minutes: int | None,
        reference: Reference | None = None,
        allowance: Allowance | None = None,
    ) -> Sandbox:
        """
        @param body: Allowed fields only, the user's labels among them; owner label,
            reference and intervals are added here.
        @param auto_stop_minutes: The user's wish; None or 0 for never.
        @param reference: The intent's, where somebody must find it again; None for a new one.
        @param allowance: Of the token that asks; None where that has no limit.
        @raise NoSuchSnapshot: Its C{snapshot} is none that is listed for everybody.
        @raise SpendLimitReached: As C{CannotPay}.
        @raise CannotPay: Before Daytona is asked, or after it allotted more than fits; then
            the sandbox was deleted and nothing is charged.
        @raise TooSlow: It may have been created; if so it will be metered or deleted.
        """

    async def start(
        owner: Address,
        id_or_name: str,
        *,
        reference: Reference | None = None,
        allowance: Allowance | None = None,
    ) -> Sandbox:
        """
        @param reference: As for C{create}.
        @param allowance: As for C{create}.
        @raise CannotPay: Before Daytona is asked.
        @raise SpendLimitReached: Likewise.
        """

    async def recover(
        owner: Address,
        id_or_name: str,
        *,
        skip_start: bool = False,
        reference: Reference | None = None,
        allowance: Allowance | None = None,
    ) -> Sandbox:
        """
        From an error; it is started, too, and admitted as a start is.

        @param skip_start: Leave it stopped.  It is admitted all the same: an older Daytona
            knows no such wish, and starts it.
        @param reference: As for C{create}.
        @param allowance: As for C{create}.
        @raise CannotPay: Before Daytona is asked.
        @raise SpendLimitReached: Likewise.
        """

    async def resize(
        owner: Address,
        id_or_name: str,
        sizes: Mapping[str, int],
        *,
        allowance: Allowance | None = None,
    ) -> Sandbox:
        """
        The new size is charged from when a sweep has seen it running.

        It counts for the token that the run was started with, whoever asks.

        @param sizes: Of C{cpu}, C{memory} and C{disk} those that change; GiB.
        @param allowance: As for C{create}; such a token grows only what was started with it.
        @raise Refused: It is not offered, or not to this token.
        @raise CannotPay: Before Daytona is asked.
        @raise SpendLimitReached: Likewise.
        """

    async def stop(owner: Address, id_or_name: str) -> Sandbox:
        """Charges up to the accepted stop."""

    async def delete(owner: Address, id_or_name: str) -> Sandbox:
        """Charges up to the accepted delete."""

    async def archive(owner: Address, id_or_name: str) -> Sandbox:
        """Only a stopped sandbox can be archived; nothing is charged for it."""

    async def replace_labels(owner: Address, id_or_name: str, labels: Mapping[str, str]) -> Sandbox:
        """The user's labels replace the user's labels; ours stay."""

    async def reconcile(owner: Address, id_or_name: str) -> None:
        """
        Ask the worker to look at the sandbox now, and wait until it did.

        @raise NotReady: It did not within ten seconds.
        """


@frozen(kw_only=True)
class TurnState:
    """
    How a service that takes turns fares.

    @ivar last_good_turn: When its last good turn ended; None before one did.
    @ivar trouble: Why the last one failed, or that it does not end; None for neither.
    @ivar every: Seconds from the start of one turn to the next.
    """

    last_good_turn: UnixSeconds | None
    trouble: str | None
    every: float


@frozen(kw_only=True)
class PartState:
    """
    How a part that we depend on answered last.

    @ivar reason: What it answered instead; None when it is well.
    @ivar checked_at: When it was asked; None while it was never reached.
    """

    ok: bool
    reason: str | None
    checked_at: UnixSeconds | None


class IReadiness(Interface):
    """What is wrong right now."""

    def reasons() -> Mapping[str, str]:
        """Part to reason; empty when everything works."""

    def notices() -> Mapping[str, str]:
        """What is worth knowing and no fault: a pause."""

    def services() -> Mapping[str, TurnState]:
        """What takes turns in this process, by its name."""

    def dependencies() -> Mapping[str, PartState]:
        """What this process depends on, by its name."""
