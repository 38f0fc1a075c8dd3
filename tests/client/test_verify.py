"""
Every kind of forged receipt is refuted, by the claim that should; honest ones are proven.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.client.receipt_claims import CLOCK_SECONDS, RECENT_BLOCKS
from sandbox_billing.client.receipts import rating_of
from sandbox_billing.client.verify import (
    MEANING,
    NOT_PROVABLE,
    Claim,
    PriceRecord,
    Proof,
    Settled,
    Verdicts,
    verify,
)
from sandbox_billing.ledger.identity import ChargeId, SandboxId, imported_charge_id
from sandbox_billing.ledger.money import Neuron, NeuronPerMinute, UnixSeconds
from sandbox_billing.ledger.rating import Prices, period_amount
from sandbox_billing.ledger.receipt import Part, Receipt, Status
from sandbox_billing.ledger.receipt_form import receipt_document
from sandbox_billing.ledger.voucher import ChargeKind
from sandbox_billing.signing.eip712 import EIP712Domain, typed_digest
from tests.client.receipts import (
    CHAIN_ID,
    DOMAIN,
    OTHER,
    PRICES,
    PROVIDER,
    RATE,
    SIGNER,
    STRANGER,
    T0,
    USER,
    Address,
    Books,
    Chain,
    merged,
    resigned,
    struct,
)


def judge(books: Books, **more: Any) -> Verdicts:
    """As a user does: on JSON."""
    documents = [receipt_document(one) for one in books.receipts]
    return verify(documents, books.chain, user=USER, provider=PROVIDER, **more)


def proofs(verdicts: Verdicts, proof: Proof) -> set[Claim]:
    """Claims of any receipt, or of all together, that came out so."""
    found = [*verdicts.history, *(f for one in verdicts.receipts for f in one.findings)]
    return {finding.claim for finding in found if finding.proof is proof}


def why(verdicts: Verdicts) -> str:
    """For a failing test."""
    found = [*verdicts.history, *(f for one in verdicts.receipts for f in one.findings)]
    return "\n".join(str(one) for one in found if one.proof is not Proof.PROVEN)


def honest() -> Books:
    """Two sandboxes: runs, a create fee, a debt, a merged voucher, and a batch."""
    books = Books()
    books.settle(books.create("sb-1"))
    books.run("sb-1", T0, [T0 + 60, T0 + 119, T0 + 180])
    books.settle(books.sign(sandbox="sb-1", period_start=T0 + 300, period_end=T0 + 360), paid=7)
    books.settle(books.collect(books.receipts[-1]), paid=9)
    left = books.receipts[-1]
    books.settle(books.collect(left))
    books.settle(
        merged(books, "sb-2", T0, [T0 + 61, T0 + 122, T0 + 200]),
        books.sign(sandbox="sb-2", period_start=T0 + 200, period_end=T0 + 260),
        books.sign(sandbox="sb-1", period_start=T0 + 500, period_end=T0 + 560),
        batch=True,
    )
    return books


CREATED, FIRST, LEFT, MERGED, LAST = 0, 1, 4, 7, 9
"""Places of receipts in L{honest}."""


@frozen
class Forgery:
    """
    @ivar claim: What refutes it.
    @ivar forge: What the provider did to honest books.
    @ivar only: Whether nothing else may be refuted by it.
    """

    claim: Claim
    forge: Callable[[Books], None]
    only: bool = True


def change(at: int, **changes: Any) -> Callable[[Books], None]:
    """A receipt that says something else than what was signed and settled."""

    def forge(books: Books) -> None:
        books.receipts[at] = evolve(books.receipts[at], **changes)

    return forge


def resettle(at: int, **changes: Any) -> Callable[[Books], None]:
    """A voucher that was signed and settled so, and a receipt that fits it."""

    def forge(books: Books) -> None:
        old = books.receipts[at]
        made = resigned(old, **changes)
        if old.status is Status.PAID:
            made = evolve(made, paid=made.fee)
        books.receipts[at] = made
        for place, (whose, event) in enumerate(books.chain.events):
            if event.nonce == old.nonce and made.usage_hash is not None:
                moved = made.fee if event.status == 0 else event.paid
                now = evolve(event, fee=made.fee, usage_hash=made.usage_hash, paid=moved)
                books.chain.events[place] = (whose, now)

    return forge


def more(**said: Any) -> Callable[[Books], None]:
    """One voucher more, signed and settled."""

    def forge(books: Books) -> None:
        books.settle(books.sign(**said))

    return forge


def events(change: Callable[[Address, Settled], Any], at: int = FIRST) -> Callable[[Books], None]:
    """A chain that says something else of one voucher."""

    def forge(books: Books) -> None:
        books.chain.events[at] = change(*books.chain.events[at])

    return forge


def batch(**changes: Any) -> Callable[[Books], None]:
    """A place in a batch that is another one."""

    def forge(books: Books) -> None:
        place = books.receipts[LAST].batch
        assert place is not None
        books.receipts[LAST] = evolve(books.receipts[LAST], batch=evolve(place, **changes))

    return forge


def swap_lines(books: Books) -> None:
    """The lines of a batch in another order than was signed, with the index that fits."""
    place = books.receipts[LAST].batch
    assert place is not None
    swapped = (place.lines[2], place.lines[1], place.lines[0])
    batch(lines=swapped, index=0)(books)


def another_domain(**changes: Any) -> Callable[[Books], None]:
    """Signed for another contract, or another chain, and shown here."""
    place = {"chain_id": CHAIN_ID, "contract": Chain().contract, **changes}

    def forge(books: Books) -> None:
        domain = EIP712Domain(place["chain_id"], place["contract"])
        books.receipts[FIRST] = resigned(books.receipts[FIRST], domain=domain)

    return forge


def forget(at: int) -> Callable[[Books], None]:
    """A receipt that is not shown."""

    def forge(books: Books) -> None:
        del books.receipts[at]

    return forge


def twice(books: Books) -> None:
    """The same use, hash and all, under a second nonce (K11)."""
    old = books.receipts[FIRST]
    books.settle(books.sign(period_start=old.period_start, period_end=old.period_end))


def debt_twice(books: Books) -> None:
    """What a debt asks for is asked for again."""
    left = books.receipts[LEFT]
    books.settle(books.collect(left))


def dear_debt(books: Books) -> None:
    """A debt for use that was paid in full."""
    old = books.receipts[FIRST]
    books.settle(books.collect(evolve(old, owed=Neuron(1000))))


def same_nonce(books: Books) -> None:
    """Two receipts for one voucher that was settled."""
    old = books.receipts[FIRST]
    books.receipts.append(evolve(old, id=old.id + "x", sandbox="sb-9"))


def part(**changes: Any) -> Callable[[Books], None]:
    """A merged receipt with a part that is another one."""

    def forge(books: Books) -> None:
        one = books.receipts[MERGED]
        parts = (one.collects[0], evolve(one.collects[1], **changes), *one.collects[2:])
        books.receipts[MERGED] = evolve(one, collects=parts)

    return forge


def before_its_price(books: Books) -> None:
    """Charged at a price that the wallet acknowledged only after it was settled."""
    later = Prices(per_cpu_per_minute=Neuron(700))
    record = PriceRecord(block=books.block + 9, acknowledged_at=T0 + 99_999, prices=later)
    assert books.chain.records is not None
    books.chain.records.append(record)
    more(rate=700, fee=700, sandbox="sb-8")(books)


def called(status: Status) -> Callable[[Books], None]:
    """Called forgiven, say, and taken."""
    nothing: dict[str, Any] = {"paid": Neuron(0), "owed": Neuron(0)}
    return change(FIRST, status=status, transaction=None, block=None, **nothing)


def twin(books: Books) -> None:
    """The same time again, for a sandbox that looks like it."""
    more(sandbox="SB-1", period_start=T0, period_end=T0 + 60)(books)


def a_day_before_its_price(books: Books) -> None:
    """Signed and settled only after the wallet had acknowledged dearer prices, for a day ago."""
    later = Prices(per_cpu_per_minute=Neuron(700))
    record = PriceRecord(block=books.block, acknowledged_at=T0 + 90_000, prices=later)
    assert books.chain.records is not None
    books.chain.records.append(record)
    more(rate=700, fee=700, sandbox="sb-8")(books)


NOBODY = Address("0x" + "99" * 20)
FORGERIES: dict[str, Forgery] = {
    # what the receipt says of itself
    "an amount that was not signed": Forgery(Claim.EVENT, change(FIRST, fee=1262), only=False),
    "another hash": Forgery(Claim.HASH, change(FIRST, usage_hash="0x" + "12" * 32), only=False),
    "its period shifted": Forgery(
        Claim.HASH, change(FIRST, period_start=T0 - 60, period_end=T0), only=False
    ),
    "more units than seconds": Forgery(Claim.RATING, resettle(FIRST, units=61)),
    "another sandbox": Forgery(Claim.HASH, change(FIRST, sandbox="sb-9"), only=False),
    # where it is valid
    "of another chain": Forgery(Claim.PLACE, change(FIRST, chain_id=1)),
    "of another contract": Forgery(Claim.PLACE, change(FIRST, contract=NOBODY)),
    "of another provider": Forgery(Claim.PLACE, change(FIRST, provider=NOBODY), only=False),
    "of another wallet": Forgery(Claim.PLACE, change(FIRST, user=STRANGER), only=False),
    "signed for another chain": Forgery(Claim.SIGNATURE, another_domain(chain_id=1), only=False),
    "signed for another contract": Forgery(
        Claim.SIGNATURE, another_domain(contract=NOBODY), only=False
    ),
    # who signed it
    "signature of another key": Forgery(Claim.SIGNATURE, resettle(FIRST, key=OTHER), only=False),
    "a signer who was not registered": Forgery(
        Claim.SIGNER, resettle(FIRST, key=OTHER, signer=OTHER.address)
    ),
    "a signer of later": Forgery(
        Claim.SIGNER,
        lambda books: setattr(books.chain, "keys", [(0, OTHER.address), (13, SIGNER.address)]),
    ),
    # its batch
    "another index": Forgery(Claim.BATCH, batch(index=1)),
    "an index beyond": Forgery(Claim.BATCH, batch(index=3)),
    "lines in another order": Forgery(Claim.BATCH, swap_lines),
    "a line less": Forgery(Claim.BATCH, batch(lines=("0x" + "01" * 32,), index=0)),
    "another batch's signature": Forgery(
        Claim.BATCH, batch(signature="0x" + SIGNER.sign_digest(b"\x07" * 32).hex())
    ),
    # the chain's word
    "never settled": Forgery(
        Claim.EVENT, lambda books: books.chain.events.pop(FIRST) and None, only=False
    ),
    "settled for another wallet": Forgery(
        Claim.EVENT, events(lambda whose, event: (STRANGER, event)), only=False
    ),
    "settled for another amount": Forgery(
        Claim.EVENT, events(lambda whose, event: (whose, evolve(event, fee=1, paid=1))), only=False
    ),
    "settled for other use": Forgery(
        Claim.EVENT, events(lambda whose, event: (whose, evolve(event, usage_hash="0x00")))
    ),
    "settled twice": Forgery(
        Claim.EVENT,
        lambda books: books.chain.events.append(books.chain.events[FIRST]),
        only=False,
    ),
    "one voucher, two receipts": Forgery(Claim.EVENT, same_nonce, only=False),
    "called forgiven and taken": Forgery(Claim.EVENT, called(Status.FORGIVEN), only=False),
    "called merged and taken": Forgery(Claim.EVENT, called(Status.MERGED), only=False),
    "called signed, and taken long ago": Forgery(Claim.EVENT, called(Status.SIGNED), only=False),
    "less paid than it says": Forgery(Claim.PAID, change(LEFT, paid=8, owed=1253), only=False),
    "more owed than it says": Forgery(Claim.PAID, change(LEFT, owed=2000)),
    "paid in full, it says": Forgery(
        Claim.EVENT, change(LEFT, status=Status.PAID, paid=RATE, owed=0), only=False
    ),
    # time and money, over all
    "one use under two nonces": Forgery(Claim.PERIOD, twice, only=False),
    "periods that overlap": Forgery(Claim.PERIOD, more(period_start=T0 + 150, period_end=T0 + 210)),
    "a period within another": Forgery(
        Claim.PERIOD, more(sandbox="sb-2", period_start=T0 + 70, period_end=T0 + 80)
    ),
    "a debt for part of what was paid": Forgery(
        Claim.PERIOD,
        more(kind=ChargeKind.DEBT, period_start=T0 + 1, period_end=T0 + 61, fee=1261),
    ),
    "a debt that was paid": Forgery(Claim.RATING, debt_twice),
    "a debt of nothing": Forgery(Claim.RATING, dear_debt),
    "two create fees": Forgery(
        Claim.PERIOD, lambda books: books.settle(books.create("sb-1", T0 + 700))
    ),
    "dearer than its rate": Forgery(Claim.RATING, resettle(FIRST, fee=1262)),
    "rate of no size": Forgery(Claim.PRICE, resettle(FIRST, rate=RATE + 1, fee=RATE + 1)),
    "a create fee above the price": Forgery(Claim.PRICE, resettle(CREATED, fee=5001)),
    "a twin of its sandbox, in other letters": Forgery(Claim.PERIOD, twin, only=False),
    "a price that was acknowledged a day after": Forgery(Claim.PRICE, a_day_before_its_price),
    "a rate that was acknowledged later": Forgery(Claim.PRICE, before_its_price),
    "a missing receipt": Forgery(Claim.COMPLETE, forget(2)),
    # what was merged
    "a part twice": Forgery(Claim.PARTS, part(period_start=T0, period_end=T0 + 61)),
    "a dear part": Forgery(Claim.PARTS, part(amount=10**6)),
    "a part outside": Forgery(
        Claim.PARTS, part(period_start=T0 + 1000, period_end=T0 + 1061), only=False
    ),
    "a part with other seconds": Forgery(Claim.PARTS, part(units=60)),
    "a part at another rate": Forgery(Claim.PARTS, part(rate=RATE + 1)),
}


class ForgeryTests(SynchronousTestCase):
    """
    The table of what a provider might try.
    """

    def test_honest(self) -> None:
        """What they are all forged from is proven, every claim of it."""
        verdicts = judge(honest())
        self.assertIs(verdicts.proof, Proof.PROVEN, why(verdicts))
        self.assertEqual(proofs(verdicts, Proof.PROVEN), set(Claim))

    def test_every_forgery(self) -> None:
        """Each is refuted by the claim that should, and by no other that it does not touch."""
        for name, forgery in FORGERIES.items():
            books = honest()
            forgery.forge(books)
            verdicts = judge(books)
            refuted = proofs(verdicts, Proof.REFUTED)
            self.assertIn(forgery.claim, refuted, f"{name}\n{why(verdicts)}")
            if forgery.only:
                self.assertEqual(refuted, {forgery.claim}, f"{name}\n{why(verdicts)}")

    def test_every_claim_is_tried(self) -> None:
        """No claim that nothing in the table refutes, but for the form."""
        tried = {forgery.claim for forgery in FORGERIES.values()}
        self.assertEqual(set(Claim) - tried, {Claim.FORM})


def other_than(value: Any) -> st.SearchStrategy[Any]:
    """Something else that could stand in its place."""
    if isinstance(value, int):
        made: st.SearchStrategy[Any] = st.integers(0, 2 * value + 2)
    elif isinstance(value, str) and value.isdecimal():
        made = st.integers(0, 2 * int(value) + 2).map(str)
    elif value in {status.value for status in Status}:
        made = st.sampled_from([status.value for status in Status])
    elif isinstance(value, str) and value.startswith("0x"):
        digits = st.tuples(st.integers(2, len(value) - 1), st.sampled_from("0123456789abcdef"))
        made = digits.map(lambda at: value[: at[0]] + at[1] + value[at[0] + 1 :])
    else:
        made = st.text(min_size=1, max_size=8)
    return made.filter(lambda found: found != value)


FIELDS = (
    *("chain_id", "contract", "provider", "user", "signer", "sandbox", "period_start"),
    *("period_end", "units", "fee", "nonce", "usage_hash", "signature", "status"),
    *("paid", "owed", "transaction", "block"),
)
"""What cannot be changed unseen; a rate may be that of another size."""


class AnyForgeryTests(SynchronousTestCase):
    """
    Not only those that somebody thought of.
    """

    @given(st.data())
    def test_a_changed_word(self, data: st.DataObject) -> None:
        """Whatever is changed in any receipt, not everything of it is proven any more."""
        books = honest()
        documents = [receipt_document(one) for one in books.receipts]
        document = data.draw(st.sampled_from(documents))
        name = data.draw(st.sampled_from(FIELDS))
        document[name] = data.draw(other_than(document[name]))
        verdicts = verify(documents, books.chain, user=USER, provider=PROVIDER)
        self.assertIsNot(verdicts.proof, Proof.PROVEN)


class PageTests(SynchronousTestCase):
    """
    C{docs/receipts.rst}.
    """

    def test_page(self) -> None:
        """It tells every claim, what is never proven, and each forgery with what refutes it."""
        page = Path(__file__).resolve().parents[2] / "docs" / "receipts.rst"
        told = " ".join(page.read_text("utf-8").split())
        rows = [f"* - {claim.value} - {means} " for claim, means in MEANING.items()]
        rows += [f"* - {name} - {f.claim.value}" for name, f in FORGERIES.items()]
        for row in (*rows, *NOT_PROVABLE):
            self.assertIn(row, told)


class NotProvenTests(SynchronousTestCase):
    """
    What cannot be told is called that, never proven and never refuted.
    """

    def unproven(self, books: Books, **more: Any) -> set[Claim]:
        """Claims that came out so; none is refuted."""
        verdicts = judge(books, **more)
        self.assertEqual(proofs(verdicts, Proof.REFUTED), set(), why(verdicts))
        return proofs(verdicts, Proof.NOT_PROVEN)

    def test_not_settled_yet(self) -> None:
        """A signed receipt proves what was signed; its event and payment are to come."""
        books = honest()
        books.receipts.append(books.sign(sandbox="sb-5"))
        self.assertEqual(self.unproven(books), {Claim.EVENT, Claim.PAID})

    def test_open(self) -> None:
        """An open one proves nothing but that its fee is that of its time."""
        books = honest()
        nothing: dict[str, Any] = dict.fromkeys(("nonce", "signer", "usage_hash", "signature"))
        made = evolve(books.sign(sandbox="sb-5"), status=Status.OPEN, **nothing)
        books.receipts.append(made)
        signed = {Claim.HASH, Claim.SIGNATURE, Claim.SIGNER}
        self.assertEqual(self.unproven(books), {*signed, Claim.EVENT, Claim.PAID})

    def test_settled_meanwhile(self) -> None:
        """A receipt from before its settlement is old, and not false."""
        books = honest()
        old = evolve(
            books.receipts[FIRST],
            status=Status.SIGNED,
            transaction=None,
            block=None,
            paid=Neuron(0),
            owed=books.receipts[FIRST].fee,
        )
        books.receipts[FIRST] = old
        wanted = {Claim.EVENT, Claim.PAID, Claim.COMPLETE}
        self.assertEqual(self.unproven(books, fresh=False), wanted)
        books.chain.newest = books.block + 50
        self.assertEqual(self.unproven(books), wanted)
        books.chain.newest = books.block + RECENT_BLOCKS
        refuted = proofs(judge(books), Proof.REFUTED)
        self.assertEqual(refuted, {Claim.EVENT, Claim.COMPLETE})

    def test_moved(self) -> None:
        """What a deep reorganisation put elsewhere is the same voucher still."""
        for changes in ({"block": 11}, {"transaction": "0x" + "ab" * 32}):
            books = honest()
            change(FIRST, **changes)(books)
            self.assertEqual(self.unproven(books), {Claim.EVENT})

    def test_moved_past_a_key(self) -> None:
        """Whose key was registered is asked of where it is settled now."""
        books = honest()
        books.settle(books.sign(key=OTHER, sandbox="sb-7"))
        books.chain.keys.append((books.block, OTHER.address))
        change(-1, block=books.block - 5)(books)
        self.assertEqual(self.unproven(books), {Claim.EVENT})

    def test_a_node_behind(self) -> None:
        """What was settled beyond its newest block it cannot deny."""
        books = honest()
        books.chain.newest = books.block - 1
        books.chain.events = [(w, e) for w, e in books.chain.events if e.block < books.block]
        self.assertLessEqual({Claim.EVENT, Claim.PAID, Claim.COMPLETE}, self.unproven(books))
        books.chain.records = [PriceRecord(block=books.block, acknowledged_at=0, prices=PRICES)]
        prices = [f for one in judge(books).receipts[-1:] for f in one.findings]
        self.assertNotIn((Claim.PRICE, Proof.REFUTED), [(f.claim, f.proof) for f in prices])

    def test_clocks(self) -> None:
        """The chain's clock may be a little ahead of who charges; not more."""
        for ahead, proof in ((CLOCK_SECONDS, Proof.PROVEN), (CLOCK_SECONDS + 1, Proof.REFUTED)):
            books = Books()
            books.settle(books.sign())
            books.chain.records = [
                PriceRecord(block=1, acknowledged_at=T0 + 60 + ahead, prices=PRICES)
            ]
            self.assertIs(judge(books).proof, proof)

    def test_a_node_that_forgets(self) -> None:
        """Without the state of then, neither signer nor price is proven."""
        books = honest()
        books.chain.forgetful, books.chain.records = True, None
        self.assertEqual(self.unproven(books), {Claim.SIGNER, Claim.BATCH, Claim.PRICE})

    def test_no_shortfalls(self) -> None:
        """The deployed contract does not say how much moved."""
        books = honest()
        books.chain.events = [
            (whose, evolve(event, paid=None) if event.status else event)
            for whose, event in books.chain.events
        ]
        self.assertEqual(self.unproven(books), {Claim.PAID, Claim.COMPLETE})

    def test_some(self) -> None:
        """Of what was kept, or is shown of one sandbox, it is told what is missing; if nothing is
        they are all, whoever asked for them."""
        books = honest()
        self.assertEqual(self.unproven(books, whole=False), set())
        del books.receipts[2]
        self.assertEqual(self.unproven(books, whole=False), {Claim.COMPLETE})
        self.assertIn("1 vouchers were settled", why(judge(books, whole=False)))

    def test_a_debt_alone(self) -> None:
        """Without what left it, nobody knows whether its time was paid before."""
        books = honest()
        del books.receipts[LEFT]
        self.assertEqual(self.unproven(books, whole=False), {Claim.COMPLETE, Claim.PERIOD})

    def test_prices_of_the_environment(self) -> None:
        """While the chain carries no prices, the rate is the provider's word."""
        books = honest()
        books.chain.records = [PriceRecord(block=1, acknowledged_at=0, prices=Prices())]
        self.assertEqual(self.unproven(books), {Claim.PRICE})

    def test_prices_of_before(self) -> None:
        """What was charged by prices that others had replaced may not have been heard of yet."""
        books = honest()
        dearer = Prices(per_cpu_per_minute=Neuron(10**6), create_fee=Neuron(7000))
        assert books.chain.records is not None
        books.chain.records.append(PriceRecord(block=2, acknowledged_at=T0 - 1, prices=dearer))
        books.settle(books.sign(sandbox="sb-3", rate=10**6, fee=10**6))
        self.assertEqual(self.unproven(books), {Claim.PRICE})
        last = judge(books).receipts[-1]
        self.assertIs(last.proof, Proof.PROVEN)

    def test_missing_and_new(self) -> None:
        """What was settled a moment ago may have been signed after the receipts were told."""
        books = honest()
        books.chain.newest = books.block
        del books.receipts[-1]
        self.assertEqual(self.unproven(books), {Claim.COMPLETE})

    def test_missing_from_a_block(self) -> None:
        """What is missing before the first receipt shows, and is not proven where none tells it."""
        books = honest()
        del books.receipts[CREATED]
        self.assertIs(judge(books).history[0].proof, Proof.REFUTED)
        self.assertIs(judge(books, first_block=0).history[0].proof, Proof.REFUTED)
        self.assertIn("before block 12, name it to begin with", judge(books).history[0].why)
        named = judge(books, first_block=books.receipts[0].block)
        self.assertIs(named.history[0].proof, Proof.PROVEN)
        books.chain.all_at_once = False
        self.assertEqual(self.unproven(books), {Claim.COMPLETE})
        self.assertIs(judge(books, first_block=0).history[0].proof, Proof.REFUTED)

    def test_a_truncated_history(self) -> None:
        """The last receipts alone are never a whole history, whatever the node takes at once."""
        for at_once, proof in ((True, Proof.REFUTED), (False, Proof.NOT_PROVEN)):
            books = honest()
            books.chain.all_at_once = at_once
            del books.receipts[:-3]
            self.assertIs(judge(books).history[0].proof, proof)


