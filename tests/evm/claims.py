"""Vouchers and batches for the state machine: signed, forged and half right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from attrs import evolve, frozen
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip712 import EIP712Domain, VoucherFields, batch_digest, digest
from sandbox_billing.signing.key import SECP256K1_ORDER
from tests.evm.actors import KEYS, PAIRS, ROGUE, SIGNERS, SINK
from tests.evm.model import MAX_NONCE
from tests.evm.model_state import Claim, Signature, State
from tests.evm.world import CHAIN_ID


T = TypeVar("T")

BIGGEST = 2**256 - 1
OTHER_CHAIN = CHAIN_ID + 1
"""What is left on the other side when the chain splits."""

GENUINE = "genuine"
FORMS = (
    "rogue",
    "altered",
    "other chain",
    "other contract",
    "high s",
    "short",
    "long",
    "none",
    "zeros",
    "v from 0",
)
"""How a signature can be wrong."""

picks = st.sampled_from(range(64))
"""For L{choose}."""

senders = st.sampled_from((*("provider", "signer") * 5, "user", "stranger"))
"""Who submits."""


@frozen
class Place:
    """
    Where something is signed.

    @ivar chain: The chain's id.
    """

    state: State
    chain: int


@frozen(kw_only=True)
class Wish:
    """
    A voucher to be, before it is known whose, and what the wallet has.

    @ivar pick: Chooses (user, provider).
    @ivar nonce: Added to the wallet's last; or C{top}, C{beyond}, C{huge}.
    @ivar fee: neuron; or C{balance}, C{all} (with the pending refund), C{more} (one more than
        that), C{beyond} (what a balance has, plus 2^128), C{huge}.
    """

    pick: int
    nonce: int | str
    fee: int | str
    form: str
    sender: str


def wishes(*, good: bool = True) -> SearchStrategy[Wish]:
    """@param good: Whether most have nothing wrong with them."""
    # Repeated in sampled_from, for one_of forgets what it was given twice.
    nonces = (*(1,) * (200 if good else 24), *(0, -1, 5, "beyond", "huge") * 4, "top")
    forms = (*(GENUINE,) * (90 if good else 8), *FORMS)
    odd = ("balance", "all", "more", "beyond", "huge")
    fees = (*(1, 2, 3, 5, 7, 10, 15, 20) * (3 if good else 1), 0, *odd)
    return st.builds(
        Wish,
        pick=picks,
        nonce=st.sampled_from(nonces),
        fee=st.sampled_from(fees),
        form=st.sampled_from(forms),
        sender=senders,
    )


def choose(pick: int, wanted: Sequence[T], anything: Sequence[T]) -> T:
    """One that is wanted, or, at times and where there is none, anyone."""
    options = wanted if wanted and pick % 4 != 3 else anything
    return options[pick // 4 % len(options)]


def pair(state: State, pick: int, of: bytes | None = None) -> tuple[bytes, bytes]:
    """
    A wallet that may be charged, preferably.

    @param of: The provider; None for any.
    """
    pairs = [each for each in PAIRS if of in (None, each[1])]
    live = [
        (user, provider)
        for user, provider in pairs
        if state.provider(provider).registered
        and state.account(user, provider).acknowledged == state.provider(provider).version
    ]
    return choose(pick, live, pairs)


def resolve(state: State, wish: Wish, whose: tuple[bytes, bytes], running: int) -> Claim:
    """
    @param whose: (user, provider).
    @param running: How many of the wallet's vouchers came before in the same call.
    @return: Not signed yet.
    """
    user, provider = whose
    account = state.account(user, provider)
    last = account.nonce + running
    nonces = {"top": MAX_NONCE, "beyond": MAX_NONCE + 2 + last, "huge": BIGGEST}
    everything = account.balance + account.pending
    fees = {
        "balance": account.balance,
        "all": everything,
        "more": everything + 1,
        # Narrowed, it would be a part of the balance.
        "beyond": 2**128 + account.balance // 2,
        "huge": BIGGEST,
    }
    nonce, fee = wish.nonce, wish.fee
    return Claim(
        user=user,
        provider=provider,
        fee=fees[fee] if isinstance(fee, str) else fee,
        usage=bytes([running, len(wish.form)]) * 16,
        nonce=nonces[nonce] if isinstance(nonce, str) else max(0, last + nonce),
    )


def _fields(claim: Claim) -> VoucherFields:
    return VoucherFields(
        user=Address.from_bytes(claim.user),
        provider=Address.from_bytes(claim.provider),
        usage_hash=claim.usage,
        nonce=claim.nonce,
        total_fee=claim.fee,
    )


def _altered(claim: Claim) -> Claim:
    return evolve(claim, fee=claim.fee ^ 1)


def _sign(
    place: Place, provider: bytes, form: str, what: Callable[[EIP712Domain, bool], bytes]
) -> Signature:
    """@param what: The digest in a domain, of the real thing or of an altered one."""
    state, chain = place.state, place.chain
    signer = state.provider(provider).signer
    key = KEYS[ROGUE] if form == "rogue" else KEYS.get(signer, KEYS[SIGNERS[0]])
    contract = SINK if form == "other contract" else state.serving
    if form == "other chain":
        chain = OTHER_CHAIN if chain == CHAIN_ID else CHAIN_ID
    domain = EIP712Domain(chain, Address.from_bytes(contract))
    raw = key.sign_digest(what(domain, form == "altered"))
    if form == "high s":
        s = SECP256K1_ORDER - int.from_bytes(raw[32:64], "big")
        raw = raw[:32] + s.to_bytes(32, "big") + bytes([55 - raw[64]])
    elif form == "v from 0":
        raw = raw[:64] + bytes([raw[64] - 27])
    else:
        wrong = {"short": raw[:64], "long": raw + b"\0", "none": b"", "zeros": bytes(65)}
        raw = wrong.get(form, raw)
    by = key.address.to_bytes() if form in (GENUINE, "rogue", "other chain") else None
    return Signature(raw=raw, by=by, chain=chain)


def voucher(place: Place, claim: Claim, form: str) -> Claim:
    """The claim with its own signature."""

    def what(domain: EIP712Domain, altered: bool) -> bytes:
        return digest(domain, _fields(_altered(claim) if altered else claim))

    return evolve(claim, signature=_sign(place, claim.provider, form, what))


def batch(place: Place, provider: bytes, lines: tuple[Claim, ...], form: str) -> Signature:
    """
    One signature for all lines.

    @param form: As for vouchers, or C{voucher}: the first line's own signature.
    """
    if form == "voucher":
        if not lines:
            form = "none"
        else:
            alone = voucher(place, lines[0], GENUINE).signature
            assert alone is not None
            return evolve(alone, by=None)

    def what(domain: EIP712Domain, altered: bool) -> bytes:
        signed = (*lines[:-1], _altered(lines[-1])) if altered and lines else lines
        whose = SINK if altered and not lines else provider
        hashes = [_fields(each).struct_hash() for each in signed]
        return batch_digest(domain, Address.from_bytes(whose), hashes)

    return _sign(place, provider, form, what)
