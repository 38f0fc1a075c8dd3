// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {Initializable} from "@openzeppelin/contracts/proxy/utils/Initializable.sol";
import {ISandboxServing as Serving} from "../src/interfaces/ISandboxServing.sol";
import {Handler} from "./base/handler/Handler.sol";
import {Owners} from "./base/handler/Owners.sol";
import {Providers} from "./base/handler/Providers.sol";
import {Settlement} from "./base/handler/Settlement.sol";
import {Users} from "./base/handler/Users.sol";
import {IBeacon, IServing} from "./base/Stack.sol";
import {Test} from "./base/Test.sol";

/// @title The random actions do reach every outcome, so that the laws are about something
contract ReachTest is Test {
    uint256 private constant _ACTIONS = 5_000;
    bytes4 private constant _DONE = 0;

    Handler private _handler;
    bytes4[] private _actions;

    function setUp() external {
        _handler = new Handler();
        _actions = [
            Users.deposit.selector,
            Users.requestRefund.selector,
            Users.withdrawRefund.selector,
            Users.acknowledge.selector,
            Users.acknowledgeVersion.selector,
            Providers.register.selector,
            Providers.withdrawEarnings.selector,
            Providers.announceLeave.selector,
            Providers.leave.selector,
            Owners.govern.selector,
            Owners.force.selector,
            Owners.pass.selector,
            Owners.passUntil.selector,
            Settlement.settle.selector,
            Settlement.settleBatch.selector
        ];
    }

    /// @dev Every status was given, and often; every function was done, and was refused for each of
    /// its reasons.
    function test_everyOutcome() external {
        for (uint256 i = 0; i < _ACTIONS; ++i) _act(uint256(keccak256(abi.encode(i))));
        _everyStatus();
        _everyRefusal();
    }

    function _everyRefusal() private view {
        bytes4 zero = Serving.ZeroAddress.selector;
        bytes4 failed = Serving.PaymentFailed.selector;
        bytes4 nothing = Serving.NothingToWithdraw.selector;
        bytes4 locked = Serving.RefundLocked.selector;
        bytes4 unknown = Serving.NotRegistered.selector;
        bytes4 stranger = Ownable.OwnableUnauthorizedAccount.selector;

        bytes4 action = Serving.deposit.selector;
        _reached(action, _DONE, zero);
        _reached(action, Serving.ZeroAmount.selector);
        action = Serving.requestRefund.selector;
        _reached(action, _DONE, Serving.InsufficientFunds.selector);
        action = Serving.withdrawRefund.selector;
        _reached(action, _DONE, failed);
        _reached(action, nothing, locked);
        action = Serving.withdrawRefundTo.selector;
        _reached(action, _DONE, failed);
        _reached(action, nothing, locked);
        _reached(action, zero);
        action = Serving.acknowledgeTEESigner.selector;
        _reached(action, _DONE, unknown);
        action = Serving.acknowledgeTEESignerVersion.selector;
        _reached(action, _DONE, unknown);
        _reached(action, Serving.SignerVersionMismatch.selector);

        action = Serving.addOrUpdateService.selector;
        _reached(action, _DONE, zero);
        _reached(action, Serving.WrongStake.selector, Serving.UnexpectedValue.selector);
        action = Serving.withdrawEarnings.selector;
        _reached(action, _DONE, failed);
        _reached(action, nothing);
        action = Serving.withdrawEarningsTo.selector;
        _reached(action, _DONE, failed);
        _reached(action, nothing, zero);
        action = Serving.announceLeave.selector;
        _reached(action, _DONE, unknown);
        _reached(action, Serving.AlreadyLeaving.selector);
        action = Serving.leave.selector;
        _reached(action, _DONE, failed);
        _reached(action, Serving.NotLeaving.selector, Serving.LeaveLocked.selector);
        _reached(action, zero);

        _reached(Serving.settleFeesWithTEE.selector, _DONE);
        action = Serving.settleBatch.selector;
        _reached(action, _DONE, Serving.NotSubmitter.selector);
        _reached(action, Serving.BadBatchSignature.selector);

        _reached(Serving.setProviderStake.selector, _DONE, stranger);
        _reached(Ownable.transferOwnership.selector, _DONE, stranger);
        _reached(Ownable2Step.acceptOwnership.selector, _DONE, stranger);
        action = Ownable.renounceOwnership.selector;
        _reached(action, stranger, Serving.OwnershipNotRenounced.selector);
        _reached(IBeacon.upgradeTo.selector, _DONE, stranger);
        _reached(IServing.initialize.selector, Initializable.InvalidInitialization.selector);
    }

    function _everyStatus() private view {
        uint256[6] memory given = _handler.given();
        for (uint256 status = 0; status < given.length; ++status) {
            vm.assertGt(given[status], _ACTIONS / 100, vm.toString(status));
        }
    }

    function _act(uint256 seed) private {
        bytes memory words = abi.encode(
            keccak256(abi.encode(seed, 1)),
            keccak256(abi.encode(seed, 2)),
            keccak256(abi.encode(seed, 3)),
            keccak256(abi.encode(seed, 4))
        );
        (bool done, bytes memory why) = address(_handler).call(
            bytes.concat(_actions[seed % _actions.length], words)
        );
        vm.assertTrue(done, string(why));
    }

    function _reached(bytes4 action, bytes4 outcome) private view {
        string memory which = vm.toString(bytes32(bytes.concat(action, outcome)));
        vm.assertGt(_handler.reached(action, outcome), 0, which);
    }

    function _reached(bytes4 action, bytes4 one, bytes4 two) private view {
        _reached(action, one);
        _reached(action, two);
    }
}
