// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title The cheat codes of forge that are used here
/// @dev Forge answers to them at one fixed address; https://getfoundry.sh/reference/cheatcodes.
interface Vm {
    struct Log {
        bytes32[] topics;
        bytes data;
        address emitter;
    }

    // the chain
    function chainId(uint256 id) external;
    function deal(address who, uint256 balance) external;
    function load(address target, bytes32 slot) external view returns (bytes32);
    function store(address target, bytes32 slot, bytes32 value) external;
    function warp(uint256 timestamp) external;

    // contracts, compiled with the settings of what is deployed
    function deployCode(string calldata artifact) external returns (address);
    function deployCode(
        string calldata artifact,
        bytes calldata arguments
    ) external returns (address);

    // the next call
    function expectRevert(bytes calldata reason) external;
    function prank(address sender) external;

    // all calls up to the second
    function startPrank(address sender) external;
    function stopPrank() external;

    // keys
    function addr(uint256 privateKey) external pure returns (address);
    function sign(
        uint256 privateKey,
        bytes32 digest
    ) external pure returns (uint8 v, bytes32 r, bytes32 s);

    // EIP-712 by forge itself, from the JSON of eth_signTypedData_v4
    function eip712HashTypedData(string calldata json) external pure returns (bytes32);
    function toString(address value) external pure returns (string memory);
    function toString(bytes32 value) external pure returns (string memory);
    function toString(uint256 value) external pure returns (string memory);

    // events
    function recordLogs() external;
    function getRecordedLogs() external returns (Log[] memory);

    // assertions, which tell both sides when they fail
    function assertEq(uint256 left, uint256 right, string calldata what) external pure;
    function assertEq(address left, address right, string calldata what) external pure;
    function assertEq(bytes32 left, bytes32 right, string calldata what) external pure;
    function assertEq(uint256[] calldata l, uint256[] calldata r, string calldata) external pure;
    function assertGt(uint256 left, uint256 right, string calldata what) external pure;
    function assertLe(uint256 left, uint256 right, string calldata what) external pure;
    function assertTrue(bool condition, string calldata what) external pure;
}
