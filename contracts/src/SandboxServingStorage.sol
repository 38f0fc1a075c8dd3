// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Account, Refund, Service} from "./libraries/Accounts.sol";

/// @title Everything the proxy remembers
/// @dev The order is part of every deployed proxy: add at the end, take it from the gap, change
/// nothing else. (OpenZeppelin's parents keep theirs under ERC-7201 names, elsewhere.)
abstract contract SandboxServingStorage {
    uint256 internal _providerStake;
    /// @dev By provider, then user: a batch has one provider, so its half is hashed once.
    mapping(address provider => mapping(address user => Account)) internal _accounts;
    mapping(address provider => mapping(address user => Refund)) internal _refunds;
    mapping(address provider => Service) internal _services;
    mapping(address provider => uint256) internal _earnings;
    mapping(address provider => uint256) internal _stakes;
    mapping(address provider => uint256) internal _leavingAt;
    uint256[43] private __gap;
}
