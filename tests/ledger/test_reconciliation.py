"""Daytona's list against the sessions: each row of design.md §4.2 and §4.9, then any world."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.ledger.effects import (
    Adopt,
    AskById,
    Begin,
    Change,
    Close,
    DeleteLeftover,
    OpenUnderIntent,
    Refit,
    ReleaseIntent,
    Report,
)
from sandbox_billing.ledger.hold import RESIZE, Intent
from sandbox_billing.ledger.identity import Address, Reference, SandboxId
from sandbox_billing.ledger.metering import (
    KNOWN,
    NOT_RUNNING,
    NOT_YET,
    UNCHANGED,
    Session,
    begin,
)
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.ledger.reconciliation import (
    INTENT_GRACE_SECONDS,
    OWNER_LABEL,
    REFERENCE_LABEL,
    Row,
    Unread,
    World,
    plan,
    seen,
    unexplained,
)
from sandbox_billing.ledger.resources import Resources
from tests.ledger.test_metering import pending, running
from tests.strategies import worlds


NOW = UnixSeconds(10_000)
SANDBOX = SandboxId("sb-1")
OWNER = Address("0x" + "11" * 20)
STRANGER = Address("0x" + "99" * 20)
SIZE = Resources()
BIGGER = Resources(cpu=2, memory_gib=4)


def row(
    state: str = "started",
    *,
    desired: str | None = None,
    seen_at: int = NOW,
    owner: str | None = str(OWNER),
    reference: str | None = None,
) -> Row:
    """The sandbox as a sweep shows it."""
    labels = {OWNER_LABEL: owner, REFERENCE_LABEL: reference}
    return Row(
        sandbox=SANDBOX,
        state=state,
        desired_state=desired,
        labels={name: text for name, text in labels.items() if text is not None},
        resources=SIZE,
        seen_at=UnixSeconds(seen_at),
        answered_at=UnixSeconds(seen_at + 1),
    )


def intent(action: str = "create", *, age: int = 10) -> Intent:
    """An intent of the owner; a create does not know its sandbox."""
    return Intent(
        prices=Prices(),
        reference=Reference("ref-1"),
        action=action,
        owner=OWNER,
        provider=Address("0x" + "22" * 20),
        sandbox=None if action == "create" else SANDBOX,
        hold=Neuron(9),
        create_fee=Neuron(1),
        rate=NeuronPerMinute(60),
        signer_version=1,
        auto_stop_minutes=None,
        created_at=UnixSeconds(NOW - age),
    )


def world(
    *rows: Row,
    session: Session | None = None,
    intents: tuple[Intent, ...] = (),
    record: Address | None = None,
    missed: bool = False,
) -> World:
    """Everything else is as on a quiet day: the owner is a wallet of ours."""
    return World(
        rows=rows,
        sessions={} if session is None else {SANDBOX: session},
        intents=intents,
        owners={} if record is None else {SANDBOX: record},
        wallets=frozenset({OWNER}),
        missed=frozenset({Reference("ref-1")} if missed else ()),
        now=NOW,
    )


OLD = INTENT_GRACE_SECONDS + 1


class RowTests(SynchronousTestCase):
    """What a row says."""

    def test_states(self) -> None:
        """Every state is running, an end, or neither; neither means wait."""
        self.assertEqual((True, False), (row().running, row().ended))
        for state in NOT_RUNNING:
            self.assertEqual((False, True), (row(state).running, row(state).ended), state)
        for state in NOT_YET | UNCHANGED | {"of the future"}:
            self.assertEqual((False, False), (row(state).running, row(state).ended), state)

    def test_deletion_under_way(self) -> None:
        """Desired destroyed is an end, whatever the state."""
        for state in ("started", "creating", "resizing", "archived"):
            going = row(state, desired="destroyed")
            self.assertEqual((False, True), (going.running, going.ended), state)

    def test_restoring(self) -> None:
        """The array dialect shows a sandbox that is being restored as archived."""
        self.assertFalse(row("archived", desired="started").ended)
        self.assertTrue(row("archived", desired="archived").ended)
        self.assertTrue(row("stopped", desired="started").ended)

    def test_owner(self) -> None:
        """The label's wallet; none without one, and none if it is no address."""
        self.assertEqual(OWNER, row(owner=OWNER.hex.upper().replace("0X", "0x")).owner)
        self.assertIsNone(row(owner=None).owner)
        self.assertIsNone(row(owner="somebody").owner)


RUNS, ENDS, WAITS = "runs", "ends", "waits"

