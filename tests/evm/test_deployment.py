"""Tests for L{sandbox_billing.devnet.contracts} and for what the proxy stack promises."""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from hexbytes import HexBytes

from sandbox_billing.adapters.chain.artifacts import load
from sandbox_billing.devnet.contracts import deploy_implementation, deploy_stack
from sandbox_billing.errors import Refused
from tests.evm.harness import STAKE, ZERO, EvmCase, error


BEACON_SLOT = 0xA3F0AD74E5423AEBFD80D3EF4346578335A9A72AEAEE59FF6CB3582B35133D50


def load_layout() -> Any:
    """The storage layout that C{bin/build-contracts} wrote."""
    folder = resources.files("sandbox_billing.adapters.chain.abi")
    return json.loads((folder / "SandboxServing.json").read_text())["storageLayout"]


class DeploymentTests(EvmCase):
    """The stack as L{deploy_stack} leaves it."""

    def test_proxy_is_initialised(self) -> None:
        """The deployer owns contract and beacon, and the stake is the one asked for."""
        views = self.evm.serving.functions
        self.assertEqual(self.evm.owner.address, views.owner().call())
        self.assertEqual(ZERO, views.pendingOwner().call())
        self.assertEqual(STAKE, views.providerStake().call())
        self.assertEqual(7200, views.LOCK_TIME().call())
        self.assertEqual(self.evm.owner.address, self.evm.beacon.functions.owner().call())

    def test_chain_of_three(self) -> None:
        """The proxy's ERC-1967 slot names the beacon, and the beacon the implementation."""
        slot = self.evm.w3.eth.get_storage_at(self.evm.deployment.proxy, BEACON_SLOT)
        self.assertEqual(self.evm.deployment.beacon.lower(), "0x" + slot[-20:].hex())
        self.assertEqual(
            self.evm.deployment.implementation, self.evm.beacon.functions.implementation().call()
        )

    def test_code_on_chain(self) -> None:
        """What stands at the implementation is the artifact's deployed bytecode."""
        code = self.evm.w3.eth.get_code(self.evm.deployment.implementation)
        self.assertEqual(HexBytes(load("SandboxServing").deployed_bytecode), code)

    def test_initialised_once(self) -> None:
        """Nobody can initialise the proxy again, or the bare implementation at all."""
        again = error("InvalidInitialization()")
        bare = self.evm.contract("SandboxServing", self.evm.deployment.implementation)
        for contract in (self.evm.serving, bare):
            self.assert_refused(again, contract.functions.initialize(0), self.evm.owner)

    def test_mined_failure(self) -> None:
        """A creation that is mined and failed is refused by name, not returned as an address."""

        def failed(transaction_hash: HexBytes) -> object:
            receipt = dict(self.evm.w3.eth.get_transaction_receipt(transaction_hash))
            return {**receipt, "status": 0}

        with self.assertRaisesRegex(Refused, "deploying SandboxServing failed in 0x"):
            deploy_stack(self.evm.w3, self.evm.owner, STAKE, wait=failed)

    def test_plain_money_refused(self) -> None:
        """Money sent without a call comes back: it would belong to nobody."""
        gas = {"from": self.evm.user.address, "to": self.evm.deployment.proxy, "gas": 100_000}
        sent = self.evm.w3.eth.send_transaction({**gas, "value": 5})
        self.assertEqual(0, self.evm.w3.eth.get_transaction_receipt(sent)["status"])
        self.assertEqual(0, self.evm.holdings())


class UpgradeTests(EvmCase):
    """K15: the beacon's owner changes the logic and the books stay."""

    def _upgrade(self) -> str:
        return deploy_implementation(
            self.evm.w3, self.evm.owner, wait=self.evm.w3.eth.get_transaction_receipt
        )

    def test_state_survives(self) -> None:
        """Balances, refunds, nonces, registrations, stake, earnings and owner stay as they were."""
        evm = self.evm
        evm.register(value=STAKE)
        evm.deposit(100)
        evm.acknowledge()
        evm.request_refund(30)
        evm.settle(evm.voucher(3, 10))
        views = evm.serving.functions
        asked = [
            views.getBalance(evm.user.address, evm.provider.address),
            views.getLastNonce(evm.user.address, evm.provider.address),
            views.isTEEAcknowledged(evm.user.address, evm.provider.address),
            views.services(evm.provider.address),
            views.providerStakes(evm.provider.address),
            views.providerEarnings(evm.provider.address),
            views.owner(),
            views.providerStake(),
        ]
        before = [each.call() for each in asked]
        fresh = self._upgrade()

        evm.send(evm.beacon.functions.upgradeTo(fresh), evm.owner)

        self.assertEqual(fresh, evm.beacon.functions.implementation().call())
        self.assertEqual(before, [each.call() for each in asked])
        self.assertEqual(60, before[0][0])
        self.assertEqual([0], evm.settle(evm.voucher(4, 60)))

    def test_only_the_owner(self) -> None:
        """A stranger cannot replace the logic."""
        fresh = self._upgrade()
        self.assert_refused(
            error("OwnableUnauthorizedAccount(address)", self.evm.stranger.address),
            self.evm.beacon.functions.upgradeTo(fresh),
            self.evm.stranger,
        )

    def test_layout_is_kept(self) -> None:
        """
        The first slots are what deployed proxies have in them.

        (L{tests.evm.test_vectors} knows what stands inside an account's.)

        A red test here means that an upgrade would read somebody's balance from the wrong place:
        new state goes to the end, out of the gap.
        """
        storage = load_layout()
        self.assertEqual(
            [
                ("_providerStake", "0"),
                ("_accounts", "1"),
                ("_refunds", "2"),
                ("_services", "3"),
                ("_earnings", "4"),
                ("_stakes", "5"),
                ("_leavingAt", "6"),
                ("__gap", "7"),
            ],
            [(each["label"], each["slot"]) for each in storage["storage"]],
        )
        gap = storage["types"][storage["storage"][-1]["type"]]
        self.assertEqual("uint256[43]", gap["label"], "with it, fifty slots in all")
        members = {
            label: [(each["label"], each["slot"], each["offset"]) for each in found["members"]]
            for label, found in ((kind["label"], kind) for kind in storage["types"].values())
            if "members" in found
        }
        self.assertEqual(
            {
                "struct Refund": [("amount", "0", 0), ("unlockAt", "0", 16)],
                "struct Service": [
                    ("url", "0", 0),
                    ("teeSignerAddress", "1", 0),
                    ("signerVersion", "1", 20),
                    ("pricePerCPUPerMin", "2", 0),
                    ("createFee", "3", 0),
                    ("pricePerMemGBPerMin", "4", 0),
                ],
                # OpenZeppelin's, under names of ERC-7201
                "struct Initializable.InitializableStorage": [
                    ("_initialized", "0", 0),
                    ("_initializing", "0", 8),
                ],
                "struct OwnableUpgradeable.OwnableStorage": [("_owner", "0", 0)],
                "struct Ownable2StepUpgradeable.Ownable2StepStorage": [("_pendingOwner", "0", 0)],
            },
            members,
        )


