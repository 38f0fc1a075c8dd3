"""
A refund and two settlements rehearsed in one read, to see what a contract does to money.

One C{eth_call} of a settlement shows a status and no balances, so it cannot tell K1.  But the
call may be the creation of a contract, whose code runs and is thrown away with all it did:
it registers as a provider, is its own user, deposits 100, asks for 80 back, settles 5 and
then 20 for itself with vouchers of a key made for that, and returns what it then had.

Tests: L{tests.adapters.test_chain_behaviour}.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import field, frozen
from eth_utils.crypto import keccak

from sandbox_billing.adapters.chain.codec import Codec
from sandbox_billing.adapters.chain.settle import SETTLE
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip712 import EIP712Domain, VoucherFields, digest
from sandbox_billing.signing.key import SigningKey


DEPOSIT, REFUND, FEE, SECOND_FEE = 100, 80, 5, 20
"""neuron; nothing of it outlives the call."""

_PROBE_KEY = b"\x01" * 32
"""A well-known key that guards nothing: it signs vouchers of a contract that never is."""

_USAGE = bytes(32)
_WORDS = 3

FIXED = (
    (DEPOSIT - REFUND, REFUND),
    (DEPOSIT - REFUND - FEE, REFUND),
    (0, DEPOSIT - FEE - SECOND_FEE),
)
"""Balance and pending refund after the request and each settlement, where neither flaw is."""

FLAWED = ((DEPOSIT - REFUND, REFUND), (15, 15), (0, 0))
"""The same with both (failures.md, K1 and K2)."""


@frozen
class _Step:
    """
    @ivar value: neuron that go with it.
    @ivar kept: Whether the first three words of its answer are.
    """

    data: bytes = field(repr=False)
    value: int = 0
    kept: bool = False


def rehearsal(
    codec: Codec, domain: EIP712Domain, *, sender: Address, count: int, stake: int
) -> tuple[bytes, int]:
    """
    @param sender: Who makes the call; nobody signs for that.
    @param count: How many transactions it made by then: the new contract's address follows.
    @param stake: What a provider must bring, neuron.
    @return: What to create, and the neuron to send with it.
    """
    key = SigningKey.from_bytes(_PROBE_KEY)
    self_ = created_address(sender, count)
    me = self_.hex

    def voucher(nonce: int, fee: int) -> bytes:
        fields = VoucherFields(
            user=self_, provider=self_, usage_hash=_USAGE, nonce=nonce, total_fee=fee
        )
        signature = key.sign_digest(digest(domain, fields))
        return codec.calldata(SETTLE, [(me, me, fee, _USAGE, nonce, signature)])

    look = _Step(codec.calldata("getBalance", me, me), kept=True)
    steps = (
        _Step(codec.calldata("addOrUpdateService", "", key.address.hex, 1, 1, 1), stake),
        _Step(codec.calldata("acknowledgeTEESigner", me, True)),
        _Step(codec.calldata("deposit", me, me), DEPOSIT),
        _Step(codec.calldata("requestRefund", me, REFUND)),
        look,
        _Step(voucher(1, FEE)),
        look,
        _Step(voucher(2, SECOND_FEE)),
        look,
    )
    return _creation(domain.contract, steps), stake + DEPOSIT


def told(answer: bytes) -> tuple[tuple[int, int], ...]:
    """Balance and pending refund at each look; empty when it is no answer."""
    words = [int.from_bytes(answer[i : i + 32], "big") for i in range(0, len(answer), 32)]
    if len(answer) != 32 * _WORDS * len(FIXED):
        return ()
    return tuple((words[i], words[i + 1]) for i in range(0, len(words), _WORDS))


def created_address(sender: Address, count: int) -> Address:
    """Of the contract that an account creates with its next transaction: RLP, hashed."""
    if count == 0:
        number = b"\x80"
    elif count < 0x80:
        number = bytes([count])
    else:
        raw = count.to_bytes((count.bit_length() + 7) // 8, "big")
        number = bytes([0x80 + len(raw)]) + raw
    body = b"\x94" + sender.to_bytes() + number
    return Address.from_bytes(keccak(bytes([0xC0 + len(body)]) + body)[12:])


def _creation(target: Address, steps: Sequence[_Step]) -> bytes:
    """Code that makes the calls one after another, and returns what was kept."""
    longest = max(len(step.data) for step in steps)
    code_length = sum(len(_call(target, step, 0, 0, 0)) for step in steps) + _TAIL_LENGTH
    fail = code_length - _FAIL_LENGTH
    code, data, kept = b"", b"", longest
    for step in steps:
        code += _call(target, step, code_length + len(data), kept, fail)
        data += step.data
        kept += 32 * _WORDS if step.kept else 0
    # PUSH2 size PUSH2 offset RETURN | JUMPDEST PUSH0 PUSH0 REVERT
    code += b"\x61" + _two(kept - longest) + b"\x61" + _two(longest) + b"\xf3"
    return code + bytes.fromhex("5b5f5ffd") + data


_FAIL_LENGTH = 4
_TAIL_LENGTH = 7 + _FAIL_LENGTH


def _call(target: Address, step: _Step, data_at: int, kept_at: int, fail: int) -> bytes:
    size = b"\x61" + _two(len(step.data))
    # CODECOPY(0, data_at, size)
    copy = size + b"\x61" + _two(data_at) + b"\x5f\x39"
    # CALL(gas, target, value, 0, size, kept_at, 96 or 0)
    answer = b"\x61" + _two(32 * _WORDS if step.kept else 0) + b"\x61" + _two(kept_at)
    value = b"\x7f" + step.value.to_bytes(32, "big")
    call = answer + size + b"\x5f" + value + b"\x73" + target.to_bytes() + b"\x5a\xf1"
    # ISZERO PUSH2 fail JUMPI
    return copy + call + b"\x15\x61" + _two(fail) + b"\x57"


def _two(number: int) -> bytes:
    return number.to_bytes(2, "big")
