"""
Transactions of one account: simulated, estimated, priced, stored, sent and waited for.

Tests: L{tests.cli.test_sending}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen

from sandbox_billing.adapters.chain.fees import DynamicFees, Fees, suggest
from sandbox_billing.adapters.chain.node import RpcRefusal, octets, quantity
from sandbox_billing.cli.amounts import both
from sandbox_billing.cli.options import SendingOptions
from sandbox_billing.cli.output import Output, Progress
from sandbox_billing.cli.reverts import sentence
from sandbox_billing.cli.session import Session
from sandbox_billing.errors import Refused, Transient, UnknownOutcome
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.key import SigningKey


_NO_CEILING = 2**128

_POLL_SECONDS = 0.25

_AGAIN_SECONDS = 15.0
"""How often the same bytes are offered again while no block has them."""


@frozen(kw_only=True)
class Call:
    """
    Something to be sent.

    @ivar label: What it is, for people: C{deposit}.
    @ivar to: None creates a contract.
    @ivar value: neuron sent with it.
    """

    label: str
    to: Address | None
    data: bytes
    value: int = 0


@frozen(kw_only=True)
class Draft:
    """
    A call with what it may cost.

    @ivar gas: Limit; None where it cannot be known before an earlier call is mined.
    """

    call: Call
    gas: int | None
    fees: Fees

    @property
    def cost(self) -> int | None:
        """neuron that gas takes at most."""
        return None if self.gas is None else self.gas * self.fees.cap

    def document(self) -> dict[str, Any]:
        """For C{--json}."""
        return {
            "label": self.call.label,
            "to": None if self.call.to is None else checksum(self.call.to),
            "value": str(self.call.value),
            "data": "0x" + self.call.data.hex(),
            "gas": self.gas,
            "fee_per_gas": str(self.fees.cap),
            "cost": None if self.cost is None else str(self.cost),
        }


@frozen(kw_only=True)
class Signed:
    """
    What may be broadcast, again and again.

    @ivar raw: C{0x} and hex.
    @ivar hash: C{0x} and 64 hex digits.
    """

    raw: str
    hash: str
    nonce: int


@frozen(kw_only=True)
class Done:
    """
    A mined and confirmed transaction that did what it should.

    @ivar cost: neuron paid for gas.
    """

    label: str
    hash: str
    block: int
    gas_used: int
    cost: int
    contract: Address | None = None

    def document(self) -> dict[str, Any]:
        """For C{--json}."""
        return {
            "label": self.label,
            "hash": self.hash,
            "block": self.block,
            "gas_used": self.gas_used,
            "cost": str(self.cost),
        }


def _unstored(signed: Signed) -> None:
    """Where running again finds out by itself what is done."""


class Sender:
    """
    Sends from one account, one transaction after the other.
    """

    def __init__(
        self, session: Session, key: SigningKey, options: SendingOptions, out: Output
    ) -> None:
        self._session = session
        self._key = key
        self._options = options
        self._out = out
        self.address = key.address

    def ready(self) -> None:
        """
        Wait until nothing of this account is under way: what is read then is so.

        @raise UnknownOutcome: Something is not mined within the time.
        """
        if self._options.dry_run or not self._waiting():
            return
        deadline = self._session.pace.seconds() + self._options.timeout_seconds
        with self._out.progress() as progress:
            while self._waiting():
                progress.say(f"an earlier transaction of {checksum(self.address)} is not mined yet")
                if self._session.pace.seconds() > deadline:
                    raise UnknownOutcome(
                        f"an earlier transaction of {checksum(self.address)} is still not mined: "
                        "run this again when it is"
                    )
                self._session.pace.sleep(_POLL_SECONDS)

    def _waiting(self) -> bool:
        return self._nonce("pending") > self._nonce("latest")

    def _nonce(self, block: str) -> int:
        return self._session.number("eth_getTransactionCount", self.address.hex, block)

    def transact(self, calls: Sequence[Call], *, question: str | None = None) -> list[Done] | None:
        """
        Send calls in order, or only show them with C{--dry-run}.

        Each is simulated right before it is sent.

        @param question: Asked first, at a terminal without C{--yes}.
        @return: What was done; None when they were only shown, and then nothing is left to say.
        @raise Refused: A call would revert, or did; or the answer is no.
        @raise UnknownOutcome: One was sent and its end was not seen.
        """
        if self._options.dry_run:
            self.show(calls)
            return None
        if question is not None:
            self._out.ask(question, yes=self._options.yes)
        return [self.send(call) for call in calls]

    def show(self, calls: Sequence[Call]) -> None:
        """What would be sent: the result of a dry run."""
        drafts: list[Draft] = []
        for call in calls:
            # Later ones may need what earlier ones do.
            drafts.append(self.draft(call) if not drafts else self._tentative(call))
        rows: list[tuple[str, str]] = []
        for draft in drafts:
            cost = "known when the step before it is mined"
            if draft.gas is not None and draft.cost is not None:
                cost = f"{draft.gas} gas, at most {both(draft.cost)}"
            to = "a new contract" if draft.call.to is None else checksum(draft.call.to)
            rows.append((draft.call.label, f"to {to}, value {both(draft.call.value)}"))
            rows.append(("  gas", cost))
            rows.append(("  calldata", "0x" + draft.call.data.hex()))
        self._out.finish(
            {"dry_run": True, "transactions": [draft.document() for draft in drafts]},
            title="Dry run: nothing was sent",
            rows=rows,
        )

    def _tentative(self, call: Call) -> Draft:
        try:
            return self.draft(call)
        except (Refused, RpcRefusal):
            return Draft(call=call, gas=None, fees=self._fees())

    def draft(self, call: Call) -> Draft:
        """
        Simulate, estimate and price.

        @raise Refused: It would revert, or the account cannot pay for it.
        """
        funds = self._session.balance(self.address)
        if funds < call.value:
            raise Refused(self._poor(call.label, call.value, funds))
        request = self._request(call)
        try:
            self._session.simulate(request)
            estimate = self._session.number("eth_estimateGas", request)
        except RpcRefusal as refusal:
            if refusal.reverted:
                raise Refused(f"{call.label}: {sentence(refusal.data)}") from None
            raise
        except Refused as refused:
            raise Refused(f"{call.label}: {refused}") from None
        # What it meets when it is mined may cost a little more than what it meets now.
        draft = Draft(call=call, gas=estimate + estimate // 5, fees=self._fees())
        needed = call.value + (draft.cost or 0)
        if funds < needed:
            raise Refused(self._poor(call.label, needed, funds))
        return draft

    def _poor(self, label: str, needed: int, funds: int) -> str:
        return (
            f"{label} needs up to {both(needed)}, and {checksum(self.address)} has {both(funds)}: "
            "send it some"
        )

    def _request(self, call: Call) -> dict[str, str]:
        request = {
            "from": self.address.hex,
            "data": "0x" + call.data.hex(),
            "value": hex(call.value),
        }
        return request if call.to is None else {**request, "to": call.to.hex}

    def _fees(self) -> Fees:
        block = self._session.call("eth_getBlockByNumber", "latest", False)
        base = block.get("baseFeePerGas") if isinstance(block, dict) else None
        price = self._session.number("eth_gasPrice")
        tip = 0
        if base is not None:
            try:
                tip = self._session.number("eth_maxPriorityFeePerGas")
            except RpcRefusal:
                # Nodes without the method price by eth_gasPrice.
                tip = max(0, price - quantity(base, "baseFeePerGas"))
        base_fee = None if base is None else quantity(base, "baseFeePerGas")
        return suggest(base_fee=base_fee, tip=tip, gas_price=price, ceiling=_NO_CEILING)

    # -- sending

    def send(
        self,
        call: Call,
        *,
        store: Callable[[Signed], None] = _unstored,
        confirmations: int | None = None,
    ) -> Done:
        """
        Send one call and wait for it.

        @param store: Called with the signed bytes before they are sent.
        @param confirmations: Other than the option's.
        """
        self.ready()
        draft = self.draft(call)
        signed = self.sign(draft)
        store(signed)
        # Said before it is sent: whatever happens next, it can be looked up.
        self._out.note(f"{call.label}: sending {signed.hash}")
        return self.follow(call.label, signed, confirmations=confirmations)

    def sign(self, draft: Draft) -> Signed:
        """The bytes, with the account's next nonce."""
        assert draft.gas is not None, "a draft without gas is for showing only"
        nonce = self._nonce("pending")
        fields: dict[str, Any] = {
            "chainId": self._session.chain_id,
            "nonce": nonce,
            "value": draft.call.value,
            "data": "0x" + draft.call.data.hex(),
            "gas": draft.gas,
        }
        if draft.call.to is not None:
            fields["to"] = checksum(draft.call.to)
        if isinstance(draft.fees, DynamicFees):
            fields["maxFeePerGas"] = draft.fees.cap
            fields["maxPriorityFeePerGas"] = draft.fees.tip
        else:
            fields["gasPrice"] = draft.fees.cap
        made = self._key.sign_transaction(fields)
        return Signed(raw="0x" + made.raw.hex(), hash="0x" + made.hash.hex(), nonce=nonce)

    def follow(self, label: str, signed: Signed, *, confirmations: int | None = None) -> Done:
        """
        Offer signed bytes until a block has them, and wait for the blocks upon it.

        @raise Refused: It was mined and failed, or can never be mined.
        @raise UnknownOutcome: The time is up, or Ctrl-C; it may still be mined.
        """
        depth = self._options.confirmations if confirmations is None else confirmations
        with self._out.progress() as progress:
            try:
                return self._follow(label, signed, depth, progress)
            except KeyboardInterrupt:
                raise self._unseen(label, signed, "Ctrl-C was pressed") from None

    def _follow(self, label: str, signed: Signed, depth: int, progress: Progress) -> Done:
        pace = self._session.pace
        deadline = pace.seconds() + self._options.timeout_seconds
        offered_at: float | None = None
        why = f"{self._options.timeout_seconds} s are up"
        while True:
            try:
                receipt = self._session.call("eth_getTransactionReceipt", signed.hash)
                if receipt is not None:
                    block = quantity(receipt["blockNumber"], "blockNumber")
                    upon = self._session.head() - block
                    progress.say(f"{label}: in block {block}, {max(upon, 0)} of {depth} upon it")
                    if upon >= depth:
                        return self._done(label, signed, receipt)
                else:
                    progress.say(f"{label}: waiting for a block")
                    if offered_at is None or pace.seconds() - offered_at > _AGAIN_SECONDS:
                        offered_at = pace.seconds()
                        self._offer(label, signed)
            except Transient as problem:
                # It may have arrived all the same: only a receipt or the deadline ends this.
                why = str(problem)
                progress.say(f"{label}: {problem}; still asking")
            if pace.seconds() > deadline:
                raise self._unseen(label, signed, why)
            pace.sleep(_POLL_SECONDS)

    def _offer(self, label: str, signed: Signed) -> None:
        """
        @raise Refused: The node refuses it and does not know it, and no other may still take it.
        """
        try:
            self._session.call("eth_sendRawTransaction", signed.raw)
        except RpcRefusal as refusal:
            # Not by its words: known is what it finds by the hash.
            if self._session.call("eth_getTransactionByHash", signed.hash) is not None:
                return
            if self._session.call("eth_getTransactionReceipt", signed.hash) is not None:
                return
            raise Refused(f"{label} was not taken: {refusal}") from None

    def _unseen(self, label: str, signed: Signed, why: str) -> UnknownOutcome:
        return UnknownOutcome(
            f"{label}: {why}, and {signed.hash} was sent but not seen confirmed; it may still "
            "be mined. Run the same command again: it goes on from there"
        )

    def _done(self, label: str, signed: Signed, receipt: Any) -> Done:
        block = quantity(receipt["blockNumber"], "blockNumber")
        if quantity(receipt["status"], "status") != 1:
            raise Refused(
                f"{label} was mined in block {block} and failed ({signed.hash}): only its gas "
                "was spent"
            )
        used = quantity(receipt["gasUsed"], "gasUsed")
        price = quantity(receipt.get("effectiveGasPrice", "0x0"), "effectiveGasPrice")
        created = receipt.get("contractAddress")
        return Done(
            label=label,
            hash=signed.hash,
            block=block,
            gas_used=used,
            cost=used * price,
            contract=None if created is None else Address.from_bytes(octets(created, "address")),
        )
