// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title What a wallet may answer besides yes and no
/// @notice For tests only.
contract OddWallet {
    enum Mood {
        YES,
        NO,
        REVERTS,
        REVERTS_YES,
        LOOKS_UP,
        BURNS,
        SHORT,
        LONG,
        DIRTY,
        NOTHING,
        WRITES,
        ONLY_FOR_ZERO
    }

    /// @dev EIP-3668.
    error OffchainLookup(address sender, string[] urls, bytes data, bytes4 callback, bytes extra);

    Mood private immutable _mood;
    string private _url;
    uint256 private _written;

    constructor(Mood mood, string memory url) {
        (_mood, _url) = (mood, url);
    }

    function isValidSignature(bytes32, bytes calldata) external returns (bytes4) {
        bytes4 yes = this.isValidSignature.selector;
        Mood mood = _mood;
        if (mood == Mood.REVERTS) revert();
        if (mood == Mood.NO) return 0xffffffff;
        if (mood == Mood.LOOKS_UP) {
            string[] memory urls = new string[](1);
            urls[0] = _url;
            revert OffchainLookup(address(this), urls, "", this.answered.selector, "");
        }
        if (mood == Mood.BURNS) while (true) {}
        if (mood == Mood.WRITES) _written = 1;
        if (mood == Mood.ONLY_FOR_ZERO && tx.origin != address(0)) return 0xffffffff;
        assembly ("memory-safe") {
            mstore(0, yes)
            mstore(32, 0)
            switch mood
            case 3 { revert(0, 32) }
            case 6 { return(0, 4) }
            case 7 { return(0, 64) }
            case 8 {
                mstore8(31, 1)
                return(0, 32)
            }
            case 9 { return(0, 0) }
            default { return(0, 32) }
        }
    }

    /// @dev What EIP-3668 calls with what a server said.
    function answered(bytes calldata, bytes calldata) external pure returns (bytes4) {
        return OddWallet.isValidSignature.selector;
    }
}
