"""
Transactions of one account: simulated, estimated, priced, stored, sent and waited for.

Tests: L{tests.cli.test_sending}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sandbox_billing.adapters.chain.fees import DynamicFees, Fees, bump, suggest
from sandbox_billing.adapters.chain.node import RpcRefusal, quantity
from sandbox_billing.cli.amounts import both
from sandbox_billing.cli.following import POLL_SECONDS, Flight, NotTaken
from sandbox_billing.cli.options import SendingOptions
from sandbox_billing.cli.output import Output
from sandbox_billing.cli.rehearsal import Rehearsal
from sandbox_billing.cli.reverts import sentence
from sandbox_billing.cli.session import Session
from sandbox_billing.cli.transaction import Call, Done, Draft, Signed
from sandbox_billing.errors import Refused, UnknownOutcome
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.key import SigningKey


_NO_CEILING = 2**128

_BUMP_LIMIT = 5
"""A replacement offers at most so many times the fee that was first shown."""


def unstored(signed: Signed) -> None:
    """Where running again finds out by itself what is done."""


def unchecked(signed: Signed) -> None:
    """Where nothing that a call rests on can have changed."""


class Sender:
    """
    Sends from one account, one transaction after the other.

    @ivar address: The account.
    """

    def __init__(
        self, session: Session, key: SigningKey, options: SendingOptions, out: Output
    ) -> None:
        self._session = session
        self._key = key
        self._options = options
        self._out = out
        self.address: Address = key.address

    def ready(self) -> None:
        """
        Wait until nothing of this account is under way: what is read then is so.

        @raise UnknownOutcome: Something is not mined within the time.
        """
        if self._options.dry_run or not self._waiting():
            return
        who = checksum(self.address)
        deadline = self._session.pace.seconds() + self._options.timeout_seconds
        with self._out.progress() as progress:
            while self._waiting():
                progress.say(f"an earlier transaction of {who} is not mined yet")
                if self._session.pace.seconds() > deadline:
                    raise UnknownOutcome(
                        f"an earlier transaction of {who} is still not mined: run this again "
                        "when it is"
                    )
                self._session.pace.sleep(POLL_SECONDS)

    def _waiting(self) -> bool:
        return self.nonce("pending") > self.nonce("latest")

    def nonce(self, block: str) -> int:
        """The account's next nonce; C{pending} counts what waits in the node's pool."""
        return self._session.number("eth_getTransactionCount", self.address.hex, block)

    # -- several at once, or only shown

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

    def show(self, calls: Sequence[Call], *, first: str | None = None) -> None:
        """
        What would be sent: the result of a dry run.

        @param first: What would be done before that.
        """
        drafts: list[Draft] = []
        for call in calls:
            # Later ones may need what earlier ones do.
            drafts.append(self._tentative(call) if drafts else self.draft(call))
        Rehearsal(
            chain_id=self._session.chain_id,
            sender=self.address,
            balance=self._session.balance(self.address),
            drafts=tuple(drafts),
        ).show(self._out, first)

    def _tentative(self, call: Call) -> Draft:
        try:
            return self.draft(call)
        except (Refused, RpcRefusal):
            return Draft(call=call, gas=call.bound, fees=self.fees(), estimated=False)

    # -- one

    def draft(self, call: Call) -> Draft:
        """
        Simulate, estimate and price.

        @raise Refused: It would revert, or the account cannot pay for it.
        """
        funds = self._session.balance(self.address)
        if funds < call.value:
            raise Refused(self._poor(call.label, call.value, funds))
        request = call.request(self.address)
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
        draft = Draft(call=call, gas=estimate + estimate // 5, fees=self.fees())
        needed = call.value + (draft.cost or 0)
        if funds < needed:
            raise Refused(self._poor(call.label, needed, funds))
        return draft

    def _poor(self, label: str, needed: int, funds: int) -> str:
        return (
            f"{label} needs up to {both(needed)}, and {checksum(self.address)} has {both(funds)}: "
            "send it some"
        )

    def fees(self) -> Fees:
        """What a transaction offers now."""
        block = self._session.call("eth_getBlockByNumber", "latest", False)
        base = block.get("baseFeePerGas") if isinstance(block, dict) else None
        price = self._session.number("eth_gasPrice")
        if base is None:
            return suggest(base_fee=None, tip=0, gas_price=price, ceiling=_NO_CEILING)
        base_fee = quantity(base, "baseFeePerGas")
        try:
            tip = self._session.number("eth_maxPriorityFeePerGas")
        except RpcRefusal:
            # A node without the method has its opinion in the price.
            tip = max(0, price - base_fee)
        return suggest(base_fee=base_fee, tip=tip, gas_price=price, ceiling=_NO_CEILING)

    def send(
        self,
        call: Call,
        *,
        store: Callable[[Signed], None] = unstored,
        check: Callable[[Signed], None] = unchecked,
        confirmations: int | None = None,
    ) -> Done:
        """
        Send one call and wait for it.

        @param store: Called with the signed bytes before they are sent.
        @param check: Called before that, when the nonce is chosen; raises Refused when what the
            call rests on has changed, and then nothing is sent.
        @param confirmations: Other than the option's.
        @raise Refused: It would revert, or did, or the check says so.
        @raise UnknownOutcome: Its end was not seen.
        """
        self.ready()
        draft = self.draft(call)
        signed = self.sign(draft, self.nonce("pending"))
        check(signed)
        store(signed)
        # Said before it is sent: whatever happens next, it can be looked up.
        self._out.note(f"{call.label}: sending {signed.hash}")
        return self._follow(call, [signed], store, confirmations, fresh=True)

    def sign(self, draft: Draft, nonce: int) -> Signed:
        """The bytes of a draft."""
        assert draft.gas is not None, "a draft without gas is for showing only"
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
        return Signed(
            raw="0x" + made.raw.hex(),
            hash="0x" + made.hash.hex(),
            nonce=nonce,
            gas=draft.gas,
            cap=draft.fees.cap,
            tip=draft.fees.tip if isinstance(draft.fees, DynamicFees) else None,
        )

    def follow(
        self,
        call: Call,
        attempts: Sequence[Signed],
        *,
        store: Callable[[Signed], None] = unstored,
        confirmations: int | None = None,
    ) -> Done:
        """
        Offer signed bytes until a block has them, and wait for the blocks upon it.

        They may have been offered by an earlier command: a node that refuses them proves nothing.

        @param call: What they carry.
        @param attempts: With one nonce, the first one first; the last is offered, and replaced
            at a higher fee when fees have outgrown it.
        @param store: Called with a replacement before it is sent.
        """
        return self._follow(call, attempts, store, confirmations, fresh=False)

    def _follow(
        self,
        call: Call,
        attempts: Sequence[Signed],
        store: Callable[[Signed], None],
        confirmations: int | None,
        *,
        fresh: bool,
    ) -> Done:
        last = attempts[-1]

        def replace() -> Signed | None:
            nonlocal last
            now = self.fees()
            if now.cap <= last.cap:
                # It offers enough: something else holds it up.
                return None
            try:
                fees = bump(last.fees, now, attempts[0].cap * _BUMP_LIMIT)
            except Refused:
                return None
            last = self.sign(Draft(call=call, gas=last.gas, fees=fees), last.nonce)
            store(last)
            self._out.sending(call.label, last.hash)
            self._out.note(f"{call.label}: no block took it; raising the fee, sending {last.hash}")
            return last

        if call.again is not None:
            self._out.again = call.again
        for signed in attempts:
            self._out.sending(call.label, signed.hash)
        with self._out.progress() as progress:
            flight = Flight(
                session=self._session,
                progress=progress,
                label=call.label,
                attempts=list(attempts),
                depth=self._options.confirmations if confirmations is None else confirmations,
                timeout_seconds=self._options.timeout_seconds,
                replace=replace,
                fresh=fresh,
                again=call.again,
            )
            try:
                done = flight.follow()
            except NotTaken:
                self._out.forget(signed.hash for signed in flight.attempts)
                raise
        self._out.forget(signed.hash for signed in flight.attempts)
        self._out.mined(done.document())
        return done
