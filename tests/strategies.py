"""
Values of the ledger, built bottom-up; public, for every test that needs some.

A strategy makes what the ledger may really meet, and says where its bounds come
from.  Its own tests are in C{tests/test_strategies.py}.  Those that are only
combinations are cached: to build one anew for each draw costs more than to draw.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from string import ascii_letters, ascii_lowercase, digits
from typing import Any

from attrs import evolve
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from sandbox_billing.ledger.account import Account, BlockRef, Mirror, ServiceRecord, Settlement
from sandbox_billing.ledger.batch import Attempt, Batch
from sandbox_billing.ledger.hold import Exposure, Intent
from sandbox_billing.ledger.identity import (
    Address,
    BatchId,
    ChargeId,
    Nonce,
    Reference,
    SandboxId,
    compute_charge_id,
    create_charge_id,
    debt_charge_id,
    imported_charge_id,
    merged_charge_id,
)
from sandbox_billing.ledger.metering import (
    NEVER_STARTED,
    NOT_RUNNING,
    NOT_YET,
    RUNNING,
    UNCHANGED,
    Session,
)
from sandbox_billing.ledger.money import UINT256_MAX, Neuron, NeuronPerMinute, UnixSeconds
from sandbox_billing.ledger.rating import Prices, RateCard
from sandbox_billing.ledger.reconciliation import OWNER_LABEL, REFERENCE_LABEL, Row, World
from sandbox_billing.ledger.resources import Resources
from sandbox_billing.ledger.voucher import (
    Charge,
    ChargeKind,
    ChargeRecord,
    ChargeState,
    DeadLettered,
    Forgiven,
    Merged,
    Open,
    Paid,
    Parked,
    Partial,
    Seal,
    Signed,
)


STATES = tuple(sorted({RUNNING} | NOT_YET | UNCHANGED | NOT_RUNNING | NEVER_STARTED))
"""Every state the daemon knows, in one order so that a failure can be replayed."""

# --- numbers and names --------------------------------------------------------------


@cache
def amounts() -> SearchStrategy[Neuron]:
    """Every amount the chain can hold, those around the 64-bit and float limits among them."""
    edges = st.sampled_from([0, 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64, UINT256_MAX])
    return (edges | st.integers(0, UINT256_MAX)).map(Neuron)


@cache
def funds(least: int = 0) -> SearchStrategy[Neuron]:
    """What a wallet can hold (uint128 in the contract): sums of them stay an amount."""
    return (st.integers(least, 1_000) | st.integers(least, 2**128 - 1)).map(Neuron)


@cache
def rates() -> SearchStrategy[NeuronPerMinute]:
    """Up to 1000 0G a minute; small ones, where rounding shows, are as likely as large."""
    return (st.integers(1, 200) | st.integers(1, 10**21)).map(NeuronPerMinute)


@cache
def moments() -> SearchStrategy[UnixSeconds]:
    """Unix seconds to the year 36812: beyond 32 bits, within a float's exact integers."""
    return st.integers(0, 2**40).map(UnixSeconds)


@cache
def durations(longest: int = 10**6) -> SearchStrategy[int]:
    """Seconds; the short ones around which whole minutes change are as likely as weeks."""
    return st.integers(0, 130) | st.integers(0, longest)


@cache
def intervals() -> SearchStrategy[int]:
    """VOUCHER_INTERVAL_SEC from a second to two hours, LOCK_TIME."""
    return st.integers(1, 90) | st.integers(1, 7200)


@cache
def nonces() -> SearchStrategy[Nonce]:
    """uint64, as the contract keeps the last one."""
    return st.integers(1, 2**64 - 2).map(Nonce)


@cache
def texts() -> SearchStrategy[str]:
    """Any text that UTF-8 can hold: no lone surrogates."""
    return st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@cache
def hashes() -> SearchStrategy[str]:
    """32 bytes as the chain spells them."""
    return st.binary(min_size=32, max_size=32).map(lambda raw: "0x" + raw.hex())


@cache
def addresses() -> SearchStrategy[Address]:
    """20 bytes of any value."""
    return st.binary(min_size=20, max_size=20).map(Address.from_bytes)


@cache
def sandbox_ids() -> SearchStrategy[SandboxId]:
    """UUIDs, as today's servers give, and the short ids of older ones."""
    short = st.builds(
        str.__add__,
        st.sampled_from(ascii_letters + digits),
        st.text(ascii_letters + digits + "._-", max_size=20),
    )
    return (st.uuids().map(str) | short).map(SandboxId)


@cache
def references() -> SearchStrategy[Reference]:
    """What C{IIds.reference} promises: lower case, digits and hyphens, at most 40."""
    return st.text(ascii_lowercase + digits + "-", min_size=1, max_size=40).map(Reference)


