// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {
    Ownable2StepUpgradeable
} from "@openzeppelin/contracts-upgradeable/access/Ownable2StepUpgradeable.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";
import {SandboxServingViews} from "./SandboxServingViews.sol";
import {ISandboxServing} from "./interfaces/ISandboxServing.sol";
import {Account, Accounts, Refund, Service} from "./libraries/Accounts.sol";
import {VoucherHash} from "./libraries/VoucherHash.sol";

/// @title Balances, acknowledgements and the settlement of vouchers
/// @dev Lives behind a BeaconProxy. No reentrancy guard: every payout is its function's last step,
/// after all its effects, and settlement calls nobody.
contract SandboxServing is SandboxServingViews, Ownable2StepUpgradeable {
    /// @dev Vouchers of one provider in a row. Its service is read once, for nothing that settles
    /// can change it; its earnings are written once, for nothing that settles reads them.
    struct Run {
        address provider;
        address signer;
        uint64 version;
        bool maySubmit;
        uint256 earned;
    }

    constructor() {
        _disableInitializers();
    }

    /// @notice Called once, by the proxy's constructor; its creator becomes the owner.
    /// @param initialStake What a new provider has to stake.
    function initialize(uint256 initialStake) external initializer {
        __Ownable_init(msg.sender);
        _setProviderStake(initialStake);
    }

    // ------------------------------------------------------------------- users

    /// @inheritdoc ISandboxServing
    function deposit(address recipient, address provider) external payable {
        if (recipient == address(0) || provider == address(0)) revert ZeroAddress();
        if (msg.value == 0) revert ZeroAmount();
        Account account = _accounts[provider][recipient];
        uint128 balance = account.balance() + SafeCast.toUint128(msg.value);
        _accounts[provider][recipient] = account.withBalance(balance);
        emit Deposited(recipient, provider, msg.sender, msg.value);
    }

    /// @inheritdoc ISandboxServing
    function requestRefund(address provider, uint256 amount) external {
        Account account = _accounts[provider][msg.sender];
        uint256 available = uint256(account.balance()) + _refunds[provider][msg.sender].amount;
        if (amount > available) revert InsufficientFunds(available, amount);

        uint128 balance = SafeCast.toUint128(available - amount);
        _accounts[provider][msg.sender] = account.withBalance(balance);
        uint256 unlockAt;
        if (amount == 0) {
            delete _refunds[provider][msg.sender];
        } else {
            unlockAt = block.timestamp + LOCK_TIME;
            _refunds[provider][msg.sender] = Refund({
                amount: SafeCast.toUint128(amount),
                unlockAt: SafeCast.toUint64(unlockAt)
            });
        }
        emit RefundRequested(msg.sender, provider, amount, unlockAt);
    }

    /// @inheritdoc ISandboxServing
    function withdrawRefund(address provider) external {
        _withdrawRefund(provider, msg.sender);
    }

    /// @inheritdoc ISandboxServing
    function withdrawRefundTo(address provider, address receiver) external {
        _withdrawRefund(provider, receiver);
    }

    /// @inheritdoc ISandboxServing
    function acknowledgeTEESigner(address provider, bool acknowledged) external {
        if (acknowledged) {
            _acknowledge(provider, _services[provider].signerVersion);
        } else {
            _setAcknowledgedVersion(provider, 0);
            emit TEESignerAcknowledged(msg.sender, provider, false);
        }
    }

    /// @inheritdoc ISandboxServing
    function acknowledgeTEESignerVersion(address provider, uint256 expectedVersion) external {
        uint64 current = _services[provider].signerVersion;
        if (expectedVersion != current) revert SignerVersionMismatch(expectedVersion, current);
        _acknowledge(provider, current);
    }

    // --------------------------------------------------------------- providers

    /// @inheritdoc ISandboxServing
    function addOrUpdateService(
        string calldata url,
        address teeSignerAddress,
        uint256 pricePerCPUPerMin,
        uint256 createFee,
        uint256 pricePerMemGBPerMin
    ) external payable {
        if (teeSignerAddress == address(0)) revert ZeroAddress();
        Service storage service = _services[msg.sender];
        bool raises = true;
        if (_isRegistered(service)) {
            if (msg.value != 0) revert UnexpectedValue(msg.value);
            raises =
                service.teeSignerAddress != teeSignerAddress ||
                service.pricePerCPUPerMin != pricePerCPUPerMin ||
                service.createFee != createFee ||
                service.pricePerMemGBPerMin != pricePerMemGBPerMin;
        } else {
            if (msg.value != _providerStake) revert WrongStake(_providerStake, msg.value);
            _stakes[msg.sender] = msg.value;
        }

        service.url = url;
        if (raises) {
            service.teeSignerAddress = teeSignerAddress;
            service.signerVersion += 1;
            service.pricePerCPUPerMin = pricePerCPUPerMin;
            service.createFee = createFee;
            service.pricePerMemGBPerMin = pricePerMemGBPerMin;
        }
        emit ServiceUpdated(msg.sender, url, teeSignerAddress, service.signerVersion);
    }

    /// @inheritdoc ISandboxServing
    function withdrawEarnings() external {
        _withdrawEarnings(msg.sender);
    }

    /// @inheritdoc ISandboxServing
    function withdrawEarningsTo(address receiver) external {
        _withdrawEarnings(receiver);
    }

    /// @inheritdoc ISandboxServing
    function announceLeave() external {
        if (!_isRegistered(_services[msg.sender])) revert NotRegistered(msg.sender);
        if (_leavingAt[msg.sender] != 0) revert AlreadyLeaving(_leavingAt[msg.sender]);
        uint256 leaveAt = block.timestamp + LOCK_TIME;
        _leavingAt[msg.sender] = leaveAt;
        emit ProviderLeaving(msg.sender, leaveAt);
    }

    /// @inheritdoc ISandboxServing
    function leave(address receiver) external {
        uint256 leaveAt = _leavingAt[msg.sender];
        if (leaveAt == 0) revert NotLeaving();
        if (block.timestamp < leaveAt) revert LeaveLocked(leaveAt);

        uint256 stake = _stakes[msg.sender];
        uint64 version = _services[msg.sender].signerVersion;
        delete _leavingAt[msg.sender];
        delete _stakes[msg.sender];
        delete _services[msg.sender];
        // Were it forgotten, coming back with another signer could reuse an acknowledged version.
        _services[msg.sender].signerVersion = version;
        emit ProviderLeft(msg.sender, stake);
        _pay(receiver, stake);
    }

    // -------------------------------------------------------------- settlement

    /// @inheritdoc ISandboxServing
    function settleFeesWithTEE(
        SandboxVoucher[] calldata vouchers
    ) external returns (Status[] memory statuses) {
        bytes32 separator = domainSeparator();
        statuses = new Status[](vouchers.length);
        Run memory run;
        for (uint256 i = 0; i < vouchers.length; ++i) {
            SandboxVoucher calldata voucher = vouchers[i];
            if (voucher.provider != run.provider) {
                _book(run.provider, run.earned);
                run = _begin(voucher.provider);
            }
            if (!run.maySubmit) {
                statuses[i] = Status.PROVIDER_MISMATCH;
                continue;
            }
            Account account = _accounts[run.provider][voucher.user];
            Status status = _judge(voucher, run.signer, run.version, account, separator);
            if (status == Status.SUCCESS) {
                uint256 paid;
                (status, paid) = _settle(
                    run.provider,
                    account,
                    voucher.user,
                    voucher.totalFee,
                    voucher.usageHash,
                    voucher.nonce
                );
                run.earned += paid;
            }
            statuses[i] = status;
        }
        _book(run.provider, run.earned);
    }

    /// @inheritdoc ISandboxServing
    function settleBatch(
        address provider,
        VoucherLine[] calldata lines,
        bytes calldata signature
    ) external returns (Status[] memory statuses) {
        address signer = _services[provider].teeSignerAddress;
        uint64 version = _services[provider].signerVersion;
        if (!_maySubmit(provider, signer)) revert NotSubmitter(provider, msg.sender);

        bytes32 batchHash = VoucherHash.batch(provider, lines);
        if (!VoucherHash.isSigned(signer, domainSeparator(), batchHash, signature)) {
            revert BadBatchSignature(provider);
        }
        statuses = new Status[](lines.length);
        uint256 earned = 0;
        for (uint256 i = 0; i < lines.length; ++i) {
            VoucherLine calldata line = lines[i];
            Account account = _accounts[provider][line.user];
            Status status = _admit(account, version, line.nonce);
            if (status == Status.SUCCESS) {
                uint256 paid;
                (status, paid) = _settle(
                    provider,
                    account,
                    line.user,
                    line.totalFee,
                    line.usageHash,
                    line.nonce
                );
                earned += paid;
            }
            statuses[i] = status;
        }
        _book(provider, earned);
    }

    // ------------------------------------------------------------------- owner

    /// @inheritdoc ISandboxServing
    function setProviderStake(uint256 newStake) external onlyOwner {
        _setProviderStake(newStake);
    }

    /// @dev There is always an owner: without one nobody could set the stake ever again.
    function renounceOwnership() public view override onlyOwner {
        revert OwnershipNotRenounced();
    }

    // ------------------------------------------------------------------ checks

    /// @dev A stranger who submits a wallet's vouchers out of order would make the earlier ones
    /// worthless, so only those who lose by it may submit.
    function _maySubmit(address provider, address signer) private view returns (bool) {
        return signer != address(0) && (msg.sender == provider || msg.sender == signer);
    }

    // ----------------------------------------------------------------- effects

    function _begin(address provider) private view returns (Run memory run) {
        Service storage service = _services[provider];
        run.provider = provider;
        run.signer = service.teeSignerAddress;
        run.version = service.signerVersion;
        run.maySubmit = _maySubmit(provider, run.signer);
    }

    function _book(address provider, uint256 earned) private {
        if (earned != 0) _earnings[provider] += earned;
    }

    /// @dev Moves the money of a voucher that passed every check; the caller books `paid`.
    function _settle(
        address provider,
        Account account,
        address user,
        uint256 fee,
        bytes32 usageHash,
        uint256 nonce
    ) private returns (Status status, uint256 paid) {
        uint128 balance = account.balance();
        uint128 pending = fee > balance ? _refunds[provider][user].amount : 0;
        (uint128 fromBalance, uint128 fromRefund) = Accounts.split(fee, balance, pending);
        paid = uint256(fromBalance) + fromRefund;

        _accounts[provider][user] = account.withBalance(balance - fromBalance).withLastNonce(
            uint64(nonce)
        );
        if (fromRefund != 0) {
            if (fromRefund == pending) delete _refunds[provider][user];
            else _refunds[provider][user].amount = pending - fromRefund;
        }

        if (paid < fee) {
            status = Status.INSUFFICIENT_BALANCE;
            emit VoucherShortfall(user, provider, nonce, paid, fee - paid);
        }
        emit VoucherSettled(user, provider, fee, usageHash, nonce, uint8(status));
    }

    function _acknowledge(address provider, uint64 version) private {
        if (!_isRegistered(_services[provider])) revert NotRegistered(provider);
        _setAcknowledgedVersion(provider, version);
        emit TEESignerAcknowledged(msg.sender, provider, true);
    }

    function _setAcknowledgedVersion(address provider, uint64 version) private {
        Account account = _accounts[provider][msg.sender];
        _accounts[provider][msg.sender] = account.withAcknowledgedVersion(version);
    }

    function _setProviderStake(uint256 newStake) private {
        emit ProviderStakeUpdated(_providerStake, newStake);
        _providerStake = newStake;
    }

    function _withdrawRefund(address provider, address receiver) private {
        Refund memory refund = _refunds[provider][msg.sender];
        if (refund.amount == 0) revert NothingToWithdraw();
        if (block.timestamp < refund.unlockAt) revert RefundLocked(refund.unlockAt);
        delete _refunds[provider][msg.sender];
        emit RefundWithdrawn(msg.sender, provider, refund.amount);
        _pay(receiver, refund.amount);
    }

    function _withdrawEarnings(address receiver) private {
        uint256 amount = _earnings[msg.sender];
        if (amount == 0) revert NothingToWithdraw();
        delete _earnings[msg.sender];
        emit EarningsWithdrawn(msg.sender, amount);
        _pay(receiver, amount);
    }

    /// @dev Always the last step: the receiver may call back, and finds everything done.
    function _pay(address receiver, uint256 amount) private {
        if (receiver == address(0)) revert ZeroAddress();
        (bool taken, ) = receiver.call{value: amount}("");
        if (!taken) revert PaymentFailed(receiver);
    }
}
