// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title A contract that holds money, in a mood
contract Wallet {
    enum Mood {
        TAKES,
        REFUSES,
        REENTERS
    }

    Mood public mood;
    /// @dev Whether anything called back while being paid was not refused.
    bool public succeeded;
    address private _target;
    bytes private _again;

    /// @param target Called back with `again` when money comes, if the mood is REENTERS.
    function be(Mood mood_, address target, bytes calldata again) external {
        (mood, _target, _again, succeeded) = (mood_, target, again, false);
    }

    receive() external payable {
        if (mood == Mood.REFUSES) revert("not mine");
        if (mood == Mood.REENTERS) {
            (bool done, ) = _target.call(_again);
            if (done) succeeded = true;
        }
    }
}
