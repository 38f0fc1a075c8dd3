"""
Composing one fact out of the verbs of the house.

A L{Draft} collects what must hold and what is written; nothing is sent before
its L{Commit} is carried out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from sandbox_billing.adapters.redis.commit import (
    Argument,
    Commit,
    Expectation,
    Read,
    Write,
    absent,
    field_absent,
    field_is,
    holds,
)
from sandbox_billing.adapters.redis.keys import Keys
from sandbox_billing.interfaces import WalletFunds
from sandbox_billing.ledger._codec import encode
from sandbox_billing.ledger.account import Account
from sandbox_billing.ledger.hold import charge_field
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.spending import LIMIT
from sandbox_billing.ledger.token import Allowance
from sandbox_billing.ledger.voucher import Charge, ChargeRecord


REVISION = "#rev"
"""Field of an exposure hash that counts its writes; never an amount."""

BLOCK = "#blocked"
"""Field of a wallet's stop orders: why it was blocked."""

NOW = 0
"""The score of what is to be looked at in any case."""

DAY_KEPT_SECONDS = 3 * 86_400
"""So long what a day has cost is kept; it is asked for on that day alone."""

_AT_ONCE = 2_000
"""Arguments go through Lua's stack, which takes 8,000; an even number, for pairs."""


def stored_form(value: object) -> bytes:
    """What is stored of a ledger value, and compared as a whole."""
    return encode(value).encode()


def digest(raw: bytes) -> str:
    """A short name for a stored form, to recognise it by."""
    return hashlib.blake2b(raw, digest_size=12).hexdigest()


