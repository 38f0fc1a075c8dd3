"""
Known failures put back into the daemon, in this process, and what must notice them.

A defect is a L{Patch} or several; the ordinary tests that should notice run on a result of
their own while it is there.  Nothing is edited, and nothing of it is left behind.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, wraps
from importlib import import_module
from inspect import iscoroutinefunction
from typing import Any, TypeAlias
from warnings import catch_warnings, simplefilter

from attrs import define, frozen
from twisted.trial.reporter import TestResult
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BrokenLaw
from tests.simulation.clock import Life
from tests.simulation.explore import finish, is_open
from tests.simulation.faults import Fault, FaultKind, Spot
from tests.simulation.scenarios import BY_NAME
from tests.simulation.world import World


BROKEN_DOWN = (TypeError, AttributeError, NameError, ImportError, LookupError)
"""What a patch that no longer fits ends with: it proves nothing."""

_BROKEN_DOWN = re.compile(
    r"\b(TypeError|AttributeError|NameError|UnboundLocalError|ImportError|KeyError|IndexError)\b"
)


@frozen
class Patch:
    """
    @ivar target: Dotted: a function, method or class, where it is looked up.
    @ivar make: Given what stands there, returns what takes its place: a function or a
        mutated subclass.
    """

    target: str
    make: Callable[[Any], Callable[..., Any]]

    def place(self) -> tuple[Any, str]:
        """
        Whose attribute it is, and its name.

        @raise AssertionError: It is not there: the code moved on, and the trap must.
        """
        parts = self.target.split(".")
        for length in range(len(parts) - 1, 0, -1):
            try:
                owner: Any = import_module(".".join(parts[:length]))
            except ModuleNotFoundError:
                continue
            for part in parts[length:-1]:
                owner = vars(owner).get(part)
                assert owner is not None, f"there is no {part} in {self.target}"
            assert callable(vars(owner).get(parts[-1])), f"there is no {self.target}"
            return owner, parts[-1]
        raise AssertionError(f"there is no module of {self.target}")


@define
class Standing:
    """
    A patch in its place.

    @ivar calls: How often the defect was run into.
    """

    patch: Patch
    calls: int = 0

    def put_in(self, case: SynchronousTestCase) -> None:
        """Until the case ends."""
        owner, name = self.patch.place()
        original = vars(owner)[name]
        made = self.patch.make(original)
        if isinstance(made, type):
            assert issubclass(made, original), f"{made} is no kind of {original}"
        if iscoroutinefunction(original):
            # Whoever asks is told the same of both.
            @wraps(original)
            async def counted(*args: Any, **kwargs: Any) -> Any:
                self.calls += 1
                return await made(*args, **kwargs)
        else:

            @wraps(original)
            def counted(*args: Any, **kwargs: Any) -> Any:
                self.calls += 1
                return made(*args, **kwargs)

        case.patch(owner, name, counted)


Patches: TypeAlias = "Patch | Sequence[Patch]"


@frozen
class Told:
    """
    What came of a test or a story.

    @ivar problems: What it found: assertions that failed, laws that are broken.
    @ivar broke_down: What a patch ends with that no longer fits.
    @ivar others: Other errors, which prove nothing by themselves.
    """

    problems: tuple[str, ...] = ()
    broke_down: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


@frozen
class Death:
    """
    A golden story, lived once with a death in it.

    @ivar scenario: Its name.
    @ivar kind: How the daemon dies.
    @ivar calls: Calls to ports, C{IMeter.charge}, met in this order: it dies at the last.
    @ivar amount: As a L{Fault} has it.
    """

    scenario: str
    kind: FaultKind | None = None
    calls: tuple[str, ...] = ()
    amount: float = 0

    def __str__(self) -> str:
        story = f"tests.simulation: {self.scenario}"
        if self.kind is None:
            return story
        ways = {
            FaultKind.CRASH_BEFORE: "dying before",
            FaultKind.CRASH_AFTER: "dying after",
            FaultKind.ROLLBACK: "losing power after",
            FaultKind.PAUSE: f"standing still for {self.amount:.0f} s before",
        }
        return f"{story}, {ways[self.kind]} {', then '.join(self.calls)}"

    def run(self) -> Told:
        """Live it."""
        scenario = BY_NAME[self.scenario]
        world, ahead = World(timings=scenario.timings()), list(self.calls)

        def decide(spot: Spot, number: int, life: Life) -> Fault | None:
            if not ahead or spot.name != ahead[0]:
                return None
            del ahead[0]
            return None if ahead or self.kind is None else Fault(self.kind, self.amount)

        world.board.decide = decide
        found = [one for one in finish(world, scenario).problems if not is_open(one)]
        assert not ahead, f"{self}: {ahead} was never called"
        return Told(
            tuple(one for one in found if not _BROKEN_DOWN.search(one)),
            tuple(one for one in found if _BROKEN_DOWN.search(one)),
        )


def _run_test(name: str) -> Told:
    """Run one test method, on a result of its own."""
    module, group, method = name.rsplit(".", 2)
    case = getattr(import_module(module), group)(method)
    result = TestResult()
    case.run(result)
    assert result.testsRun == 1 and not result.skips, f"{name} did not run"
    problems, broke_down, others = [], [], []
    for _, failure in (*result.failures, *result.errors):
        told = f"{failure.type.__name__}: {failure.getErrorMessage()}"
        if failure.check(AssertionError, BrokenLaw):
            problems.append(told)
        elif failure.check(*BROKEN_DOWN):
            broke_down.append(told)
        else:
            others.append(told)
    return Told(tuple(problems), tuple(broke_down), tuple(others))


Notice: TypeAlias = "str | Death"


def run(notice: Notice) -> Told:
    """What comes of it now."""
    return notice.run() if isinstance(notice, Death) else _run_test(notice)


@cache
def untouched(notice: Notice) -> Told:
    """What comes of it while nothing is put back: once is enough."""
    return run(notice)


class TrapCase(SynchronousTestCase):
    """Its methods return patches and are wrapped by L{noticed_by}."""

    def assert_noticed(self, patches: Patches, notices: Sequence[Notice]) -> None:
        """With the defect, each of these finds something; without it, none does."""
        for notice in notices:
            self.assertEqual(Told(), untouched(notice), f"{notice} without the defect")
        standing = [Standing(each) for each in _several(patches)]
        for each in standing:
            each.put_in(self)
        with catch_warnings():
            # Red tests leave work behind that nobody awaits any more.
            simplefilter("ignore", RuntimeWarning)
            found = [(notice, run(notice)) for notice in notices]
            gc.collect()
        # What they left half done is told of when it is collected.
        self.flushLoggedErrors()
        for notice, told in found:
            self.assertEqual((), told.broke_down, str(notice))
            self.assertNotEqual((), told.problems, f"{notice} did not notice: {told.others}")
        idle = [each.patch.target for each in standing if not each.calls]
        self.assertEqual([], idle, "replaced and never called")


def _several(patches: Patches) -> Sequence[Patch]:
    return [patches] if isinstance(patches, Patch) else patches


def noticed_by(
    *notices: Notice,
) -> Callable[[Callable[[Any], Patches]], Callable[[TrapCase], None]]:
    """
    Make a trap of a method that returns the patches of a defect, and says in its docstring
    what the defect is.

    @param notices: Dotted names of test methods, and stories.
    """

    def decorate(defect: Callable[[Any], Patches]) -> Callable[[TrapCase], None]:
        @wraps(defect)
        def trap(case: TrapCase) -> None:
            case.assert_noticed(defect(case), notices)

        trap.notices = notices  # type: ignore[attr-defined]
        return trap

    return decorate


def traps_of(group: type[TrapCase]) -> Iterator[tuple[str, Sequence[Notice]]]:
    """What each trap of a class puts back, and what notices it, for the documents."""
    for method in vars(group).values():
        notices = getattr(method, "notices", None)
        if notices is not None:
            yield " ".join((method.__doc__ or "").split()), notices
