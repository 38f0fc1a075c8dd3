"""
L{IChain} without a node: the port's suite passes on it, and everything completes at once.

Blocks are mined by hand, on L{MemoryBlocks}.  What it does not model: gas prices
(one price for ever), EIP-1559, and senders other than our signer and users.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from attrs import define, field
from zope.interface import implementer

from sandbox_billing.adapters.memory.blocks import (
    GAS_BASE,
    GAS_LINE,
    GAS_PRICE,
    Block,
    Logged,
    MemoryBlocks,
    raw_settlement,
    read_settlement,
)
from sandbox_billing.adapters.memory.chain_faults import GoodDay
from sandbox_billing.adapters.memory.contract import LOCK_SECONDS
from sandbox_billing.adapters.memory.deployed import contract_at
from sandbox_billing.errors import Refused, UnknownOutcome
from sandbox_billing.interfaces import (
    AccountEvent,
    AccountNonces,
    ContractFacts,
    Happenings,
    IChain,
    IWallClock,
    Line,
    Moves,
    NodeBehind,
    Receipt,
    TooMuch,
    Unreadable,
)
from sandbox_billing.ledger.account import Account, Behaviour, BlockRef, ServiceRecord, Settlement
from sandbox_billing.ledger.batch import Attempt
from sandbox_billing.ledger.identity import Address, Nonce
from sandbox_billing.ledger.money import Neuron, UnixSeconds, neuron


FEE_CAP = 10**10
"""What a first attempt offers, always."""

MULTIPLE = 5
"""A bump offers at most so many times that (T-3)."""

_REGISTRATIONS = ("ServiceUpdated", "ProviderLeft")
_SETTLEMENTS = ("VoucherSettled", "VoucherShortfall")


@implementer(IChain)
@define(kw_only=True, eq=False)
class MemoryChain:
    """
    One process's way to the chain.

    @ivar sender: Our signer, who pays for gas and may submit.
    @ivar wall: Stamps attempts.
    @ivar floor: GAS_FLOOR_NEURON.
    @ivar fault: What fails now.
    @ivar nodes: How many nodes are configured; they all say the same.
    """

    net: MemoryBlocks
    provider: Address
    sender: Address
    wall: IWallClock
    floor: int = 0
    fault: GoodDay = field(factory=GoodDay)
    nodes: int = 1
    _next: int = field(default=0, init=False)
    _given: dict[str, int] = field(factory=dict, init=False)
    _costs: dict[int, int] = field(factory=dict, init=False)

    # blocks

    def _newest(self) -> int:
        return max(0, self.net.head.ref.number - self.fault.lag())

    def _block(self, number: int) -> Block:
        self.fault.read()
        if not 0 <= number <= self._newest():
            raise NodeBehind(f"no node has block {number}")
        return self.net.blocks[number]

    def _at(self, at: BlockRef) -> Block:
        block = self._block(at.number)
        if block.ref.hash != at.hash:
            raise NodeBehind(f"no node has block {at.number} with hash {at.hash}")
        return block

    async def facts(self) -> ContractFacts:
        self.fault.read()
        domain = self.net.domain
        return ContractFacts(
            chain_id=domain.chain_id,
            has_code=True,
            domain_separator="0x" + domain.separator.hex(),
            lock_seconds=LOCK_SECONDS,
        )

    async def head(self) -> BlockRef:
        return self._block(self._newest()).ref

    async def block(self, number: int) -> BlockRef:
        return self._block(number).ref

    async def first_block(self) -> int:
        self.fault.read()
        return self.net.contract_block

    async def happenings(self, first: int, last: int) -> Happenings:
        self._block(last)
        logs = [
            log
            for block in self.net.blocks[first : last + 1]
            for log in block.logs
            if not self.fault.hides(log.event)
        ]
        ours = [log for log in logs if log.event.provider == self.provider]
        changed = [log.event.provider for log in logs if log.event.name in _REGISTRATIONS]
        return Happenings(
            settlements=tuple(_settlement(x) for x in ours if x.event.name == "VoucherSettled"),
            events=tuple(_event(x) for x in ours if x.event.name not in _SETTLEMENTS),
            services=tuple(dict.fromkeys(changed)),
        )

    async def moves(self, wallet: Address, first: int, last: int) -> Moves:
        self._block(last)
        logs = [
            log
            for block in self.net.blocks[first : last + 1]
            for log in block.logs
            if (log.event.provider, log.event.user) == (self.provider, wallet)
            and not self.fault.hides(log.event)
        ]
        settled = tuple(_settlement(log) for log in logs if log.event.name == "VoucherSettled")
        return Moves(
            deposited=_sum("Deposited", logs),
            withdrawn=_sum("RefundWithdrawn", logs),
            settlements=settled,
            sources=self.nodes,
        )

    # the contract at a block

    async def service(self, provider: Address, at: BlockRef) -> ServiceRecord | None:
        found = self._at(at).state.services.get(provider)
        if self.fault.garbles(provider):
            raise Unreadable(f"the registration of {provider} cannot be read")
        return found

    async def behaviour(self, at: BlockRef) -> Behaviour:
        return self._at(at).state.behaviour

    async def domain_separator(self, at: BlockRef) -> str | None:
        self._at(at)
        return "0x" + self.net.domain.separator.hex()

    async def leaving_at(self, at: BlockRef) -> UnixSeconds | None:
        moment = self._at(at).state.leaving.get(self.provider)
        return None if moment is None else UnixSeconds(moment)

    async def accounts(self, wallets: Sequence[Address], at: BlockRef) -> tuple[Account, ...]:
        state = self._at(at).state
        found = []
        for wallet in wallets:
            slot = state.slot(self.provider, wallet)
            found.append(
                Account(
                    wallet=wallet,
                    balance=neuron(slot.balance),
                    pending_refund=neuron(slot.pending),
                    refund_unlock_at=UnixSeconds(slot.unlock_at),
                    acknowledged=state.acknowledged(self.provider, wallet),
                    last_nonce=Nonce(slot.last_nonce),
                    block=at.number,
                )
            )
        return tuple(found)

    async def last_nonces(self, wallets: Sequence[Address], at: BlockRef) -> tuple[Nonce, ...]:
        state = self._at(at).state
        return tuple(Nonce(state.slot(self.provider, wallet).last_nonce) for wallet in wallets)

    async def refusals(self, lines: Sequence[Line], at: BlockRef) -> tuple[int | None, ...]:
        block = self._at(at)
        replay = contract_at(self.net.domain, block.state.copy(), block.ref.timestamp)
        return replay.settle(self.sender, self.provider, lines)

    # transactions

    def adopt_attempts(self, attempts: Iterable[Attempt]) -> None:
        mine = [a for a in attempts if a.sender == self.sender]
        self._next = max([self._next, *(a.account_nonce + 1 for a in mine)])
        for attempt in mine:
            self._reserve(attempt)

    def _reserve(self, attempt: Attempt) -> None:
        nonce, cost = attempt.account_nonce, attempt.gas_limit * attempt.fee_cap
        self._costs[nonce] = max(cost, self._costs.get(nonce, 0))

    def abandon(self, attempt: Attempt) -> None:
        nonce = attempt.account_nonce
        self._costs.pop(nonce, None)
        if self._next == nonce + 1:
            self._next = nonce
            self._given = {call: n for call, n in self._given.items() if n != nonce}

    async def account_nonce(self, at: BlockRef) -> int:
        return self._at(at).counts.get(self.sender, 0)

    async def account_nonces(self) -> AccountNonces:
        self.fault.read()
        mined = pending = self.net.blocks[self._newest()].counts.get(self.sender, 0)
        waiting = {t.account_nonce for t in self.net.pool if t.sender == self.sender}
        while pending in waiting:
            pending += 1
        return AccountNonces(mined=mined, pending=pending)

    async def prepare(
        self,
        lines: Sequence[Line],
        replacing: Attempt | None,
        *,
        account_nonce: int | None = None,
        whole: bool = False,
    ) -> Attempt:
        self.fault.read()
        if any(self.fault.poisons(line) for line in lines):
            text = f"{len(lines)} vouchers cannot be sent"
            raise TooMuch(text, reverts=self.fault.says_revert())
        gas = GAS_BASE + GAS_LINE * len(lines)
        most = self.net.block_gas
        if len(lines) > 1 and replacing is None and not whole:
            most //= 2
        if gas > most:
            fits = max(1, (self.net.block_gas // 2 - GAS_BASE) // GAS_LINE) if lines else None
            raise TooMuch(f"{len(lines)} vouchers are too much for a block; send fewer", fits=fits)
        cap = FEE_CAP if replacing is None else -(-replacing.fee_cap * 11 // 10)
        outbids = replacing is not None and not lines and not replacing.empty
        still = replacing is not None and self.net.head.ref.timestamp < replacing.recorded_at
        if still and not outbids:
            raise NodeBehind("no node has a block since the last attempt")
        if cap > MULTIPLE * FEE_CAP and not outbids:
            raise Refused(f"a bump would offer {cap} neuron per gas, more than {MULTIPLE} times")
        if replacing is not None:
            nonce = replacing.account_nonce
        elif account_nonce is not None:
            nonce = account_nonce
        else:
            nonce = self._given.get(self._named(lines), -1)
        mined, purse = self._mined(), self.net.purse(self.sender)
        self._costs = {n: cost for n, cost in self._costs.items() if n >= mined}
        others = sum(cost for n, cost in self._costs.items() if n != nonce)
        if purse < max(self.floor, gas * cap + others):
            raise Refused(f"the gas account {self.sender} holds only {purse} neuron; send it some")
        if replacing is None and account_nonce is None:
            nonce = self._account_nonce(lines)
        raw = raw_settlement(self.sender, self.provider, nonce, cap, lines)
        attempt = Attempt(
            sender=self.sender,
            account_nonce=nonce,
            gas_limit=gas,
            fee_cap=Neuron(cap),
            raw=raw,
            hash=read_settlement(raw).name,
            recorded_at=self.wall.now(),
            empty=not lines,
        )
        self._reserve(attempt)
        return attempt

    def _mined(self) -> int:
        return self.net.head.counts.get(self.sender, 0)

    @staticmethod
    def _named(lines: Sequence[Line]) -> str:
        return hashlib.sha256(repr(lines).encode()).hexdigest()

    def _account_nonce(self, lines: Sequence[Line]) -> int:
        """As the real adapter: a call prepared before keeps its account nonce (T-7)."""
        call, mined = self._named(lines), self._mined()
        waiting = [t.account_nonce + 1 for t in self.net.pool if t.sender == self.sender]
        nonce = self._given.pop(call, -1)
        if nonce < mined:
            nonce = max([mined, self._next, *waiting])
            self._next = nonce + 1
        self._given[call] = nonce
        return nonce

    async def broadcast(self, attempt: Attempt) -> None:
        arrived = self.fault.arrives()
        refused = arrived and not self.net.submit(read_settlement(attempt.raw))
        if not self.fault.answers() or refused:
            raise UnknownOutcome(f"transaction {attempt.hash} was sent, and no node shows it")

    async def receipt(self, transaction: str) -> Receipt | None:
        self.fault.read()
        found = self.net.find(transaction)
        return None if found is None or found.block.number > self._newest() else found

    async def gas_balance(self) -> Neuron:
        self.fault.read()
        return neuron(self.net.purse(self.sender))

    async def gas_price(self) -> Neuron:
        self.fault.read()
        return Neuron(GAS_PRICE)


def _settlement(log: Logged) -> Settlement:
    fields, user = log.event.fields, log.event.user
    assert user is not None
    return Settlement(
        user=user,
        provider=log.event.provider,
        fee=neuron(int(fields["fee"])),
        usage_hash=str(fields["usage_hash"]),
        nonce=Nonce(int(fields["nonce"])),
        status=int(fields["status"]),
        paid=neuron(int(fields["paid"])) if "paid" in fields else None,
        transaction=log.transaction,
        block=log.block.number,
        log_index=log.index,
        timestamp=log.block.timestamp,
    )


def _sum(name: str, logs: Sequence[Logged]) -> Neuron:
    return neuron(sum(int(x.event.fields["amount"]) for x in logs if x.event.name == name))


def _event(log: Logged) -> AccountEvent:
    amount = log.event.fields.get("amount")
    return AccountEvent(
        name=log.event.name,
        wallet=log.event.user,
        block=log.block.number,
        log_index=log.index,
        amount=None if amount is None else neuron(int(amount)),
    )
