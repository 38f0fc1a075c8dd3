// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {ISandboxServing} from "../../../src/interfaces/ISandboxServing.sol";
import {IBeacon, IServing} from "../Stack.sol";
import {Model} from "./Model.sol";

/// @title What the owners of contract and beacon do, those who would like to, and the weather
abstract contract Owners is Model {
    bytes4 private constant _UNAUTHORIZED = Ownable.OwnableUnauthorizedAccount.selector;

    /// @dev By what is owned: the contract's proxy, or the beacon.
    mapping(address owned => address) internal _ownerOf;
    mapping(address owned => address) internal _offeredTo;
    address[] private _logics;

    constructor() {
        (_ownerOf[address(_serving)], _ownerOf[address(_beacon)]) = (OWNER, OWNER);
        _logics.push(_beacon.implementation());
        _logics.push(vm.deployCode("src/SandboxServing.sol:SandboxServing"));
    }

    function setProviderStake(uint256 who, uint256 seed) external lawful {
        address sender = _hopeful(address(_serving), who);
        uint256 amount = _amount(seed);
        bytes4 refusal = _mayOwn(address(_serving), sender);
        _ask(sender, 0, abi.encodeCall(ISandboxServing.setProviderStake, (amount)), refusal);
        if (refusal == 0) _stake = amount;
    }

    function offerOwnership(uint256 who, uint256 to, bool beacon) external lawful {
        address owned = beacon ? address(_beacon) : address(_serving);
        address sender = _hopeful(owned, who);
        bytes4 refusal = _mayOwn(owned, sender);
        address heir = _anyone(to);
        _try(owned, sender, 0, abi.encodeCall(Ownable.transferOwnership, (heir)), refusal);
        if (refusal == 0) _offeredTo[owned] = heir;
    }

    function acceptOwnership(uint256 who, bool beacon) external lawful {
        address owned = beacon ? address(_beacon) : address(_serving);
        address sender = who % 2 == 0 ? _offeredTo[owned] : _anyone(who / 2);
        if (sender == address(0)) return;
        bytes4 refusal = sender == _offeredTo[owned] ? bytes4(0) : _UNAUTHORIZED;
        _try(owned, sender, 0, abi.encodeCall(Ownable2Step.acceptOwnership, ()), refusal);
        if (refusal == 0) (_ownerOf[owned], _offeredTo[owned]) = (sender, address(0));
    }

    /// @dev To another address with the same code: nothing may be lost on the way.
    function upgrade(uint256 who, uint256 to) external lawful {
        address sender = _hopeful(address(_beacon), who);
        bytes4 refusal = _mayOwn(address(_beacon), sender);
        address logic = _pick(_logics, to);
        bytes memory call = abi.encodeCall(IBeacon.upgradeTo, (logic));
        _try(address(_beacon), sender, 0, call, refusal);
        if (refusal == 0) vm.assertEq(_beacon.implementation(), logic, "upgraded");
    }

    /// @dev Nobody starts it again.
    function initialize(uint256 who) external lawful {
        bytes memory call = abi.encodeCall(IServing.initialize, (0));
        bytes4 refusal = bytes4(keccak256("InvalidInitialization()"));
        _ask(_anyone(who), 0, call, refusal);
        _try(_pick(_logics, who), _anyone(who), 0, call, refusal);
    }

    /// @dev Ether that nobody asked for, as by selfdestruct; it belongs to nobody.
    function force(uint256 seed) external lawful {
        uint256 amount = _amount(seed);
        vm.deal(address(_serving), address(_serving).balance + amount);
        _forced += amount;
    }

    /// @dev A plain transfer is refused: it would belong to nobody.
    function send(uint256 who, uint256 seed) external lawful {
        address sender = _anyone(who);
        uint256 amount = _amount(seed);
        vm.deal(sender, amount);
        vm.prank(sender);
        (bool taken, ) = address(_serving).call{value: amount}("");
        vm.assertTrue(!taken, "took a plain transfer");
    }

    function pass(uint256 seconds_) external lawful {
        vm.warp(block.timestamp + _bound(seconds_, 1, LOCK_TIME + 10));
    }

    /// @dev Right up to a moment when something unlocks, or a second before.
    function passUntil(uint256 who, uint256 at, bool early, bool leaving) external lawful {
        address provider = _pick(_providers, at);
        uint256 moment = leaving
            ? _offers[provider].leavingAt
            : _held[provider][_pick(_users, who)].unlockAt;
        if (early && moment > 0) --moment;
        if (moment > block.timestamp) vm.warp(moment);
    }

    /// @dev Mostly the one who may.
    function _hopeful(address owned, uint256 who) private view returns (address) {
        return who % 4 == 0 ? _anyone(who / 4) : _ownerOf[owned];
    }

    function _mayOwn(address owned, address sender) private view returns (bytes4) {
        return sender == _ownerOf[owned] ? bytes4(0) : _UNAUTHORIZED;
    }

    function owners() external view returns (address ofServing, address ofBeacon) {
        return (_ownerOf[address(_serving)], _ownerOf[address(_beacon)]);
    }
}
