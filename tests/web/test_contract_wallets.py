"""Wallets that are contracts, at the door: who is asked about, how often, and what is answered."""

from __future__ import annotations

import json
from typing import Any

from attrs import define, evolve, field
from eth_abi.abi import encode
from treq.testing import RequestTraversalAgent
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from sandbox_billing.errors import StoreDown, Transient, UnknownOutcome
from sandbox_billing.interfaces import IContractWallets, NotReady, Stored, TooMany, WalletFunds
from sandbox_billing.ledger.account import Account
from sandbox_billing.ledger.hold import Exposure
from sandbox_billing.ledger.identity import Address, Nonce
from sandbox_billing.ledger.money import UnixSeconds, neuron
from sandbox_billing.ledger.token import Grant, Scope
from sandbox_billing.services._supervise import Supervisor
from sandbox_billing.signing.contract_wallet import MAX_SIGNATURE_BYTES, SUFFIX
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.eip191 import personal_digest
from sandbox_billing.signing.siwe import sign_login
from sandbox_billing.web.contract_wallets import REFUSED_SECONDS, ContractWallets
from sandbox_billing.web.limits import Rate
from sandbox_billing.web.root import make_root
from tests.web.asking import AskingTestCase, Reply
from tests.web.world import (
    CHAIN_ID,
    NOW,
    OWNER,
    PROVIDER,
    SERVICE,
    TERMS,
    StandInDoors,
    World,
    mirror_at,
    sandbox,
)


WALLET = Address("0x" + "c0" * 20)
"""A contract: nobody has its key."""
OTHER = Address("0x" + "c1" * 20)
SIGNATURE = "0x" + "5a" * 97
WRAPPED = SIGNATURE + SUFFIX.hex()
RAW = b"let me in"


@implementer(IContractWallets)
@define
class StandInContracts:
    """
    Wallets that all say the same.

    @ivar word: What they say, or why nobody knows; waited for where it is a Deferred.
    """

    word: Any = True
    asked: list[tuple[Address, bytes, bytes]] = field(factory=list)

    async def has_signed(self, wallet: Address, digest: bytes, signature: bytes) -> bool:
        self.asked.append((wallet, digest, signature))
        word = await self.word if isinstance(self.word, Deferred) else self.word
        if isinstance(word, Exception):
            raise word
        return bool(word)


class FundedDoors(StandInDoors):
    """
    What wallets have.

    @ivar balances: neuron, of those that are mirrored.
    @ivar owing: Exposure fields.
    """

    def __init__(self) -> None:
        super().__init__(mirror_at(SERVICE))
        self.balances: dict[Address, int] = {}
        self.owing: dict[Address, dict[str, str]] = {}
        self.down = False
        self.reads = 0

    async def funds(self, wallet: Address) -> WalletFunds:
        self.reads += 1
        if self.down:
            raise StoreDown("no redis")
        account = None
        if wallet in self.balances:
            account = Account(
                wallet=wallet,
                balance=neuron(self.balances[wallet]),
                pending_refund=neuron(5),
                refund_unlock_at=UnixSeconds(0),
                acknowledged=True,
                last_nonce=Nonce(0),
                block=77,
            )
        return WalletFunds(
            wallet=wallet,
            account=None if account is None else Stored(account, b""),
            exposure=Exposure(self.owing.get(wallet, {})),
            revision=b"",
            blocked=None,
        )


