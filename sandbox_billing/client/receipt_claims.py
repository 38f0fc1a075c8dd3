"""
What the chain says of each receipt.

Tests: L{tests.client.test_verify}.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attrs import field, frozen

from sandbox_billing.client.receipts import (
    Claim,
    Finding,
    Proof,
    proven,
    refuted,
    struct_hash_of,
    unproven,
)
from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address, is_imported_charge_id
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.ledger.receipt import SETTLED, Receipt, Status
from sandbox_billing.signing.eip712 import EIP712Domain, batch_digest, typed_digest
from sandbox_billing.signing.key import recover


RECENT_BLOCKS = 100
"""What was settled in the newest blocks may have been signed after the receipts were asked for."""

CLOCK_SECONDS = 120
"""How far the chain's clock and that of who charges may differ."""

MOST_CORES, MOST_GIB = 1_024, 4_096
"""Of the sizes that a rate is tried for."""


@frozen(kw_only=True)
class Settled:
    """
    A C{VoucherSettled} event.

    @ivar status: 0 paid in full, 1 insufficient.
    @ivar paid: neuron that moved; None where the contract does not say.
    """

    fee: int
    usage_hash: str
    nonce: int
    status: int
    paid: int | None
    transaction: str
    block: int


@frozen(kw_only=True)
class PriceRecord:
    """
    The provider's prices, as a wallet acknowledged them.

    @ivar acknowledged_at: unix seconds, by the chain's clock.
    """

    block: int
    acknowledged_at: int
    prices: Prices


