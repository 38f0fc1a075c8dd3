"""Tests for C{sandbox_billing.cli.queue_desk}: decisions beside a worker, under one clock."""

from __future__ import annotations

from typing import Any

from sandbox_billing.adapters.memory.chain_faults import GoodDay, Poisoned
from sandbox_billing.cli.queue_desk import Ask, Desk, Done
from sandbox_billing.cli.queue_show import dead_sheet, list_sheet, parked_sheet
from sandbox_billing.errors import BadInput, Refused, Transient
from sandbox_billing.interfaces import Stale
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.audit import AuditEntry, broken_at
from sandbox_billing.ledger.hold import QUARANTINED
from sandbox_billing.ledger.identity import Address, ChargeId, Nonce
from sandbox_billing.ledger.voucher import ChargeRecord, DeadLettered, Forgiven, Paid, Signed
from tests.fixtures import ALICE, FEE, INTERVAL
from tests.services.test_void import VoidCase


CREATE = ChargeId("sb-1:create")


class DeskCase(VoidCase):
    """An operator at the journal of a daemon that works."""

    def setUp(self) -> None:
        """Nobody was asked anything yet."""
        super().setUp()
        self.asked: list[tuple[str, str | None]] = []
        self.said: list[str] = []

    def desk(self, *, yes: bool = True) -> Desk:
        """Without the lease."""

        def ask(question: str, hint: str | None) -> None:
            self.asked.append((question, hint))
            if not yes:
                raise Refused("no")

        return Desk(
            journal=self.world.eyes,
            now=self.world.wall.now(),
            by="olga",
            ask=Ask(ask),
            say=self.said.append,
        )

    def retry(self, charge: str = CREATE) -> Done:
        """C{queue retry}."""
        return self.world.now(self.desk().retry(ChargeId(charge), "looked at"))

    def drop(self, name: str = CREATE, *, yes: bool = True) -> Done:
        """C{queue drop}."""
        return self.world.now(self.desk(yes=yes).drop(name, "waived"))

    def release(self, wallet: Address = ALICE) -> Done:
        """C{queue release}."""
        return self.world.now(self.desk().release(wallet, "looked at"))

    def refused(self, kind: type[Exception], work: Any) -> str:
        """What something is refused with."""
        return str(self.fails(kind, work))

    def record(self, charge: str = CREATE) -> ChargeRecord:
        """As it stands."""
        (found,) = [r for r in self.world.charges() if r.charge.id == charge]
        return found

    def audit(self) -> list[tuple[str, str, int]]:
        """What was decided, in a chain that is whole."""
        forms = self.world.now(self.world.eyes.desk.entries(0, 99))
        self.assertIsNone(broken_at(forms))
        entries = [decode(AuditEntry, form) for form in forms]
        self.assertEqual({"olga"}, {entry.by for entry in entries} or {"olga"})
        return [(entry.what, entry.subject, entry.amount) for entry in entries]

    def poisoned(self) -> None:
        """The create fee's voucher reverts until it is a dead letter; then the node is well."""
        world = self.world
        world.process.node.fault = Poisoned(ALICE, Nonce(1))
        world.create()
        world.until(lambda: world.books().dead == FEE, 300)
        world.process.node.fault = GoodDay()

    def missing(self) -> None:
        """Its nonce is used, no event says for what, and its money is missing."""
        self.signed()
        self.burn(1, lost=FEE)
        self.mined()
        self.world.until(lambda: self.world.books().dead == FEE, 60)

    def all_paid(self) -> None:
        """Nothing is owed any more."""
        world = self.world
        world.until(
            lambda: world.quiet and world.books().pending == 0 and world.session("sb-1") is None,
            5 * INTERVAL,
        )