class WalletsTests(SynchronousTestCase):
    """L{ContractWallets}."""

    def setUp(self) -> None:
        """A wallet with a balance."""
        self.contracts, self.doors, self.clock = StandInContracts(), FundedDoors(), Clock()
        self.doors.balances[WALLET] = 1
        self.wallets = self.made()

    def made(self, **changes: Any) -> ContractWallets:
        """Another one."""
        return ContractWallets(
            contracts=self.contracts,
            doors=self.doors,
            clock=self.clock,
            detached=Supervisor().detached,
            **changes,
        )

    def started(
        self, raw: bytes = RAW, *, who: Address = WALLET, text: str = SIGNATURE, peer: str = "p"
    ) -> Deferred[bool]:
        """A question under way."""
        return Deferred.fromCoroutine(self.wallets(who, raw, text, peer))

    def asked(self, *arguments: Any, **named: Any) -> bool:
        """One that is answered at once."""
        answer: bool = self.successResultOf(self.started(*arguments, **named))
        return answer

    def test_interface(self) -> None:
        """The stand-in has every method of the port."""
        verifyObject(IContractWallets, self.contracts)

    def test_asked(self) -> None:
        """The contract is asked about EIP-191's digest, and the bytes that were sent."""
        self.assertTrue(self.asked())
        self.contracts.word = False
        self.assertFalse(self.asked(b"else"))
        octets = bytes.fromhex(SIGNATURE[2:])
        self.assertEqual(
            self.contracts.asked,
            [(WALLET, personal_digest(raw), octets) for raw in (RAW, b"else")],
        )

    def test_malformed(self) -> None:
        """What is no signature of anybody is not looked up anywhere."""
        for text in ("", "0x1", "5a" * 65, "0xzz", "0x" + "00" * (MAX_SIGNATURE_BYTES + 1)):
            self.assertFalse(self.asked(text=text))
        self.assertEqual((self.contracts.asked, self.doors.reads), ([], 0))

    def test_nothing_here(self) -> None:
        """Who has no balance and nothing that runs is not asked about; a refund is neither."""
        self.assertFalse(self.asked(who=OTHER))
        self.doors.balances[OTHER] = 0
        self.assertFalse(self.asked(who=OTHER))
        self.assertEqual(self.contracts.asked, [])

    def test_something_runs(self) -> None:
        """Who has spent all can still stop what he pays for."""
        self.doors.balances[OTHER] = 0
        self.doors.owing[OTHER] = {"session:x": "1:2:3"}
        self.assertTrue(self.asked(who=OTHER))

    def test_not_deployed(self) -> None:
        """A wallet that is to be deployed first must have a deposit."""
        self.doors.owing[OTHER] = {"session:x": "1:2:3"}
        self.assertFalse(self.asked(who=OTHER, text=WRAPPED))
        self.assertEqual(self.contracts.asked, [])
        self.assertTrue(self.asked(text=WRAPPED))

    def test_no_is_remembered(self) -> None:
        """For a minute, for this wallet and this message, however it is signed."""
        self.contracts.word = False
        self.assertFalse(self.asked())
        self.contracts.word = True
        self.assertFalse(self.asked())
        self.assertFalse(self.asked(text="0x00", peer="q"))
        self.assertEqual(len(self.contracts.asked), 1)
        self.assertTrue(self.asked(b"else"))
        self.doors.balances[OTHER] = 1
        self.assertTrue(self.asked(who=OTHER))
        self.clock.advance(REFUSED_SECONDS - 1)
        self.assertFalse(self.asked())
        self.clock.advance(1)
        self.assertTrue(self.asked())

    def test_yes_is_not_remembered(self) -> None:
        """An owner may be none any more."""
        self.assertTrue(self.asked())
        self.contracts.word = False
        self.assertFalse(self.asked())

    def test_bounded(self) -> None:
        """Only so many are remembered; the oldest is forgotten."""
        self.wallets, self.contracts.word = self.made(most_refused=2), False
        for raw in (b"1", b"2", b"3", b"3", b"2", b"1"):
            self.assertFalse(self.asked(raw))
        told = [personal_digest(raw) for raw in (b"1", b"2", b"3", b"1")]
        self.assertEqual([digest for _, digest, _ in self.contracts.asked], told)

    def test_one_at_a_time(self) -> None:
        """An address asks about one signature at a time; others are not kept by it."""
        self.contracts.word = word = Deferred[bool]()
        first = self.started()
        refused = self.failureResultOf(self.started(b"2"), TooMany).value
        self.assertEqual(refused.retry_after, 1)
        self.contracts.word = True
        self.assertTrue(self.asked(b"3", peer="q"))
        self.assertNoResult(first)
        word.callback(True)
        self.assertTrue(self.successResultOf(first))
        self.assertTrue(self.asked(b"4"))

    def test_hanging_up(self) -> None:
        """Who does not wait for the answer has asked all the same."""
        self.contracts.word = word = Deferred[bool]()
        gone = self.started()
        gone.cancel()
        self.failureResultOf(gone)
        self.failureResultOf(self.started(b"2"), TooMany)
        word.callback(False)
        self.contracts.word = True
        self.assertFalse(self.asked())
        self.assertTrue(self.asked(b"2"))

    def test_trouble(self) -> None:
        """What cannot be found out is no no, and may be asked again at once."""
        for trouble in (Transient("a node"), UnknownOutcome("a node"), NotReady("too many", 1)):
            self.contracts.word = trouble
            why = self.failureResultOf(self.started(), NotReady).value
            self.assertGreater(why.retry_after, 0)
            self.assertNotIn("node", why.text)
        self.contracts.word = True
        self.assertTrue(self.asked())
        self.doors.down = True
        self.failureResultOf(self.started(), NotReady)

    def test_too_much_work(self) -> None:
        """A question that cannot even begin keeps nobody's place."""
        full = Supervisor(most=0)
        self.wallets = ContractWallets(
            contracts=self.contracts, doors=self.doors, clock=self.clock, detached=full.detached
        )
        for _ in range(2):
            self.failureResultOf(self.started(), NotReady)
        full.most = 1
        self.assertTrue(self.asked())


