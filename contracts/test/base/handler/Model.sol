// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ISandboxServing} from "../../../src/interfaces/ISandboxServing.sol";
import {Stack} from "../Stack.sol";
import {Wallet} from "../Wallet.sol";

/// @notice What a user should have with a provider, and what became of it so far.
struct Held {
    uint256 balance;
    uint256 pending;
    uint256 unlockAt;
    uint256 lastNonce;
    uint256 acknowledged; // a version, 0 for none
    uint256 deposited;
    uint256 withdrawn;
    uint256 charged; // fees of the vouchers that settled, whole, at most 2^256 - 1
}

/// @notice What a provider should be, and have.
struct Offer {
    address signer; // zero: not registered
    uint256 version;
    uint256 cpu;
    uint256 createFee;
    uint256 memoryPrice;
    uint256 stake;
    uint256 leavingAt;
    uint256 earned;
    uint256 collected;
}

/// @title What the contract should know, kept apart from it; and how actions are tried
/// @dev Three users and two providers, all of them contracts in a mood. An action says beforehand
/// what the contract has to answer, a refusal by its error too: nothing here may revert otherwise.
abstract contract Model is Stack {
    address[] internal _users;
    address[] internal _providers;
    uint256[] internal _keys;
    Wallet internal _sink = new Wallet();
    mapping(address provider => mapping(address user => Held)) internal _held;
    mapping(address provider => Offer) internal _offers;
    uint256 internal _stake = STAKE;
    uint256 internal _forced;

    /// @notice How often a function was refused for a reason; 0 for not refused.
    mapping(bytes4 selector => mapping(bytes4 refusal => uint256)) public reached;

    constructor() {
        _deploy();
        for (uint256 i = 0; i < 3; ++i) _users.push(address(new Wallet()));
        for (uint256 i = 0; i < 2; ++i) _providers.push(address(new Wallet()));
        // WELL-KNOWN DEVELOPMENT KEYS. The last is no provider's to begin with.
        for (uint256 i = 0; i < 3; ++i) _keys.push(SIGNER_KEY + i);
    }

    // ---------------------------------------------------------- what is so now

    function users() external view returns (address[] memory) {
        return _users;
    }

    function providers() external view returns (address[] memory) {
        return _providers;
    }

    function held(address user, address provider) external view returns (Held memory) {
        return _held[provider][user];
    }

    function offer(address provider) external view returns (Offer memory) {
        return _offers[provider];
    }

    /// @notice Ether that came without the contract being asked.
    function forced() external view returns (uint256) {
        return _forced;
    }

    /// @notice The stake asked of the next provider.
    function stake() external view returns (uint256) {
        return _stake;
    }

    // ----------------------------------------------------------------- choices

    /// @dev Another number from the same seed.
    function _mix(uint256 seed, string memory what) internal pure returns (uint256) {
        return uint256(keccak256(abi.encode(seed, what)));
    }

    function _pick(address[] storage from, uint256 seed) internal view returns (address) {
        return from[seed % from.length];
    }

    /// @dev One in sixteen is the zero address.
    function _pickOrZero(address[] storage from, uint256 seed) internal view returns (address) {
        return seed % 16 == 0 ? address(0) : _pick(from, seed / 16);
    }

    /// @dev One who names a receiver: sometimes the zero address.
    function _receiver(address own, uint256 to) internal view returns (address) {
        if (to % 2 == 0) return own;
        return to % 16 == 15 ? address(0) : address(_sink);
    }

    /// @dev Somebody: the owner half of the time.
    function _anyone(uint256 seed) internal view returns (address) {
        if (seed % 2 == 0) return OWNER;
        return _pick(seed % 4 == 1 ? _users : _providers, seed / 4);
    }

    /// @dev Mostly few neuron, where equalities happen; never so much that a sum of them
    /// overflows uint128.
    function _amount(uint256 seed) internal pure returns (uint256) {
        uint256 kind = seed % 4;
        uint256 rest = seed / 4;
        if (kind == 0) return rest % 6;
        if (kind == 1) return rest % 1_000;
        return kind == 2 ? rest % 1e24 : rest % 2 ** 100;
    }

    // ----------------------------------------------------------------- actions

    /// @dev One call, which has to succeed, or to be refused with just this error.
    function _try(
        address target,
        address sender,
        uint256 value,
        bytes memory call,
        bytes4 refusal
    ) internal returns (bytes memory result) {
        bool done;
        ++reached[bytes4(call)][refusal];
        vm.deal(sender, value);
        vm.prank(sender);
        (done, result) = target.call{value: value}(call);
        if (refusal == 0) {
            vm.assertTrue(done, "refused without a reason");
        } else {
            vm.assertTrue(!done, "not refused");
            vm.assertEq(bytes32(bytes4(result)), bytes32(refusal), "refused for another reason");
        }
    }

    function _ask(address sender, uint256 value, bytes memory call, bytes4 refusal) internal {
        _try(address(_serving), sender, value, call, refusal);
    }

    /// @dev A payout to a receiver in a mood; one that calls back gets nothing more.
    /// @param refusal Why it is refused whoever receives, or 0.
    /// @return Whether it was paid.
    function _payout(
        address sender,
        address receiver,
        uint256 amount,
        bytes memory call,
        bytes4 refusal,
        uint256 mood
    ) internal returns (bool) {
        Wallet.Mood chosen = Wallet.Mood(mood % 4 == 3 ? 0 : mood % 4);
        if (refusal == 0 && receiver == address(0)) {
            refusal = ISandboxServing.ZeroAddress.selector;
        } else if (refusal == 0 && chosen == Wallet.Mood.REFUSES) {
            refusal = ISandboxServing.PaymentFailed.selector;
        }
        if (receiver != address(0)) {
            Wallet(payable(receiver)).be(chosen, address(_serving), call);
            vm.deal(receiver, 0);
        }
        _ask(sender, 0, call, refusal);
        if (refusal != 0) return false;
        vm.assertEq(receiver.balance, amount, "paid out");
        vm.assertTrue(!Wallet(payable(receiver)).succeeded(), "paid out twice");
        return true;
    }

    // -------------------------------------------------------------------- laws

    /// @dev What must hold between before and after, whatever was done.
    modifier lawful() {
        uint256[] memory before = _monotonous();
        _;
        uint256[] memory later = _monotonous();
        for (uint256 i = 0; i < before.length; ++i) {
            if (later[i] < before[i]) revert("nonces and signer versions only rise");
        }
    }

    function _monotonous() private view returns (uint256[] memory found) {
        found = new uint256[](_providers.length * (_users.length + 1));
        uint256 at = 0;
        for (uint256 p = 0; p < _providers.length; ++p) {
            (, , , , found[at++], ) = _serving.services(_providers[p]);
            for (uint256 u = 0; u < _users.length; ++u) {
                found[at++] = _serving.getLastNonce(_users[u], _providers[p]);
            }
        }
    }
}
