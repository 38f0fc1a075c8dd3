"""
C{bin/demo}: the main job, once, on the embedded world, with a table at the end.

Exit 0 only when the story came true and every law that can be checked from here
held.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from attrs import define, field
from treq.client import HTTPClient
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater, react
from twisted.internet.threads import deferToThread
from twisted.logger import Logger, globalLogBeginner
from twisted.web.client import Agent, HTTPConnectionPool

from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.adapters.redis.keyspace import RedisKeyspace
from sandbox_billing.adapters.system import RandomIds, SystemClock
from sandbox_billing.configuration import read_configuration
from sandbox_billing.daemon import Daemon
from sandbox_billing.devnet.scraping import disagreements, in_words, scrape
from sandbox_billing.devnet.story import NotTrue, Story, Tale
from sandbox_billing.devnet.wallet import connect
from sandbox_billing.devnet.world import World
from sandbox_billing.errors import BrokenLaw
from sandbox_billing.ledger.laws import (
    Books,
    l1_solvent,
    l2_disjoint,
    l5_rising,
    l6_books,
    standing,
)
from sandbox_billing.ledger.money import Neuron, format_0g
from sandbox_billing.logs import JSONLines


READY_SECONDS = 30

SCRAPE_SECONDS = 10
"""How old what the worker counts may be at the end."""

_log = Logger(__name__)


@define(eq=False)
class Screen:
    """Progress for whoever watches: seconds since the start and what happens."""

    out: IO[str]
    started: float = field(factory=time.monotonic)

    def say(self, text: str) -> None:
        """One line."""
        self.out.write(f"[{time.monotonic() - self.started:5.1f} s] {text}\n")
        self.out.flush()

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Columns as wide as they need to be; numbers to the right."""
        widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
        for row in [heads, ["-" * width for width in widths], *rows]:
            cells = [
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            self.out.write("  " + "  ".join(cells).rstrip() + "\n")
        self.out.write("\n")
        self.out.flush()


async def play(reactor: Any, screen: Screen, log: Path, *, allow_exec: bool = False) -> bool:
    """
    Build the world, play the story, print the books.

    @param allow_exec: Of its sandboxes, whose commands then run on this machine.
    @return: Whether everything came true.
    """
    world = World(reactor, allow_exec=allow_exec)
    pool: Any = HTTPConnectionPool(reactor, persistent=True)
    screen.say("starting Redis, a chain and a Daytona on 127.0.0.1")
    world.startService()  # type: ignore[no-untyped-call]
    daemon: Daemon | None = None
    keyspace: RedisKeyspace | None = None
    try:
        await world.up()
        screen.say(f"the contract stands at {world.deployment and world.deployment.proxy}")
        settings = read_configuration(world.environment(METRICS_ADDR="127.0.0.1:0"))
        wrong: list[str] = []
        daemon = Daemon(
            settings,
            reactor,
            endpoint="tcp:0:interface=127.0.0.1",
            volatile_allowed=True,
            fatal=wrong.append,
        )
        daemon.startService()
        await _ready(reactor, daemon, wrong)
        base = f"http://127.0.0.1:{daemon.address.port}"
        screen.say(f"the billing proxy listens at {base}; its log is {log}")
        keyspace = RedisKeyspace(
            host="127.0.0.1",
            port=world.redis.port,
            password=None,
            clock=reactor,
            wall=SystemClock(),
            allow_volatile=True,
        )
        await keyspace.connect()
        journal = Journal.over(
            keyspace,
            world.provider,
            SystemClock(),
            owner=RandomIds().reference(),
            interval_seconds=settings.voucher_interval,
        )
        http: Any = HTTPClient(Agent(reactor, pool=pool))
        story = Story(
            world=world,
            http=http,
            base=base,
            history=journal.history,
            clock=reactor,
            say=screen.say,
        )
        await story.play()
        came_true = await report(screen, world, story.tales)
        return await _scraped(reactor, screen, http, daemon, story.tales) and came_true
    finally:
        if keyspace is not None:
            await keyspace.close()
        if daemon is not None:
            await maybeDeferred(daemon.stopService)
        await pool.closeCachedConnections()
        await maybeDeferred(world.stopService)
        screen.say("everything that was started has ended")


async def _ready(reactor: Any, daemon: Daemon, wrong: list[str]) -> None:
    deadline = reactor.seconds() + READY_SECONDS
    while daemon.readiness.reasons():
        if wrong:
            raise NotTrue(wrong[0])
        if reactor.seconds() > deadline:
            raise NotTrue(f"the daemon is not ready: {dict(daemon.readiness.reasons())}")
        await deferLater(reactor, 0.1)


async def _scraped(
    reactor: Any, screen: Screen, http: Any, daemon: Daemon, tales: Sequence[Tale]
) -> bool:
    """What the daemon measured says what the table says, as soon as it was read again."""
    url = f"http://127.0.0.1:{daemon.monitor.address.port}/metrics"
    records = [record for tale in tales for record in tale.records]
    deadline = reactor.seconds() + SCRAPE_SECONDS
    while True:
        found = await scrape(http, url)
        wrong = disagreements(found, records)
        if not wrong:
            screen.say(f"scraped {in_words(found)}")
            return True
        if reactor.seconds() > deadline:
            screen.say(f"what is measured is not true: {'; '.join(wrong)}")
            return False
        await deferLater(reactor, 0.2)


async def report(screen: Screen, world: World, tales: Sequence[Tale]) -> bool:
    """The table, and whether each law held."""
    rows = []
    for tale in tales:
        records = tale.records
        seconds = sum(charge.units for charge in standing(records))
        rows.append(
            (
                tale.name,
                tale.ended,
                f"{tale.true_seconds:.1f}",
                str(seconds),
                str(len(records)),
                format_0g(l6_books(records).settled),
                format_0g(tale.paid_in),
                format_0g(tale.refunded),
                format_0g(tale.balance_after),
            )
        )
    screen.out.write("\n")
    screen.table(
        (
            "who",
            "how it ended",
            "ran, s",
            "charged, s",
            "vouchers",
            "settled",
            "paid in",
            "refunded",
            "left",
        ),
        rows,
    )
    chain = await deferToThread(_transactions, world)
    screen.table(("settlement transaction", "block", "vouchers", "gas", "gas per voucher"), chain)
    verdicts = await _verdicts(world, tales)
    screen.table(("law", "held"), [(text, "yes" if held else "NO") for text, held in verdicts])
    return all(held for _text, held in verdicts)


def _transactions(world: World) -> list[tuple[str, str, str, str, str]]:
    """Every settlement, from the chain's own logs."""
    assert world.deployment is not None
    w3 = connect(world.chain.url)
    contract = world.wallet("reader", world_key()).contract
    counts: dict[str, int] = {}
    for event in contract.events.VoucherSettled().get_logs(from_block=0):
        hashed = event["transactionHash"].to_0x_hex()
        counts[hashed] = counts.get(hashed, 0) + 1
    rows = []
    for hashed, count in counts.items():
        receipt: Any = w3.eth.get_transaction_receipt(hashed)  # type: ignore[arg-type]
        gas = receipt["gasUsed"]
        rows.append(
            (
                hashed[:18] + "…",
                str(receipt["blockNumber"]),
                str(count),
                f"{gas:,}",
                f"{gas // count:,}",
            )
        )
    return rows


def world_key() -> bytes:
    """A development key that only reads."""
    from sandbox_billing.devnet.world import OWNER

    return OWNER


async def _verdicts(world: World, tales: Sequence[Tale]) -> list[tuple[str, bool]]:
    records = [record for tale in tales for record in tale.records]
    verdicts: list[tuple[str, bool]] = []

    def law(text: str, check: Any) -> Any:
        try:
            found = check()
        except BrokenLaw as why:
            verdicts.append((f"{text} ({why})", False))
            return None
        verdicts.append((text, True))
        return found

    native, earned, owed = await deferToThread(_contract_books, world, tales)
    law("L1  the contract holds what it owes", lambda: l1_solvent(native, owed))
    law("L2  no second is charged twice", lambda: l2_disjoint(standing(records)))
    for tale in tales:
        sealed = [r.seal.nonce for r in tale.records if r.seal is not None]
        law(f"L5  {tale.name}'s nonces rise", lambda s=sealed: l5_rising(sorted(s)))
    books: Books | None = law(
        "L6  charged = settled + pending + parked + debt + dead", lambda: l6_books(records)
    )
    if books is not None:
        verdicts.append(
            (
                "    and the chain's earnings equal what is booked as settled",
                books.settled == earned,
            )
        )
    for tale in tales:
        charged = sum(charge.units for charge in standing(tale.records))
        text = f"L3  {tale.name} was charged for no second that did not run"
        verdicts.append((text, charged <= tale.true_seconds + 1))
        settled = l6_books(tale.records).settled
        verdicts.append(
            (
                f"L1  {tale.name}: settled + left + refunded = paid in",
                settled + tale.balance_after + tale.refunded == tale.paid_in,
            )
        )
    return verdicts


def _contract_books(world: World, tales: Sequence[Tale]) -> tuple[Neuron, int, list[Neuron]]:
    """What the contract holds, what the provider earned, and everything it owes."""
    reader = world.wallet("reader", world_key())
    provider = reader.w3.to_checksum_address(world.provider.hex)
    functions = reader.contract.functions
    native = reader.w3.eth.get_balance(reader.w3.to_checksum_address(reader.contract_address))
    earned = functions.getProviderEarnings(provider).call()
    owed = [earned, functions.providerStakes(provider).call()]
    for tale in tales:
        balance, pending, _at = tale.wallet.balances()
        owed += [balance, pending]
    return Neuron(native), earned, [Neuron(part) for part in owed]


def verdict(folder: Path, log: Path, *, good: bool) -> str:
    """
    The last line; the log stays for whoever has to find out what went wrong, only.

    @param folder: Of this run, with its log in it.
    """
    if not good:
        return f"something went wrong; read {log}"
    shutil.rmtree(folder)
    return "the story came true"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="The main job, once, on an embedded world.")
    parser.add_argument(
        "--allow-exec",
        action="store_true",
        help="DANGEROUS: run what is sent to its sandboxes on this machine, without isolation",
    )
    allow_exec = bool(parser.parse_args().allow_exec)
    folder = Path(tempfile.mkdtemp(prefix="sandbox-billing-demo-"))
    log = folder / "daemon.log"
    screen = Screen(sys.stdout)
    came_true: list[bool] = []

    def run(reactor: Any) -> Deferred[None]:
        async def story() -> None:
            try:
                came_true.append(await play(reactor, screen, log, allow_exec=allow_exec))
            except NotTrue as why:
                screen.say(f"the story did not come true: {why}")
            except Exception as why:
                _log.failure("the demo failed")
                screen.say(f"the demo failed: {type(why).__name__}: {why}")

        return Deferred.fromCoroutine(story())

    with log.open("w") as out:
        globalLogBeginner.beginLoggingTo([JSONLines(out)], redirectStandardIO=False)
        try:
            react(run)
        except SystemExit as ended:
            if ended.code:
                raise
    good = came_true == [True]
    print(verdict(folder, log, good=good))
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
