"""
What the devnet's node signs by itself, with WELL-KNOWN DEVELOPMENT KEYS: for pages that have
no wallet.  A real node keeps no keys, and C{eth_accounts} says so here, too.

Tests: C{tests/devnet/test_chain_unlocked.py}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils.address import to_checksum_address

from . import fees, params, render
from .accounts import DEVELOPMENT_KEYS, address_of
from .devchain import DevChain
from .errors import invalid_params
from .params import Params


_KEYS: Final[Mapping[bytes, bytes]] = {address_of(key): key for key in DEVELOPMENT_KEYS}


def _key(address: bytes) -> bytes:
    found = _KEYS.get(address)
    if found is None:
        raise invalid_params(f"no development key is of {to_checksum_address(address)}")
    return found


def accounts(chain: DevChain, p: Params) -> list[str]:
    """C{devnet_accounts}: the addresses of the keys 1 to 10, in this order."""
    return [to_checksum_address(address) for address in _KEYS]


def personal_sign(chain: DevChain, p: Params) -> str:
    """C{devnet_personalSign}: bytes and an address, as C{personal_sign} of wallets."""
    message, key = p.get(0, params.octets), _key(p.get(1, params.address))
    return render.octets(bytes(Account.sign_message(encode_defunct(message), key).signature))


def send_transaction(chain: DevChain, p: Params) -> str:
    """C{devnet_sendTransaction}: as C{eth_sendTransaction} of wallets."""
    request = p.get(0, params.call_request)
    key = _key(request.sender)
    gas = request.gas or chain.estimate_gas(evolve(request, fee=0), "pending") * 5 // 4
    transaction: dict[str, Any] = {
        "chainId": chain.chain_id,
        "nonce": chain.nonce(request.sender, "pending"),
        "value": request.value,
        "data": request.data,
        "gas": gas,
        "maxFeePerGas": 2 * chain.next_base_fee() + fees.SUGGESTED_TIP,
        "maxPriorityFeePerGas": fees.SUGGESTED_TIP,
    }
    if request.to is not None:
        transaction["to"] = to_checksum_address(request.to)
    return render.octets(chain.send_raw(Account.sign_transaction(transaction, key).raw_transaction))
