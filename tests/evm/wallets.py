"""
Contract wallets for tests, in a few lines of EVM code: they need no compiler.

Called with data, a wallet passes it on: the first word is whom to call, the
rest what with.  Money without data is where they differ.
"""

from __future__ import annotations

from attrs import frozen
from eth_account.signers.local import LocalAccount
from eth_utils import to_bytes
from web3.contract.contract import ContractFunction
from web3.types import TxReceipt

from tests.evm.harness import Evm


_RETURN_RUNTIME = "61{length:04x}80600c6000396000f3"
# calldatasize == 0 ? jump to `receive` : call(calldata[:32], value, calldata[32:])
_FORWARD = "361560{receive:02x}57" + "602036036020600037" + "600060006020360360003460003" + "55af1"
_OR_FAIL = "1560235700" + "5b60006000fd"
_FAIL_AT, _RECEIVE_AT, _DATA_AT = 0x23, 0x29, 0x40
# codecopy(0, data, length); call(caller, 0, that); whatever came of it, stop
_CALL_BACK = "5b60{length:02x}60406000396000600060{length:02x}60006000335af15000"


@frozen
class Named:
    """
    A wallet where a key is expected of which only the address matters.

    @ivar address: Its own.
    """

    address: str


def cannot_receive() -> str:
    """Creation code of a wallet that refuses money."""
    return _creation(_FORWARD.format(receive=_FAIL_AT) + _OR_FAIL)


def calls_back(data: bytes) -> str:
    """Creation code of a wallet that answers money by calling its sender with C{data}."""
    runtime = _FORWARD.format(receive=_RECEIVE_AT) + _OR_FAIL
    runtime += _CALL_BACK.format(length=len(data))
    assert len(runtime) // 2 == _DATA_AT
    return _creation(runtime + data.hex())


def through(
    evm: Evm, wallet: str, call: ContractFunction, sender: LocalAccount, value: int = 0
) -> TxReceipt:
    """
    Mine a call that a wallet makes; whether it succeeded is in the receipt.

    @param wallet: The wallet's address: the C{msg.sender} of the call.
    """
    data = to_bytes(hexstr=call._encode_transaction_data())
    whom = to_bytes(hexstr=evm.deployment.proxy).rjust(32, b"\0")
    sent = evm.w3.eth.send_transaction(
        {
            "from": sender.address,
            "to": wallet,
            "data": whom + data,
            "value": value,
            "gas": 2_000_000,
        }
    )
    return evm.w3.eth.get_transaction_receipt(sent)


def _creation(runtime: str) -> str:
    return "0x" + _RETURN_RUNTIME.format(length=len(runtime) // 2) + runtime
