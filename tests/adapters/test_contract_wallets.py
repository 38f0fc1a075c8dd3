"""
Tests of C{sandbox_billing.adapters.chain.contract_wallets}: real wallets on the devnet's chain.
"""

from __future__ import annotations

from typing import Any

import requests
from twisted.internet import reactor as global_reactor
from twisted.internet.threads import deferToThread
from twisted.web.resource import Resource
from twisted.web.server import Request, Site
from web3 import HTTPProvider, Web3
from web3.exceptions import OffchainLookup
from zope.interface.verify import verifyObject

from sandbox_billing.adapters.chain.contract_wallets import (
    GAS,
    MOST,
    NOBODY,
    THREADS,
    Web3ContractWallets,
    program,
)
from sandbox_billing.adapters.chain.node import Node
from sandbox_billing.adapters.chain.nodes import Nodes
from sandbox_billing.devnet.chain.errors import RpcError
from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import IContractWallets, NotReady
from sandbox_billing.ledger.identity import Address
from sandbox_billing.services._supervise import gather
from sandbox_billing.signing.contract_wallet import (
    MAX_SIGNATURE_BYTES,
    SUFFIX,
    YES,
    question,
)
from sandbox_billing.signing.eip191 import personal_digest
from sandbox_billing.signing.key import SigningKey
from tests.adapters.chain_stubs import Connections, Forward, StubNode, dead_url
from tests.evm.contract_wallets import Mood, contract, wrapped
from tests.ports.chain import CHAIN_ID, ChainCase


DIGEST = personal_digest(b"let me in")


