"""
How a command ends, for scripts: one number for each thing that a caller would do next.

Tests: L{tests.cli.test_output}.
"""

from __future__ import annotations

from enum import IntEnum

from attrs import frozen

from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome


class Exit(IntEnum):
    """
    Every exit status; C{docs/cli.rst} and C{sandbox-billing --help} list them from here.
    """

    OK = 0
    REFUSED = 1
    USAGE = 2
    WRONG_CHAIN = 3
    UNKNOWN = 4
    UNREACHABLE = 5
    DIFFERENT = 6
    INTERRUPTED = 130


MEANINGS = {
    Exit.OK: "done, or nothing to do",
    Exit.REFUSED: "refused by the contract, by policy or at the question; nothing but gas is lost",
    Exit.USAGE: "a wrong option, key, file or amount; nothing was sent",
    Exit.WRONG_CHAIN: "another chain, or another contract at the address; nothing was sent",
    Exit.UNKNOWN: "something was sent: its end was not seen, or a later step failed; see its text",
    Exit.UNREACHABLE: "node, provider, Redis or explorer is silent; nothing was sent on-chain",
    Exit.DIFFERENT: "differences that stand, or a refuted receipt; nothing was sent on-chain",
    Exit.INTERRUPTED: "stopped by Ctrl-C before anything was sent",
}


@frozen(auto_exc=False)
class WrongChain(Refused):
    """
    Not the chain or the contract that was named; caught by L{output.output_options}.
    """


FAMILIES = (BadInput, Refused, Transient, UnknownOutcome)
"""What a command may raise; anything else is a defect and shows its traceback."""


def exit_of(problem: Exception) -> Exit:
    """
    @param problem: Of one of L{FAMILIES}.
    """
    match problem:
        case WrongChain():
            return Exit.WRONG_CHAIN
        case BadInput():
            return Exit.USAGE
        case UnknownOutcome():
            return Exit.UNKNOWN
        case Transient():
            return Exit.UNREACHABLE
    return Exit.REFUSED
