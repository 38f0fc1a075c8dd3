"""
The real contract on py-evm (Cancun), for any test that wants one.

One L{Evm} costs about a second; a test takes a L{Evm.snapshot} and reverts to
it, which costs milliseconds.  L{EvmCase} does both.
"""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Sequence
from typing import Any, Protocol

from eth.vm.forks.cancun import CancunVM
from eth_abi import encode
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount
from eth_tester import EthereumTester, PyEVMBackend
from eth_tester.exceptions import TransactionFailed
from eth_utils import keccak
from hexbytes import HexBytes
from twisted.trial.unittest import SynchronousTestCase
from web3 import EthereumTesterProvider, Web3
from web3.contract import Contract
from web3.contract.contract import ContractConstructor, ContractFunction
from web3.types import EventData, RPCEndpoint, RPCResponse, TxParams, TxReceipt

from sandbox_billing.adapters.chain.artifacts import load
from sandbox_billing.devnet.contracts import Deployment, deploy_stack


CHAIN_ID = 16602
STAKE = 1_000
TOKEN = 10**18
ZERO = "0x" + "00" * 20
SOME_USAGE = b"\x5a" * 32
"""A usage hash; the contract asks nothing of it."""

(
    SUCCESS,
    INSUFFICIENT_BALANCE,
    PROVIDER_MISMATCH,
    NOT_ACKNOWLEDGED,
    INVALID_NONCE,
    INVALID_SIGNATURE,
) = range(6)

VOUCHER_FIELDS = [
    {"name": "user", "type": "address"},
    {"name": "provider", "type": "address"},
    {"name": "usageHash", "type": "bytes32"},
    {"name": "nonce", "type": "uint256"},
    {"name": "totalFee", "type": "uint256"},
]
TYPES = {
    "SandboxVoucher": VOUCHER_FIELDS,
    "SandboxVoucherBatch": [
        {"name": "provider", "type": "address"},
        {"name": "vouchers", "type": "SandboxVoucher[]"},
    ],
}

DEVELOPMENT_KEY = b"\x11" * 32
"""A well-known development key, wire.md's vectors are made with it; it never guards real money."""


class Addressed(Protocol):
    """A key, or a contract."""

    @property
    def address(self) -> str:
        """Its own."""


class _Provider(EthereumTesterProvider):
    """web3's provider, with a chain id of our own where it has a constant."""

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        if method == "eth_chainId":
            return {"id": 1, "jsonrpc": "2.0", "result": hex(CHAIN_ID)}
        if method == "net_version":
            return {"id": 1, "jsonrpc": "2.0", "result": str(CHAIN_ID)}
        return super().make_request(method, params)


class _Backend(PyEVMBackend):
    """eth-tester's, but that it does not derive every key's address twice for each transaction."""

    _by_address: tuple[Any, dict[bytes, Any]] = ((), {})

    @property
    def _key_lookup(self) -> dict[bytes, Any]:
        keys, known = self._by_address
        if keys is not self.account_keys:
            known = {key.public_key.to_canonical_address(): key for key in self.account_keys}
            self._by_address = (self.account_keys, known)
        return known