@frozen(kw_only=True)
class Looked:
    """
    What the chain said.

    @ivar first: The first of the blocks that were looked at; None: all there are.
    @ivar fresh: Whether the receipts were asked for just now.
    @ivar named: Whether somebody chose it, and not the receipts themselves.
    @ivar uses: How many receipts there are for a nonce.
    """

    chain_id: int
    contract: Address
    separator: bytes
    user: Address
    provider: Address
    head: int
    first: int | None
    named: bool
    fresh: bool
    events: tuple[Settled, ...]
    signers: Mapping[int, frozenset[Address]]
    prices: Sequence[PriceRecord] | None
    uses: Mapping[int, int]
    domain: EIP712Domain = field(init=False)
    by_nonce: Mapping[int, Sequence[Settled]] = field(init=False)

    @domain.default
    def _domain(self) -> EIP712Domain:
        return EIP712Domain(self.chain_id, self.contract)

    @by_nonce.default
    def _by_nonce(self) -> Mapping[int, Sequence[Settled]]:
        found: dict[int, list[Settled]] = {}
        for event in self.events:
            found.setdefault(event.nonce, []).append(event)
        return found

    @property
    def moved(self) -> Mapping[int, int | None]:
        """neuron by nonce; None where the contract does not say."""
        return {event.nonce: event.paid for event in self.events}

    def findings(self, receipt: Receipt) -> Iterator[Finding]:
        """Every claim about the chain."""
        yield self._place(receipt)
        signer, signature = self._signature(receipt)
        yield signature
        yield self._signer(receipt, signer)
        if receipt.batch is not None:
            yield self._batch(receipt)
        yield self._event(receipt)
        yield self._paid(receipt)
        yield self._price(receipt)

    def _place(self, receipt: Receipt) -> Finding:
        claim = Claim.PLACE
        for name, told, wanted in (
            ("chain", receipt.chain_id, self.chain_id),
            ("contract", receipt.contract, self.contract),
            ("wallet", receipt.user, self.user),
            ("provider", receipt.provider, self.provider),
        ):
            if told != wanted:
                return refuted(claim, f"it is for {name} {told}, not {wanted}")
        if self.separator != self.domain.separator:
            return refuted(claim, "the contract there checks signatures of another domain")
        return proven(claim, "wallet, provider, contract and chain are the expected ones")

    def _signature(self, receipt: Receipt) -> tuple[Address | None, Finding]:
        claim, struct = Claim.SIGNATURE, struct_hash_of(receipt)
        if struct is None or receipt.signature is None:
            return None, unproven(claim, "nothing was signed yet")
        try:
            raw = bytes.fromhex(receipt.signature[2:])
            signer = recover(typed_digest(self.domain, struct), raw)
        except BadInput as why:
            return None, refuted(claim, str(why))
        if receipt.signer is not None and signer != receipt.signer:
            return signer, refuted(claim, f"{signer} signed this, and not {receipt.signer}")
        return signer, proven(claim, f"signed by {signer}")

    def _signer(self, receipt: Receipt, signer: Address | None) -> Finding:
        claim = Claim.SIGNER
        if signer is None:
            return unproven(claim, "there is no signature")
        settled = receipt.status in SETTLED and receipt.block is not None
        block = self._settled_in(receipt) or self.head
        known = self.signers.get(block)
        if known is None:
            return unproven(claim, f"no node tells whose key was registered in block {block}")
        if signer in known:
            return proven(claim, f"registered in block {block}")
        names = ", ".join(sorted(one.hex for one in known)) or "none"
        why = f"{signer} signed, registered in block {block} was {names}"
        # What waits may have been signed before the key was changed; it will be signed again.
        return refuted(claim, why) if settled else unproven(claim, why)

    def _batch(self, receipt: Receipt) -> Finding:
        claim, batch, struct = Claim.BATCH, receipt.batch, struct_hash_of(receipt)
        assert batch is not None
        if struct is None:
            return refuted(claim, "in a batch, and never signed")
        mine = "0x" + struct.hex()
        if not 0 <= batch.index < len(batch.lines) or batch.lines[batch.index] != mine:
            return refuted(claim, f"line {batch.index} of the batch is not this voucher")
        lines = [bytes.fromhex(line[2:]) for line in batch.lines]
        try:
            raw = bytes.fromhex(batch.signature[2:])
            signer = recover(batch_digest(self.domain, self.provider, lines), raw)
        except BadInput as why:
            return refuted(claim, str(why))
        block = self._settled_in(receipt)
        known = None if block is None else self.signers.get(block)
        if known is None:
            return unproven(claim, f"signed by {signer}; no node tells whose key was registered")
        if signer not in known:
            return refuted(claim, f"{signer} signed these lines, who was not registered then")
        return proven(claim, f"line {batch.index} of {len(lines)}, signed by {signer}")

    def _settled_in(self, receipt: Receipt) -> int | None:
        """The block, by the chain's word, else by the receipt's."""
        if receipt.status not in SETTLED or receipt.block is None:
            return None
        found = () if receipt.nonce is None else self.by_nonce.get(receipt.nonce, ())
        return found[0].block if len(found) == 1 else receipt.block

    def _beyond(self, receipt: Receipt) -> bool:
        """Whether the node cannot know of its settlement yet."""
        later = receipt.block is not None and receipt.block > self.head
        return later and receipt.nonce not in self.by_nonce

    def _event(self, receipt: Receipt) -> Finding:
        claim = Claim.EVENT
        if receipt.nonce is None:
            return unproven(claim, "it was not signed yet")
        if self.uses[receipt.nonce] > 1:
            return refuted(claim, f"{self.uses[receipt.nonce]} receipts have nonce {receipt.nonce}")
        found = self.by_nonce.get(receipt.nonce, ())
        if receipt.status not in SETTLED:
            return self._unsettled(receipt, found)
        if receipt.block is None or receipt.transaction is None:
            return refuted(claim, "it says that it was settled, and not where")
        if self._beyond(receipt):
            return unproven(claim, f"the node knows nothing beyond block {self.head}")
        if len(found) != 1:
            many = "never" if not found else f"{len(found)} times"
            return refuted(claim, f"nonce {receipt.nonce} of this wallet was {many} settled")
        (event,) = found
        status = 0 if receipt.status is Status.PAID else 1
        for name, told, seen in (
            ("fee", receipt.fee, event.fee),
            ("usage hash", receipt.usage_hash, event.usage_hash),
            ("status", status, event.status),
        ):
            if told != seen:
                return refuted(claim, f"the {name} that was settled is {seen}, not {told}")
        if (receipt.transaction, receipt.block) != (event.transaction, event.block):
            # The chain was reorganised deeper than the provider waits: the same voucher, and money.
            return unproven(
                claim, f"it moved: settled in block {event.block}, by {event.transaction}"
            )
        return proven(claim, f"settled in block {event.block}, once")

    def _unsettled(self, receipt: Receipt, found: Sequence[Settled]) -> Finding:
        claim = Claim.EVENT
        if not found:
            return unproven(claim, "it is not settled")
        where = f"it was settled in block {found[0].block}"
        if receipt.status in (Status.FORGIVEN, Status.MERGED):
            return refuted(claim, f"it says that it was {receipt.status.value}, and {where}")
        if self.fresh and any(self._is_old(event) for event in found):
            return refuted(claim, f"it says that it is not settled, and {where}")
        return unproven(claim, f"{where} since: ask for the receipt again")

    def _paid(self, receipt: Receipt) -> Finding:
        claim = Claim.PAID
        if receipt.status not in SETTLED or receipt.nonce is None:
            return unproven(claim, "nothing moved yet, as far as it says")
        known = {event.paid for event in self.by_nonce.get(receipt.nonce, ())}
        if len(known) != 1:
            return unproven(claim, "no one event says so")
        (paid,) = known
        if paid is None:
            return unproven(claim, "this contract does not say how much moved")
        if (receipt.paid, receipt.owed) != (paid, receipt.fee - paid):
            return refuted(claim, f"{paid} of {receipt.fee} moved, not {receipt.paid}")
        return proven(claim, f"{paid} moved, {receipt.owed} stayed owed")

    def _price(self, receipt: Receipt) -> Finding:
        claim = Claim.PRICE
        if is_imported_charge_id(receipt.id):
            return unproven(claim, "imported from another system: what time it is for is not known")
        if self.prices is None:
            return unproven(claim, "no node tells what the prices were")
        if not self.prices:
            return unproven(claim, "this wallet has acknowledged no prices on chain")
        earlier, then, later = self._acknowledged(receipt)
        for records, make in ((then, proven), (earlier, unproven)):
            for record in records:
                why = _fits(receipt, record.prices)
                if why is not None:
                    # What the daemon had not heard of yet it could not charge by.
                    late = "" if make is proven else "; the wallet had acknowledged others since"
                    return make(claim, why + late)
        if any(not record.prices.by_size for record in (*earlier, *then)):
            return unproven(claim, "the prices of that time are not on chain")
        if self._beyond(receipt):
            return unproven(claim, f"the node knows nothing beyond block {self.head}")
        for record in later:
            why = _fits(receipt, record.prices)
            if why is not None:
                return refuted(claim, f"{why}, acknowledged only at {record.acknowledged_at}")
        if receipt.period_start == receipt.period_end:
            return refuted(claim, f"{receipt.fee} neuron were never the create fee until then")
        return refuted(claim, f"{receipt.rate} a minute was not the rate of any size until then")

    def _acknowledged(
        self, receipt: Receipt
    ) -> tuple[Sequence[PriceRecord], Sequence[PriceRecord], Sequence[PriceRecord]]:
        """What the wallet had acknowledged earlier; last before then, or by its end; and later."""
        until = self._settled_in(receipt) or self.head
        end = receipt.period_end + CLOCK_SECONDS
        known = [record for record in self.prices or () if record.block <= until]
        before = [one for one in known if one.acknowledged_at <= receipt.period_start]
        place = max(0, len(before) - 1)
        since = known[place:]
        return (
            known[:place],
            [one for one in since if one.acknowledged_at <= end],
            [one for one in since if one.acknowledged_at > end],
        )

    def complete(self, receipts: Sequence[Receipt], *, whole: bool) -> Finding:
        """Of all together; what is missing is the provider's fault if they are all he told."""
        found = self._complete(receipts)
        if whole or found.proof is not Proof.REFUTED:
            return found
        return unproven(found.claim, f"{found.why}; these may not be all of the wallet's receipts")

    def _complete(self, receipts: Sequence[Receipt]) -> Finding:
        claim = Claim.COMPLETE
        where = f"up to block {self.head}"
        if self.first is not None:
            where = f"between block {self.first} and block {self.head}"
        known = {one.nonce: one for one in receipts if one.nonce is not None}
        missing = [event for event in self.events if event.nonce not in known]
        if missing:
            shown = ", ".join(str(event.nonce) for event in missing[:10])
            why = f"{len(missing)} vouchers were settled {where} without a receipt: {shown}"
            if any(self._is_old(event) for event in missing):
                return refuted(claim, why + self._before(receipts, missing))
            return unproven(claim, f"{why}; it was just now: ask for the receipts again")
        if any(event.paid is None for event in self.events):
            return unproven(claim, "this contract does not say of every voucher how much moved")
        beyond = [one for one in receipts if self._beyond(one)]
        moved = sum(event.paid or 0 for event in self.events)
        told = sum(one.paid for one in receipts if not self._beyond(one))
        if told != moved:
            late = [one for one in receipts if one.status not in SETTLED and self._late(one)]
            why = f"the receipts say that {told} neuron moved, {moved} did {where}"
            return (
                unproven(claim, f"{why}; some were settled since") if late else refuted(claim, why)
            )
        if beyond:
            many = f"{len(beyond)} receipts are of blocks"
            return unproven(claim, f"{many} beyond {self.head}, which the node does not know yet")
        if not receipts:
            return unproven(claim, f"there is no receipt, and no voucher was settled {where}")
        why = f"{len(self.events)} vouchers, {moved} neuron, {where}"
        if self.first is not None and not self.named:
            # That is where the receipts begin that were shown: older ones may be kept back.
            return unproven(claim, f"{why}; nothing is said of what was settled before")
        return proven(claim, why)

    def _before(self, receipts: Sequence[Receipt], missing: Sequence[Settled]) -> str:
        """What to do where the first receipt is later than all that is missing."""
        first = min((one.block for one in receipts if one.block is not None), default=None)
        if self.named or first is None or any(event.block >= first for event in missing):
            return ""
        return f"; if none were kept before block {first}, name it to begin with"

    def _is_old(self, event: Settled) -> bool:
        return event.block <= self.head - RECENT_BLOCKS

    def _late(self, receipt: Receipt) -> bool:
        """Whether what it says may have been true when it was asked for."""
        found = () if receipt.nonce is None else self.by_nonce.get(receipt.nonce, ())
        return any(not (self.fresh and self._is_old(event)) for event in found)


