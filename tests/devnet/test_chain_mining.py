"""
Tests of the mining timer under a L{Clock}: C{sandbox_billing.devnet.chain.service}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.devnet.chain.service import MiningTimer

from .chain_probe import START, make_chain


def at_once(function: Callable[[], Any], /) -> Deferred[Any]:
    """
    Runs work in the caller's thread.
    """
    return maybeDeferred(function)


class MiningTimerTests(SynchronousTestCase):
    """
    A block every so often.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.chain = make_chain(self.clock)

    def test_a_block_each_second(self) -> None:
        """
        Nothing at once, then one block a second, with the wall clock's timestamps.
        """
        timer = MiningTimer(self.clock, at_once, self.chain, 1.0)
        timer.startService()
        self.assertEqual(self.chain.head.number, 0)
        self.clock.pump([1.0] * 5)
        self.assertEqual(
            [b.timestamp - START for b in self.chain.index.blocks()], [0, 1, 2, 3, 4, 5]
        )
        self.successResultOf(timer.stopService())
        self.clock.advance(10)
        self.assertEqual(self.chain.head.number, 5)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_survives_a_failing_turn(self) -> None:
        """
        A turn that fails is logged, and the next one mines.
        """
        turns: list[int] = []

        def failing_once(function: Callable[[], Any], /) -> Deferred[Any]:
            turns.append(1)
            if len(turns) == 1:
                return maybeDeferred(lambda: 1 // 0)
            return maybeDeferred(function)

        timer = MiningTimer(self.clock, failing_once, self.chain, 1.0)
        timer.startService()
        self.clock.pump([1.0] * 3)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.chain.head.number, 2)
        self.successResultOf(timer.stopService())

    def test_stop_waits_for_the_turn(self) -> None:
        """
        Stopped in the middle of a turn, the timer says so only when the turn has ended.
        """
        turn: Deferred[None] = Deferred()
        timer = MiningTimer(self.clock, lambda function: turn, self.chain, 1.0)
        timer.startService()
        self.clock.advance(1)
        stopped = timer.stopService()
        self.assertNoResult(stopped)
        turn.callback(None)
        self.successResultOf(stopped)

    def test_paused_and_resumed(self) -> None:
        """
        The timer leaves a paused chain alone and goes on when it is resumed.
        """
        timer = MiningTimer(self.clock, at_once, self.chain, 1.0)
        timer.startService()
        self.chain.paused = True
        self.clock.pump([1.0] * 3)
        self.assertEqual(self.chain.head.number, 0)
        self.chain.paused = False
        self.clock.advance(1)
        self.assertEqual(self.chain.head.number, 1)
        self.successResultOf(timer.stopService())

    def test_stop_twice(self) -> None:
        """
        A timer that is not running stops at once.
        """
        self.successResultOf(MiningTimer(self.clock, at_once, self.chain, 1.0).stopService())
