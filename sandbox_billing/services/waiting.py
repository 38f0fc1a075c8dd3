"""
Batches that were mined and whose outcome cannot be proven yet: asked again, later each time.

Part of the watcher.  Nobody else waits for them: who waits for long is named, and closes only
his own door while others' vouchers are paid.

Tests: L{tests.services.test_watcher}.
"""

from __future__ import annotations

from collections.abc import Collection

from attrs import define, field, frozen
from twisted.logger import Logger

from sandbox_billing.interfaces import IWallClock
from sandbox_billing.ledger.batch import Batch
from sandbox_billing.ledger.identity import Address, BatchId
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.services.evidence import NotYet


PROOF_SECONDS, PROOF_SECONDS_AT_MOST = 5, 300
"""How long a batch waits before more is read for its proof; doubled each time."""

LONG_SECONDS = 600
"""A proof that cannot be had for so long is told in readiness, and closes nobody else's door."""

LATELY_SECONDS = 3_600
"""How long a paid voucher shows that settling works."""


@frozen(kw_only=True)
class _Wait:
    """
    @ivar tries: How often the proof was looked for.
    @ivar until: When it is looked for again.
    @ivar wallets: Of what is left of the batch.
    """

    tries: int
    since: UnixSeconds
    until: UnixSeconds
    wallets: frozenset[Address]
    why: str


@define(eq=False, kw_only=True)
class Waiting:
    """
    @ivar _waits: What waits.
    @ivar _paid_at: When a voucher was last seen to be paid.
    """

    wall: IWallClock
    _waits: dict[BatchId, _Wait] = field(factory=dict, init=False)
    _paid_at: UnixSeconds | None = field(default=None, init=False)
    _log = Logger()

    def keep(self, batches: Collection[BatchId]) -> None:
        """Forget what has ended."""
        for ended in self._waits.keys() - set(batches):
            del self._waits[ended]

    def rests(self, batch: BatchId) -> bool:
        """Whether it is not to be looked at yet."""
        wait = self._waits.get(batch)
        return wait is not None and self.wall.now() < wait.until

    def add(self, batch: Batch, why: NotYet) -> None:
        """Keep a batch until its proof can be had."""
        if why.goes_on:
            self._log.debug("batch {batch} waits: {why}", batch=batch.id, why=str(why))
            return
        now, before = self.wall.now(), self._waits.get(batch.id)
        tries = 0 if before is None else before.tries
        seconds = min(PROOF_SECONDS * 2 ** min(tries, 16), PROOF_SECONDS_AT_MOST)
        self._waits[batch.id] = _Wait(
            tries=tries + 1,
            since=now if before is None else before.since,
            until=UnixSeconds(now + seconds),
            wallets=frozenset(batch.wallets),
            why=str(why),
        )
        self._log.warn(
            "batch {batch} waits {seconds} s for a proof: {why}",
            batch=batch.id,
            seconds=seconds,
            why=str(why),
        )

    def others_are_paid(self) -> None:
        """A voucher was: what does not end now is one wallet's matter."""
        self._paid_at = self.wall.now()

    def settles(self) -> bool:
        """Whether vouchers were paid lately, by what this process has seen."""
        return self._paid_at is not None and self.wall.now() - self._paid_at < LATELY_SECONDS

    def for_long(self) -> frozenset[Address]:
        """Wallets whose proof cannot be had for long."""
        return frozenset[Address]().union(*(wait.wallets for wait in self._long()))

    def trouble(self) -> str | None:
        """For readiness: whose outcome cannot be proven, and why; None for nobody's."""
        long = self._long()
        if not long:
            return None
        oldest = min(long, key=lambda wait: wait.since)
        return (
            f"{len(self.for_long())} wallets wait for a proof, {self.wall.now() - oldest.since} s"
            f" at most: {oldest.why}; name a node with older blocks in RPC_URL"
        )

    def _long(self) -> list[_Wait]:
        now = self.wall.now()
        return [wait for wait in self._waits.values() if now - wait.since >= LONG_SECONDS]