@cache
def versions() -> SearchStrategy[int]:
    """A signer version: 0 on the deployed contract, from 1 on ours."""
    return st.integers(0, 1_000)


# --- prices and sessions ------------------------------------------------------------


@cache
def resources(gpus: int = 0) -> SearchStrategy[Resources]:
    """Sizes from one core up; without a gpu unless asked for, for those are refused."""
    return st.builds(
        Resources,
        cpu=st.integers(1, 128),
        memory_gib=st.integers(1, 1024),
        disk_gib=st.integers(1, 1024),
        gpu=st.integers(0, gpus),
    )


@cache
def prices() -> SearchStrategy[Prices]:
    """Any mixture of named and missing prices, the empty list among them."""
    price = st.just(Neuron(0)) | st.integers(1, 10**18).map(Neuron)
    return st.builds(
        Prices,
        per_cpu_per_minute=price,
        per_memory_gib_per_minute=price,
        flat_per_second=price,
        create_fee=price,
    )


@cache
def rate_cards() -> SearchStrategy[RateCard]:
    """Price lists under any version."""
    return st.builds(RateCard, prices=prices(), signer_version=versions())


@st.composite
def sessions(
    draw: Callable[[SearchStrategy[Any]], Any],
    *,
    sandboxes: SearchStrategy[SandboxId] | None = None,
    started: SearchStrategy[bool] | None = None,
) -> Session:
    """Pending or running, charged up to any moment of the run; never before its start."""
    opened_at = draw(moments())
    started_at = None
    charged_until = opened_at
    if draw(st.booleans() if started is None else started):
        started_at = UnixSeconds(opened_at + draw(durations()))
        charged_until = UnixSeconds(started_at + draw(durations()))
    return Session(
        sandbox=draw(sandbox_ids() if sandboxes is None else sandboxes),
        owner=draw(addresses()),
        provider=draw(addresses()),
        reference=draw(references()),
        resources=draw(resources()),
        rate=draw(rates()),
        signer_version=draw(versions()),
        opened_at=opened_at,
        started_at=started_at,
        charged_until=charged_until,
        changed_at=UnixSeconds(opened_at + draw(durations())),
        hold=draw(funds()),
        auto_stop_minutes=draw(st.none() | st.integers(0, 10_000)),
        revision=draw(st.integers(0, 2**31)),
    )


@st.composite
def intents(
    draw: Callable[[SearchStrategy[Any]], Any],
    *,
    sandboxes: SearchStrategy[SandboxId] | None = None,
) -> Intent:
    """Every action; only a create does not know its sandbox beforehand and has a fee."""
    action = draw(st.sampled_from(["create", "start", "recover"]))
    creating = action == "create"
    return Intent(
        reference=draw(references()),
        action=action,
        owner=draw(addresses()),
        provider=draw(addresses()),
        sandbox=None if creating else draw(sandbox_ids() if sandboxes is None else sandboxes),
        hold=draw(funds()),
        create_fee=draw(funds()) if creating else Neuron(0),
        rate=draw(rates()),
        prices=draw(prices()),
        signer_version=draw(versions()),
        auto_stop_minutes=draw(st.none() | st.integers(0, 10_000)),
        created_at=draw(moments()),
        idempotency_key=draw(st.none() | texts()),
    )


# --- charges ------------------------------------------------------------------------


@st.composite
def charges(
    draw: Callable[[SearchStrategy[Any]], Any],
    *,
    kinds: SearchStrategy[ChargeKind] | None = None,
    owners: SearchStrategy[Address] | None = None,
) -> Charge:
    """
    Of every kind, with the id, period and units that wire.md §2 gives to that kind.

    The amount is free: a rest that is collected has the period of the whole.
    """
    kind = draw(st.sampled_from(ChargeKind) if kinds is None else kinds)
    sandbox = draw(sandbox_ids())
    start = draw(moments())
    moment = kind in (ChargeKind.CREATE, ChargeKind.IMPORTED)
    until = start if moment else UnixSeconds(start + 1 + draw(durations()))
    id_ = create_charge_id(sandbox)
    if kind is not ChargeKind.CREATE:
        id_ = compute_charge_id(sandbox, start)
    if kind is ChargeKind.DEBT:
        id_ = debt_charge_id(id_, draw(st.integers(1, 20)))
    hashed = None
    if kind is ChargeKind.IMPORTED:
        hashed = "0x" + draw(st.binary(min_size=32, max_size=32)).hex()
        id_ = imported_charge_id(sandbox, hashed, draw(st.integers(0, 3)))
    return Charge(
        id=id_,
        sandbox=sandbox,
        owner=draw(addresses() if owners is None else owners),
        provider=draw(addresses()),
        kind=kind,
        period_start=start,
        period_end=until,
        units=until - start if kind is ChargeKind.COMPUTE else 0,
        amount=draw(funds(least=1)),
        rate=0 if moment else draw(rates()),
        created_at=UnixSeconds(until + draw(durations())),
        usage_hash=hashed,
    )


