// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {
    UpgradeableBeacon as OpenZeppelinBeacon
} from "@openzeppelin/contracts/proxy/beacon/UpgradeableBeacon.sol";

/// @title OpenZeppelin's beacon, with ownership that has to be accepted
/// @notice Whoever owns it can replace the logic of every proxy behind it.
contract UpgradeableBeacon is OpenZeppelinBeacon, Ownable2Step {
    /// @notice Ownership can be handed over and never given up.
    /// @dev renounceOwnership
    error OwnershipNotRenounced();

    constructor(
        address implementation_,
        address initialOwner
    ) OpenZeppelinBeacon(implementation_, initialOwner) {}

    /// @inheritdoc Ownable2Step
    function transferOwnership(address newOwner) public override(Ownable, Ownable2Step) {
        Ownable2Step.transferOwnership(newOwner);
    }

    /// @dev There is always an owner: without one no mistake in the logic could be mended.
    function renounceOwnership() public view override onlyOwner {
        revert OwnershipNotRenounced();
    }

    /// @inheritdoc Ownable2Step
    function _transferOwnership(address newOwner) internal override(Ownable, Ownable2Step) {
        Ownable2Step._transferOwnership(newOwner);
    }
}
