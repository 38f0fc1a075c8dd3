// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @notice What a user has with a provider, in one storage slot that is read and written whole (as
/// a struct it costs three writes): balance uint128, without the pending refund, in the lowest
/// bits; above it lastNonce uint64; above that acknowledgedVersion uint64, 0 for never or revoked.
type Account is uint256;

using {
    Accounts.balance,
    Accounts.lastNonce,
    Accounts.acknowledgedVersion,
    Accounts.withBalance,
    Accounts.withLastNonce,
    Accounts.withAcknowledgedVersion,
    Accounts.accepts
} for Account global;

/// @notice Money on its way out: one storage slot.
struct Refund {
    uint128 amount;
    uint64 unlockAt;
}

/// @notice A provider's offer.
struct Service {
    string url;
    address teeSignerAddress; // zero: not registered
    uint64 signerVersion; // of signer and prices; outlives the registration
    uint256 pricePerCPUPerMin;
    uint256 createFee;
    uint256 pricePerMemGBPerMin;
}

/// @title An account's fields, and how a fee is paid
library Accounts {
    uint256 private constant _NONCE_BITS = uint256(type(uint64).max) << 128;
    uint256 private constant _VERSION_BITS = uint256(type(uint64).max) << 192;

    function balance(Account account) internal pure returns (uint128) {
        return uint128(Account.unwrap(account));
    }

    function lastNonce(Account account) internal pure returns (uint64) {
        return uint64(Account.unwrap(account) >> 128);
    }

    function acknowledgedVersion(Account account) internal pure returns (uint64) {
        return uint64(Account.unwrap(account) >> 192);
    }

    function withBalance(Account account, uint128 value) internal pure returns (Account) {
        return Account.wrap((Account.unwrap(account) & ~uint256(type(uint128).max)) | value);
    }

    function withLastNonce(Account account, uint64 value) internal pure returns (Account) {
        return Account.wrap((Account.unwrap(account) & ~_NONCE_BITS) | (uint256(value) << 128));
    }

    function withAcknowledgedVersion(
        Account account,
        uint64 value
    ) internal pure returns (Account) {
        return Account.wrap((Account.unwrap(account) & ~_VERSION_BITS) | (uint256(value) << 192));
    }

    /// @dev A nonce is compared before it is narrowed: 2^64 + 1 is not 1.
    function accepts(Account account, uint256 nonce) internal pure returns (bool) {
        return nonce > account.lastNonce() && nonce <= type(uint64).max;
    }

    /// @dev The balance first, then only as much of the pending refund as the fee still needs.
    /// The fee may be any number; what is taken fits, for it is at most what there is.
    /// @return fromBalance Part of the fee that the balance pays.
    /// @return fromRefund Part of the fee that the pending refund pays.
    function split(
        uint256 fee,
        uint128 available,
        uint128 pending
    ) internal pure returns (uint128 fromBalance, uint128 fromRefund) {
        fromBalance = fee < available ? uint128(fee) : available;
        uint256 rest = fee - fromBalance;
        fromRefund = rest < pending ? uint128(rest) : pending;
    }
}