def seals(fee: Neuron) -> SearchStrategy[Seal]:
    """Promises of a fee; the signature is 65 bytes and verifies nowhere."""
    return st.builds(
        Seal,
        nonce=nonces(),
        fee=st.just(fee),
        usage_hash=hashes(),
        signature=st.binary(min_size=65, max_size=65).map(lambda raw: "0x" + raw.hex()),
    )


@st.composite
def sealed_states(
    draw: Callable[[SearchStrategy[Any]], Any], charge: Charge, seal: Seal
) -> ChargeState:
    """What may become of a charge once it is signed; a partial one owes at least 1."""
    paid = draw(st.integers(0, charge.amount - 1))
    mined = {"transaction": draw(hashes()), "block": draw(st.integers(0, 2**40))}
    partial = Partial(
        seal=seal,
        paid=Neuron(paid),
        owed=Neuron(charge.amount - paid),
        debt=debt_charge_id(charge.id, 1),
        **mined,
    )
    dead = DeadLettered(seal=seal, reason=draw(texts()))
    state: ChargeState = draw(
        st.sampled_from([Signed(seal), Parked(seal), Paid(seal=seal, **mined), partial, dead])
    )
    return state


@st.composite
def charge_records(
    draw: Callable[[SearchStrategy[Any]], Any], *, of: SearchStrategy[Charge] | None = None
) -> ChargeRecord:
    """A charge in any state: open, dead without ever being signed, or sealed."""
    charge = draw(charges() if of is None else of)
    seal = draw(seals(charge.amount))
    unsealed = st.sampled_from(
        [
            Open(),
            DeadLettered(seal=None, reason="cannot be decoded"),
            Merged(merged_charge_id(charge.id, charge.period_end)),
            *(
                Forgiven(seal=was, reason="waived", by="operator", at=charge.created_at)
                for was in (None, seal)
            ),
        ]
    )
    return ChargeRecord(charge, draw(unsealed | sealed_states(charge, seal)))


def waiting_records(owner: Address) -> SearchStrategy[ChargeRecord]:
    """What the settler may find in a wallet's queue: open, signed or parked."""

    def states(charge: Charge) -> SearchStrategy[ChargeRecord]:
        promised = seals(charge.amount).flatmap(lambda s: st.sampled_from([Signed(s), Parked(s)]))
        return (st.just(Open()) | promised).map(lambda state: ChargeRecord(charge, state))

    return charges(owners=st.just(owner)).flatmap(states)


@st.composite
def attempts(
    draw: Callable[[SearchStrategy[Any]], Any], *, account_nonce: int | None = None
) -> Attempt:
    """Signed transactions; of one account nonce when it is given."""
    return Attempt(
        sender=draw(addresses()),
        account_nonce=draw(st.integers(0, 2**63)) if account_nonce is None else account_nonce,
        gas_limit=draw(st.integers(21_000, 30_000_000)),
        fee_cap=draw(funds()),
        raw="0x" + draw(st.binary(max_size=40)).hex(),
        hash=draw(hashes()),
        recorded_at=draw(moments()),
    )


@st.composite
def batches(draw: Callable[[SearchStrategy[Any]], Any]) -> Batch:
    """Some charges of some wallets; every attempt has the same account nonce (T-1)."""
    account_nonce = draw(st.integers(0, 2**63))
    ids = draw(st.lists(charges(), min_size=1, max_size=4))
    return Batch(
        id=BatchId(draw(references())),
        wallets=tuple(dict.fromkeys(charge.owner for charge in ids)),
        charges=tuple(ChargeId(charge.id) for charge in ids),
        created_at=draw(moments()),
        attempts=tuple(draw(st.lists(attempts(account_nonce=account_nonce), max_size=3))),
    )


# --- the chain's side ---------------------------------------------------------------


def accounts(wallets: SearchStrategy[Address] | None = None) -> SearchStrategy[Account]:
    """Any account, whatever its wallet may do with it."""
    return st.builds(
        Account,
        wallet=addresses() if wallets is None else wallets,
        balance=funds(),
        pending_refund=funds(),
        refund_unlock_at=moments(),
        acknowledged=st.booleans(),
        last_nonce=nonces(),
        block=st.integers(0, 2**40),
    )


@cache
def blocks() -> SearchStrategy[BlockRef]:
    """Blocks of any chain."""
    return st.builds(BlockRef, number=st.integers(0, 2**40), hash=hashes(), timestamp=moments())


