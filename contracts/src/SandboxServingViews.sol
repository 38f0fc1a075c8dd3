// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {SandboxServingStorage} from "./SandboxServingStorage.sol";
import {ISandboxServing} from "./interfaces/ISandboxServing.sol";
import {Account, Accounts, Refund, Service} from "./libraries/Accounts.sol";
import {VoucherHash} from "./libraries/VoucherHash.sol";

/// @title What can be asked of the contract, and what it asks of a voucher
abstract contract SandboxServingViews is ISandboxServing, SandboxServingStorage {
    /// @inheritdoc ISandboxServing
    uint256 public constant LOCK_TIME = 2 hours;

    /// @inheritdoc ISandboxServing
    function previewSettlementResults(
        SandboxVoucher[] calldata vouchers
    ) external view returns (Status[] memory statuses) {
        bytes32 separator = domainSeparator();
        statuses = new Status[](vouchers.length);
        Account[] memory accounts = new Account[](vouchers.length);
        uint128[] memory refunds = new uint128[](vouchers.length);
        for (uint256 i = 0; i < vouchers.length; ++i) {
            SandboxVoucher calldata voucher = vouchers[i];
            Service storage service = _services[voucher.provider];
            // Where the same wallet's latest earlier voucher left it, else as stored.
            uint256 before = i;
            while (before > 0 && !_samePayer(vouchers[before - 1], voucher)) --before;
            Account account = _accounts[voucher.provider][voucher.user];
            uint128 pending = _refunds[voucher.provider][voucher.user].amount;
            if (before > 0) {
                account = accounts[before - 1];
                pending = refunds[before - 1];
            }

            Status status = _isRegistered(service)
                ? _judge(
                    voucher,
                    service.teeSignerAddress,
                    service.signerVersion,
                    account,
                    separator
                )
                : Status.PROVIDER_MISMATCH;
            if (status == Status.SUCCESS) {
                uint256 fee = voucher.totalFee;
                (uint128 fromBalance, uint128 fromRefund) = Accounts.split(
                    fee,
                    account.balance(),
                    pending
                );
                if (uint256(fromBalance) + fromRefund < fee) status = Status.INSUFFICIENT_BALANCE;
                account = account
                    .withBalance(account.balance() - fromBalance)
                    .withLastNonce(uint64(voucher.nonce));
                pending -= fromRefund;
            }
            (statuses[i], accounts[i], refunds[i]) = (status, account, pending);
        }
    }

    /// @inheritdoc ISandboxServing
    function getBalance(
        address user,
        address provider
    ) external view returns (uint256 balance, uint256 pendingRefund, uint256 refundUnlockAt) {
        Refund storage refund = _refunds[provider][user];
        return (_accounts[provider][user].balance(), refund.amount, refund.unlockAt);
    }

    /// @inheritdoc ISandboxServing
    function balanceOfBatch(
        address[] calldata users,
        address provider
    ) external view returns (uint256[] memory balances) {
        balances = new uint256[](users.length);
        for (uint256 i = 0; i < users.length; ++i) {
            balances[i] = _accounts[provider][users[i]].balance();
        }
    }

    /// @inheritdoc ISandboxServing
    function getLastNonce(address user, address provider) external view returns (uint256) {
        return _accounts[provider][user].lastNonce();
    }

    /// @inheritdoc ISandboxServing
    function isTEEAcknowledged(address user, address provider) external view returns (bool) {
        Service storage service = _services[provider];
        return
            _isRegistered(service) &&
            _accounts[provider][user].acknowledgedVersion() == service.signerVersion;
    }

    /// @inheritdoc ISandboxServing
    function services(
        address provider
    )
        external
        view
        returns (
            string memory url,
            address teeSignerAddress,
            uint256 pricePerCPUPerMin,
            uint256 createFee,
            uint256 signerVersion,
            uint256 pricePerMemGBPerMin
        )
    {
        Service storage service = _services[provider];
        return (
            service.url,
            service.teeSignerAddress,
            service.pricePerCPUPerMin,
            service.createFee,
            service.signerVersion,
            service.pricePerMemGBPerMin
        );
    }

    /// @inheritdoc ISandboxServing
    function serviceExists(address provider) external view returns (bool) {
        return _isRegistered(_services[provider]);
    }

    /// @inheritdoc ISandboxServing
    function providerEarnings(address provider) external view returns (uint256) {
        return _earnings[provider];
    }

    /// @inheritdoc ISandboxServing
    function getProviderEarnings(address provider) external view returns (uint256) {
        return _earnings[provider];
    }

    /// @inheritdoc ISandboxServing
    function providerStakes(address provider) external view returns (uint256) {
        return _stakes[provider];
    }

    /// @inheritdoc ISandboxServing
    function leavingAt(address provider) external view returns (uint256) {
        return _leavingAt[provider];
    }

    /// @inheritdoc ISandboxServing
    function providerStake() external view returns (uint256) {
        return _providerStake;
    }

    /// @inheritdoc ISandboxServing
    function domainSeparator() public view returns (bytes32) {
        return VoucherHash.domainSeparator(address(this));
    }

    function _isRegistered(Service storage service) internal view returns (bool) {
        return service.teeSignerAddress != address(0);
    }

    /// @dev The checks that a voucher and a line of a batch share. Versions start at 1, so an
    /// account that never acknowledged matches none.
    function _admit(
        Account account,
        uint64 version,
        uint256 nonce
    ) internal pure returns (Status) {
        if (account.acknowledgedVersion() != version) return Status.NOT_ACKNOWLEDGED;
        if (!account.accepts(nonce)) return Status.INVALID_NONCE;
        return Status.SUCCESS;
    }

    /// @dev Everything but money, for a provider that is registered.
    function _judge(
        SandboxVoucher calldata voucher,
        address signer,
        uint64 version,
        Account account,
        bytes32 separator
    ) internal pure returns (Status) {
        Status status = _admit(account, version, voucher.nonce);
        if (status != Status.SUCCESS) return status;
        bytes32 structHash = VoucherHash.voucher(
            voucher.user,
            voucher.provider,
            voucher.usageHash,
            voucher.nonce,
            voucher.totalFee
        );
        return
            VoucherHash.isSigned(signer, separator, structHash, voucher.signature)
                ? Status.SUCCESS
                : Status.INVALID_SIGNATURE;
    }

    function _samePayer(
        SandboxVoucher calldata one,
        SandboxVoucher calldata other
    ) private pure returns (bool) {
        return one.user == other.user && one.provider == other.provider;
    }
}
