"""
What is remembered of a request that carries an Idempotency-Key (A5).

Tests: C{tests.ports.journal_limits}.
"""

from __future__ import annotations

from attrs import evolve, frozen

from sandbox_billing.ledger.identity import Reference
from sandbox_billing.ledger.money import UnixSeconds


@frozen(kw_only=True)
class Remembered:
    """
    A request, what was begun for it, and what it was answered.

    @ivar digest: Of everything the request says: another one under this key is refused.
    @ivar reference: Under which its work may reserve anything; a create's is on the sandbox.
    @ivar run: Unlike that of any other: names who works at it.
    @ivar began_at: When it was first asked; it is forgotten a day later.
    @ivar until: Before this nobody else works at it, whether its process lives or not.
    @ivar answer: What is told again, as the web room wrote it; None: there is none yet.
    """

    digest: str
    reference: Reference
    run: str
    began_at: UnixSeconds
    until: UnixSeconds
    answer: str | None = None

    def answered(self, answer: str) -> Remembered:
        """With what is told from now on."""
        return evolve(self, answer=answer, until=self.began_at)

    def left(self) -> Remembered:
        """Nobody works at it, and there is no answer: whoever asks again goes on."""
        return evolve(self, until=self.began_at)
