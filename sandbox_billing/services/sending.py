"""
Sending a batch: its attempts are made, stored, broadcast, sent again and outbid.

Part of the settler.  Write, then act, then be able to act again: an attempt is stored, and on
disk, before it is sent, and whatever is stored and unresolved is sent again, the same bytes.
On a flawed contract each time only after a look at the newest block (D1, D2): what would set
off a flaw by now is not sent again, and outbid by a call that settles nothing.

Tests: L{tests.services.test_settler}, L{tests.services.test_settler_flawed},
L{tests.services.test_stuck}.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import define, field, frozen
from twisted.logger import Logger

from sandbox_billing.errors import Refused, Transient, UnknownOutcome
from sandbox_billing.interfaces import (
    IChain,
    IFunds,
    ISigner,
    IVoucherQueue,
    IWallClock,
    LeaseLost,
    Stale,
    Stored,
    TooMuch,
)
from sandbox_billing.ledger.account import Behaviour, Mirror
from sandbox_billing.ledger.batch import Attempt, Batch
from sandbox_billing.ledger.identity import Address, BatchId
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.services.planning import Outlook
from sandbox_billing.services.sealing import voucher_lines


RESEND_SECONDS = 15
"""How long an attempt may stay without a receipt before the same bytes are sent again."""

BUMP_SECONDS, BUMP_SECONDS_FLAWED = 120, 30
"""
How long an attempt may stay without a receipt before another offers more for gas; less on a
flawed contract, where a refund may come between.
"""

CONDEMN_SECONDS = 120
"""
How long a voucher must have made the settle call revert, alone and while a call without
vouchers passes, before it is given up: a minute's trouble of a node is no proof.
"""

UNBOUNDED, REMEMBERED_SECONDS = 2**31, 3_600

STUCK_SECONDS, SAY_AGAIN_SECONDS = 600, 3_600
"""How long a batch waits to be mined before an operator is told; and again (T-7, T-11)."""

STUCK_ATTEMPTS = 10
"""So is he after so many attempts, if that is earlier (T-7)."""

HUMAN_SECONDS = 8 * 3_600
"""From then on nothing that we do is likely to help (T-11); it is tried all the same."""


APART_SECONDS = 3_600
"""How long a wallet for which a transaction was outbid by nothing goes out by itself."""


@define
class Room:
    """
    How many vouchers fitted, where more did not.  Forgotten after an hour: what a block takes,
    and a voucher costs, changes.
    """

    _most: int = UNBOUNDED
    _until: int = 0

    def learn(self, fitted: int, now: UnixSeconds) -> None:
        """A batch was cut to this size, and went out."""
        self._most, self._until = fitted, now + REMEMBERED_SECONDS

    def at(self, now: UnixSeconds) -> int:
        """The most that is worth a try."""
        return self._most if now < self._until else UNBOUNDED


@frozen(kw_only=True)
class Sender:
    """
    @ivar signer: The enclave's key: signs vouchers and pays for transactions.
    @ivar _sent_at: When this process last broadcast an attempt, by its hash.
    @ivar _proven: Hashes of the attempts that this process has proven to be on disk.
    @ivar _poisonous: Since when a batch of one voucher reverts.
    @ivar _told_at: When an operator was last told that a batch is not mined.
    @ivar _apart: Wallets that go out by themselves, and until when: whoever asks for a refund
        whenever something of his is under way would have everybody else wait with him.
    @ivar _unmined: Batches that were not mined for so long, as they were last looked at.
    """

    queue: IVoucherQueue
    funds: IFunds
    outlook: Outlook
    chain: IChain
    signer: ISigner
    wall: IWallClock
    _sent_at: dict[str, int] = field(factory=dict, init=False)
    _proven: set[str] = field(factory=set, init=False)
    _poisonous: dict[BatchId, UnixSeconds] = field(factory=dict, init=False)
    _told_at: dict[BatchId, UnixSeconds] = field(factory=dict, init=False)
    _apart: dict[Address, UnixSeconds] = field(factory=dict, init=False)
    _unmined: dict[BatchId, Batch] = field(factory=dict, init=False)
    _room: Room = field(factory=Room, init=False)
    _log = Logger()

    def room(self) -> int:
        """How many vouchers a new batch may have, as far as is known."""
        return self._room.at(self.wall.now())

    def apart(self, wallet: Address) -> bool:
        """Whether a wallet's vouchers share no transaction with anybody else's."""
        return self.wall.now() < self._apart.get(wallet, 0)

    def keep(self, batches: Iterable[Batch]) -> None:
        """Forget what was remembered of any other batch."""
        live = list(batches)
        known = {attempt.hash for batch in live for attempt in batch.attempts}
        for gone in self._sent_at.keys() - known:
            del self._sent_at[gone]
        self._proven.intersection_update(known)
        ids = {batch.id for batch in live}
        for each in (self._poisonous, self._told_at, self._unmined):
            for ended in each.keys() - ids:
                each.pop(ended)

    def mine(self, batch: Batch) -> list[Attempt]:
        """The attempts that this daemon's key pays for, newest last."""
        return [a for a in batch.attempts if a.sender == self.signer.address]

    async def send(self, batch: Stored[Batch], mirror: Mirror, account_nonce: int | None) -> bool:
        """
        Make, store and broadcast an attempt; or broadcast the stored one again.

        @param account_nonce: One to be used up by it, instead of the next.
        @return: Whether it waits to be mined.
        @raise Refused: Nothing of it can be sent now.
        """
        mine = self.mine(batch.value)
        # Of an earlier key there are only attempts that nobody can bump: what it sent has
        # as long as a re-send, then we send our own.  The vouchers' nonces see to it that
        # one of the two settles a voucher at most.
        earlier = mine or batch.value.attempts
        flawed = mirror.behaviour is Behaviour.FLAWED
        harmless = len(batch.value.charges)
        if flawed and not (mine and mine[-1].empty):
            harmless = await self._harmless(batch, mirror)
        harmful = harmless < len(batch.value.charges)
        if earlier:
            if self._recent(earlier[-1]) and not harmful:
                return True
            if await self._is_mined(earlier):
                self._unmined.pop(batch.value.id, None)
                return False
            self._tell_if_stuck(batch.value)
        if harmful and not mine and earlier:
            # Neither ours to outbid nor to send again.
            self._log.warn("batch {batch} waits: it would set off a flaw", batch=batch.value.id)
            # As long as a user likes: it takes nobody's place.
            return False
        sendable = await self._sendable(batch, harmless, flawed, account_nonce)
        if sendable is not None:
            await self._broadcast(sendable)
        return True

    async def _sendable(
        self, batch: Stored[Batch], harmless: int, flawed: bool, account_nonce: int | None
    ) -> Stored[Batch] | None:
        """
        The batch with the attempt that is to be broadcast now; None when nothing is left.

        @param harmless: How many of its first vouchers set off no flaw.
        """
        mine, charges = self.mine(batch.value), batch.value.charges
        if not mine:
            whole = batch if harmless == len(charges) else await self._held(batch, harmless)
            return whole and await self._first_attempt(whole, account_nonce)
        if harmless < len(charges):
            return await self._emptied(batch, mine[-1])
        age = self.wall.now() - mine[-1].recorded_at
        if age >= (BUMP_SECONDS_FLAWED if flawed else BUMP_SECONDS):
            return await self._bumped(batch, mine[-1])
        return batch

    def _recent(self, attempt: Attempt) -> bool:
        sent_at = self._sent_at.get(attempt.hash, attempt.recorded_at)
        return self.wall.now() - sent_at < RESEND_SECONDS

    async def _is_mined(self, attempts: Sequence[Attempt]) -> bool:
        for attempt in attempts:
            if await self.chain.receipt(attempt.hash) is not None:
                return True
        return False

    def _tell_if_stuck(self, batch: Batch) -> None:
        """Whatever else is tried, what nobody mines for so long is somebody's to look at (S7)."""
        now, waits = self.wall.now(), self.wall.now() - batch.attempts[0].recorded_at
        said_at = self._told_at.get(batch.id)
        if waits < STUCK_SECONDS and len(batch.attempts) < STUCK_ATTEMPTS:
            return
        self._unmined[batch.id] = batch
        if said_at is not None and now - said_at < SAY_AGAIN_SECONDS:
            return
        self._told_at[batch.id] = now
        self._log.critical(
            "batch {batch} is not mined for {seconds} s, after {count} attempts:"
            " look at the gas price and at the nodes",
            batch=batch.id,
            seconds=waits,
            count=len(batch.attempts),
        )

    def trouble(self) -> str | None:
        """For readiness: that something is not mined, what waits longest; None for nothing."""
        if not self._unmined:
            return None
        oldest = min(self._unmined.values(), key=lambda batch: batch.attempts[0].recorded_at)
        waits = self.wall.now() - oldest.attempts[0].recorded_at
        help_ = ": a human must look" if waits >= HUMAN_SECONDS else ""
        return (
            f"{len(self._unmined)} batches are not mined, batch {oldest.id} for {waits} s and after"
            f" {len(oldest.attempts)} attempts{help_}"
        )

    async def _broadcast(self, batch: Stored[Batch]) -> None:
        attempt = self.mine(batch.value)[-1]
        if attempt.hash not in self._proven:
            await self.queue.on_disk(batch)
            self._proven.add(attempt.hash)
        self._sent_at[attempt.hash] = self.wall.now()
        try:
            await self.chain.broadcast(attempt)
        except UnknownOutcome as why:
            # Stored before it was sent: whether it arrived is read from the chain.
            self._log.warn(
                "batch {batch} may or may not have been sent: {why}",
                batch=batch.value.id,
                why=str(why),
            )

    # what a flaw would befall

    async def _harmless(self, batch: Stored[Batch], mirror: Mirror) -> int:
        """How many of a batch's first vouchers set off no flaw in the newest block."""
        if not batch.value.charges:
            return 0
        records = await self.queue.batch_records(batch.value)
        harmless = await self.outlook.harmless([r.value for r in records], mirror)
        if batch.value.attempts and harmless < len(records):
            owner = records[harmless].value.charge.owner
            self._apart[owner] = UnixSeconds(self.wall.now() + APART_SECONDS)
        return harmless

    async def _held(self, batch: Stored[Batch], keep: int) -> Stored[Batch] | None:
        """
        A batch without what would now set off a flaw, which goes back to its queue as sealed.

        @return: None when nothing is left of it.
        """
        self._log.warn(
            "{count} vouchers of batch {batch} are held: a refund was asked for meanwhile",
            count=len(batch.value.charges) - keep,
            batch=batch.value.id,
        )
        batch = await self.queue.shrink(batch, keep)
        return batch if keep else await self.queue.drop_attempts(batch, self.signer.address)

    async def _emptied(self, batch: Stored[Batch], newest: Attempt) -> Stored[Batch]:
        """
        The batch with an attempt that settles nothing and outbids the earlier ones: once it
        is mined they never are, and the vouchers are held as they are sealed.

        @raise Refused: It cannot be outbid now; and what would do harm is not sent again.
        """
        self._log.warn(
            "batch {batch} is outbid by a call that settles nothing: it would set off a flaw",
            batch=batch.value.id,
        )
        return await self._attempt(batch, newest, empty=True)

    # attempts

    async def _first_attempt(
        self, batch: Stored[Batch], account_nonce: int | None
    ) -> Stored[Batch] | None:
        """
        A batch with an attempt.  One that cannot be sent whole is cut to what fits, or halved
        until it can: one voucher holds up no other (S8).

        @return: None when a single voucher was left and is given up.
        @raise Refused: Nothing can be sent now.
        """
        too_large = False
        while True:
            count = len(batch.value.charges)
            try:
                sendable = await self._attempt(batch, None, account_nonce=account_nonce)
                if too_large:
                    self._room.learn(count, self.wall.now())
                return sendable
            except TooMuch as why:
                if batch.value.attempts:
                    # Of an earlier key, with all of it in: what was sent cannot be split.
                    raise
                # A node that was out of breath says nothing of what a block takes.
                too_large = why.fits is not None
                keep = count // 2 if why.fits is None else min(why.fits, count - 1)
                if keep == 0:
                    await self._give_up(batch, why)
                    return None
                self._log.warn("batch {batch} is cut: {why}", batch=batch.value.id, why=str(why))
                batch = await self.queue.shrink(batch, keep)
            except (Refused, Transient):
                self._poisonous.pop(batch.value.id, None)
                raise

    async def _give_up(self, batch: Stored[Batch], why: TooMuch) -> None:
        """
        Dead-letter the one voucher of a batch, once it has reverted for long enough.

        @raise Refused: Not yet; or it does not revert, and is only too large for the chain.
        """
        now = self.wall.now()
        since = self._poisonous.setdefault(batch.value.id, now)
        if not why.reverts:
            del self._poisonous[batch.value.id]
            raise why
        if now - since < CONDEMN_SECONDS:
            raise why
        (wallet,) = batch.value.wallets
        await self.queue.condemn(batch, str(why), await self.funds.funds(wallet))
        self._log.critical(
            "charge {charge} needs a human: {reason}; its wallet is quarantined",
            charge=batch.value.charges[0],
            reason=str(why),
            wallet=wallet.hex,
        )

    async def _attempt(
        self,
        batch: Stored[Batch],
        replacing: Attempt | None,
        *,
        account_nonce: int | None = None,
        empty: bool = False,
    ) -> Stored[Batch]:
        """
        Make an attempt and store it.

        @param account_nonce: One to be used up, instead of the next.
        @param empty: Without its vouchers.
        @raise Refused: The chain would not take it now.
        """
        records = [] if empty else await self.queue.batch_records(batch.value)
        lines = voucher_lines([r.value for r in records])
        # What another key has sent of it cannot be split.
        whole = bool(batch.value.attempts)
        attempt = await self.chain.prepare(
            lines, replacing, account_nonce=account_nonce, whole=whole
        )
        try:
            recorded = await self.queue.record_attempt(batch, attempt)
        except Stale:
            if replacing is None:
                self.chain.abandon(attempt)
            raise
        self._proven.add(attempt.hash)
        return recorded

    async def _bumped(self, batch: Stored[Batch], newest: Attempt) -> Stored[Batch]:
        """The batch with an attempt that pays more, or as it is when it cannot (T-3, T-4)."""
        try:
            return await self._attempt(batch, newest, empty=newest.empty)
        except LeaseLost:
            raise
        except (Refused, Transient) as why:
            self._log.warn(
                "batch {batch} is sent as it is: {why}", batch=batch.value.id, why=str(why)
            )
            return batch