METERED: dict[str, dict[str | None, str]] = {
    # state: what it means; where the goal decides, by desired state.
    "started": {None: RUNS, "started": RUNS, "resized": RUNS, "paused": RUNS, "stopped": ENDS},
    "stopped": {None: ENDS, "stopped": ENDS, "archived": ENDS, "started": ENDS},
    "stopping": {None: ENDS, "stopped": ENDS},
    "pausing": {None: ENDS, "paused": ENDS, "started": ENDS},
    "paused": {None: ENDS, "paused": ENDS, "stopped": ENDS, "started": WAITS},
    "archiving": {None: ENDS, "archived": ENDS, "started": WAITS},
    "archived": {None: ENDS, "archived": ENDS, "started": WAITS},
    "destroying": {None: ENDS},
    "destroyed": {None: ENDS},
    "error": {None: ENDS, "started": ENDS, "stopped": ENDS, "archived": ENDS},
    "build_failed": {None: ENDS, "started": ENDS},
    "creating": {None: WAITS, "started": WAITS},
    "pending_build": {None: WAITS, "started": WAITS},
    "building_snapshot": {None: WAITS, "started": WAITS},
    "pulling_snapshot": {None: WAITS, "started": WAITS},
    "starting": {None: WAITS, "started": WAITS},
    "restoring": {None: WAITS, "started": WAITS, "stopped": WAITS},
    "resuming": {None: WAITS, "started": WAITS},
    "unknown": {None: WAITS, "started": WAITS},
    "resizing": {None: WAITS, "resized": WAITS, "started": WAITS, "stopped": WAITS},
    "snapshotting": {None: WAITS, "started": WAITS},
    "forking": {None: WAITS, "started": WAITS},
}
"""daytona.md, section 5: every state, and what it means for a session that was running."""


class TableTests(SynchronousTestCase):
    """The whole table of states, as shown in either kind of reply."""

    def test_complete(self) -> None:
        """No state that this version knows is missing."""
        self.assertEqual(KNOWN, set(METERED))

    def test_meaning(self) -> None:
        """Every state with every goal it is met with is metered as the table says."""
        for state, goals in METERED.items():
            for desired, meaning in {**goals, "destroyed": ENDS}.items():
                shown = world(row(state, desired=desired), session=running())
                found = {(): WAITS, (Close(SANDBOX),): ENDS}[plan(shown)]
                if found == WAITS and seen(shown):
                    found = RUNS
                self.assertEqual(meaning, found, (state, desired))

    def test_without_a_session(self) -> None:
        """Only what runs is adopted; nothing else costs anything."""
        for state, goals in METERED.items():
            for desired, meaning in {**goals, "destroyed": ENDS}.items():
                kinds = [type(c) for c in plan(world(row(state, desired=desired)))]
                self.assertEqual([Adopt] if meaning == RUNS else [], kinds, (state, desired))


class SeenTests(SynchronousTestCase):
    """The observations to store."""

    def test_running(self) -> None:
        """A running sandbox with a session was seen when its page was sent."""
        self.assertEqual({SANDBOX: NOW}, seen(world(row(), session=running())))
        self.assertEqual({SANDBOX: NOW}, seen(world(row(), session=pending())))

    def test_not_counted(self) -> None:
        """Not running, nobody's, or sent before the session's last change."""
        session = pending(at=1_000)
        for quiet in (
            world(row("stopped"), session=session),
            world(row("resizing"), session=session),
            world(row(desired="destroyed"), session=session),
            world(row()),
            world(row(seen_at=1_000), session=session),
        ):
            self.assertEqual({}, seen(quiet))
        self.assertEqual({SANDBOX: 1_001}, seen(world(row(seen_at=1_001), session=session)))


