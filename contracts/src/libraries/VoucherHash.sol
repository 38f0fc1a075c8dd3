// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {MessageHashUtils} from "@openzeppelin/contracts/utils/cryptography/MessageHashUtils.sol";
import {ISandboxServing} from "../interfaces/ISandboxServing.sol";

/// @title The EIP-712 words of vouchers
/// @dev The domain is OpenZeppelin's too, by the function that EIP712Upgradeable is made of. The
/// base itself stays out: it keeps name and version in storage, which is two cold reads for each
/// settlement and one more thing an upgrade can forget, and it adds a view and an event to an ABI
/// that has long had domainSeparator().
library VoucherHash {
    bytes1 private constant _DOMAIN_FIELDS = 0x0f; // name, version, chainId, verifyingContract
    bytes32 private constant _NAME = keccak256("0G Sandbox Serving");
    bytes32 private constant _VERSION = keccak256("1");
    bytes32 private constant _VOUCHER_TYPE = keccak256(
        "SandboxVoucher(address user,address provider,bytes32 usageHash,"
        "uint256 nonce,uint256 totalFee)"
    );
    bytes32 private constant _BATCH_TYPE = keccak256(
        "SandboxVoucherBatch(address provider,SandboxVoucher[] vouchers)"
        "SandboxVoucher(address user,address provider,bytes32 usageHash,"
        "uint256 nonce,uint256 totalFee)"
    );

    /// @dev Made anew each time: it follows the chain id through a split, and behind a proxy
    /// `verifyingContract` is the proxy.
    function domainSeparator(address verifyingContract) internal view returns (bytes32) {
        return MessageHashUtils.toDomainSeparator(
            _DOMAIN_FIELDS,
            _NAME,
            _VERSION,
            block.chainid,
            verifyingContract,
            0
        );
    }

    /// @dev hashStruct of one voucher.
    function voucher(
        address user,
        address provider,
        bytes32 usageHash,
        uint256 nonce,
        uint256 totalFee
    ) internal pure returns (bytes32) {
        return keccak256(abi.encode(_VOUCHER_TYPE, user, provider, usageHash, nonce, totalFee));
    }

    /// @dev hashStruct of a batch: its array is hashed as its members' hashes in order.
    function batch(
        address provider,
        ISandboxServing.VoucherLine[] calldata lines
    ) internal pure returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](lines.length);
        for (uint256 i = 0; i < lines.length; ++i) {
            ISandboxServing.VoucherLine calldata line = lines[i];
            hashes[i] = voucher(line.user, provider, line.usageHash, line.nonce, line.totalFee);
        }
        return keccak256(abi.encode(_BATCH_TYPE, provider, keccak256(abi.encodePacked(hashes))));
    }

    /// @dev Whether `signer` signed it. ECDSA accepts 65 bytes with a low s and v 27 or 28 only,
    /// and gives the zero address with an error, so an empty signer signs nothing.
    function isSigned(
        address signer,
        bytes32 separator,
        bytes32 structHash,
        bytes calldata signature
    ) internal pure returns (bool) {
        (address recovered, ECDSA.RecoverError problem, ) = ECDSA.tryRecoverCalldata(
            MessageHashUtils.toTypedDataHash(separator, structHash),
            signature
        );
        return problem == ECDSA.RecoverError.NoError && recovered == signer;
    }
}
