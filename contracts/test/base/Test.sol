// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Vm} from "./Vm.sol";

/// @title What forge asks of a test contract, and no more
/// @dev Forge runs test*, testFuzz_* and invariant_* by their names. (npm's forge-std is an
/// incomplete copy of 2022; this is all that it would be needed for.)
abstract contract Test {
    bool public constant IS_TEST = true;
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    /// @dev For what is asked very often: forge is only called to say what differs.
    function _equal(uint256 left, uint256 right, string memory what) internal pure {
        if (left != right) vm.assertEq(left, right, what);
    }

    /// @dev `seed`, if it is between the bounds; else some number between them.
    function _bound(uint256 seed, uint256 low, uint256 high) internal pure returns (uint256) {
        if (seed >= low && seed <= high) return seed;
        uint256 size = high - low + 1;
        return size == 0 ? seed : low + (seed % size);
    }
}
