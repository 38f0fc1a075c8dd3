"""
What becomes of signed bytes: offered, offered again, replaced, mined, confirmed.

Tests: L{tests.cli.test_sending}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from attrs import define, frozen

from sandbox_billing.adapters.chain.node import RpcRefusal, octets, quantity
from sandbox_billing.cli.output import Progress
from sandbox_billing.cli.session import Session
from sandbox_billing.cli.transaction import Done, Signed
from sandbox_billing.errors import Refused, Transient, UnknownOutcome
from sandbox_billing.ledger.identity import Address


POLL_SECONDS = 0.25

_AGAIN_SECONDS = 15.0
"""How often the same bytes are offered again while no block has them."""

_PATIENCE_SECONDS = 45.0
"""After which a transaction that no block takes may get a higher fee."""

Replace: TypeAlias = Callable[[], Signed | None]
"""Signs and stores the same transaction at a higher fee; None when more would not help."""


@frozen(auto_exc=False)
class NotTaken(Refused):
    """
    No node has it, nor will: refused at the very first offer.  Caught by L{Sender}.
    """


@define(kw_only=True)
class Flight:
    """
    One transaction that is waited for.

    @ivar attempts: With one nonce; at most one of them is ever mined.  The last is offered.
    @ivar depth: Blocks that must stand on its own.
    @ivar again: What to do when its end is not seen; None: run the same command again.
    @ivar fresh: Whether nobody was ever offered any of them: only then a node that refuses
        the very first offer, and does not know it, ends the flight.
    """

    session: Session
    progress: Progress
    label: str
    attempts: list[Signed]
    depth: int
    timeout_seconds: int
    replace: Replace
    fresh: bool
    again: str | None = None
    _offered_at: float | None = None
    _offered_hash: str = ""

    def follow(self) -> Done:
        """
        Offer the bytes until a block has them, and wait for the blocks upon it.

        @raise Refused: It was mined and failed, or its very first offer was not taken.
        @raise UnknownOutcome: The time is up, or Ctrl-C; it may still be mined.
        """
        try:
            return self._follow()
        except KeyboardInterrupt:
            raise self._unseen("Ctrl-C was pressed") from None

    def _follow(self) -> Done:
        pace = self.session.pace
        started_at = pace.seconds()
        replaced_at = started_at
        why = f"{self.timeout_seconds} s are up"
        while True:
            try:
                done = self._look()
                if done is not None:
                    return done
                if pace.seconds() - replaced_at > _PATIENCE_SECONDS and not self._mined():
                    replaced_at = pace.seconds()
                    higher = self.replace()
                    if higher is not None:
                        self.attempts.append(higher)
            except Transient as problem:
                # It may have arrived all the same: only a receipt or the deadline ends this.
                why = str(problem)
                self.progress.say(f"{self.label}: {problem}; still asking")
            if pace.seconds() - started_at > self.timeout_seconds:
                raise self._unseen(why)
            pace.sleep(POLL_SECONDS)

    def _mined(self) -> bool:
        return self._receipt() is not None

    def _receipt(self) -> tuple[Signed, Any] | None:
        for signed in self.attempts:
            receipt = self.session.call("eth_getTransactionReceipt", signed.hash)
            if receipt is not None:
                return signed, receipt
        return None

    def _look(self) -> Done | None:
        found = self._receipt()
        if found is None:
            self.progress.say(f"{self.label}: waiting for a block")
            self._offer()
            return None
        signed, receipt = found
        block = quantity(receipt["blockNumber"], "blockNumber")
        upon = self.session.head() - block
        more = f", {max(min(upon, self.depth), 0)} of {self.depth} upon it" if self.depth else ""
        self.progress.say(f"{self.label}: in block {block}{more}")
        return self._done(signed, receipt, block) if upon >= self.depth else None

    def _offer(self) -> None:
        """
        @raise NotTaken: The node refuses the very first offer and does not know it.
        @raise RpcRefusal: It refuses a later one.
        """
        now = self.session.pace.seconds()
        signed = self.attempts[-1]
        again = signed.hash == self._offered_hash
        if again and self._offered_at is not None and now - self._offered_at < _AGAIN_SECONDS:
            return
        first = self.fresh and self._offered_at is None
        self._offered_at, self._offered_hash = now, signed.hash
        try:
            self.session.call("eth_sendRawTransaction", signed.raw)
        except RpcRefusal as refusal:
            # Not by its words: known is what the node finds by its hash.
            if self._receipt() is not None or self._known():
                return
            if first:
                raise NotTaken(f"{self.label} was not taken: {refusal}") from None
            # Whoever had an offer before may have passed it on, and the node that answers now
            # may be one that has not heard of its block yet: "nonce too low" is then our own.
            raise

    def _known(self) -> bool:
        return any(
            self.session.call("eth_getTransactionByHash", signed.hash) is not None
            for signed in self.attempts
        )

    def _unseen(self, why: str) -> UnknownOutcome:
        hashes = " or ".join(signed.hash for signed in self.attempts)
        again = self.again or "run the same command again: it goes on from there"
        return UnknownOutcome(
            f"{self.label}: {why}, and {hashes} was sent but not seen confirmed; it may still "
            f"be mined: {again}"
        )

    def _done(self, signed: Signed, receipt: Any, block: int) -> Done:
        if quantity(receipt["status"], "status") != 1:
            raise Refused(
                f"{self.label} was mined in block {block} and failed ({signed.hash}): only its gas "
                "was spent. It would not have failed when it was sent, so something came in "
                "between, as a settlement does with a refund of everything: run it again"
            )
        used = quantity(receipt["gasUsed"], "gasUsed")
        price = quantity(receipt.get("effectiveGasPrice", "0x0"), "effectiveGasPrice")
        created = receipt.get("contractAddress")
        return Done(
            label=self.label,
            hash=signed.hash,
            block=block,
            gas_used=used,
            cost=used * price,
            contract=None if created is None else Address.from_bytes(octets(created, "address")),
        )
