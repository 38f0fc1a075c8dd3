// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Handler} from "./base/handler/Handler.sol";
import {Held, Offer} from "./base/handler/Model.sol";
import {IServing} from "./base/Stack.sol";
import {Test} from "./base/Test.sol";

/// @title Whatever is done, everybody's money is there
contract SolvencyTest is Test {
    Handler private _handler;
    IServing private _serving;
    address[] private _users;
    address[] private _providers;

    function setUp() external {
        _handler = new Handler();
        _serving = _handler.serving();
        (_users, _providers) = (_handler.users(), _handler.providers());
    }

    /// @dev What forge calls, at random.
    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_handler);
    }

    // -------------------------------------------------------------------- laws

    function invariant_laws() external {
        _isSolvent();
        _paidAtMostTheFees();
        _everyDepositIsSomewhere();
        _isAsTheModel();
        _earningsCanBeWithdrawn();
    }

    /// @dev When it is over, everybody leaves with what is his, and forced ether alone is left.
    function afterInvariant() external {
        for (uint256 p = 0; p < _providers.length; ++p) _usersLeave(_providers[p]);
        for (uint256 p = 0; p < _providers.length; ++p) _announces(_providers[p]);
        vm.warp(block.timestamp + 2 hours);
        for (uint256 p = 0; p < _providers.length; ++p) _usersCollect(_providers[p]);
        for (uint256 p = 0; p < _providers.length; ++p) _leaves(_providers[p]);
        vm.assertEq(address(_serving).balance, _handler.forced(), "emptied");
    }

    /// @dev Native balance = balances + pending refunds + earnings + stakes + forced ether.
    function _isSolvent() private view {
        uint256 owed = _handler.forced();
        for (uint256 p = 0; p < _providers.length; ++p) {
            owed += _serving.getProviderEarnings(_providers[p]);
            owed += _serving.providerStakes(_providers[p]);
            for (uint256 u = 0; u < _users.length; ++u) owed += _has(_users[u], _providers[p]);
        }
        vm.assertEq(address(_serving).balance, owed, "solvent");
    }

    /// @dev No wallet paid a provider more than the fees of its vouchers that settled.
    function _paidAtMostTheFees() private view {
        for (uint256 p = 0; p < _providers.length; ++p) {
            for (uint256 u = 0; u < _users.length; ++u) {
                Held memory held = _handler.held(_users[u], _providers[p]);
                uint256 gone = held.deposited - held.withdrawn - _has(_users[u], _providers[p]);
                vm.assertLe(gone, held.charged, "paid more than was charged");
            }
        }
    }

    /// @dev Every deposit was paid out, or was earned, or is still there; provider by provider.
    function _everyDepositIsSomewhere() private view {
        for (uint256 p = 0; p < _providers.length; ++p) {
            uint256 found = _serving.getProviderEarnings(_providers[p]);
            found += _handler.offer(_providers[p]).collected;
            uint256 deposited = 0;
            for (uint256 u = 0; u < _users.length; ++u) {
                Held memory held = _handler.held(_users[u], _providers[p]);
                deposited += held.deposited;
                found += held.withdrawn + _has(_users[u], _providers[p]);
            }
            vm.assertEq(found, deposited, "deposits");
        }
    }

    function _isAsTheModel() private view {
        vm.assertEq(_serving.providerStake(), _handler.stake(), "stake asked");
        (address owner, ) = _handler.owners();
        vm.assertEq(_serving.owner(), owner, "owner");
        for (uint256 p = 0; p < _providers.length; ++p) {
            _isAsOffered(_providers[p]);
            for (uint256 u = 0; u < _users.length; ++u) _isAsHeld(_users[u], _providers[p]);
        }
    }

    function _isAsOffered(address provider) private view {
        Offer memory offer = _handler.offer(provider);
        (
            ,
            address signer,
            uint256 cpu,
            uint256 createFee,
            uint256 version,
            uint256 memoryPrice
        ) = _serving.services(provider);
        vm.assertEq(signer, offer.signer, "signer");
        vm.assertEq(version, offer.version, "version");
        vm.assertEq(cpu, offer.cpu, "price of CPU");
        vm.assertEq(createFee, offer.createFee, "create fee");
        vm.assertEq(memoryPrice, offer.memoryPrice, "price of memory");
        vm.assertEq(_serving.providerStakes(provider), offer.stake, "stake");
        vm.assertEq(_serving.leavingAt(provider), offer.leavingAt, "leaving at");
        vm.assertEq(_serving.getProviderEarnings(provider), offer.earned, "earnings");
    }

    function _isAsHeld(address user, address provider) private view {
        Held memory held = _handler.held(user, provider);
        (uint256 balance, uint256 pending, uint256 unlockAt) = _serving.getBalance(user, provider);
        vm.assertEq(balance, held.balance, "balance");
        vm.assertEq(pending, held.pending, "pending refund");
        vm.assertEq(unlockAt, held.unlockAt, "unlock at");
        vm.assertEq(_serving.getLastNonce(user, provider), held.lastNonce, "last nonce");
        Offer memory offer = _handler.offer(provider);
        vm.assertTrue(
            _serving.isTEEAcknowledged(user, provider) ==
                (offer.signer != address(0) && held.acknowledged == offer.version),
            "acknowledged"
        );
    }

    /// @dev At any moment, whatever the provider's registration; forge forgets what is done here.
    function _earningsCanBeWithdrawn() private {
        for (uint256 p = 0; p < _providers.length; ++p) {
            uint256 earned = _serving.getProviderEarnings(_providers[p]);
            if (earned == 0) continue;
            address receiver = address(uint160(0xBEEF + p));
            uint256 before = receiver.balance;
            vm.prank(_providers[p]);
            _serving.withdrawEarningsTo(receiver);
            vm.assertEq(receiver.balance - before, earned, "earnings");
        }
    }

    function _has(address user, address provider) private view returns (uint256) {
        (uint256 balance, uint256 pending, ) = _serving.getBalance(user, provider);
        return balance + pending;
    }

    // ----------------------------------------------------------------- the end

    function _usersLeave(address provider) private {
        for (uint256 u = 0; u < _users.length; ++u) {
            uint256 all = _has(_users[u], provider);
            vm.prank(_users[u]);
            _serving.requestRefund(provider, all);
        }
    }

    function _announces(address provider) private {
        if (!_serving.serviceExists(provider) || _serving.leavingAt(provider) != 0) return;
        vm.prank(provider);
        _serving.announceLeave();
    }

    function _usersCollect(address provider) private {
        for (uint256 u = 0; u < _users.length; ++u) {
            uint256 all = _has(_users[u], provider);
            if (all == 0) continue;
            address receiver = address(uint160(0xCAFE));
            uint256 before = receiver.balance;
            vm.prank(_users[u]);
            _serving.withdrawRefundTo(provider, receiver);
            vm.assertEq(receiver.balance - before, all, "refund");
        }
    }

    function _leaves(address provider) private {
        address receiver = address(uint160(0xBEEF));
        if (_serving.getProviderEarnings(provider) != 0) {
            vm.prank(provider);
            _serving.withdrawEarningsTo(receiver);
        }
        if (!_serving.serviceExists(provider)) return;
        vm.prank(provider);
        _serving.leave(receiver);
    }
}
