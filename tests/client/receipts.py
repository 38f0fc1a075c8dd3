"""
Receipts of honest and of other providers, and a chain that says what was settled.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from attrs import define, evolve, field

from sandbox_billing.client.verify import PriceRecord, Settled
from sandbox_billing.ledger.identity import Address, BatchId, ChargeId, Nonce, SandboxId
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds
from sandbox_billing.ledger.rating import Prices, period_amount
from sandbox_billing.ledger.receipt import BatchPlace, Part, Receipt, Status
from sandbox_billing.ledger.voucher import ChargeKind
from sandbox_billing.signing.eip712 import (
    EIP712Domain,
    VoucherFields,
    batch_digest,
    typed_digest,
    usage_hash,
)
from sandbox_billing.signing.key import SigningKey


# Published test keys, for tests only.
SIGNER = SigningKey.from_bytes(b"\x33" * 32)
OTHER = SigningKey.from_bytes(b"\x44" * 32)

USER, STRANGER = Address("0x" + "11" * 20), Address("0x" + "12" * 20)
PROVIDER = Address("0x" + "22" * 20)
CHAIN_ID = 16602
CONTRACT = Address("0xd7e0CD227e602FedBb93c36B1F5bf415398508a4")
DOMAIN = EIP712Domain(CHAIN_ID, CONTRACT)
T0 = 1_700_000_000
PRICES = Prices(
    per_cpu_per_minute=Neuron(601), per_memory_gib_per_minute=Neuron(330), create_fee=Neuron(5000)
)
RATE = NeuronPerMinute(601 + 2 * 330)
"""Of a core and two GiB."""


def transaction(block: int) -> str:
    """One for each block."""
    return f"0x{block:064x}"


@define
class Chain:
    """
    L{ChainReads<sandbox_billing.client.verify.ChainReads>}, by hand.

    @ivar all_at_once: Whether it tells the logs of many blocks.
    @ivar keys: Whose key was registered from which block on, rising.
    """

    contract: Address = CONTRACT
    id: int = CHAIN_ID
    events: list[tuple[Address, Settled]] = field(factory=list)
    keys: list[tuple[int, Address]] = field(factory=lambda: [(0, SIGNER.address)])
    records: list[PriceRecord] | None = field(
        factory=lambda: [PriceRecord(block=1, acknowledged_at=T0 - 10, prices=PRICES)]
    )
    newest: int = 10**6
    forgetful: bool = False
    all_at_once: bool = True

    def chain_id(self) -> int:
        return self.id

    def head(self) -> int:
        return self.newest

    def domain_separator(self) -> bytes:
        return EIP712Domain(CHAIN_ID, CONTRACT).separator

    def settled(self, user: Address, provider: Address, first: int, last: int) -> Sequence[Settled]:
        assert provider == PROVIDER
        return [e for whose, e in self.events if whose == user and first <= e.block <= last]

    def settled_ever(self, user: Address, provider: Address, last: int) -> Sequence[Settled] | None:
        return self.settled(user, provider, 0, last) if self.all_at_once else None

    def signers(
        self, provider: Address, blocks: Collection[int]
    ) -> Mapping[int, frozenset[Address]]:
        if self.forgetful:
            return {}
        return {
            block: frozenset(
                [
                    [key for at, key in self.keys if at <= seen][-1]
                    for seen in (block, max(0, block - 1))
                ]
            )
            for block in blocks
        }

    def prices(self, user: Address, provider: Address, last: int) -> Sequence[PriceRecord] | None:
        return self.records


@define
class Books:
    """
    A provider that settles what he signs.
    """

    chain: Chain = field(factory=Chain)
    receipts: list[Receipt] = field(factory=list)
    nonce: int = 0
    block: int = 10

    def sign(self, key: SigningKey = SIGNER, **said: Any) -> Receipt:
        """A receipt of what was signed and did not go out yet."""
        self.nonce += 1
        fields: dict[str, Any] = {
            "sandbox": SandboxId("sb-1"),
            "kind": ChargeKind.COMPUTE,
            "period_start": T0,
            "period_end": T0 + 60,
            "rate": RATE,
            "nonce": Nonce(self.nonce),
            **said,
        }
        start, end = fields["period_start"], fields["period_end"]
        compute = fields["kind"] is ChargeKind.COMPUTE
        fields.setdefault("units", end - start if compute else 0)
        fields.setdefault("fee", period_amount(fields["rate"], start, start, end))
        hashed = usage_hash(fields["sandbox"], start, end, fields["units"])
        made = Receipt(
            id=ChargeId(fields.pop("id", f"{fields['sandbox']}:{start}:{self.nonce}")),
            chain_id=CHAIN_ID,
            contract=CONTRACT,
            provider=PROVIDER,
            user=USER,
            signer=key.address,
            usage_hash="0x" + hashed.hex(),
            signature=None,
            status=Status.SIGNED,
            paid=Neuron(0),
            owed=fields["fee"],
            transaction=None,
            block=None,
            **fields,
        )
        return resigned(made, key)

    def settle(self, *signed: Receipt, paid: int | None = None, batch: bool = False) -> None:
        """
        Have the chain take some in one transaction, and keep their receipts.

        @param paid: neuron that there was for each.
        @param batch: Under one signature.
        """
        self.block += 1
        lines = [struct(one) for one in signed]
        signature = "0x" + SIGNER.sign_digest(batch_digest(DOMAIN, PROVIDER, lines)).hex()
        for index, one in enumerate(signed):
            assert one.nonce is not None and one.usage_hash is not None
            moved = one.fee if paid is None else min(paid, one.fee)
            event = Settled(
                fee=one.fee,
                usage_hash=one.usage_hash,
                nonce=one.nonce,
                status=0 if moved == one.fee else 1,
                paid=moved,
                transaction=transaction(self.block),
                block=self.block,
            )
            self.chain.events.append((USER, event))
            place = BatchPlace(
                id=BatchId(f"b{self.block}"),
                index=index,
                lines=tuple("0x" + line.hex() for line in lines),
                signature=signature,
            )
            self.receipts.append(
                evolve(
                    one,
                    status=Status.PAID if moved == one.fee else Status.PARTIAL,
                    paid=moved,
                    owed=one.fee - moved,
                    transaction=event.transaction,
                    block=event.block,
                    batch=place if batch else None,
                )
            )

    def run(self, sandbox: str, start: int, until: Sequence[int], **more: Any) -> None:
        """Periods of one run, each settled by itself."""
        begin = start
        for end in until:
            fee = period_amount(more.get("rate", RATE), start, begin, end)
            said = {"period_start": begin, "period_end": end, "fee": fee, **more}
            self.settle(self.sign(sandbox=sandbox, **said))
            begin = end

    def create(self, sandbox: str, at: int = T0, **more: Any) -> Receipt:
        """Its create fee, signed."""
        said = {"period_start": at, "period_end": at, "rate": 0, "fee": 5000, **more}
        return self.sign(sandbox=sandbox, kind=ChargeKind.CREATE, **said)

    def collect(self, left: Receipt, **more: Any) -> Receipt:
        """The debt that a receipt left, signed."""
        said = {
            "sandbox": left.sandbox,
            "period_start": left.period_start,
            "period_end": left.period_end,
            "rate": left.rate,
            "fee": left.owed,
            **more,
        }
        return self.sign(kind=ChargeKind.DEBT, **said)


def merged(books: Books, sandbox: str, start: int, ends: Sequence[int]) -> Receipt:
    """Neighbours of one run as one voucher, signed."""
    parts, begin = [], start
    for end in ends:
        parts.append(
            Part(
                id=ChargeId(f"{sandbox}:{begin}"),
                period_start=UnixSeconds(begin),
                period_end=UnixSeconds(end),
                units=end - begin,
                amount=period_amount(RATE, start, begin, end),
                rate=RATE,
            )
        )
        begin = end
    return books.sign(
        id=f"{sandbox}:{start}:merged:{begin}",
        sandbox=sandbox,
        period_start=start,
        period_end=begin,
        fee=Neuron(sum(part.amount for part in parts)),
        collects=tuple(parts),
    )


def struct(receipt: Receipt) -> bytes:
    """What was signed of it."""
    assert receipt.usage_hash is not None and receipt.nonce is not None
    fields = VoucherFields(
        user=receipt.user,
        provider=receipt.provider,
        usage_hash=bytes.fromhex(receipt.usage_hash[2:]),
        nonce=receipt.nonce,
        total_fee=receipt.fee,
    )
    return fields.struct_hash()


def resigned(
    receipt: Receipt, key: SigningKey = SIGNER, domain: EIP712Domain = DOMAIN, **changes: Any
) -> Receipt:
    """Changed, and then signed and hashed so that nothing of it contradicts itself."""
    made = evolve(receipt, **changes)
    hashed = usage_hash(made.sandbox, made.period_start, made.period_end, made.units)
    made = evolve(made, usage_hash="0x" + hashed.hex())
    signature = key.sign_digest(typed_digest(domain, struct(made)))
    return evolve(made, signature="0x" + signature.hex())