class MeteredTests(SynchronousTestCase):
    """A row with a session."""

    def test_begins(self) -> None:
        """The first observation of started begins the meter."""
        self.assertEqual(
            (Begin(SANDBOX, UnixSeconds(NOW + 1)),), plan(world(row(), session=pending()))
        )

    def test_goes_on(self) -> None:
        """What runs and is metered needs nothing."""
        self.assertEqual((), plan(world(row(), session=running())))

    def test_ends(self) -> None:
        """B11: failed, auto-stopped, archived, deleted: the meter ends."""
        for state in NOT_RUNNING:
            expected = (Close(SANDBOX),)
            self.assertEqual(expected, plan(world(row(state), session=running())), state)
        gone = world(row(desired="destroyed"), session=running())
        self.assertEqual((Close(SANDBOX),), plan(gone))

    def test_never_started(self) -> None:
        """Only a failure before the first start forgives the create fee."""
        for state in ("error", "build_failed"):
            expected = (Close(SANDBOX, never_started=True),)
            self.assertEqual(expected, plan(world(row(state), session=pending())), state)
        self.assertEqual((Close(SANDBOX),), plan(world(row("stopped"), session=pending())))

    def test_waits(self) -> None:
        """Not yet and unchanged leave the session as it is."""
        for state in NOT_YET | UNCHANGED:
            for session in (pending(), running()):
                self.assertEqual((), plan(world(row(state), session=session)), state)
        restoring = world(row("archived", desired="started"), session=pending())
        self.assertEqual((), plan(restoring))

    def test_states_of_the_future(self) -> None:
        """A state that nobody here knows leaves the session, and somebody is told."""
        for session in (pending(), running()):
            (change,) = plan(world(row("of the future"), session=session))
            self.assertIsInstance(change, Report)
        self.assertEqual((), plan(world(row("of the future"))))

    def test_other_sizes(self) -> None:
        """P9: what Daytona really allotted decides, also when somebody resized behind our back."""
        grown = evolve(row(), resources=BIGGER)
        self.assertEqual((Refit(SANDBOX, BIGGER),), plan(world(grown, session=running())))
        # Not before it is seen running in that size, nor by an old observation.
        for state in UNCHANGED | NOT_YET:
            self.assertEqual((), plan(world(evolve(grown, state=state), session=running())))
        self.assertEqual((), plan(world(evolve(grown, seen_at=UnixSeconds(1)), session=running())))

    def test_stale(self) -> None:
        """An observation sent before the last change tells of before."""
        session = evolve(running(), changed_at=NOW)
        self.assertEqual((), plan(world(row("stopped"), session=session)))
        waiting = evolve(pending(), changed_at=NOW)
        self.assertEqual((), plan(world(row(), session=waiting)))

    def test_missing_row(self) -> None:
        """A row that is missing from a sweep is asked for, not taken for gone."""
        self.assertEqual((AskById(SANDBOX),), plan(world(session=running())))


class IntentTests(SynchronousTestCase):
    """A row or an intent without a session."""

    def test_lost_reply(self) -> None:
        """B1: it runs, and an intent of any age explains it: opened under that intent."""
        for age in (0, OLD, 10**6):
            for one in (intent(age=age), intent("start", age=age), intent("recover", age=age)):
                found = world(row(reference="ref-1"), intents=(one,))
                self.assertEqual((OpenUnderIntent(SANDBOX, one, SIZE),), plan(found))

    def test_start_without_reference(self) -> None:
        """A start knows its sandbox: an adopted one has no label to go by."""
        one = intent("start")
        found = world(row(reference="another"), intents=(one,))
        self.assertEqual((OpenUnderIntent(SANDBOX, one, SIZE),), plan(found))

    def test_under_way(self) -> None:
        """A young intent is left alone, whatever its row shows."""
        for state in NOT_RUNNING | NOT_YET:
            for one in (intent(age=INTENT_GRACE_SECONDS), intent("start", age=0)):
                found = world(row(state, reference="ref-1"), intents=(one,), missed=True)
                self.assertEqual((), plan(found), state)

    def test_slow(self) -> None:
        """An old one whose row is still on its way is waited for."""
        for state in NOT_YET | UNCHANGED:
            one = intent(age=OLD)
            found = world(row(state, reference="ref-1"), intents=(one,), missed=True)
            self.assertEqual((), plan(found), state)

    def test_failed_create(self) -> None:
        """What an old create left behind in an error state is deleted, with its hold."""
        for state in ("error", "build_failed"):
            one = intent(age=OLD)
            found = world(row(state, reference="ref-1"), intents=(one,))
            self.assertEqual((DeleteLeftover(SANDBOX, one),), plan(found))

    def test_failed_start(self) -> None:
        """T8: a user's sandbox whose start failed is his; only the hold is given back."""
        for state in ("error", "stopped", "archived"):
            one = intent("start", age=OLD)
            self.assertEqual((ReleaseIntent(one),), plan(world(row(state), intents=(one,))))

    def test_ended_create(self) -> None:
        """A create that ended without running gives its hold back, and the row is left."""
        one = intent(age=OLD)
        found = world(row("stopped", reference="ref-1"), intents=(one,))
        self.assertEqual((ReleaseIntent(one),), plan(found))

    def test_led_to_nothing(self) -> None:
        """Old, and without a row in two sweeps: the hold is given back."""
        for one in (intent(age=OLD), intent("start", age=OLD)):
            self.assertEqual((ReleaseIntent(one),), plan(world(intents=(one,), missed=True)))
            self.assertEqual((), plan(world(intents=(one,))))
        young = intent(age=INTENT_GRACE_SECONDS)
        self.assertEqual((), plan(world(intents=(young,), missed=True)))

    def test_unexplained(self) -> None:
        """Rows explain the intents of their label and of their id; others go on the list."""
        for one in (intent(), intent("start")):
            self.assertEqual({one.reference}, unexplained(world(intents=(one,))))
        self.assertEqual(
            frozenset(), unexplained(world(row(reference="ref-1"), intents=(intent(),)))
        )
        self.assertEqual(frozenset(), unexplained(world(row(), intents=(intent("start"),))))
        self.assertEqual(
            {Reference("ref-1")}, unexplained(world(row(reference="ref-2"), intents=(intent(),)))
        )

    def test_asked_for_another_size(self) -> None:
        """To ask for another size lets nothing run: what runs unmetered is adopted, like any."""
        found = world(row(), intents=(intent(RESIZE, age=OLD),))
        self.assertEqual(
            [ReleaseIntent, Adopt], [type(change) for change in plan(found)], plan(found)
        )
        self.assertEqual([Adopt], [type(c) for c in plan(world(row(), intents=(intent(RESIZE),)))])


