"""
Tests of C{sandbox_billing.adapters.chain.codec, settle} and of C{logs.interpret}.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from eth_abi.abi import encode
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from web3 import Web3

from sandbox_billing.adapters.chain.artifacts import load
from sandbox_billing.adapters.chain.codec import Codec, Log, Undecodable
from sandbox_billing.adapters.chain.contract import CONTRACT
from sandbox_billing.adapters.chain.logs import interpret
from sandbox_billing.adapters.chain.settle import batch_calldata, settle_calldata
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import Line
from sandbox_billing.ledger.account import BlockRef
from sandbox_billing.ledger.identity import Address, Nonce
from sandbox_billing.ledger.money import UINT256_MAX, UnixSeconds, neuron
from sandbox_billing.signing.eip712 import EIP712Domain
from sandbox_billing.signing.key import SigningKey
from tests.evm.harness import TYPES


CODEC = Codec(CONTRACT)
USER, PROVIDER, STRANGER = (Address(f"0x{digit * 40}") for digit in "123")
DOMAIN = EIP712Domain(16602, STRANGER)
SIGNER = SigningKey.from_bytes(b"\x11" * 32)
"""wire.md's well-known development key; it never guards real money."""

BLOCK = BlockRef(number=7, hash="0x" + "ab" * 32, timestamp=UnixSeconds(1_700_000_000))

amounts = st.integers(min_value=0, max_value=UINT256_MAX)


def lines() -> st.SearchStrategy[Line]:
    """Vouchers of any amount and nonce, spelt with C{0x} or without."""
    return st.builds(
        lambda user, fee, hashed, nonce, signature, prefix: Line(
            user=Address.from_bytes(user),
            fee=neuron(fee),
            usage_hash=prefix + hashed.hex(),
            nonce=Nonce(nonce),
            signature=prefix + signature.hex(),
        ),
        st.binary(min_size=20, max_size=20),
        amounts,
        st.binary(min_size=32, max_size=32),
        amounts,
        st.binary(min_size=65, max_size=65),
        st.sampled_from(["", "0x"]),
    )


