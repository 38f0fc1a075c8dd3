"""
The story that the demo plays and the tests believe.

Alice pays in, runs a sandbox, stops it herself, and takes the rest back.  Bob
pays in too little and is stopped by the daemon.  A stranger gets nowhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from sandbox_billing.devnet.wallet import Client, Wallet
from sandbox_billing.devnet.world import ALICE, BOB, MALLORY, TOKEN, World
from sandbox_billing.interfaces import IHistory
from sandbox_billing.ledger.laws import standing
from sandbox_billing.ledger.voucher import ChargeRecord, Merged, Paid, Partial


T = TypeVar("T")

ALICE_DEPOSIT = TOKEN
ALICE_SECONDS = 12
BOB_DEPOSIT = 28 * TOKEN // 1000
PATIENCE_SECONDS = 60
REFUND_LOCK_SECONDS = 2 * 60 * 60


@define(eq=False)
class NotTrue(Exception):
    """The story did not come true."""

    text: str

    def __str__(self) -> str:
        return self.text


@define(eq=False, kw_only=True)
class Tale:
    """
    One user's part, for the table.

    @ivar paid_in: neuron.
    @ivar refunded: neuron that came back to the wallet.
    @ivar true_seconds: How long Daytona says it ran.
    """

    name: str
    wallet: Wallet
    client: Client
    paid_in: int
    sandbox: str = ""
    ended: str = ""
    refunded: int = 0
    true_seconds: float = 0.0
    records: tuple[ChargeRecord, ...] = ()
    balance_after: int = 0


@define(eq=False, kw_only=True)
class Story:
    """
    @ivar http: A real HTTP client, treq's.
    @ivar base: The daemon's address.
    @ivar history: The daemon's books, to compare with the chain.
    @ivar say: Told each step.
    """

    world: World
    http: Any
    base: str
    history: IHistory
    clock: IReactorTime
    say: Callable[[str], None]
    tales: list[Tale] = field(factory=list)

    async def play(self) -> None:
        """
        @raise NotTrue: Something came out otherwise.
        """
        alice, bob = await self._wallets()
        await self._strangers(alice)
        await self._create(alice)
        await self._create(bob)
        await self._forbidden(alice)
        await self._running(alice, ALICE_SECONDS)
        self.say(f"alice stops her sandbox after {ALICE_SECONDS} charged seconds or more")
        status, shown = await alice.client.act("stop", alice.sandbox)
        _must(status == 200, f"alice's stop was answered {status}: {shown}")
        alice.ended = "stopped by its owner"
        self.say("waiting until bob's money ends and the daemon stops his sandbox")
        await self._until("bob's sandbox to be stopped", lambda: self._stopped(bob))
        bob.ended = "stopped by the daemon"
        status, refused = await bob.client.create()
        _must(status == 402, f"bob could create again without money: {status} {refused}")
        self.say("waiting until everything that was charged is settled")
        await self._until("all charges to settle", self._all_settled)
        await self._refund(alice)
        for tale in self.tales:
            tale.true_seconds = self.world.simulator.running_seconds(tale.sandbox)
            tale.balance_after = (await deferToThread(tale.wallet.balances))[0]

    async def _wallets(self) -> tuple[Tale, Tale]:
        self.say("alice and bob pay into the contract and acknowledge the signer")
        for name, secret, amount in (("alice", ALICE, ALICE_DEPOSIT), ("bob", BOB, BOB_DEPOSIT)):
            wallet = self.world.wallet(name, secret)
            await deferToThread(lambda w=wallet, a=amount: (w.deposit(a), w.acknowledge()))  # type: ignore[misc]
            client = Client(self.http, self.base, wallet)
            self.tales.append(Tale(name=name, wallet=wallet, client=client, paid_in=amount))
        # The daemon reads the chain a block behind its head.
        await self._until("the daemon to see the deposits", lambda: self._funded(self.tales[1]))
        return self.tales[0], self.tales[1]

    async def _funded(self, tale: Tale) -> bool:
        at = (await deferToThread(lambda: tale.wallet.w3.eth.block_number)) - 2
        balances = tale.wallet.contract.functions.isTEEAcknowledged(
            tale.wallet.account.address,
            tale.wallet.w3.to_checksum_address(tale.wallet.provider.hex),
        )
        return bool(await deferToThread(lambda: balances.call(block_identifier=at)))

    async def _strangers(self, alice: Tale) -> None:
        stranger = Client(self.http, self.base, self.world.wallet("mallory", MALLORY))
        before = len(self.world.simulator.records)
        status, answer = await stranger.create()
        _must(status == 402, f"a wallet without money was answered {status}: {answer}")
        _must(len(self.world.simulator.records) == before, "Daytona was asked without money")
        self.say(f"a stranger without money is refused: 402 {answer['error']}")

    async def _create(self, tale: Tale) -> None:
        status, made = await tale.client.create({"labels": {"story": tale.name}})
        _must(status == 200, f"{tale.name}'s create was answered {status}: {made}")
        tale.sandbox = made["id"]
        self.say(f"{tale.name} created sandbox {tale.sandbox}")

    async def _forbidden(self, alice: Tale) -> None:
        stranger = Client(self.http, self.base, self.world.wallet("mallory", MALLORY))
        status, answer = await stranger.act("stop", alice.sandbox)
        _must(status == 403, f"a stranger's stop was answered {status}: {answer}")
        self.say("a stranger cannot stop it: 403")

    async def _running(self, tale: Tale, seconds: int) -> None:
        async def charged() -> bool:
            tale.records = await self.history.charges(tale.wallet.address)
            return sum(charge.units for charge in standing(tale.records)) >= seconds

        await self._until(f"{seconds} seconds to be charged", charged)

    async def _stopped(self, tale: Tale) -> bool:
        return str(self.world.simulator.find(tale.sandbox).raw) == "stopped"

    async def _all_settled(self) -> bool:
        for tale in self.tales:
            tale.records = await self.history.charges(tale.wallet.address)
            if not tale.records or not all(
                isinstance(r.state, Paid | Partial | Merged) for r in tale.records
            ):
                return False
        return not await self.history.pending()

    async def _refund(self, alice: Tale) -> None:
        left, _pending, _at = await deferToThread(alice.wallet.balances)
        self.say("alice asks for the rest back; the chain's time moves past the lock")
        await deferToThread(alice.wallet.request_refund, left)
        await self.world.chain.run(self._pass_time)
        await deferToThread(alice.wallet.withdraw_refund)
        alice.refunded = left

    def _pass_time(self) -> None:
        self.world.blocks.increase_time(REFUND_LOCK_SECONDS + 60)
        self.world.blocks.mine()

    async def _until(self, what: str, happened: Callable[[], Awaitable[bool]]) -> None:
        """Poll something observable, with a deadline."""
        deadline = self.clock.seconds() + PATIENCE_SECONDS
        while not await happened():
            _must(self.clock.seconds() < deadline, f"waited in vain for {what}")
            await deferLater(self.clock, 0.2)


def _must(true: bool, text: str) -> None:
    if not true:
        raise NotTrue(text)
