"""Tests for C{sandbox_billing.ledger.audit}: a chain that tells when it was touched."""

from __future__ import annotations

import hashlib
import json

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.ledger._codec import decode, encode
from sandbox_billing.ledger.audit import FIRST, AuditEntry, broken_at, chained, entry_hash
from sandbox_billing.ledger.money import Neuron, UnixSeconds


ENTRY = AuditEntry(
    at=UnixSeconds(7), by="olga", what="drop", subject="sb-1:0", amount=Neuron(5), reason="waived"
)

OLD = (
    b'{"amount":"5","at":7,"by":"olga","reason":"waived","subject":"sb-1:0","v":1,"what":"forgive"}'
)
"""As it was stored before there was a chain."""


def chain(subjects: list[str], start: tuple[bytes, ...] = ()) -> list[bytes]:
    """So many entries, each appended to those before."""
    forms = list(start)
    for subject in subjects:
        entry = chained(evolve(ENTRY, subject=subject), forms[-1] if forms else None)
        forms.append(encode(entry).encode())
    return forms


CHAINS = st.builds(
    lambda subjects, old: chain(subjects, (OLD,) * old),
    st.lists(st.text(max_size=3), min_size=2, max_size=6),
    st.integers(0, 2),
)


class ChainTests(SynchronousTestCase):
    """Appending and looking."""

    @given(CHAINS)
    def test_whole(self, forms: list[bytes]) -> None:
        """What was appended in order follows, also upon entries from before the chain."""
        self.assertIsNone(broken_at(forms))
        self.assertIsNone(broken_at(forms[:0]))

    @given(CHAINS, st.data())
    def test_touched(self, forms: list[bytes], data: st.DataObject) -> None:
        """An entry that was changed, removed or put in before others breaks the chain."""
        first = sum(form == OLD for form in forms)
        place = data.draw(st.integers(first, len(forms) - 2))
        changed = encode(evolve(decode(AuditEntry, forms[place]), by="mallory")).encode()
        self.assertIsNotNone(broken_at([*forms[:place], changed, *forms[place + 1 :]]))
        self.assertEqual(place, broken_at([*forms[:place], *forms[place + 1 :]]))
        self.assertEqual(place, broken_at([*forms[:place], b"{", *forms[place:]]))
        self.assertEqual(place + 1, broken_at([*forms[: place + 1], OLD, *forms[place + 1 :]]))

    def test_hash(self) -> None:
        """Anybody can compute it: sha256 of the bytes in the list; zeros before the first."""
        first, second = chain(["a", "b"])
        self.assertEqual(json.loads(first)["previous"], FIRST)
        self.assertEqual(json.loads(second)["previous"], hashlib.sha256(first).hexdigest())
        self.assertEqual(entry_hash(first), hashlib.sha256(first).hexdigest())

    def test_old_form(self) -> None:
        """An entry from before the chain is read, and the next one follows it."""
        self.assertEqual(decode(AuditEntry, OLD), evolve(ENTRY, what="forgive"))
        self.assertIsNone(broken_at(chain(["a"], (OLD,))))