def _fits(receipt: Receipt, prices: Prices) -> str | None:
    """What it would be the price of; None for nothing, or where the chain does not say."""
    if not prices.by_size:
        return None
    if receipt.period_start == receipt.period_end:
        fee = prices.create_fee
        return f"the create fee was {fee}" if receipt.fee <= fee else None
    for made, how in ((prices, ""), (_by_second(prices), ", each part rounded down to the second")):
        size = size_of(receipt.rate, made)
        if size is not None:
            return f"it is the rate of {size[0]} cpu and {size[1]} GiB, for one{how}"
    return None


def _by_second(prices: Prices) -> Prices:
    """As the Go implementation charged: what began with it goes on at that, which is less."""
    cpu, memory = prices.per_cpu_per_minute, prices.per_memory_gib_per_minute
    return Prices(
        per_cpu_per_minute=Neuron(cpu // 60 * 60),
        per_memory_gib_per_minute=Neuron(memory // 60 * 60),
    )


def size_of(rate: int, prices: Prices) -> tuple[int, int] | None:
    """The smallest size with this rate, cores and GiB; None when there is none."""
    cpu, memory = prices.per_cpu_per_minute, prices.per_memory_gib_per_minute
    for cores in range(1, MOST_CORES + 1):
        left = rate - cores * cpu
        if left < 0:
            return None
        if memory == 0 and left == 0:
            return cores, 1
        if memory and left % memory == 0 and 1 <= left // memory <= MOST_GIB:
            return cores, left // memory
    return None
