"""
Why a charge is a dead letter, and what an operator may do about it.

Tests: L{tests.ledger.test_desk}.
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen


@frozen(kw_only=True)
class Cause:
    """
    One reason a charge can have; the page C{docs/cli_queue.rst} lists all of them.

    @ivar name: A short word for it.
    @ivar pattern: What the stored reason looks like.
    @ivar retry: Whether offering it again can change anything.
    """

    name: str
    pattern: str
    meaning: str
    remedy: str
    retry: bool = True


CAUSES: Final[tuple[Cause, ...]] = (
    Cause(
        name="refused",
        pattern=r"refused with status \d+",
        meaning="the contract does not take this one voucher, and took others of the same signer",
        remedy="find out why (the domain, the signer at that block); then retry, or drop",
    ),
    Cause(
        name="reverts",
        pattern=r"\d+ vouchers make the settle call revert",
        meaning="alone in a transaction it made the whole call revert, for two minutes",
        remedy="look at the node and the contract; then retry, or drop",
    ),
    Cause(
        name="amount unknown",
        pattern=r"settled with status \d+, paid \S+ of \d+",
        meaning="it is settled; how much was paid the deployed contract does not say, and no "
        "node had that block's state for an hour",
        remedy="name a node with older states in RPC_URL and retry; else drop the rest",
    ),
    Cause(
        name="another voucher",
        pattern=r"L5: nonce \d+ of \S+ settled for another voucher",
        meaning="somebody else signs with the enclave's key",
        remedy="rotate the key first; then drop: its nonce is used up by what was not ours",
        retry=False,
    ),
    Cause(
        name="money missing",
        pattern=r"nonce \d+ is used, no event says for what, and \d+ neuron are",
        meaning="its nonce is used, no event says for what, and the wallet's money does not add up",
        remedy="a node may lack an event: name a complete one in RPC_URL and retry; it is booked, "
        "or gets a new nonce once the money adds up; else drop",
    ),
    Cause(
        name="no event",
        pattern=r"nonce \d+ is used, our own transaction settled it by replay",
        meaning="our own transaction seems to have settled it, and no node shows the event",
        remedy="name a node with complete logs in RPC_URL and retry",
    ),
    Cause(
        name="unproven",
        pattern=r"its nonce is used and no event says for what",
        meaning="its nonce is used, and nothing said for what when it was looked at",
        remedy="retry: the whole history is read again",
    ),
    Cause(
        name="imported twice",
        pattern=r"imported: (\S+ is for the same use|\S+ has its nonce)",
        meaning="another one that was imported is for the same use, or has its nonce",
        remedy="decide about that one if it is dead, too; drop this one: nobody pays twice",
        retry=False,
    ),
    Cause(
        name="imported settled",
        pattern=r"imported: its (nonce \d+|use) was settled",
        meaning="the chain has settled its nonce, or what it is for, otherwise",
        remedy="drop: nobody pays twice",
        retry=False,
    ),
    Cause(
        name="imported nobody's",
        pattern=r"imported: it is owed by nobody",
        meaning="the Go system charges the zero address for sessions that have lost their owner",
        remedy="drop",
        retry=False,
    ),
    Cause(
        name="imported",
        pattern=r"imported: ",
        meaning="the Go system has set it aside, or another key has signed it, or the contract "
        "does not say what was paid of it",
        remedy="find out whether it is owed; then retry (the daemon signs the same nonce, fee and "
        "hash), or drop; what was never signed can only be dropped",
    ),
    Cause(
        name="other",
        pattern=r"",
        meaning="a law was broken in another way, or it is of another version of the daemon",
        remedy="read the reason and the log of its time; then retry, or drop",
    ),
)
"""The last one matches everything."""


def cause_of(reason: str) -> Cause:
    """@param reason: As it is stored with the dead letter."""
    return next(cause for cause in CAUSES if re.match(cause.pattern, reason))