@cache
def service_records() -> SearchStrategy[ServiceRecord]:
    """Registrations, with any text for an address: the contract does not check it."""
    return st.builds(
        ServiceRecord,
        provider=addresses(),
        url=texts(),
        signer=addresses(),
        prices=prices(),
        signer_version=versions(),
    )


@cache
def mirrors() -> SearchStrategy[Mirror]:
    """Mirrors of a registered and of an unregistered provider."""
    return st.builds(
        Mirror,
        block=blocks(),
        service=st.none() | service_records(),
        leaving_at=st.none() | moments(),
        version_changed_at=st.none() | moments(),
        updated_at=moments(),
    )


@cache
def settlements() -> SearchStrategy[Settlement]:
    """Events of both contracts: with the amount that moved, and without."""
    return st.builds(
        Settlement,
        user=addresses(),
        provider=addresses(),
        fee=amounts(),
        usage_hash=hashes(),
        nonce=nonces(),
        status=st.sampled_from([0, 1]),
        paid=st.none() | amounts(),
        transaction=hashes(),
        block=st.integers(0, 2**40),
        log_index=st.integers(0, 10_000),
        timestamp=moments(),
    )


# --- exposure -----------------------------------------------------------------------


@st.composite
def exposures(draw: Callable[[SearchStrategy[Any]], Any], now: int) -> Exposure:
    """
    Fields of every kind, with sessions charged up to any moment around C{now}.

    @param now: unix seconds; a session may be charged beyond it (a clock stepped back).
    """
    names = st.lists(references(), unique=True, max_size=4)
    fields = {f"hold:{name}": str(draw(funds())) for name in draw(names)}
    for name in draw(names):
        rate = draw(st.just(0) | rates())
        charged_until = now + draw(st.integers(-(10**5), 100))
        fields[f"session:{name}"] = f"{draw(funds())}:{rate}:{charged_until}"
    for kind in ("charge", "debt"):
        fields |= {f"{kind}:{name}": str(draw(funds())) for name in draw(names)}
    return Exposure(fields)


# --- reconciliation -----------------------------------------------------------------


@st.composite
def worlds(draw: Callable[[SearchStrategy[Any]], Any]) -> World:
    """
    Everything a sweep can meet, from so few names that rows, sessions and intents meet too.

    Moments lie within ten minutes, so that both sides of every grace time occur.
    """
    names = [SandboxId(f"sb-{n}") for n in range(4)]
    wallets = [Address(f"0x{n:040x}") for n in range(1, 4)]
    tags = [Reference(f"ref-{n}") for n in range(3)]
    now = UnixSeconds(10_000)
    recently = st.integers(now - 600, now).map(UnixSeconds)
    labels = st.fixed_dictionaries(
        {},
        optional={
            OWNER_LABEL: st.sampled_from([str(wallet) for wallet in wallets] + ["somebody"]),
            REFERENCE_LABEL: st.sampled_from(tags),
        },
    )
    row = st.builds(
        Row,
        sandbox=st.sampled_from(names),
        state=st.just(RUNNING) | st.sampled_from(sorted(NEVER_STARTED)) | st.sampled_from(STATES),
        desired_state=st.sampled_from([None, "started", "stopped", "destroyed"]),
        labels=labels,
        resources=resources(),
        seen_at=recently,
        answered_at=recently,
    )
    found = draw(st.lists(sessions(sandboxes=st.sampled_from(names)), max_size=3))
    open_ones = {}
    for session in found:
        changed = draw(recently)
        open_ones[session.sandbox] = _at(session, changed)
    planned = draw(
        st.lists(
            intents(sandboxes=st.sampled_from(names)),
            max_size=3,
            unique_by=lambda intent: intent.sandbox or intent.reference,
        )
    )
    stored = tuple(
        _renamed(intent, tag, draw(recently)) for intent, tag in zip(planned, tags, strict=False)
    )
    return World(
        rows=tuple(draw(st.lists(row, max_size=4, unique_by=lambda r: r.sandbox))),
        sessions=open_ones,
        intents=stored,
        owners=draw(st.dictionaries(st.sampled_from(names), st.sampled_from(wallets), max_size=3)),
        wallets=frozenset(draw(st.sets(st.sampled_from(wallets)))),
        missed=frozenset(draw(st.sets(st.sampled_from(tags)))),
        now=now,
    )


def _at(session: Session, changed_at: UnixSeconds) -> Session:
    """A session whose moments lie within a world's ten minutes."""
    started_at = None if session.started_at is None else changed_at
    return evolve(
        session,
        opened_at=changed_at,
        started_at=started_at,
        charged_until=changed_at,
        changed_at=changed_at,
    )


def _renamed(intent: Intent, reference: Reference, created_at: UnixSeconds) -> Intent:
    return evolve(intent, reference=reference, created_at=created_at)
