// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ISandboxServing} from "../src/interfaces/ISandboxServing.sol";
import {Funded} from "./base/Funded.sol";

/// @title One form of signature counts, by one key, on one chain, for one contract
contract SignaturesTest is Funded {
    string private constant _TYPES = string.concat(
        '"EIP712Domain":[{"name":"name","type":"string"},{"name":"version","type":"string"},',
        '{"name":"chainId","type":"uint256"},{"name":"verifyingContract","type":"address"}],',
        '"SandboxVoucher":[{"name":"user","type":"address"},{"name":"provider","type":"address"},',
        '{"name":"usageHash","type":"bytes32"},{"name":"nonce","type":"uint256"},',
        '{"name":"totalFee","type":"uint256"}],',
        '"SandboxVoucherBatch":[{"name":"provider","type":"address"},',
        '{"name":"vouchers","type":"SandboxVoucher[]"}]'
    );

    function setUp() public override {
        super.setUp();
        _fund(USER, PROVIDER, type(uint128).max);
    }

    // ------------------------------------------------------------------ hashes

    /// @dev The separator is that of the four fields, on whatever chain it is asked.
    function testFuzz_separator(uint64 chain) external {
        vm.chainId(chain);
        bytes32 expected = _separator(chain, address(_serving));
        vm.assertEq(_serving.domainSeparator(), expected, "separator");
    }

    /// @dev The hash computed here, which the contract accepts, is forge's own of the typed data.
    function testFuzz_hash(ISandboxServing.VoucherLine memory line, uint64 nonce) external {
        line.user = USER;
        line.nonce = _bound(nonce, 1, MAX_NONCE);
        bytes32 digest = _digestOf(line);
        vm.assertEq(vm.eip712HashTypedData(_json("SandboxVoucher", _json(line))), digest, "hash");
        _refused(line, _sign(OTHER_KEY, digest));
        _accepted(line, _sign(SIGNER_KEY, digest));
    }

    /// @dev So is the hash of a batch, its lines in order; there may be none.
    function testFuzz_batchHash(
        ISandboxServing.VoucherLine[8] memory some,
        uint256 count
    ) external {
        ISandboxServing.VoucherLine[] memory lines = new ISandboxServing.VoucherLine[](count % 9);
        string memory listed = "";
        for (uint256 i = 0; i < lines.length; ++i) {
            lines[i] = some[i];
            listed = string.concat(listed, i == 0 ? "" : ",", _json(lines[i]));
        }
        string memory message = string.concat(
            '{"provider":"',
            vm.toString(PROVIDER),
            '","vouchers":[',
            listed,
            "]}"
        );
        bytes32 digest = _digest(CHAIN_ID, _hash(PROVIDER, lines));
        vm.assertEq(
            vm.eip712HashTypedData(_json("SandboxVoucherBatch", message)),
            digest,
            "hash of a batch"
        );
        bytes memory signature = _sign(SIGNER_KEY, digest);
        vm.prank(PROVIDER);
        _serving.settleBatch(PROVIDER, lines, signature);
        signature = _sign(OTHER_KEY, digest);
        vm.expectRevert(
            abi.encodeWithSelector(ISandboxServing.BadBatchSignature.selector, PROVIDER)
        );
        vm.prank(PROVIDER);
        _serving.settleBatch(PROVIDER, lines, signature);
    }

    // -------------------------------------------------------------- signatures

    /// @dev The twin with a high s is as good on the curve, and refused.
    function testFuzz_twin(uint64 nonce, uint128 fee) external {
        ISandboxServing.VoucherLine memory line = _claim(_bound(nonce, 1, MAX_NONCE), fee);
        _refused(line, _signTwin(SIGNER_KEY, _digestOf(line)));
        _accepted(line, _sign(SIGNER_KEY, _digestOf(line)));
    }

    /// @dev 65 bytes, no fewer and no more, whatever stands after them.
    function testFuzz_length(uint8 length, bytes calldata more) external {
        ISandboxServing.VoucherLine memory line = _claim(1, 1);
        bytes memory signature = _sign(SIGNER_KEY, _digestOf(line));
        if (more.length > 0) _refused(line, bytes.concat(signature, more));
        _refused(line, _slice(signature, length % 65));
        _accepted(line, signature);
    }

    /// @dev The short form of ERC-2098 is one of those.
    function testFuzz_compact(uint128 fee) external {
        ISandboxServing.VoucherLine memory line = _claim(1, fee);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(SIGNER_KEY, _digestOf(line));
        _refused(line, abi.encodePacked(r, s | bytes32(uint256(v - 27) << 255)));
    }

    /// @dev Any other bit makes it a signature of nobody's, or of somebody else's.
    function testFuzz_bit(uint256 bit) external {
        ISandboxServing.VoucherLine memory line = _claim(1, 1);
        bytes memory signature = _sign(SIGNER_KEY, _digestOf(line));
        bit = bit % (8 * signature.length);
        signature[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        _refused(line, signature);
    }

    /// @dev v is 27 or 28, and only one of them; 0 and 1 mean nothing.
    function testFuzz_v(uint8 v) external {
        ISandboxServing.VoucherLine memory line = _claim(1, 1);
        (uint8 right, bytes32 r, bytes32 s) = vm.sign(SIGNER_KEY, _digestOf(line));
        if (v == right) _accepted(line, abi.encodePacked(r, s, v));
        else _refused(line, abi.encodePacked(r, s, v));
    }

    /// @dev Any other key's is refused.
    function testFuzz_key(uint256 key) external {
        key = _bound(key, 1, CURVE_ORDER - 1);
        ISandboxServing.VoucherLine memory line = _claim(1, 1);
        if (key == SIGNER_KEY) _accepted(line, _sign(key, _digestOf(line)));
        else _refused(line, _sign(key, _digestOf(line)));
    }

    /// @dev After a chain split a voucher is good on its own side only.
    function testFuzz_chain(uint64 chain) external {
        if (chain == CHAIN_ID) return;
        ISandboxServing.VoucherLine memory line = _claim(1, 1);
        vm.chainId(chain);
        _refused(line, _sign(SIGNER_KEY, _digestOf(line)));
        _accepted(line, _sign(SIGNER_KEY, _digest(chain, _hash(PROVIDER, line))));
    }

    /// @dev A voucher is for one contract.
    function testFuzz_contract(address other) external {
        if (other == address(_serving)) return;
        ISandboxServing.VoucherLine memory line = _claim(1, 1);
        bytes32 foreign = keccak256(
            bytes.concat("\x19\x01", _separator(CHAIN_ID, other), _hash(PROVIDER, line))
        );
        _refused(line, _sign(SIGNER_KEY, foreign));
    }

    /// @dev Each field is signed: with another value of any of them nothing is paid.
    function testFuzz_fields(ISandboxServing.VoucherLine memory other, uint256 which) external {
        ISandboxServing.VoucherLine memory line = _claim(5, 5);
        bytes memory signature = _sign(SIGNER_KEY, _digestOf(line));
        if (which % 4 == 0) line.totalFee = other.totalFee;
        if (which % 4 == 1) line.usageHash = other.usageHash;
        if (which % 4 == 2) line.nonce = _bound(other.nonce, 1, MAX_NONCE);
        if (which % 4 == 3) line.user = other.user;
        if (_hash(PROVIDER, line) == _hash(PROVIDER, _claim(5, 5))) return;
        _acknowledge(line.user, PROVIDER);
        _refused(line, signature);
    }

    /// @dev So is the provider: another one with the very same signer gets nothing by it.
    function testFuzz_provider(uint160 who, uint128 fee) external {
        address other = address(uint160(_bound(who, 0x10000, type(uint160).max)));
        if (other == PROVIDER) return;
        _register(other, SIGNER_KEY);
        _acknowledge(USER, other);
        _fund(USER, other, 1);
        ISandboxServing.VoucherLine memory line = _claim(1, fee);
        uint256 status = uint256(_settle(other, line, _sign(SIGNER_KEY, _digestOf(line))));
        vm.assertEq(status, uint256(ISandboxServing.Status.INVALID_SIGNATURE), "refused");
    }

    // ----------------------------------------------------------------- helpers

    function _refused(ISandboxServing.VoucherLine memory line, bytes memory signature) private {
        uint256 status = uint256(_settle(PROVIDER, line, signature));
        vm.assertEq(status, uint256(ISandboxServing.Status.INVALID_SIGNATURE), "refused");
        vm.assertEq(_serving.getProviderEarnings(PROVIDER), 0, "nothing is paid");
    }

    function _accepted(ISandboxServing.VoucherLine memory line, bytes memory signature) private {
        uint256 status = uint256(_settle(PROVIDER, line, signature));
        vm.assertLe(status, uint256(ISandboxServing.Status.INSUFFICIENT_BALANCE), "accepted");
        vm.assertEq(_serving.getLastNonce(USER, PROVIDER), line.nonce, "settled");
    }

    /// @dev The first `length` bytes.
    function _slice(bytes memory all, uint256 length) private pure returns (bytes memory part) {
        part = new bytes(length);
        for (uint256 i = 0; i < length; ++i) part[i] = all[i];
    }

    function _json(ISandboxServing.VoucherLine memory line) private pure returns (string memory) {
        string memory who = string.concat(
            '{"user":"',
            vm.toString(line.user),
            '","provider":"',
            vm.toString(PROVIDER)
        );
        string memory what = string.concat(
            '","usageHash":"',
            vm.toString(line.usageHash),
            '","nonce":"',
            vm.toString(line.nonce),
            '","totalFee":"',
            vm.toString(line.totalFee),
            '"}'
        );
        return string.concat(who, what);
    }

    function _json(
        string memory primary,
        string memory message
    ) private view returns (string memory) {
        string memory domain = string.concat(
            '{"name":"0G Sandbox Serving","version":"1","chainId":16602,"verifyingContract":"',
            vm.toString(address(_serving)),
            '"}'
        );
        string memory head = string.concat('{"types":{', _TYPES, '},"primaryType":"', primary);
        return string.concat(head, '","domain":', domain, ',"message":', message, "}");
    }
}
