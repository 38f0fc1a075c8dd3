"""Tests of C{sandbox_billing.services.resumer}, and of what is remembered to be resumed."""

from __future__ import annotations

import contextlib
from typing import Any

from attrs import define, evolve, field, frozen
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from sandbox_billing.adapters.daytona.runtime import DaytonaRuntime
from sandbox_billing.adapters.redis.commit import Write
from sandbox_billing.devnet.daytona import Fault, FaultKind
from sandbox_billing.errors import NoAnswerInTime, Transient
from sandbox_billing.interfaces import (
    CannotPay,
    DaytonaRefused,
    NotReady,
    Resumed,
    Sandbox,
    TooSlow,
)
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.notice import Kind
from sandbox_billing.ledger.token import Allowance, TokenId
from sandbox_billing.services._periodic import Periodic
from sandbox_billing.services._supervise import Supervisor
from sandbox_billing.services.resumer import NOT_COUNTED, NOT_TRIED, TURN_SECONDS, AutoResume
from sandbox_billing.wiring_money import make_resumer
from tests.fixtures import ALICE, BOB, FEE, HOLD, INTERVAL, PER_SECOND, SWEEP, World
from tests.ports.journal import meddle
from tests.services.test_limits import LimitCase


LITTLE = FEE + 200 * PER_SECOND
TOKEN = TokenId("ab" * 16)


@frozen
class Meanwhile:
    """
    Starts, and then something else happens.

    @ivar then: Called after each start.
    """

    inner: Any
    then: Any

    async def start(
        self, owner: Address, sandbox: SandboxId, *, allowance: Allowance | None = None
    ) -> Any:
        """As L{sandbox_billing.interfaces.IIntake.start}."""
        shown = await self.inner.start(owner, sandbox, allowance=allowance)
        await self.then()
        return shown


@define
class SlowList:
    """
    Controls whose list of wallets takes its time.

    @ivar looks: Wallets that were begun with.
    """

    found: Deferred[list[Address]] = field(factory=Deferred)
    looks: list[Address] = field(factory=list)

    async def to_resume(self, now: UnixSeconds, limit: int) -> list[Address]:
        """As L{sandbox_billing.interfaces.IControls.to_resume}."""
        return await self.found

    async def resume_again(self, wallet: Address, at: UnixSeconds | None) -> None:
        """As L{sandbox_billing.interfaces.IControls.resume_again}; it never answers."""
        self.looks.append(wallet)
        await Deferred()


class ResumeCase(LimitCase):
    """A wallet that runs dry."""

    def setUp(self) -> None:
        self.world = World().start()

    def dry(self, count: int = 1, **settings: Any) -> list[SandboxId]:
        """Sandboxes that were stopped when the money had ended, whose debt is paid."""
        world = self.world
        world.fund(count * LITTLE)
        if settings:
            self.limit(**settings)
        made = [world.create() for _ in range(count)]
        for sandbox in made:
            self.stopped(sandbox)
        return made

    def waiting(self) -> list[SandboxId]:
        """What is remembered."""
        return [one.sandbox for one in self.world.now(self.world.eyes.controls.resumable(ALICE))]

    def resume(self) -> Resumed:
        """As the route does."""
        process = self.world.process
        return self.world.run(make_resumer(process.journal, process.intake).resume(ALICE))

    def lends(self, limit: Neuron) -> SandboxId:
        """A sandbox that was made with a token with a spend limit."""
        intake, allowance = self.world.process.intake, Allowance(TOKEN, limit)
        made = intake.create(ALICE, {}, auto_stop_minutes=None, allowance=allowance)
        sandbox: SandboxId = self.world.run(made).id
        return sandbox

    def starts(self) -> int:
        """How often Daytona was asked to start something."""
        return [call[0] for call in self.world.process.runtime.asked].count("start")

    def top_up(self, amount: int) -> None:
        """A deposit, once the mirror knows it and the wallet is let run again."""
        self.world.deposit(amount)
        self.world.advance(5)
        self.world.until(lambda: self.world.funds().blocked is None, 120)

    def runs(self, sandbox: SandboxId) -> bool:
        """Whether Daytona shows it running."""
        return self.world.state(sandbox) == "started"