class FormTests(SynchronousTestCase):
    """
    What is no receipt, and what is told twice.
    """

    def test_no_receipt(self) -> None:
        """It is refuted under its id, or its place, and the others are judged all the same."""
        books = honest()
        documents: list[Any] = [receipt_document(one) for one in books.receipts]
        documents[3] = {**documents[3], "fee": 7}
        documents.append("nothing")
        documents.append({**documents[0], "id": "twin", "sandbox": "sb-1\u200b"})
        verdicts = verify(documents, books.chain, user=USER, provider=PROVIDER, whole=False)
        wrong = [one.id for one in verdicts.receipts if one.receipt is None]
        self.assertEqual(wrong, [books.receipts[3].id, "#11", "twin"])
        self.assertEqual(proofs(verdicts, Proof.REFUTED), {Claim.FORM})

    def test_twice(self) -> None:
        """The same from two pages counts once; two under one id are refuted."""
        books = honest()
        books.receipts.append(books.receipts[FIRST])
        self.assertIs(judge(books).proof, Proof.PROVEN)
        books.receipts.append(evolve(books.receipts[FIRST], owed=Neuron(1)))
        self.assertIn(Claim.FORM, proofs(judge(books), Proof.REFUTED))

    def test_as_json(self) -> None:
        """Everything that came out, with what it means and what is never proven."""
        document = judge(honest()).document()
        self.assertEqual((document["proof"], len(document["receipts"])), ("proven", 10))
        self.assertIn("that there was such a sandbox", document["not_provable"][0])
        self.assertEqual(
            set(document["receipts"][0]["findings"][0]), {"claim", "means", "proof", "why"}
        )

    def test_nothing(self) -> None:
        """Of no receipts nothing is proven; refuted are they where something was settled."""
        for first in (None, 0):
            self.assertIs(judge(Books(), first_block=first).proof, Proof.NOT_PROVEN)
        books = honest()
        books.receipts.clear()
        self.assertIs(judge(books).proof, Proof.REFUTED)
        self.assertIs(judge(books, first_block=0).proof, Proof.REFUTED)
        books.chain.all_at_once = False
        self.assertIs(judge(books).proof, Proof.NOT_PROVEN)


