// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {Account, Accounts} from "../src/libraries/Accounts.sol";
import {Funded} from "./base/Funded.sol";

/// @title An account in its one slot, and how a fee is split
contract AccountsTest is Funded {
    /// @dev Balance first, then the refund, never more than the fee, and all there is if need be.
    function testFuzz_split(uint256 fee, uint128 balance, uint128 pending) external pure {
        (uint128 fromBalance, uint128 fromRefund) = Accounts.split(fee, balance, pending);
        uint256 sum = uint256(balance) + pending;
        vm.assertEq(uint256(fromBalance) + fromRefund, fee < sum ? fee : sum, "paid");
        vm.assertLe(fromBalance, balance, "from the balance");
        vm.assertLe(fromRefund, pending, "from the refund");
        if (fromRefund > 0) vm.assertEq(fromBalance, balance, "the balance comes first");
    }

    /// @dev Each field is read back, and is written without touching the others.
    function testFuzz_packing(
        uint256 raw,
        uint128 balance,
        uint64 nonce,
        uint64 version
    ) external pure {
        Account account = Account.wrap(raw);
        Account other = account.withBalance(balance);
        _isPacked(other, balance, account.lastNonce(), account.acknowledgedVersion());
        other = account.withLastNonce(nonce);
        _isPacked(other, account.balance(), nonce, account.acknowledgedVersion());
        other = account.withAcknowledgedVersion(version);
        _isPacked(other, account.balance(), account.lastNonce(), version);
        other = other.withBalance(balance).withLastNonce(nonce);
        _isPacked(other, balance, nonce, version);
    }

    /// @dev What the contract writes is that slot: balance, nonce, version, from the lowest bit up.
    function testFuzz_written(uint128 amount, uint64 nonce, uint128 fee) external {
        amount = uint128(_bound(amount, 1, type(uint128).max));
        nonce = uint64(_bound(nonce, 1, MAX_NONCE));
        fee = uint128(_bound(fee, 0, amount));
        _fund(USER, PROVIDER, amount);
        vm.assertEq(_settled(nonce, fee), 0, "settled");
        uint256 raw = uint256(vm.load(address(_serving), _accountSlot()));
        vm.assertEq(raw, (amount - fee) | (uint256(nonce) << 128) | (uint256(1) << 192), "slot");
    }

    /// @dev And what it reads, whatever stands there.
    function testFuzz_read(uint256 raw) external {
        vm.store(address(_serving), _accountSlot(), bytes32(raw));
        (uint256 balance, ) = _balances();
        vm.assertEq(balance, raw % 2 ** 128, "balance");
        vm.assertEq(_serving.getLastNonce(USER, PROVIDER), (raw >> 128) % 2 ** 64, "nonce");
        vm.assertTrue(
            _serving.isTEEAcknowledged(USER, PROVIDER) == (raw >> 192 == 1),
            "acknowledged"
        );
        uint256[] memory balances = _serving.balanceOfBatch(_one(USER), PROVIDER);
        vm.assertEq(balances[0], balance, "balance of a batch");
    }

    /// @dev More than an account can hold is refused, at once or as a sum.
    function testFuzz_depositTooMuch(uint256 first, uint256 second) external {
        first = _bound(first, 1, type(uint128).max);
        // The stake is there already: all ether together fits 256 bits.
        uint256 most = type(uint256).max - first - STAKE;
        second = _bound(second, type(uint128).max - first + 1, most);
        _fund(USER, PROVIDER, first);
        bytes memory reason = abi.encodeWithSignature("Panic(uint256)", 0x11);
        if (second > type(uint128).max) {
            reason = abi.encodeWithSelector(
                SafeCast.SafeCastOverflowedUintDowncast.selector,
                128,
                second
            );
        }
        vm.deal(USER, second);
        vm.expectRevert(reason);
        vm.prank(USER);
        _serving.deposit{value: second}(USER, PROVIDER);
        (uint256 balance, ) = _balances();
        vm.assertEq(balance, first, "nothing was added");
    }

    function _isPacked(
        Account account,
        uint128 balance,
        uint64 nonce,
        uint64 version
    ) private pure {
        uint256 raw = uint256(balance) | (uint256(nonce) << 128) | (uint256(version) << 192);
        vm.assertEq(Account.unwrap(account), raw, "packed");
        vm.assertEq(account.balance(), balance, "balance");
        vm.assertEq(account.lastNonce(), nonce, "nonce");
        vm.assertEq(account.acknowledgedVersion(), version, "version");
    }

    function _one(address only) private pure returns (address[] memory list) {
        list = new address[](1);
        list[0] = only;
    }
}
