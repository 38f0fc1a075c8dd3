"""
The contract's logs, and what they mean to us.

Tests: L{tests.adapters.test_chain_reads}, L{tests.adapters.test_chain_codec}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

from twisted.logger import Logger

from sandbox_billing.adapters.chain.codec import Codec, Log, Undecodable
from sandbox_billing.adapters.chain.node import Node, NodeFailure, RpcRefusal
from sandbox_billing.adapters.chain.nodes import Headers, Nodes, NoNode, found_header
from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import AccountEvent, Happenings, Moves, NodeBehind
from sandbox_billing.ledger.account import BlockRef, Settlement
from sandbox_billing.ledger.identity import Address, Nonce
from sandbox_billing.ledger.money import neuron
from sandbox_billing.ledger.settlement import SUCCESS


_OF_WALLETS: Mapping[str, str] = {
    "Deposited": "recipient",
    "RefundRequested": "user",
    "RefundWithdrawn": "user",
    "TEESignerAcknowledged": "user",
}
"""Events of (user, provider), and which argument is the user."""

_OF_PROVIDERS = ("ServiceUpdated", "ProviderLeaving", "ProviderLeft")
_REGISTRATIONS = ("ServiceUpdated", "ProviderLeft")
_TAKEN_BEFORE_WIDER = 8
_SETTLEMENTS = ("VoucherSettled", "VoucherShortfall")
_MOVES = ("Deposited", "RefundWithdrawn")

_Place: TypeAlias = tuple[int, int, str]
"""Block, place in it, and the block's hash."""


