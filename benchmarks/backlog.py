"""
What it takes to drain the charges that piled up while the chain was out.

A thousand sessions of a thousand wallets, a hundred intervals each, wait on a real Redis when
the first block comes again.  The daemon's own turns (watcher, merger, settler) then run until
nothing is owed: once without the merger, once with it.

The chain is the memory chain, which takes what it is sent at once, so that the time is ours
alone (what it needs itself is left out); gas is reckoned from the figures that
C{benchmarks.gas} measures on an EVM, with one signature for a batch.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from benchmarks.charges import SetClock, settings
from benchmarks.gas import BATCH, MANY, ONE, committed
from benchmarks.report import Figure, asked_count, table
from sandbox_billing.adapters.memory.blocks import MemoryBlocks
from sandbox_billing.adapters.memory.chain import MemoryChain
from sandbox_billing.adapters.memory.contract import LOCK_SECONDS, Contract
from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.adapters.redis.keyspace import RedisKeyspace
from sandbox_billing.adapters.system import RandomIds
from sandbox_billing.applied import policy_of
from sandbox_billing.devnet.redis import RedisServer, ServerOptions, free_port
from sandbox_billing.ledger.identity import Address, Reference, SandboxId
from sandbox_billing.ledger.laws import l2_disjoint, l6_books, standing
from sandbox_billing.ledger.metering import Session, due_at, tick
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.ledger.resources import Resources
from sandbox_billing.services._supervise import gather
from sandbox_billing.services.policy import Policy
from sandbox_billing.signing.eip712 import EIP712Domain
from sandbox_billing.signing.key import SigningKey
from sandbox_billing.wiring import Parts, Work, make_work


SESSIONS = 1_000
INTERVALS = 100

INTERVAL_SECONDS = 60
PROVIDER = Address("0x" + "ab" * 20)
DOMAIN = EIP712Domain(16602, Address("0x" + "cd" * 20))
# A well-known development key; it never guards real money.
SIGNER = SigningKey.from_bytes(b"\x11" * 32)
PRICES = Prices(per_cpu_per_minute=Neuron(6 * 10**15), per_memory_gib_per_minute=Neuron(10**15))
RATE = NeuronPerMinute(7 * 10**15)
AT_ONCE = 50
"""Sessions that are charged at the same time, to make the backlog."""


@frozen(kw_only=True)
class Drained:
    """
    @ivar seconds: Of our own work.
    @ivar blocks: That passed, one a second.
    @ivar vouchers: That the contract settled.
    @ivar transactions: That it took.
    @ivar gas: Reckoned; see L{gas_of}.
    """

    seconds: float
    blocks: int
    vouchers: int
    transactions: int
    gas: int


def gas_of(vouchers: int, wallets: int) -> int:
    """
    A transaction with one signature for all its vouchers: for the transaction, for each wallet,
    for each voucher; between the sizes that were measured it is a straight line.
    """
    known = {(one.wallets, one.size): one.gas for one in committed() if one.path == BATCH}
    voucher = (known[ONE, 50] - known[ONE, 10]) / 40
    wallet = (known[MANY, 50] - known[MANY, 10]) / 40 - voucher
    base = known[ONE, 50] - 50 * voucher - wallet
    return round(base + wallets * wallet + vouchers * voucher)


class _NoDaytona:
    """Nobody asks it anything here."""

    snapshots: Any = None


class Outage:
    """A provider with wallets whose sandboxes ran on while the chain was out."""

    def __init__(self, keyspace: RedisKeyspace, clock: SetClock, sessions: int) -> None:
        """@param sessions: Each of a wallet of its own."""
        self.clock = clock
        self.wallets = [Address(f"0x{number + 1:040x}") for number in range(sessions)]
        self.net = MemoryBlocks(DOMAIN, clock.now)
        self.net.purses[SIGNER.address] = 10**24
        self.journal = Journal.over(
            keyspace,
            PROVIDER,
            clock,
            interval_seconds=INTERVAL_SECONDS,
            # In real time, in which all this takes minutes.
            lease_seconds=3_600,
        )
        self.policy: Policy = policy_of(settings(INTERVAL_SECONDS), PROVIDER, LOCK_SECONDS)
        self.work: Work = make_work(
            Parts(
                signer=SIGNER,
                journal=self.journal,
                chain=MemoryChain(
                    net=self.net, provider=PROVIDER, sender=SIGNER.address, wall=clock
                ),
                runtime=_NoDaytona(),  # type: ignore[arg-type]
                domain=DOMAIN,
                ids=RandomIds(),
                clock=None,  # type: ignore[arg-type]
                wall=clock,
                policy=self.policy,
            )
        )

    async def begin(self) -> None:
        """Everybody has funds, has acknowledged, and runs a sandbox."""
        if not await self.journal.lease.acquire():
            raise RuntimeError("somebody else has the lease of a fresh server")
        self.net.act(lambda c: c.register(PROVIDER, SIGNER.address, PRICES, 1, "https://p.test"))
        for wallet in self.wallets:
            self.net.call(lambda c, wallet=wallet: _fund(c, wallet))
        self._block(3)
        for wallet in self.wallets:
            await self.journal.meter.adopt(session_of(wallet, self.clock.now()), None)
        await self.work.watcher.turn()
        for first in range(0, len(self.wallets), AT_ONCE):
            some = self.wallets[first : first + AT_ONCE]
            await gather(*(self._mirror(wallet) for wallet in some))

    async def _mirror(self, wallet: Address) -> None:
        mirror = await self.journal.doors.mirror()
        assert mirror is not None
        (account,) = await MemoryChain(
            net=self.net, provider=PROVIDER, sender=SIGNER.address, wall=self.clock
        ).accounts([wallet], mirror.value.block)
        await self.journal.doors.add_account(mirror, account)

    async def pile_up(self, intervals: int) -> None:
        """So much time passes, and is charged; no block comes."""
        self.clock.moment += intervals * INTERVAL_SECONDS
        now = self.clock.now()
        sessions = await self.journal.meter.sessions()
        await self.journal.meter.seen({one.value.sandbox: now for one in sessions})
        for first in range(0, len(sessions), AT_ONCE):
            some = sessions[first : first + AT_ONCE]
            await gather(*(self._charge(session, now) for session in some))
        found = len(await self.journal.history.pending())
        if found != len(self.wallets) * intervals:
            raise RuntimeError(f"{found} charges wait instead of {len(self.wallets) * intervals}")

    async def _charge(self, session: Any, now: UnixSeconds) -> None:
        """As the generator does, one interval after the other."""
        due = due_at(session.value, INTERVAL_SECONDS)
        while step := tick(
            session.value,
            seen_at=now,
            # When it was charged: the chain was out, not the daemon.
            now=min(due, now),
            interval_seconds=INTERVAL_SECONDS,
        ):
            due = due_at(step.session, INTERVAL_SECONDS)
            session = await self.journal.meter.charge(session, step)

    async def drain(self, *, merging: bool) -> Drained:
        """Blocks come again, one a second, until nothing is owed."""
        seconds = 0.0
        first = len(self.net.blocks)
        while (await self.journal.backlog.claims(0, 1)).listed:
            self.clock.moment += 1
            self._block()
            began = time.perf_counter()
            await self.work.watcher.turn()
            if merging:
                await self.work.merger.turn()
            await self.work.settler.turn()
            seconds += time.perf_counter() - began
        settled: dict[str, list[Address]] = {}
        for block in self.net.blocks[first:]:
            for log in block.logs:
                if log.event.name == "VoucherSettled" and log.event.user is not None:
                    settled.setdefault(log.transaction, []).append(log.event.user)
        return Drained(
            seconds=seconds,
            blocks=len(self.net.blocks) - first,
            vouchers=sum(map(len, settled.values())),
            transactions=len(settled),
            gas=sum(gas_of(len(users), len(set(users))) for users in settled.values()),
        )

    async def check(self, intervals: int) -> None:
        """@raise RuntimeError: Not everything was paid, or more."""
        records = [r for w in self.wallets for r in await self.journal.history.charges(w)]
        l2_disjoint(standing(records))
        due = len(self.wallets) * RATE * INTERVAL_SECONDS * intervals // 60
        earned = self.net.head.state.earnings.get(PROVIDER, 0)
        if not l6_books(records).settled == earned == due:
            raise RuntimeError(f"{due} were due, {l6_books(records)} and {earned} earned")

    def _block(self, count: int = 1) -> None:
        self.net.mine(count)


def _fund(contract: Contract, wallet: Address) -> None:
    contract.deposit(wallet, PROVIDER, 10**21)
    contract.acknowledge(wallet, PROVIDER, True)


def session_of(wallet: Address, now: UnixSeconds) -> Session:
    """A sandbox that was just seen running."""
    number = int(wallet.hex, 16)
    return Session(
        sandbox=SandboxId(f"sb-{number:06d}"),
        owner=wallet,
        provider=PROVIDER,
        reference=Reference(f"ref-{number}"),
        resources=Resources(),
        rate=RATE,
        signer_version=1,
        opened_at=now,
        started_at=now,
        charged_until=now,
        changed_at=now,
        hold=Neuron(10**18),
    )


async def drained(reactor: Any, sessions: int, intervals: int, *, merging: bool) -> Drained:
    """One outage on a server of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-redis-") as folder:
        server = RedisServer(ServerOptions(directory=Path(folder), port=free_port()))
        server.start()
        clock = SetClock()
        keyspace = RedisKeyspace(host="127.0.0.1", port=server.port, clock=reactor, wall=clock)
        try:
            await keyspace.connect()
            outage = Outage(keyspace, clock, sessions)
            await outage.begin()
            await outage.pile_up(intervals)
            found = await outage.drain(merging=merging)
            await outage.check(intervals)
            return found
        finally:
            await keyspace.close()
            server.stop()


async def measure(reactor: Any, sessions: int, intervals: int = INTERVALS) -> list[Figure]:
    """
    @param sessions: Each with C{intervals} charges.
    """
    apart = await drained(reactor, sessions, intervals, merging=False)
    together = await drained(reactor, sessions, intervals, merging=True)
    figures = []
    for what, unit in (
        ("vouchers", ""),
        ("transactions", ""),
        ("gas", ""),
        ("blocks", ""),
        ("seconds", "s"),
    ):
        baseline = Figure(
            what=f"{what}, each charge a voucher", value=getattr(apart, what), unit=unit
        )
        figures.append(baseline)
        figures.append(
            Figure(
                what=f"{what}, merged", value=getattr(together, what), unit=unit, baseline=baseline
            )
        )
    return figures


def main() -> None:
    """The command."""
    sessions = asked_count("backlog", SESSIONS, f"sessions with {INTERVALS} charges each")

    def run(reactor: Any) -> Deferred[None]:
        async def bench() -> None:
            print(table(await measure(reactor, sessions)))

        return Deferred.fromCoroutine(bench())

    react(run)


if __name__ == "__main__":
    main()
