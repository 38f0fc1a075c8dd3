"""Users whose wallets are contracts, from the deposit to the last voucher (A4)."""

from __future__ import annotations

import base64
import json
from typing import Any

from attrs import define
from eth_account.signers.local import LocalAccount
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from web3 import Web3
from web3.types import TxReceipt

from sandbox_billing.devnet.wallet import Client, Wallet
from sandbox_billing.devnet.world import ALICE, BOB, TOKEN
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.eip191 import personal_digest
from tests.blackbox.scene import INTERVAL_SECONDS, RECONCILE_SECONDS, Scene
from tests.evm.contract_wallets import contract, wrapped
from tests.evm.wallets import Named


@define(eq=False, kw_only=True)
class ContractWallet(Wallet):
    """
    A wallet that is a contract, and does what its owner signs.

    @ivar owner: Whose key is its C{secret}.
    @ivar at: Where it is, or will be.
    @ivar factory: Who deploys it; None where it is deployed.
    @ivar deployment: What with.
    """

    owner: Wallet
    at: Address
    factory: Address | None = None
    deployment: bytes = b""

    @classmethod
    def of(cls, owner: Wallet, at: Address, **deployed: Any) -> ContractWallet:
        """
        @param deployed: By whom and how, where it is not yet.
        """
        return cls(
            name=f"{owner.name}'s contract",
            secret=owner.secret,
            w3=owner.w3,
            contract_address=owner.contract_address,
            provider=owner.provider,
            chain_id=owner.chain_id,
            mine=owner.mine,
            owner=owner,
            at=at,
            **deployed,
        )

    @property
    def account(self) -> LocalAccount:
        """Only its address is of use."""
        return Named(checksum(self.at))  # type: ignore[return-value]

    @property
    def address(self) -> Address:
        """The contract's."""
        return self.at

    def send(self, call: Any, value: int = 0) -> TxReceipt:
        """The owner has it make a call."""
        data = call._encode_transaction_data()
        wallet = contract(self.w3, "OwnedWallet", self.at.hex).functions
        target = Web3.to_checksum_address(self.contract_address)
        return self.owner.send(wallet.execute(target, value, data))

    def deposit(self, amount: int) -> TxReceipt:
        """Its owner's money, on its account."""
        call = self.contract.functions.deposit(checksum(self.at), checksum(self.provider))
        return self.owner.send(call, amount)

    def signature(self, message: bytes) -> str:
        """The owner's, as this wallet takes it."""
        raw = self.key.sign_digest(personal_digest(message))
        if self.factory is not None:
            raw = wrapped(self.factory, self.deployment, raw)
        return "0x" + raw.hex()

    def headers(self, *arguments: Any, **named: Any) -> dict[str, str]:
        """Signed in its name."""
        signed = super().headers(*arguments, **named)
        message = base64.b64decode(signed["X-Signed-Message"])
        return {
            **signed,
            "X-Wallet-Address": checksum(self.at),
            "X-Wallet-Signature": self.signature(message),
        }

    def login(self, url: str, **grant: Any) -> dict[str, str]:
        """Signed in its name."""
        text = super().login(url, **grant)["message"]
        message = text.replace(checksum(self.owner.address), checksum(self.at))
        return {"message": message, "signature": self.signature(message.encode("ascii"))}


def deployed(owner: Wallet, name: str, *arguments: Any) -> Address:
    """Deploy one of the test contracts; blocking."""
    made = contract(owner.w3, name).constructor(*arguments)
    return Address(owner.send(made)["contractAddress"])


