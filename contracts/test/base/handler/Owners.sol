// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
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

    /// @dev All of it in one action: it matters less often than money does.
    /// @param what Which of it, and to which of the two.
    /// @param who Sends it.
    /// @param with An amount, an heir, an implementation.
    function govern(uint256 what, uint256 who, uint256 with) external lawful {
        address owned = (what / 8) % 2 == 0 ? address(_serving) : address(_beacon);
        uint256 kind = what % 6;
        if (kind == 0) _setProviderStake(who, _amount(with));
        if (kind == 1) _offerOwnership(owned, who, _anyone(with));
        if (kind == 2) _acceptOwnership(owned, who);
        if (kind == 3) _renounceOwnership(owned, who);
        if (kind == 4) _upgrade(who, _pick(_logics, with));
        if (kind == 5) _initialize(_anyone(who), _pick(_logics, with));
    }

    function _setProviderStake(uint256 who, uint256 amount) private {
        address sender = _hopeful(address(_serving), who);
        bytes4 refusal = _mayOwn(address(_serving), sender);
        _ask(sender, 0, abi.encodeCall(ISandboxServing.setProviderStake, (amount)), refusal);
        if (refusal == 0) _stake = amount;
    }

    function _offerOwnership(address owned, uint256 who, address heir) private {
        address sender = _hopeful(owned, who);
        bytes4 refusal = _mayOwn(owned, sender);
        _try(owned, sender, 0, abi.encodeCall(Ownable.transferOwnership, (heir)), refusal);
        if (refusal == 0) _offeredTo[owned] = heir;
    }

    function _acceptOwnership(address owned, uint256 who) private {
        address sender = who % 2 == 0 ? _offeredTo[owned] : _anyone(who / 2);
        if (sender == address(0)) return;
        bytes4 refusal = sender == _offeredTo[owned] ? bytes4(0) : _UNAUTHORIZED;
        _try(owned, sender, 0, abi.encodeCall(Ownable2Step.acceptOwnership, ()), refusal);
        if (refusal == 0) (_ownerOf[owned], _offeredTo[owned]) = (sender, address(0));
    }

    /// @dev Nobody can leave it to nobody.
    function _renounceOwnership(address owned, uint256 who) private {
        address sender = _hopeful(owned, who);
        bytes4 refusal = _mayOwn(owned, sender);
        if (refusal == 0) refusal = ISandboxServing.OwnershipNotRenounced.selector;
        _try(owned, sender, 0, abi.encodeCall(Ownable.renounceOwnership, ()), refusal);
    }

    /// @dev To another address with the same code: nothing may be lost on the way.
    function _upgrade(uint256 who, address logic) private {
        address sender = _hopeful(address(_beacon), who);
        bytes4 refusal = _mayOwn(address(_beacon), sender);
        _try(address(_beacon), sender, 0, abi.encodeCall(IBeacon.upgradeTo, (logic)), refusal);
        if (refusal == 0) vm.assertEq(_beacon.implementation(), logic, "upgraded");
    }

    /// @dev Nobody starts it again, nor an implementation by itself.
    function _initialize(address sender, address logic) private {
        bytes memory call = abi.encodeCall(IServing.initialize, (0));
        _ask(sender, 0, call, Initializable.InvalidInitialization.selector);
        _try(logic, sender, 0, call, Initializable.InvalidInitialization.selector);
    }

    /// @dev Ether that nobody asked for, as by selfdestruct, belongs to nobody; by a plain transfer
    /// it is refused.
    function force(uint256 who, uint256 seed) external lawful {
        uint256 amount = _amount(seed);
        vm.deal(address(_serving), address(_serving).balance + amount);
        _forced += amount;

        address sender = _anyone(who);
        vm.deal(sender, amount);
        vm.prank(sender);
        (bool taken, ) = address(_serving).call{value: amount}("");
        vm.assertTrue(!taken, "took a plain transfer");
    }

    function pass(uint256 seconds_) external lawful {
        vm.warp(block.timestamp + _bound(seconds_, 1, LOCK_TIME + 10));
    }

    /// @dev Right up to a moment when something unlocks, or a second before.
    function passUntil(uint256 who, uint256 at, uint256 early, uint256 what) external lawful {
        address provider = _pick(_providers, at);
        uint256 moment = what % 2 == 0
            ? _offers[provider].leavingAt
            : _held[provider][_pick(_users, who)].unlockAt;
        if (early % 2 == 1 && moment > 0) --moment;
        if (moment > block.timestamp) vm.warp(moment);
    }

    /// @dev Mostly the one who may.
    function _hopeful(address owned, uint256 who) private view returns (address) {
        return who % 4 == 0 ? _anyone(who / 4) : _ownerOf[owned];
    }

    function _mayOwn(address owned, address sender) private view returns (bytes4) {
        return sender == _ownerOf[owned] ? bytes4(0) : _UNAUTHORIZED;
    }

    /// @notice Of the contract.
    function owner() external view returns (address) {
        return _ownerOf[address(_serving)];
    }
}
