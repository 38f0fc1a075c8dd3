// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";

import {OwnedWallet} from "./OwnedWallet.sol";

/// @title Makes wallets at addresses that are known beforehand
/// @notice Small ones, as most factories do, and whole ones; for tests only.
contract WalletFactory {
    address private immutable _implementation = address(new OwnedWallet(address(1)));

    function create(address owner) external {
        OwnedWallet(payable(Clones.cloneDeterministic(_implementation, _salt(owner)))).initialize(owner);
    }

    function addressOf(address owner) external view returns (address) {
        return Clones.predictDeterministicAddress(_implementation, _salt(owner));
    }

    function createWhole(address owner) external {
        new OwnedWallet{salt: 0}(owner);
    }

    function addressOfWhole(address owner) external view returns (address) {
        bytes32 code = keccak256(abi.encodePacked(type(OwnedWallet).creationCode, abi.encode(owner)));
        bytes32 name = keccak256(abi.encodePacked(bytes1(0xff), address(this), bytes32(0), code));
        return address(uint160(uint256(name)));
    }

    function _salt(address owner) private pure returns (bytes32) {
        return bytes32(uint256(uint160(owner)));
    }
}