class Evm:
    """
    A chain with the stack on it and ten rich accounts.

    Every transaction is mined at once, in a block of its own, a second after the last.

    @ivar tester: The chain.
    @ivar w3: Its API.
    @ivar accounts: Ten keys with 10^6 ether each (py-evm's development keys 1 to 10).
    @ivar owner: Deployed the stack and owns it.
    @ivar provider: Has no registration yet.
    @ivar signer: The key that C{register} names as the enclave's.
    @ivar user: Has no deposit yet.
    @ivar stranger: Nobody.
    @ivar deployment: Where the stack stands.
    @ivar serving: The contract, at the proxy.
    """

    def __init__(self) -> None:
        genesis = PyEVMBackend.generate_genesis_params({"gas_limit": 60_000_000})
        backend = _Backend(genesis_parameters=genesis, vm_configuration=((0, CancunVM),))
        type(backend.chain).chain_id = CHAIN_ID
        self.tester = EthereumTester(backend)
        self.w3 = Web3(_Provider(self.tester))
        self.accounts: list[LocalAccount] = [
            Account.from_key(key.to_bytes()) for key in backend.account_keys
        ]
        self.owner, self.provider, self.user, self.stranger, self.other = self.accounts[:5]
        # Without one, web3 asks for accounts before each call.
        self.w3.eth.default_account = self.owner.address
        self.signer: LocalAccount = Account.from_key(DEVELOPMENT_KEY)
        self.w3.eth.send_transaction(
            {"from": self.owner.address, "to": self.signer.address, "value": 100 * TOKEN}
        )
        self._unlock(self.signer)
        self.deployment: Deployment = deploy_stack(
            self.w3, self.owner, STAKE, wait=self.w3.eth.get_transaction_receipt
        )
        self.serving = self.contract("SandboxServing", self.deployment.proxy)
        self.beacon = self.contract("UpgradeableBeacon", self.deployment.beacon)

    def _unlock(self, account: LocalAccount) -> None:
        self.tester.add_account("0x" + account.key.hex())

    # ------------------------------------------------------------- chain and time

    def contract(self, name: str, address: str) -> Contract:
        """One of our compiled contracts at an address."""
        return self.w3.eth.contract(address=address, abi=load(name).abi)

    def create(self, bytecode: str, abi: Sequence[Any] = ()) -> Contract:
        """Deploy bytecode that takes no constructor arguments."""
        factory = self.w3.eth.contract(abi=abi, bytecode=bytecode)
        receipt = self._mined(factory.constructor().transact({"from": self.owner.address}))
        return self.w3.eth.contract(address=receipt["contractAddress"], abi=abi)

    def mine(self, blocks: int = 1) -> None:
        """Add empty blocks."""
        self.tester.mine_blocks(blocks)

    def now(self) -> int:
        """The newest block's time, in unix seconds."""
        return self.w3.eth.get_block("latest")["timestamp"]

    def travel(self, seconds: int) -> None:
        """
        Let a block come, that much after the newest.

        Calls then see its time, the next transaction one second more.
        """
        # eth-tester stops a second short, so that the block after it is on time.
        self.tester.time_travel(self.now() + seconds + 1)

    def snapshot(self) -> Any:
        """Remember the chain; C{restore} may be called with it more than once."""
        # To go back to a block is to run it again: one without transactions.
        self.mine()
        return self.tester.take_snapshot()

    def restore(self, snapshot: Any) -> None:
        """Go back to a remembered chain."""
        self.tester.revert_to_snapshot(snapshot)

    def holdings(self, address: str | None = None) -> int:
        """Native balance, of the contract unless somebody else's is asked for."""
        return self.w3.eth.get_balance(address or self.deployment.proxy)

    # ---------------------------------------------------------------- transactions

    def send(self, call: ContractFunction, sender: LocalAccount, value: int = 0) -> TxReceipt:
        """
        Mine a call.

        @raise AssertionError: It reverted.
        """
        request = {"from": sender.address, "value": value, "gas": 8_000_000}
        receipt = self._mined(call.transact(request))
        assert receipt["status"] == 1, f"{call.fn_name} reverted"
        return receipt

    def _mined(self, transaction_hash: HexBytes) -> TxReceipt:
        return self.w3.eth.get_transaction_receipt(transaction_hash)

    def refusal(self, call: ContractFunction, sender: LocalAccount, value: int = 0) -> HexBytes:
        """
        The data a call reverts with; nothing is mined.

        @raise AssertionError: It does not revert.
        """
        request = call.build_transaction({"from": sender.address, "value": value, "gas": 8_000_000})
        return self._reverted(request, call.fn_name)

    def refusal_to_create(self, constructor: ContractConstructor) -> HexBytes:
        """The data that the owner's creation of a contract reverts with; nothing is mined."""
        request = constructor.build_transaction({"from": self.owner.address, "gas": 8_000_000})
        return self._reverted(request, "the constructor")

    def _reverted(self, request: TxParams, what: str) -> HexBytes:
        wanted = ("from", "to", "data", "value", "gas")
        try:
            # Not through web3's provider, which makes prose of the data.
            self.tester.call({name: request[name] for name in wanted if request.get(name) != b""})
        except TransactionFailed as failed:
            # eth-tester says what the bytes look like in Python.
            return HexBytes(literal_eval(failed.args[0]))
        raise AssertionError(f"{what} did not revert")

    def events(self, receipt: TxReceipt) -> list[EventData]:
        """All events of the contract in a receipt, in log order."""
        found: list[EventData] = []
        for log in receipt["logs"]:
            for each in self.serving.events:
                if HexBytes(log["topics"][0]) == HexBytes(each.topic):
                    found.append(each().process_log(log))
        return found

    # --------------------------------------------------------------------- actions

    def register(
        self,
        *,
        signer: LocalAccount | None = None,
        cpu: int = 60,
        create_fee: int = 5,
        memory: int = 30,
        url: str = "https://provider.example",
        value: int = 0,
    ) -> TxReceipt:
        """The provider's addOrUpdateService."""
        call = self.serving.functions.addOrUpdateService(
            url, (signer or self.signer).address, cpu, create_fee, memory
        )
        return self.send(call, self.provider, value)

    def deposit(self, amount: int, user: LocalAccount | None = None) -> TxReceipt:
        """A user's own deposit with the provider."""
        who = user or self.user
        call = self.serving.functions.deposit(who.address, self.provider.address)
        return self.send(call, who, amount)

    def acknowledge(self, acknowledged: bool = True, user: LocalAccount | None = None) -> TxReceipt:
        """A user's word on the provider's current signer."""
        call = self.serving.functions.acknowledgeTEESigner(self.provider.address, acknowledged)
        return self.send(call, user or self.user)

    def request_refund(self, amount: int, user: LocalAccount | None = None) -> TxReceipt:
        """A user's refund request at the provider."""
        call = self.serving.functions.requestRefund(self.provider.address, amount)
        return self.send(call, user or self.user)

    # -------------------------------------------------------------------- vouchers

    def domain(self, chain_id: int = CHAIN_ID) -> dict[str, Any]:
        """The EIP-712 domain of wire.md."""
        return {
            "name": "0G Sandbox Serving",
            "version": "1",
            "chainId": chain_id,
            "verifyingContract": self.deployment.proxy,
        }

    def sign(
        self,
        primary: str,
        message: dict[str, Any],
        signer: LocalAccount | None = None,
        chain_id: int = CHAIN_ID,
    ) -> bytes:
        """An EIP-712 signature by eth_account: another implementation than the contract's."""
        wanted = [primary] if primary == "SandboxVoucher" else list(TYPES)
        signable = encode_typed_data(
            self.domain(chain_id), {name: TYPES[name] for name in wanted}, message
        )
        return bytes((signer or self.signer).sign_message(signable).signature)

    def voucher(
        self,
        nonce: int,
        fee: int,
        *,
        user: LocalAccount | None = None,
        provider: Addressed | None = None,
        signer: LocalAccount | None = None,
        usage_hash: bytes = SOME_USAGE,
        chain_id: int = CHAIN_ID,
    ) -> tuple[str, str, int, bytes, int, bytes]:
        """A signed voucher in the contract's order of fields."""
        who = (user or self.user).address
        whose = (provider or self.provider).address
        message = {
            "user": who,
            "provider": whose,
            "usageHash": usage_hash,
            "nonce": nonce,
            "totalFee": fee,
        }
        signature = self.sign("SandboxVoucher", message, signer, chain_id)
        return (who, whose, fee, usage_hash, nonce, signature)

    def settle(self, *vouchers: Any, sender: LocalAccount | None = None) -> list[int]:
        """Settle vouchers in one transaction; what it returned, asked right before."""
        call = self.serving.functions.settleFeesWithTEE(list(vouchers))
        by = sender or self.provider
        statuses = call.call({"from": by.address})
        self.send(call, by)
        return list(statuses)

    def batch(
        self, *lines: tuple[LocalAccount, int, int], signer: LocalAccount | None = None
    ) -> ContractFunction:
        """
        A signed settleBatch call.

        @param lines: (user, nonce, fee) each.
        """
        provider = self.provider.address
        vouchers = [
            {
                "user": user.address,
                "provider": provider,
                "usageHash": SOME_USAGE,
                "nonce": nonce,
                "totalFee": fee,
            }
            for user, nonce, fee in lines
        ]
        signature = self.sign(
            "SandboxVoucherBatch", {"provider": provider, "vouchers": vouchers}, signer
        )
        return self.serving.functions.settleBatch(
            provider,
            [(user.address, fee, SOME_USAGE, nonce) for user, nonce, fee in lines],
            signature,
        )

    # ----------------------------------------------------------------------- books

    def books(self, user: LocalAccount | None = None) -> tuple[int, int]:
        """(balance, pending refund) of a user with the provider."""
        balance, pending, _ = self.serving.functions.getBalance(
            (user or self.user).address, self.provider.address
        ).call()
        return balance, pending

    def earnings(self) -> int:
        """The provider's earnings."""
        return int(self.serving.functions.providerEarnings(self.provider.address).call())

    def last_nonce(self, user: LocalAccount | None = None) -> int:
        """The last nonce settled for a user with the provider."""
        return int(
            self.serving.functions.getLastNonce(
                (user or self.user).address, self.provider.address
            ).call()
        )

    def owed_to_anybody(self) -> int:
        """Balances, refunds, earnings and stakes of all accounts with all accounts."""
        total = 0
        views = self.serving.functions
        for provider in (self.provider, self.other):
            total += views.providerEarnings(provider.address).call()
            total += views.providerStakes(provider.address).call()
            for user in self.accounts[:6]:
                total += sum(views.getBalance(user.address, provider.address).call()[:2])
        return total