class CodecTests(SynchronousTestCase):
    """C{Codec}."""

    @given(st.lists(lines(), max_size=3))
    def test_settle_call(self, vouchers: list[Line]) -> None:
        """The settle call is what web3 makes of the same vouchers, in the struct's order."""
        serving = Web3().eth.contract(abi=load(CONTRACT).abi)
        expected = serving.encode_abi(
            "settleFeesWithTEE",
            args=[
                [
                    {
                        "user": Web3.to_checksum_address(v.user.hex),
                        "provider": Web3.to_checksum_address(PROVIDER.hex),
                        "totalFee": v.fee,
                        "usageHash": bytes.fromhex(v.usage_hash.removeprefix("0x")),
                        "nonce": v.nonce,
                        "signature": bytes.fromhex(v.signature.removeprefix("0x")),
                    }
                    for v in vouchers
                ]
            ],
        )
        self.assertEqual("0x" + settle_calldata(CODEC, PROVIDER, vouchers).hex(), expected)

    @given(st.lists(lines(), max_size=3))
    def test_batch_call(self, vouchers: list[Line]) -> None:
        """One signature over all lines, in their order; the library recovers our key from it."""
        call = batch_calldata(CODEC, PROVIDER, vouchers, domain=DOMAIN, signer=SIGNER)
        serving = Web3().eth.contract(abi=load(CONTRACT).abi)
        function, said = serving.decode_function_input("0x" + call.hex())
        self.assertEqual(function.fn_name, "settleBatch")
        self.assertEqual(
            [(row["user"].lower(), row["totalFee"], row["nonce"]) for row in said["lines"]],
            [(v.user.hex, v.fee, v.nonce) for v in vouchers],
        )
        message = {
            "provider": PROVIDER.hex,
            "vouchers": [
                {
                    "user": v.user.hex,
                    "provider": PROVIDER.hex,
                    "usageHash": bytes.fromhex(v.usage_hash.removeprefix("0x")),
                    "nonce": v.nonce,
                    "totalFee": v.fee,
                }
                for v in vouchers
            ],
        }
        typed = encode_typed_data(
            {
                "name": "0G Sandbox Serving",
                "version": "1",
                "chainId": DOMAIN.chain_id,
                "verifyingContract": DOMAIN.contract.hex,
            },
            TYPES,
            message,
        )
        signer = Account.recover_message(typed, signature=said["signature"])
        self.assertEqual(Address(signer), SIGNER.address)

    def test_bad_batch_line(self) -> None:
        """A usage hash of another length is refused before anything is signed."""
        bad = Line(
            user=USER, fee=neuron(1), usage_hash="5a" * 31, nonce=Nonce(1), signature="0b" * 65
        )
        with self.assertRaises(BadInput):
            batch_calldata(CODEC, PROVIDER, [bad], domain=DOMAIN, signer=SIGNER)

    def test_bad_lines(self) -> None:
        """A hash or signature of another length, or no hex, is refused before it is sent."""
        good = Line(
            user=USER,
            fee=neuron(1),
            usage_hash="5a" * 32,
            nonce=Nonce(1),
            signature="0b" * 65,
        )
        settle_calldata(CODEC, PROVIDER, [good])
        for bad in (
            evolve(good, usage_hash="5a" * 31),
            evolve(good, usage_hash="zz" * 32),
            evolve(good, signature="0b" * 64),
        ):
            with self.assertRaises(BadInput):
                settle_calldata(CODEC, PROVIDER, [bad])

    def test_bad_arguments(self) -> None:
        """Arguments that do not fit are bad input, not an encoder's exception."""
        with self.assertRaises(BadInput):
            CODEC.calldata("getLastNonce", USER.hex, -1)
        with self.assertRaises(BadInput):
            CODEC.calldata("requestRefund", USER.hex, 2**256)

    def test_answers(self) -> None:
        """An answer is decoded by its function's types; anything else is Undecodable."""
        self.assertEqual(CODEC.answer("getLastNonce", encode(["uint256"], [7])), (7,))
        for data in (b"", b"\x00" * 31, b"\xff" * 40):
            with self.assertRaises(Undecodable):
                CODEC.answer("getBalance", data)
        with self.assertRaises(Undecodable):
            CODEC.answer("isTEEAcknowledged", encode(["uint256"], [2]))

    def test_errors(self) -> None:
        """A revert is named by its data."""
        locked = keccak(b"RefundLocked(uint256)")[:4] + encode(["uint256"], [5])
        reason = keccak(b"Error(string)")[:4] + encode(["string"], ["no"])
        panic = keccak(b"Panic(uint256)")[:4] + encode(["uint256"], [0x11])
        self.assertEqual(CODEC.error_name(locked), "RefundLocked")
        self.assertEqual(CODEC.error_name(reason), "Error('no')")
        self.assertEqual(CODEC.error_name(panic), "Panic(0x11)")
        self.assertEqual(CODEC.error_name(b"\x01\x02\x03\x04x"), "unknown error 0x01020304")
        self.assertEqual(CODEC.error_name(reason[:9]), "unknown error 0x08c379a0")
        self.assertEqual(CODEC.error_name(b""), "no reason given")

    def test_topic(self) -> None:
        """VoucherSettled has the topic that the wire facts name."""
        self.assertEqual(
            CODEC.topic("VoucherSettled"),
            "0x9ba6f66abeb399b035d74320c147acb495122d939be51ee8d92c43dae6daa77b",
        )


def entry(**changes: Any) -> dict[str, Any]:
    """An entry of C{eth_getLogs}: VoucherSettled with status 0."""
    return {
        "address": "0x" + "99" * 20,
        "topics": [
            CODEC.topic("VoucherSettled"),
            "0x" + "00" * 12 + USER.hex[2:],
            "0x" + "00" * 12 + PROVIDER.hex[2:],
        ],
        "data": "0x"
        + encode(["uint256", "bytes32", "uint256", "uint8"], [30, b"\x5a" * 32, 4, 0]).hex(),
        "transactionHash": "0x" + "CD" * 32,
        "blockNumber": "0x7",
        "blockHash": BLOCK.hash,
        "logIndex": "0x2",
        **changes,
    }


