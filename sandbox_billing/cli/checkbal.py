"""
C{sandbox-billing checkbal}: what a user has with a provider, and what that one has earned.

Tests: L{tests.cli.test_provider}.
"""

from __future__ import annotations

import click

from sandbox_billing.cli.amounts import both
from sandbox_billing.cli.options import ADDRESS, ChainOptions, chain_options
from sandbox_billing.cli.output import Output, output_options
from sandbox_billing.cli.provider_terms import address_of, provider_option, registration
from sandbox_billing.cli.reverts import moment
from sandbox_billing.cli.session import Session, connect
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum


@click.command()
@output_options
@chain_options(contract=True)
@provider_option
@click.option(
    "--user", type=ADDRESS, help="The wallet.  [default: USER_KEY's address, else the provider]"
)
def checkbal(out: Output, chain: ChainOptions, provider: Address, user: Address | None) -> None:
    """Balance, pending refund, nonce, acknowledgement and earnings."""
    user = user or address_of("USER_KEY") or provider
    session = connect(chain)
    assert chain.contract is not None, "the option is required"
    document, rows = balance(session, chain.contract, user, provider)
    out.finish(document, title="Balance", rows=rows)


def balance(
    session: Session, contract: Address, user: Address, provider: Address
) -> tuple[dict[str, object], list[tuple[str, str]]]:
    """For scripts and for people."""
    pair = (user.hex, provider.hex)
    available, refund, unlock_at = session.serving(contract, "getBalance", *pair)
    (nonce,) = session.serving(contract, "getLastNonce", *pair)
    (acknowledged,) = session.serving(contract, "isTEEAcknowledged", *pair)
    (earnings,) = session.serving(contract, "getProviderEarnings", provider.hex)
    found = registration(session, contract, provider)
    registered = found.terms is not None
    document = {
        "user": checksum(user),
        "provider": checksum(provider),
        "registered": registered,
        "balance": str(available),
        "pending_refund": str(refund),
        "refund_unlock_at": unlock_at or None,
        "nonce": str(nonce),
        "acknowledged": acknowledged,
        "signer_version": str(found.version),
        "earnings": str(earnings),
    }
    rows = [
        ("user", checksum(user)),
        ("provider", checksum(provider) + ("" if registered else " (not registered)")),
        ("balance", both(available)),
    ]
    if refund:
        rows.append(("pending refund", f"{both(refund)}, locked until {moment(unlock_at)}"))
    version = found.version
    rows += [
        ("nonce", str(nonce)),
        ("acknowledged", f"yes, version {version}" if acknowledged else f"no (version {version})"),
        ("provider's earnings", both(earnings)),
    ]
    return document, rows