class VectorTests(SynchronousTestCase):
    """
    The vector of the wire facts.
    """

    def test_vector(self) -> None:
        """Its hash and its signature are proven of a receipt that says what it says."""
        hashed = "0x479468908be0de1b1a995dfe7761e1a2cec727edbefff256e895a3bad84b45aa"
        signed = (
            "0x43511a396585f3500b5ed5bb7ed08b8149d4b63ac79337acc116eaaca18c3f26"
            "41e7585e1ac66365ceec914e9d782513316875a762166d28d6d993043ce2660b1b"
        )
        books = Books(nonce=41)
        made = books.sign(sandbox="sb-0001", fee=1_000_020, rate=1_000_020)
        self.assertEqual(made.usage_hash, hashed)
        # Of the development key 0x11...11, which never guards real money.
        signer = Address("0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A")
        books.chain.keys = [(0, signer)]
        books.receipts.append(evolve(made, signature=signed, signer=signer))
        verdicts = judge(books)
        found = proofs(verdicts, Proof.PROVEN)
        wanted = {Claim.PLACE, Claim.HASH, Claim.SIGNATURE, Claim.SIGNER}
        self.assertLessEqual(wanted, found, why(verdicts))


class RotationTests(SynchronousTestCase):
    """
    The provider changes his key.
    """

    def test_both_keys(self) -> None:
        """What an earlier key signed is proven by its own time, what the new one did by its."""
        books = honest()
        books.chain.keys.append((books.block + 1, OTHER.address))
        books.settle(books.sign(key=OTHER, sandbox="sb-7"))
        verdicts = judge(books)
        self.assertIs(verdicts.proof, Proof.PROVEN, why(verdicts))


