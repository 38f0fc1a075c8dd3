// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Handler} from "./base/handler/Handler.sol";
import {Held, Offer} from "./base/handler/Model.sol";
import {IServing} from "./base/Stack.sol";
import {Test} from "./base/Test.sol";

/// @title Whatever is done, everybody's money is there
contract SolvencyTest is Test {
    address private constant _RECEIVER = address(0xBEEF);

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

    /// @dev All of them after every action.
    function invariant_laws() external {
        uint256 owed = _handler.forced();
        for (uint256 p = 0; p < _providers.length; ++p) owed += _lawsOf(_providers[p]);
        _equal(address(_serving).balance, owed, "native balance is what is owed");
        _equal(_serving.providerStake(), _handler.stake(), "stake asked");
        _equal(uint160(_serving.owner()), uint160(_handler.owner()), "owner");
        for (uint256 p = 0; p < _providers.length; ++p) _earningsCanBeWithdrawn(_providers[p]);
    }

    /// @dev When it is over, everybody leaves with what is his, and forced ether alone is left.
    function afterInvariant() external {
        for (uint256 p = 0; p < _providers.length; ++p) _usersLeave(_providers[p]);
        for (uint256 p = 0; p < _providers.length; ++p) _announces(_providers[p]);
        vm.warp(block.timestamp + 2 hours);
        for (uint256 p = 0; p < _providers.length; ++p) _usersCollect(_providers[p]);
        for (uint256 p = 0; p < _providers.length; ++p) _leaves(_providers[p]);
        _equal(address(_serving).balance, _handler.forced(), "emptied");
    }

    /// @dev Solvency, provider by provider: every deposit was paid out, or was earned, or is there.
    /// @return owed Balances, pending refunds, earnings and stake, as the contract tells them.
    function _lawsOf(address provider) private view returns (uint256 owed) {
        Offer memory offer = _handler.offer(provider);
        uint256 earned = _serving.getProviderEarnings(provider);
        uint256 stake = _serving.providerStakes(provider);
        _equal(earned, offer.earned, "earnings");
        _equal(stake, offer.stake, "stake");
        _isAsOffered(provider, offer);

        uint256 deposited = 0;
        uint256 withdrawn = 0;
        uint256 there = 0;
        for (uint256 u = 0; u < _users.length; ++u) {
            Held memory held = _handler.held(_users[u], provider);
            uint256 has = _isAsHeld(_users[u], provider, held, offer);
            uint256 gone = held.deposited - held.withdrawn - has;
            if (gone > held.charged) vm.assertLe(gone, held.charged, "nobody pays more than the fees");
            deposited += held.deposited;
            withdrawn += held.withdrawn;
            there += has;
        }
        _equal(there + earned + offer.collected + withdrawn, deposited, "deposits");
        return there + earned + stake;
    }

    function _isAsOffered(address provider, Offer memory offer) private view {
        (
            ,
            address signer,
            uint256 cpu,
            uint256 createFee,
            uint256 version,
            uint256 memoryPrice
        ) = _serving.services(provider);
        _equal(uint160(signer), uint160(offer.signer), "signer");
        _equal(version, offer.version, "version");
        _equal(cpu, offer.cpu, "price of CPU");
        _equal(createFee, offer.createFee, "create fee");
        _equal(memoryPrice, offer.memoryPrice, "price of memory");
        _equal(_serving.leavingAt(provider), offer.leavingAt, "leaving at");
    }

    /// @return Balance and pending refund, as the contract tells them.
    function _isAsHeld(
        address user,
        address provider,
        Held memory held,
        Offer memory offer
    ) private view returns (uint256) {
        (uint256 balance, uint256 pending, uint256 unlockAt) = _serving.getBalance(user, provider);
        _equal(balance, held.balance, "balance");
        _equal(pending, held.pending, "pending refund");
        _equal(unlockAt, held.unlockAt, "unlock at");
        _equal(_serving.getLastNonce(user, provider), held.lastNonce, "last nonce");
        bool acknowledged = offer.signer != address(0) && held.acknowledged == offer.version;
        if (_serving.isTEEAcknowledged(user, provider) != acknowledged) revert("acknowledged");
        return balance + pending;
    }

    /// @dev At any moment, whatever the provider's registration; forge forgets what is done here.
    function _earningsCanBeWithdrawn(address provider) private {
        uint256 earned = _serving.getProviderEarnings(provider);
        if (earned == 0) return;
        uint256 before = _RECEIVER.balance;
        vm.prank(provider);
        _serving.withdrawEarningsTo(_RECEIVER);
        _equal(_RECEIVER.balance - before, earned, "earnings can be withdrawn");
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
            uint256 before = _RECEIVER.balance;
            vm.prank(_users[u]);
            _serving.withdrawRefundTo(provider, _RECEIVER);
            _equal(_RECEIVER.balance - before, all, "refund");
        }
    }

    function _leaves(address provider) private {
        _earningsCanBeWithdrawn(provider);
        if (!_serving.serviceExists(provider)) return;
        vm.prank(provider);
        _serving.leave(_RECEIVER);
    }
}
