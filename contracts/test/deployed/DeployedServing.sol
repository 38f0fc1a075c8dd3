// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title What stands at today's proxy, in our own words: a double with its flaws, never to be used
/// @notice Written from wire.md §3 ("Semantics as deployed") and failures.md, so that the daemon can
/// be tried against what it will meet. Each flaw is marked with its id (K…); mend none of them. Its
/// storage is laid out in its own way, and what it costs says nothing about the original.
contract DeployedServing {
    enum Status {
        SUCCESS,
        INSUFFICIENT_BALANCE,
        PROVIDER_MISMATCH,
        NOT_ACKNOWLEDGED,
        INVALID_NONCE,
        INVALID_SIGNATURE
    }

    struct SandboxVoucher {
        address user;
        address provider;
        uint256 totalFee;
        bytes32 usageHash;
        uint256 nonce;
        bytes signature;
    }

    /// @dev What a user has with a provider.
    struct Purse {
        uint256 balance;
        uint256 pending;
        uint256 unlockAt;
        uint256 lastNonce;
        bool acknowledgedFirst; // version 0 has a yes of its own, ...
        uint256 acknowledgedVersion; // ... which no later version looks at
    }

    struct Service {
        string url;
        address teeSignerAddress;
        uint256 pricePerCPUPerMin;
        uint256 createFee;
        uint256 signerVersion;
        uint256 pricePerMemGBPerMin;
    }

    event Deposited(
        address indexed recipient,
        address indexed provider,
        address indexed sender,
        uint256 amount
    );
    event RefundRequested(
        address indexed user,
        address indexed provider,
        uint256 amount,
        uint256 unlockAt
    );
    event RefundWithdrawn(address indexed user, address indexed provider, uint256 amount);
    event VoucherSettled(
        address indexed user,
        address indexed provider,
        uint256 totalFee,
        bytes32 usageHash,
        uint256 nonce,
        Status status
    );
    event EarningsWithdrawn(address indexed provider, uint256 amount);
    event ServiceUpdated(
        address indexed provider,
        string url,
        address teeSignerAddress,
        uint256 signerVersion
    );
    event TEESignerAcknowledged(address indexed user, address indexed provider, bool acknowledged);
    event ProviderStakeUpdated(uint256 oldStake, uint256 newStake);
    event OwnershipTransferred(address indexed previousOwner, address indexed newOwner);

    uint256 public constant LOCK_TIME = 2 hours;
    bytes32 private constant _VOUCHER_TYPE = keccak256(
        "SandboxVoucher(address user,address provider,bytes32 usageHash,"
        "uint256 nonce,uint256 totalFee)"
    );

    bool private _entered;
    bool private _initialized;
    address public owner;
    uint256 public providerStake;
    bytes32 public domainSeparator;
    mapping(address user => mapping(address provider => Purse)) private _purses;
    mapping(address provider => Service) public services;
    mapping(address provider => bool) public serviceExists;
    mapping(address provider => uint256) public providerEarnings;
    mapping(address provider => uint256) public providerStakes;

    modifier locked() {
        require(!_entered, "reentrant");
        _entered = true;
        _;
        _entered = false;
    }

    modifier onlyOwner() {
        require(msg.sender == owner, "not owner");
        _;
    }

    constructor() {
        _initialized = true;
    }

    function initialize(uint256 initialStake) external {
        require(!_initialized, "already initialized");
        _initialized = true;
        owner = msg.sender;
        providerStake = initialStake;
        // K17: made once, so both sides of a split chain accept the same vouchers.
        domainSeparator = keccak256(
            abi.encode(
                keccak256(
                    "EIP712Domain(string name,string version,uint256 chainId,"
                    "address verifyingContract)"
                ),
                keccak256("0G Sandbox Serving"),
                keccak256("1"),
                block.chainid,
                address(this)
            )
        );
    }

    // ------------------------------------------------------------------- users

    /// @dev K9: nobody may be the recipient, and nobody the provider.
    function deposit(address recipient, address provider) external payable {
        require(msg.value > 0, "zero deposit");
        _purses[recipient][provider].balance += msg.value;
        emit Deposited(recipient, provider, msg.sender, msg.value);
    }

    function requestRefund(address provider, uint256 amount) external {
        require(amount > 0, "zero amount");
        Purse storage purse = _purses[msg.sender][provider];
        uint256 all = purse.balance + purse.pending;
        require(all >= amount, "insufficient balance");
        purse.balance = all - amount;
        purse.pending = amount;
        purse.unlockAt = block.timestamp + LOCK_TIME;
        emit RefundRequested(msg.sender, provider, amount, purse.unlockAt);
    }

    /// @dev K9: to the sender or not at all.
    function withdrawRefund(address provider) external locked {
        Purse storage purse = _purses[msg.sender][provider];
        uint256 amount = purse.pending;
        require(amount > 0, "no pending refund");
        require(block.timestamp >= purse.unlockAt, "refund locked");
        purse.pending = 0;
        _pay(amount);
        emit RefundWithdrawn(msg.sender, provider, amount);
    }

    /// @dev K6: binds the user to whatever is registered when the call lands.
    function acknowledgeTEESigner(address provider, bool acknowledged) external {
        require(serviceExists[provider], "provider not found");
        Purse storage purse = _purses[msg.sender][provider];
        uint256 version = services[provider].signerVersion;
        if (!acknowledged) {
            purse.acknowledgedFirst = false;
            purse.acknowledgedVersion = 0;
        } else if (version == 0) {
            purse.acknowledgedFirst = true;
        } else {
            purse.acknowledgedVersion = version;
        }
        emit TEESignerAcknowledged(msg.sender, provider, acknowledged);
    }

    // --------------------------------------------------------------- providers

    /// @dev K9: value sent with an update is credited to nobody, and no stake ever leaves. K21: a
    /// new price voids every acknowledgement at once.
    function addOrUpdateService(
        string calldata url,
        address teeSignerAddress,
        uint256 pricePerCPUPerMin,
        uint256 createFee,
        uint256 pricePerMemGBPerMin
    ) external payable {
        Service storage service = services[msg.sender];
        if (!serviceExists[msg.sender]) {
            require(msg.value >= providerStake, "insufficient stake");
            providerStakes[msg.sender] = msg.value;
            serviceExists[msg.sender] = true;
        } else if (
            service.teeSignerAddress != teeSignerAddress ||
            service.pricePerCPUPerMin != pricePerCPUPerMin ||
            service.createFee != createFee ||
            service.pricePerMemGBPerMin != pricePerMemGBPerMin
        ) {
            service.signerVersion += 1;
        }
        service.url = url;
        service.teeSignerAddress = teeSignerAddress;
        service.pricePerCPUPerMin = pricePerCPUPerMin;
        service.createFee = createFee;
        service.pricePerMemGBPerMin = pricePerMemGBPerMin;
        emit ServiceUpdated(msg.sender, url, teeSignerAddress, service.signerVersion);
    }

    function withdrawEarnings() external locked {
        uint256 amount = providerEarnings[msg.sender];
        require(amount > 0, "no earnings");
        providerEarnings[msg.sender] = 0;
        _pay(amount);
        emit EarningsWithdrawn(msg.sender, amount);
    }

    // -------------------------------------------------------------- settlement

    /// @dev K8: by anybody, in any order.
    function settleFeesWithTEE(
        SandboxVoucher[] calldata vouchers
    ) external locked returns (Status[] memory statuses) {
        statuses = new Status[](vouchers.length);
        for (uint256 i = 0; i < vouchers.length; ++i) {
            statuses[i] = _judge(vouchers[i]);
            if (statuses[i] <= Status.INSUFFICIENT_BALANCE) _take(vouchers[i], statuses[i]);
        }
    }

    /// @dev K19: each as if it came first.
    function previewSettlementResults(
        SandboxVoucher[] calldata vouchers
    ) external view returns (Status[] memory statuses) {
        statuses = new Status[](vouchers.length);
        for (uint256 i = 0; i < vouchers.length; ++i) statuses[i] = _judge(vouchers[i]);
    }

    /// @dev K2: "insufficient" is said of a wallet whose pending refund covers the fee.
    function _judge(SandboxVoucher calldata voucher) private view returns (Status) {
        Purse storage purse = _purses[voucher.user][voucher.provider];
        if (!serviceExists[voucher.provider]) return Status.PROVIDER_MISMATCH;
        if (!_isAcknowledged(purse, voucher.provider)) return Status.NOT_ACKNOWLEDGED;
        if (voucher.nonce <= purse.lastNonce) return Status.INVALID_NONCE;
        if (!_isSigned(voucher)) return Status.INVALID_SIGNATURE;
        return
            purse.balance < voucher.totalFee ? Status.INSUFFICIENT_BALANCE : Status.SUCCESS;
    }

    function _take(SandboxVoucher calldata voucher, Status status) private {
        Purse storage purse = _purses[voucher.user][voucher.provider];
        purse.lastNonce = voucher.nonce;
        uint256 paid = voucher.totalFee;
        if (status == Status.SUCCESS) {
            purse.balance -= paid;
            // K1: the refund had left the balance already, so what is trimmed is nobody's.
            if (purse.pending > purse.balance) purse.pending = purse.balance;
        } else {
            // K2: all there is, however small the fee. K4: and no word about what stays owed.
            paid = purse.balance + purse.pending;
            purse.balance = 0;
            purse.pending = 0;
        }
        providerEarnings[voucher.provider] += paid;
        // K3: the fee, not what was paid.
        emit VoucherSettled(
            voucher.user,
            voucher.provider,
            voucher.totalFee,
            voucher.usageHash,
            voucher.nonce,
            status
        );
    }

    function _isAcknowledged(Purse storage purse, address provider) private view returns (bool) {
        uint256 version = services[provider].signerVersion;
        if (version == 0) return purse.acknowledgedFirst;
        return purse.acknowledgedVersion == version;
    }

    /// @dev K17: either half of s, and v from 0 or from 27.
    function _isSigned(SandboxVoucher calldata voucher) private view returns (bool) {
        bytes calldata signature = voucher.signature;
        if (signature.length != 65) return false;
        uint8 v = uint8(signature[64]);
        if (v < 27) v += 27;
        bytes32 structHash = keccak256(
            abi.encode(
                _VOUCHER_TYPE,
                voucher.user,
                voucher.provider,
                voucher.usageHash,
                voucher.nonce,
                voucher.totalFee
            )
        );
        address signer = ecrecover(
            keccak256(abi.encodePacked("\x19\x01", domainSeparator, structHash)),
            v,
            bytes32(signature[:32]),
            bytes32(signature[32:64])
        );
        return signer != address(0) && signer == services[voucher.provider].teeSignerAddress;
    }

    function _pay(uint256 amount) private {
        (bool taken, ) = msg.sender.call{value: amount}("");
        require(taken, "transfer failed");
    }

    // ------------------------------------------------------------------- owner

    function setProviderStake(uint256 newStake) external onlyOwner {
        emit ProviderStakeUpdated(providerStake, newStake);
        providerStake = newStake;
    }

    /// @dev K16: one step, no way back from a mistyped address.
    function transferOwnership(address newOwner) external onlyOwner {
        require(newOwner != address(0), "zero address");
        emit OwnershipTransferred(owner, newOwner);
        owner = newOwner;
    }

    // ------------------------------------------------------------------- views

    function getBalance(
        address user,
        address provider
    ) external view returns (uint256 balance, uint256 pendingRefund, uint256 refundUnlockAt) {
        Purse storage purse = _purses[user][provider];
        return (purse.balance, purse.pending, purse.unlockAt);
    }

    function balanceOfBatch(
        address[] calldata users,
        address provider
    ) external view returns (uint256[] memory balances) {
        balances = new uint256[](users.length);
        for (uint256 i = 0; i < users.length; ++i) {
            balances[i] = _purses[users[i]][provider].balance;
        }
    }

    function getLastNonce(address user, address provider) external view returns (uint256) {
        return _purses[user][provider].lastNonce;
    }

    function getProviderEarnings(address provider) external view returns (uint256) {
        return providerEarnings[provider];
    }

    function isTEEAcknowledged(address user, address provider) external view returns (bool) {
        return serviceExists[provider] && _isAcknowledged(_purses[user][provider], provider);
    }
}
