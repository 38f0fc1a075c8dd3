// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ISandboxServing} from "../../src/interfaces/ISandboxServing.sol";
import {Stack} from "./Stack.sol";

/// @title One provider, and one user who has acknowledged it
abstract contract Funded is Stack {
    address internal constant PROVIDER = address(0xB0B);
    address internal constant USER = address(0xA11CE);
    bytes32 internal constant USAGE = bytes32(uint256(0x5a));

    function setUp() public virtual {
        _deploy();
        _register(PROVIDER, SIGNER_KEY);
        _acknowledge(USER, PROVIDER);
    }

    function _claim(
        uint256 nonce,
        uint256 fee
    ) internal pure returns (ISandboxServing.VoucherLine memory) {
        return
            ISandboxServing.VoucherLine({
                user: USER,
                totalFee: fee,
                usageHash: USAGE,
                nonce: nonce
            });
    }

    function _digestOf(
        ISandboxServing.VoucherLine memory line
    ) internal view returns (bytes32) {
        return _digest(CHAIN_ID, _hash(PROVIDER, line));
    }

    /// @dev What becomes of a voucher that is as it should be.
    function _settled(uint256 nonce, uint256 fee) internal returns (uint256 status) {
        ISandboxServing.VoucherLine memory line = _claim(nonce, fee);
        return uint256(_settle(PROVIDER, line, _sign(SIGNER_KEY, _digestOf(line))));
    }

    function _balances() internal view returns (uint256 balance, uint256 pending) {
        (balance, pending, ) = _serving.getBalance(USER, PROVIDER);
    }

    function _requestRefund(uint256 amount) internal {
        vm.prank(USER);
        _serving.requestRefund(PROVIDER, amount);
    }

    /// @dev Where the account of USER is: slot 1 maps providers to users to accounts.
    function _accountSlot() internal pure returns (bytes32) {
        return keccak256(abi.encode(USER, keccak256(abi.encode(PROVIDER, uint256(1)))));
    }
}
