// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {SandboxServingStorage} from "./SandboxServingStorage.sol";
import {ISandboxServing} from "./interfaces/ISandboxServing.sol";
import {Refund, Service} from "./libraries/Accounts.sol";
import {VoucherHash} from "./libraries/VoucherHash.sol";

/// @title What can be asked of the contract
abstract contract SandboxServingViews is ISandboxServing, SandboxServingStorage {
    /// @inheritdoc ISandboxServing
    uint256 public constant LOCK_TIME = 2 hours;

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
}