class LogTests(SynchronousTestCase):
    """C{Codec.log}."""

    def test_decoded(self) -> None:
        """Every field is there, by its name."""
        log = CODEC.log(entry())
        self.assertEqual(
            log.fields,
            {
                "user": USER.hex,
                "provider": PROVIDER.hex,
                "totalFee": 30,
                "usageHash": b"\x5a" * 32,
                "nonce": 4,
                "status": 0,
            },
        )
        self.assertEqual(
            (log.name, log.transaction, log.block, log.index),
            ("VoucherSettled", "0x" + "cd" * 32, 7, 2),
        )

    def test_malformed(self) -> None:
        """What is no log of the contract, or of no block, is Undecodable."""
        for changes in (
            {"topics": []},
            {"topics": ["0x" + "00" * 32]},
            {"topics": entry()["topics"][:2]},
            {"topics": [*entry()["topics"][:2], "0x" + "ff" * 32]},
            {"topics": None},
            {"data": "0x"},
            {"data": None},
            {"blockHash": None},
            {"blockNumber": None},
            {"logIndex": "2z"},
            {"removed": True},
        ):
            with self.assertRaises(Undecodable, msg=str(changes)):
                CODEC.log(entry(**changes))


def settled(index: int, **fields: Any) -> Log:
    """VoucherSettled, insufficient."""
    return Log(
        name="VoucherSettled",
        fields={
            "user": USER.hex,
            "provider": PROVIDER.hex,
            "totalFee": 30,
            "usageHash": b"\x5a" * 32,
            "nonce": 4,
            "status": 1,
            **fields,
        },
        transaction="0x" + "cd" * 32,
        block=BLOCK.number,
        block_hash=BLOCK.hash,
        index=index,
    )


def shortfall(index: int, **fields: Any) -> Log:
    """VoucherShortfall: 12 paid."""
    values = {
        "user": USER.hex,
        "provider": PROVIDER.hex,
        "nonce": 4,
        "paid": 12,
        "owed": 18,
        **fields,
    }
    return evolve(settled(index), name="VoucherShortfall", fields=values)


class InterpretTests(SynchronousTestCase):
    """C{interpret}: what was paid is said by the event next to it, or not known."""

    def _paid(self, *logs: Log) -> list[int | None]:
        found = interpret(logs, {BLOCK.hash: BLOCK}, PROVIDER)
        return [settlement.paid for settlement in found.settlements]

    def test_paid(self) -> None:
        """Status 0 paid the fee; status 1 what its shortfall says."""
        self.assertEqual(self._paid(settled(1, status=0)), [30])
        self.assertEqual(self._paid(shortfall(1), settled(2)), [12])

    def test_unknown(self) -> None:
        """Without its own shortfall directly before it, nobody knows (deployed contract)."""
        elsewhere = evolve(shortfall(1), transaction="0x" + "00" * 32)
        for before in (
            shortfall(0),
            elsewhere,
            shortfall(1, nonce=3),
            shortfall(1, user=STRANGER.hex),
            shortfall(1, provider=STRANGER.hex),
        ):
            self.assertEqual(self._paid(before, settled(2)), [None])
        self.assertEqual(self._paid(settled(2)), [None])

    def test_registrations(self) -> None:
        """A provider that leaves changes its registration, and only ours is an event."""

        def registration(index: int, name: str, provider: Address) -> Log:
            return evolve(settled(index), name=name, fields={"provider": provider.hex})

        found = interpret(
            [
                registration(1, "ServiceUpdated", STRANGER),
                registration(2, "ProviderLeft", PROVIDER),
                registration(3, "ProviderLeaving", STRANGER),
                registration(4, "ProviderLeft", STRANGER),
                registration(5, "ProviderLeaving", USER),
            ],
            {BLOCK.hash: BLOCK},
            PROVIDER,
        )
        self.assertEqual(found.services, (STRANGER, PROVIDER))
        self.assertEqual(
            [(e.name, e.wallet, e.log_index) for e in found.events], [("ProviderLeft", None, 2)]
        )
