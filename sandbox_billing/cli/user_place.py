"""
Where the provider is and whose wallet it is, as the command line and the environment say.

Tests: C{tests.cli.test_user}.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

import click
from attrs import field, frozen

from sandbox_billing.cli.exits import WrongChain
from sandbox_billing.cli.keys import KeySource, Role, key_options
from sandbox_billing.cli.options import ADDRESS, ChainOptions
from sandbox_billing.cli.provider_terms import address_of
from sandbox_billing.cli.session import Session, connect
from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.key import SigningKey


NO_URL = "which provider? give --url, or set SANDBOX_BILLING_URL"
ALL_OF_IT = "--rpc, --chain-id, --contract and --provider"


@frozen(kw_only=True)
class Place:
    """
    What was said; nothing is asked before it is needed.

    @ivar url: The provider's HTTP API, without a slash at its end.
    @ivar key: Of the wallet.
    @ivar wallet: Where it was named: for looking only no key is needed.
    """

    url: str | None
    key: KeySource
    wallet: Address | None = None
    rpc: str | None = field(default=None, repr=False)
    chain_id: int | None = None
    contract: Address | None = None
    provider: Address | None = None

    def address(self) -> Address:
        """
        Whose wallet; a key is opened only if nothing else tells.

        @raise BadInput: There is no key.
        """
        return self.known_address() or self.key.load().address

    def known_address(self) -> Address | None:
        """
        Whose wallet, as far as that can be told without a password or a prompt.

        @raise BadInput: What is given is no key.
        """
        if self.wallet is not None:
            return self.wallet
        if self.key.keystore is not None:
            return _address_in(self.key)
        if self.key.text is not None:
            try:
                return SigningKey.from_hex(self.key.text.strip()).address
            except BadInput as problem:
                raise BadInput(f"--key: {problem}") from None
        return address_of(self.key.role.value)

    def require_url(self) -> str:
        """@raise BadInput: None was named, or it is none."""
        if not self.url:
            raise BadInput(NO_URL)
        try:
            parts = urlsplit(self.url)
            good = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            good = False
        if not good:
            raise BadInput("--url: write it as https://sandboxes.example")
        return self.url

    def is_open(self) -> bool:
        """Whether everybody on the way can read and change what is said."""
        parts = urlsplit(self.require_url())
        host = parts.hostname or ""
        return parts.scheme == "http" and host != "localhost" and not host.startswith("127.")

    def agree(self, name: str, said: Any, told: Any) -> None:
        """
        @param said: On the command line or in the environment; None for nothing.
        @param told: By the provider.
        @raise WrongChain: They differ.
        """
        if said is not None and said != told:
            raise WrongChain(
                f"{self.url} is of {name} {_shown(told)}, and --{name.replace(' ', '-')} says "
                f"{_shown(said)}: nothing was sent"
            )


def _shown(value: Any) -> str:
    return checksum(value) if isinstance(value, Address) else str(value)


def _address_in(key: KeySource) -> Address | None:
    """A keystore names its address outside of what is encrypted; some leave it out."""
    assert key.keystore is not None, "asked of a keystore"
    try:
        stored = json.loads(key.keystore.read_text("utf-8"))
        text = stored["address"]
        return Address(text if text.startswith("0x") else f"0x{text}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, BadInput):
        # Opening it says what is wrong with it.
        return None


@frozen(kw_only=True)
class Ground:
    """
    Where money is: all of it known and checked.

    @ivar session: A node of the chain, with the contract at the address.
    @ivar rpc: Where it was looked for; may carry credentials.
    """

    session: Session
    rpc: str = field(repr=False)
    contract: Address
    provider: Address


def ground(place: Place) -> Ground:
    """
    Contract, provider and chain; the provider's own word is asked only for what is not named, so
    that money can be taken back from one that does not answer any more.

    @raise BadInput: Something is not named, and there is no --url to ask.
    @raise WrongChain: What the provider says is not what was named.
    """
    rpc, chain_id = place.rpc, place.chain_id
    contract, provider = place.contract, place.provider
    if rpc is None or chain_id is None or contract is None or provider is None:
        from sandbox_billing.cli.user_client import told_by

        if not place.url:
            raise BadInput(f"{NO_URL}; or name all of it: {ALL_OF_IT}")
        told = told_by(place)
        rpc, chain_id = rpc or told.rpc_url, told.chain_id
        contract, provider = Address(told.contract), Address(told.provider)
    if not rpc:
        raise BadInput(f"{place.url} names no node of its chain: give --rpc, or set RPC_URL")
    chain = ChainOptions(rpc=rpc, chain_id=chain_id, contract=contract)
    return Ground(session=connect(chain), rpc=rpc, contract=contract, provider=provider)


def place_options(
    *, chain: bool = False, role: Role = Role.USER
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """
    Adds C{--url}, the wallet's key and what the provider's word is checked against; passes
    C{place}.

    @param chain: Whether a node is asked: adds C{--rpc}.
    @param role: Whose key it is, where none is named.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @key_options(role)
        @click.option(
            "--url",
            metavar="URL",
            envvar="SANDBOX_BILLING_URL",
            help="The provider's HTTP API. [env: SANDBOX_BILLING_URL]",
        )
        @click.option(
            "--wallet", type=ADDRESS, help="Whose, where no key is needed. [default: the key's]"
        )
        @click.option(
            "--contract",
            type=ADDRESS,
            envvar="SETTLEMENT_CONTRACT",
            help="The contract that is meant. [env: SETTLEMENT_CONTRACT; default: as /info says]",
        )
        @click.option(
            "--provider",
            type=ADDRESS,
            envvar="PROVIDER_ADDRESS",
            help="The provider that is meant. [env: PROVIDER_ADDRESS; default: as /info says]",
        )
        @click.option(
            "--chain-id",
            type=click.IntRange(min=1),
            envvar="CHAIN_ID",
            help="The chain that is meant. [env: CHAIN_ID; default: as /info says]",
        )
        @wraps(command)
        def wrapped(
            *args: Any,
            key: KeySource,
            url: str | None,
            wallet: Address | None,
            contract: Address | None,
            provider: Address | None,
            chain_id: int | None,
            **kwargs: Any,
        ) -> None:
            place = Place(
                url=None if url is None else url.rstrip("/"),
                key=key,
                wallet=wallet,
                rpc=kwargs.pop("rpc") if chain else None,
                chain_id=chain_id,
                contract=contract,
                provider=provider,
            )
            command(*args, place=place, **kwargs)

        if chain:
            wrapped = click.option(
                "--rpc",
                metavar="URL",
                envvar="RPC_URL",
                help="The node's JSON-RPC. [env: RPC_URL; default: as /info says]",
            )(wrapped)
        return wrapped

    return decorate
