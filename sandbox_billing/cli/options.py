"""
Options that several commands share, each group passed to the command as one value.

Tests: L{tests.cli.test_options}.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
from attrs import field, frozen

from sandbox_billing.cli.amounts import parse_amount
from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import Neuron


class AmountType(click.ParamType[Neuron]):
    """An amount, as L{parse_amount} reads it."""

    name = "amount"

    def convert(self, value: Any, param: Any, ctx: Any) -> Neuron:
        if isinstance(value, int):
            return Neuron(value)
        try:
            return parse_amount(value)
        except BadInput as problem:
            self.fail(str(problem), param, ctx)


class AddressType(click.ParamType[Address]):
    """An address, in any spelling but a wrong checksum."""

    name = "address"

    def convert(self, value: Any, param: Any, ctx: Any) -> Address:
        if isinstance(value, Address):
            return value
        try:
            return parse_address(value)
        except BadInput as problem:
            self.fail(str(problem), param, ctx)


AMOUNT = AmountType()
ADDRESS = AddressType()


def parse_address(text: str) -> Address:
    """
    @raise BadInput: It is none, is mixed-case with a wrong checksum (a typing error), or is the
        zero address: what is sent there is gone, and nobody is there.
    """
    from sandbox_billing.signing.eip55 import checksum

    address = Address(text)
    if not any(address.to_bytes()):
        raise BadInput("the zero address is nobody's")
    digits = text[2:]
    mixed = digits != digits.lower() and digits != digits.upper()
    if mixed and checksum(address)[2:] != digits:
        raise BadInput(f"{text} has a wrong checksum: look for a typing error")
    return address


@frozen(kw_only=True)
class ChainOptions:
    """
    @ivar rpc: One URL, or several separated by commas; may carry credentials.
    @ivar contract: The proxy; None where the command takes none.
    """

    rpc: str = field(repr=False)
    chain_id: int
    contract: Address | None = None


@frozen(kw_only=True)
class SendingOptions:
    """
    @ivar confirmations: Blocks that must stand on a transaction's block.
    @ivar timeout_seconds: How long one transaction is waited for.
    """

    dry_run: bool = False
    yes: bool = False
    confirmations: int = 2
    timeout_seconds: int = 300


def chain_options(*, contract: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """
    Adds C{--rpc}, C{--chain-id} and perhaps C{--contract}; passes C{chain}, L{ChainOptions}.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def wrapped(*args: Any, rpc: str, chain_id: int, **kwargs: Any) -> None:
            named = kwargs.pop("contract") if contract else None
            chain = ChainOptions(rpc=rpc, chain_id=chain_id, contract=named)
            command(*args, chain=chain, **kwargs)

        if contract:
            wrapped = click.option(
                "--contract",
                type=ADDRESS,
                required=True,
                envvar="SETTLEMENT_CONTRACT",
                help="The contract, that is the proxy. [env: SETTLEMENT_CONTRACT]",
            )(wrapped)
        wrapped = click.option(
            "--chain-id",
            type=click.IntRange(min=1),
            required=True,
            envvar="CHAIN_ID",
            help="The chain that is meant; any other is refused. [env: CHAIN_ID]",
        )(wrapped)
        return click.option(
            "--rpc",
            metavar="URL",
            required=True,
            envvar="RPC_URL",
            help="The node's JSON-RPC. [env: RPC_URL]",
        )(wrapped)

    return decorate


def settings_options(command: Callable[..., None]) -> Callable[..., None]:
    """
    Adds C{--env-file} and C{--secrets}, for commands that do a part of the daemon's work; passes
    C{env_file} and C{secrets}, for L{settings_of<sandbox_billing.cli.reconcile.settings_of>}.
    """
    of_file = click.option(
        "--env-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="The daemon's settings; the environment wins, as with the daemon.",
    )
    of_folder = click.option(
        "--secrets",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Folder of files, each named as the setting that it holds.",
    )
    return of_file(of_folder(command))


def sending_options(command: Callable[..., None]) -> Callable[..., None]:
    """
    Adds C{--dry-run}, C{--yes}, C{--confirmations}, C{--timeout}; passes C{sending}.
    """

    @click.option("--dry-run", is_flag=True, help="Show calldata, gas and cost; send nothing.")
    @click.option("--yes", is_flag=True, help="Do not ask before sending.")
    @click.option(
        "--confirmations",
        type=click.IntRange(min=0),
        default=2,
        envvar="CONFIRMATIONS",
        show_default=True,
        help="Blocks to wait for upon a transaction's own. [env: CONFIRMATIONS]",
    )
    @click.option(
        "--timeout",
        "timeout_seconds",
        type=click.IntRange(min=1),
        default=300,
        show_default=True,
        help="Seconds to wait for one transaction.",
    )
    @wraps(command)
    def wrapped(
        *args: Any,
        dry_run: bool,
        yes: bool,
        confirmations: int,
        timeout_seconds: int,
        **kwargs: Any,
    ) -> None:
        sending = SendingOptions(
            dry_run=dry_run, yes=yes, confirmations=confirmations, timeout_seconds=timeout_seconds
        )
        command(*args, sending=sending, **kwargs)

    return wrapped
