"""
Redis, the chain and Daytona side by side: what differs, and what would put it right; pure.

Discover (I/O) gathers a L{Store} and an L{Outside}, L{compare} returns differences, and a
difference carries its repair where there is one.  Two rules stand above all repairs.  No
second is charged twice, rather is one not charged at all (L2 before L4).  And what the chain
says is never contradicted: a nonce that is used is used.

Tests: L{tests.ledger.test_comparison}.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from attrs import field, frozen

from sandbox_billing.ledger.account import Settlement
from sandbox_billing.ledger.dead_letter import DeadLetter
from sandbox_billing.ledger.hold import Intent
from sandbox_billing.ledger.identity import Address, Nonce, SandboxId
from sandbox_billing.ledger.metering import Session
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds
from sandbox_billing.ledger.reconciliation import Row
from sandbox_billing.ledger.shelves import Entry, Shelf
from sandbox_billing.ledger.totals import Totals
from sandbox_billing.ledger.voucher import Charge, ChargeRecord


BEHIND = "behind the chain"
"""How the letter begins that goes with a quarantine after a loss (services.recovery)."""


# --- what is compared -----------------------------------------------------------------


@frozen(kw_only=True)
class Remembered:
    """What C{billing:sandbox:<id>} says."""

    owner: Address
    reference: str
    charged_until: UnixSeconds


@frozen
class Baseline:
    """
    What an earlier rebuild has accepted of a wallet.

    @ivar upto: The last nonce.
    @ivar before: A moment before which nothing is charged any more; 0 where nobody wrote it down.
    """

    upto: Nonce
    before: UnixSeconds


@frozen(kw_only=True)
class Store:
    """
    What Redis has.

    @ivar nonces: The last one given; wallets without one are left out.
    @ivar exposure: Field to value, by wallet.
    @ivar listed: Every line of every index.
    @ivar blocked: Why wallets may run nothing.
    @ivar history: Block and log index of the settlements that are stored.
    @ivar seen: Sandboxes that were seen running in a session that nobody has closed.
    @ivar known: Wallets that are mirrored.
    @ivar baselines: Wallets with the nonce up to which an operator knows that no charge is
        stored (audit entries of an earlier rebuild).
    @ivar mirrored_until: The mirror's block; None when there is no mirror.
    @ivar accepted: A moment before which the periods of those vouchers end, by wallet.
    @ivar unreadable: Names of what is stored and cannot be read.
    """

    shelf: Shelf
    records: Mapping[SandboxId, Remembered]
    nonces: Mapping[Address, Nonce]
    exposure: Mapping[Address, Mapping[str, str]]
    listed: frozenset[Entry]
    totals: Totals
    blocked: Mapping[Address, str]
    letters: tuple[DeadLetter, ...]
    history: frozenset[tuple[int, int]]
    seen: frozenset[SandboxId]
    known: frozenset[Address]
    baselines: Mapping[Address, Nonce]
    mirrored_until: int | None
    accepted: Mapping[Address, UnixSeconds] = field(factory=dict)
    unreadable: tuple[str, ...] = ()


@frozen
class Price:
    """What a running sandbox of ours costs by the card in force, and what is set aside."""

    rate: NeuronPerMinute
    hold: Neuron


@frozen(kw_only=True)
class Outside:
    """
    What the chain and Daytona have.

    @ivar block: Up to which all of it was read.
    @ivar settlements: Of our provider, in log order, from the contract's first block.
    @ivar nonces: Last nonces of all wallets that anything is known of.
    @ivar customers: Wallets that have a balance with us, or have paid.
    @ivar unknown_nonce: An account nonce of ours that is used by a transaction that is not
        stored and not final; None when there is none.
    @ivar rows: One complete sweep of Daytona; None when it does not answer.
    @ivar prices: Of running rows, where they have one.
    """

    block: int
    settlements: tuple[Settlement, ...]
    nonces: Mapping[Address, Nonce]
    customers: frozenset[Address]
    unknown_nonce: int | None
    rows: tuple[Row, ...] | None
    prices: Mapping[SandboxId, Price]
    provider: Address
    signer_version: int


# --- what would put it right ------------------------------------------------------------


@frozen(kw_only=True)
class RaiseNonce:
    """The next nonce is above everything that was ever used."""

    wallet: Address
    stored: Nonce | None
    to: Nonce


@frozen(kw_only=True)
class Settle:
    """
    A charge is what its event says.

    @ivar parts: Open charges that it collects, where they are stored unmerged.
    @ivar rest: A charge of its own for what an open one holds beyond the event.
    """

    before: ChargeRecord
    event: Settlement
    parts: tuple[ChargeRecord, ...] = ()
    rest: Charge | None = None


@frozen(kw_only=True)
class Advance:
    """Nothing before this moment is charged any more."""

    sandbox: SandboxId
    until: UnixSeconds


@frozen(kw_only=True)
class Restore:
    """
    A session of what runs.

    @ivar intent: The call that is over with it, and charges nothing any more.
    """

    session: Session
    intent: Intent | None = None


@frozen(kw_only=True)
class Mirror:
    """A wallet is known again: account and nonce from the chain."""

    wallet: Address


@frozen(kw_only=True)
class Accept:
    """
    The vouchers up to a nonce are settled, and their charges are gone for good.

    @ivar before: A moment before which nothing of the wallet is charged any more.
    """

    wallet: Address
    upto: Nonce
    amount: Neuron
    before: UnixSeconds


@frozen(kw_only=True)
class Expose:
    """An exposure field gets this value, or goes."""

    wallet: Address
    field: str
    value: str | None


@frozen(kw_only=True)
class Enter:
    """A line that is missing in an index."""

    entry: Entry


@frozen(kw_only=True)
class Strike:
    """A line that leads nowhere."""

    entry: Entry


@frozen(kw_only=True)
class Recount:
    """The counter says what the entries add up to (Q-8)."""

    vouchers: int
    fees: Neuron


@frozen(kw_only=True)
class Remember:
    """An event that the history lacks."""

    event: Settlement


@frozen(kw_only=True)
class Release:
    """
    A wallet that was quarantined for being behind, and is not any more.

    @ivar lift: Whether the quarantine ends with its letter; others may keep it up.
    """

    wallet: Address
    letter: DeadLetter
    lift: bool


Repair: TypeAlias = (
    RaiseNonce
    | Settle
    | Advance
    | Restore
    | Mirror
    | Accept
    | Expose
    | Enter
    | Strike
    | Recount
    | Remember
    | Release
)


def charged_wallet(repair: Repair, store: Store) -> Address | None:
    """Whose charges a repair bears on; None where it cannot have anything charged twice."""
    match repair:
        case Settle(before=before):
            return before.charge.owner
        case Advance(sandbox=sandbox):
            return store.shelf.sessions[sandbox].owner
        case Restore(session=session):
            return session.owner
        case RaiseNonce() | Mirror() | Accept() | Release():
            return repair.wallet
        case Expose() | Enter() | Strike() | Recount() | Remember():
            return None


@frozen(kw_only=True)
class Difference:
    """
    One thing that two sides say otherwise.

    @ivar kind: A short name; C{docs/cli_reconcile.rst} has them all.
    @ivar subject: What it is about.
    @ivar found: How it is.
    @ivar would: What would become of it, and by whom.
    @ivar repair: What C{--rebuild} writes; None where it writes nothing.
    """

    kind: str
    subject: str
    found: str
    would: str
    repair: Repair | None = None

    @property
    def same(self) -> tuple[str, str, str]:
        """
        What is the same on a second look, though moments have moved on.

        C{found} belongs to it: a field that is wrong in another way was only on its way.
        """
        return self.kind, self.subject, self.found


Hashed: TypeAlias = Callable[[Charge], str]
"""A charge's usage hash, hex with C{0x} (signing is above the ledger)."""
