// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ISandboxServing} from "../../../src/interfaces/ISandboxServing.sol";
import {Model, Offer} from "./Model.sol";

/// @title What providers do
abstract contract Providers is Model {
    /// @param key Mostly for the signer it has already: a change voids all acknowledgements.
    /// @param price Likewise.
    /// @param value Mostly for what is due.
    function register(uint256 at, uint256 key, uint256 price, uint256 value) external lawful {
        address provider = _pick(_providers, at);
        Offer storage mine = _offers[provider];
        address signer = mine.signer;
        if (key % 8 == 0) signer = address(0);
        else if (key % 8 == 1 || signer == address(0)) {
            signer = vm.addr(_keys[(key / 8) % _keys.length]);
        }
        uint256 sent = value % 4 == 0 ? _amount(value / 4) : _due(provider);
        _offered(provider, signer, price % 8 == 0 ? (price / 8) % 3 : mine.cpu, sent);
    }

    function _due(address provider) private view returns (uint256) {
        return _offers[provider].signer == address(0) ? _stake : 0;
    }

    function _offered(address provider, address signer, uint256 price, uint256 value) internal {
        Offer storage mine = _offers[provider];
        bool known = mine.signer != address(0);
        bytes4 refusal;
        if (signer == address(0)) refusal = ISandboxServing.ZeroAddress.selector;
        else if (known && value != 0) refusal = ISandboxServing.UnexpectedValue.selector;
        else if (!known && value != _stake) refusal = ISandboxServing.WrongStake.selector;
        _ask(
            provider,
            value,
            abi.encodeCall(
                ISandboxServing.addOrUpdateService,
                ("https://p.example", signer, price, price + 1, price + 2)
            ),
            refusal
        );
        if (refusal != 0) return;
        if (!known) mine.stake = value;
        if (!known || mine.signer != signer || mine.cpu != price) mine.version += 1;
        (mine.signer, mine.cpu, mine.createFee, mine.memoryPrice) = (
            signer,
            price,
            price + 1,
            price + 2
        );
    }

    /// @param to An odd number to name a receiver.
    function withdrawEarnings(uint256 at, uint256 mood, uint256 to) external lawful {
        address provider = _pick(_providers, at);
        Offer storage mine = _offers[provider];
        bytes4 refusal;
        if (mine.earned == 0) refusal = ISandboxServing.NothingToWithdraw.selector;
        address receiver = _receiver(provider, to);
        bytes memory call = to % 2 == 1
            ? abi.encodeCall(ISandboxServing.withdrawEarningsTo, (receiver))
            : abi.encodeCall(ISandboxServing.withdrawEarnings, ());
        if (!_payout(provider, receiver, mine.earned, call, refusal, mood)) return;
        mine.collected += mine.earned;
        mine.earned = 0;
    }

    function announceLeave(uint256 at) external lawful {
        address provider = _pick(_providers, at);
        Offer storage mine = _offers[provider];
        bytes4 refusal;
        if (mine.signer == address(0)) refusal = ISandboxServing.NotRegistered.selector;
        else if (mine.leavingAt != 0) refusal = ISandboxServing.AlreadyLeaving.selector;
        _ask(provider, 0, abi.encodeCall(ISandboxServing.announceLeave, ()), refusal);
        if (refusal == 0) mine.leavingAt = block.timestamp + LOCK_TIME;
    }

    function leave(uint256 at, uint256 mood, uint256 to) external lawful {
        address provider = _pick(_providers, at);
        Offer storage mine = _offers[provider];
        bytes4 refusal;
        if (mine.leavingAt == 0) refusal = ISandboxServing.NotLeaving.selector;
        else if (block.timestamp < mine.leavingAt) refusal = ISandboxServing.LeaveLocked.selector;
        address receiver = _receiver(provider, to);
        bytes memory call = abi.encodeCall(ISandboxServing.leave, (receiver));
        if (!_payout(provider, receiver, mine.stake, call, refusal, mood)) return;
        (mine.signer, mine.stake, mine.leavingAt) = (address(0), 0, 0);
        (mine.cpu, mine.createFee, mine.memoryPrice) = (0, 0, 0);
    }
}
