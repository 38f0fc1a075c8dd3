"""
A restore as it will be one day: the copy is older than the chain, and everything died at once.

Three records are compared afterwards: the chain's events, Daytona's log of what ran, and the
books, those that went with the crash among them, which only the drill has kept.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from sandbox_billing.devnet.redis import RedisServer
from sandbox_billing.devnet.wallet import Wallet
from sandbox_billing.devnet.world import ALICE, BOB, MALLORY, TOKEN
from sandbox_billing.errors import BrokenLaw
from sandbox_billing.ledger.laws import l2_disjoint, l5_rising
from sandbox_billing.ledger.voucher import Charge, ChargeRecord
from tests.blackbox.audit import Account
from tests.blackbox.process import TREE, Child
from tests.blackbox.scene import PRICES, RECONCILE_SECONDS, Scene, cost, preimage_hash


INTERVAL_SECONDS = 2

EDGES_SECONDS = 2 * RECONCILE_SECONDS + 2
"""What one run may lose at its ends without any accident: see tests.blackbox.audit."""

COMMAND = (sys.executable, "-m", "sandbox_billing.cli.main", "reconcile", "--json")

OF_NONCE = re.compile(r"nonce (\d+) of (0x[0-9a-f]{40})$")
"""How C{reconcile} names a voucher."""

TITLES = (
    "who",
    "ran, s",
    "charged, s",
    "not, s",
    "vouchers",
    "at the copy",
    "at the crash",
    "forgotten",
    "paid",
)


@frozen(kw_only=True)
class Copy:
    """
    One way to make a copy and to begin with it.

    @ivar take: From a server into a folder; returns what was made.
    @ivar bring: What was made, into a server that is down, which is up afterwards.
    """

    name: str
    take: Callable[[RedisServer, Path], Path]
    bring: Callable[[RedisServer, Path], None]


@define(eq=False, kw_only=True)
class Person:
    """
    @ivar sandboxes: What it has had.
    @ivar copied: Its vouchers on chain when the copy was made.
    @ivar crashed: Those when everything died.
    @ivar nonces: Theirs.
    @ivar kept: Nonces that the restored books have signed: final ones, and those of a batch that
        was under way when the copy was made, of which the daemon learns by itself.
    @ivar books: What the books said just before that; the restored ones may not know it.
    """

    wallet: Wallet
    sandboxes: list[str] = field(factory=list)
    copied: int = 0
    crashed: int = 0
    nonces: frozenset[int] = frozenset()
    kept: frozenset[int] = frozenset()
    books: Sequence[ChargeRecord] = ()


@define(eq=False, kw_only=True)
class Drill:
    """
    @ivar vouchers: How many of each user are settled before the copy, between it and the
        crash, and after the restore.
    @ivar whole: Whether a sandbox is deleted between copy and crash, and not only stopped, and
        C{reconcile} has the last word; else it is shorter.
    @ivar told: What C{reconcile} found, by kind.
    @ivar told_of: The subjects of each.
    @ivar steps: What happened and when, for the report.
    """

    case: TestCase
    scene: Scene
    redis: RedisServer
    copy: Copy
    vouchers: int
    whole: bool
    began: float
    people: dict[str, Person] = field(factory=dict)
    told: list[dict[str, Any]] = field(factory=list)
    repaired: int = 0
    steps: list[str] = field(factory=list)

    def step(self, text: str) -> None:
        """Note what has just happened."""
        self.steps.append(f"[{time.monotonic() - self.began:5.1f} s] {text}")

    # -- the story -----------------------------------------------------------------------

    async def play(self) -> None:
        """Everything, in the order of docs/backup.rst."""
        await self.work()
        copied = await self.take_copy()
        await self.more_work()
        await self.crash()
        await deferToThread(self.copy.bring, self.redis, copied)
        self.step("Redis is up again, with the copy")
        await self.reconcile()
        await self.go_on()

    async def work(self) -> None:
        """Three users, each with a sandbox that runs and is settled."""
        for name, secret in (("alice", ALICE), ("bob", BOB), ("carol", MALLORY)):
            self.people[name] = Person(wallet=await self.scene.user(name, secret, TOKEN))
        self.scene.start()
        base = await self.scene.ready()
        for person in self.people.values():
            made = await self.scene.created(self.scene.client(base, person.wallet))
            person.sandboxes.append(made)
        await self.settled(lambda _person: self.vouchers)
        self.step("three users run a sandbox each, and all have settled")

    async def take_copy(self) -> Path:
        """While the daemon works and is asked for things."""
        place = Path(tempfile.mkdtemp(prefix="backup-"))
        self.case.addCleanup(_remove, place)
        asking = self.ask("alice", lambda client: client.listed())
        copied = await deferToThread(self.copy.take, self.redis, place)
        await asking
        for person in self.people.values():
            person.copied = await self.count(person)
        self.step(f"a copy is made by {self.copy.name} of the running server")
        return copied

    async def more_work(self) -> None:
        """
        What the copy does not know: vouchers of all, another run of bob's sandbox, another
        sandbox of carol's.
        """
        bob, carol = self.people["bob"], self.people["carol"]
        await self.done("bob", lambda client: client.act("stop", bob.sandboxes[0]))
        await self.done("bob", lambda client: client.act("start", bob.sandboxes[0]))
        await self.done("carol", lambda client: self.ended(client, carol.sandboxes[0]))
        carol.sandboxes.append(await self.scene.created(self.scene.client(self.base, carol.wallet)))
        before = {id(p): p.copied for p in self.people.values()}
        await self.settled(lambda person: before[id(person)] + self.vouchers + 1)
        self.step("more was done and settled: bob's run ended and began, carol has another sandbox")

    async def crash(self) -> None:
        """C{kill -9} of everything at once; the chain and Daytona go on."""
        for person in self.people.values():
            person.books = await self.scene.records(person.wallet)
        assert self.scene.daemon is not None
        self.scene.daemon.shot()
        self.redis.kill()
        self.scene.upheavals.append(time.time())
        await self.scene.daemon.kill()
        # What it had sent is mined all the same.
        await self.scene.until("the pool to empty", self.pool_is_empty)
        for person in self.people.values():
            settled = await deferToThread(self.scene.settled, person.wallet)
            person.nonces = frozenset(int(event["args"]["nonce"]) for event in settled)
            person.crashed = len(person.nonces)
        self.step("daemon and Redis are killed; the sandboxes run on")

    async def reconcile(self) -> None:
        """Look, rebuild, look again."""
        for person in self.people.values():
            found = await self.scene.records(person.wallet)
            person.kept = frozenset(one.seal.nonce for one in found if one.seal is not None)
        first = await self.run_it(6)
        self.told = first["differences"]
        kinds = sorted({one["kind"] for one in self.told})
        self.step(f"reconcile tells of {len(self.told)} differences: {', '.join(kinds)}")
        document = await self.run_it(None, "--rebuild", "--yes")
        self.repaired = document["repaired"]
        left = {one["kind"] for one in document["differences"]}
        # What is the daemon's to do is left to it.
        self.case.assertLessEqual(left, {"not running", "batch"}, document)
        self.step(f"reconcile --rebuild makes {self.repaired} repairs")

    async def go_on(self) -> None:
        """The daemon goes on; then everybody leaves, and all is settled."""
        self.scene.start()
        await self.scene.ready()
        await self.settled(lambda person: person.crashed + 1)
        self.step("the daemon is started, and has settled for everybody since")
        for name, person in self.people.items():
            # carol's first one was ended before the crash.
            last = person.sandboxes[-1]
            await self.done(name, lambda client, one=last: client.delete(one))
        for person in self.people.values():
            await self.scene.until(
                "all to be settled", lambda p=person: self.scene.all_settled(p.wallet)
            )
        await self.scene.until(
            "all sessions to be closed", lambda: not self.scene.keys("billing:compute:*")
        )
        self.step("everybody has left, and all is settled")
        if self.whole:
            document = await self.run_it(0)
            self.case.assertEqual(document["differences"], [])
            self.step("reconcile finds no difference")

    # -- by hand -------------------------------------------------------------------------

    @property
    def base(self) -> str:
        """Where the daemon of the moment listens."""
        assert self.scene.daemon is not None
        return f"http://127.0.0.1:{self.scene.daemon.port()}"

    async def ask(self, name: str, what: Callable[[Any], Any]) -> tuple[int, Any]:
        """One request of somebody's."""
        client = self.scene.client(self.base, self.people[name].wallet)
        status, shown = await what(client)
        return int(status), shown

    def ended(self, client: Any, sandbox: str) -> Any:
        """
        Delete it, or only stop it: of one that is gone and has a session after all, the daemon
        makes sure for ten seconds.
        """
        return client.delete(sandbox) if self.whole else client.act("stop", sandbox)

    async def done(self, name: str, what: Callable[[Any], Any]) -> None:
        """Ask until it is 200: it may have to wait for its turn."""

        async def accepted() -> bool:
            status, _shown = await self.ask(name, what)
            return status == 200

        await self.scene.until(f"{name}'s wish to be granted", accepted)

    async def settled(self, wanted: Callable[[Person], int]) -> None:
        """Until everybody has so many vouchers on chain."""
        for person in self.people.values():
            number = wanted(person)

            async def enough(p: Person = person, n: int = number) -> bool:
                return await self.count(p) >= n

            await self.scene.until(f"{number} vouchers of {person.wallet.name}", enough)

    async def count(self, person: Person) -> int:
        """Vouchers of it that the chain has settled."""
        return len(await deferToThread(self.scene.settled, person.wallet))

    async def pool_is_empty(self) -> bool:
        """Whether nothing of the daemon waits for a block."""
        return not await self.scene.world.chain.run(self.scene.unmined)

    async def run_it(self, status: int | None, *options: str) -> Any:
        """
        C{sandbox-billing reconcile}.

        @param status: How it must end; None for either 0 or 6.
        """
        child = Child.start(
            self.case,
            [*COMMAND, *options],
            {**self.scene.environment(), "PYTHONPATH": str(TREE)},
        )
        ended = await child.end()
        self.case.assertIn(ended, (0, 6) if status is None else (status,), child.said()[-4000:])
        return json.loads(child.out)

    # -- what came of it -------------------------------------------------------------------

    async def result(self) -> tuple[list[str], list[str]]:
        """@return: The table's lines, and everything that is not as it must be."""
        rows, problems = [TITLES], []
        for name, person in self.people.items():
            account = await Account.of(self.scene, person.wallet, TOKEN)
            charges = explained(account, person.books)
            problems += [f"{name}: {why}" for why in self.wrong(account, charges)]
            self.case.assertTrue(list(self.wrong(account, _twice(charges))), "nobody sees it")
            ran = sum(self.scene.world.simulator.running_seconds(s) for s in person.sandboxes)
            paid = sum(c.units for c in charges.values() if c is not None)
            lost = forgotten(account)
            problems += [f"{name}: {why}" for why in self.untold(person, ran - paid)]
            rows.append(
                (
                    name,
                    f"{ran:.1f}",
                    str(paid),
                    f"{ran - paid:.1f}",
                    str(len(account.settled)),
                    str(person.copied),
                    str(person.crashed),
                    str(lost),
                    f"{sum(account.moved.values()) / TOKEN:.4f} 0G",
                )
            )
        widths = [max(len(row[i]) for row in rows) for i in range(len(TITLES))]
        lines = [
            "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in rows
        ]
        return [*self.steps, "", *lines], problems

    def wrong(self, account: Account, charges: dict[int, Charge | None]) -> Iterator[str]:
        """What breaks a law, by the chain, Daytona's log, and all books there ever were."""
        strange = [nonce for nonce, charge in charges.items() if charge is None]
        if strange:
            yield f"L5: nobody ever had a charge for the vouchers {strange}"
        paid = [charge for charge in charges.values() if charge is not None]
        if len({charge.id for charge in paid}) != len(paid):
            yield "L6: a charge was settled by two vouchers"
        try:
            l2_disjoint(paid)
            l5_rising(list(account.settled))
        except BrokenLaw as why:
            yield str(why)
        moved = sum(account.moved.values())
        if account.left != account.paid_in - moved:
            yield f"L1: paid in {account.paid_in}, {moved} moved, {account.left} is there"
        for sandbox in {charge.sandbox for charge in paid}:
            yield from self.seconds(sandbox, [c for c in paid if c.sandbox == sandbox])

    def seconds(self, sandbox: str, paid: Sequence[Charge]) -> Iterator[str]:
        """Every paid second ran; one fee was paid for each sandbox."""
        fees = [c for c in paid if not c.units]
        if [c.amount for c in fees] != [PRICES.create_fee]:
            yield f"B1: {sandbox} has the create fees {fees}"
        runs = self.scene.world.simulator.records[sandbox].shown.intervals
        for charge in paid:
            start, end = charge.period_start, charge.period_end
            if not cost(charge.units) <= charge.amount <= cost(charge.units) + 1 and charge.units:
                yield f"L2: {charge.id} asks {charge.amount} for {charge.units} s"
            if charge.units and not any(
                int(a) <= start and (b is None or end <= b + 1) for a, b in runs
            ):
                yield f"L3: {sandbox} was charged for [{start}, {end}) and ran in {runs}"

    def untold(self, person: Person, unpaid: float) -> Iterator[str]:
        """
        What the restored books lacked and C{reconcile} did not tell of.

        What it has not signed is either recognised (C{unsettled}), or C{forgotten} as a whole;
        only where some are is any time of a run given away.
        """
        mine = person.wallet.address.hex
        if any((one["kind"], one["subject"]) == ("forgotten", mine) for one in self.told):
            return
        told = {
            int(found[1])
            for one in self.told
            if one["kind"] == "unsettled" and (found := OF_NONCE.search(one["subject"]))
            if found[2] == mine
        }
        if silent := sorted(person.nonces - person.kept - told):
            yield f"the vouchers {silent} are not in the copy, and nobody said so"
        if unpaid > EDGES_SECONDS + 2 * self.scene.late_seconds():
            yield f"{unpaid:.1f} s of its run were never charged, and nobody said so"


def explained(account: Account, books: Sequence[ChargeRecord]) -> dict[int, Charge | None]:
    """
    What each settled voucher was for, by its usage hash.

    @param books: Those that went with the crash; the newer ones have their say first.
    """
    by_hash = {preimage_hash(r): r.charge for r in books}
    by_hash.update({preimage_hash(r): r.charge for r in account.records})
    return {n: by_hash.get(bytes(e["usageHash"])) for n, e in account.settled.items()}


def forgotten(account: Account) -> int:
    """How many settled vouchers only the lost books explain."""
    return sum(one is None for one in explained(account, ()).values())


def _twice(charges: dict[int, Charge | None]) -> dict[int, Charge | None]:
    """As if the last voucher were for what the first timed one was for."""
    timed = next(one for one in charges.values() if one is not None and one.units)
    return {**charges, max(charges): timed}


def _remove(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
