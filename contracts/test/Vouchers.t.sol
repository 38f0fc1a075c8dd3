// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ISandboxServing} from "../src/interfaces/ISandboxServing.sol";
import {Funded} from "./base/Funded.sol";

/// @title Fees and nonces of any size, and refunds beside them
contract VouchersTest is Funded {
    uint256 private constant _SUCCESS = uint256(ISandboxServing.Status.SUCCESS);
    uint256 private constant _SHORT = uint256(ISandboxServing.Status.INSUFFICIENT_BALANCE);
    uint256 private constant _INVALID_NONCE = uint256(ISandboxServing.Status.INVALID_NONCE);

    /// @dev Any fee takes what it can get, balance first; the whole of it is SUCCESS.
    function testFuzz_fee(uint128 amount, uint128 refund, uint256 fee) external {
        amount = uint128(_bound(amount, 1, type(uint128).max));
        refund = uint128(_bound(refund, 0, amount));
        _fund(USER, PROVIDER, amount);
        _requestRefund(refund);
        uint256 status = _settled(1, fee);

        vm.assertEq(status, fee <= amount ? _SUCCESS : _SHORT, "status");
        uint256 paid = fee < amount ? fee : amount;
        vm.assertEq(_serving.getProviderEarnings(PROVIDER), paid, "paid");
        (uint256 balance, uint256 pending) = _balances();
        uint256 before = amount - refund;
        vm.assertEq(balance, fee < before ? before - fee : 0, "balance");
        vm.assertEq(pending, fee < before ? refund : amount - paid, "pending refund");
    }

    /// @dev A fee that would fit once it is narrowed to 128 bits is a fee that does not fit.
    function testFuzz_feeIsNotNarrowed(uint128 low, uint128 high) external {
        high = uint128(_bound(high, 1, type(uint128).max));
        _fund(USER, PROVIDER, type(uint128).max);
        vm.assertEq(_settled(1, (uint256(high) << 128) | low), _SHORT, "status");
        vm.assertEq(_serving.getProviderEarnings(PROVIDER), type(uint128).max, "paid");
    }

    /// @dev A nonce has to be above the last and below 2^64; no other is used up.
    function testFuzz_nonce(uint64 last, uint256 nonce) external {
        _fund(USER, PROVIDER, 10);
        if (last > 0) vm.assertEq(_settled(last, 1), _SUCCESS, "the first");
        bool good = nonce > last && nonce <= MAX_NONCE;
        vm.assertEq(_settled(nonce, 1), good ? _SUCCESS : _INVALID_NONCE, "status");
        vm.assertEq(_serving.getLastNonce(USER, PROVIDER), good ? nonce : last, "last nonce");
        (uint256 balance, ) = _balances();
        vm.assertEq(balance, 10 - (last > 0 ? 1 : 0) - (good ? 1 : 0), "balance");
    }

    /// @dev 2^64 + n is not n.
    function testFuzz_nonceIsNotNarrowed(uint64 low, uint192 high) external {
        high = uint192(_bound(high, 1, type(uint192).max));
        _fund(USER, PROVIDER, 1);
        vm.assertEq(_settled((uint256(high) << 64) | low, 1), _INVALID_NONCE, "status");
    }

    /// @dev A request moves money aside, the next replaces it, and the lock starts anew.
    function testFuzz_refund(uint128 amount, uint256 first, uint256 second, uint256 wait) external {
        amount = uint128(_bound(amount, 1, type(uint128).max));
        first = _bound(first, 0, amount);
        second = _bound(second, 1, amount);
        wait = _bound(wait, 0, 10 * LOCK_TIME);
        _fund(USER, PROVIDER, amount);
        _requestRefund(first);
        vm.warp(block.timestamp + wait);
        _requestRefund(second);
        (uint256 balance, uint256 pending) = _balances();
        vm.assertEq(balance, amount - second, "balance");
        vm.assertEq(pending, second, "pending");

        uint256 unlockAt = block.timestamp + LOCK_TIME;
        vm.warp(unlockAt - 1);
        vm.expectRevert(abi.encodeWithSelector(ISandboxServing.RefundLocked.selector, unlockAt));
        vm.prank(USER);
        _serving.withdrawRefund(PROVIDER);
        vm.warp(unlockAt);
        vm.deal(USER, 0);
        vm.prank(USER);
        _serving.withdrawRefund(PROVIDER);
        vm.assertEq(USER.balance, second, "withdrawn");
        (balance, pending) = _balances();
        vm.assertEq(balance + pending, amount - second, "what is left");
    }

    /// @dev More than there is cannot be asked back, however large the number.
    function testFuzz_refundTooMuch(uint128 amount, uint128 pending, uint256 asked) external {
        amount = uint128(_bound(amount, 1, type(uint128).max));
        pending = uint128(_bound(pending, 0, amount));
        asked = _bound(asked, uint256(amount) + 1, type(uint256).max);
        _fund(USER, PROVIDER, amount);
        _requestRefund(pending);
        vm.expectRevert(
            abi.encodeWithSelector(ISandboxServing.InsufficientFunds.selector, amount, asked)
        );
        _requestRefund(asked);
    }
}