class RememberedTests(ResumeCase):
    """What was stopped for want of money, by us."""

    def test_remembered(self) -> None:
        """What our order stopped is remembered, with the reason, in a new life, too."""
        one, other = self.dry(2)
        self.world.restart()
        self.assertEqual(set(self.waiting()), {one, other})
        found = self.world.now(self.world.eyes.controls.resumable(ALICE))
        self.assertEqual({each.reason for each in found}, {"insufficient_balance"})

    def test_limit(self) -> None:
        """What a limit stopped is remembered, too."""
        self.world.fund(10**9)
        sandbox = self.world.create()
        self.limit(per_day=Neuron(FEE))
        self.stopped(sandbox)
        self.assertEqual(self.waiting(), [sandbox])

    def test_its_owner_s_will(self) -> None:
        """What its owner stops, or deletes, before or after us, is not ours to start."""
        world = self.world
        one, other, third = self.dry(3)
        world.run(world.process.intake.delete(ALICE, one))
        self.fails(DaytonaRefused, world.process.intake.stop(ALICE, other))
        self.assertEqual(self.waiting(), [third])
        self.top_up(10**7)
        world.run(world.process.intake.start(ALICE, third))
        self.assertEqual(self.waiting(), [])
        world.run(world.process.intake.stop(ALICE, third))
        self.assertEqual(self.waiting(), [])

    def test_never_deleted(self) -> None:
        """Nothing of ours deletes a sandbox for want of money, however long it lasts."""
        world = self.world
        made = self.dry(2, auto_resume=True)
        world.advance(2000)
        self.assertEqual([world.state(sandbox) for sandbox in made], ["stopped", "stopped"])
        deletes = [call for call in world.process.runtime.asked if call[0] == "delete"]
        self.assertEqual(deletes, [])


