// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {SandboxServing} from "../../src/SandboxServing.sol";

/// @title A later version, for the test of upgrades
/// @dev Compiles with the storage that versions.js makes: `_cap`, `_labels` and a provider's
/// `pricePerGPUPerMin` are new in it.
contract SandboxServingV2 is SandboxServing {
    function initializeV2(uint256 newCap) external reinitializer(2) onlyOwner {
        _cap = newCap;
    }

    function setLabel(string calldata label) external {
        _labels[msg.sender] = label;
    }

    function setPricePerGPU(uint256 price) external {
        _services[msg.sender].pricePerGPUPerMin = price;
    }

    function cap() external view returns (uint256) {
        return _cap;
    }

    function labels(address user) external view returns (string memory) {
        return _labels[user];
    }

    function pricePerGPUPerMin(address provider) external view returns (uint256) {
        return _services[provider].pricePerGPUPerMin;
    }
}
