"""
On every answer to a wallet: when its money will be used up.
"""

from __future__ import annotations

from typing import Any

from attrs import evolve
from zope.interface import implementer

from sandbox_billing.errors import BrokenLaw, Transient
from sandbox_billing.interfaces import IHistory, Stored, WalletFunds, WalletState
from sandbox_billing.ledger.account import Account, Behaviour
from sandbox_billing.ledger.hold import Exposure
from sandbox_billing.ledger.identity import Address, Nonce
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.web import time_left
from sandbox_billing.web.root import make_root
from sandbox_billing.web.time_left import HEADER, KEPT_SECONDS, TimeLeft
from tests.web.asking import AskingTestCase, Reply
from tests.web.test_notices import now
from tests.web.world import (
    FOREIGN,
    NOW,
    OWNER,
    SANDBOX,
    SERVICE,
    TERMS,
    StandInHistory,
    World,
    mirror_at,
    token_for,
)


SECONDS = 1_000
"""Running time left."""


@implementer(IHistory)
class RichHistory(StandInHistory):
    """A wallet with money for some time; how often anybody asks is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.balance = SECONDS + TERMS.stop_delay_seconds
        self.running = True
        self.failing: Exception | None = None
        self.known = True

    async def state(self, wallet: Address) -> WalletState:
        self.asked += 1
        if self.failing is not None:
            raise self.failing
        account = Account(
            wallet=wallet,
            balance=Neuron(self.balance),
            pending_refund=Neuron(0),
            refund_unlock_at=UnixSeconds(0),
            acknowledged=True,
            last_nonce=Nonce(0),
            block=1,
        )
        # A neuron a second.
        fields = {"session:sb-1": f"7:60:{NOW}"} if self.running else {"hold:ref-1": "7"}
        funds = WalletFunds(
            wallet=wallet,
            account=Stored(account, b"") if self.known else None,
            exposure=Exposure(fields),
            revision=b"1",
            blocked=None,
        )
        mirror = evolve(mirror_at(SERVICE), behaviour=Behaviour.FIXED)
        return WalletState(mirror=mirror, funds=funds)


class HeaderTests(AskingTestCase):
    """What the header says, and where it stands."""

    def setUp(self) -> None:
        super().setUp()
        self.rich()

    def rich(self, world: World | None = None) -> None:
        """The wallet has money."""
        self.world = World() if world is None else world
        self.history = RichHistory()
        self.world.root = make_root(evolve(self.world.desk, history=self.history))
        self.world.agent = type(self.world.agent)(self.world.root)

    def told(self, reply: Reply) -> int | None:
        """The moment in a reply."""
        header = reply.header(HEADER)
        return None if header is None else int(header)

    def asked(self, target: str = f"/api/sandbox/{SANDBOX}", **more: Any) -> Reply:
        """By the owner."""
        return self.ask_by_path("GET", target, **more)

    def test_moment(self) -> None:
        """The sum that stops it, as a moment."""
        self.assertEqual(self.told(self.asked()), NOW + SECONDS)

    def test_refusals(self) -> None:
        """Whatever a proven wallet is answered, also that it may not, or that there is none."""
        for target, status in (
            (f"/api/sandbox/{FOREIGN}", 403),
            ("/api/sandbox/nowhere", 404),
            ("/api/events?page=x", 400),
        ):
            reply = self.asked(target)
            self.assertEqual((reply.status, self.told(reply)), (status, NOW + SECONDS))

    def test_token(self) -> None:
        """A token's program is told too, also one for a single sandbox: it is what stops it."""
        headers = token_for(self.world, OWNER.address, expires_at=NOW + 60, only=SANDBOX)
        reply = self.ask("GET", f"/api/sandbox/{SANDBOX}", headers)
        self.assertEqual((reply.status, self.told(reply)), (200, NOW + SECONDS))

    def test_streams(self) -> None:
        """What flows carries it, whether it is let in or not."""
        self.world.doors.blocked[OWNER.address] = "insufficient_balance"
        reply = self.ask_signed("GET", f"/toolbox/{SANDBOX}/files", "toolbox", SANDBOX)
        self.assertEqual((reply.status, self.told(reply)), (402, NOW + SECONDS))

    def test_nobody(self) -> None:
        """Not to whom nobody knows, nor on what everybody may read."""
        unsigned = self.ask("GET", f"/api/sandbox/{SANDBOX}")
        self.assertEqual((unsigned.status, self.told(unsigned)), (401, None))
        self.assertIsNone(self.told(self.ask("GET", "/info")))
        forged = self.world.signed("list")
        forged["X-Wallet-Signature"] = "0x" + "11" * 65
        self.assertIsNone(self.told(self.ask("GET", "/api/sandbox", forged)))
        self.assertEqual(self.history.asked, 0)

    def test_nothing_runs(self) -> None:
        """Absent where nothing uses it up, and where the wallet has no account here."""
        self.history.running = False
        self.assertIsNone(self.told(self.asked()))
        self.rich()
        self.history.known = False
        self.assertIsNone(self.told(self.asked()))

    def test_grace(self) -> None:
        """Where a provider lends for a while, it is the wallet's own money that is told of."""
        lending = evolve(TERMS, loss_cap=Neuron(500))
        for grace, moment in ((0, NOW + SECONDS + 500), (60, NOW + SECONDS)):
            self.rich(World(evolve(lending, stop_grace_seconds=grace)))
            self.assertEqual(self.told(self.asked()), moment)

    def test_dry(self) -> None:
        """What is used up is told as now, also when that was read a while ago."""
        self.history.balance = 0
        self.assertEqual(self.told(self.asked()), NOW)
        self.world.wall.moment = NOW + 2
        self.assertEqual(self.told(self.asked()), NOW + 2)
        self.assertEqual(self.history.asked, 1)

    def test_kept(self) -> None:
        """Read once in some seconds, not once for each request."""
        for _ in range(5):
            self.asked()
        self.assertEqual(self.history.asked, 1)
        self.world.clock.advance(KEPT_SECONDS)
        self.history.balance += 50
        self.assertEqual(self.told(self.asked()), NOW + SECONDS + 50)
        self.assertEqual(self.history.asked, 2)

    def test_cannot_be_read(self) -> None:
        """No request fails for a header."""
        for failing in (Transient("away"), BrokenLaw("L7", "unknown field")):
            self.history.failing = failing
            reply = self.asked()
            self.assertEqual((reply.status, self.told(reply)), (200, None))
        self.history.failing = None
        self.assertEqual(self.told(self.asked()), NOW + SECONDS)

    def test_pages(self) -> None:
        """A page of a listed origin may read it."""
        self.rich(World(evolve(TERMS, cors_origins=frozenset({"https://page.example"}))))
        headers = self.world.signed(f"GET:/api/sandbox/{SANDBOX}")
        headers["Origin"] = "https://page.example"
        reply = self.ask("GET", f"/api/sandbox/{SANDBOX}", headers)
        self.assertIn(HEADER, reply.header("Access-Control-Expose-Headers") or "")

    def test_bounded(self) -> None:
        """However many wallets ask, so many are kept, the newest."""
        self.patch(time_left, "MOST_KEPT", 3)
        left = TimeLeft(
            history=self.history, wall=self.world.wall, clock=self.world.clock, terms=TERMS
        )
        wallets = [Address(f"0x{number:040x}") for number in range(5)]
        for wallet in (*wallets, *wallets[2:]):
            now(left.runs_dry_at(wallet))
        self.assertEqual((self.history.asked, len(left._kept)), (5, 3))
        now(left.runs_dry_at(wallets[0]))
        self.assertEqual(self.history.asked, 6)
