"""Tests for L{sandbox_billing.cli.options}."""

from __future__ import annotations

from typing import Any

import click
from click.testing import CliRunner, Result
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.cli.options import (
    ADDRESS,
    AMOUNT,
    ChainOptions,
    SendingOptions,
    chain_options,
    parse_address,
    sending_options,
)
from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address


MIXED = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"


class AddressTests(SynchronousTestCase):
    """Addresses on the command line."""

    def test_forms(self) -> None:
        """Lower case, upper case and checksummed are the same."""
        for text in (MIXED, MIXED.lower(), "0x" + MIXED[2:].upper()):
            self.assertEqual(Address(MIXED), parse_address(text))

    def test_typing_error(self) -> None:
        """One letter in the wrong case is a typing error, not another address."""
        with self.assertRaisesRegex(BadInput, "wrong checksum"):
            parse_address(MIXED.replace("E7E3", "e7E3"))
        self.assertRaises(BadInput, parse_address, MIXED[:-1])


class OptionTests(SynchronousTestCase):
    """Groups of options."""

    def run_command(self, *arguments: str, **environment: str) -> tuple[Result, dict[str, Any]]:
        """How a command with all of them ends, and what it was passed."""
        seen: dict[str, Any] = {}

        @click.command()
        @chain_options(contract=True)
        @sending_options
        @click.option("--deposit", type=AMOUNT)
        @click.option("--to", type=ADDRESS)
        def command(**values: Any) -> None:
            seen.update(values)

        clean = dict.fromkeys(("RPC_URL", "CHAIN_ID", "SETTLEMENT_CONTRACT", "CONFIRMATIONS"))
        runner = CliRunner(env={**clean, **environment})
        return runner.invoke(command, arguments), seen

    def test_given(self) -> None:
        """Each group arrives as one value."""
        told, seen = self.run_command(
            *("--rpc", "http://x", "--chain-id", "5", "--contract", MIXED, "--dry-run"),
            *("--deposit", "0.01 0G", "--to", MIXED),
        )
        self.assertEqual(0, told.exit_code, told.output)
        self.assertEqual(
            ChainOptions(rpc="http://x", chain_id=5, contract=Address(MIXED)), seen["chain"]
        )
        self.assertEqual(SendingOptions(dry_run=True), seen["sending"])
        self.assertEqual((10**16, Address(MIXED)), (seen["deposit"], seen["to"]))

    def test_environment(self) -> None:
        """The daemon's names are read (wire.md §8), and an option wins over them."""
        environment = {
            "RPC_URL": "http://x",
            "CHAIN_ID": "7",
            "SETTLEMENT_CONTRACT": MIXED,
            "CONFIRMATIONS": "4",
        }
        _, seen = self.run_command("--chain-id", "8", **environment)
        self.assertEqual((8, Address(MIXED)), (seen["chain"].chain_id, seen["chain"].contract))
        self.assertEqual(4, seen["sending"].confirmations)

    def test_missing(self) -> None:
        """No default stands in for a chain or a contract."""
        for missing in ("--rpc", "--chain-id", "--contract"):
            given = {"--rpc": "http://x", "--chain-id": "5", "--contract": MIXED}
            del given[missing]
            told, _ = self.run_command(*(word for pair in given.items() for word in pair))
            self.assertEqual(2, told.exit_code)
            self.assertIn(f"Missing option '{missing}'", told.output)

    def test_wrong(self) -> None:
        """Amounts, addresses and chain ids that are none."""
        good = ("--rpc", "http://x", "--chain-id", "5", "--contract", MIXED)
        for wrong in (
            ("--deposit", "1.5"),
            ("--to", "0x12"),
            ("--to", "0x0"),
            ("--to", "0x" + "0" * 40),
            ("--chain-id", "0"),
            ("--timeout", "0"),
            ("--confirmations", "-1"),
        ):
            with self.subTest(wrong=wrong):
                told, _ = self.run_command(*good, *wrong)
                self.assertEqual(2, told.exit_code)
                self.assertIn(f"Invalid value for '{wrong[0]}'", told.output)

    def test_secret_url(self) -> None:
        """A node's URL may be a credential: it is not in a repr."""
        options = ChainOptions(rpc="https://user:s3cret@node/key", chain_id=1)
        self.assertNotIn("s3cret", repr(options))
