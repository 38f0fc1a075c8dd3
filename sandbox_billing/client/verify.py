"""
Receipts against the chain, trusting nobody else.

Every claim of a receipt comes out as proven, not proven or refuted, with the reason.  What no
receipt can prove is in L{NOT_PROVABLE}.  Nothing here is asked of the daemon: the receipts are
what it said, and whoever has kept them can check them without it.

Tests: L{tests.client.test_verify}.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Protocol

from attrs import frozen

from sandbox_billing.client.receipt_claims import Looked, PriceRecord, Settled
from sandbox_billing.client.receipt_times import times
from sandbox_billing.client.receipts import (
    MEANING,
    NOT_PROVABLE,
    Claim,
    Finding,
    Proof,
    alone,
    proven,
    refuted,
)
from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.receipt import Receipt
from sandbox_billing.ledger.receipt_form import read_receipt


__all__ = (
    "MEANING",
    "NOT_PROVABLE",
    "ChainReads",
    "Claim",
    "Finding",
    "Judged",
    "PriceRecord",
    "Proof",
    "Settled",
    "Verdicts",
    "verify",
)


MOST_NAME = 200
"""Characters of what is no receipt and calls itself something."""


class ChainReads(Protocol):
    """
    What is asked of a chain, of one contract on it; all may raise L{Transient}.

    @ivar contract: Where the wallet's money is.
    """

    @property
    def contract(self) -> Address: ...

    def chain_id(self) -> int: ...

    def head(self) -> int:
        """The newest block."""

    def domain_separator(self) -> bytes:
        """What the contract checks signatures against."""

    def settled(self, user: Address, provider: Address, first: int, last: int) -> Sequence[Settled]:
        """Every C{VoucherSettled} of a wallet in these blocks, in their order."""

    def settled_ever(self, user: Address, provider: Address, last: int) -> Sequence[Settled] | None:
        """From the contract's beginning on; None where that takes too many questions."""

    def signers(
        self, provider: Address, blocks: Collection[int]
    ) -> Mapping[int, frozenset[Address]]:
        """Whose key was registered before or in a block; without those that nobody tells."""

    def prices(self, user: Address, provider: Address, last: int) -> Sequence[PriceRecord] | None:
        """At each acknowledgement of the wallet, in order; None where nobody tells."""


@frozen(kw_only=True)
class Judged:
    """
    A receipt and what came out.

    @ivar receipt: None of what is none.
    """

    id: str
    receipt: Receipt | None
    findings: tuple[Finding, ...]

    @property
    def proof(self) -> Proof:
        """The worst of it."""
        return _worst(self.findings)


@frozen(kw_only=True)
class Verdicts:
    """
    @ivar history: Of all receipts together.
    @ivar not_provable: What is not said by any of this.
    """

    receipts: tuple[Judged, ...]
    history: tuple[Finding, ...]
    not_provable: tuple[str, ...] = NOT_PROVABLE

    @property
    def proof(self) -> Proof:
        """The worst of all."""
        found = [finding for one in self.receipts for finding in one.findings]
        return _worst([*found, *self.history])

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "proof": self.proof.value,
            "receipts": [
                {
                    "id": one.id,
                    "proof": one.proof.value,
                    "findings": [_told(finding) for finding in one.findings],
                }
                for one in self.receipts
            ],
            "history": [_told(finding) for finding in self.history],
            "not_provable": list(self.not_provable),
        }


def _told(finding: Finding) -> dict[str, str]:
    return {
        "claim": finding.claim.value,
        "means": MEANING[finding.claim],
        "proof": finding.proof.value,
        "why": finding.why,
    }


def _worst(findings: Sequence[Finding]) -> Proof:
    found = {finding.proof for finding in findings}
    for proof in (Proof.REFUTED, Proof.NOT_PROVEN):
        if proof in found:
            return proof
    return Proof.PROVEN


def verify(
    receipts: Sequence[Any],
    chain: ChainReads,
    *,
    user: Address,
    provider: Address,
    whole: bool = True,
    first_block: int | None = None,
    fresh: bool = True,
) -> Verdicts:
    """
    Check receipts against a chain.

    @param receipts: As JSON documents, or read; twice the same counts once.
    @param user: Whose receipts these must be.
    @param provider: Who was paid.
    @param whole: Whether these are all there are, so that a missing one shows.
    @param first_block: From which block none may be missing; None: from the contract's
        beginning, and where the node does not tell so much, nothing is proven of what was before
        the first receipt.
    @param fresh: Whether they were asked for just now; of kept ones it is no lie that they were
        settled long ago and do not know it.
    @raise Transient: The chain does not answer.
    """
    read = list(_read(receipts))
    valid = [one for _, one in read if isinstance(one, Receipt)]
    looked = _look(chain, valid, user, provider, first_block, fresh=fresh)
    together = times(valid, looked.moved)
    judged = []
    for id, one in read:
        if isinstance(one, Finding):
            judged.append(Judged(id=id, receipt=None, findings=(one,)))
            continue
        findings = (
            proven(Claim.FORM, "it is a receipt of version 1"),
            *alone(one),
            *looked.findings(one),
            *together[one],
        )
        judged.append(Judged(id=id, receipt=one, findings=_joined(findings)))
    return Verdicts(receipts=tuple(judged), history=(looked.complete(valid, whole=whole),))


def _read(documents: Sequence[Any]) -> Iterator[tuple[str, Receipt | Finding]]:
    """Each with its id; what is no receipt as what is wrong with it."""
    seen: dict[str, Receipt] = {}
    for place, document in enumerate(documents):
        try:
            one = document if isinstance(document, Receipt) else read_receipt(document)
        except BadInput as why:
            id = document.get("id") if isinstance(document, Mapping) else None
            name = id[:MOST_NAME] if isinstance(id, str) else f"#{place + 1}"
            yield name, refuted(Claim.FORM, str(why))
            continue
        if one.id not in seen:
            seen[one.id] = one
            yield one.id, one
        elif seen[one.id] != one:
            yield one.id, refuted(Claim.FORM, "two different receipts have this id")


def _joined(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Of each claim the worst, in the order of the claims."""
    order = list(Proof)
    worst: dict[Claim, Finding] = {}
    for finding in findings:
        before = worst.get(finding.claim)
        if before is None or order.index(finding.proof) > order.index(before.proof):
            worst[finding.claim] = finding
    return tuple(worst[claim] for claim in Claim if claim in worst)


def _look(
    chain: ChainReads,
    receipts: Sequence[Receipt],
    user: Address,
    provider: Address,
    first_block: int | None,
    *,
    fresh: bool,
) -> Looked:
    """Ask everything once, and as little as there is need for."""
    head = chain.head()
    blocks = {one.block for one in receipts if one.block is not None and one.block <= head}
    first: int | None = min(blocks, default=head)
    ever = chain.settled_ever(user, provider, head) if first_block is None else None
    if ever is not None:
        first, events = None, ever
    else:
        first = min([*blocks, *([] if first_block is None else [first_block])], default=head)
        events = chain.settled(user, provider, first, head)
    nonces = {one.nonce for one in receipts}
    blocks |= {event.block for event in events if event.nonce in nonces}
    return Looked(
        chain_id=chain.chain_id(),
        contract=chain.contract,
        separator=chain.domain_separator(),
        user=user,
        provider=provider,
        head=head,
        first=first,
        fresh=fresh,
        named=first_block is not None,
        events=tuple(events),
        signers=chain.signers(provider, {*blocks, head}),
        prices=chain.prices(user, provider, head) if receipts else (),
        uses=Counter(one.nonce for one in receipts if one.nonce is not None),
    )