class RetryTests(DeskCase):
    """A dead letter goes back."""

    def test_unused_nonce(self) -> None:
        """The same seal goes out again, and is paid once; later charges come after it (L5)."""
        world = self.world
        self.poisoned()
        seal = self.record().seal
        done = self.retry()
        self.assertIn("is unused on chain", done.text)
        self.assertIn("quarantined", done.text)
        self.assertEqual(self.record().state, Signed(seal))  # type: ignore[arg-type]
        self.assertEqual(world.funds().exposure.fields[f"charge:{CREATE}"], str(FEE))
        world.advance(INTERVAL)
        self.assertEqual(world.earned, 0)
        self.release()
        self.all_paid()
        after = self.record()
        self.assertIsInstance(after.state, Paid)
        self.assertEqual(after.seal, seal)
        self.assertEqual(world.earned, world.books().charged)
        nonces = sorted(r.seal.nonce for r in world.charges() if r.seal is not None)
        self.assertEqual(nonces[0], 1)
        self.assertEqual(len(set(nonces)), len(nonces))
        self.assertEqual([what for what, _, _ in self.audit()], ["retry", "release"])

    def test_released_before(self) -> None:
        """When others were settled in between its nonce is lost: by proof it gets a new one."""
        world = self.world
        self.poisoned()
        self.release()
        self.assertIn("1 dead letters of this wallet stay", self.said[0])
        world.until(lambda: world.slot().last_nonce > 1, 3 * INTERVAL)
        world.until(lambda: world.quiet, 60)
        world.advance(3)
        self.assertIn("is used on chain", self.retry().text)
        world.until(lambda: isinstance(self.record().state, Paid), 120)
        seal = self.record().seal
        assert seal is not None
        self.assertGreater(seal.nonce, 2)
        self.all_paid()
        self.assertEqual(world.earned, world.books().charged)
        self.assertEqual(world.books().dead, 0)

    def test_second_source(self) -> None:
        """Where the money does not add up nothing is proven; once it does, the nonce is lost."""
        world = self.world
        self.missing()
        self.assertIn("is used on chain", self.retry().text)
        self.release()
        world.until(lambda: world.books().dead == FEE, 120)
        self.assertEqual(world.funds().blocked, QUARANTINED)
        self.assertIsInstance(self.record().state, DeadLettered)
        self.burn(world.slot().last_nonce, lost=-FEE)
        world.advance(3)
        self.retry()
        self.release()
        world.until(lambda: isinstance(self.record().state, Paid), 120)
        self.all_paid()
        self.assertEqual(world.earned, world.books().charged)
        self.assertEqual(len(self.audit()), 4)

    def test_in_flight(self) -> None:
        """While its wallet is in a batch it waits."""
        world = self.world
        self.poisoned()
        self.release()
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.until(lambda: world.net.pool != [], 3 * INTERVAL)
        self.assertIn("batch", self.refused(Refused, self.desk().retry(CREATE, "")))
        self.assertEqual(self.record().state.__class__, DeadLettered)

    def test_never_twice(self) -> None:
        """What was offered again, paid, or never was, is refused with words."""
        self.poisoned()
        self.retry()
        self.assertIn("it is signed", self.refused(Refused, self.desk().retry(CREATE, "")))
        self.release()
        self.world.until(lambda: isinstance(self.record().state, Paid), 120)
        self.assertIn("it is paid", self.refused(Refused, self.desk().retry(CREATE, "")))
        self.refused(BadInput, self.desk().retry(ChargeId("sb-9:0"), ""))

    def test_restart(self) -> None:
        """Another worker goes on from there (L13)."""
        self.poisoned()
        self.retry()
        self.world.restart()
        self.release()
        self.world.until(lambda: isinstance(self.record().state, Paid), 120)


class DropTests(DeskCase):
    """A charge is written off."""

    def test_dead(self) -> None:
        """With an unused nonce only on a yes; then it is owed no more, and seal and sum stay."""
        self.poisoned()
        seal = self.record().seal
        self.refused(Refused, self.desk(yes=False).drop(CREATE, "waived"))
        self.assertIsInstance(self.record().state, DeadLettered)
        self.drop()
        self.assertEqual({hint for _, hint in self.asked}, {"add --yes if that is meant"})
        self.assertIn("can still collect it", self.asked[0][0])
        after = self.record().state
        assert isinstance(after, Forgiven)
        self.assertEqual((after.seal, after.reason), (seal, "waived"))
        self.assertEqual(self.world.books().forgiven, FEE)
        self.assertEqual(self.drop().what, "nothing")
        self.assertEqual(self.audit(), [("forgive", CREATE, FEE)])

    def test_used(self) -> None:
        """One whose nonce is used up is dropped without a script's yes."""
        self.missing()
        self.world.advance(3)
        self.drop()
        self.assertEqual([hint for _, hint in self.asked], [None])

    def test_signed(self) -> None:
        """What is on its way ends by the chain's answer alone."""
        self.signed()
        self.assertIn("L5", self.refused(Refused, self.desk().drop(CREATE, "waived")))
        self.mined()
        self.world.until(lambda: isinstance(self.record().state, Paid), 60)
        self.refused(Refused, self.desk().drop(CREATE, "waived"))
        self.assertEqual((self.asked, self.audit()), ([], []))

    def test_unreadable(self) -> None:
        """What cannot be read is shown as it is, taken out on a yes, and never retried."""
        world = self.world
        world.net.withholds = lambda transaction: transaction.sender is not None
        world.create()
        world.until(lambda: len(world.charges()) > 2, 4 * INTERVAL)
        charge = next(r.charge.id for r in world.charges() if r.seal is None)
        owed = next(r.charge.amount for r in world.charges() if r.charge.id == charge)
        world.keyspace._values[world.eyes.store.keys.charge(charge)] = b"{coffee"
        world.net.withholds = lambda transaction: False
        world.until(lambda: world.now(self.desk().dead())[1] != (), 120)
        shown = dead_sheet(*world.now(self.desk().dead())).document
        self.assertEqual([one["stored"] for one in shown["letters"]], ["{coffee"])
        self.refused(BadInput, self.desk().retry(charge, ""))
        self.refused(Refused, self.desk(yes=False).drop(charge, "spilled"))
        done = world.now(self.desk().drop(charge, "spilled"))
        self.assertEqual((done.wallet, done.amount), (ALICE, owed))
        self.assertEqual(self.audit(), [("drop", f"charge:{charge}", owed)])
        self.assertNotIn(f"charge:{charge}", world.funds().exposure.fields)
        world.restart()
        world.advance(INTERVAL)
        self.assertEqual(world.now(self.desk().dead()), ((), ()))
        self.assertNotIn("dead letters", world.process.troubles())

    def test_letter(self) -> None:
        """A letter is ended by its name; what it is about stays."""
        world = self.world
        sandbox = world.create()
        key = world.eyes.store.keys.session(sandbox)
        world.keyspace._values[key] = b"{coffee"
        world.until(lambda: world.now(self.desk().dead())[1] != (), 120)
        self.drop(f"session:{sandbox}")
        self.assertEqual(world.now(self.desk().dead()), ((), ()))
        self.assertEqual(world.keyspace.values()[key], b"{coffee")
        self.assertEqual(self.audit(), [("drop", f"session:{sandbox}", 0)])