class Draft:
    """
    One fact being composed.

    @ivar keys: Names.
    """

    def __init__(self, keys: Keys, name: str) -> None:
        """@param name: For messages."""
        self.keys = keys
        self._name = name
        self._expectations: list[Expectation] = []
        self._writes: list[Write] = []
        self._fields: dict[Address, dict[str, str | None]] = {}
        self._spending: dict[Allowance, dict[str, str | None]] = {}
        self._begun: dict[Address, None] = {}
        self._charges: list[tuple[str, int]] = []

    def expect(self, *expectations: Expectation) -> int:
        """@return: The place of the first of them, to recognise a refusal by."""
        place = len(self._expectations)
        self._expectations.extend(expectations)
        return place

    def expect_stored(self, key: str, raw: bytes | None) -> int:
        """What was read there, or nothing as nothing was read."""
        return self.expect(absent(key) if raw is None else holds(key, raw))

    def write(self, command: str, key: str, *arguments: Argument) -> None:
        """One command."""
        self._writes.append(Write(command, key, arguments))

    def write_pairs(
        self, command: str, key: str, pairs: Iterable[tuple[Argument, Argument]], *flags: str
    ) -> None:
        """A command that takes pairs, as often as needed for any number of them."""
        self.write_all(command, key, [part for pair in pairs for part in pair], *flags)

    def write_all(self, command: str, key: str, many: Sequence[Argument], *flags: str) -> None:
        """A command that takes any number of arguments, likewise."""
        for start in range(0, len(many), _AT_ONCE):
            self.write(command, key, *flags, *many[start : start + _AT_ONCE])

    def commit(
        self,
        *,
        token: bytes | None = None,
        witness: Expectation | None = None,
        reads: Sequence[Read] = (),
    ) -> Commit:
        """What was composed."""
        writes = list(self._writes)
        for wallet, fields in self._fields.items():
            writes.extend(self._exposure_writes(wallet, fields))
        for allowance, fields in self._spending.items():
            writes.extend(self._spending_writes(allowance, fields))
        for wallet in self._begun:
            # Of wallets with limits, who alone are listed.
            writes.append(Write("ZADD", self.keys.limited(), ("XX", NOW, wallet.hex)))
        return Commit(
            name=self._name,
            fence=self.keys.fence(),
            token=token,
            expectations=tuple(self._expectations),
            witness=witness,
            writes=tuple(writes),
            reads=tuple(reads),
            charges=tuple(self._charges),
        )

    # exposure

    def expose(self, wallet: Address, name: str, value: str) -> None:
        """Set an exposure field."""
        self._fields.setdefault(wallet, {})[name] = value

    def conceal(self, wallet: Address, name: str) -> None:
        """Delete an exposure field."""
        self._fields.setdefault(wallet, {})[name] = None

    def touch(self, wallet: Address) -> None:
        """Raise the exposure's revision: something it is guarded by has changed."""
        self._fields.setdefault(wallet, {})

    def _exposure_writes(self, wallet: Address, fields: dict[str, str | None]) -> Iterable[Write]:
        key = self.keys.exposure(wallet)
        kept = [
            part for name, value in fields.items() if value is not None for part in (name, value)
        ]
        gone = [name for name, value in fields.items() if value is None]
        if kept:
            yield Write("HSET", key, tuple(kept))
        if gone:
            yield Write("HDEL", key, tuple(gone))
        yield Write("HINCRBY", key, (REVISION, 1))
        yield Write("ZADD", self.keys.dry(), (NOW, wallet.hex))

    # what a token with a spend limit causes

    def spend(self, allowance: Allowance | None, name: str, value: str | None) -> None:
        """
        Set a field of what a token has caused, or delete it.

        @param allowance: None where nobody counts.
        @param value: None to delete it.
        """
        if allowance is not None:
            self._spending.setdefault(allowance, {})[name] = value

    def _spending_writes(
        self, allowance: Allowance, fields: dict[str, str | None]
    ) -> Iterable[Write]:
        key = self.keys.spending(allowance.token)
        kept = {name: value for name, value in fields.items() if value is not None}
        gone = tuple(name for name, value in fields.items() if value is None)
        pairs = {LIMIT: str(allowance.limit), **kept}
        yield Write("HSET", key, tuple(part for pair in pairs.items() for part in pair))
        if gone:
            yield Write("HDEL", key, gone)
        yield Write("HINCRBY", key, (REVISION, 1))
        yield Write("PERSIST", key)
        yield Write("ZADD", self.keys.spend_due(), (NOW, allowance.token))

    # what a wallet's own limits count

    def recount(self, wallet: Address) -> None:
        """Something began or became dearer: its limits are reached at another time."""
        self._begun[wallet] = None

    def cost(self, wallet: Address, day: int, name: str, amount: Neuron | None) -> None:
        """
        Set what something has cost on a UTC day.

        @param amount: None when it was forgiven.
        """
        key = self.keys.costs_of_day(wallet, str(day))
        if amount is None:
            self.write("HDEL", key, name)
        elif amount:
            self.write("HSET", key, name, str(amount))
            self.write("EXPIRE", key, DAY_KEPT_SECONDS)

    def expect_funds(self, funds: WalletFunds) -> int:
        """Account and exposure are as they were read."""
        account = funds.account
        place = self.expect_stored(
            self.keys.account(funds.wallet), None if account is None else account.raw
        )
        self.expect_revision(funds.wallet, funds.revision)
        return place

    def expect_revision(self, wallet: Address, revision: bytes) -> int:
        """@param revision: As it was read; empty when there was none."""
        key = self.keys.exposure(wallet)
        if not revision:
            return self.expect(field_absent(key, REVISION))
        return self.expect(field_is(key, REVISION, revision))

    # charges

    def append_charge(self, charge: Charge, ripe_at: int, *, first: bool = False) -> int:
        """
        Write a new, open charge with everything that must know of it.

        @param ripe_at: When it may be signed, unix seconds.
        @param first: Whether it goes out before others: a debt.
        @return: The place of the expectation that it is new.
        """
        keys, wallet = self.keys, charge.owner
        self._charges.append((charge.kind.value, charge.amount))
        place = self.expect(absent(keys.charge(charge.id)))
        self.write("SET", keys.charge(charge.id), stored_form(ChargeRecord(charge)))
        self.write("RPUSH", keys.pending(), charge.id)
        self.write("ZADD", keys.usage(wallet), charge.created_at, charge.id)
        self.write("SADD", keys.wallets(), wallet.hex)
        queue = keys.first(wallet) if first else keys.charges(wallet)
        self.write("ZADD", queue, ripe_at, charge.id)
        self.offer(wallet, ripe_at)
        self.expose(wallet, charge_field(charge), str(charge.amount))
        return place

    def finish_charge(self, charge: Charge) -> None:
        """A charge is final, or forgiven: nothing is owed for it any more."""
        self.write("LREM", self.keys.pending(), 1, charge.id)
        self.conceal(charge.owner, charge_field(charge))

    def offer(self, wallet: Address, at: int) -> None:
        """Have the settler look at a wallet at a moment, or earlier if it would anyway."""
        self.write("ZADD", self.keys.ready(), "LT", at, wallet.hex)

    # accounts and stop orders

    def write_accounts(self, accounts: Sequence[Account]) -> None:
        """Accounts' newest states; their funds are checked again."""
        for account in accounts:
            self.write("SET", self.keys.account(account.wallet), stored_form(account))
        names = [account.wallet.hex for account in accounts]
        self.write_all("SADD", self.keys.accounts(), names)
        self.write_pairs("ZADD", self.keys.dry(), [(NOW, name) for name in names])
        # There may be money again for what was stopped.
        self.write_pairs("ZADD", self.keys.resume_due(), [(NOW, name) for name in names], "XX")

    def offer_again(self, wallets: Iterable[Address], now: int) -> None:
        """Resting wallets are looked at: they may be able to pay now."""
        pairs = [(now, wallet.hex) for wallet in wallets]
        self.write_pairs("ZADD", self.keys.ready(), pairs, "XX", "LT")

    def warn(self, wallet: Address) -> None:
        """Look whether a wallet is to be told something."""
        self.write("ZADD", self.keys.warn(), NOW, wallet.hex)

    def warn_of_stop(self, wallet: Address, reason: str, sandboxes: Sequence[SandboxId]) -> None:
        """Have a wallet told of stop orders, however soon they are carried out."""
        pairs = [(sandbox, reason) for sandbox in sandboxes]
        self.write_pairs("HSET", self.keys.ordered(wallet), pairs)
        self.warn(wallet)

    def block(self, funds: WalletFunds, reason: str, now: int) -> None:
        """Flag a wallet and order a stop of everything it runs."""
        # It may be lifted again before anybody is told of it.
        self.write("HSET", self.keys.ordered(funds.wallet), BLOCK, reason)
        self.warn_of_stop(funds.wallet, reason, funds.exposure.sandboxes())
        self.write("SET", self.keys.blocked(funds.wallet), reason)
        self.write("SADD", self.keys.blocked_wallets(), funds.wallet.hex)
        self.write("DEL", self.keys.dry_since(funds.wallet))
        # Its end is near: what it owes does not wait for company any more.
        self.offer_again([funds.wallet], now)
        for sandbox in funds.exposure.sandboxes():
            self.order_stop(sandbox, reason, now)

    def order_stop(self, sandbox: SandboxId, reason: str, now: int) -> None:
        """A stop order; an earlier one keeps its time, its attempts and its next one."""
        key = self.keys.stop(sandbox)
        self.write("SET", self.keys.stop_reason(sandbox), reason)
        self.write("HSETNX", key, "ordered_at", now)
        self.write("HSETNX", key, "attempts", 0)
        self.write("ZADD", self.keys.stops(), "NX", now, sandbox)

    def end_stop(self, sandbox: SandboxId) -> None:
        """A stop order is done."""
        self.write("DEL", self.keys.stop_reason(sandbox))
        self.write("DEL", self.keys.stop(sandbox))
        self.write("ZREM", self.keys.stops(), sandbox)
