"""What is public about this provider: what the web room tells, and the limits it holds."""

from __future__ import annotations

from urllib.parse import urlsplit

from attrs import field, frozen

from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.ledger.tariff import Tariff, as_tariff
from sandbox_billing.signing.request import BindingMode, canonical_authority
from sandbox_billing.web.limits import Rates


def _spelt(url: str) -> str:
    """As browsers spell it, for that is what wallets are shown and sign; without a last slash."""
    parts = urlsplit(url.rstrip("/"))
    return parts._replace(netloc=canonical_authority(parts.scheme, parts.netloc)).geturl()


@frozen(kw_only=True)
class Terms:
    """
    Settings of the web room; none of them is a secret.

    @ivar contract: The settlement contract, the BeaconProxy's address.
    @ivar provider: Whose sandboxes these are.
    @ivar operators: ADMIN_ADDRESSES: who may look at what concerns all wallets;
        empty: the provider.
    @ivar public_rpc_url: What C{/info} shows; empty when there is none to show.
    @ivar voucher_interval_seconds: VOUCHER_INTERVAL_SEC.
    @ivar stop_delay_seconds: STOP_DELAY_SEC.
    @ivar loss_cap: LOSS_CAP_NEURON.
    @ivar stop_grace_seconds: STOP_GRACE_SEC.
    @ivar tariff: The prices used while the chain carries none; given as C{environment}.
    @ivar ssh_gateway_host: Put into C{sshCommand}; empty leaves Daytona's.
    @ivar proxy_domain: PROXY_DOMAIN, of preview URLs; empty leaves Daytona's.
    @ivar public_url: Where users reach us, without a trailing slash; never taken from
        a C{Host} header, which any client may write.
    @ivar sign_in_url: The same, where an operator said so: what wallets sign a login for;
        empty where nobody did, and then there are no session tokens.
    @ivar development_rpc_url: A chain whose node signs with well-known keys for whoever asks,
        as the page may then do: the devnet's; empty everywhere else.
    @ivar max_disk_gb: The largest disk that may be asked for, GiB.
    @ivar deadman_minutes: No ssh access lives longer: it outlives this daemon.
    @ivar lifecycle_per_hour: LIFECYCLE_PER_HOUR.
    @ivar trusted_proxies: TRUSTED_PROXIES: addresses and networks.
    @ivar cors_origins: CORS_ORIGINS, as browsers spell them.
    @ivar rates: How often a peer and a wallet may ask.
    @ivar auth_binding: AUTH_BINDING.
    @ivar audience_required: AUTH_AUDIENCE=required.
    """

    contract: Address
    provider: Address
    chain_id: int
    operators: frozenset[Address] = frozenset()
    public_rpc_url: str = ""
    voucher_interval_seconds: int
    stop_delay_seconds: int
    loss_cap: Neuron = Neuron(0)  # noqa: RUF009 (a NewType)
    stop_grace_seconds: int = 0
    tariff: Tariff = field(alias="environment", converter=as_tariff)
    ssh_gateway_host: str = ""
    proxy_domain: str = ""
    public_url: str = field(converter=_spelt)
    sign_in_url: str = field(default="", converter=_spelt)
    development_rpc_url: str = ""
    max_disk_gb: int = 10
    deadman_minutes: int = 60
    lifecycle_per_hour: int = 60
    trusted_proxies: tuple[str, ...] = ()
    cors_origins: frozenset[str] = frozenset()
    rates: Rates = field(factory=Rates)
    auth_binding: BindingMode = "toolbox-compat"
    audience_required: bool = False

    @property
    def environment(self) -> Prices:
        """The prices used while the chain carries none, as they are now."""
        return self.tariff.prices
