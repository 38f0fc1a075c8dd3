"""
The parts of the comparison that need no evidence: what follows from what is stored, and what
only counts it; pure.

Tests: L{tests.ledger.test_comparison}.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from attrs import evolve

from sandbox_billing.ledger.comparison import (
    BEHIND,
    Difference,
    Enter,
    Expose,
    Outside,
    RaiseNonce,
    Recount,
    Release,
    Store,
    Strike,
)
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import Address, ChargeId, Nonce
from sandbox_billing.ledger.money import add
from sandbox_billing.ledger.shelves import MAY_LINGER, Entry, Index, entries, exposures
from sandbox_billing.ledger.voucher import ChargeRecord, DeadLettered, Paid, Partial


_NO_EVENT = (
    "nothing: let START_BLOCK be before the wallet's first voucher, and the node have all logs"
    " from there on"
)


def listing_differences(
    store: Store, settled: Mapping[ChargeId, ChargeRecord], resumed: Set[str]
) -> list[Difference]:
    """
    Indices and exposure against what they follow from.

    @param settled: Charges as other repairs of this run leave them.
    @param resumed: Sandboxes whose session another repair writes, with all that lists it.
    """
    shelf = evolve(store.shelf, charges={**store.shelf.charges, **settled})
    wanted = entries(shelf)
    wanted |= {Entry(Index.ACCOUNTS, "", wallet.hex) for wallet in store.known}
    wanted |= {Entry(Index.BLOCKED, "", wallet.hex) for wallet in store.blocked}
    touched: set[str] = {*resumed, *(record.charge.id for record in settled.values())}
    found = []
    lost_batch = any(name.startswith("batch ") for name in store.unreadable)
    damaged = {name.partition(" ")[2] for name in store.unreadable}
    for entry in sorted(store.listed - wanted, key=_place):
        # What a charge leaves behind when it is settled goes with it.
        if entry.index in MAY_LINGER or entry.member in touched | damaged:
            continue
        found.append(
            Difference(
                kind="index",
                subject=_spelled(entry),
                found="is listed there and should not be",
                would="take it off",
                repair=Strike(entry=entry),
            )
        )
    for entry in sorted(wanted - store.listed, key=_place):
        # What cannot be read holds charges that must not be offered a second time.
        held = lost_batch and entry.index in (Index.FIRST, Index.READY)
        if held or entry.member in touched:
            continue
        found.append(
            Difference(
                kind="index",
                subject=_spelled(entry),
                found="is stored and not listed there",
                would="list it",
                repair=Enter(entry=entry),
            )
        )
    return found + _exposure_differences(store, exposures(shelf), touched | damaged)


def _place(entry: Entry) -> tuple[str, str, str]:
    return entry.index.value, entry.of, entry.member


def _spelled(entry: Entry) -> str:
    where = f"{entry.index.value} of {entry.of}" if entry.of else entry.index.value
    return f"{where}: {entry.member}"


def _exposure_differences(
    store: Store, wanted: Mapping[Address, Mapping[str, str]], aside: set[str]
) -> list[Difference]:
    found = []
    for wallet in sorted(wanted.keys() | store.exposure.keys()):
        have, want = store.exposure.get(wallet, {}), wanted.get(wallet, {})
        for name in sorted(have.keys() | want.keys()):
            is_, should = have.get(name), want.get(name)
            if is_ == should or name.partition(":")[2] in aside:
                continue
            found.append(
                Difference(
                    kind="exposure",
                    subject=f"{wallet} {name}",
                    found=f"is {is_ or 'missing'}, should be {should or 'gone'}",
                    would="take it off" if should is None else f"set it to {should}",
                    repair=Expose(wallet=wallet, field=name, value=should),
                )
            )
    return found


def totals_differences(store: Store, settled: Mapping[ChargeId, ChargeRecord]) -> list[Difference]:
    """The counter against the sum of the entries (Q-8)."""
    records = {**store.shelf.charges, **settled}.values()
    moved = [r.state for r in records if isinstance(r.state, Paid | Partial)]
    fees = add(*(s.seal.fee if isinstance(s, Paid) else s.paid for s in moved))
    have = store.totals
    if (have.vouchers, have.fees) == (len(moved), fees):
        return []
    found = f"{have.vouchers} vouchers, {have.fees} neuron; entries: {len(moved)}, {fees}"
    return [
        Difference(
            kind="totals",
            subject="settled so far",
            found=found,
            would="count again from the entries",
            repair=Recount(vouchers=len(moved), fees=fees),
        )
    ]


def release_differences(store: Store, doubted: frozenset[Address]) -> list[Difference]:
    """
    Wallets that were quarantined because they were behind.

    @param doubted: Those that nothing here puts right.
    """
    found = []
    for letter in store.letters:
        if letter.kind != "wallet" or not letter.reason.startswith(BEHIND):
            continue
        wallet = Address(letter.name)
        lift = store.blocked.get(wallet) == QUARANTINED and not _waits(store, wallet)
        stands = wallet in doubted
        would = "release it" if lift else "end the letter; what else blocks it stands"
        found.append(
            Difference(
                kind="quarantine",
                subject=wallet.hex,
                found=letter.reason,
                would="a human must look at it first" if stands else would,
                repair=None if stands else Release(wallet=wallet, letter=letter, lift=lift),
            )
        )
    return found


def _waits(store: Store, wallet: Address) -> bool:
    """Whether a human has something else of a wallet's to look at."""
    dead = any(
        isinstance(record.state, DeadLettered) and record.charge.owner == wallet
        for record in store.shelf.charges.values()
    )
    # Of an outcome that changed, and of what cannot be read, letters name what they are about.
    told = any(
        letter.kind != "wallet" and wallet.hex in f"{letter.name} {letter.reason}"
        for letter in store.letters
    )
    return dead or told


