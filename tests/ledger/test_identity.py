"""Addresses, sandbox ids, and charge ids that are derived and never random."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import (
    Address,
    SandboxId,
    compute_charge_id,
    create_charge_id,
    debt_charge_id,
    sandbox_id,
)
from tests.strategies import addresses, moments, sandbox_ids


class AddressTests(SynchronousTestCase):
    """An address is one value, whatever its spelling was."""

    @given(addresses())
    def test_spelling(self, address: Address) -> None:
        """Upper case and the 0X prefix make no other wallet (Q-7 counts per wallet)."""
        shouted = Address("0X" + address.hex[2:].upper())
        self.assertEqual((address, hash(address)), (shouted, hash(shouted)))
        self.assertEqual(address.hex, str(shouted))

    @given(addresses())
    def test_bytes(self, address: Address) -> None:
        """Twenty bytes and back."""
        self.assertEqual(address, Address.from_bytes(address.to_bytes()))
        self.assertEqual(20, len(address.to_bytes()))

    def test_no_address(self) -> None:
        """Too short, too long, without prefix, not hex, with a newline, or no text at all."""
        good = "0x" + "ab" * 20
        for bad in (good[:-1], good + "0", good[2:], "0x" + "g" * 40, good + "\n", "", None, 5):
            with self.subTest(bad=bad):
                self.assertRaises(BadInput, Address, bad)


class SandboxIdTests(SynchronousTestCase):
    """Ids that can be put into keys, paths and charge ids."""

    @given(sandbox_ids())
    def test_good(self, sandbox: SandboxId) -> None:
        """UUIDs and short ids pass unchanged."""
        self.assertEqual(sandbox, sandbox_id(sandbox))

    def test_bad(self) -> None:
        """Whatever could blur a charge id, a key or a path is refused."""
        for bad in ("", "a:b", "a/b", "../a", ".a", "-a", "a b", "a\n", "ä", "a" * 129, None, 7):
            with self.subTest(bad=bad):
                self.assertRaises(BadInput, sandbox_id, bad)


class ChargeIdTests(SynchronousTestCase):
    """Q-2: the id of a charge follows from what it is for."""

    def test_spellings(self) -> None:
        """The three forms that identity.py documents."""
        sandbox = SandboxId("sb-1")
        self.assertEqual("sb-1:1700000000", compute_charge_id(sandbox, 1700000000))
        self.assertEqual("sb-1:create", create_charge_id(sandbox))
        self.assertEqual("sb-1:create:debt:1", debt_charge_id(create_charge_id(sandbox), 1))

    @given(
        st.lists(st.tuples(sandbox_ids(), moments()), min_size=2, max_size=2, unique=True),
        st.integers(1, 9),
        st.integers(1, 9),
    )
    def test_injective(self, periods: list[tuple[SandboxId, int]], first: int, second: int) -> None:
        """Two different periods, fees or debts never share an id."""
        found = set()
        for sandbox, start in periods:
            for charge in (compute_charge_id(sandbox, start), create_charge_id(sandbox)):
                found |= {charge, debt_charge_id(charge, first), debt_charge_id(charge, second)}
        charged = len(periods) + len({sandbox for sandbox, _ in periods})
        self.assertEqual(charged * len({0, first, second}), len(found))

    @given(sandbox_ids(), moments(), st.integers(1, 9))
    def test_debt_of_a_debt(self, sandbox: SandboxId, start: int, number: int) -> None:
        """Debts are counted from the original charge and never nested."""
        charge = compute_charge_id(sandbox, start)
        again = debt_charge_id(debt_charge_id(charge, number), number + 1)
        self.assertEqual(debt_charge_id(charge, number + 1), again)
