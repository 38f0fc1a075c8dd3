"""
Gas per voucher on our contract, in py-evm (Cancun), for batches of 1 and of many.

Fresh: the first vouchers of their wallets.  Warm: later ones, whose storage has
been written before.  Baseline: one warm voucher alone in its transaction.
"""

from __future__ import annotations

from attrs import define, field
from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3.types import Wei

from benchmarks.report import Figure, asked_count, table
from tests.evm.harness import STAKE, TOKEN, Evm


BATCH = 50
FEE = 15 * TOKEN // 10_000


@define
class Bench:
    """
    @ivar users: Funded and acknowledged, none settled yet.
    """

    evm: Evm
    users: list[LocalAccount]
    _nonces: dict[str, int] = field(factory=dict)

    @classmethod
    def of(cls, count: int) -> Bench:
        """@param count: Of users."""
        evm = Evm()
        evm.register(value=STAKE)
        bench = cls(evm, [bench_user(number) for number in range(count)])
        for user in bench.users:
            evm.w3.eth.send_transaction(
                {"from": evm.owner.address, "to": user.address, "value": Wei(10 * TOKEN)}
            )
            evm.tester.add_account("0x" + user.key.hex())
            evm.deposit(TOKEN, user)
            evm.acknowledge(user=user)
        return bench

    def _next(self, user: LocalAccount) -> int:
        nonce = self._nonces.get(user.address, 0) + 1
        self._nonces[user.address] = nonce
        return nonce

    def settle(self, *users: LocalAccount) -> float:
        """Gas per voucher of one transaction of C{settleFeesWithTEE}, a signature each."""
        vouchers = [self.evm.voucher(self._next(user), FEE, user=user) for user in users]
        call = self.evm.serving.functions.settleFeesWithTEE(vouchers)
        receipt = self.evm.send(call, self.evm.provider)
        self._paid()
        return receipt["gasUsed"] / len(users)

    def settle_batch(self, *users: LocalAccount) -> float:
        """The same with one signature for all."""
        lines = [(user, self._next(user), FEE) for user in users]
        receipt = self.evm.send(self.evm.batch(*lines), self.evm.provider)
        self._paid()
        return receipt["gasUsed"] / len(users)

    def _paid(self) -> None:
        """A refused voucher would look cheap."""
        expected = FEE * sum(self._nonces.values())
        if self.evm.earnings() != expected:
            raise RuntimeError(f"earned {self.evm.earnings()} instead of {expected}")


def bench_user(number: int) -> LocalAccount:
    """A development key made of a number; it never guards real money."""
    account: LocalAccount = Account.from_key((0xBE9C << 64 | number + 1).to_bytes(32, "big"))
    return account


def measure(batch: int) -> list[Figure]:
    """@param batch: Vouchers in the large batches."""
    bench = Bench.of(batch + 2)
    (first, second), many = bench.users[:2], bench.users[2:]

    def figure(what: str, value: float, baseline: Figure | None) -> Figure:
        return Figure(what=what, value=value, unit="gas", baseline=baseline)

    # The provider's earnings have been written before, as on any day but the first.
    bench.settle(first)
    alone = figure("1 voucher, warm", bench.settle(first), None)
    return [
        alone,
        figure("1 voucher, fresh", bench.settle(second), alone),
        figure(f"{batch} vouchers of {batch} wallets, fresh", bench.settle(*many), alone),
        figure(f"{batch} vouchers of {batch} wallets, warm", bench.settle(*many), alone),
        figure(f"{batch} vouchers of 1 wallet, warm", bench.settle(*[first] * batch), alone),
        figure("settleBatch of 1, warm", bench.settle_batch(first), alone),
        figure(f"settleBatch of {batch} wallets, warm", bench.settle_batch(*many), alone),
        figure(
            f"settleBatch of {batch} for 1 wallet, warm",
            bench.settle_batch(*[first] * batch),
            alone,
        ),
    ]


def main() -> None:
    """The command."""
    print(table(measure(asked_count("gas", BATCH, "vouchers in a large batch"))))


if __name__ == "__main__":
    main()
