// Ways to get the contract wrong, each a small edit of its source, for test-only builds.
//
// A text must stand in its file exactly `times` times (once unless said otherwise), so that an edit
// that no longer fits fails the build instead of testing nothing. The tests that notice each flaw
// are named in tests/evm/flaws/__init__.py; contracts/flaws.js compiles.
"use strict";

const SERVING = "src/SandboxServing.sol";
const STORAGE = "src/SandboxServingStorage.sol";
const VIEWS = "src/SandboxServingViews.sol";
const ACCOUNTS = "src/libraries/Accounts.sol";
const HASH = "src/libraries/VoucherHash.sol";
const BEACON = "src/proxy/UpgradeableBeacon.sol";

const edit = (file, find, replace, times = 1) => ({ file, find, replace, times });
const drop = (file, find) => edit(file, find, "");

module.exports = [
  // ------------------------------------------------------------------ money of a voucher
  {
    id: "refund-trimmed",
    row: "K1",
    flaw: "settlement trims a pending refund to the balance that is left",
    loses: "the user: a refund had left the balance already, so what is trimmed is nobody's",
    edits: [
      edit(
        SERVING,
        "        if (paid < fee) {\n",
        "        if (paid == fee && _refunds[provider][user].amount > balance - fromBalance)\n" +
          "            _refunds[provider][user].amount = balance - fromBalance;\n" +
          "        if (paid < fee) {\n",
      ),
    ],
  },
  {
    id: "refund-taken-whole",
    row: "K2",
    flaw: "a fee above the balance takes the whole pending refund",
    loses: "the user: more than the fee leaves his money",
    edits: [
      edit(ACCOUNTS, "rest < pending ? uint128(rest) : pending", "rest == 0 ? 0 : pending"),
    ],
  },
  {
    id: "shortfall-says-fee",
    row: "K3",
    flaw: "the event of a partial payment carries the fee, not what was paid",
    loses: "the provider: its books credit money that never came",
    edits: [
      edit(
        SERVING,
        "emit VoucherShortfall(user, provider, nonce, paid, fee - paid);",
        "emit VoucherShortfall(user, provider, nonce, fee, 0);",
      ),
    ],
  },
  {
    id: "shortfall-silent",
    row: "K4",
    flaw: "a partial payment says nothing about the rest",
    loses: "the provider: what stays owed is forgotten",
    edits: [drop(SERVING, "emit VoucherShortfall(user, provider, nonce, paid, fee - paid);")],
  },
  {
    id: "refund-before-balance",
    row: null,
    flaw: "a fee takes the pending refund first and the balance after it",
    loses: "the user: a refund on its way is cancelled although the balance covers the fee",
    edits: [
      edit(
        ACCOUNTS,
        "        fromBalance = fee < available ? uint128(fee) : available;\n" +
          "        uint256 rest = fee - fromBalance;\n" +
          "        fromRefund = rest < pending ? uint128(rest) : pending;\n",
        "        fromRefund = fee < pending ? uint128(fee) : pending;\n" +
          "        uint256 rest = fee - fromRefund;\n" +
          "        fromBalance = rest < available ? uint128(rest) : available;\n",
      ),
      edit(
        SERVING,
        "fee > balance ? _refunds[provider][user].amount : 0",
        "_refunds[provider][user].amount",
      ),
    ],
  },
  {
    id: "refund-emptied-by-a-part",
    row: null,
    flaw: "a fee that needs a part of the pending refund deletes all of it",
    loses: "the user: the rest of his refund is nobody's",
    edits: [
      edit(
        SERVING,
        "if (fromRefund == pending) delete _refunds[provider][user];",
        "if (fromRefund != 0) delete _refunds[provider][user];",
      ),
    ],
  },
  {
    id: "fee-narrowed",
    row: null,
    flaw: "a fee is cut to 128 bits before it is compared",
    loses: "the provider: a fee of 2^128 + 5 takes 5 from a wallet that holds more",
    edits: [
      edit(
        ACCOUNTS,
        "        fromBalance = fee < available ? uint128(fee) : available;\n",
        "        fee = uint128(fee);\n" +
          "        fromBalance = fee < available ? uint128(fee) : available;\n",
      ),
    ],
  },
  {
    id: "earnings-overwritten",
    row: null,
    flaw: "what a call earns replaces the provider's earnings",
    loses: "the provider: everything earned before is nobody's",
    edits: [edit(SERVING, "_earnings[provider] += earned", "_earnings[provider] = earned")],
  },
  {
    id: "first-run-unbooked",
    row: null,
    flaw: "where the provider changes in the middle of a list, the first one's earnings are dropped",
    loses: "the provider: what its users paid is nobody's",
    edits: [drop(SERVING, "                _book(run.provider, run.earned);\n")],
  },
  {
    id: "second-run-keeps-earnings",
    row: null,
    flaw: "where the provider changes in the middle of a list, the next one starts with its earnings",
    loses: "everybody: the same fees are booked twice, and the last to withdraw finds nothing",
    edits: [
      edit(
        SERVING,
        "run = _begin(voucher.provider);",
        "uint256 carried = run.earned;\n                run = _begin(voucher.provider);\n" +
          "                run.earned = carried;",
      ),
    ],
  },

  // -------------------------------------------------------------- who, which, how often
  {
    id: "any-acknowledged-version",
    row: "K5",
    flaw: "an acknowledgement of any version counts for the current one",
    loses: "the user: a provider that was trusted once installs its own key and takes everything",
    edits: [
      edit(VIEWS, "account.acknowledgedVersion() != version", "account.acknowledgedVersion() == 0"),
    ],
  },
  {
    id: "signer-change-unversioned",
    row: "K5",
    flaw: "a new signer does not raise the version",
    loses: "the user: his acknowledgement passes to a key he never saw",
    edits: [
      drop(SERVING, "                service.teeSignerAddress != teeSignerAddress ||\n"),
      edit(
        SERVING,
        "        service.url = url;\n",
        "        service.url = url;\n        service.teeSignerAddress = teeSignerAddress;\n",
      ),
    ],
  },
  {
    id: "expected-version-ignored",
    row: "K6",
    flaw: "the version a user expects is not compared",
    loses: "the user: signer and price change just before his call lands, and he is bound to them",
    edits: [
      drop(
        SERVING,
        "if (expectedVersion != current) revert SignerVersionMismatch(expectedVersion, current);",
      ),
    ],
  },
  {
    id: "revoke-without-effect",
    row: null,
    flaw: "taking an acknowledgement back changes nothing but the log",
    loses: "the user: a signer he no longer trusts goes on collecting",
    edits: [drop(SERVING, "_setAcknowledgedVersion(provider, 0);")],
  },
  {
    id: "nonce-repeats",
    row: "K7",
    flaw: "the last nonce passes again (>= for >)",
    loses: "the user: the newest voucher is paid as often as it is sent",
    edits: [edit(ACCOUNTS, "nonce > account.lastNonce()", "nonce >= account.lastNonce()")],
  },
  {
    id: "nonce-unchecked",
    row: "K7",
    flaw: "nonces are recorded and never compared",
    loses: "the user: every voucher is paid as often as it is sent",
    edits: [edit(ACCOUNTS, "nonce > account.lastNonce() && ", "")],
  },
  {
    id: "nonce-narrowed",
    row: null,
    flaw: "a nonce is cut to 64 bits without a check",
    loses: "the user: nonce 2^64 sets the counter back to 0, and old vouchers are paid again",
    edits: [edit(ACCOUNTS, " && nonce <= type(uint64).max", "")],
  },
  {
    id: "anybody-submits",
    row: "K8",
    flaw: "anybody may submit a registered provider's vouchers",
    loses: "the provider: a user sends only his last voucher and makes the earlier ones worthless",
    edits: [
      edit(SERVING, "signer != address(0) && (msg.sender == provider || msg.sender == signer)", "signer != address(0)"),
    ],
  },
  {
    id: "submits-behind-its-own",
    row: "K8",
    flaw: "who may submit is asked for the first provider of a list only",
    loses: "the other provider: any registered one submits its vouchers, in any order",
    edits: [
      edit(
        SERVING,
        "run = _begin(voucher.provider);",
        "bool may = run.maySubmit;\n                run = _begin(voucher.provider);\n" +
          "                if (may) run.maySubmit = run.signer != address(0);",
      ),
    ],
  },
  {
    id: "anybody-submits-a-batch",
    row: "K8",
    flaw: "anybody may submit a signed batch",
    loses: "the provider: a user sends the batch that makes an earlier one worthless",
    edits: [
      edit(
        SERVING,
        "if (!_maySubmit(provider, signer)) revert NotSubmitter",
        "if (signer == address(0)) revert NotSubmitter",
      ),
    ],
  },
  {
    id: "one-balance-for-all",
    row: "K14",
    flaw: "a user's balance is one for all providers",
    loses: "the provider: another one collects what its admission check has just counted",
    edits: [
      edit(SERVING, "_accounts[provider]", "_accounts[address(0)]", "all"),
      edit(SERVING, "_accounts[run.provider]", "_accounts[address(0)]", "all"),
      edit(VIEWS, "_accounts[voucher.provider]", "_accounts[address(0)]", "all"),
      edit(VIEWS, "_accounts[provider]", "_accounts[address(0)]", "all"),
    ],
  },
  {
    id: "left-provider-signs-nothing",
    row: null,
    flaw: "a provider that is not registered may submit, and an unreadable signature is its signer's",
    loses: "the user: a provider that left takes every balance with empty signatures",
    edits: [
      edit(SERVING, "signer != address(0) && (msg.sender", "(msg.sender"),
      edit(HASH, "problem == ECDSA.RecoverError.NoError && recovered == signer", "recovered == signer"),
    ],
  },

  // --------------------------------------------------------------------------- signatures
  {
    id: "any-signer",
    row: null,
    flaw: "a well-formed signature passes, whoever made it",
    loses: "the user: the provider forges vouchers without its enclave",
    edits: [
      edit(HASH, " && recovered == signer", " && recovered != address(0) && signer != address(0)"),
    ],
  },
  {
    id: "batch-unsigned",
    row: null,
    flaw: "the signature of a batch is not looked at",
    loses: "the user: a provider without its enclave takes every balance in one call",
    edits: [
      edit(
        SERVING,
        "if (!VoucherHash.isSigned(signer, domainSeparator(), batchHash, signature)) {",
        "if (batchHash == bytes32(0)) {",
      ),
    ],
  },
  {
    id: "high-s-passes",
    row: "K17",
    flaw: "the signer is recovered by the bare precompile",
    loses: "whoever counts by signature: the same voucher has two of them",
    edits: [
      edit(
        HASH,
        "        (address recovered, ECDSA.RecoverError problem, ) = ECDSA.tryRecoverCalldata(\n" +
          "            MessageHashUtils.toTypedDataHash(separator, structHash),\n" +
          "            signature\n" +
          "        );\n" +
          "        return problem == ECDSA.RecoverError.NoError && recovered == signer;\n",
        "        if (signature.length != 65) return false;\n" +
          "        address recovered = ecrecover(\n" +
          "            MessageHashUtils.toTypedDataHash(separator, structHash),\n" +
          "            uint8(signature[64]),\n" +
          "            bytes32(signature[:32]),\n" +
          "            bytes32(signature[32:64])\n" +
          "        );\n" +
          "        return recovered != address(0) && recovered == signer;\n",
      ),
    ],
  },
  {
    id: "frozen-separator",
    row: "K17",
    flaw: "the domain separator does not follow the chain id",
    loses: "the user: after a split a voucher is paid on both sides",
    edits: [edit(HASH, "block.chainid", "uint256(16602)")],
  },
  {
    id: "fee-unsigned",
    row: null,
    flaw: "the lowest bit of the fee is not under the signature",
    loses: "the user: whoever submits may ask for one neuron more than was signed",
    edits: [
      edit(
        HASH,
        "abi.encode(_VOUCHER_TYPE, user, provider, usageHash, nonce, totalFee)",
        "abi.encode(_VOUCHER_TYPE, user, provider, usageHash, nonce, totalFee & ~uint256(1))",
      ),
    ],
  },

  // ------------------------------------------------------------------ money in, money out
  {
    id: "update-keeps-value",
    row: "K9",
    flaw: "an update of the service accepts money",
    loses: "the provider: it is credited to nobody",
    edits: [drop(SERVING, "if (msg.value != 0) revert UnexpectedValue(msg.value);")],
  },
  {
    id: "stake-stays",
    row: "K9",
    flaw: "a provider that leaves is not paid its stake",
    loses: "the provider: its stake is nobody's",
    edits: [edit(SERVING, "        _pay(receiver, stake);\n", "        if (receiver == address(0)) revert ZeroAddress();\n")],
  },
  {
    id: "refund-to-sender-only",
    row: "K9",
    flaw: "a refund that names a receiver goes to the sender all the same",
    loses: "the user: a contract wallet that cannot receive never gets its money",
    edits: [edit(SERVING, "_withdrawRefund(provider, receiver);", "_withdrawRefund(provider, msg.sender);")],
  },
  {
    id: "deposit-for-nobody",
    row: "K9",
    flaw: "the zero address may be given money",
    loses: "the depositor: nobody can take it out",
    edits: [
      drop(SERVING, "if (recipient == address(0) || provider == address(0)) revert ZeroAddress();"),
    ],
  },
  {
    id: "deposit-narrowed",
    row: null,
    flaw: "a deposit is cut to 128 bits",
    loses: "the depositor: 2^128 neuron come in and count as 0",
    edits: [edit(SERVING, "SafeCast.toUint128(msg.value)", "uint128(msg.value)")],
  },
  {
    id: "stake-not-paid-in",
    row: null,
    flaw: "a first registration is credited the stake whatever it carries",
    loses: "everybody: the stake that leaves is other people's money",
    edits: [
      edit(
        SERVING,
        "            if (msg.value != _providerStake) revert WrongStake(_providerStake, msg.value);\n" +
          "            _stakes[msg.sender] = msg.value;\n",
        "            _stakes[msg.sender] = _providerStake;\n",
      ),
    ],
  },
  {
    id: "request-keeps-balance",
    row: null,
    flaw: "a refund request leaves the amount in the balance",
    loses: "everybody: the same money is refunded and spent",
    edits: [
      edit(
        SERVING,
        "SafeCast.toUint128(available - amount)",
        "SafeCast.toUint128(account.balance())",
      ),
    ],
  },
  {
    id: "request-forgets-earlier",
    row: null,
    flaw: "a new refund request does not return the earlier one to the balance",
    loses: "the user: the earlier amount is nobody's",
    edits: [
      edit(
        SERVING,
        "uint256(account.balance()) + _refunds[provider][msg.sender].amount",
        "uint256(account.balance())",
      ),
    ],
  },
  {
    id: "refund-unlocked",
    row: "K13",
    flaw: "a refund is paid before its lock ends",
    loses: "the provider: the money is gone before the voucher lands",
    edits: [drop(SERVING, "if (block.timestamp < refund.unlockAt) revert RefundLocked(refund.unlockAt);")],
  },
  {
    id: "refund-lock-kept",
    row: "K13",
    flaw: "a replaced request keeps the moment at which the earlier one unlocks",
    loses: "the provider: a request for 1, kept for two hours, opens the door for everything",
    edits: [
      edit(
        SERVING,
        "unlockAt = block.timestamp + LOCK_TIME;\n            _refunds",
        "unlockAt = _refunds[provider][msg.sender].unlockAt;\n" +
          "            if (unlockAt == 0) unlockAt = block.timestamp + LOCK_TIME;\n            _refunds",
      ),
    ],
  },
  {
    id: "refund-paid-before-cleared",
    row: null,
    flaw: "a refund is deleted after it was paid",
    loses: "everybody: a wallet that calls back is paid again and again",
    edits: [
      edit(
        SERVING,
        "        delete _refunds[provider][msg.sender];\n" +
          "        emit RefundWithdrawn(msg.sender, provider, refund.amount);\n" +
          "        _pay(receiver, refund.amount);\n",
        "        emit RefundWithdrawn(msg.sender, provider, refund.amount);\n" +
          "        _pay(receiver, refund.amount);\n" +
          "        delete _refunds[provider][msg.sender];\n",
      ),
    ],
  },
  {
    id: "earnings-paid-before-cleared",
    row: null,
    flaw: "earnings are deleted after they were paid",
    loses: "everybody: a provider that calls back is paid again and again",
    edits: [
      edit(
        SERVING,
        "        delete _earnings[msg.sender];\n" +
          "        emit EarningsWithdrawn(msg.sender, amount);\n" +
          "        _pay(receiver, amount);\n",
        "        emit EarningsWithdrawn(msg.sender, amount);\n" +
          "        _pay(receiver, amount);\n" +
          "        delete _earnings[msg.sender];\n",
      ),
    ],
  },

  // ------------------------------------------------------------------------------ leaving
  {
    id: "leave-unlocked",
    row: null,
    flaw: "a provider may leave as soon as it says so",
    loses: "users: a provider goes with its stake while their sandboxes run, and without notice",
    edits: [drop(SERVING, "if (block.timestamp < leaveAt) revert LeaveLocked(leaveAt);")],
  },
  {
    id: "announcement-survives",
    row: null,
    flaw: "the announcement outlives the leaving",
    loses: "users: one who comes back may leave again without any wait",
    edits: [drop(SERVING, "delete _leavingAt[msg.sender];")],
  },
  {
    id: "settles-after-leaving",
    row: null,
    flaw: "a provider that took its stake stays registered",
    loses: "users: vouchers go on being paid with nothing at stake",
    edits: [drop(SERVING, "delete _services[msg.sender];")],
  },
  {
    id: "version-forgotten",
    row: null,
    flaw: "leaving forgets the signer version",
    loses: "the user: one who comes back with another signer reuses an acknowledged version",
    edits: [drop(SERVING, "_services[msg.sender].signerVersion = version;")],
  },

  // -------------------------------------------------------------- preview, owner, upgrades
  {
    id: "preview-stands-still",
    row: "K19",
    flaw: "the preview judges each voucher against the stored state",
    loses: "the provider: two vouchers look paid where there is money for one",
    edits: [edit(VIEWS, "uint256 before = i;", "uint256 before = 0;")],
  },
  {
    id: "anybody-sets-stake",
    row: null,
    flaw: "the stake may be set by anybody",
    loses: "users: providers register with nothing at stake",
    edits: [
      edit(SERVING, "setProviderStake(uint256 newStake) external onlyOwner", "setProviderStake(uint256 newStake) external"),
    ],
  },
  {
    id: "initialised-again",
    row: null,
    flaw: "the proxy can be initialised once more",
    loses: "everybody: whoever does it owns the contract",
    edits: [
      edit(SERVING, "external initializer", "external reinitializer(_getInitializedVersion() + 1)"),
    ],
  },
  {
    id: "implementation-open",
    row: null,
    flaw: "the bare implementation can be initialised",
    loses: "whoever mistakes it for the contract: a stranger owns it",
    edits: [drop(SERVING, "_disableInitializers();")],
  },
  {
    id: "slots-moved",
    row: "K15",
    flaw: "two state variables change places",
    loses: "everybody: after an upgrade earnings read as stakes and stakes as earnings",
    edits: [
      edit(
        STORAGE,
        "    mapping(address provider => uint256) internal _earnings;\n" +
          "    mapping(address provider => uint256) internal _stakes;\n",
        "    mapping(address provider => uint256) internal _stakes;\n" +
          "    mapping(address provider => uint256) internal _earnings;\n",
      ),
    ],
  },
  {
    id: "owner-in-one-step",
    row: "K16",
    flaw: "the contract changes hands by one word of its owner",
    loses: "everybody: a mistyped address is the owner for ever",
    edits: [
      edit(
        SERVING,
        "    // ------------------------------------------------------------------- owner\n",
        "    function transferOwnership(address newOwner) public override onlyOwner {\n" +
          "        super.transferOwnership(newOwner);\n        _transferOwnership(newOwner);\n    }\n",
      ),
    ],
  },
  {
    id: "beacon-in-one-step",
    row: "K16",
    contract: "UpgradeableBeacon",
    flaw: "the beacon changes hands by one word of its owner",
    loses: "everybody: whoever a typing error names can replace the logic under all balances",
    edits: [
      edit(
        BEACON,
        "Ownable2Step.transferOwnership(newOwner);",
        "Ownable2Step.transferOwnership(newOwner);\n        _transferOwnership(newOwner);",
      ),
    ],
  },
];