class OwnershipTests(EvmCase):
    """K16: contract and beacon change hands in two steps."""

    def test_two_steps(self) -> None:
        """An offer changes nothing until the one it was made to accepts it."""
        for contract in (self.evm.serving, self.evm.beacon):
            heir = self.evm.other
            offered = self.evm.send(
                contract.functions.transferOwnership(heir.address), self.evm.owner
            )
            started = contract.events.OwnershipTransferStarted().process_receipt(offered)
            self.assertEqual(heir.address, started[0]["args"]["newOwner"])
            self.assertEqual(self.evm.owner.address, contract.functions.owner().call())
            self.assertEqual(heir.address, contract.functions.pendingOwner().call())

            accepted = self.evm.send(contract.functions.acceptOwnership(), heir)
            moved = contract.events.OwnershipTransferred().process_receipt(accepted)
            self.assertEqual(
                {"previousOwner": self.evm.owner.address, "newOwner": heir.address},
                dict(moved[0]["args"]),
            )
            self.assertEqual(heir.address, contract.functions.owner().call())
            self.assertEqual(ZERO, contract.functions.pendingOwner().call())

    def test_nobody_else(self) -> None:
        """Neither an offer by a stranger nor an acceptance by one is taken."""
        stranger = self.evm.stranger
        refused = error("OwnableUnauthorizedAccount(address)", stranger.address)
        for contract in (self.evm.serving, self.evm.beacon):
            self.evm.send(
                contract.functions.transferOwnership(self.evm.other.address), self.evm.owner
            )
            self.assert_refused(
                refused, contract.functions.transferOwnership(stranger.address), stranger
            )
            self.assert_refused(refused, contract.functions.acceptOwnership(), stranger)

    def test_always_an_owner(self) -> None:
        """K15: nobody is an owner in no way: renounced, deployed with none, or offered to none."""
        owner = self.evm.owner
        for contract in (self.evm.serving, self.evm.beacon):
            renounce = contract.functions.renounceOwnership()
            self.assert_refused(error("OwnershipNotRenounced()"), renounce, owner)
            stranger = self.evm.stranger
            refused = error("OwnableUnauthorizedAccount(address)", stranger.address)
            self.assert_refused(refused, renounce, stranger)
            # An offer to nobody takes an earlier offer back.
            self.evm.send(contract.functions.transferOwnership(stranger.address), owner)
            self.evm.send(contract.functions.transferOwnership(ZERO), owner)
            self.assert_refused(refused, contract.functions.acceptOwnership(), stranger)
            self.assertEqual(owner.address, contract.functions.owner().call())
        beacon = self.evm.w3.eth.contract(
            abi=load("UpgradeableBeacon").abi, bytecode=load("UpgradeableBeacon").bytecode
        )
        ownerless = beacon.constructor(self.evm.deployment.implementation, ZERO)
        self.assertEqual(
            error("OwnableInvalidOwner(address)", ZERO),
            self.evm.refusal_to_create(ownerless),
        )

    def test_stake_is_the_owners(self) -> None:
        """Only the owner sets the stake, and the change is announced with both figures."""
        call = self.evm.serving.functions.setProviderStake(7)
        self.assert_refused(
            error("OwnableUnauthorizedAccount(address)", self.evm.stranger.address),
            call,
            self.evm.stranger,
        )
        self.assert_events(
            self.evm.send(call, self.evm.owner),
            ("ProviderStakeUpdated", {"oldStake": STAKE, "newStake": 7}),
        )
        self.assertEqual(7, self.evm.serving.functions.providerStake().call())