def _damaged_nonces(store: Store) -> set[Address]:
    named = (name.partition(" ") for name in store.unreadable)
    return {Address(wallet) for kind, _, wallet in named if kind == "nonce"}


def _sealed(store: Store) -> dict[Address, int]:
    """The highest nonce that is bound to a stored charge."""
    highest: dict[Address, int] = {}
    for record in store.shelf.charges.values():
        if record.seal is not None:
            owner = record.charge.owner
            highest[owner] = max(highest.get(owner, 0), record.seal.nonce)
    return highest


def unexplained(store: Store, outside: Outside) -> frozenset[Address]:
    """
    Wallets of which something is stored, and whose nonce on chain is above all that is known.

    Somebody was charged, and nobody knows for what: the events were not read.
    """
    told = _sealed(store)
    for event in outside.settlements:
        told[event.user] = max(told.get(event.user, 0), event.nonce)
    stored = {record.owner for record in store.records.values()}
    stored |= {session.owner for session in store.shelf.sessions.values()}
    stored |= {record.charge.owner for record in store.shelf.charges.values()}
    found = set()
    for wallet in stored | store.known | store.nonces.keys():
        known = (store.nonces.get(wallet, 0), store.baselines.get(wallet, 0), told.get(wallet, 0))
        if outside.nonces.get(wallet, 0) > max(known):
            found.add(wallet)
    return frozenset(found)


def nonce_differences(
    store: Store, outside: Outside, doubted: frozenset[Address], strange: frozenset[Address]
) -> list[Difference]:
    """
    The last nonce given against the chain, and against what was sealed (B16).

    @param doubted: Wallets that a human must look at: they stay behind the chain, so that the
        daemon signs nothing for them.
    @param strange: Those of them whose nonce no event explains.
    """
    highest = _sealed(store)
    found = []
    for wallet in sorted(store.known | store.nonces.keys() | highest.keys() | strange):
        stored = store.nonces.get(wallet)
        chain, sealed = outside.nonces.get(wallet, 0), highest.get(wallet, 0)
        to = Nonce(max(chain, sealed))
        if to <= (stored or 0):
            continue
        would, repair = f"go on above {to}", RaiseNonce(wallet=wallet, stored=stored, to=to)
        found.append(
            Difference(
                kind="nonce",
                subject=wallet.hex,
                found=f"{'none' if stored is None else stored} is stored as the last;"
                f" {chain} on chain, {sealed} sealed"
                + ("; no event explains the chain's" if wallet in strange else ""),
                would=_NO_EVENT
                if wallet in strange
                else "nothing before a human has looked"
                if wallet in doubted
                else would,
                repair=None if wallet in doubted else repair,
            )
        )
    return found
