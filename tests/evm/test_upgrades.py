"""
K15: a live proxy goes through two later versions with everything in flight.

The versions are the contract's own sources with a few words changed, as an upgrade would change
them (C{contracts/test/upgrades}): new variables out of the gap, new members at the end of
structs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from eth_account.signers.local import LocalAccount
from web3.contract import Contract
from web3.contract.contract import ContractFunction

from sandbox_billing.adapters.chain.artifacts import read
from sandbox_billing.adapters.chain.layouts import is_append
from tests.evm.harness import (
    INVALID_NONCE,
    NOT_ACKNOWLEDGED,
    PROVIDER_MISMATCH,
    STAKE,
    SUCCESS,
    EvmCase,
    error,
)


LOCK = 7200
UNAUTHORIZED = "OwnableUnauthorizedAccount(address)"


def version(name: str) -> Any:
    """A test-only contract that C{bin/build-contracts} compiled."""
    return json.loads((Path(__file__).parent / "artifacts" / f"{name}.json").read_text())


class LayoutTests(EvmCase):
    """What the compiler says of these versions' storage."""

    def test_appends(self) -> None:
        """Each grew out of those before it, and none back."""
        storages = [
            read("SandboxServing.json")["storageLayout"],
            version("SandboxServingV2")["storageLayout"],
            version("SandboxServingV3")["storageLayout"],
        ]
        for at, old in enumerate(storages):
            for new in storages[at:]:
                self.assertEqual([], is_append(old, new))
            for new in storages[:at]:
                self.assertTrue(is_append(old, new))

    def test_what_would_be_lost(self) -> None:
        """A version with a variable in front is refused, and reads nobody's balance again."""
        shifted = version("Shifted")
        told = is_append(read("SandboxServing.json")["storageLayout"], shifted["storageLayout"])
        self.assertIn("_accounts moved from slot 1+0 to slot 2+0", told)

        evm = self.evm
        evm.deposit(100)
        fresh = evm.create(shifted["bytecode"]).address
        evm.send(evm.beacon.functions.upgradeTo(fresh), evm.owner)
        self.assertEqual(((0, 0), 100), (evm.books(), evm.holdings()))