class ContractWalletTests(TestCase):
    """
    One daemon, a wallet that is a contract, and one that will be.
    """

    timeout = 600

    async def test_story(self) -> None:
        """It pays in, logs in, runs a sandbox, stops it with a signature, and pays for it."""
        scene = await Scene.open(self)
        scene.start()
        alice = scene.world.wallet("alice", ALICE)
        bob = scene.world.wallet("bob", BOB)
        hers = await deferToThread(self.deployed_wallet, alice)
        his = await deferToThread(self.future_wallet, bob)
        base = await scene.ready()
        await self.logs_in_undeployed(scene, scene.client(base, his))
        client = scene.client(base, hers)
        token = await self.token(scene, client)
        sandbox = await self.created(scene, client, token)
        await scene.until("two periods", lambda: self.charged(scene, hers, 2 * INTERVAL_SECONDS))
        status, shown = await scene.client(base, scene.world.wallet("alice", ALICE)).act(
            "stop", sandbox
        )
        self.assertEqual(status, 403, shown)
        status, shown = await client.act("stop", sandbox)
        self.assertEqual(status, 200, shown)
        await scene.until("the run to end", lambda: scene.stopped(sandbox))
        await scene.books(hers, sandbox, paid_in=TOKEN, lost_seconds=2 * RECONCILE_SECONDS)

    async def created(self, scene: Scene, client: Client, token: str) -> str:
        """A sandbox, as soon as the acknowledgement has been seen, which came after the deposit."""
        answer: dict[str, Any] = {}

        async def accepted() -> bool:
            status, told = await self.bearing(client, token, "POST", "/api/sandbox", b"{}")
            if status == 402:
                return False
            self.assertEqual(status, 200, told)
            answer.update(told)
            return True

        await scene.until("a create to be admitted", accepted)
        return str(answer["id"])

    def deployed_wallet(self, owner: Wallet) -> ContractWallet:
        """One that has paid in and acknowledged."""
        wallet = ContractWallet.of(owner, deployed(owner, "OwnedWallet", owner.account.address))
        wallet.deposit(TOKEN)
        wallet.acknowledge()
        return wallet

    def future_wallet(self, owner: Wallet) -> ContractWallet:
        """One with a deposit and without code."""
        factory = deployed(owner, "WalletFactory")
        functions = contract(owner.w3, "WalletFactory", factory.hex).functions
        at = Address(functions.addressOf(owner.account.address).call())
        create = functions.create(owner.account.address)._encode_transaction_data()
        wallet = ContractWallet.of(owner, at, factory=factory, deployment=bytes.fromhex(create[2:]))
        wallet.deposit(TOKEN)
        return wallet

    async def logs_in_undeployed(self, scene: Scene, client: Client) -> None:
        """Who was paid in for sees what is his, before there is a contract to acknowledge with."""
        token = await self.token(scene, client)
        status, listed = await self.bearing(client, token, "GET", "/api/sandbox")
        self.assertEqual((status, listed["items"]), (200, []))
        status, shown = await client.create()
        self.assertEqual((status, shown["code"]), (402, "not_acknowledged"))
        code = await deferToThread(client.wallet.w3.eth.get_code, client.wallet.account.address)
        self.assertEqual(bytes(code), b"")

    async def token(self, scene: Scene, client: Client) -> str:
        """
        One that lives an hour, though a day was signed, as soon as the deposit has been seen.
        """
        journal = await scene.history()

        async def mirrored() -> bool:
            return (await journal.doors.funds(client.wallet.address)).account is not None

        await scene.until("the deposit to be seen", mirrored)
        token = await client.login(life_seconds=86_400)
        status, listed = await self.bearing(client, token, "GET", "/api/auth/session")
        self.assertEqual(status, 200)
        (shown,) = listed["tokens"]
        self.assertEqual(shown["expires_at"] - shown["issued_at"], 3600)
        return token

    async def charged(self, scene: Scene, wallet: Wallet, seconds: int) -> bool:
        """Whether so many seconds are charged."""
        return await scene.charged_seconds(wallet) >= seconds

    async def bearing(
        self, client: Client, token: str, method: str, path: str, body: bytes = b""
    ) -> tuple[int, Any]:
        """Ask with a token."""
        headers = {"Authorization": f"Bearer {token}"}
        if body:
            headers["Content-Type"] = "application/json"
        response = await client.http.request(
            method, client.base + path, headers=headers, data=body or None, timeout=60
        )
        return response.code, json.loads(await response.content())
