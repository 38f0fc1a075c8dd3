"""
What becomes of the Go implementation's sessions and vouchers: pure, from facts to a plan.

Three rules decide.  Nobody pays twice for a second: what the chain has settled, and what two
entries claim, is not offered again.  Nobody pays a price that he did not acknowledge: a session
goes on at the lower of what the Go system charged and what the registered prices say.  And no
neuron disappears: each entry becomes exactly one charge, or is worth nothing.

What was carried over already is planned like the rest and only not carried out, so that a run
that goes on after a crash decides as the first one did.

Tests: L{tests.ledger.test_go_plan}.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from sandbox_billing.errors import BrokenLaw, Refused
from sandbox_billing.ledger.account import Settlement
from sandbox_billing.ledger.go_claims import Recovery, charged_beyond, recover
from sandbox_billing.ledger.go_facts import GoFacts, GoWorld, price_of, wallets_of
from sandbox_billing.ledger.go_forms import Ghost, GoSession, GoVoucher
from sandbox_billing.ledger.go_judge import VoucherStep, judged
from sandbox_billing.ledger.hold import hold_for
from sandbox_billing.ledger.identity import Address, Nonce, Reference, SandboxId
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds, neuron
from sandbox_billing.ledger.rating import card_in_force, cost_of, rate_of
from sandbox_billing.ledger.reconciliation import REFERENCE_LABEL, Row, wished_minutes
from sandbox_billing.ledger.resources import DAYTONA_DEFAULT
from sandbox_billing.ledger.voucher import ChargeRecord, Open, Paid, Partial, Signed


UNPRICED = "unpriced"


@frozen(kw_only=True)
class WalletStep:
    """
    A wallet becomes known.

    @ivar given: The last nonce that is stored.
    @ivar nonce: What it is to be: above everything that was ever used.
    @ivar accept: Up to which nonce its settled vouchers have no charge here; None for nothing
        new.
    """

    wallet: Address
    given: Nonce | None
    nonce: Nonce
    accept: Nonce | None = None


@frozen(kw_only=True)
class SessionStep:
    """
    @ivar stop: Why it is stopped at once; None otherwise.
    """

    go: GoSession
    session: Session
    stop: str | None = None


@frozen(kw_only=True)
class GoPlan:
    """
    What is done, in this order.

    @ivar notes: What a human should know.
    """

    wallets: tuple[WalletStep, ...]
    sessions: tuple[SessionStep, ...]
    ghosts: tuple[Ghost, ...]
    vouchers: tuple[VoucherStep, ...]
    stops: tuple[tuple[SandboxId, str], ...]
    idle_stops: tuple[SandboxId, ...]
    notes: tuple[str, ...]

    @property
    def fees(self) -> Neuron:
        """What the entries are worth, before."""
        return neuron(sum(step.entry.voucher.fee for step in self.vouchers))

    @property
    def amounts(self) -> Mapping[str, Neuron]:
        """What the charges are worth, after, by what becomes of them."""
        sums = dict.fromkeys(("open", "signed", "dead", "settled", "debt"), 0)
        for step in self.vouchers:
            if step.record is not None:
                name, amount = _column(step.record)
                sums[name] += amount
            if step.debt is not None:
                sums["debt"] += step.debt.amount
        return {name: neuron(amount) for name, amount in sums.items()}


def _column(record: ChargeRecord) -> tuple[str, Neuron]:
    match record.state:
        case Open():
            return "open", record.charge.amount
        case Signed():
            return "signed", record.charge.amount
        case Paid():
            return "settled", record.charge.amount
        case Partial(paid=paid):
            return "settled", paid
        case _:
            return "dead", record.charge.amount


def plan_import(facts: GoFacts, world: GoWorld) -> GoPlan:
    """
    @raise Refused: A session has no price by which it could go on.
    @raise BrokenLaw: What comes out is not worth what went in (L6).
    """
    notes: list[str] = []
    known = _recovered(facts, world)
    claims = _claims(facts, world)
    sessions = tuple(
        _session(one, world, _charged_until(one, facts, world, claims, known, notes), notes)
        for one in facts.sessions
    )
    vouchers = tuple(judged(facts, world, known.values()))
    stops, idle = _stops(facts, world)
    notes.extend(_told(facts, vouchers))
    plan = GoPlan(
        wallets=tuple(_wallets(facts, world)),
        sessions=sessions,
        ghosts=facts.ghosts,
        vouchers=vouchers,
        stops=stops,
        idle_stops=idle,
        notes=tuple(notes),
    )
    if sum(plan.amounts.values()) != plan.fees:
        raise BrokenLaw("L6", f"{plan.fees} neuron would become {dict(plan.amounts)}")
    return plan


# --- sessions ---------------------------------------------------------------------------


def _recovered(facts: GoFacts, world: GoWorld) -> Mapping[SandboxId, Recovery]:
    """What can be told of the time that entries are for: see L{recover}."""
    mine: dict[SandboxId, list[GoVoucher]] = {}
    for entry in facts.entries:
        mine.setdefault(entry.voucher.sandbox, []).append(entry.voucher)
    settled: dict[Address, list[Settlement]] = {}
    for event in sorted(world.settlements, key=lambda one: (one.block, one.log_index)):
        settled.setdefault(event.user, []).append(event)
    return {
        one.sandbox: recover(
            one,
            price_of(one, world),
            mine.get(one.sandbox, ()),
            settled.get(one.owner, ()),
            interval=world.interval,
            hashed=world.hashed,
        )
        for one in (*facts.sessions, *facts.finished)
    }


def _charged_until(
    go: GoSession,
    facts: GoFacts,
    world: GoWorld,
    claims: Mapping[Address, Mapping[str, Neuron]],
    known: Mapping[SandboxId, Recovery],
    notes: list[str],
) -> UnixSeconds:
    """
    After all that was charged for it: by its own mark, by a voucher that waits or was settled
    (B3), and by our own books.  Rather is a second not charged than charged twice.
    """
    beyond = charged_beyond(
        go,
        price_of(go, world),
        claims.get(go.owner, {}),
        interval=world.interval,
        hashed=world.hashed,
    )
    by_voucher = max(beyond, known[go.sandbox].until)
    if by_voucher > go.charged_until:
        notes.append(
            f"{go.sandbox}: charged until {by_voucher} by a voucher, until {go.charged_until} by"
            " its session: it is charged on after the voucher"
        )
    by_us = facts.charged_until.get(go.sandbox, UnixSeconds(0))
    return max(go.charged_until, by_voucher, by_us)


def _session(go: GoSession, world: GoWorld, until: UnixSeconds, notes: list[str]) -> SessionStep:
    row = world.rows.get(go.sandbox)
    resources = DAYTONA_DEFAULT if row is None else row.resources
    card = card_in_force(world.service.prices, world.prices, world.service.signer_version)
    was = 60 * price_of(go, world)
    stop = None
    try:
        rate = rate_of(card, resources)
    except Refused:
        # What has no price here must not run on (B21); what ran is owed at the price it had.
        rate, stop = NeuronPerMinute(was), UNPRICED
    if was:
        if was > rate:
            notes.append(
                f"{go.sandbox}: {was} neuron a minute by the Go system, {rate} by the registered"
                " prices: it goes on at the lower one"
            )
        rate = NeuronPerMinute(min(rate, was))
    if rate <= 0:
        raise Refused(f"{go.sandbox} has no price: set COMPUTE_PRICE_PER_SEC as the Go system had")
    notes.extend(_far_off(go, until, rate, row, world))
    if row is None or not row.running:
        shown = "not shown" if row is None else row.state
        notes.append(f"{go.sandbox}: {shown} by Daytona: its session will end without a charge")
    elif row.owner != go.owner:
        notes.append(
            f"{go.sandbox}: its label names {row.owner}, its session {go.owner}, who is charged"
        )
    reference = None if row is None else row.labels.get(REFERENCE_LABEL)
    session = Session(
        sandbox=go.sandbox,
        owner=go.owner,
        provider=go.provider,
        reference=Reference(reference or f"imported:{go.sandbox}"),
        resources=resources,
        rate=rate,
        signer_version=world.service.signer_version,
        opened_at=until,
        # The line that rates it begins where the Go system's charges end.
        started_at=until,
        charged_until=until,
        changed_at=world.now,
        hold=hold_for(rate, Neuron(0), interval=world.interval, stop_delay=world.stop_delay),
        auto_stop_minutes=None if row is None else wished_minutes(row.labels),
    )
    return SessionStep(go=go, session=session, stop=stop)


def _far_off(
    go: GoSession, until: UnixSeconds, rate: NeuronPerMinute, row: Row | None, world: GoWorld
) -> Iterable[str]:
    """Where it is charged is far from now: whoever carries it over should know what follows."""
    behind = world.now - until
    if behind > 2 * world.interval and row is not None and row.running:
        yield (
            f"{go.sandbox}: not charged for {behind} s: the daemon will charge them, about"
            f" {cost_of(rate, behind)} neuron, if it sees it running"
        )
    if -behind > 2 * world.interval:
        yield f"{go.sandbox}: charged for {-behind} s ahead: nothing is charged before"


def _claims(facts: GoFacts, world: GoWorld) -> Mapping[Address, Mapping[str, Neuron]]:
    """
    Usage hash to fee of everything that a wallet owes or has paid: what waits, and then the
    newest first.
    """
    found: dict[Address, dict[str, Neuron]] = {}
    for entry in facts.entries:
        voucher = entry.voucher
        found.setdefault(voucher.user, {})[voucher.usage_hash] = voucher.fee
    newest = sorted(world.settlements, key=lambda one: (one.block, one.log_index), reverse=True)
    for event in newest:
        found.setdefault(event.user, {}).setdefault(event.usage_hash, event.fee)
    return found


def _stops(
    facts: GoFacts, world: GoWorld
) -> tuple[tuple[tuple[SandboxId, str], ...], tuple[SandboxId, ...]]:
    """Orders, and those that are for nothing any more."""
    metered = {one.sandbox for one in (*facts.sessions, *facts.finished)}
    wanted, idle = [], []
    for sandbox, reason in sorted(facts.stops.items()):
        row = world.rows.get(sandbox)
        if sandbox in metered or (row is not None and not row.ended):
            wanted.append((sandbox, reason))
        else:
            idle.append(sandbox)
    return tuple(wanted), tuple(idle)


# --- wallets ----------------------------------------------------------------------------


def _wallets(facts: GoFacts, world: GoWorld) -> Iterable[WalletStep]:
    """
    The next nonce is above all that were used (L5, B16): by the Go system, in its lists, and
    on chain, whose vouchers of its time have no charge here.
    """
    sealed: dict[Address, int] = {}
    for entry in facts.entries:
        user, nonce = entry.voucher.user, entry.voucher.nonce
        if nonce is not None:
            sealed[user] = max(sealed.get(user, 0), nonce)
    settled: dict[Address, Nonce] = {}
    for event in world.settlements:
        settled[event.user] = Nonce(max(settled.get(event.user, 0), event.nonce))
    for wallet in wallets_of(facts):
        given, upto = facts.nonces.get(wallet), settled.get(wallet)
        highest = max(given or 0, sealed.get(wallet, 0), world.nonces.get(wallet, 0))
        new = upto is not None and upto > world.accepted.get(wallet, 0)
        yield WalletStep(
            wallet=wallet, given=given, nonce=Nonce(highest), accept=upto if new else None
        )


def _told(facts: GoFacts, vouchers: Sequence[VoucherStep]) -> Iterable[str]:
    for ghost in facts.ghosts:
        yield f"{ghost.sandbox}: a session without an owner: nobody is charged for it"
    for step in vouchers:
        voucher = step.entry.voucher
        if voucher.rounded:
            yield (
                f"{step.entry.key} {step.entry.place}: its fee is not written as the Go system"
                f" writes it; it is taken for {voucher.fee} neuron"
            )
    unknown = [step for step in vouchers if step.record is not None and not step.known]
    if unknown:
        yield (
            f"{len(unknown)} vouchers: what time they are for is not known; they keep the usage"
            " hash that they have"
        )
