// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ISandboxServing} from "../../../src/interfaces/ISandboxServing.sol";
import {Held, Model, Offer} from "./Model.sol";

/// @title What users do
abstract contract Users is Model {
    function deposit(uint256 from, uint256 to, uint256 at, uint256 seed) external lawful {
        address recipient = _pickOrZero(_users, to);
        address provider = _pickOrZero(_providers, at);
        uint256 amount = _amount(seed);
        bytes4 refusal;
        if (recipient == address(0) || provider == address(0)) {
            refusal = ISandboxServing.ZeroAddress.selector;
        } else if (amount == 0) {
            refusal = ISandboxServing.ZeroAmount.selector;
        }
        _ask(
            _anyone(from),
            amount,
            abi.encodeCall(ISandboxServing.deposit, (recipient, provider)),
            refusal
        );
        if (refusal != 0) return;
        _held[provider][recipient].balance += amount;
        _held[provider][recipient].deposited += amount;
    }

    function requestRefund(uint256 who, uint256 at, uint256 seed) external lawful {
        (address user, address provider) = (_pick(_users, who), _pick(_providers, at));
        Held storage mine = _held[provider][user];
        uint256 available = mine.balance + mine.pending;
        uint256 kind = seed % 8;
        uint256 amount = (seed / 8) % (available + 1);
        if (kind == 0) amount = 0;
        if (kind == 1) amount = available;
        if (kind == 2) amount = available + 1 + _amount(seed / 8);
        if (kind == 3) amount = type(uint256).max - (seed / 8) % 3;
        bytes4 refusal;
        if (amount > available) refusal = ISandboxServing.InsufficientFunds.selector;
        _ask(user, 0, abi.encodeCall(ISandboxServing.requestRefund, (provider, amount)), refusal);
        if (refusal != 0) return;
        mine.balance = available - amount;
        mine.pending = amount;
        mine.unlockAt = amount == 0 ? 0 : block.timestamp + LOCK_TIME;
    }

    /// @param to An odd number to name a receiver.
    function withdrawRefund(uint256 who, uint256 at, uint256 mood, uint256 to) external lawful {
        (address user, address provider) = (_pick(_users, who), _pick(_providers, at));
        Held storage mine = _held[provider][user];
        bytes4 refusal;
        if (mine.pending == 0) refusal = ISandboxServing.NothingToWithdraw.selector;
        else if (block.timestamp < mine.unlockAt) refusal = ISandboxServing.RefundLocked.selector;
        address receiver = _receiver(user, to);
        bytes memory call = to % 2 == 1
            ? abi.encodeCall(ISandboxServing.withdrawRefundTo, (provider, receiver))
            : abi.encodeCall(ISandboxServing.withdrawRefund, (provider));
        if (!_payout(user, receiver, mine.pending, call, refusal, mood)) return;
        mine.withdrawn += mine.pending;
        (mine.pending, mine.unlockAt) = (0, 0);
    }

    /// @param word Somebody's yes or no, or everybody's yes.
    function acknowledge(uint256 who, uint256 at, uint256 word) external lawful {
        address provider = _pick(_providers, at);
        if (word % 4 < 2) _acknowledges(_pick(_users, who), provider, word % 4 == 1);
        else for (uint256 u = 0; u < _users.length; ++u) _acknowledges(_users[u], provider, true);
    }

    function _acknowledges(address user, address provider, bool acknowledged) private {
        Offer storage theirs = _offers[provider];
        bytes4 refusal;
        if (acknowledged && theirs.signer == address(0)) {
            refusal = ISandboxServing.NotRegistered.selector;
        }
        _ask(
            user,
            0,
            abi.encodeCall(ISandboxServing.acknowledgeTEESigner, (provider, acknowledged)),
            refusal
        );
        if (refusal == 0) _held[provider][user].acknowledged = acknowledged ? theirs.version : 0;
    }

    function acknowledgeVersion(uint256 who, uint256 at, uint256 seed) external lawful {
        (address user, address provider) = (_pick(_users, who), _pick(_providers, at));
        Offer storage theirs = _offers[provider];
        uint256 expected = seed % 4 == 0 ? seed / 4 : theirs.version;
        bytes4 refusal;
        if (expected != theirs.version) refusal = ISandboxServing.SignerVersionMismatch.selector;
        else if (theirs.signer == address(0)) refusal = ISandboxServing.NotRegistered.selector;
        _ask(
            user,
            0,
            abi.encodeCall(ISandboxServing.acknowledgeTEESignerVersion, (provider, expected)),
            refusal
        );
        if (refusal == 0) _held[provider][user].acknowledged = theirs.version;
    }
}