class LogReader:
    """
    Blocking; for the threads of the adapter, one call at a time.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(
        self,
        nodes: Nodes,
        headers: Headers,
        *,
        contract: Address,
        provider: Address,
        codec: Codec,
        log_range: int,
    ) -> None:
        self._nodes = nodes
        self._headers = headers
        self._contract = contract
        self._provider = provider
        self._codec = codec
        self._widest = self._range = log_range
        self._taken = 0

    def happenings(self, first: int, last: int) -> Happenings:
        """
        What was logged in C{[first, last]}.

        A node that refuses a range is asked for half of it, and for more again later.

        @raise NodeBehind: No node has C{last}.
        """
        logs: list[Log] = []
        blocks: dict[str, BlockRef] = {}
        start = first
        while start <= last:
            end = min(start + self._range - 1, last)
            try:
                found, headers = self._nodes.ask(lambda n, a=start, b=end: self._read(n, a, b))  # type: ignore[misc]
            except NoNode as failure:
                self._narrow(end - start + 1, failure)
                continue
            logs += found
            blocks.update(headers)
            start = end + 1
            self._widen()
        return interpret(logs, blocks, self._provider)

    def moves(self, wallet: Address, first: int, last: int) -> Moves:
        """
        What any node knows of a wallet: every one is asked, for one may leave something out.

        @raise NodeBehind: None has C{last}.
        @raise NoNode: None answers.
        """
        answers: list[dict[_Place, tuple[Log, BlockRef]]] = []
        causes: list[Transient] = []
        for node in self._nodes.in_order():
            try:
                self._nodes.check_chain(node)
                answers.append(self._moves(node, wallet, first, last))
            except Transient as problem:
                self._nodes.failed(node, problem)
                causes.append(problem)
        if not answers:
            kind = NodeBehind if any(isinstance(c, NodeBehind) for c in causes) else Transient
            raise kind("; ".join(cause.text for cause in causes))
        known: dict[_Place, tuple[Log, BlockRef]] = {}
        for answer in answers:
            known.update(answer)
        return _moves_of(known, sources=sum(answer == known for answer in answers))

    def _moves(
        self, node: Node, wallet: Address, first: int, last: int
    ) -> dict[_Place, tuple[Log, BlockRef]]:
        """From one node, which may refuse ranges of any length."""
        newest: tuple[str, list[Any]] = ("eth_getBlockByNumber", [hex(last), False])
        question = self._filter(first, last, (*_MOVES, *_SETTLEMENTS), True)
        question["topics"][1] = _topic(wallet)
        before, answer, after = node.batch([newest, ("eth_getLogs", [question]), newest])
        head = found_header(before, str(last)).ref
        if isinstance(answer, RpcRefusal) and first < last:
            middle = (first + last) // 2
            return {
                **self._moves(node, wallet, first, middle),
                **self._moves(node, wallet, middle + 1, last),
            }
        if found_header(after, str(last)).ref != head:
            raise NodeFailure(f"{node.label} reorganised block {last} while it was read")
        logs = [self._decode(entry) for entry in _entries(answer)]
        blocks = self._checked_blocks(node, logs, first, last)
        return {
            (log.block, log.index, log.block_hash): (log, blocks[log.block_hash]) for log in logs
        }

    def _widen(self) -> None:
        """Try twice as much after a while: what a node refused it may take later."""
        self._taken += 1
        if self._taken >= _TAKEN_BEFORE_WIDER:
            self._taken = 0
            self._range = min(self._widest, self._range * 2)

    def _narrow(self, size: int, failure: NoNode) -> None:
        """
        Halve the range if that may help.

        @raise NoNode: It would not; or it may, but not within this call.
        """
        slow = any(isinstance(c, NodeFailure) and c.slow for c in failure.causes)
        refused = any(
            isinstance(c, RpcRefusal) or (isinstance(c, NodeFailure) and c.too_much)
            for c in failure.causes
        )
        self._taken = 0
        if size > 1 and (slow or refused):
            self._range = size // 2
        # After a time-out the caller's next turn tries with less: ten halvings of ten
        # seconds each would hold this thread too long.
        if size == 1 or not refused:
            raise failure

    def _read(self, node: Node, first: int, last: int) -> tuple[list[Log], dict[str, BlockRef]]:
        """
        One range from one node.

        @raise NodeBehind: It lacks the last block: what it lacks it would leave out silently.
        """
        newest: tuple[str, list[Any]] = ("eth_getBlockByNumber", [hex(last), False])
        before, wallets, providers, after = node.batch(
            [
                newest,
                ("eth_getLogs", [self._filter(first, last, (*_OF_WALLETS, *_SETTLEMENTS), True)]),
                ("eth_getLogs", [self._filter(first, last, _OF_PROVIDERS, False)]),
                newest,
            ]
        )
        head = found_header(before, str(last)).ref
        logs = [self._decode(entry) for entry in _entries(wallets)]
        logs += self._registrations(_entries(providers))
        if found_header(after, str(last)).ref != head:
            raise NodeFailure(f"{node.label} reorganised block {last} while it was read")
        blocks = self._checked_blocks(node, logs, first, last)
        return sorted(logs, key=lambda log: (log.block, log.index)), blocks

    def _checked_blocks(
        self, node: Node, logs: Sequence[Log], first: int, last: int
    ) -> dict[str, BlockRef]:
        blocks = self._headers.of(node, [log.block_hash for log in logs])
        for log in logs:
            if not first <= log.block <= last or blocks[log.block_hash].number != log.block:
                raise NodeFailure(f"{node.label} answered logs of other blocks than asked for")
        return blocks

    def _filter(
        self, first: int, last: int, events: Sequence[str], ours_only: bool
    ) -> dict[str, Any]:
        topics: list[Any] = [[self._codec.topic(event) for event in events]]
        if ours_only:
            topics += [None, _topic(self._provider)]
        return {
            "address": self._contract.hex,
            "fromBlock": hex(first),
            "toBlock": hex(last),
            "topics": topics,
        }

    def _registrations(self, entries: Sequence[Any]) -> list[Log]:
        """Anybody may register: what cannot be read of another provider stops nobody."""
        logs: list[Log] = []
        for entry in entries:
            try:
                logs.append(self._decode(entry))
            except Undecodable as problem:
                if not self._is_anothers(entry):
                    raise
                self._log.warn(
                    "a registration of provider {provider} is left out: {why}",
                    provider="0x" + entry["topics"][1][-40:],
                    why=problem.text,
                )
        return logs

    def _is_anothers(self, entry: Mapping[str, Any]) -> bool:
        """Whether an entry that cannot be read is at least another provider's, and stands."""
        known = {self._codec.topic(event) for event in _OF_PROVIDERS}
        match entry.get("topics"):
            case [str(event), str(whose), *_] if event in known and not entry.get("removed"):
                return len(whose) == 66 and whose.lower() != _topic(self._provider)
        return False

    def _decode(self, entry: Any) -> Log:
        address = entry.get("address") if isinstance(entry, Mapping) else None
        if not isinstance(address, str) or address.lower() != self._contract.hex:
            raise NodeFailure("a node answered a log of another contract")
        return self._codec.log(entry)


