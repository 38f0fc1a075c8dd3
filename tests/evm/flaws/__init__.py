"""
Ways to get the contract wrong, compiled: what the tests must notice.

C{contracts/test/flaws} says how each is made from the real source, and
C{bin/build-flaws} compiles them; which test notices which is said here.
C{docs/mutations_table.py} makes the list that people read.

Tests: L{tests.evm.test_flaws}; those with a row of failures.md in L{tests.traps}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from attrs import field, frozen


HERE = Path(__file__).parent
FOUND = HERE / "found.txt"
"""What L{tests.evm.flaws.hunt} wrote."""

_SETTLEMENT = "tests.evm.test_settlement"
_MONEY = f"{_SETTLEMENT}.MoneyTests"
_REFUSALS = f"{_SETTLEMENT}.RefusalTests"
_BATCH = "tests.evm.test_batch.BatchTests"
_REFUNDS = "tests.evm.test_users.RefundTests"
_WORD = "tests.evm.test_users.AcknowledgementTests"
_LEAVING = "tests.evm.test_providers.LeavingTests"
_DEPLOYMENT = "tests.evm.test_deployment"
_PROBES = "tests.evm.flaws.probes.ProbeTests"

CAUGHT_BY: dict[str, tuple[str, ...]] = {
    "refund-trimmed": (f"{_MONEY}.test_k1_refund_is_left_alone",),
    "refund-taken-whole": (f"{_MONEY}.test_k2_never_more_than_the_fee",),
    "shortfall-says-fee": (f"{_MONEY}.test_k4_the_rest_is_visible",),
    "shortfall-silent": (f"{_MONEY}.test_k4_the_rest_is_visible",),
    "refund-before-balance": (f"{_MONEY}.test_k1_refund_is_left_alone",),
    "refund-emptied-by-a-part": (f"{_MONEY}.test_k2_never_more_than_the_fee",),
    "fee-narrowed": (f"{_MONEY}.test_fees_without_bounds",),
    "earnings-overwritten": (f"{_PROBES}.test_earnings_add",),
    "first-run-unbooked": (f"{_PROBES}.test_two_providers",),
    "second-run-keeps-earnings": (f"{_PROBES}.test_two_providers",),
    "any-acknowledged-version": (
        f"{_REFUSALS}.test_k5_signer_change",
        f"{_REFUSALS}.test_price_change",
    ),
    "signer-change-unversioned": (
        f"{_REFUSALS}.test_k5_signer_change",
        f"{_WORD}.test_voided_by_change",
    ),
    "expected-version-ignored": (f"{_WORD}.test_expected_version",),
    "revoke-without-effect": (f"{_REFUSALS}.test_revoke", f"{_WORD}.test_yes_and_no"),
    "nonce-repeats": (f"{_REFUSALS}.test_k7_nonces_rise", f"{_BATCH}.test_once"),
    "nonce-unchecked": (f"{_REFUSALS}.test_k7_nonces_rise", f"{_BATCH}.test_once"),
    "nonce-narrowed": (
        f"{_REFUSALS}.test_nonces_are_not_narrowed",
        f"{_BATCH}.test_wide_numbers",
    ),
    "anybody-submits": (f"{_REFUSALS}.test_k8_submitters", f"{_BATCH}.test_submitters"),
    "submits-behind-its-own": (f"{_PROBES}.test_behind_its_own",),
    "anybody-submits-a-batch": (f"{_BATCH}.test_submitters",),
    "one-balance-for-all": ("tests.evm.test_users.DepositTests.test_per_provider",),
    "left-provider-signs-nothing": (f"{_LEAVING}.test_what_stays",),
    "any-signer": (f"{_REFUSALS}.test_order_of_checks", f"{_REFUSALS}.test_k5_signer_change"),
    "batch-unsigned": (f"{_BATCH}.test_bad_signature", f"{_BATCH}.test_signed_as_a_whole"),
    "high-s-passes": (f"{_REFUSALS}.test_k17_one_form_of_signature",),
    "frozen-separator": (f"{_REFUSALS}.test_k17_after_a_split",),
    "fee-unsigned": (f"{_REFUSALS}.test_signed_fields",),
    "update-keeps-value": (
        "tests.evm.test_providers.RegistrationTests.test_update_takes_no_money",
    ),
    "stake-stays": (f"{_LEAVING}.test_what_stays", f"{_LEAVING}.test_lock"),
    "refund-to-sender-only": (
        f"{_REFUNDS}.test_to_a_receiver",
        f"{_REFUNDS}.test_wallet_that_cannot_receive",
    ),
    "deposit-for-nobody": ("tests.evm.test_users.DepositTests.test_nobody",),
    "deposit-narrowed": (f"{_PROBES}.test_deposit_beyond_128_bits",),
    "stake-not-paid-in": ("tests.evm.test_providers.RegistrationTests.test_stake_exactly",),
    "request-keeps-balance": (f"{_REFUNDS}.test_request", f"{_MONEY}.test_exactly_all"),
    "request-forgets-earlier": (f"{_REFUNDS}.test_replace", f"{_REFUNDS}.test_cancel"),
    "refund-unlocked": (f"{_REFUNDS}.test_lock",),
    "refund-lock-kept": (f"{_REFUNDS}.test_replace",),
    "refund-paid-before-cleared": (f"{_REFUNDS}.test_calling_back",),
    "earnings-paid-before-cleared": (f"{_PROBES}.test_earnings_once",),
    "leave-unlocked": (f"{_LEAVING}.test_lock",),
    "announcement-survives": (f"{_LEAVING}.test_coming_back",),
    "settles-after-leaving": (f"{_LEAVING}.test_what_stays",),
    "version-forgotten": (f"{_LEAVING}.test_coming_back",),
    "preview-stands-still": (f"{_SETTLEMENT}.PreviewTests.test_running_balance",),
    "anybody-sets-stake": (f"{_DEPLOYMENT}.OwnershipTests.test_stake_is_the_owners",),
    "initialised-again": (f"{_DEPLOYMENT}.DeploymentTests.test_initialised_once",),
    "implementation-open": (f"{_DEPLOYMENT}.DeploymentTests.test_initialised_once",),
    "slots-moved": (f"{_DEPLOYMENT}.UpgradeTests.test_state_survives",),
    "owner-in-one-step": (f"{_DEPLOYMENT}.OwnershipTests.test_two_steps",),
    "beacon-in-one-step": (f"{_DEPLOYMENT}.OwnershipTests.test_two_steps",),
}
"""The tests that must go red, by flaw; each of them is green on the real contract."""


@frozen(kw_only=True)
class Find:
    """
    How random sequences came upon a flaw.

    @ivar sequence: Which one of them it was, from 1.
    @ivar steps: How many of its steps matter.
    @ivar law: What was broken.
    """

    sequence: int
    steps: int
    law: str


@frozen(kw_only=True)
class Flaw:
    """
    One way to get the contract wrong.

    @ivar id: Its name, here and in C{contracts/test/flaws}.
    @ivar contract: Which contract has it.
    @ivar row: The row of failures.md that it is, or None.
    @ivar flaw: What is wrong, in words.
    @ivar loses: Who loses by it, and how.
    @ivar bytecode: C{0x} and the code that creates it.
    @ivar caught_by: Dotted names of the tests that must notice.
    @ivar found: By random sequences; None if by none.
    """

    id: str
    contract: str
    row: str | None
    flaw: str
    loses: str
    bytecode: str = field(repr=False)
    caught_by: tuple[str, ...]
    found: Find | None


def _found() -> dict[str, Find]:
    lines = (line.split("|") for line in FOUND.read_text("utf-8").splitlines()[1:])
    return {
        id: Find(sequence=int(rest[0]), steps=int(rest[1]), law=rest[2])
        for id, *rest in lines
        if rest != ["never"]
    }


@cache
def flaws() -> tuple[Flaw, ...]:
    """All of them, by id."""
    every, finds = [], _found()
    for path in sorted(HERE.glob("[a-z]*.json")):
        stored = json.loads(path.read_text("utf-8"))
        tests = CAUGHT_BY.get(stored["id"], ())
        every.append(Flaw(caught_by=tests, found=finds.get(stored["id"]), **stored))
    return tuple(every)


@frozen(kw_only=True)
class Deployed:
    """
    The double of the contract that is deployed today (C{contracts/test/deployed}).

    @ivar abi: In the standard JSON form; errors are strings, and none of our additions is there.
    @ivar bytecode: C{0x} and the code that creates its implementation, for a proxy like ours.
    """

    abi: tuple[Mapping[str, Any], ...]
    bytecode: str = field(repr=False)


@cache
def deployed() -> Deployed:
    """What the daemon meets on 0G Galileo."""
    stored = json.loads((HERE / "DeployedServing.json").read_text("utf-8"))
    return Deployed(abi=tuple(stored["abi"]), bytecode=stored["bytecode"])


def of_row(row: str | None) -> tuple[Flaw, ...]:
    """Those of a row of failures.md; those of none."""
    return tuple(each for each in flaws() if each.row == row)
