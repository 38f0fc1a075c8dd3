// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @notice What a user has with a provider: one storage slot.
struct Account {
    uint128 balance; // without the pending refund
    uint64 lastNonce;
    uint64 acknowledgedVersion; // 0: never, or revoked
}

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

/// @title How a fee is paid
library Accounts {
    /// @dev A nonce is compared before it is narrowed: 2^64 + 1 is not 1.
    function accepts(Account memory account, uint256 nonce) internal pure returns (bool) {
        return nonce > account.lastNonce && nonce <= type(uint64).max;
    }

    /// @dev The balance first, then only as much of the pending refund as the fee still needs.
    /// The fee may be any number; what is taken fits, for it is at most what there is.
    /// @return fromBalance Part of the fee that the balance pays.
    /// @return fromRefund Part of the fee that the pending refund pays.
    function split(
        uint256 fee,
        uint128 balance,
        uint128 pending
    ) internal pure returns (uint128 fromBalance, uint128 fromRefund) {
        fromBalance = fee < balance ? uint128(fee) : balance;
        uint256 rest = fee - fromBalance;
        fromRefund = rest < pending ? uint128(rest) : pending;
    }
}
