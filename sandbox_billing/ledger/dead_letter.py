"""What a human must look at, and that is no charge which could say so by its own state."""

from __future__ import annotations

from attrs import frozen

from sandbox_billing.ledger.money import UnixSeconds


@frozen(kw_only=True)
class DeadLetter:
    """
    @ivar kind: What it is about: C{charge}, C{session}, C{batch}, C{intent}, C{record},
        C{event}, C{stop} where a stored form cannot be read; C{outcome} where the chain says
        something else than it did; C{wallet} where what is stored is behind the chain.
    @ivar name: Which one, as it is spelt in Redis.
    @ivar reason: What is wrong.
    @ivar since: When it was found, unix seconds.
    """

    kind: str
    name: str
    reason: str
    since: UnixSeconds
