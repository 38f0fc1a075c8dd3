// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title The settlement contract of sandbox billing
/// @notice Users hold balances per provider; a provider collects with vouchers that its attested
/// signer signed, and only from users who acknowledged that signer at those prices.
/// @dev All amounts are neuron (10^-18 0G), all moments unix seconds. Function names are never
/// overloaded: name-based clients must keep working.
interface ISandboxServing {
    // ------------------------------------------------------------------ values

    /// @notice What became of one voucher, in the order in which the checks are made.
    enum Status {
        SUCCESS, // the whole fee was paid
        INSUFFICIENT_BALANCE, // all there was, was paid; VoucherShortfall says how much
        PROVIDER_MISMATCH, // no such provider, or the sender may not submit for it
        NOT_ACKNOWLEDGED, // the user has not acknowledged the current signer version
        INVALID_NONCE, // not above the last nonce, or beyond 2^64 - 1
        INVALID_SIGNATURE // not the current signer's, or not in its one accepted form
    }

    /// @notice One claim with its own signature. The signed type has another order of fields:
    /// SandboxVoucher(address user,address provider,bytes32 usageHash,uint256 nonce,
    /// uint256 totalFee).
    struct SandboxVoucher {
        address user;
        address provider;
        uint256 totalFee;
        bytes32 usageHash;
        uint256 nonce;
        bytes signature;
    }

    /// @notice One claim of a batch that is signed as a whole.
    struct VoucherLine {
        address user;
        uint256 totalFee;
        bytes32 usageHash;
        uint256 nonce;
    }

    // ------------------------------------------------------------------ events

    /// @notice `sender` paid `amount` into the balance of (`recipient`, `provider`).
    event Deposited(
        address indexed recipient,
        address indexed provider,
        address indexed sender,
        uint256 amount
    );

    /// @notice `amount` left the balance and may be withdrawn from `unlockAt` on. It replaces any
    /// earlier request; amount 0 (and then unlockAt 0) cancels.
    event RefundRequested(
        address indexed user,
        address indexed provider,
        uint256 amount,
        uint256 unlockAt
    );

    /// @notice A refund was paid out; `amount` may be less than was requested, by fees since.
    event RefundWithdrawn(address indexed user, address indexed provider, uint256 amount);

    /// @notice A voucher used up its nonce. Emitted for SUCCESS and INSUFFICIENT_BALANCE only.
    /// @param totalFee What the voucher asked for; with SUCCESS that is also what was paid.
    event VoucherSettled(
        address indexed user,
        address indexed provider,
        uint256 totalFee,
        bytes32 usageHash,
        uint256 nonce,
        uint8 status
    );

    /// @notice Comes right before VoucherSettled with INSUFFICIENT_BALANCE: paid + owed = totalFee.
    event VoucherShortfall(
        address indexed user,
        address indexed provider,
        uint256 nonce,
        uint256 paid,
        uint256 owed
    );

    /// @notice A provider took out everything it had earned.
    event EarningsWithdrawn(address indexed provider, uint256 amount);

    /// @notice A provider registered or changed; a higher `signerVersion` voids acknowledgements.
    event ServiceUpdated(
        address indexed provider,
        string url,
        address teeSignerAddress,
        uint256 signerVersion
    );

    /// @notice A user acknowledged the current signer version, or took his acknowledgement back.
    event TEESignerAcknowledged(address indexed user, address indexed provider, bool acknowledged);

    /// @notice The stake asked of new providers changed.
    event ProviderStakeUpdated(uint256 oldStake, uint256 newStake);

    /// @notice A provider may leave from `leaveAt` on; its vouchers settle until it does.
    event ProviderLeaving(address indexed provider, uint256 leaveAt);

    /// @notice A provider left and took its stake.
    event ProviderLeft(address indexed provider, uint256 stake);

    // ------------------------------------------------------------------ errors

    // Each is thrown by the functions that its @dev names, and by no others.

    /// @notice A recipient, provider, signer or receiver is the zero address.
    /// @dev deposit, addOrUpdateService, withdrawRefundTo, withdrawEarningsTo, leave
    error ZeroAddress();
    /// @notice A deposit carries no value.
    /// @dev deposit
    error ZeroAmount();
    /// @notice There is nothing to pay out: no refund is pending, or nothing was earned.
    /// @dev withdrawRefund, withdrawRefundTo, withdrawEarnings, withdrawEarningsTo
    error NothingToWithdraw();
    /// @notice The provider to acknowledge, or the one that wants to leave, is not registered.
    /// @dev acknowledgeTEESigner, acknowledgeTEESignerVersion, announceLeave
    error NotRegistered(address provider);
    /// @notice Somebody else than a registered provider or its signer submitted its batch.
    /// @dev settleBatch
    error NotSubmitter(address provider, address sender);
    /// @notice The batch is not signed by the provider's signer, or not in the one accepted form.
    /// @dev settleBatch
    error BadBatchSignature(address provider);
    /// @notice A registration does not carry exactly the stake.
    /// @dev addOrUpdateService
    error WrongStake(uint256 required, uint256 sent);
    /// @notice An update of a registered service carries value, which would belong to nobody.
    /// @dev addOrUpdateService
    error UnexpectedValue(uint256 sent);
    /// @notice Signer or prices are not, or no longer, those of the version that the user expects.
    /// @dev acknowledgeTEESignerVersion
    error SignerVersionMismatch(uint256 expected, uint256 current);
    /// @notice More is asked back than balance and pending refund hold together.
    /// @dev requestRefund
    error InsufficientFunds(uint256 available, uint256 requested);
    /// @notice The refund may be withdrawn from `unlockAt` on, and it is earlier.
    /// @dev withdrawRefund, withdrawRefundTo
    error RefundLocked(uint256 unlockAt);
    /// @notice Leaving was announced before, for `leaveAt`.
    /// @dev announceLeave
    error AlreadyLeaving(uint256 leaveAt);
    /// @notice Leaving was not announced.
    /// @dev leave
    error NotLeaving();
    /// @notice The provider may leave from `leaveAt` on, and it is earlier.
    /// @dev leave
    error LeaveLocked(uint256 leaveAt);
    /// @notice The receiver did not take the money; nothing has changed.
    /// @dev withdrawRefund, withdrawRefundTo, withdrawEarnings, withdrawEarningsTo, leave
    error PaymentFailed(address receiver);
    /// @notice Ownership can be handed over and never given up.
    /// @dev renounceOwnership
    error OwnershipNotRenounced();