def compact(signature: str) -> str:
    """The same in the 64 bytes of EIP-2098."""
    octets = bytearray.fromhex(signature[2:])
    octets[32] |= (octets.pop() - 27) << 7
    return "0x" + octets.hex()


def counterfactual(signature: str) -> str:
    """The same as EIP-6492 wraps it."""
    wrapped = encode(["address", "bytes", "bytes"], [WALLET.hex, b"", bytes.fromhex(signature[2:])])
    return "0x" + (wrapped + SUFFIX).hex()


class DoorTests(AskingTestCase):
    """
    Through the front desk.
    """

    def setUp(self) -> None:
        """A wallet with a sandbox, and a key that is one of its owners'."""
        super().setUp()
        self.build(self.world)

    def build(self, world: World) -> None:
        """Ask contracts, too."""
        self.world = world
        self.contracts, self.doors = StandInContracts(), FundedDoors()
        self.doors.balances[WALLET] = 1
        world.intake.sandboxes["own"] = (WALLET, sandbox("own", WALLET))
        otherwise = ContractWallets(
            contracts=self.contracts,
            doors=self.doors,
            clock=world.clock,
            detached=world.supervisor.detached,
        )
        world.agent = RequestTraversalAgent(make_root(evolve(world.desk, otherwise=otherwise)))

    def headers(self, **changes: Any) -> dict[str, str]:
        """A stop, as an owner of the wallet signs it."""
        signed = self.world.signed("stop", "own", key=OWNER, **changes)
        return {**signed, "X-Wallet-Address": checksum(WALLET)}

    def stopped(self, headers: dict[str, str]) -> Reply:
        """Ask for it."""
        return self.ask("POST", "/api/sandbox/own/stop", headers)

    def test_stop(self) -> None:
        """A wallet that is a contract stops what it pays for, once with a nonce."""
        headers = self.headers()
        self.assertEqual(self.stopped(headers).status, 200)
        self.assertEqual(self.stopped(headers).error, (401, "nonce already used"))

    def test_once_for_all(self) -> None:
        """
        One signature is one request: whoever saw it cannot have it done again for another of
        its signer's wallets, in whatever form the contract takes it.
        """
        used, number = (401, "nonce already used"), 0
        for form in (str, compact, counterfactual):
            for key_first in (False, True):
                number += 1
                own = self.world.signed("stop", "own", key=OWNER, nonce=f"{number:032}")
                wallets = {
                    **own,
                    "X-Wallet-Address": checksum(WALLET),
                    "X-Wallet-Signature": form(own["X-Wallet-Signature"]),
                }
                first, second = (own, wallets) if key_first else (wallets, own)
                self.assertNotEqual(self.stopped(first).status, 401)
                self.assertEqual(self.stopped(second).error, used, (form, key_first))

    def test_longer_signature(self) -> None:
        """Its signature has any length; the answer to what is none is as for a key's."""
        headers = self.headers()
        longest = "0x" + "5a" * MAX_SIGNATURE_BYTES
        invalid = (401, "invalid signature")
        self.assertEqual(
            self.stopped({**headers, "X-Wallet-Signature": longest + "5a"}).error, invalid
        )
        self.assertEqual(self.stopped({**headers, "X-Wallet-Signature": "0xz"}).error, invalid)
        self.assertEqual(self.stopped({**headers, "X-Wallet-Signature": longest}).status, 200)

    def test_refused(self) -> None:
        """Its no, and no wallet of anybody here, are the same 401."""
        self.contracts.word = False
        self.assertEqual(self.stopped(self.headers()).error, (401, "invalid signature"))
        stranger = {**self.headers(), "X-Wallet-Address": checksum(OTHER)}
        self.assertEqual(self.stopped(stranger).error, (401, "invalid signature"))
        self.assertEqual(len(self.contracts.asked), 1)

    def test_nobody_knows(self) -> None:
        """While no node answers it is 503, to be asked again."""
        self.contracts.word = Transient("https://node.example is down")
        headers = self.headers()
        reply = self.stopped(headers)
        self.assertEqual(reply.error, (503, "the contract wallet could not be asked; try again"))
        self.assertEqual(reply.header("Retry-After"), "2")
        self.contracts.word = True
        self.assertEqual(self.stopped(headers).status, 200)

    def test_cheap_things_first(self) -> None:
        """Nobody asks a node about a message that is malformed or too old."""
        for headers in (
            self.headers(expires_at=NOW),
            self.headers(expires_at=NOW + 10_000),
            {**self.headers(), "X-Signed-Message": "e30="},
        ):
            self.assertEqual(self.stopped(headers).status, 401)
        self.assertEqual(self.contracts.asked, [])

    def test_own_key(self) -> None:
        """A key that signs for itself is nobody's business but ours."""
        self.assertEqual(self.ask_signed("GET", "/api/sandbox", "list").status, 200)
        self.assertEqual((self.contracts.asked, self.doors.reads), ([], 0))

    def test_guessing(self) -> None:
        """After too many that prove nothing an address is not even asked about."""
        rates = evolve(TERMS.rates, forged=Rate(0.5, 2))
        self.build(World(evolve(TERMS, rates=rates)))
        self.contracts.word = False
        statuses = [self.stopped(self.headers()).status for _ in range(4)]
        self.assertEqual((statuses, len(self.contracts.asked)), ([401, 401, 429, 429], 2))

    def login(self, **changes: str) -> dict[str, str]:
        """A login of the wallet for a day, signed by whoever owns it."""
        grant = Grant(provider=PROVIDER, scopes=(Scope.MANAGE,), life_seconds=86_400)
        text = sign_login(
            OWNER,
            url=changes.get("url", TERMS.sign_in_url),
            chain_id=CHAIN_ID,
            resources=grant.resources(),
            nonce=self.world.nonce(),
            issued_at=NOW,
        )["message"]
        message = text.replace(checksum(OWNER.address), checksum(WALLET))
        return {"message": message, "signature": SIGNATURE}

    def logged_in(self, body: dict[str, str]) -> Reply:
        """Ask for a token."""
        return self.ask("POST", "/api/auth/session", {}, json.dumps(body).encode())

    def test_login(self) -> None:
        """It logs in, for an hour at most, whatever was signed; the token does as others do."""
        reply = self.logged_in(self.login())
        self.assertEqual((reply.status, reply.json["expires_at"]), (200, NOW + 3600))
        self.assertEqual(reply.json["wallet"], checksum(WALLET))
        bearer = {"Authorization": f"Bearer {reply.json['token']}"}
        self.assertEqual(self.stopped(bearer).status, 200)
        self.assertEqual(len(self.contracts.asked), 1)

    def test_login_refused(self) -> None:
        """A login of another purpose asks nobody; one that the wallet denies gives nothing."""
        other = self.logged_in(self.login(url="https://elsewhere.example/"))
        self.assertEqual((other.status, self.contracts.asked), (401, []))
        self.contracts.word = False
        self.assertEqual(self.logged_in(self.login()).error, (401, "invalid signature"))
        self.assertEqual(self.world.tokens.kept, {})