class UnreadTests(SynchronousTestCase):
    """A row of which nobody can make anything."""

    UNREAD = Unread(sandbox=SANDBOX, reference=Reference("ref-1"), why="cpu is no whole number")
    BLIND = Unread(sandbox=None, reference=None, why="no id")

    def test_session_stays(self) -> None:
        """It is neither missing nor seen: it is reported, and its session is as it was."""
        found = evolve(world(session=running()), unread=(self.UNREAD,))
        self.assertEqual([Report], [type(change) for change in plan(found)])
        self.assertEqual({}, seen(found))

    def test_intent_stays(self) -> None:
        """What may have come of an intent is told by its label or its id, or by neither."""
        for action, unread in (
            ("create", self.UNREAD),
            ("start", evolve(self.UNREAD, reference=None)),
            ("create", self.BLIND),
        ):
            asked = intent(action, age=OLD)
            found = evolve(world(intents=(asked,), missed=True), unread=(unread,))
            self.assertEqual([Report], [type(change) for change in plan(found)], unread)
            self.assertEqual(frozenset(), unexplained(found))


class StrangerTests(SynchronousTestCase):
    """Something runs that nothing explains."""

    def adopted(self, owner: Address, reference: str) -> tuple[Change, ...]:
        """The plan that adopts it."""
        return (
            Adopt(sandbox=SANDBOX, owner=owner, resources=SIZE, reference=Reference(reference)),
        )

    def test_known_wallet(self) -> None:
        """B1: the label names a wallet of ours: it is metered from now on."""
        self.assertEqual(self.adopted(OWNER, "adopted:sb-1"), plan(world(row())))
        self.assertEqual(self.adopted(OWNER, "ref-7"), plan(world(row(reference="ref-7"))))

    def test_our_record_wins(self) -> None:
        """P3: the owner is the one in our record, whatever the label says now."""
        for label in (str(STRANGER), "somebody", None):
            found = world(row(owner=label), record=OWNER)
            self.assertEqual(self.adopted(OWNER, "adopted:sb-1"), plan(found))

    def test_recorded_wallet_not_mirrored(self) -> None:
        """Our own record is enough, mirrored or not."""
        found = world(row(owner=None), record=STRANGER)
        self.assertEqual(self.adopted(STRANGER, "adopted:sb-1"), plan(found))

    def test_unknown_wallet(self) -> None:
        """A label of a wallet never seen here is reported and not billed."""
        text = f"is labelled for {STRANGER}, a wallet never seen here"
        self.assertEqual((Report(SANDBOX, text),), plan(world(row(owner=str(STRANGER)))))

    def test_no_label(self) -> None:
        """So is one without a wallet on it."""
        for label in (None, "somebody"):
            expected = (Report(SANDBOX, "runs without an owner label"),)
            self.assertEqual(expected, plan(world(row(owner=label))))

    def test_does_not_run(self) -> None:
        """What does not run is not our business."""
        for state in NOT_RUNNING | NOT_YET | UNCHANGED:
            self.assertEqual((), plan(world(row(state))), state)
        self.assertEqual((), plan(world(row(desired="destroyed"))))