class ReleaseTests(DeskCase):
    """A quarantine is lifted."""

    def test_runs_again(self) -> None:
        """The wallet is admitted, charged and settled again, and not quarantined anew."""
        world = self.world
        self.poisoned()
        world.until(lambda: world.session("sb-1") is None, 120)
        self.drop()
        self.release()
        self.assertIsNone(world.funds().blocked)
        world.create()
        world.until(lambda: world.earned > FEE, 3 * INTERVAL)
        self.assertIsNone(world.funds().blocked)
        self.assertEqual(self.release().what, "nothing")

    def test_money(self) -> None:
        """A wallet that cannot pay is blocked for that again, or still."""
        world = self.world
        self.poisoned()
        self.drop()
        # All that the contract has of it leaves.
        world.withdraw(world.slot().balance)
        world.advance(4)
        self.release()
        world.advance(3 * INTERVAL)
        self.assertNotEqual(world.funds().blocked, QUARANTINED)
        if world.funds().blocked is not None:
            self.refused(Refused, self.desk().release(ALICE, "because"))


class RaceTests(DeskCase):
    """What changes meanwhile is decided anew."""

    def test_changed_once(self) -> None:
        """A quarantined wallet whose exposure moves is released on a second look."""
        self.poisoned()
        desk, world = self.desk(), self.world
        real, failures = desk.journal.desk.release, [Stale("moved")]

        async def moved(self: object, funds: Any, entry: Any) -> None:
            if failures:
                raise failures.pop()
            await real(funds, entry)

        self.patch(type(desk.journal.desk), "release", moved)
        world.now(desk.release(ALICE, "looked at"))
        self.assertIsNone(world.funds().blocked)

    def test_never_still(self) -> None:
        """What never stands still is left as it is."""
        self.poisoned()
        desk = self.desk()

        async def moves(_self: object, _funds: Any, _entry: Any) -> None:
            raise Stale("moved")

        self.patch(type(desk.journal.desk), "release", moves)
        why = self.refused(Transient, desk.release(ALICE, "looked at"))
        self.assertIn("nothing was changed", why)


class ShownTests(DeskCase):
    """What is listed."""

    def test_list(self) -> None:
        """Each wallet with what is on its way, its batch and its age."""
        world = self.world
        self.signed()
        world.until(lambda: len(world.charges()) > 1, 3 * INTERVAL)
        listed = world.now(self.desk().listed())
        (line,) = listed.wallets
        self.assertEqual((line.in_flight.count, line.in_flight.amount), (1, FEE))
        self.assertEqual(line.open.amount, world.books().pending - FEE)
        sheet = list_sheet(listed, world.wall.now())
        (shown,) = sheet.document["wallets"]
        self.assertEqual(shown["in_flight"], {"count": 1, "amount": str(FEE)})
        (batch,) = world.now(world.eyes.queue.batches())
        self.assertEqual((shown["batch"], shown["blocked"]), (batch.value.id, None))
        self.assertGreater(shown["oldest_age_sec"], INTERVAL // 2)
        self.assertEqual(len(sheet.columns), len(sheet.rows[0]))

    def test_parked(self) -> None:
        """What waits for an acknowledgement, with the promise that stands."""
        world = self.world
        self.signed()
        world.acknowledge(ALICE, acknowledged=False)
        self.mined()
        world.until(lambda: world.books().parked == FEE, 60)
        (shown,) = parked_sheet(world.now(self.desk().parked())).document["parked"]
        seal = self.record().seal
        assert seal is not None
        self.assertEqual(
            (shown["charge"], shown["nonce"], shown["fee"], shown["usage_hash"]),
            (CREATE, "1", str(FEE), seal.usage_hash),
        )
        (line,) = world.now(self.desk().listed()).wallets
        self.assertEqual(line.parked.amount, FEE)
        self.assertIn("L5", self.refused(Refused, self.desk().drop(CREATE, "waived")))

    def test_dead(self) -> None:
        """A dead letter with its cause, and what to do."""
        self.poisoned()
        sheet = dead_sheet(*self.world.now(self.desk().dead()))
        (shown,) = sheet.document["charges"]
        self.assertEqual((shown["retry"], shown["nonce"]), (True, "1"))
        self.assertNotIn("signature", str(sheet.document))
        self.assertEqual(len(sheet.columns), len(sheet.rows[0]))