class ResumeTests(ResumeCase):
    """With one call."""

    def test_all_of_them(self) -> None:
        """After a top-up one call starts them all; called again it starts nothing."""
        made = self.dry(2)
        self.top_up(10**7)
        done = self.resume()
        self.assertEqual((set(done.resumed), dict(done.failed)), (set(made), {}))
        self.world.advance(20)
        self.assertTrue(all(self.runs(sandbox) for sandbox in made))
        self.assertEqual(self.resume(), Resumed(resumed=(), failed={}))
        self.assertEqual(len(self.told(Kind.RESUMED)), 2)

    def test_without_money(self) -> None:
        """Before the top-up nothing starts, and it is said why."""
        made = self.dry()
        process = self.world.process
        resumer = make_resumer(process.journal, process.intake)
        self.assertIsInstance(self.fails(CannotPay, resumer.resume(ALICE)), CannotPay)
        self.assertEqual(self.waiting(), made)

    def test_what_fits(self) -> None:
        """With money for one, one is started and the other is told of."""
        made = self.dry(2)
        debt = self.world.funds().exposure.owed(self.world.wall.now())
        self.top_up(debt + HOLD + HOLD // 2)
        done = self.resume()
        self.assertEqual(len(done.resumed), 1)
        self.assertEqual({*done.resumed, *done.failed}, set(made))
        self.assertEqual(list(done.failed.values()), ["insufficient balance"])
        self.assertEqual(self.waiting(), list(done.failed))

    def test_gone(self) -> None:
        """What is gone is forgotten."""
        (sandbox,) = self.dry()
        self.top_up(10**7)
        self.world.run(self.world.runtime.delete(sandbox))
        self.world.advance(20)
        self.assertEqual(dict(self.resume().failed), {sandbox: "no such sandbox"})
        self.assertEqual(self.waiting(), [])

    def test_counts_as_a_start(self) -> None:
        """No more are resumed within an hour than may be started."""
        self.world = World(lifecycle_per_hour=1).start()
        self.dry(2)
        self.top_up(10**7)
        done = self.resume()
        self.assertEqual((len(done.resumed), len(done.failed)), (1, 1))
        self.assertIn("within an hour", next(iter(done.failed.values())))

    def test_stopped_meanwhile(self) -> None:
        """What its owner stops while another is being resumed is left as it is."""
        self.dry(2)
        self.top_up(10**7)
        first, second = self.waiting()
        process = self.world.process

        async def stop() -> None:
            with contextlib.suppress(DaytonaRefused):
                await process.intake.stop(ALICE, second)

        resumer = make_resumer(process.journal, process.intake)
        done = self.world.run(evolve(resumer, intake=Meanwhile(process.intake, stop)).resume(ALICE))
        self.assertEqual((done.resumed, dict(done.failed)), ((first,), {}))
        self.assertFalse(self.runs(second))

    def test_twice_at_once(self) -> None:
        """A second call while one is under way is told so, and starts nothing."""
        self.dry()
        self.top_up(10**7)
        process = self.world.process
        self.world.simulator.faults.add(Fault(kind=FaultKind.HANG, route="start", count=1))
        resumer = make_resumer(process.journal, process.intake)
        first = self.world.begin(resumer.resume(ALICE))
        self.assertIn("resumed already", str(self.fails(NotReady, resumer.resume(ALICE))))
        self.world.until(lambda: first.called, 400)
        self.assertEqual(self.starts(), 1)
        self.world.run(resumer.resume(ALICE))

    def test_told_to_stop(self) -> None:
        """A daemon that is told to stop starts no more; what is left is remembered."""
        made = self.dry(3)
        self.top_up(10**7)
        process = self.world.process
        resumer = make_resumer(process.journal, process.intake)
        stopped: list[Any] = []

        async def stop() -> None:
            stopped.append(resumer.supervisor.stopService())

        done = self.world.run(evolve(resumer, intake=Meanwhile(process.intake, stop)).resume(ALICE))
        self.assertEqual((len(stopped), self.starts(), len(done.resumed)), (1, 1, 1))
        self.assertEqual(set(done.failed.values()), {NOT_TRIED})
        self.assertEqual(set(self.waiting()), set(made) - set(done.resumed))
        self.world.restart()
        self.assertEqual(set(self.resume().resumed), set(done.failed))

    def test_asks_daytona_nothing(self) -> None:
        """Where not even the smallest would be let run, Daytona is asked of none."""
        self.dry(2)
        asked = len(self.world.process.runtime.asked)
        process = self.world.process
        self.fails(CannotPay, make_resumer(process.journal, process.intake).resume(ALICE))
        self.assertEqual(process.runtime.asked[asked:], [])

    def test_daytona_hangs(self) -> None:
        """A start that is not answered ends the round: the others wait for no second one."""
        made = self.dry(3)
        self.top_up(10**7)
        self.world.simulator.faults.add(Fault(kind=FaultKind.HANG, route="start", count=3))
        done = self.resume()
        self.assertEqual((done.resumed, set(done.failed), self.starts()), ((), set(made), 1))


class AutoTests(ResumeCase):
    """By itself."""

    def test_one_that_is_never_answered_for(self) -> None:
        """A sandbox that Daytona always fails for keeps none of the others waiting."""
        sandboxes = self.dry(3, auto_resume=True)
        first, second, *_ = self.waiting()
        asked, real = [], DaytonaRuntime.get

        async def get(runtime: DaytonaRuntime, sandbox: str) -> Sandbox | None:
            if sandbox in (first, second):
                asked.append(sandbox)
                raise Transient("answered 500")
            return await real(runtime, sandbox)

        self.patch(DaytonaRuntime, "get", get)
        self.top_up(10**7)
        (other,) = set(sandboxes) - {first, second}
        self.world.until(lambda: self.runs(other), 60)
        self.assertEqual([self.runs(first), self.runs(second)], [False, False])
        self.assertLess(len(asked), 30)
        self.patch(DaytonaRuntime, "get", real)
        self.world.until(lambda: self.runs(first) and self.runs(second), 60)

    def test_after_a_top_up(self) -> None:
        """Whoever wished so has it started again without a call; nobody else has."""
        for wished in (True, False):
            self.world = World().start()
            (sandbox,) = self.dry(auto_resume=wished)
            self.top_up(10**7)
            self.world.advance(60)
            self.assertEqual(self.runs(sandbox), wished)
            self.assertEqual(len(self.told(Kind.RESUMED)), int(wished))
            self.assertEqual(self.waiting(), [] if wished else [sandbox])

    def test_wished_later(self) -> None:
        """The wish may come after the top-up."""
        (sandbox,) = self.dry()
        self.top_up(10**7)
        self.world.advance(60)
        self.limit(auto_resume=True)
        self.world.until(lambda: self.runs(sandbox), 10)

    def test_not_in_circles(self) -> None:
        """With money for a little while it runs that while, once, and the money is not passed."""
        (sandbox,) = self.dry(auto_resume=True)
        debt = self.world.funds().exposure.owed(self.world.wall.now())
        self.top_up(debt + HOLD)
        self.world.until(lambda: self.runs(sandbox), 30)
        self.stopped(sandbox)
        self.world.advance(1000)
        self.assertEqual(len(self.told(Kind.RESUMED)), 1)
        self.assertEqual(self.waiting(), [sandbox])

    def away(self) -> SandboxId:
        """
        A sandbox that was stopped past us while no daemon was there, for longer than the money
        and the limit of its wallet would have lasted; Daytona's list is late when one is.
        """
        world = self.world
        sandbox = world.create()
        world.advance(30)
        world.kill()
        world.simulator.stop(world.simulator.records[sandbox])
        world.advance(3000)
        world.simulator.fail_next(502, route="list", count=2)
        world.restart()
        world.advance(5 * SWEEP)
        return sandbox

    def test_stopped_while_we_were_away(self) -> None:
        """What did not run any more when its money would have ended is nobody's to start."""
        self.world.fund(LITTLE)
        self.limit(auto_resume=True)
        sandbox = self.away()
        self.assertEqual((self.world.state(sandbox), self.waiting()), ("stopped", []))
        self.assertIsNone(self.world.funds().blocked)

    def test_stopped_within_its_limit(self) -> None:
        """Nor is it when a limit would have been reached."""
        self.world.fund(100 * LITTLE)
        self.limit(auto_resume=True, per_day=Neuron(LITTLE))
        sandbox = self.away()
        self.assertEqual((self.world.state(sandbox), self.waiting()), ("stopped", []))
        self.assertEqual(self.told(Kind.SPEND_LIMIT), [])

    def test_ended_by_itself_while_daytona_was_down(self) -> None:
        """What ended long before its money would have is nobody's to start, nor to call dry."""
        world = self.world
        world.fund(FEE + 1500 * PER_SECOND)
        self.limit(auto_resume=True)
        sandbox = world.create()
        world.advance(30)
        world.simulator.fail_next(502, count=None)
        world.simulator.stop(world.simulator.records[sandbox])
        world.until(lambda: world.order(sandbox) is not None, 2000)
        world.simulator.faults.clear()
        # The stopper may be the first to see it, or the sweep.
        world.until(lambda: world.quiet, 100)
        world.advance(100)
        self.assertEqual((world.state(sandbox), self.waiting()), ("stopped", []))
        self.assertIsNone(world.funds().blocked)
        self.assertEqual((self.starts(), self.told(Kind.RESUMED)), (0, []))

    def test_stopped_by_us_once_daytona_is_back(self) -> None:
        """What ran on all the while is stopped by our order, however old that is, and goes on."""
        world = self.world
        world.fund(FEE + 1500 * PER_SECOND)
        self.limit(auto_resume=True)
        sandbox = world.create()
        world.advance(30)
        world.simulator.fail_next(502, count=None)
        world.until(lambda: world.order(sandbox) is not None, 2000)
        world.simulator.faults.clear()
        self.stopped(sandbox)
        self.assertEqual(self.waiting(), [sandbox])

    def test_survives_restarts(self) -> None:
        """A daemon that comes after the one that stopped it starts it."""
        (sandbox,) = self.dry(auto_resume=True)
        self.world.kill()
        self.world.deposit(10**7)
        self.world.advance(30)
        self.world.restart()
        self.world.until(lambda: self.runs(sandbox), 120)
        self.world.advance(30)
        self.assertEqual(self.waiting(), [])

    def test_failure_is_told_once(self) -> None:
        """What cannot be started is told once, and tried again."""
        (sandbox,) = self.dry(auto_resume=True)
        self.world.simulator.faults.add(Fault(kind=FaultKind.STATUS, status=400, route="start"))
        self.top_up(10**7)
        self.world.until(lambda: bool(self.told(Kind.RESUME_FAILED)), 60)
        self.world.until(lambda: self.runs(sandbox), 400)
        self.assertEqual(len(self.told(Kind.RESUME_FAILED)), 1)

    def test_after_midnight(self) -> None:
        """What a day's limit stopped goes on the next day, and its limit holds there, too."""
        world = self.world
        world.fund(10**7)
        midnight = self.to_midnight(400)
        self.limit(per_day=Neuron(FEE + 2 * INTERVAL * PER_SECOND), auto_resume=True)
        sandbox = world.create()
        self.stopped(sandbox, 2 * INTERVAL)
        world.advance(midnight - world.wall.now() - 1)
        self.assertFalse(self.runs(sandbox))
        world.until(lambda: self.runs(sandbox), 30)
        self.stopped(sandbox, 1000)
        self.assertLessEqual(self.outlay().spent_today(), FEE + 2 * INTERVAL * PER_SECOND)

    def test_token_s_limit(self) -> None:
        """What a token's limit has stopped is not started beyond it: that is its owner's to do."""
        self.world.fund(10**7)
        self.limit(auto_resume=True)
        limit = Neuron(FEE + 200 * PER_SECOND)
        sandbox = self.lends(limit)
        self.stopped(sandbox)
        self.world.advance(600)
        self.assertLessEqual(self.charged(sandbox), limit)
        self.assertEqual(self.world.state(sandbox), "stopped")
        (told,) = self.told(Kind.RESUME_FAILED)
        self.assertIn("spend limit of this token", dict(told.facts)["why"])

    def test_under_its_token(self) -> None:
        """After a top-up it goes on under the limit that it was started with."""
        self.world.fund(LITTLE)
        self.limit(auto_resume=True)
        limit = Neuron(FEE + 600 * PER_SECOND)
        sandbox = self.lends(limit)
        self.stopped(sandbox)
        self.top_up(10**7)
        self.world.until(lambda: self.runs(sandbox), 100)
        self.stopped(sandbox, 900)
        self.world.advance(100)
        self.assertLessEqual(self.charged(sandbox), limit)

    def test_token_is_forgotten(self) -> None:
        """What its token has caused is kept for a day: after that its limit does not come back."""
        world = self.world
        world.fund(10**7)
        sandbox = self.lends(Neuron(FEE + 200 * PER_SECOND))
        self.stopped(sandbox)
        world.advance(60)
        charged, key = self.charged(sandbox), world.process.journal.store.keys.spending(TOKEN)
        world.run(meddle(world.keyspace, Write("DEL", key)))
        self.limit(auto_resume=True)
        world.advance(600)
        self.assertEqual((self.starts(), self.charged(sandbox)), (0, charged))
        (told,) = self.told(Kind.RESUME_FAILED)
        self.assertEqual(dict(told.facts)["why"], NOT_COUNTED)
        # Its owner may.
        self.assertEqual(self.resume().resumed, (sandbox,))

    def test_no_longer_wished(self) -> None:
        """Whoever takes the wish back while one is started has the next one left as it is."""
        made = self.dry(2)
        process = self.world.process
        resumer = process.work.resumer
        self.top_up(10**7)

        async def unwish() -> None:
            found = await self.controls.outlay(ALICE)
            await self.controls.change(found, evolve(found.outlay.controls, auto_resume=False))

        resumer.resumer = evolve(resumer.resumer, intake=Meanwhile(process.intake, unwish))
        self.limit(auto_resume=True)
        self.world.advance(30)
        self.assertEqual(sum(self.runs(sandbox) for sandbox in made), 1)
        self.assertEqual(self.told(Kind.RESUME_FAILED), [])

    def test_turn_of_a_worker_that_stops(self) -> None:
        """A turn that waits for its list when the work is stopped begins nothing with it."""
        asked = SlowList()
        resumer = self.world.process.work.resumer.resumer
        # One of its own: the process's is not stopped.
        resumer = evolve(resumer, supervisor=Supervisor())
        auto = AutoResume(
            resumer=resumer, controls=asked, doors=resumer.doors, wall=self.world.wall
        )
        work, clock = MultiService(), Clock()
        resumer.supervisor.setServiceParent(work)
        Periodic("resumer", auto.turn, TURN_SECONDS, clock).setServiceParent(work)
        work.startService()
        stopped = work.stopService()
        asked.found.callback([ALICE])
        self.successResultOf(stopped)
        self.assertEqual((resumer.supervisor.under_way, asked.looks), ({}, []))

    def test_holds_up_nobody(self) -> None:
        """While the starts of one wallet hang, another's is resumed."""
        world = self.world
        made = self.dry(2, auto_resume=True)
        world.fund(LITTLE, BOB)
        other = world.create(BOB)
        found = world.now(self.controls.outlay(BOB))
        world.run(self.controls.change(found, evolve(found.outlay.controls, auto_resume=True)))
        self.stopped(other)
        asked = self.starts()
        world.simulator.faults.add(Fault(kind=FaultKind.HANG, route="start", count=1))
        self.top_up(10**7)
        world.until(lambda: self.starts() > asked, 120)
        world.deposit(10**7, BOB)
        world.until(lambda: self.runs(other), 30)
        self.assertFalse(any(self.runs(sandbox) for sandbox in made))

    def test_passing_reasons(self) -> None:
        """
        A stop that is still under way is no failure: it is told to nobody, and what goes on goes
        on at once.
        """
        self.world.fund(10**7)
        self.limit(auto_resume=True, total=Neuron(FEE + 200 * PER_SECOND))
        sandbox = self.world.create()
        self.world.until(lambda: self.world.state(sandbox) == "stopped", 600)
        self.limit(total=Neuron(10**7))
        self.world.until(lambda: self.runs(sandbox), 60)
        self.assertEqual(self.told(Kind.RESUME_FAILED), [])

    def test_wished_to_run_after_all(self) -> None:
        """
        Who asks for a stop without an answer, or for an archive of what runs, and then for a
        start of what runs still, has it remembered when we stop it.
        """
        for ask, error in (("stop", TooSlow), ("archive", NoAnswerInTime)):
            self.world = world = World().start()
            world.fund(10**7)
            self.limit(auto_resume=True)
            sandbox = world.create()
            world.advance(30)
            world.simulator.faults.add(Fault(kind=FaultKind.HANG, route=ask, count=1))
            self.fails(error, getattr(world.process.intake, ask)(ALICE, sandbox))
            if ask == "stop":
                self.assertTrue(world.run(world.process.intake.start(ALICE, sandbox)).as_found)
            self.limit(total=Neuron(1))
            self.stopped(sandbox)
            self.assertEqual(self.waiting(), [sandbox])

    def test_unanswered_stop(self) -> None:
        """What its owner asked to stop, without an answer, is stopped by his wish: it stays so."""
        world = self.world
        world.fund(10**7)
        self.limit(auto_resume=True)
        sandbox = world.create()
        world.advance(30)
        faults = world.simulator.faults
        # Our stop hangs, and so does the owner's, which is carried out.
        faults.add(Fault(kind=FaultKind.HANG, route="stop", count=1))
        self.limit(total=Neuron(1))
        world.until(lambda: world.order(sandbox) is not None, 30)
        world.advance(2)
        faults.add(Fault(kind=FaultKind.HANG, route="stop", count=1, effect=True))
        self.fails(TooSlow, world.process.intake.stop(ALICE, sandbox))
        self.stopped(sandbox)
        self.assertEqual(self.waiting(), [])
        self.limit(total=Neuron(10**7))
        world.advance(60)
        self.assertFalse(self.runs(sandbox))