def applied(change: Change, before: World) -> World:
    """The world after a change was carried out; Daytona's rows, but for a deletion, stay."""
    sessions = dict(before.sessions)
    match change:
        case Begin(sandbox, seen_at):
            sessions[sandbox] = begin(sessions[sandbox], seen_at)
        case Close(sandbox):
            del sessions[sandbox]
        case Refit(sandbox, resources):
            sessions[sandbox] = evolve(sessions[sandbox], resources=resources)
        case OpenUnderIntent(sandbox, done, resources):
            opened = evolve(pending(at=0), sandbox=sandbox, resources=resources)
            sessions[sandbox] = opened
            return _without(done, evolve(before, sessions=sessions))
        case Adopt():
            sessions[change.sandbox] = evolve(
                pending(at=0), sandbox=change.sandbox, resources=change.resources
            )
        case ReleaseIntent(done):
            return _without(done, before)
        case DeleteLeftover(sandbox, done):
            rows = tuple(one for one in before.rows if one.sandbox != sandbox)
            return _without(done, evolve(before, rows=rows))
        case AskById() | Report():
            pass
    return evolve(before, sessions=sessions)


def _without(done: Intent, before: World) -> World:
    left = tuple(one for one in before.intents if one.reference != done.reference)
    assert len(left) == len(before.intents) - 1
    return evolve(before, intents=left)


class AnyWorldTests(SynchronousTestCase):
    """Whatever a sweep finds."""

    @given(worlds())
    def test_one_change_each(self, found: World) -> None:
        """A sandbox is subject to one change; an intent too, unless two rows carry its label."""
        changes = plan(found)
        sandboxes = [c.sandbox for c in changes if not isinstance(c, ReleaseIntent)]
        self.assertEqual(len(sandboxes), len(set(sandboxes)))
        kinds = ReleaseIntent | OpenUnderIntent | DeleteLeftover
        used = [c.intent.reference for c in changes if isinstance(c, kinds)]
        self.assertLessEqual(set(used), {one.reference for one in found.intents})
        labels = [row.labels.get(REFERENCE_LABEL) for row in found.rows]
        ids = [row.sandbox for row in found.rows]
        for one in found.intents:
            if labels.count(one.reference) + ids.count(one.sandbox or SandboxId("")) <= 1:
                self.assertLessEqual(used.count(one.reference), 1)

    @given(worlds())
    def test_nothing_runs_unnoticed(self, found: World) -> None:
        """L4: whatever runs has a session or is subject to a change."""
        touched = {c.sandbox for c in plan(found) if not isinstance(c, ReleaseIntent)}
        for one in found.rows:
            if one.running and one.sandbox not in found.sessions:
                self.assertIn(one.sandbox, touched)

    @given(worlds())
    def test_nobody_billed_for_nothing(self, found: World) -> None:
        """L3: a meter opens or begins only on a row that shows it running."""
        shown = {one.sandbox for one in found.rows if one.running}
        for change in plan(found):
            if isinstance(change, Begin | OpenUnderIntent | Adopt):
                self.assertIn(change.sandbox, shown)
        self.assertLessEqual(set(seen(found)), shown)

    @given(worlds())
    def test_no_stranger_is_billed(self, found: World) -> None:
        """An adopted sandbox belongs to a wallet that we know by a record of our own."""
        for change in plan(found):
            if isinstance(change, Adopt):
                recorded = found.owners.get(change.sandbox)
                self.assertTrue(change.owner == recorded or change.owner in found.wallets)

    @given(worlds())
    def test_young_intents_stay(self, found: World) -> None:
        """Within its grace no intent loses its hold or its sandbox."""
        for change in plan(found):
            if isinstance(change, ReleaseIntent | DeleteLeftover):
                self.assertGreater(found.now - change.intent.created_at, INTENT_GRACE_SECONDS)

    @given(worlds())
    def test_comes_to_rest(self, found: World) -> None:
        """L11: carried out again and again, only questions and reports are left."""
        for _ in range(2 + len(found.rows) + len(found.intents)):
            changes = [c for c in plan(found) if not isinstance(c, AskById | Report)]
            if not changes:
                return
            released: set[Reference] = set()
            for change in changes:
                # Two rows may carry one reference; the second finds the intent gone.
                if isinstance(change, OpenUnderIntent | DeleteLeftover | ReleaseIntent):
                    if change.intent.reference in released:
                        continue
                    released.add(change.intent.reference)
                found = applied(change, found)
        self.fail(f"never quiet: {changes}")