def _topic(address: Address) -> str:
    return "0x" + bytes(12).hex() + address.hex[2:]


def _moves_of(known: Mapping[_Place, tuple[Log, BlockRef]], *, sources: int) -> Moves:
    amounts = {"Deposited": 0, "RefundWithdrawn": 0}
    settlements: list[Settlement] = []
    previous: Log | None = None
    for place in sorted(known):
        log, block = known[place]
        if log.name in amounts:
            amounts[log.name] += log.fields["amount"]
        elif log.name == "VoucherSettled":
            settlements.append(_settlement(log, previous, block))
        previous = log
    return Moves(
        deposited=neuron(amounts["Deposited"]),
        withdrawn=neuron(amounts["RefundWithdrawn"]),
        settlements=tuple(settlements),
        sources=sources,
    )


def _entries(answer: Any) -> Sequence[Any]:
    if isinstance(answer, Transient):
        raise answer
    if not isinstance(answer, list):
        raise NodeFailure("a node answered something that is no list of logs")
    return answer


def interpret(logs: Sequence[Log], blocks: Mapping[str, BlockRef], provider: Address) -> Happenings:
    """
    @param logs: In log order.
    @param blocks: Those that the logs stand in, by hash.
    @param provider: Whose settlements and events are kept.
    """
    settlements: list[Settlement] = []
    events: list[AccountEvent] = []
    services: dict[Address, None] = {}
    previous: Log | None = None
    for log in logs:
        whose = Address(log.fields["provider"])
        if log.name in _REGISTRATIONS:
            services[whose] = None
        if whose == provider:
            if log.name == "VoucherSettled":
                settlements.append(_settlement(log, previous, blocks[log.block_hash]))
            elif log.name not in _SETTLEMENTS:
                events.append(_event(log))
        previous = log
    return Happenings(
        settlements=tuple(settlements), events=tuple(events), services=tuple(services)
    )


def _event(log: Log) -> AccountEvent:
    who = _OF_WALLETS.get(log.name)
    return AccountEvent(
        name=log.name,
        wallet=None if who is None else Address(log.fields[who]),
        block=log.block,
        log_index=log.index,
        amount=neuron(log.fields["amount"]) if "amount" in log.fields else None,
    )


def _settlement(log: Log, previous: Log | None, block: BlockRef) -> Settlement:
    fields = log.fields
    paid: int | None = fields["totalFee"] if fields["status"] == SUCCESS else None
    if paid is None and previous is not None and _is_shortfall_of(log, previous):
        paid = previous.fields["paid"]
    return Settlement(
        user=Address(fields["user"]),
        provider=Address(fields["provider"]),
        fee=neuron(fields["totalFee"]),
        usage_hash="0x" + fields["usageHash"].hex(),
        nonce=Nonce(fields["nonce"]),
        status=fields["status"],
        paid=None if paid is None else neuron(paid),
        transaction=log.transaction,
        block=log.block,
        log_index=log.index,
        timestamp=block.timestamp,
    )


def _is_shortfall_of(log: Log, previous: Log) -> bool:
    """Whether C{previous} stands directly before C{log} and is about the same voucher."""
    return (
        previous.name == "VoucherShortfall"
        and (previous.block, previous.transaction) == (log.block, log.transaction)
        and previous.index == log.index - 1
        and all(previous.fields[key] == log.fields[key] for key in ("user", "provider", "nonce"))
    )
