// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ISandboxServing} from "../../src/interfaces/ISandboxServing.sol";
import {Test} from "./Test.sol";

/// @dev What OpenZeppelin's parents add.
interface IServing is ISandboxServing {
    function initialize(uint256 initialStake) external;
    function owner() external view returns (address);
}

interface IBeacon {
    function implementation() external view returns (address);
    function upgradeTo(address implementation) external;
}

/// @title The contract behind its real proxy and beacon, and the keys that sign for it
/// @dev Hashes are computed here from the words of wire.md, with nothing of src/.
abstract contract Stack is Test {
    uint256 internal constant CHAIN_ID = 16602;
    uint256 internal constant STAKE = 1_000;
    uint256 internal constant LOCK_TIME = 2 hours;
    uint256 internal constant MAX_NONCE = type(uint64).max;
    uint256 internal constant CURVE_ORDER =
        0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
    // WELL-KNOWN DEVELOPMENT KEYS, for tests only: they never guard real money.
    uint256 internal constant SIGNER_KEY = 0x11;
    uint256 internal constant OTHER_KEY = 0x22;

    string internal constant VOUCHER_TYPE =
        "SandboxVoucher(address user,address provider,bytes32 usageHash,"
        "uint256 nonce,uint256 totalFee)";
    string internal constant BATCH_TYPE =
        "SandboxVoucherBatch(address provider,SandboxVoucher[] vouchers)";

    address internal constant OWNER = address(0xACE);
    IServing internal _serving;
    IBeacon internal _beacon;

    function _deploy() internal {
        vm.chainId(CHAIN_ID);
        vm.warp(1_750_000_000);
        address logic = vm.deployCode("src/SandboxServing.sol:SandboxServing");
        bytes memory arguments = abi.encode(logic, OWNER);
        _beacon = IBeacon(
            vm.deployCode("src/proxy/UpgradeableBeacon.sol:UpgradeableBeacon", arguments)
        );
        arguments = abi.encode(_beacon, abi.encodeCall(IServing.initialize, (STAKE)));
        vm.startPrank(OWNER);
        _serving = IServing(vm.deployCode("BeaconProxy.sol:BeaconProxy", arguments));
        vm.stopPrank();
    }

    // ------------------------------------------------------------------ people

    function _register(address provider, uint256 signerKey) internal {
        _pay(provider, STAKE);
        _serving.addOrUpdateService{value: STAKE}("https://p.example", vm.addr(signerKey), 1, 2, 3);
    }

    function _fund(address user, address provider, uint256 amount) internal {
        _pay(user, amount);
        _serving.deposit{value: amount}(user, provider);
    }

    function _acknowledge(address user, address provider) internal {
        vm.prank(user);
        _serving.acknowledgeTEESigner(provider, true);
    }

    /// @dev The next call is the payer's, who has the money for it.
    function _pay(address payer, uint256 amount) internal {
        vm.deal(payer, payer.balance + amount);
        vm.prank(payer);
    }

    // ------------------------------------------------------------------ hashes

    function _separator(uint256 chain, address verifying) internal pure returns (bytes32) {
        return
            keccak256(
                abi.encode(
                    keccak256(
                        "EIP712Domain(string name,string version,uint256 chainId,"
                        "address verifyingContract)"
                    ),
                    keccak256("0G Sandbox Serving"),
                    keccak256("1"),
                    chain,
                    verifying
                )
            );
    }

    function _hash(
        address provider,
        ISandboxServing.VoucherLine memory line
    ) internal pure returns (bytes32) {
        return
            keccak256(
                abi.encode(
                    keccak256(bytes(VOUCHER_TYPE)),
                    line.user,
                    provider,
                    line.usageHash,
                    line.nonce,
                    line.totalFee
                )
            );
    }

    function _hash(
        address provider,
        ISandboxServing.VoucherLine[] memory lines
    ) internal pure returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](lines.length);
        for (uint256 i = 0; i < lines.length; ++i) hashes[i] = _hash(provider, lines[i]);
        bytes32 batchType = keccak256(bytes(string.concat(BATCH_TYPE, VOUCHER_TYPE)));
        return keccak256(abi.encode(batchType, provider, keccak256(abi.encodePacked(hashes))));
    }

    /// @dev EIP-712's digest for this proxy on a chain.
    function _digest(uint256 chain, bytes32 structHash) internal view returns (bytes32) {
        bytes32 separator = _separator(chain, address(_serving));
        return keccak256(bytes.concat("\x19\x01", separator, structHash));
    }

    function _sign(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// @dev The same signature with the other s: as valid on the curve, but not ours.
    function _signTwin(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, CURVE_ORDER - uint256(s), v == 27 ? uint8(28) : uint8(27));
    }

    // ---------------------------------------------------------------- vouchers

    function _voucher(
        address provider,
        ISandboxServing.VoucherLine memory line,
        bytes memory signature
    ) internal pure returns (ISandboxServing.SandboxVoucher memory) {
        return
            ISandboxServing.SandboxVoucher({
                user: line.user,
                provider: provider,
                totalFee: line.totalFee,
                usageHash: line.usageHash,
                nonce: line.nonce,
                signature: signature
            });
    }

    /// @dev Settles one voucher, sent by its provider.
    function _settle(
        address provider,
        ISandboxServing.VoucherLine memory line,
        bytes memory signature
    ) internal returns (ISandboxServing.Status) {
        ISandboxServing.SandboxVoucher[] memory vouchers = new ISandboxServing.SandboxVoucher[](1);
        vouchers[0] = _voucher(provider, line, signature);
        vm.prank(provider);
        return _serving.settleFeesWithTEE(vouchers)[0];
    }
}