    // ------------------------------------------------------------------- users

    /// @notice Adds the value to the balance of (recipient, provider); anyone may pay for anyone.
    function deposit(address recipient, address provider) external payable;

    /// @notice Sets aside `amount` of the caller's money, to be withdrawn after LOCK_TIME. An
    /// earlier request returns to the balance first and the lock starts anew; 0 cancels. A fee
    /// that the balance does not cover still takes what it needs from it.
    function requestRefund(address provider, uint256 amount) external;

    /// @notice Pays the caller's unlocked refund to the caller.
    function withdrawRefund(address provider) external;

    /// @notice Pays the caller's unlocked refund to `receiver`, for wallets that cannot receive.
    function withdrawRefundTo(address provider, address receiver) external;

    /// @notice Acknowledges whatever signer version is current, or revokes, at once.
    function acknowledgeTEESigner(address provider, bool acknowledged) external;

    /// @notice Acknowledges signer and prices only if they are still those of `expectedVersion`.
    function acknowledgeTEESignerVersion(address provider, uint256 expectedVersion) external;

    // --------------------------------------------------------------- providers

    /// @notice Registers the caller (the value is the stake) or updates it (no value). A change of
    /// signer, prices or create fee, and any registration after leaving, raises the signer version.
    function addOrUpdateService(
        string calldata url,
        address teeSignerAddress,
        uint256 pricePerCPUPerMin,
        uint256 createFee,
        uint256 pricePerMemGBPerMin
    ) external payable;

    /// @notice Settles vouchers in the order given. None makes it revert: each gets a Status.
    function settleFeesWithTEE(
        SandboxVoucher[] calldata vouchers
    ) external returns (Status[] memory statuses);

    /// @notice Settles the lines of one provider under one signature of the type
    /// SandboxVoucherBatch(address provider,SandboxVoucher[] vouchers). Reverts with NotSubmitter
    /// or BadBatchSignature; else each line gets the Status and the events of a voucher.
    function settleBatch(
        address provider,
        VoucherLine[] calldata lines,
        bytes calldata signature
    ) external returns (Status[] memory statuses);

    /// @notice Pays everything the caller earned to the caller.
    function withdrawEarnings() external;

    /// @notice Pays everything the caller earned to `receiver`.
    function withdrawEarningsTo(address receiver) external;

    /// @notice Announces that the caller will leave, LOCK_TIME from now at the earliest.
    function announceLeave() external;

    /// @notice Ends the caller's registration and pays its stake to `receiver`. Earnings and users'
    /// balances stay and can be withdrawn as before.
    function leave(address receiver) external;

    // ------------------------------------------------------------------- owner

    /// @notice Sets the stake of registrations to come.
    function setProviderStake(uint256 newStake) external;

    // ------------------------------------------------------------------- views

    /// @notice What settleFeesWithTEE would answer now to a sender who may submit. It takes earlier
    /// vouchers of the same call into account. It is a forecast and never proof of payment.
    function previewSettlementResults(
        SandboxVoucher[] calldata vouchers
    ) external view returns (Status[] memory statuses);

    /// @notice Money of (user, provider); `balance` never includes `pendingRefund`.
    function getBalance(
        address user,
        address provider
    ) external view returns (uint256 balance, uint256 pendingRefund, uint256 refundUnlockAt);

    /// @notice Balances of several users with one provider, without pending refunds.
    function balanceOfBatch(
        address[] calldata users,
        address provider
    ) external view returns (uint256[] memory balances);

    /// @notice The highest nonce that was settled; 0 before the first.
    function getLastNonce(address user, address provider) external view returns (uint256);

    /// @notice Whether vouchers of (user, provider) pass the acknowledgement check now.
    function isTEEAcknowledged(address user, address provider) external view returns (bool);

    /// @notice A provider's offer. After leaving everything but `signerVersion` is empty.
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
        );

    /// @notice Whether a provider is registered.
    function serviceExists(address provider) external view returns (bool);

    /// @notice What a provider has earned and not yet withdrawn.
    function providerEarnings(address provider) external view returns (uint256);

    /// @notice The same as providerEarnings; both names have callers.
    function getProviderEarnings(address provider) external view returns (uint256);

    /// @notice What a provider staked and gets back when it leaves.
    function providerStakes(address provider) external view returns (uint256);

    /// @notice From when on a provider may leave; 0 if it has not announced it.
    function leavingAt(address provider) external view returns (uint256);

    /// @notice The stake asked of new providers.
    function providerStake() external view returns (uint256);

    /// @notice Seconds between a refund request (or an announcement to leave) and its payment.
    function LOCK_TIME() external view returns (uint256);

    /// @notice The EIP-712 separator, of the chain id of this very block.
    function domainSeparator() external view returns (bytes32);
}
