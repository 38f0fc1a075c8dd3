// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {SandboxServingV2} from "./SandboxServingV2.sol";

/// @title The version after that
/// @dev `_pausedAt` and `_pausedBy` share a slot; a refund's `note` takes what its slot had left.
contract SandboxServingV3 is SandboxServingV2 {
    function initializeV3() external reinitializer(3) onlyOwner {
        _pausedAt = uint64(block.timestamp);
        _pausedBy = msg.sender;
    }

    function setNote(address provider, uint32 note) external {
        _refunds[provider][msg.sender].note = note;
    }

    function paused() external view returns (uint256 at, address by) {
        return (_pausedAt, _pausedBy);
    }

    function notes(address user, address provider) external view returns (uint256) {
        return _refunds[provider][user].note;
    }
}