LENGTHS = st.lists(st.integers(1, 4000), min_size=1, max_size=4)


class RoundingTests(SynchronousTestCase):
    """What is rounded by itself may be a neuron dearer by itself."""

    def test_merged_of_short_runs(self) -> None:
        """Each second of three runs was the second of its run, and cost a whole neuron."""
        rate = NeuronPerMinute(40)
        parts = tuple(
            Part(
                id=ChargeId(f"sb-7:{T0 + begin}"),
                period_start=UnixSeconds(T0 + begin),
                period_end=UnixSeconds(T0 + begin + 1),
                units=1,
                amount=period_amount(rate, T0 + begin - 1, T0 + begin, T0 + begin + 1),
                rate=rate,
            )
            for begin in (10, 20, 30)
        )
        books = Books()
        receipt = books.sign(
            id=f"sb-7:{T0 + 10}:merged:{T0 + 31}",
            sandbox="sb-7",
            period_start=T0 + 10,
            period_end=T0 + 31,
            units=3,
            rate=rate,
            fee=Neuron(sum(part.amount for part in parts)),
            collects=parts,
        )
        self.assertEqual(receipt.fee, 3)
        self.assertEqual(rating_of(rate, 3), 2)
        books.settle(receipt)
        refuted = proofs(judge(books), Proof.REFUTED)
        self.assertNotIn(Claim.RATING, refuted)
        self.assertNotIn(Claim.PARTS, refuted)