class Lookups(Resource):
    """A server that says what EIP-3668 wants, and counts who asks."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def render(self, request: Request) -> bytes:
        """Any method."""
        self.asked += 1
        request.setHeader(b"content-type", b"application/json")
        return b'{"data": "0x00"}'


class WalletCase(ChainCase):
    """
    Wallets of two keys, and a factory that makes more.
    """

    def setUp(self) -> None:
        super().setUp()
        self.owner = SigningKey.from_bytes(bytes(self.stage.user.key))
        self.stranger = SigningKey.from_bytes(bytes(self.stage.stranger.key))

    def asker(self, *urls: str, patience: float = 10.0) -> Web3ContractWallets:
        """For these nodes; the served stage alone when there are none."""
        seconds = global_reactor.seconds  # type: ignore[attr-defined]
        nodes = [
            Node(url, seconds=seconds, read_seconds=patience) for url in urls or (self.service.url,)
        ]
        return Web3ContractWallets(
            Nodes(nodes, chain_id=CHAIN_ID, seconds=seconds),
            reactor=global_reactor,  # type: ignore[arg-type]
            pool=self.pool(THREADS),
            patience=patience,
        )

    async def made(self, name: str, *arguments: Any) -> Address:
        """Deploy one of the test contracts."""
        made = contract(self.stage.w3, name)
        call = made.constructor(*arguments)
        receipt = await self.run_on_chain(self.stage.act, call, self.stage.owner)
        return Address(receipt["contractAddress"])

    async def owned(self) -> Address:
        """A wallet of the owner."""
        return await self.made("OwnedWallet", Web3.to_checksum_address(self.owner.address.hex))

    async def odd(self, mood: Mood, url: str = "") -> Address:
        """A wallet in a mood."""
        return await self.made("OddWallet", mood, url)

    def signed(self, key: SigningKey | None = None, digest: bytes = DIGEST) -> bytes:
        """By the owner, where nobody else is named."""
        return (key or self.owner).sign_digest(digest)


class DeployedTests(WalletCase):
    """
    EIP-1271.
    """

    def test_interface(self) -> None:
        """It has every method of the port."""
        verifyObject(IContractWallets, self.asker())

    async def test_owner(self) -> None:
        """The owner's signature of this digest, and no other."""
        asker, wallet = self.asker(), await self.owned()
        self.assertTrue(await asker.has_signed(wallet, DIGEST, self.signed()))
        for signature in (self.signed(self.stranger), self.signed()[:-1], b"", bytes(65)):
            self.assertFalse(await asker.has_signed(wallet, DIGEST, signature))
        self.assertFalse(await asker.has_signed(wallet, personal_digest(b""), self.signed()))

    async def test_new_owner(self) -> None:
        """A former owner is none from the next block on."""
        asker, wallet = self.asker(), await self.owned()
        who = Web3.to_checksum_address(self.stranger.address.hex)
        call = contract(self.stage.w3, "OwnedWallet", wallet.hex).functions.replaceOwner(who)
        await self.run_on_chain(self.stage.act, call, self.stage.user)
        self.assertFalse(await asker.has_signed(wallet, DIGEST, self.signed()))
        self.assertTrue(await asker.has_signed(wallet, DIGEST, self.signed(self.stranger)))

    async def test_any_other_answer(self) -> None:
        """Only the magic value, in exactly one word, from a call that succeeded, is a yes."""
        asker = self.asker()
        for mood in Mood:
            wallet = await self.odd(mood)
            self.assertEqual(
                await asker.has_signed(wallet, DIGEST, b"any"), mood is Mood.YES, mood.name
            )

    async def test_no_contract(self) -> None:
        """A key's address, an empty one and a precompile say nothing."""
        asker = self.asker()
        for wallet in (self.owner.address, NOBODY, Address("0x" + "00" * 19 + "04")):
            self.assertFalse(await asker.has_signed(wallet, DIGEST, self.signed()))

    async def test_no_lookup(self) -> None:
        """A wallet that names a server (EIP-3668) is refused, and nobody asks that server."""
        lookups = Lookups()
        served = Connections(_site(lookups))
        port = global_reactor.listenTCP(0, served, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(served.end)
        self.addCleanup(port.stopListening)
        url = f"http://127.0.0.1:{port.getHost().port}/{{data}}"
        wallet = await self.odd(Mood.LOOKS_UP, url)
        self.assertFalse(await self.asker().has_signed(wallet, DIGEST, self.signed()))
        self.assertEqual(lookups.asked, 0)
        # Whoever follows such answers would: the wallet does name it, and it does answer.
        w3 = Web3(HTTPProvider(self.service.url))
        call: Any = {"to": Web3.to_checksum_address(wallet.hex), "data": question(DIGEST, b"")}
        try:
            await deferToThread(w3.eth.call, call, "latest", None, False)
        except OffchainLookup as named:
            self.assertEqual(list(named.payload["urls"]), [url])
        else:
            self.fail("it names no server")
        await deferToThread(requests.get, url, timeout=10)
        self.assertEqual(lookups.asked, 1)

    async def test_asked(self) -> None:
        """Bounded gas, in nobody's name, at the newest block, and to no address."""
        seen: list[Any] = []

        def look(method: str, params: list[Any], forward: Forward) -> Any:
            seen.append((method, params))
            return forward(method, params)

        wallet = await self.owned()
        asker = self.asker(StubNode(self, look).url)
        self.assertTrue(await asker.has_signed(wallet, DIGEST, self.signed()))
        data = "0x" + program(wallet, DIGEST, self.signed()).hex()
        call = {"from": NOBODY.hex, "gas": hex(200_000), "data": data}
        self.assertEqual(seen, [("eth_chainId", []), ("eth_call", [call, "latest"])])

    async def test_longest(self) -> None:
        """The longest signature can be carried and asked about, also at EIP-7623's price."""
        asker, longest = self.asker(), b"\xff" * MAX_SIGNATURE_BYTES
        self.assertTrue(await asker.has_signed(await self.odd(Mood.YES), DIGEST, longest))
        self.assertFalse(await asker.has_signed(await self.odd(Mood.BURNS), DIGEST, longest))
        code = program(self.owner.address, DIGEST, longest)
        self.assertLess(21_000 + sum(40 if octet else 10 for octet in code), GAS)


class CounterfactualTests(WalletCase):
    """
    EIP-6492.
    """

    async def prepare(self, small: bool = True) -> None:
        """A factory, and where it would put the owner's wallet."""
        self.factory = await self.made("WalletFactory")
        made = contract(self.stage.w3, "WalletFactory", self.factory.hex).functions
        who = Web3.to_checksum_address(self.owner.address.hex)
        create, where = (
            (made.create, made.addressOf) if small else (made.createWhole, made.addressOfWhole)
        )
        self.create = create(who)
        self.deployment = bytes.fromhex(self.create._encode_transaction_data()[2:])
        self.wallet = Address(await self.run_on_chain(where(who).call))

    def wrap(self, key: SigningKey | None = None, **changes: Any) -> bytes:
        """The owner's signature with the factory's call."""
        parts = {"factory": self.factory, "deployment": self.deployment, **changes}
        return wrapped(signature=self.signed(key), **parts)

    async def test_not_deployed(self) -> None:
        """The wallet says yes as it would be once it is deployed, and is not deployed by that."""
        await self.prepare()
        asker = self.asker()
        for _ in range(2):
            self.assertTrue(await asker.has_signed(self.wallet, DIGEST, self.wrap()))
        code = await self.run_on_chain(self.stage.w3.eth.get_code, _spelt(self.wallet))
        self.assertEqual(bytes(code), b"")
        self.assertFalse(await asker.has_signed(self.wallet, DIGEST, self.signed()))

    async def test_refused(self) -> None:
        """Another key, another wallet, a factory that fails, is none, or does something else."""
        await self.prepare()
        asker = self.asker()
        for signature in (
            self.wrap(self.stranger),
            self.wrap(deployment=b""),
            self.wrap(deployment=b"\xff" * 64),
            self.wrap(factory=NOBODY),
            self.wrap(factory=self.stage.contract),
        ):
            self.assertFalse(await asker.has_signed(self.wallet, DIGEST, signature))
        self.assertFalse(await asker.has_signed(NOBODY, DIGEST, self.wrap()))
        self.assertFalse(await asker.has_signed(self.wallet, personal_digest(b""), self.wrap()))

    async def test_deployed_meanwhile(self) -> None:
        """A wallet that is there is asked; what would deploy it is not called."""
        await self.prepare()
        await self.run_on_chain(self.stage.act, self.create, self.stage.stranger)
        asker = self.asker()
        for signature in (self.signed(), self.wrap(), self.wrap(deployment=b"\xff" * 64)):
            self.assertTrue(await asker.has_signed(self.wallet, DIGEST, signature))
        self.assertFalse(await asker.has_signed(self.wallet, DIGEST, self.wrap(self.stranger)))

    async def test_nothing_is_done_to_a_wallet(self) -> None:
        """What a signature brings along cannot change a deployed wallet before it is asked."""
        await self.prepare()
        ownerless = await self.made("OwnedWallet", "0x" + "00" * 20)
        made = contract(self.stage.w3, "OwnedWallet", ownerless.hex).functions
        taken = made.initialize(Web3.to_checksum_address(self.owner.address.hex))
        taking = bytes.fromhex(taken._encode_transaction_data()[2:])
        signature = self.wrap(factory=ownerless, deployment=taking)
        self.assertFalse(await self.asker().has_signed(ownerless, DIGEST, signature))

    async def test_too_big(self) -> None:
        """A factory that writes a whole wallet's code needs more gas than there is: it is a no."""
        await self.prepare(small=False)
        self.assertFalse(await self.asker().has_signed(self.wallet, DIGEST, self.wrap()))
        await self.run_on_chain(self.stage.act, self.create, self.stage.stranger)
        self.assertTrue(await self.asker().has_signed(self.wallet, DIGEST, self.wrap()))

    async def test_malformed(self) -> None:
        """A suffix after nothing of use is a no without a question."""
        await self.prepare()
        node = StubNode(self)
        asker = self.asker(node.url)
        for signature in (SUFFIX, self.signed() + SUFFIX, self.wrap()[32:]):
            self.assertFalse(await asker.has_signed(self.wallet, DIGEST, signature))
        self.assertEqual(node.posts, 0)


class TroubleTests(WalletCase):
    """
    What a node does is never a wallet's no.
    """

    async def fails(self, asker: Web3ContractWallets, wallet: Address) -> Transient:
        """How."""
        try:
            await asker.has_signed(wallet, DIGEST, self.signed())
        except Transient as problem:
            return problem
        raise AssertionError("it was answered")

    async def test_errors(self) -> None:
        """Errors, answers that are none, other chains and other answers are trouble."""
        wallet = await self.owned()

        def answering(wanted: str, answer: Any) -> str:
            def twist(method: str, params: list[Any], forward: Forward) -> Any:
                if method != wanted:
                    return forward(method, params)
                if isinstance(answer, RpcError):
                    raise answer
                return answer

            return StubNode(self, twist).url

        broken = StubNode(self)
        broken.status = 500
        for url in (
            answering("eth_call", RpcError("execution reverted", -32000)),
            answering("eth_call", RpcError("execution reverted", 3, "0x")),
            answering("eth_call", "0x" + YES.hex()),
            answering("eth_call", None),
            answering("eth_chainId", "0x1"),
            broken.url,
            dead_url(self),
        ):
            await self.fails(self.asker(url), wallet)
            # The next node is asked, and says.
            both = self.asker(url, self.service.url)
            self.assertTrue(await both.has_signed(wallet, DIGEST, self.signed()))

    async def test_slow(self) -> None:
        """A node that hangs is not waited for longer than the time there is."""
        wallet, node = await self.owned(), StubNode(self)
        node.hangs = {"eth_call"}
        asker, start = self.asker(node.url, patience=0.3), self.now()
        await self.fails(asker, wallet)
        self.assertLess(self.now() - start, 2.0)

    async def test_no_more_than_so_many(self) -> None:
        """Beyond a bound nobody waits; places are free again when nodes have answered."""
        wallet, node = await self.owned(), StubNode(self)
        node.hangs = {"eth_call"}
        asker = self.asker(node.url, patience=1.0)

        async def outcome() -> bool:
            return isinstance(await self.fails(asker, wallet), NotReady)

        refused = await gather(*(outcome() for _ in range(MOST + 3)))
        self.assertEqual(sum(refused), 3)
        node.hangs = set()
        # Threads end after those who waited.
        while isinstance(await self.outcome(asker, wallet), NotReady):
            await deferToThread(lambda: None)
        self.assertTrue(await self.outcome(asker, wallet))

    async def outcome(self, asker: Web3ContractWallets, wallet: Address) -> Any:
        """What is answered, or why nothing is."""
        try:
            return await asker.has_signed(wallet, DIGEST, self.signed())
        except Transient as problem:
            return problem

    def now(self) -> float:
        """The reactor's clock."""
        return float(global_reactor.seconds())  # type: ignore[attr-defined]


def _site(resource: Resource) -> Any:
    site = Site(resource)
    site.noisy = False
    site.log = lambda request: None
    return site


def _spelt(wallet: Address) -> Any:
    return Web3.to_checksum_address(wallet.hex)
