"""
A user with a wallet: pays into the contract and signs HTTP requests.

Blocking chain calls; from a reactor use C{deferToThread}.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from attrs import define, field
from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3 import HTTPProvider, Web3
from web3.types import RPCEndpoint, TxReceipt

from sandbox_billing.adapters.chain.artifacts import load
from sandbox_billing.errors import Refused
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.token import DEFAULT_LIFE_SECONDS, Grant, Scope
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.key import SigningKey
from sandbox_billing.signing.request import sign_request
from sandbox_billing.signing.siwe import sign_login


RECEIPT_SECONDS = 60


def connect(url: str) -> Web3:
    """@param url: A JSON-RPC endpoint."""
    return Web3(HTTPProvider(url, exception_retry_configuration=None))


def wait_for(w3: Web3, transaction: Any, *, mine: bool) -> TxReceipt:
    """
    Wait until a transaction is mined.

    @param mine: Ask the devnet for a block first instead of waiting for its timer.
    @raise Refused: It is not mined in a minute.
    """
    if mine:
        w3.provider.make_request(RPCEndpoint("evm_mine"), [])
    deadline = time.monotonic() + RECEIPT_SECONDS
    return w3.eth.wait_for_transaction_receipt(
        transaction, timeout=deadline - time.monotonic(), poll_latency=0.1
    )


@define(eq=False)
class Wallet:
    """
    @ivar name: For tables.
    @ivar secret: A development key, 32 bytes.
    @ivar provider: Whose sandboxes it rents.
    @ivar mine: Ask for a block after each transaction; for setting up.
    """

    name: str
    secret: bytes = field(repr=False)
    w3: Web3 = field(repr=False)
    contract_address: str
    provider: Address
    chain_id: int
    mine: bool = False
    _contract: Any = field(default=None, init=False, repr=False)

    @property
    def account(self) -> LocalAccount:
        """eth_account's form of the key."""
        account: LocalAccount = Account.from_key(self.secret)
        return account

    @property
    def key(self) -> SigningKey:
        """The form that signs requests."""
        return SigningKey.from_bytes(self.secret)

    @property
    def address(self) -> Address:
        """The wallet's address."""
        return self.key.address

    @property
    def contract(self) -> Any:
        """web3's contract; made once, which takes web3 longer than most calls."""
        if self._contract is None:
            self._contract = self.w3.eth.contract(
                address=Web3.to_checksum_address(self.contract_address),
                abi=load("SandboxServing").abi,
            )
        return self._contract

    def send(self, call: Any, value: int = 0) -> TxReceipt:
        """
        Send a contract call and wait for it.

        @param value: neuron sent with it.
        @raise Refused: It was mined and failed.
        """
        account = self.account
        base_fee = self.w3.eth.get_block("latest")["baseFeePerGas"]
        transaction = call.build_transaction(
            {
                "from": account.address,
                "value": value,
                "nonce": self.w3.eth.get_transaction_count(account.address, "pending"),
                "maxFeePerGas": 2 * base_fee + 10**9,
                "maxPriorityFeePerGas": 10**9,
                "chainId": self.chain_id,
            }
        )
        signed = account.sign_transaction(transaction)
        receipt = wait_for(
            self.w3, self.w3.eth.send_raw_transaction(signed.raw_transaction), mine=self.mine
        )
        if receipt["status"] != 1:
            raise Refused(f"{self.name}'s transaction failed: {receipt['transactionHash'].hex()}")
        return receipt

    # -- what a user does on-chain ---------------------------------------------------

    def deposit(self, amount: int) -> TxReceipt:
        """@param amount: neuron."""
        functions = self.contract.functions
        return self.send(
            functions.deposit(self.account.address, checksum(self.provider)), value=amount
        )

    def acknowledge(self, yes: bool = True) -> TxReceipt:
        """Acknowledge, or revoke, the provider's current signer."""
        functions = self.contract.functions
        return self.send(functions.acknowledgeTEESigner(checksum(self.provider), yes))

    def request_refund(self, amount: int) -> TxReceipt:
        """@param amount: neuron."""
        return self.send(self.contract.functions.requestRefund(checksum(self.provider), amount))

    def withdraw_refund(self) -> TxReceipt:
        """After the lock."""
        return self.send(self.contract.functions.withdrawRefund(checksum(self.provider)))

    def balances(self) -> tuple[int, int, int]:
        """Balance, pending refund, when it unlocks."""
        found = self.contract.functions.getBalance(
            self.account.address, checksum(self.provider)
        ).call()
        return tuple(found)

    def last_nonce(self) -> int:
        """Of the vouchers settled."""
        return int(
            self.contract.functions.getLastNonce(
                self.account.address, checksum(self.provider)
            ).call()
        )

    # -- what a user does over HTTP --------------------------------------------------

    def headers(
        self,
        action: str,
        resource_id: str = "",
        body: bytes = b"",
        *,
        now: Callable[[], float] = time.time,
    ) -> dict[str, str]:
        """Signed headers for one request."""
        return sign_request(
            self.key,
            action=action,
            resource_id=resource_id,
            body=body,
            expires_at=int(now()) + 300,
            nonce=secrets.token_hex(16),
            audience=self.provider,
            chain_id=self.chain_id,
        )

    def login(
        self,
        url: str,
        *,
        scopes: Iterable[Scope] = Scope,
        life_seconds: int = DEFAULT_LIFE_SECONDS,
        spend_limit: int | None = None,
        only: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> dict[str, str]:
        """
        The signed body that asks for a session token.

        @param url: The proxy's, as users reach it.
        @param spend_limit: neuron.
        @param only: The one sandbox it is for.
        """
        grant = Grant(
            provider=self.provider,
            scopes=tuple(scopes),
            life_seconds=life_seconds,
            spend_limit=None if spend_limit is None else Neuron(spend_limit),
            only=None if only is None else SandboxId(only),
        )
        return sign_login(
            self.key,
            url=url,
            chain_id=self.chain_id,
            resources=grant.resources(),
            nonce=secrets.token_hex(16),
            issued_at=int(now()),
        )


@define(eq=False)
class Client:
    """
    A user's HTTP client.

    @ivar http: treq's.
    @ivar base: Where the daemon listens.
    """

    http: Any
    base: str
    wallet: Wallet

    async def ask(
        self,
        method: str,
        path: str,
        *,
        verb: str,
        resource_id: str = "",
        body: Mapping[str, Any] | None = None,
    ) -> tuple[int, Any]:
        """
        Send one signed request.

        @return: Status and parsed JSON.
        """
        raw = json.dumps(body).encode() if body is not None else b""
        headers = self.wallet.headers(verb, resource_id, raw)
        if raw:
            headers["Content-Type"] = "application/json"
        response = await self.http.request(
            method, self.base + path, headers=headers, data=raw or None, timeout=60
        )
        return response.code, json.loads(await response.content())

    async def login(self, **grant: Any) -> str:
        """
        Sign in.

        @param grant: As L{Wallet.login} takes it.
        @return: The token.
        @raise Refused: None is given.
        """
        response = await self.http.request(
            "POST",
            f"{self.base}/api/auth/session",
            headers={"Content-Type": "application/json"},
            data=json.dumps(self.wallet.login(self.base, **grant)).encode(),
            timeout=60,
        )
        answer = json.loads(await response.content())
        if response.code != 200:
            raise Refused(f"no token: {response.code} {answer.get('error')}")
        return str(answer["token"])

    async def create(self, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """Create a sandbox."""
        return await self.ask("POST", "/api/sandbox", verb="create", body=body or {})

    async def act(self, verb: str, sandbox: str) -> tuple[int, Any]:
        """start, stop or archive."""
        path = f"/api/sandbox/{sandbox}/{verb}"
        return await self.ask("POST", path, verb=verb, resource_id=sandbox)

    async def delete(self, sandbox: str) -> tuple[int, Any]:
        """Delete a sandbox."""
        path = f"/api/sandbox/{sandbox}"
        return await self.ask("DELETE", path, verb="delete", resource_id=sandbox)

    async def show(self, sandbox: str) -> tuple[int, Any]:
        """Look at one sandbox."""
        path = f"/api/sandbox/{sandbox}"
        return await self.ask("GET", path, verb="list", resource_id=sandbox)

    async def listed(self) -> tuple[int, Any]:
        """The wallet's own sandboxes."""
        return await self.ask("GET", "/api/sandbox", verb="list")
