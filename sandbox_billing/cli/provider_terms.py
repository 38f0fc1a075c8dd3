"""
A provider's registration: as it is on chain, and as somebody wants it.

Tests: L{tests.cli.test_provider_terms}.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click
from attrs import frozen

from sandbox_billing.cli.amounts import both
from sandbox_billing.cli.options import ADDRESS, AMOUNT
from sandbox_billing.cli.reverts import moment
from sandbox_billing.cli.session import SERVING, Session
from sandbox_billing.cli.transaction import Call
from sandbox_billing.errors import BadInput, Refused
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.signing.eip55 import checksum


_NOBODY = Address("0x" + "0" * 40)

_PER_MINUTE = "for one minute of one"


@frozen(kw_only=True)
class Terms:
    """
    What users agree to; any change but of the URL raises the signer version.

    @ivar prices: Those the chain carries.
    """

    url: str
    signer: Address
    prices: Prices

    @property
    def binding(self) -> tuple[Address, Prices]:
        """What an acknowledgement is for."""
        return (self.signer, self.prices)

    def call(self, contract: Address, value: int) -> Call:
        """
        The registration, or its change.

        @param value: neuron of stake; 0 for a change.
        """
        from sandbox_billing.adapters.chain.codec import Codec

        data = Codec(SERVING).calldata(
            "addOrUpdateService",
            self.url,
            self.signer.hex,
            self.prices.per_cpu_per_minute,
            self.prices.create_fee,
            self.prices.per_memory_gib_per_minute,
        )
        return Call(label="register", to=contract, data=data, value=value)

    def document(self) -> dict[str, str]:
        """For C{--json}."""
        return {
            "url": self.url,
            "tee_signer": checksum(self.signer),
            "price_per_cpu_per_min": str(self.prices.per_cpu_per_minute),
            "price_per_mem_gb_per_min": str(self.prices.per_memory_gib_per_minute),
            "create_fee": str(self.prices.create_fee),
        }

    def rows(self) -> list[tuple[str, str]]:
        """For people."""
        by_size = self.prices.by_size
        flat = "0: the daemon's COMPUTE_PRICE_PER_SEC applies"
        return [
            ("url", self.url),
            ("tee signer", checksum(self.signer)),
            ("price per cpu minute", both(self.prices.per_cpu_per_minute) if by_size else flat),
            (
                "price per GB minute",
                both(self.prices.per_memory_gib_per_minute) if by_size else flat,
            ),
            ("create fee", both(self.prices.create_fee)),
        ]


@frozen(kw_only=True)
class Registration:
    """
    @ivar terms: None when the provider is not registered.
    @ivar version: The signer version; it survives leaving.
    """

    terms: Terms | None
    version: int


def registration(session: Session, contract: Address, provider: Address) -> Registration:
    """As it stands now."""
    url, signer, cpu, fee, version, memory = session.serving(contract, "services", provider.hex)
    if Address(signer) == _NOBODY:
        return Registration(terms=None, version=version)
    prices = Prices(
        per_cpu_per_minute=Neuron(cpu),
        per_memory_gib_per_minute=Neuron(memory),
        create_fee=Neuron(fee),
    )
    return Registration(
        terms=Terms(url=url, signer=Address(signer), prices=prices), version=version
    )


@frozen
class Leaving:
    """
    That a provider will leave; chain time, unix seconds.

    @ivar since: When it was announced.
    @ivar possible_from: When the stake can be taken.
    """

    since: int
    possible_from: int

    def __str__(self) -> str:
        return f"announced {moment(self.since)}; possible from {moment(self.possible_from)}"


def leaving(session: Session, contract: Address, provider: Address) -> Leaving | None:
    """None where nothing is announced, as always with the deployed contract."""
    try:
        (possible_from,) = session.serving(contract, "leavingAt", provider.hex)
        if possible_from == 0:
            return None
        (lock,) = session.serving(contract, "LOCK_TIME")
    except Refused:
        return None
    return Leaving(possible_from - lock, possible_from)


def leaving_document(found: Leaving | None) -> dict[str, int | None]:
    """For C{--json}."""
    return {
        "leaving_since": None if found is None else found.since,
        "leaving_at": None if found is None else found.possible_from,
    }


def leaving_rows(found: Leaving | None) -> list[tuple[str, str]]:
    """For people."""
    return [] if found is None else [("leaving", str(found))]


@frozen(kw_only=True)
class Wanted:
    """
    What was said on the command line; None stays as it is.

    @ivar flat: Prices of 0 are meant: the daemon's environment has the price.
    """

    url: str | None
    signer: Address | None
    cpu: Neuron | None
    memory: Neuron | None
    create_fee: Neuron | None
    flat: bool

    def over(self, known: Terms | None, signer: Address | None = None) -> Terms:
        """
        What the registration should be.

        @param known: As it is.
        @param signer: Where none is named nor known; None: then it must be.
        @raise BadInput: Something is missing, or running would cost nothing (B14).
        """
        url = _first(self.url, known and known.url)
        signer = _first(self.signer, known and known.signer, signer)
        if url is None or signer is None:
            raise BadInput("a first registration needs --url and --tee-signer")
        prices = self._prices(None if known is None else known.prices)
        return Terms(url=url, signer=signer, prices=prices)

    def _prices(self, known: Prices | None) -> Prices:
        fee = _first(self.create_fee, known and known.create_fee, Neuron(0))
        if self.flat:
            if self.cpu or self.memory:
                raise BadInput("give --flat or prices, not both")
            return Prices(create_fee=fee)
        cpu = _first(self.cpu, known and known.per_cpu_per_minute)
        memory = _first(self.memory, known and known.per_memory_gib_per_minute)
        if cpu is None or memory is None:
            raise BadInput(
                "name the prices with --price-cpu and --price-mem, or give --flat: then none "
                "stands on chain and the daemon's COMPUTE_PRICE_PER_SEC applies"
            )
        kept = self.cpu is None and self.memory is None
        if (cpu == 0 or memory == 0) and not kept:
            raise BadInput(
                "a price of 0 gives sandboxes away: name both --price-cpu and --price-mem, or "
                "give --flat if the daemon's COMPUTE_PRICE_PER_SEC is meant"
            )
        return Prices(per_cpu_per_minute=cpu, per_memory_gib_per_minute=memory, create_fee=fee)


def _first(*found: Any) -> Any:
    """The first that was named."""
    return next((one for one in found if one is not None), None)


def terms_options(command: Callable[..., None]) -> Callable[..., None]:
    """
    Adds C{--url}, C{--tee-signer}, the prices and C{--flat}; passes C{wanted}.
    """

    @click.option("--url", help="Where users reach the provider.")
    @click.option(
        "--tee-signer", type=ADDRESS, help="The enclave key's address, which signs the vouchers."
    )
    @click.option("--price-cpu", type=AMOUNT, help=f"Price {_PER_MINUTE} cpu.")
    @click.option("--price-mem", type=AMOUNT, help=f"Price {_PER_MINUTE} GB of memory.")
    @click.option("--create-fee", type=AMOUNT, help="Price of creating a sandbox.")
    @click.option(
        "--flat",
        is_flag=True,
        help="No price on chain: the daemon's COMPUTE_PRICE_PER_SEC applies. Without prices, "
        "known or named, this has to be said: nothing is free by accident.",
    )
    @wraps(command)
    def wrapped(
        *args: Any,
        url: str | None,
        tee_signer: Address | None,
        price_cpu: Neuron | None,
        price_mem: Neuron | None,
        create_fee: Neuron | None,
        flat: bool,
        **kwargs: Any,
    ) -> None:
        wanted = Wanted(
            url=url,
            signer=tee_signer,
            cpu=price_cpu,
            memory=price_mem,
            create_fee=create_fee,
            flat=flat,
        )
        command(*args, wanted=wanted, **kwargs)

    return wrapped


def provider_option(command: Callable[..., None]) -> Callable[..., None]:
    """
    Adds C{--provider}; passes C{provider}, the one of PROVIDER_KEY where none is named.
    """

    @click.option(
        "--provider",
        "named",
        type=ADDRESS,
        envvar="PROVIDER_ADDRESS",
        help="The provider.  [env: PROVIDER_ADDRESS; default: PROVIDER_KEY's address]",
    )
    @wraps(command)
    def wrapped(*args: Any, named: Address | None, **kwargs: Any) -> None:
        provider = named if named is not None else address_of("PROVIDER_KEY")
        if provider is None:
            raise BadInput("which provider? give --provider, or set PROVIDER_ADDRESS")
        command(*args, provider=provider, **kwargs)

    return wrapped


def address_of(variable: str) -> Address | None:
    """
    Whose key stands in the environment; nobody is asked for one that is not needed.

    @raise BadInput: What stands there is no key.
    """
    import os

    from sandbox_billing.signing.key import SigningKey

    text = os.environ.get(variable)
    if not text:
        return None
    try:
        return SigningKey.from_hex(text.strip()).address
    except BadInput as problem:
        raise BadInput(f"{variable}: {problem}") from None
