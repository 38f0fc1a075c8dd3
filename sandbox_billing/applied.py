"""
What the settings mean to each room: one value for money decisions, one for the web.

Tests: C{tests.test_startup}.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from sandbox_billing.configuration import Configuration
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.ledger.tariff import Tariff
from sandbox_billing.services.policy import Policy
from sandbox_billing.web.limits import Rates
from sandbox_billing.web.terms import Terms


def prices_of(settings: Configuration) -> Prices:
    """The environment's prices."""
    return Prices(flat_per_second=settings.compute_price, create_fee=settings.create_fee)


def policy_of(
    settings: Configuration, provider: Address, lock_time: int, tariff: Tariff | None = None
) -> Policy:
    """
    The settings that money decisions rest on.

    @param lock_time: The contract's, seconds.
    @param tariff: The environment's prices where somebody may change them.
    """
    return Policy(
        provider=provider,
        prices=tariff or prices_of(settings),
        lock_time=lock_time,
        voucher_interval=settings.voucher_interval,
        stop_delay=settings.stop_delay,
        loss_cap=settings.loss_cap,
        max_sandboxes=settings.max_sandboxes,
        max_disk_gib=settings.max_disk_gib,
        deadman_minutes=settings.deadman_minutes,
        mirror_max_age=settings.mirror_max_age,
        ack_grace=settings.ack_grace,
        confirmations=settings.confirmations,
        start_block=settings.start_block,
        log_range=settings.log_range,
        batch_max=settings.batch_max,
        batch_wait=settings.batch_wait,
        max_in_flight=settings.max_in_flight,
        settle_min=settings.settle_min,
        settle_max_age=settings.settle_max_age,
        gas_floor=settings.gas_floor,
        forgive_debts=settings.forgive_debts,
        allow_resize=settings.allow_resize,
        refund_loss=settings.refund_loss,
        lifecycle_per_hour=settings.lifecycle_per_hour,
        stop_grace=settings.stop_grace,
        warn_before=settings.warn_before,
        # A few sweeps, one of which may take minutes: ten thousand rows of a slow Daytona.
        sweep_max_age=4 * settings.reconcile_interval + 240,
    )


def terms_of(
    settings: Configuration,
    provider: Address,
    public_url: str,
    development_rpc_url: str = "",
    tariff: Tariff | None = None,
) -> Terms:
    """
    What is public about this provider.

    @param development_rpc_url: Of a chain whose node signs with well-known keys.
    @param tariff: As for L{policy_of}.
    """
    first = urlsplit(settings.rpc_urls[0])
    # A path or query may be an access token, and nobody can tell by looking.
    bare = not (first.username or first.password or first.query or first.path.strip("/"))
    return Terms(
        contract=settings.settlement_contract,
        provider=provider,
        chain_id=settings.chain_id,
        operators=frozenset(settings.operators),
        public_rpc_url=settings.public_rpc_url or (settings.rpc_urls[0] if bare else ""),
        voucher_interval_seconds=settings.voucher_interval,
        stop_delay_seconds=settings.stop_delay,
        stop_grace_seconds=settings.stop_grace,
        loss_cap=settings.loss_cap,
        environment=tariff or prices_of(settings),
        ssh_gateway_host=settings.ssh_gateway_host or "",
        proxy_domain=settings.proxy_domain or "",
        public_url=public_url,
        # With a well-known key nobody is deceived who signs for a made-up address.
        sign_in_url=settings.public_url or (public_url if settings.mock_tee else ""),
        development_rpc_url=development_rpc_url,
        max_disk_gb=settings.max_disk_gib,
        deadman_minutes=settings.deadman_minutes,
        lifecycle_per_hour=settings.lifecycle_per_hour,
        trusted_proxies=settings.trusted_proxies,
        cors_origins=frozenset(settings.cors_origins),
        rates=Rates.of(
            peer_per_second=settings.peer_per_second,
            wallet_per_second=settings.wallet_per_second,
        ),
        auth_binding=settings.auth_binding,
        audience_required=settings.auth_audience == "required",
    )


def _host_of(address: Any) -> str | None:
    host = getattr(address, "host", None)
    return host if isinstance(host, str) else None


def _is_everywhere(host: str) -> bool:
    return ip_address(host.partition("%")[0]).is_unspecified


def spelt(address: Any) -> str:
    """
    C{host:port}, or the path of a UNIX socket.

    @param address: Where we listen, as Twisted says it.
    """
    host = _host_of(address)
    if host is None:
        name = getattr(address, "name", address)
        return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)
    return f"[{host}]:{address.port}" if ":" in host else f"{host}:{address.port}"


def own_url(public_url: str | None, address: Any) -> str:
    """
    Where users are sent.  Nobody can go to 0.0.0.0: without PUBLIC_URL it is ourselves as
    they are seen from this machine.

    @param public_url: As it was set.
    @param address: Where we listen.
    """
    if public_url:
        return public_url
    host = _host_of(address)
    if host is None:
        return "http://localhost"
    if _is_everywhere(host):
        here = "[::1]" if ":" in host else "127.0.0.1"
        return f"http://{here}:{address.port}"
    return f"http://{spelt(address)}"


def url_notice(public_url: str | None, address: Any) -> str | None:
    """What an operator has to know whose users are sent where they cannot go; or None."""
    host = _host_of(address)
    if public_url or (host is not None and not _is_everywhere(host)):
        return None
    return (
        f"PUBLIC_URL is not set: users are sent to {own_url(None, address)}, which is right on this"
        " machine only"
    )