class LiveTests(EvmCase):
    """
    One provider serves, another is leaving; one user holds, owes and waits for a refund, one
    revoked, one never said a word; both ownerships are on offer.
    """

    def prepare(self) -> None:
        """Bring all that about."""
        evm = self.evm
        functions = evm.serving.functions
        self.heir = evm.accounts[5]
        evm.register(value=STAKE, url="https://one.example/" + "long" * 20)
        evm.register(cpu=61)
        evm.deposit(1_000)
        evm.acknowledge()
        evm.request_refund(300)
        evm.settle(evm.voucher(7, 40))
        evm.deposit(50, evm.other)
        evm.acknowledge(user=evm.other)
        evm.acknowledge(False, user=evm.other)
        evm.deposit(5, evm.stranger)
        evm.send(
            functions.addOrUpdateService("", evm.signer.address, 1, 2, 3), evm.other, value=STAKE
        )
        evm.send(functions.deposit(evm.user.address, evm.other.address), evm.user, 70)
        evm.send(functions.acknowledgeTEESigner(evm.other.address, True), evm.user)
        evm.settle(evm.voucher(3, 20, provider=evm.other), sender=evm.other)
        evm.send(functions.requestRefund(evm.other.address, 50), evm.user)
        evm.send(functions.announceLeave(), evm.other)
        evm.send(functions.setProviderStake(STAKE + 1), evm.owner)
        for contract in (evm.serving, evm.beacon):
            evm.send(contract.functions.transferOwnership(self.heir.address), evm.owner)

    def views(self) -> dict[str, Any]:
        """Everything that can be asked, of everybody."""
        evm, functions = self.evm, self.evm.serving.functions
        providers = [evm.provider.address, evm.other.address, evm.stranger.address]
        users = [each.address for each in (evm.user, evm.other, evm.stranger, evm.owner)]
        asked = [functions[name]() for name in ("owner", "pendingOwner", "providerStake")]
        asked += [functions[name]() for name in ("LOCK_TIME", "domainSeparator")]
        for provider in providers:
            asked += [
                functions[name](provider)
                for name in (
                    "services",
                    "serviceExists",
                    "providerEarnings",
                    "getProviderEarnings",
                    "providerStakes",
                    "leavingAt",
                )
            ]
            asked.append(functions.balanceOfBatch(users, provider))
            for user in users:
                asked += [
                    functions[name](user, provider)
                    for name in ("getBalance", "getLastNonce", "isTEEAcknowledged")
                ]
        answers = {str((each.fn_name, each.arguments)): each.call() for each in asked}
        beacon = evm.beacon.functions
        return {**answers, "beacon": (beacon.owner().call(), beacon.pendingOwner().call())}

    def upgrade(self, name: str, by: LocalAccount) -> Contract:
        """Put a version behind the proxy; the proxy with that version's functions."""
        evm, compiled = self.evm, version(name)
        fresh = evm.create(compiled["bytecode"]).address
        evm.send(evm.beacon.functions.upgradeTo(fresh), by)
        return evm.w3.eth.contract(address=evm.deployment.proxy, abi=compiled["abi"])

    def refused_upgrade(self, *callers: LocalAccount) -> None:
        """None of them may."""
        # Any contract would do; the implementation in place is one.
        call = self.evm.beacon.functions.upgradeTo(self.evm.deployment.implementation)
        for caller in callers:
            self.assert_refused(error(UNAUTHORIZED, caller.address), call, caller)

    def assert_unchanged(self, before: dict[str, Any]) -> None:
        """Every view answers as before."""
        self.assertEqual(before, self.views())
        self.assertEqual(self.evm.holdings(), self.evm.owed_to_anybody())

    def second(self) -> Contract:
        """Go to version 2 and use what is new in it."""
        evm = self.evm
        v2 = self.upgrade("SandboxServingV2", evm.owner)
        stranger = error(UNAUTHORIZED, evm.stranger.address)
        self.assert_refused(stranger, v2.functions.initializeV2(9), evm.stranger)
        evm.send(v2.functions.initializeV2(10**30), evm.owner)
        again = error("InvalidInitialization()")
        self.assert_refused(again, v2.functions.initializeV2(9), evm.owner)
        self.assert_refused(again, v2.functions.initialize(9), evm.owner)
        evm.send(v2.functions.setLabel("a label that is longer than thirty-two bytes"), evm.user)
        evm.send(v2.functions.setPricePerGPU(77), evm.provider)
        return v2

    def news(self, v2: Contract) -> list[Any]:
        """What version 2 remembers beyond version 1."""
        asked: list[ContractFunction] = [
            v2.functions.cap(),
            v2.functions.labels(self.evm.user.address),
            v2.functions.labels(self.evm.other.address),
            v2.functions.pricePerGPUPerMin(self.evm.provider.address),
            v2.functions.pricePerGPUPerMin(self.evm.other.address),
        ]
        return [each.call() for each in asked]

    def test_everything_is_found(self) -> None:
        """After each upgrade, and after what is new was written, every view is as it was."""
        evm = self.evm
        before = self.views()
        self.refused_upgrade(evm.stranger, evm.provider, self.heir)
        v2 = self.second()
        self.assert_unchanged(before)
        news = self.news(v2)
        self.assertEqual([10**30, "a label that is longer than thirty-two bytes", "", 77, 0], news)

        v3 = self.upgrade("SandboxServingV3", evm.owner)
        evm.send(v3.functions.initializeV3(), evm.owner)
        evm.send(v3.functions.setNote(evm.provider.address, 2**32 - 1), evm.user)
        self.assert_unchanged(before)
        self.assertEqual(news, self.news(v3))
        self.assertEqual([evm.now() - 1, evm.owner.address], v3.functions.paused().call())
        noted = v3.functions.notes(evm.user.address, evm.provider.address).call()
        self.assertEqual(2**32 - 1, noted)

    def test_only_the_accepted_owner(self) -> None:
        """An owner to be upgrades nothing until it accepted, and the old one nothing after."""
        evm = self.evm
        self.second()
        self.refused_upgrade(self.heir, evm.stranger)
        for contract in (evm.beacon, evm.serving):
            evm.send(contract.functions.acceptOwnership(), self.heir)
        self.refused_upgrade(evm.owner, evm.stranger)
        v3 = self.upgrade("SandboxServingV3", self.heir)
        self.assert_refused(
            error(UNAUTHORIZED, evm.owner.address), v3.functions.initializeV3(), evm.owner
        )
        evm.send(v3.functions.initializeV3(), self.heir)
        self.assertEqual(self.heir.address, evm.serving.functions.owner().call())
        evm.send(evm.serving.functions.setProviderStake(1), self.heir)

    def test_everything_settles(self) -> None:
        """Vouchers signed before an upgrade settle after it; nonces and words hold on."""
        evm = self.evm
        signed = [evm.voucher(7, 1), evm.voucher(8, 10), evm.voucher(1, 1, user=evm.other)]
        batch = evm.batch((evm.user, 9, 5), (evm.stranger, 1, 1))
        self.second()
        self.assertEqual([INVALID_NONCE, SUCCESS, NOT_ACKNOWLEDGED], evm.settle(*signed))
        self.upgrade("SandboxServingV3", evm.owner)
        statuses = batch.call({"from": evm.signer.address})
        self.assertEqual([SUCCESS, NOT_ACKNOWLEDGED], statuses)
        evm.send(batch, evm.signer)
        self.assertEqual(((645, 300), 55, 9), (evm.books(), evm.earnings(), evm.last_nonce()))
        # More than the balance: the refund that was asked for before both upgrades pays, too.
        self.assertEqual([SUCCESS], evm.settle(evm.voucher(10, 700)))
        self.assertEqual((0, 245), evm.books())
        leaving = evm.voucher(4, 5, provider=evm.other)
        self.assertEqual([SUCCESS], evm.settle(leaving, sender=evm.other))

    def test_everything_is_paid_out(self) -> None:
        """K9: locks that began before the upgrades end on time, and nothing is left behind."""
        evm, functions = self.evm, self.evm.serving.functions
        leave = functions.leave(evm.other.address)
        self.second()
        self.upgrade("SandboxServingV3", evm.owner)
        leave_at = functions.leavingAt(evm.other.address).call()
        self.assert_refused(error("LeaveLocked(uint256)", leave_at), leave, evm.other)
        evm.travel(LOCK)
        evm.send(leave, evm.other)
        gone = evm.voucher(4, 5, provider=evm.other)
        self.assertEqual([PROVIDER_MISMATCH], evm.settle(gone, sender=evm.other))
        # Its version stays, for what its users said of it must not come true again.
        self.assertEqual(1, functions.services(evm.other.address).call()[4])
        for provider, user in (
            (evm.provider, evm.user),
            (evm.other, evm.user),
        ):
            evm.send(functions.withdrawRefund(provider.address), user)
        for user in (evm.user, evm.other, evm.stranger):
            evm.request_refund(evm.books(user)[0], user)
        evm.send(functions.announceLeave(), evm.provider)
        for provider in (evm.provider, evm.other):
            evm.send(functions.withdrawEarnings(), provider)
        evm.travel(LOCK)
        evm.send(functions.leave(evm.provider.address), evm.provider)
        for user in (evm.user, evm.other, evm.stranger):
            evm.send(functions.withdrawRefund(evm.provider.address), user)
        self.assertEqual((0, 0), (evm.owed_to_anybody(), evm.holdings()))
