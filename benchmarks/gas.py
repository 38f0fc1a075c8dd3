"""
Gas of settling on our contract, behind its beacon proxy on py-evm (Cancun).

Both paths, four sizes, and the two extremes of who is billed: a wallet per voucher, each with
history (it has settled before, so its slot is not empty), and one wallet for all of them.  Keys,
nonces and amounts are fixed, so gas is exact: C{gas.json} beside this file holds it, and
L{tests.evm.test_gas} holds us to it.  The deployed contract's figures are Part 2's of our
plan: its public source, compiled the same way and measured the same way.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from attrs import define, frozen
from eth_account import Account
from eth_account.signers.local import LocalAccount
from web3.types import Wei

from tests.evm.harness import STAKE, TOKEN, Evm


SIZES = (1, 10, 50, 200)
FEE = 15 * TOKEN // 10_000
FIRST_NONCE = 1_000
SNAPSHOT = Path(__file__).with_name("gas.json")

VOUCHERS, BATCH = "settleFeesWithTEE", "settleBatch"
"""A signature for each voucher, or one for all of them."""

MANY, ONE = "different users", "one user"

DEPLOYED = {(MANY, 50): 31_345, (ONE, 50): 18_004, (MANY, 1): 78_066, (ONE, 1): 78_066}
"""
Gas per voucher on the deployed contract, which has no C{settleBatch}.

Quoted, not measured here: its source belongs to others and is not in this repository.  It
was compiled with the same settings and settled the same vouchers.
"""


@frozen(kw_only=True)
class Measured:
    """
    One transaction.

    @ivar path: L{VOUCHERS} or L{BATCH}.
    @ivar wallets: L{MANY} or L{ONE}.
    @ivar size: Vouchers in it.
    @ivar gas: Of the whole transaction.
    """

    path: str
    wallets: str
    size: int
    gas: int

    @property
    def per_voucher(self) -> float:
        """Its share of everything, the 21,000 for a transaction included."""
        return self.gas / self.size

    @property
    def ratio(self) -> float | None:
        """To what the same costs on the deployed contract, where that is known."""
        deployed = DEPLOYED.get((self.wallets, self.size))
        return None if deployed is None else self.per_voucher / deployed


@define
class Bench:
    """
    @ivar users: Funded and acknowledged; each has settled once, with L{FIRST_NONCE}.
    """

    evm: Evm
    users: Sequence[LocalAccount]

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
        evm.send(evm.batch(*((user, FIRST_NONCE, FEE) for user in bench.users)), evm.provider)
        return bench

    def measure(self, path: str, wallets: str, size: int) -> Measured:
        """
        One transaction on the same state as every other one.

        @raise RuntimeError: A voucher was refused, which would look cheap.
        """
        evm = self.evm
        before = evm.snapshot()
        earned = evm.earnings()
        of_one = wallets == ONE
        claims = [
            (self.users[0 if of_one else at], FIRST_NONCE + 1 + (at if of_one else 0), FEE)
            for at in range(size)
        ]
        if path == BATCH:
            call = evm.batch(*claims)
        else:
            vouchers = [evm.voucher(nonce, fee, user=user) for user, nonce, fee in claims]
            call = evm.serving.functions.settleFeesWithTEE(vouchers)
        receipt = evm.send(call, evm.provider)
        if evm.earnings() != earned + FEE * size:
            raise RuntimeError(f"earned {evm.earnings() - earned} instead of {FEE * size}")
        evm.restore(before)
        return Measured(path=path, wallets=wallets, size=size, gas=receipt["gasUsed"])


def bench_user(number: int) -> LocalAccount:
    """A development key made of a number; it never guards real money."""
    account: LocalAccount = Account.from_key((0xBE9C << 64 | number + 1).to_bytes(32, "big"))
    return account


def measure(sizes: Sequence[int] = SIZES) -> list[Measured]:
    """@param sizes: Of batches."""
    bench = Bench.of(max(sizes))
    return [
        bench.measure(path, wallets, size)
        for path in (VOUCHERS, BATCH)
        for wallets in (MANY, ONE)
        for size in sizes
    ]


def snapshot(measured: Iterable[Measured]) -> str:
    """What C{gas.json} says: gas of each transaction by path, wallets and size."""
    paths: dict[str, dict[str, dict[str, int]]] = {}
    for each in measured:
        by_size = paths.setdefault(each.path, {}).setdefault(each.wallets, {})
        by_size[str(each.size)] = each.gas
    return json.dumps(paths, indent=1) + "\n"


def committed() -> list[Measured]:
    """The figures that C{gas.json} holds."""
    paths: Mapping[str, Mapping[str, Mapping[str, int]]] = json.loads(SNAPSHOT.read_text())
    return [
        Measured(path=path, wallets=wallets, size=int(size), gas=gas)
        for path, by_wallets in paths.items()
        for wallets, by_size in by_wallets.items()
        for size, gas in by_size.items()
    ]


def table(measured: Iterable[Measured]) -> str:
    """Markdown, so that the README can quote it."""
    rows = [
        "| path | wallets | vouchers | gas | gas per voucher | of the deployed contract's |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for each in measured:
        ratio = "" if each.ratio is None else f"{each.ratio:.0%}"
        rows.append(
            f"| `{each.path}` | {each.wallets} | {each.size} | {each.gas:,} "
            f"| {each.per_voucher:,.0f} | {ratio} |"
        )
    return "\n".join(rows)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gas")
    parser.add_argument("--write", action="store_true", help=f"rewrite {SNAPSHOT.name} too")
    asked = parser.parse_args()
    found = measure()
    print(table(found))
    if asked.write:
        SNAPSHOT.write_text(snapshot(found))


if __name__ == "__main__":
    main()
