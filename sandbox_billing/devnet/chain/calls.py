"""
C{eth_call} and C{eth_estimateGas}: running something without mining it.

Tests: C{tests/devnet/test_chain.py}.
"""

from __future__ import annotations

from typing import Final

from attrs import evolve
from eth.abc import StateAPI
from eth.exceptions import (
    InsufficientStack,
    InvalidInstruction,
    InvalidJumpDestination,
    OutOfGas,
    Revert,
    VMError,
    WriteProtection,
)
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_typing import Address

from .errors import REVERTED, RpcError
from .evm import CallRequest, Evm, Execution


#: C{Error(string)} and C{Panic(uint256)}.
_ERROR_SELECTOR: Final = bytes.fromhex("08c379a0")
_PANIC_SELECTOR: Final = bytes.fromhex("4e487b71")

_TRANSFER_GAS: Final = 21_000
_CALL_STIPEND: Final = 2_300

_WORDS: Final[tuple[tuple[type[VMError], str], ...]] = (
    (OutOfGas, "out of gas"),
    (InsufficientStack, "stack underflow"),
    (InvalidJumpDestination, "invalid jump destination"),
    (InvalidInstruction, "invalid opcode"),
    (WriteProtection, "write protection"),
)


def call(evm: Evm, state: StateAPI, request: CallRequest) -> bytes:
    """
    What the call returns on this state.

    @raise RpcError: It reverted (code 3, with what it returned), failed otherwise,
        or its sender cannot pay the value.
    """
    _check_value(state, request)
    return _output(evm.run(state, request, _cap(evm, request)))


def estimate_gas(evm: Evm, state: StateAPI, request: CallRequest) -> int:
    """
    A limit with which the call succeeds, at most 1.5 % above the smallest one (geth's
    algorithm: a first guess from what was used, then halving).

    @raise RpcError: As in L{call}, or the sender cannot pay for the gas it needs.
    """
    _check_value(state, request)
    highest = _cap(evm, request)
    if request.fee:
        # Not a limit of the node but of the sender's purse.
        affordable = (state.get_balance(Address(request.sender)) - request.value) // request.fee
        highest = min(highest, affordable)
    if request.to is not None and not request.data and not state.get_code(Address(request.to)):
        plain = evolve(request, access_list=())
        if highest >= _TRANSFER_GAS and evm.run(state, plain, _TRANSFER_GAS).succeeded:
            return _TRANSFER_GAS
    first = evm.run(state, request, highest)
    if not first.succeeded and highest < evm.gas_limit and _starved(first):
        raise RpcError(f"gas required exceeds allowance ({max(highest, 0)})")
    _output(first)
    # With less than it used hardly anything succeeds (geth): saves most of the halving.
    lowest = first.gas_used - 1
    guess = (first.gas_used + _CALL_STIPEND) * 64 // 63
    while highest - lowest > 1 and (highest - lowest) * 1000 > highest * 15:
        guess = min(guess, highest - 1)
        if evm.run(state, request, guess).succeeded:
            highest = guess
        else:
            lowest = guess
        # Most calls need little more than they use: prefer the low end (geth).
        guess = min((lowest + highest) // 2, lowest * 2)
    return highest


def _starved(execution: Execution) -> bool:
    """
    Whether more gas might have helped.
    """
    computation = execution.computation
    return computation is None or isinstance(computation.error, OutOfGas)


def _cap(evm: Evm, request: CallRequest) -> int:
    return evm.gas_limit if request.gas is None else min(request.gas, evm.gas_limit)


def _check_value(state: StateAPI, request: CallRequest) -> None:
    if not request.value:
        return
    balance = state.get_balance(Address(request.sender))
    if balance < request.value:
        raise RpcError(
            "insufficient funds for gas * price + value: address "
            f"0x{request.sender.hex()} have {balance} want {request.value}"
        )


def _output(execution: Execution) -> bytes:
    """
    What was returned, or the error of what went wrong.
    """
    computation = execution.computation
    if computation is None:
        raise RpcError(
            f"intrinsic gas too low: have {execution.gas}, want {execution.intrinsic_gas}"
        )
    if not computation.is_error:
        return bytes(computation.output)
    error = computation.error
    if isinstance(error, Revert):
        output = bytes(computation.output)
        raise RpcError(_revert_text(output), REVERTED, "0x" + output.hex())
    for kind, words in _WORDS:
        if isinstance(error, kind):
            raise RpcError(words)
    raise RpcError(f"execution failed: {type(error).__name__}")


def _revert_text(output: bytes) -> str:
    """
    The reason for people's eyes; programs read the data.
    """
    try:
        if output[:4] == _ERROR_SELECTOR:
            return f"execution reverted: {decode(['string'], output[4:])[0]}"
        if output[:4] == _PANIC_SELECTOR:
            return f"execution reverted: panic {decode(['uint256'], output[4:])[0]:#x}"
    except (DecodingError, UnicodeDecodeError, OverflowError):
        pass
    return "execution reverted"
