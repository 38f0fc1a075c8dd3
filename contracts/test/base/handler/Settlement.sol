// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ISandboxServing} from "../../../src/interfaces/ISandboxServing.sol";
import {Vm} from "../Vm.sol";
import {Held, Model, Offer} from "./Model.sol";

/// @title How vouchers are settled: good ones, forged ones, twice, in any order, by anybody
abstract contract Settlement is Model {
    /// @dev A voucher, and whose it really is: the zero address if its signature has a bad form.
    struct Claim {
        ISandboxServing.SandboxVoucher voucher;
        address signedBy;
    }

    /// @dev What happened since an account was looked at.
    struct Seen {
        uint256 balance;
        uint256 pending;
    }

    uint256 private constant _MOST = 6;
    uint256 private constant _KEPT = 8;

    /// @dev How often each status was given, for showing that each is.
    uint256[6] internal _given;
    Claim[] private _kept;

    function given() external view returns (uint256[6] memory) {
        return _given;
    }

    // ----------------------------------------------------------------- actions

    function settle(uint256 seed) external lawful {
        Claim[] memory claims = _claims(seed);
        address provider = claims[0].voucher.provider;
        address sender = _submitter(provider, _mix(seed, "sender"));
        ISandboxServing.SandboxVoucher[] memory vouchers = _vouchers(claims);
        uint256[] memory preview = _numbers(_serving.previewSettlementResults(vouchers));

        Seen[] memory before = _look();
        uint256 earned = _earned();
        vm.recordLogs();
        bytes memory call = abi.encodeCall(ISandboxServing.settleFeesWithTEE, (vouchers));
        uint256[] memory statuses = abi.decode(
            _try(address(_serving), sender, 0, call, 0),
            (uint256[])
        );
        uint256 taken = _compare(before);
        vm.assertEq(_earned() - earned, taken, "earned is what was taken");

        (uint256[] memory expected, uint256 paid) = _judge(sender, claims);
        vm.assertEq(statuses, expected, "statuses");
        vm.assertEq(taken, paid, "taken");
        vm.assertEq(_logged(), paid, "events say what was paid");
        if (_submitsAll(sender, vouchers)) vm.assertEq(preview, statuses, "preview");
        for (uint256 i = 0; i < claims.length; ++i) _keep(claims[i]);
    }

    function settleBatch(uint256 seed) external lawful {
        Claim[] memory claims = _claims(seed);
        address provider = claims[0].voucher.provider;
        address sender = _submitter(provider, _mix(seed, "sender"));
        ISandboxServing.VoucherLine[] memory lines = new ISandboxServing.VoucherLine[](
            claims.length
        );
        for (uint256 i = 0; i < lines.length; ++i) {
            claims[i].voucher.provider = provider;
            lines[i] = _line(claims[i].voucher);
        }
        (bytes memory signature, address signedBy) = _signed(
            provider,
            _hash(provider, lines),
            _mix(seed, "batch")
        );
        for (uint256 i = 0; i < lines.length; ++i) claims[i].signedBy = signedBy;

        bytes4 refusal;
        if (!_maySubmit(sender, provider)) refusal = ISandboxServing.NotSubmitter.selector;
        else if (signedBy != _offers[provider].signer) {
            refusal = ISandboxServing.BadBatchSignature.selector;
        }
        Seen[] memory before = _look();
        vm.recordLogs();
        bytes memory result = _try(
            address(_serving),
            sender,
            0,
            abi.encodeCall(ISandboxServing.settleBatch, (provider, lines, signature)),
            refusal
        );
        uint256 taken = _compare(before);
        if (refusal != 0) return;
        (uint256[] memory expected, uint256 paid) = _judge(sender, claims);
        vm.assertEq(abi.decode(result, (uint256[])), expected, "statuses");
        vm.assertEq(taken, paid, "taken");
        vm.assertEq(_logged(), paid, "events say what was paid");
    }

    // ------------------------------------------------------------------- model

    /// @dev What has to become of them, one after the other; the model moves on with them.
    function _judge(
        address sender,
        Claim[] memory claims
    ) private returns (uint256[] memory statuses, uint256 paid) {
        statuses = new uint256[](claims.length);
        for (uint256 i = 0; i < claims.length; ++i) {
            ISandboxServing.SandboxVoucher memory voucher = claims[i].voucher;
            Held storage payer = _held[voucher.provider][voucher.user];
            Offer storage payee = _offers[voucher.provider];
            ISandboxServing.Status status = ISandboxServing.Status.SUCCESS;
            if (!_maySubmit(sender, voucher.provider)) {
                status = ISandboxServing.Status.PROVIDER_MISMATCH;
            } else if (payer.acknowledged != payee.version) {
                status = ISandboxServing.Status.NOT_ACKNOWLEDGED;
            } else if (voucher.nonce <= payer.lastNonce || voucher.nonce > MAX_NONCE) {
                status = ISandboxServing.Status.INVALID_NONCE;
            } else if (claims[i].signedBy != payee.signer) {
                status = ISandboxServing.Status.INVALID_SIGNATURE;
            } else {
                uint256 part = _take(payer, voucher.totalFee);
                if (part < voucher.totalFee) status = ISandboxServing.Status.INSUFFICIENT_BALANCE;
                payer.lastNonce = voucher.nonce;
                payee.earned += part;
                paid += part;
            }
            statuses[i] = uint256(status);
            ++_given[statuses[i]];
        }
    }

    /// @dev A fee: from the balance, then from the pending refund, never from elsewhere.
    function _take(Held storage payer, uint256 fee) private returns (uint256 paid) {
        unchecked {
            uint256 sum = payer.charged + fee;
            payer.charged = sum < fee ? type(uint256).max : sum;
        }
        paid = fee < payer.balance ? fee : payer.balance;
        payer.balance -= paid;
        uint256 more = fee - paid < payer.pending ? fee - paid : payer.pending;
        payer.pending -= more;
        if (payer.pending == 0) payer.unlockAt = 0;
        paid += more;
    }

    function _maySubmit(address sender, address provider) private view returns (bool) {
        address signer = _offers[provider].signer;
        return signer != address(0) && (sender == provider || sender == signer);
    }

    function _submitsAll(
        address sender,
        ISandboxServing.SandboxVoucher[] memory vouchers
    ) private view returns (bool) {
        for (uint256 i = 0; i < vouchers.length; ++i) {
            if (!_maySubmit(sender, vouchers[i].provider)) return false;
        }
        return true;
    }

    // -------------------------------------------------------------------- laws

    function _look() private view returns (Seen[] memory seen) {
        seen = new Seen[](_users.length * _providers.length);
        for (uint256 i = 0; i < seen.length; ++i) {
            (seen[i].balance, seen[i].pending, ) = _serving.getBalance(
                _users[i % _users.length],
                _providers[i / _users.length]
            );
        }
    }

    /// @dev Of all accounts together. No refund was touched while there was a balance.
    function _compare(Seen[] memory before) private view returns (uint256 taken) {
        Seen[] memory later = _look();
        for (uint256 i = 0; i < before.length; ++i) {
            if (later[i].balance > before[i].balance) revert("settling gives nobody money");
            if (later[i].pending > before[i].pending) revert("settling sets nothing aside");
            if (later[i].pending < before[i].pending) {
                _equal(later[i].balance, 0, "a refund pays only what the balance cannot");
            }
            taken += before[i].balance - later[i].balance;
            taken += before[i].pending - later[i].pending;
        }
    }

    function _earned() private view returns (uint256 sum) {
        for (uint256 p = 0; p < _providers.length; ++p) {
            sum += _serving.getProviderEarnings(_providers[p]);
        }
    }

    /// @dev What the events of this call say that vouchers paid.
    function _logged() private returns (uint256 paid) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        uint256 last = type(uint256).max; // of the shortfall before, if there was one
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] == ISandboxServing.VoucherShortfall.selector) {
                (, uint256 part, uint256 owed) = abi.decode(
                    logs[i].data,
                    (uint256, uint256, uint256)
                );
                vm.assertGt(owed, 0, "a shortfall");
                last = part;
            } else if (logs[i].topics[0] == ISandboxServing.VoucherSettled.selector) {
                (uint256 fee, , , uint256 status) = abi.decode(
                    logs[i].data,
                    (uint256, bytes32, uint256, uint256)
                );
                vm.assertEq(status, last == type(uint256).max ? 0 : 1, "status of the event");
                paid += status == 0 ? fee : last;
                last = type(uint256).max;
            }
        }
    }

    // ---------------------------------------------------------------- vouchers

    function _claims(uint256 seed) private view returns (Claim[] memory claims) {
        claims = new Claim[](1 + (_mix(seed, "count") % _MOST));
        // Half of the calls are one provider's, as the daemon's are.
        bool mixed = _mix(seed, "mixed") % 2 == 0;
        for (uint256 i = 0; i < claims.length; ++i) {
            uint256 own = _mix(seed, string(abi.encode(i)));
            uint256 at = mixed ? own : seed;
            if (i > 0 && own % 8 == 0) claims[i] = claims[i - 1];
            else if (_kept.length > 0 && own % 8 == 1) claims[i] = _kept[own % _kept.length];
            else claims[i] = _claim(_pick(_providers, _mix(at, "provider")), own, i);
        }
    }

    function _claim(
        address provider,
        uint256 seed,
        uint256 place
    ) private view returns (Claim memory claim) {
        ISandboxServing.VoucherLine memory line;
        line.user = _pick(_users, _mix(seed, "user"));
        line.usageHash = bytes32(_mix(seed, "usage"));
        Held storage payer = _held[provider][line.user];
        line.nonce = _nonce(payer.lastNonce, _mix(seed, "nonce"), place);
        line.totalFee = _fee(payer, _mix(seed, "fee"));
        bytes memory signature;
        (signature, claim.signedBy) = _signed(provider, _hash(provider, line), _mix(seed, "sign"));
        claim.voucher = _voucher(provider, line, signature);
    }

    function _nonce(uint256 last, uint256 seed, uint256 place) private pure returns (uint256) {
        uint256 kind = seed % 64;
        if (kind == 0) return MAX_NONCE;
        if (kind < 8) return MAX_NONCE + 1 + (seed / 64) % (type(uint256).max - MAX_NONCE);
        if (kind < 16) return last - (last == 0 ? 0 : (seed / 64) % last);
        // Falling within the call: the later ones come too late.
        return kind < 24 ? last + _MOST - place : last + 1 + place;
    }

    function _fee(Held storage payer, uint256 seed) private view returns (uint256) {
        uint256 kind = seed % 12;
        if (kind == 0) return 0;
        if (kind == 1) return payer.balance;
        if (kind == 2) return payer.balance + 1;
        if (kind == 3) return payer.balance + payer.pending;
        if (kind == 4) return payer.balance + payer.pending + 1;
        if (kind == 5) return type(uint256).max;
        // Fits the balance once it is narrowed.
        if (kind == 6) return 2 ** 128 + payer.balance / 2;
        return kind == 7 ? _amount(seed / 12) : (seed / 12) % (payer.balance / 2 + 1);
    }

    /// @return signature Mostly as it should be.
    /// @return signedBy Whose it is; the zero address if it should not count for anybody.
    function _signed(
        address provider,
        bytes32 structHash,
        uint256 seed
    ) private view returns (bytes memory signature, address signedBy) {
        uint256 key = _keys[0];
        for (uint256 i = 1; i < _keys.length; ++i) {
            if (vm.addr(_keys[i]) == _offers[provider].signer) key = _keys[i];
        }
        bytes32 digest = _digest(CHAIN_ID, structHash);
        uint256 kind = seed % 16;
        if (kind == 0) key = _keys[(seed / 16) % _keys.length];
        if (kind == 1) return (_signTwin(key, digest), address(0));
        if (kind == 2) return (_sign(key, _digest(CHAIN_ID + 1, structHash)), address(0));
        if (kind == 3) return (_sign(key, structHash), address(0));
        signature = _sign(key, digest);
        if (kind == 4) return (bytes.concat(signature, hex"00"), address(0));
        if (kind == 5) return ("", address(0));
        if (kind == 6) {
            signature[seed % 65] ^= 0x01;
            return (signature, address(0));
        }
        return (signature, vm.addr(key));
    }

    function _submitter(address provider, uint256 seed) private view returns (address) {
        uint256 kind = seed % 16;
        if (kind == 0) return _anyone(seed / 16);
        address signer = _offers[provider].signer;
        return kind % 2 == 0 || signer == address(0) ? provider : signer;
    }

    /// @dev To be offered again later.
    function _keep(Claim memory claim) private {
        if (_kept.length < _KEPT) _kept.push(claim);
        else _kept[uint256(claim.voucher.usageHash) % _KEPT] = claim;
    }

    function _line(
        ISandboxServing.SandboxVoucher memory voucher
    ) private pure returns (ISandboxServing.VoucherLine memory) {
        return
            ISandboxServing.VoucherLine({
                user: voucher.user,
                totalFee: voucher.totalFee,
                usageHash: voucher.usageHash,
                nonce: voucher.nonce
            });
    }

    function _vouchers(
        Claim[] memory claims
    ) private pure returns (ISandboxServing.SandboxVoucher[] memory vouchers) {
        vouchers = new ISandboxServing.SandboxVoucher[](claims.length);
        for (uint256 i = 0; i < claims.length; ++i) vouchers[i] = claims[i].voucher;
    }

    function _numbers(
        ISandboxServing.Status[] memory statuses
    ) private pure returns (uint256[] memory numbers) {
        numbers = new uint256[](statuses.length);
        for (uint256 i = 0; i < statuses.length; ++i) numbers[i] = uint256(statuses[i]);
    }
}
