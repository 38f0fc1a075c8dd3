"""Tests for L{sandbox_billing.cli.reverts}."""

from __future__ import annotations

from eth_abi import encode
from eth_utils import keccak
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.chain.artifacts import load
from sandbox_billing.cli.reverts import SENTENCES, moment, sentence


def revert(signature: str, *arguments: object) -> str:
    """What a call returns that reverts with an error."""
    kinds = signature[signature.index("(") + 1 : -1]
    body = encode(kinds.split(",") if kinds else [], arguments)
    return "0x" + (keccak(text=signature)[:4] + body).hex()


class SentenceTests(SynchronousTestCase):
    """Reverts in words."""

    def test_ours(self) -> None:
        """With the arguments, in both units, and with what to do."""
        provider = "0x" + "22" * 20
        for data, words in (
            (revert("NotRegistered(address)", provider), f"{provider} is not registered"),
            (
                revert("WrongStake(uint256,uint256)", 10**16, 1),
                "10000000000000000 neuron (0.01 0G), not 1 neuron",
            ),
            (revert("RefundLocked(uint256)", 1_700_000_000), "2023-11-14 22:13:20 UTC"),
            (revert("OwnableUnauthorizedAccount(address)", provider), "use the owner's key"),
        ):
            with self.subTest(words=words):
                self.assertIn(words, sentence(data))

    def test_each(self) -> None:
        """Every error that our own contract declares has a sentence, which takes its arguments."""
        notices = load("SandboxServing").notices
        self.assertGreater(len(notices), 10)
        examples = {"address": "0x" + "22" * 20, "uint256": 5, "uint8": 5, "bytes32": b"\1" * 32}
        ours = [signature for signature in notices if signature.split("(")[0] in SENTENCES]
        missing = set(notices) - set(ours)
        for signature in ours:
            kinds = signature[signature.index("(") + 1 : -1]
            values = [examples[kind] for kind in kinds.split(",") if kind]
            with self.subTest(signature=signature):
                told = sentence(revert(signature, *values))
                self.assertNotIn("the contract refuses", told)
        # Of a batch's signature and of libraries: the command line sends nothing that meets them.
        self.assertEqual(set(), {one for one in missing if one.startswith(("Zero", "Not", "No"))})

    def test_others(self) -> None:
        """What we have no sentence for, what is no error of ours, and what is cut off."""
        self.assertIn(
            "SafeCastOverflowedUintDowncast(128, 5)",
            sentence(revert("SafeCastOverflowedUintDowncast(uint8,uint256)", 128, 5)),
        )
        self.assertIn("Error('gone')", sentence(revert("Error(string)", "gone")))
        self.assertIn("Panic(0x11)", sentence(revert("Panic(uint256)", 0x11)))
        self.assertIn("unknown error 0xdeadbeef", sentence("0xdeadbeef"))
        self.assertIn("RefundLocked", sentence(revert("RefundLocked(uint256)", 1)[:12]))
        self.assertIn("no reason given", sentence(None))
        self.assertIn("no reason given", sentence("0x"))

    def test_moment(self) -> None:
        """A moment beyond any calendar is still a number."""
        self.assertEqual(f"unix {2**255}", moment(2**255))
