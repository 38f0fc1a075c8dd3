"""
A wallet on the chain: paying in, agreeing to a signer, asking money back.

Tests: C{tests.client.test_chain}.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import define, field, frozen

from sandbox_billing.client.signer import Signer
from sandbox_billing.client.values import Info
from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import format_0g, neuron
from sandbox_billing.signing.eip55 import checksum


if TYPE_CHECKING:
    from web3 import HTTPProvider

    from sandbox_billing.adapters.chain.codec import Codec


_POLL_SECONDS = 1.0
_REVERTED = 3
"""The code of a node's error that carries what a call reverted with (EIP-1474's successors)."""


@frozen(auto_exc=False)
class Reverted(Refused):
    """
    The contract says no.

    @ivar data: What it reverted with.
    """

    data: bytes = b""


@frozen(kw_only=True)
class Standing:
    """
    What a wallet has with one provider, on-chain.  Amounts are neuron.

    @ivar refund_unlock_at: unix seconds; 0 where nothing was asked back.
    """

    balance: int
    pending_refund: int
    refund_unlock_at: int
    acknowledged: bool
    signer_version: int


@frozen(kw_only=True)
class Transaction:
    """
    One that was mined and did what it should.

    @ivar hash: C{0x} and hex.
    @ivar cost: neuron that gas took.
    """

    hash: str
    block: int
    gas_used: int
    cost: int


def _address(text: Address | str) -> Address:
    return Address(str(text))


def _unmined(function: str, hashed: str) -> UnknownOutcome:
    return UnknownOutcome(
        f"{function}: {hashed} was sent and is not mined yet; look for it before you send another"
    )


def _read_receipt(hashed: str, told: Any) -> tuple[bool, Transaction] | None:
    """
    Whether it did what it should, and what it was; None while there is none.

    @raise Transient: It is no receipt.
    """
    if told is None:
        return None
    try:
        gas_used = int(told["gasUsed"], 16)
        price = int(told.get("effectiveGasPrice") or "0x0", 16)
        block = int(told["blockNumber"], 16)
        succeeded = int(told["status"], 16) == 1
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Transient("the RPC node told something that is no receipt") from None
    return succeeded, Transaction(
        hash=hashed, block=block, gas_used=gas_used, cost=gas_used * price
    )


@define(kw_only=True, eq=False)
class ChainAccount:
    """
    One wallet with one provider.

    @ivar rpc_url: A node that you trust: it says what is so.
    @ivar contract: The settlement contract; look that it is the one you mean to pay into.
    @ivar timeout: Seconds to wait until a transaction is mined.
    """

    rpc_url: str = field(repr=False)  # It may hold a secret.
    contract: Address = field(converter=_address)
    provider: Address = field(converter=_address)
    chain_id: int
    signer: Signer = field(repr=False)
    timeout: float = 120.0
    sleep: Callable[[float], object] = field(default=time.sleep, repr=False)
    _node: HTTPProvider | None = field(default=None, init=False, repr=False)

    @classmethod
    def of(cls, info: Info, signer: Signer, *, rpc_url: str | None = None) -> ChainAccount:
        """
        With what a provider says of itself: for a provider, and a node, that you trust.

        @raise BadInput: He names no node, and none was given.
        """
        url = rpc_url or info.rpc_url
        if not url:
            raise BadInput("this provider names no RPC node: give rpc_url")
        return cls(
            rpc_url=url,
            contract=info.contract,
            provider=info.provider,
            chain_id=info.chain_id,
            signer=signer,
        )

    # -- looking

    def balance(self) -> int:
        """neuron, without what was asked back."""
        return self.standing().balance

    def standing(self) -> Standing:
        """All that the contract knows of this wallet with this provider."""
        self._check_chain()
        whose = (self.signer.address.hex, self.provider.hex)
        balance, pending, unlock = self._view("getBalance", *whose)
        (acknowledged,) = self._view("isTEEAcknowledged", *whose)
        return Standing(
            balance=balance,
            pending_refund=pending,
            refund_unlock_at=unlock,
            acknowledged=acknowledged,
            signer_version=self._version(),
        )

    # -- doing

    def deposit(self, amount: int, *, recipient: Address | str | None = None) -> Transaction:
        """
        Pay in.  Called twice it pays twice.

        @param amount: neuron.
        @param recipient: Whose balance; None for this wallet's own.
        """
        if neuron(amount) == 0:
            raise BadInput("the amount is 0: name how much")
        whose = self.signer.address if recipient is None else Address(str(recipient))
        return self._send("deposit", whose.hex, self.provider.hex, value=amount)

    def acknowledge(self, yes: bool = True, *, version: int | None = None) -> Transaction:
        """
        Agree to the provider's signer and prices, or take that back: then what runs is stopped.

        @param version: The one that was looked at; None for the one of now.
        @raise Refused: It is at another version.
        """
        if not yes:
            return self._send("acknowledgeTEESigner", self.provider.hex, False)
        current = self._version()
        if version is not None and version != current:
            raise Refused(
                f"the provider is at signer version {current}, not {version}: look at its prices "
                f"again, then acknowledge version {current}"
            )
        try:
            return self._send("acknowledgeTEESignerVersion", self.provider.hex, current)
        except Reverted as refusal:
            if self._codec().is_own_error(refusal.data):
                raise
        # The contract that is deployed today has only this one.
        return self._send("acknowledgeTEESigner", self.provider.hex, True)

    def request_refund(self, amount: int) -> Transaction:
        """
        Ask money back: it waits for two hours, and an earlier request ends.

        @param amount: neuron.
        """
        return self._send("requestRefund", self.provider.hex, neuron(amount))

    def withdraw_refund(self) -> Transaction:
        """What was asked back, once it is unlocked."""
        return self._send("withdrawRefund", self.provider.hex)

    # -- one transaction

    def _send(self, function: str, *arguments: Any, value: int = 0) -> Transaction:
        """
        @raise Refused: It would revert, or did; or the wallet cannot pay for it.
        @raise UnknownOutcome: It was sent, and is not mined in time.
        """
        from eth_utils.crypto import keccak

        self._check_chain()
        me = self.signer.address
        data = "0x" + self._codec().calldata(function, *arguments).hex()
        call = {"from": me.hex, "to": self.contract.hex, "data": data, "value": hex(value)}
        funds = self._number("eth_getBalance", me.hex, "latest")
        if funds < value:
            raise Refused(
                f"{function} needs {format_0g(value)} and gas, and {checksum(me)} has "
                f"{format_0g(funds)}: send it some"
            )
        self._call("eth_call", call, "latest")
        gas = self._number("eth_estimateGas", call)
        fields = {
            "chainId": self.chain_id,
            "nonce": self._number("eth_getTransactionCount", me.hex, "pending"),
            "to": checksum(self.contract),
            "value": value,
            "data": data,
            # What it meets when it is mined may cost a little more.
            "gas": gas + gas // 5,
            **self._fees(),
        }
        raw = self.signer.sign_transaction(fields)
        hashed = "0x" + keccak(raw).hex()
        try:
            self._call("eth_sendRawTransaction", "0x" + raw.hex())
        except Transient:
            # It may have arrived without an answer: the chain will tell.
            pass
        except Refused:
            # What sits before a node sends again by itself, and then meets its own: "known".
            if not self._arrived(function, hashed):
                raise
        return self._mined(function, hashed)

    def _fees(self) -> dict[str, int]:
        block = self._call("eth_getBlockByNumber", "latest", False)
        price = self._number("eth_gasPrice")
        base = block.get("baseFeePerGas") if isinstance(block, dict) else None
        if base is None:
            return {"gasPrice": price}
        base_fee = int(base, 16)
        try:
            tip = self._number("eth_maxPriorityFeePerGas")
        except Refused:
            tip = max(0, price - base_fee)
        return {"maxFeePerGas": 2 * base_fee + tip, "maxPriorityFeePerGas": tip}

    def _arrived(self, function: str, hashed: str) -> bool:
        """
        Whether the node has a transaction that it refused.

        @raise UnknownOutcome: It does not say.
        """
        try:
            return self._call("eth_getTransactionByHash", hashed) is not None
        except (Refused, Transient) as problem:
            raise _unmined(function, hashed) from problem

    def _mined(self, function: str, hashed: str) -> Transaction:
        """
        @raise UnknownOutcome: No receipt in time, whatever else the node said: the money may
            have left.
        """
        waited = 0.0
        while True:
            try:
                done = _read_receipt(hashed, self._call("eth_getTransactionReceipt", hashed))
            except (Refused, Transient):
                # Asked too often, or of a node that is behind: that says nothing of what was sent.
                done = None
            if done is not None:
                break
            if waited >= self.timeout:
                raise _unmined(function, hashed)
            self.sleep(_POLL_SECONDS)
            waited += _POLL_SECONDS
        succeeded, transaction = done
        if not succeeded:
            raise Refused(f"{function}: {hashed} was mined and failed: look at it in an explorer")
        return transaction

    # -- the node

    def _version(self) -> int:
        found: int = self._view("services", self.provider.hex)[4]
        return found

    def _codec(self) -> Codec:
        from sandbox_billing.adapters.chain.codec import Codec

        return Codec("SandboxServing")

    def _view(self, function: str, *arguments: Any) -> tuple[Any, ...]:
        codec = self._codec()
        data = "0x" + codec.calldata(function, *arguments).hex()
        answer = self._call("eth_call", {"to": self.contract.hex, "data": data}, "latest")
        return codec.answer(function, bytes.fromhex(str(answer)[2:]))

    def _check_chain(self) -> None:
        found = self._number("eth_chainId")
        if found != self.chain_id:
            raise BadInput(
                f"this node is on chain {found}, not {self.chain_id}: give another rpc_url"
            )

    def _number(self, method: str, *parameters: Any) -> int:
        return int(str(self._call(method, *parameters)), 16)

    def _call(self, method: str, *parameters: Any) -> Any:
        """
        @raise Refused: The node says no; L{Reverted} where the contract does.
        @raise Transient: It cannot be reached.
        """
        # Two seconds and a hundred MiB, which only who uses the chain pays.
        from web3 import HTTPProvider
        from web3.types import RPCEndpoint

        if self._node is None:
            self._node = HTTPProvider(
                self.rpc_url,
                request_kwargs={"timeout": 30, "allow_redirects": False},
                exception_retry_configuration=None,
            )
        try:
            answer = self._node.make_request(RPCEndpoint(method), list(parameters))
        except (OSError, ValueError) as problem:
            # Its own text would hold the URL.
            why = type(problem).__name__
            raise Transient(f"the RPC node does not answer: {why}") from None
        if not isinstance(answer, dict):
            raise Transient("the RPC node answers something that is no JSON-RPC")
        error = answer.get("error")
        if error is None:
            return answer.get("result")
        if not isinstance(error, dict):
            raise Refused(f"{method}: the RPC node says {error!r}"[:300])
        data = error.get("data")
        if error.get("code") == _REVERTED or (isinstance(data, str) and data.startswith("0x")):
            raise self._reverted(data if isinstance(data, str) else "0x")
        raise Refused(f"{method}: the RPC node says {error.get('message')!r}"[:300])

    def _reverted(self, data: str) -> Reverted:
        from sandbox_billing.cli.reverts import sentence

        try:
            raw = bytes.fromhex(data.removeprefix("0x"))
        except ValueError:
            raw = b""
        return Reverted(sentence("0x" + raw.hex()), raw)
