"""The benchmarks run, on tiny counts; how fast is nobody's test."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.resource import NoResource
from twisted.web.server import Site

from benchmarks import backlog, charges, deadman, gas, proxy, streaming
from benchmarks.load import Surprise, send_all
from benchmarks.report import Figure, table


class ReportTests(SynchronousTestCase):
    """What is printed."""

    def test_table(self) -> None:
        """A figure stands beside its ratio to the baseline of the same run."""
        plain = Figure(what="plain", value=2_000, unit="/s")
        ours = Figure(what="ours", value=500, unit="/s", baseline=plain)
        self.assertEqual(
            table([plain, ours]),
            "| figure | value | ratio to its baseline |\n"
            "|---|---:|---|\n"
            "| plain | 2,000 /s | baseline |\n"
            "| ours | 500 /s | 0.25 × plain |",
        )


class GasTests(SynchronousTestCase):
    """C{benchmarks.gas}; its figures are L{tests.evm.test_gas}'s."""

    def test_runs(self) -> None:
        """Vouchers that share a transaction cost less each; gas is not time and may be compared."""
        found = gas.measure([1, 3])
        self.assertEqual(8, len(found))
        for alone, shared in zip(found[::2], found[1::2], strict=True):
            self.assertEqual((1, 3), (alone.size, shared.size))
            self.assertGreater(alone.gas, 21_000)
            self.assertLess(alone.gas, shared.gas)
            self.assertLess(shared.per_voucher, alone.per_voucher)

    def test_reckoned(self) -> None:
        """What is reckoned of sizes that were not measured is right for those that were."""
        for one in gas.committed():
            if one.path == gas.BATCH and one.size in (10, 50):
                wallets = 1 if one.wallets == gas.ONE else one.size
                found = backlog.gas_of(one.size, wallets)
                self.assertLess(abs(found - one.gas), one.gas / 100, one)

    def test_table(self) -> None:
        """Gas is divided by the vouchers; a ratio stands where the deployed contract is known."""
        known = gas.Measured(path=gas.BATCH, wallets=gas.ONE, size=50, gas=450_100)
        unknown = gas.Measured(path=gas.VOUCHERS, wallets=gas.MANY, size=10, gas=200_000)
        self.assertEqual(
            gas.table([known, unknown]).splitlines()[2:],
            [
                "| `settleBatch` | one user | 50 | 450,100 | 9,002 | 50% |",
                "| `settleFeesWithTEE` | different users | 10 | 200,000 | 20,000 |  |",
            ],
        )


class SpeedTests(TestCase):
    """The two that measure time."""

    timeout = 300

    async def test_charges(self) -> None:
        """Every session of every round is charged, on a real Redis."""
        figures = await charges.measure(reactor, 3, rounds=2)
        self.assertEqual(
            [one.what for one in figures],
            ["plain SET", "empty fact", "charges generated", "charges generated"],
        )

    async def test_streaming(self) -> None:
        """64 MiB up and down leave the daemon's memory as it was: nothing is collected."""
        before, after, *rates = await streaming.measure(reactor, 64)
        self.assertLess(after.value - before.value, 24)
        self.assertEqual(len(rates), 4)

    async def test_deadman(self) -> None:
        """In two periods each sandbox is touched twice, beside sweeps."""
        period = deadman.DEADMAN_MINUTES * 60 // 3 // deadman.SWEEP_SECONDS
        spent = await deadman.measure(reactor, 3, turns=2 * period)
        self.assertEqual((sum(spent.touches), max(spent.touches), spent.pages), (6, 3, 1))
        self.assertEqual(len(deadman.figures(3, spent)), 5)

    async def test_backlog(self) -> None:
        """What piled up is paid to the neuron either way; merged it takes fewer vouchers."""
        figures = {one.what: one.value for one in await backlog.measure(reactor, 2, intervals=60)}
        self.assertEqual(figures["vouchers, each charge a voucher"], 120)
        self.assertEqual(figures["vouchers, merged"], 2)
        self.assertLess(figures["gas, merged"], figures["gas, each charge a voucher"])

    async def test_proxy(self) -> None:
        """Signed requests go through a daemon, and others through the bare forwarder."""
        figures = await proxy.measure(reactor, 4, connections=2)
        self.assertEqual(
            [one.what for one in figures[:3]],
            ["simulator, directly", "bare forward", "authenticated, proxied GET"],
        )
        self.assertEqual("in a web process", figures[-1].baseline.what)

    async def test_refusals_are_no_figure(self) -> None:
        """A server that answers anything but 200 gives no rate."""
        anything: Any = reactor
        port = anything.listenTCP(0, Site(NoResource()), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        asked = [proxy.request("/", {})]
        try:
            await send_all(reactor, port.getHost().port, asked, 1)
        except Surprise as why:
            self.assertIn("404", str(why))
        else:
            self.fail("404s were counted")
