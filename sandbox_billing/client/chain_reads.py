"""
One node, asked by JSON-RPC for what receipts are checked against.

Needs neither web3 nor a key.  No text made here contains the node's URL: it may hold a secret.

Tests: L{tests.client.test_chain_reads}.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from attrs import frozen
from eth_utils.crypto import keccak

from sandbox_billing.client.node_post import Bounded, Post, octets, post_to, quantity
from sandbox_billing.client.receipt_claims import PriceRecord, Settled
from sandbox_billing.errors import BadInput, Transient
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import neuron
from sandbox_billing.ledger.rating import Prices


CALLS_AT_ONCE, RANGES_AT_ONCE = 50, 10
MOST_RANGES, MOST_FOR_HISTORY = 100_000, 2_000
"""Of blocks, that are asked for one by one; and for what a block can be named to begin with."""

MOST_LOGS = 500_000
"""More than any wallet has."""

_HASH = re.compile(r"0x[0-9a-fA-F]{64}\Z")


def _topic(signature: str) -> str:
    return "0x" + keccak(signature.encode()).hex()


SETTLED = _topic("VoucherSettled(address,address,uint256,bytes32,uint256,uint8)")
SHORTFALL = _topic("VoucherShortfall(address,address,uint256,uint256,uint256)")
SERVICE_UPDATED = _topic("ServiceUpdated(address,string,address,uint256)")
ACKNOWLEDGED = _topic("TEESignerAcknowledged(address,address,bool)")

_SERVICES = keccak(b"services(address)")[:4]
_SEPARATOR = keccak(b"domainSeparator()")[:4]
# The text is a stranger's, and may be no UTF-8: as bytes it is encoded the same.
_SERVICE = ("bytes", "address", "uint256", "uint256", "uint256", "uint256")


@frozen
class _Refused:
    """What a node answered instead."""

    text: str


@frozen(auto_exc=False)
class _TooManyQuestions(Transient):
    """Not worth so many requests."""


@frozen(kw_only=True)
class _Service:
    signer: Address
    prices: Prices
    version: int


@frozen(kw_only=True)
class _Log:
    """One that was asked for."""

    topic: str
    data: bytes
    transaction: str
    block: int
    index: int


class JsonRpcChain:
    """
    L{ChainReads<sandbox_billing.client.verify.ChainReads>} of one node.
    """

    def __init__(
        self, url: str, contract: Address, *, start_block: int = 0, post: Post | None = None
    ) -> None:
        """
        @param post: To this node; it is not asked without end, whatever it answers.
        @param start_block: There is nothing of the contract before; with it a node that takes
            few blocks at once is asked less often.
        """
        self.contract = contract
        self._post = Bounded(post_to(url) if post is None else post)
        self._start = start_block
        self._width: int | None = None
        self._batches = True

    def chain_id(self) -> int:
        """By the node's word."""
        return self._number("eth_chainId")

    def head(self) -> int:
        """The newest block."""
        return self._number("eth_blockNumber")

    def domain_separator(self) -> bytes:
        """Empty where the contract has none."""
        (answer,) = self._ask([self._call(_SEPARATOR, "latest")])
        return b"" if isinstance(answer, _Refused) else octets(answer)

    def settled(self, user: Address, provider: Address, first: int, last: int) -> Sequence[Settled]:
        """A shortfall is told by a log of its own, before that of its voucher."""
        return _settled(self._logs(_of_wallet(user, provider), first, last))

    def settled_ever(self, user: Address, provider: Address, last: int) -> Sequence[Settled] | None:
        """From C{start_block} on; many nodes tell the logs of one wallet of all blocks at once."""
        topics = _of_wallet(user, provider)
        try:
            return _settled(self._logs(topics, self._start, last, most=MOST_FOR_HISTORY))
        except _TooManyQuestions:
            return None

    def signers(
        self, provider: Address, blocks: Collection[int]
    ) -> Mapping[int, frozenset[Address]]:
        """By the contract's state then, or by its events where a node has forgotten that."""
        services = self._services_near(provider, blocks)
        found: dict[int, frozenset[Address]] = {}
        events: list[tuple[int, Address]] | None = None
        for block in blocks:
            states = [services[near] for near in (block - 1, block) if near in services]
            if any(isinstance(state, _Refused) for state in states):
                if events is None:
                    events = list(self._registrations(provider, max(blocks)))
                before = [signer for at, signer in events if at < block][-1:]
                known = {*before, *(signer for at, signer in events if at == block)}
            else:
                known = {state.signer for state in states if isinstance(state, _Service)}
            found[block] = frozenset(known)
        return found

    def prices(self, user: Address, provider: Address, last: int) -> Sequence[PriceRecord] | None:
        """What was in force in the block of each acknowledgement."""
        topics = [ACKNOWLEDGED, _word(user), _word(provider)]
        try:
            logs = self._logs(topics, self._start, last, most=MOST_FOR_HISTORY)
        except _TooManyQuestions:
            return None
        blocks = sorted({log.block for log in logs if any(log.data)})
        services = self._services_near(provider, blocks)
        headers = self._ask([("eth_getBlockByNumber", [hex(block), False]) for block in blocks])
        found: list[PriceRecord] = []
        for block, header in zip(blocks, headers, strict=True):
            after, before = services[block], services.get(block - 1)
            if isinstance(after, _Refused) or not isinstance(header, Mapping):
                return None
            # Changed in that very block: whether before or after the wallet's word is not told.
            states = [after] if before in (None, after) else [before, after]
            found += [
                PriceRecord(
                    block=block,
                    acknowledged_at=quantity(header.get("timestamp")),
                    prices=state.prices,
                )
                for state in states
                if isinstance(state, _Service)
            ]
        return found

    # the contract

    def _services_near(self, provider: Address, blocks: Collection[int]) -> dict[int, Any]:
        """
        The registration at the end of each block and of the one before it.

        Every change of it raises its version: where that is the same at two blocks, nobody has
        to be asked for what is between them.
        """
        wanted = sorted({near for block in blocks for near in (block - 1, block) if near >= 0})
        found: dict[int, Any] = {}
        spans = [(0, len(wanted) - 1)] if wanted else []
        while spans:
            ends = sorted({wanted[end] for span in spans for end in span} - found.keys())
            found.update(zip(ends, self._services(provider, ends), strict=True))
            further = []
            for first, last in spans:
                one, other = found[wanted[first]], found[wanted[last]]
                if last - first < 2:
                    continue
                if isinstance(one, _Service) and one == other:
                    found.update(dict.fromkeys(wanted[first + 1 : last], one))
                    continue
                middle = (first + last) // 2
                further += [(first, middle), (middle, last)]
            spans = further
        return found

    def _services(self, provider: Address, blocks: Sequence[int]) -> list[Any]:
        """The registration at the end of each block: it, nothing, or why nobody knows."""
        call = _SERVICES + bytes(12) + provider.to_bytes()
        found: list[Any] = []
        for answer in self._ask([self._call(call, hex(block)) for block in blocks]):
            if isinstance(answer, _Refused):
                found.append(answer)
                continue
            data = octets(answer)
            if not data:
                # Before there was a contract.
                found.append(None)
                continue
            _url, signer, cpu, fee, version, memory = _decode(_SERVICE, data)
            prices = Prices(
                per_cpu_per_minute=neuron(cpu),
                per_memory_gib_per_minute=neuron(memory),
                create_fee=neuron(fee),
            )
            found.append(_Service(signer=Address(signer), prices=prices, version=version))
        return found

    def _registrations(self, provider: Address, last: int) -> Iterator[tuple[int, Address]]:
        for log in self._logs([SERVICE_UPDATED, _word(provider)], self._start, last):
            _url, signer, _version = _decode(("bytes", "address", "uint256"), log.data)
            yield log.block, Address(signer)

    def _call(self, data: bytes, block: str) -> tuple[str, list[Any]]:
        return "eth_call", [{"to": self.contract.hex, "data": "0x" + data.hex()}, block]

    # the node

    def _logs(
        self, topics: Sequence[Any], first: int, last: int, most: int = MOST_RANGES
    ) -> list[_Log]:
        """
        In their order.  Where a node refuses so many blocks it is asked for half of them.

        @param most: Ranges that are worth asking for.
        @raise Transient: It refuses one block.
        @raise _TooManyQuestions: It takes more than C{most}.
        """
        found: dict[tuple[str, int], _Log] = {}
        start, width = first, self._width or max(1, last - first + 1)
        taken = self._width is not None
        while start <= last:
            # It may refuse so many blocks at once that this would never end.
            if most <= 0 or (taken and (last - start) // width >= most):
                raise _TooManyQuestions("the node tells the logs of few blocks at once")
            starts = range(start, last + 1, width)[: RANGES_AT_ONCE if taken else 1]
            ranges = [(at, min(at + width - 1, last)) for at in starts]
            most -= len(ranges)
            answers = self._ask([self._log_call(topics, a, b) for a, b in ranges])
            for (begin, end), answer in zip(ranges, answers, strict=True):
                if isinstance(answer, list):
                    logs = [self._read(log, topics) for log in answer]
                    found |= {
                        (log.transaction, log.index): log
                        for log in logs
                        if log is not None and begin <= log.block <= end
                    }
                    if len(found) > MOST_LOGS:
                        raise Transient("the node tells more logs than there can be")
                    start, taken = end + 1, True
                    continue
                if width == 1:
                    why = answer.text if isinstance(answer, _Refused) else "that is no list"
                    raise Transient(f"the node tells no logs: {why}")
                width, taken = max(1, width // 2), False
                self._width = width
                break
        return sorted(found.values(), key=lambda log: (log.block, log.index))

    def _read(self, log: Any, topics: Sequence[Any]) -> _Log | None:
        """
        None where it is none that was asked for: not every node heeds what it is asked.

        @raise Transient: It is no log at all.
        """
        try:
            told, whose, where = log["topics"], log["address"].lower(), log["transactionHash"]
            read = _Log(
                topic=told[0].lower() if told else "",
                data=octets(log["data"]),
                transaction=where.lower(),
                block=quantity(log["blockNumber"]),
                index=quantity(log["logIndex"]),
            )
            words = [str(one).lower() for one in told if type(one) is str]
            removed = log.get("removed")
        except (KeyError, IndexError, TypeError, AttributeError):
            raise Transient("the node told something that is no log") from None
        if type(told) is not list or len(words) != len(told) or not _HASH.match(where):
            raise Transient("the node told something that is no log")
        if whose != self.contract.hex or len(words) < len(topics) or removed:
            return None
        asked = all(
            one in wanted if isinstance(wanted, list) else one == wanted
            for one, wanted in zip(words, topics, strict=False)
        )
        return read if asked else None

    def _log_call(self, topics: Sequence[Any], first: int, last: int) -> tuple[str, list[Any]]:
        asked = {
            "address": self.contract.hex,
            "topics": list(topics),
            "fromBlock": hex(first),
            "toBlock": hex(last),
        }
        return "eth_getLogs", [asked]

    def _number(self, method: str) -> int:
        (answer,) = self._ask([(method, [])])
        if isinstance(answer, _Refused):
            raise Transient(f"the node does not say its {method}")
        return quantity(answer)

    def _ask(self, calls: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        """Results in the order of the calls; L{_Refused} where there is none."""
        answers: list[Any] = []
        for at in range(0, len(calls), CALLS_AT_ONCE):
            answers += self._ask_at_once(calls[at : at + CALLS_AT_ONCE])
        return answers

    def _ask_at_once(self, calls: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        asked = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            for number, (method, params) in enumerate(calls)
        ]
        if self._batches and len(asked) > 1:
            replies = self._post(asked)
            if isinstance(replies, list):
                named = [one for one in replies if isinstance(one, Mapping)]
                by_id = {one["id"]: one for one in named if type(one.get("id")) is int}
                return [_result(by_id.get(number)) for number in range(len(asked))]
            # It takes one at a time.
            self._batches = False
        return [_result(self._post(one)) for one in asked]


def _result(reply: Any) -> Any:
    if isinstance(reply, Mapping) and reply.get("result") is not None:
        return reply["result"]
    error = reply.get("error") if isinstance(reply, Mapping) else None
    text = error.get("message") if isinstance(error, Mapping) else None
    return _Refused(text[:200] if isinstance(text, str) and text else "no result")


def _of_wallet(user: Address, provider: Address) -> Sequence[Any]:
    return [[SETTLED, SHORTFALL], _word(user), _word(provider)]


def _settled(logs: Sequence[_Log]) -> Sequence[Settled]:
    """The vouchers of these logs; in their order."""
    found: list[Settled] = []
    short: dict[tuple[str, int], int] = {}
    for log in logs:
        if log.topic == SHORTFALL:
            nonce, paid, _owed = _decode(("uint256", "uint256", "uint256"), log.data)
            short[log.transaction, nonce] = paid
            continue
        fee, usage, nonce, status = _decode(("uint256", "bytes32", "uint256", "uint8"), log.data)
        found.append(
            Settled(
                fee=fee,
                usage_hash="0x" + usage.hex(),
                nonce=nonce,
                status=status,
                paid=fee if status == 0 else short.get((log.transaction, nonce)),
                transaction=log.transaction,
                block=log.block,
            )
        )
    return found


def _word(address: Address) -> str:
    return "0x" + "0" * 24 + address.hex[2:]


def _decode(types: Sequence[str], data: bytes) -> tuple[Any, ...]:
    from eth_abi.abi import decode
    from eth_abi.exceptions import DecodingError

    try:
        return decode(types, data)
    except (DecodingError, OverflowError, BadInput) as why:
        raise Transient(f"the node answered something else than the contract: {why}") from None