def imported(receipt: Receipt, number: int, **more: Any) -> Receipt:
    """As what the Go implementation signed for nobody knows what: its n-th."""
    hashed = "0x" + f"{number + 1:02x}" * 32
    id_ = imported_charge_id(receipt.sandbox, hashed, 0)
    return signed(evolve(receipt, **{"id": id_, "usage_hash": hashed, **more}))


def signed(receipt: Receipt) -> Receipt:
    """With the hash that it has."""
    signature = SIGNER.sign_digest(typed_digest(DOMAIN, struct(receipt)))
    return evolve(receipt, signature="0x" + signature.hex())


class ImportedTests(SynchronousTestCase):
    """What began with the Go implementation."""

    def test_no_excuse(self) -> None:
        """
        To be called imported hides nothing that could be known: neither a time, nor another
        sandbox's voucher, nor one use that was paid twice.
        """
        moment = {"period_start": T0, "period_end": T0, "rate": 0, "fee": Neuron(77)}
        books = Books()
        honest = books.sign(kind=ChargeKind.IMPORTED, **moment)
        for wrong, claim in (
            (imported(books.sign(), 1), Claim.HASH),
            (imported(books.sign(kind=ChargeKind.IMPORTED, rate=0, units=0), 1), Claim.HASH),
            (imported(honest, 1, sandbox=SandboxId("sb-2")), Claim.HASH),
            (imported(honest, 1, usage_hash="0x" + "77" * 32), Claim.HASH),
            (evolve(imported(honest, 1), id=ChargeId("sb-1:imported:")), Claim.HASH),
        ):
            books = Books()
            books.settle(wrong)
            self.assertIn(claim, proofs(judge(books), Proof.REFUTED), wrong)
        ordinary = Books()
        ordinary.run("sb-1", T0, [T0 + 60])
        again = ordinary.sign(kind=ChargeKind.IMPORTED, **moment)
        hashed = ordinary.receipts[0].usage_hash
        assert hashed is not None
        id_ = imported_charge_id(again.sandbox, hashed, 0)
        ordinary.settle(signed(evolve(again, id=id_, usage_hash=hashed)))
        self.assertIn(Claim.PERIOD, proofs(judge(ordinary), Proof.REFUTED))

    def test_unknown_time(self) -> None:
        """
        What it is for is not proven, nor refuted beside another one of the same moment; all that
        the chain says is.
        """
        books = Books()
        for number in range(2):
            said = {"period_start": T0, "period_end": T0, "rate": 0, "fee": Neuron(77)}
            made = books.sign(kind=ChargeKind.IMPORTED, **said)
            books.settle(imported(made, number), paid=7 if number else None)
        left = books.receipts[-1]
        debt = evolve(books.collect(left, id=f"{left.id}:debt:1"), usage_hash=left.usage_hash)
        books.settle(signed(debt))
        verdicts = judge(books)
        self.assertEqual(proofs(verdicts, Proof.REFUTED), set(), why(verdicts))
        for one in verdicts.receipts:
            unproven = {f.claim for f in one.findings if f.proof is not Proof.PROVEN}
            self.assertEqual(unproven, {Claim.HASH, Claim.PERIOD, Claim.PRICE})

    def test_not_for_others(self) -> None:
        """Its signature and its fee are as any other's: a higher fee than was settled is told."""
        books = Books()
        said = {"period_start": T0, "period_end": T0, "rate": 0, "fee": Neuron(77)}
        books.settle(imported(books.sign(kind=ChargeKind.IMPORTED, **said), 1))
        self.assertFalse(proofs(judge(books), Proof.REFUTED))
        books.receipts[0] = evolve(books.receipts[0], fee=Neuron(70), paid=Neuron(70))
        self.assertTrue(proofs(judge(books), Proof.REFUTED))

    def test_rate_by_the_second(self) -> None:
        """A session goes on at the rate that was rounded down to the second, part by part."""
        books = Books()
        books.run("sb-1", T0, [T0 + 60], rate=600 + 2 * 300)
        verdicts = judge(books)
        self.assertIs(verdicts.proof, Proof.PROVEN, why(verdicts))


