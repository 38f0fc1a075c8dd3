"""
What the tests of the devnet's chain share: a chain, signed bytes, a small contract.
"""

from __future__ import annotations

import json
from typing import Any

from eth_account import Account
from eth_utils.crypto import keccak
from twisted.internet.task import Clock

from sandbox_billing.devnet.chain.accounts import DEVELOPMENT_KEYS, address_of
from sandbox_billing.devnet.chain.devchain import DevChain, make_dev_chain


START = 1_700_000_000
GWEI = 10**9
KEY, OTHER_KEY = DEVELOPMENT_KEYS[0], DEVELOPMENT_KEYS[1]
ADDRESS, OTHER_ADDRESS = address_of(KEY), address_of(OTHER_KEY)
#: An address that owns nothing at first.
POOR = b"\x09" * 20

STORED_TOPIC = keccak(text="Stored(address,uint256,string)")

#: Compiled from the source below, solc 0.8.34, cancun, optimizer runs 1, no metadata::
#:
#:     contract Probe {
#:         event Stored(address indexed by, uint256 indexed value, string note);
#:         error Refused(uint256 code);
#:         uint256 public value;
#:         function store(uint256 newValue) external payable {
#:             value = newValue;
#:             emit Stored(msg.sender, newValue, "stored");
#:         }
#:         function refuse(uint256 code) external pure { revert Refused(code); }
#:         function scold() external pure { revert("no"); }
#:         function moment() external view returns (uint256, uint256, uint256, bytes32) {
#:             return (block.number, block.timestamp, block.chainid,
#:                     blockhash(block.number - 1));
#:         }
#:     }
PROBE_BYTECODE = bytes.fromhex(
    "6080604052348015600e575f5ffd5b506101f78061001c5f395ff3fe608060405260043610610049575f3560"
    "e01c80632f06bed11461004d5780633fa4f245146100635780636057361d1461008a578063a60a07b2146100"
    "9d578063df984901146100bc575b5f5ffd5b348015610058575f5ffd5b506100616100f0565b005b34801561"
    "006e575f5ffd5b506100775f5481565b6040519081526020015b60405180910390f35b610061610098366004"
    "6101bb565b610122565b3480156100a8575f5ffd5b506100616100b73660046101bb565b61017e565b348015"
    "6100c7575f5ffd5b506100d061019a565b604080519485526020850193909352918301526060820152608001"
    "610081565b60405162461bcd60e51b81526020600482015260026024820152616e6f60f01b60448201526064"
    "015b60405180910390fd5b5f819055604051819033907f1746da8bb29191d72160235494a0cf8c57a155580d"
    "02593e1f14f9a4ddd525f590610173906020808252600690820152651cdd1bdc995960d21b60408201526060"
    "0190565b60405180910390a350565b60405163590a515160e01b815260048101829052602401610119565b5f"
    "8080804342466101ac6001846101d2565b40935093509350935090919293565b5f602082840312156101cb57"
    "5f5ffd5b5035919050565b818103818111156101f157634e487b7160e01b5f52601160045260245ffd5b9291"
    "505056"
)
PROBE_ABI: list[dict[str, Any]] = json.loads(
    """
[
{"inputs": [{"name": "code", "type": "uint256"}], "name": "Refused", "type": "error"},
{"anonymous": false, "inputs": [{"indexed": true, "name": "by", "type": "address"},
    {"indexed": true, "name": "value", "type": "uint256"}, {"indexed": false, "name": "note",
    "type": "string"}], "name": "Stored", "type": "event"},
{"inputs": [], "name": "moment", "outputs": [{"type": "uint256", "name": ""}, {"type":
    "uint256", "name": ""}, {"type": "uint256", "name": ""}, {"type": "bytes32", "name": ""}],
    "stateMutability": "view", "type": "function"},
{"inputs": [{"name": "code", "type": "uint256"}], "name": "refuse", "outputs": [],
    "stateMutability": "pure", "type": "function"},
{"inputs": [], "name": "scold", "outputs": [], "stateMutability": "pure", "type":
    "function"},
{"inputs": [{"name": "newValue", "type": "uint256"}], "name": "store", "outputs": [],
    "stateMutability": "payable", "type": "function"},
{"inputs": [], "name": "value", "outputs": [{"type": "uint256", "name": ""}],
    "stateMutability": "view", "type": "function"}
]
"""
)


def make_chain(clock: Clock | None = None, **options: Any) -> DevChain:
    """
    A chain whose wall clock is a L{Clock} that starts at L{START}.
    """
    if clock is None:
        clock = Clock()
    clock.rightNow = float(START)
    return make_dev_chain(now=clock.seconds, **options)


def signed(nonce: int, *, key: bytes = KEY, fee: int = 3 * GWEI, **fields: Any) -> bytes:
    """
    A signed type-2 transaction; C{fee} is its cap and its tip, unless given apart.
    """
    form = {
        "type": 2,
        "chainId": 16602,
        "nonce": nonce,
        "to": POOR,
        "value": 1,
        "gas": 21_000,
        "maxFeePerGas": fee,
        "maxPriorityFeePerGas": fee,
        **fields,
    }
    return bytes(Account.sign_transaction(form, key).raw_transaction)


def signed_legacy(nonce: int, *, key: bytes = KEY, fee: int = 3 * GWEI, **fields: Any) -> bytes:
    """
    A signed legacy transaction.
    """
    form = {
        "chainId": 16602,
        "nonce": nonce,
        "to": POOR,
        "value": 1,
        "gas": 21_000,
        "gasPrice": fee,
        **fields,
    }
    return bytes(Account.sign_transaction(form, key).raw_transaction)


def deploy_probe(chain: DevChain, nonce: int = 0) -> bytes:
    """
    Deploy the contract, mined at once.

    @return: Its address.
    """
    found = chain.send_raw(signed(nonce, to=b"", value=0, gas=400_000, data=PROBE_BYTECODE))
    chain.mine()
    place = chain.index.receipt(found)
    assert place is not None
    assert place[1].contract_address is not None
    return place[1].contract_address


def store_call(value: int) -> bytes:
    """
    Call data of C{store(value)}.
    """
    return keccak(text="store(uint256)")[:4] + value.to_bytes(32, "big")
