"""
The stage of L{tests.ports.chain} with the double of the contract that is deployed today.
"""

from __future__ import annotations

from typing import Any

from hexbytes import HexBytes

from sandbox_billing.adapters.chain.artifacts import load
from sandbox_billing.devnet.contracts import Deployment
from tests.evm.flaws import deployed
from tests.ports.chain import STAKE, Stage


class DeployedStage(Stage):
    """Users, provider and blocks as there; the proxy runs the flawed contract from its birth."""

    def deploy(self) -> Deployment:
        """The double behind a beacon of ours."""
        implementation = self.create(deployed().bytecode)
        beacon = self.create(
            load("UpgradeableBeacon").bytecode,
            load("UpgradeableBeacon").abi,
            implementation,
            self.owner.address,
        )
        logic = self.w3.eth.contract(abi=deployed().abi)
        initialize = logic.encode_abi("initialize", args=[STAKE])
        proxy = self.create(
            load("BeaconProxy").bytecode,
            load("BeaconProxy").abi,
            beacon,
            HexBytes(initialize),
        )
        return Deployment(implementation=implementation, beacon=beacon, proxy=proxy)

    def create(self, bytecode: str, abi: Any = (), *arguments: Any) -> Any:
        """A contract of the owner's."""
        factory = self.w3.eth.contract(abi=abi, bytecode=bytecode)
        return self.act(factory.constructor(*arguments), self.owner)["contractAddress"]
