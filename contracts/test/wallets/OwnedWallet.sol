// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title A wallet that one key owns
/// @notice As small as a wallet with EIP-1271 can be; for tests only.
contract OwnedWallet {
    address public owner;

    constructor(address owner_) {
        owner = owner_;
    }

    /// @notice For one that a factory has made, which has no constructor.
    function initialize(address owner_) external {
        require(owner == address(0), "owned already");
        owner = owner_;
    }

    function replaceOwner(address owner_) external {
        require(msg.sender == owner, "not the owner");
        owner = owner_;
    }

    function execute(address target, uint256 value, bytes calldata data) external {
        require(msg.sender == owner, "not the owner");
        (bool done, ) = target.call{value: value}(data);
        require(done, "the call failed");
    }

    /// @return EIP-1271's answer to whether the owner signed.
    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        if (signature.length != 65) return 0xffffffff;
        bytes32 r = bytes32(signature[:32]);
        bytes32 s = bytes32(signature[32:64]);
        address signer = ecrecover(digest, uint8(signature[64]), r, s);
        return signer != address(0) && signer == owner ? this.isValidSignature.selector : bytes4(0xffffffff);
    }

    receive() external payable {}
}