class HonestTests(SynchronousTestCase):
    """
    Whatever an honest provider settles is proven.
    """

    @given(
        st.lists(
            st.tuples(LENGTHS, st.sampled_from(["each", "merged", "batch", "owed"])),
            min_size=1,
            max_size=4,
        ),
        st.integers(1, 4),
        st.integers(1, 8),
    )
    def test_honest(self, runs: list[tuple[list[int], str]], cores: int, gib: int) -> None:
        """Runs of any length, in any split, one by one, merged, in batches or in debt."""
        books, rate = Books(), 601 * cores + 330 * gib
        for number, (lengths, how) in enumerate(runs):
            name, start = f"sb-{number}", T0 + 17 * number
            ends = [start + sum(lengths[: n + 1]) for n in range(len(lengths))]
            books.settle(books.create(name, start))
            if how == "merged":
                books.settle(merged(books, name, start, ends))
                continue
            books.run(name, start, ends, rate=rate)
            later = {"period_start": ends[-1], "period_end": ends[-1] + 60, "rate": rate}
            if how == "batch":
                books.settle(books.sign(sandbox=name, **later), batch=True)
            if how == "owed":
                books.settle(books.sign(sandbox=name, **later), paid=3)
                books.settle(books.collect(books.receipts[-1]), paid=5)
                books.settle(books.collect(books.receipts[-1]))
        verdicts = judge(books)
        self.assertIs(verdicts.proof, Proof.PROVEN, why(verdicts))
        self.assertTrue(all(isinstance(one.receipt, Receipt) for one in verdicts.receipts))
