"""K7: a later nonce that lands first makes the earlier voucher worthless."""

from __future__ import annotations

from tests.evm.flaws import of_row
from tests.evm.flaws.standing import StandingCase
from tests.traps.defects import Defect, DefectCase


class ContractTests(StandingCase):
    """Builds of the contract that have it."""

    def test_noticed(self) -> None:
        """Nonces that repeat or fall turn the tests red."""
        self.assert_noticed(of_row("K7"))


class DaemonTests(DefectCase):
    """Our own order of a wallet's vouchers."""

    def test_order_of_a_batch(self) -> None:
        """Signed vouchers that go out highest nonce first turn the tests red."""
        defect = Defect(
            path="sandbox_billing/ledger/settlement.py",
            find="return (0, record.seal.nonce, 0)",
            replace="return (0, -record.seal.nonce, 0)",
        )
        tests = "tests.ledger.test_settlement.PlanWalletTests."
        self.assert_noticed(defect, tests + "test_offered_again")

    def test_one_batch_at_a_time(self) -> None:
        """A wallet's next voucher in another transaction, before the earlier is final, does too."""
        queue = "sandbox_billing/adapters/redis/queue.py"
        # Three stand behind each other: who is offered, who is planned, what is stored.
        defects = (
            Defect(path=queue, find='if in_flight == b"0" and (', replace="if ("),
            Defect(
                path="sandbox_billing/services/settler.py",
                find="q is not None and q.in_flight is None and",
                replace="q is not None and",
            ),
            Defect(
                path=queue,
                find="            draft.expect(field_absent(keys.in_flight(), wallet.hex))\n",
                replace="",
            ),
        )
        self.assert_noticed(
            defects, "tests.services.test_settler.SettlerTests.test_waits_for_the_wallet_s_batch"
        )