def error(signature: str, *arguments: Any) -> HexBytes:
    """A custom error as it travels: C{error("RefundLocked(uint256)", 5)}."""
    kinds = [kind for kind in signature[signature.index("(") + 1 : -1].split(",") if kind]
    return HexBytes(keccak(text=signature)[:4] + encode(kinds, arguments))


class EvmCase(SynchronousTestCase):
    """
    A test on a fresh state of a chain that is made once for all of them.

    @ivar evm: The stack, with nobody registered.
    """

    _shared: tuple[Evm, Any] | None = None

    def setUp(self) -> None:
        """Go back to the state right after deployment, then C{prepare}."""
        if EvmCase._shared is None:
            evm = Evm()
            EvmCase._shared = (evm, evm.snapshot())
        self.evm, snapshot = EvmCase._shared
        self.evm.restore(snapshot)
        self.prepare()

    def prepare(self) -> None:
        """What a test class wants to find."""

    def assert_refused(
        self,
        expected: HexBytes,
        call: ContractFunction,
        sender: LocalAccount,
        value: int = 0,
    ) -> None:
        """The call reverts with exactly this custom error."""
        self.assertEqual(expected.to_0x_hex(), self.evm.refusal(call, sender, value).to_0x_hex())

    def assert_events(self, receipt: TxReceipt, *expected: tuple[str, dict[str, Any]]) -> None:
        """The receipt carries exactly these events, in this order."""
        found = [(each["event"], dict(each["args"])) for each in self.evm.events(receipt)]
        self.assertEqual(list(expected), found)
