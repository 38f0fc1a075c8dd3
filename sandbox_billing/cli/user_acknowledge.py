"""
C{sandbox-billing user acknowledge}: agree to the key that signs vouchers, and to the prices.

Tests: C{tests.cli.test_user_money}.
"""

from __future__ import annotations

from typing import Any

import click

from sandbox_billing.adapters.chain.node import RpcRefusal
from sandbox_billing.cli.amounts import both
from sandbox_billing.cli.options import SendingOptions, sending_options
from sandbox_billing.cli.output import Output, output_options
from sandbox_billing.cli.provider_terms import Terms, registration
from sandbox_billing.cli.sending import Sender
from sandbox_billing.cli.session import SERVING
from sandbox_billing.cli.transaction import Call
from sandbox_billing.cli.user_place import Ground, Place, ground, place_options
from sandbox_billing.errors import BadInput, Refused
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum


@click.command()
@output_options
@place_options(chain=True)
@sending_options
@click.option(
    "--version",
    type=click.IntRange(min=0),
    help="The signer version that is meant; any other is refused. [default: the one that is shown]",
)
@click.option("--revoke", is_flag=True, help="Take it back: what runs is stopped.")
def acknowledge(
    out: Output, place: Place, sending: SendingOptions, version: int | None, revoke: bool
) -> None:
    """
    Agree to the provider's signer and prices, or take that back.

    A change of signer, prices or fee makes a new version, which has to be agreed to anew: until
    then nothing is paid, and after the provider's patience what runs is stopped. Example:

    \b
      sandbox-billing user acknowledge --version 3
    """
    if revoke and version is not None:
        raise BadInput("--revoke takes back whatever version it is: leave --version out")
    found = ground(place)
    sender = Sender(found.session, place.key.load(), sending, out)
    sender.ready()
    standing = registration(found.session, found.contract, found.provider)
    current, terms = standing.version, standing.terms
    if not revoke:
        if terms is None:
            raise Refused(f"{checksum(found.provider)} is not registered: look at --provider")
        if version is not None and version != current:
            raise Refused(
                f"the provider is at signer version {current}, not {version}: look at 'user "
                f"providers', then: sandbox-billing user acknowledge --version {current}"
            )
    said = _Said(out, found, sender.address, current, terms)
    if _acknowledged(found, sender.address) != revoke:
        said.finish("Nothing to do: it is so already", [])
        return
    call = _revocation(found) if revoke else _agreement(found, sender.address, current)
    question = (
        "Take the acknowledgement back? What runs is stopped"
        if revoke
        else _question(found, current, terms)
    )
    done = sender.transact([call], question=question)
    if done is not None:
        said.finish("Taken back" if revoke else "Acknowledged", done)


def _acknowledged(found: Ground, user: Address) -> bool:
    (answer,) = found.session.serving(
        found.contract, "isTEEAcknowledged", user.hex, found.provider.hex
    )
    return bool(answer)


def _question(found: Ground, version: int, terms: Terms | None) -> str:
    assert terms is not None, "only one that is registered is agreed to"
    prices = terms.prices
    return (
        f"Agree to version {version} of provider {checksum(found.provider)}: signer "
        f"{checksum(terms.signer)}, {both(prices.per_cpu_per_minute)} for a minute of one cpu, "
        f"{both(prices.per_memory_gib_per_minute)} for a minute of one GB, "
        f"{both(prices.create_fee)} for creating?"
    )


def _revocation(found: Ground) -> Call:
    from sandbox_billing.adapters.chain.codec import Codec

    data = Codec(SERVING).calldata("acknowledgeTEESigner", found.provider.hex, False)
    return Call(label="revoke", to=found.contract, data=data)


def _agreement(found: Ground, user: Address, version: int) -> Call:
    """
    For this version and no other, where the contract can be told so: it may change while the
    transaction is on its way.
    """
    from sandbox_billing.adapters.chain.codec import Codec

    codec = Codec(SERVING)
    data = codec.calldata("acknowledgeTEESignerVersion", found.provider.hex, version)
    call = Call(label="acknowledge", to=found.contract, data=data)
    try:
        found.session.call("eth_call", call.request(user), "latest")
    except RpcRefusal as refusal:
        if not refusal.reverted:
            raise
        if not codec.is_own_error(bytes.fromhex((refusal.data or "0x")[2:])):
            # The contract that is deployed today has only this one.
            data = codec.calldata("acknowledgeTEESigner", found.provider.hex, True)
            return Call(label="acknowledge", to=found.contract, data=data)
    return call


class _Said:
    """What is told at the end, whatever was done."""

    def __init__(
        self, out: Output, found: Ground, user: Address, version: int, terms: Terms | None
    ) -> None:
        self._out = out
        self._found = found
        self._user = user
        self._version = version
        self._terms = terms

    def finish(self, title: str, done: list[Any]) -> None:
        """@param done: The transactions."""
        now = _acknowledged(self._found, self._user)
        terms = self._terms
        self._out.finish(
            {
                "user": checksum(self._user),
                "provider": checksum(self._found.provider),
                "acknowledged": now,
                "signer_version": str(self._version),
                **({} if terms is None else terms.document()),
                "nothing_to_do": not done,
                "transactions": [one.document() for one in done],
            },
            title=title,
            rows=[
                ("user", checksum(self._user)),
                ("provider", checksum(self._found.provider)),
                ("acknowledged", f"yes, version {self._version}" if now else "no"),
                *([] if terms is None else terms.rows()),
                *(("transaction", one.hash) for one in done),
            ],
            lines=["Next: rent a sandbox: sandbox-billing user create"] if now and done else (),
        )
