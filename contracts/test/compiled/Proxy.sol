// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

// Nothing in src/ imports it, and the tests deploy what this compiles.
import {BeaconProxy} from "@openzeppelin/contracts/proxy/beacon/BeaconProxy.sol";
