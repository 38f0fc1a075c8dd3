"""
The settings, folded once into a frozen value; every error is told at once.

The table C{SETTINGS} is the single source: parsing, the README's table and
the example environment are made from it (wire.md, section 8).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from attrs import field, frozen

from sandbox_billing.errors import BadInput, ConfigurationError, WrongEnvFile
from sandbox_billing.ledger.identity import Address
from sandbox_billing.ledger.money import Neuron, parse_neuron
from sandbox_billing.ledger.target import read_allowed


G = TypeVar("G")
T = TypeVar("T")

TEST_CHAINS = frozenset({1337, 31337, 16600, 16601, 16602})
"""Chains on which a mock key may sign: 0G's test nets and local ones (failures.md, T1)."""

REQUIRED = object()
_MOST_LEVELS = 10
WRONG = "the settings are wrong"


@frozen
class Setting:
    """
    @ivar name: Of the environment variable.
    @ivar attribute: Of L{Configuration}; empty for one that only other settings use.
    @ivar default: As it would be written; C{REQUIRED} when there is none.
    @ivar help: One line for the documents.
    """

    name: str
    attribute: str
    parse: Callable[[str], Any] = field(repr=False)
    default: Any
    help: str


def _text(given: str) -> str:
    return given


def _whole(low: int, high: int = 2**31 - 1) -> Callable[[str], int]:
    def parse(given: str) -> int:
        if not re.fullmatch(r"[0-9]{1,19}", given) or not low <= int(given) <= high:
            raise BadInput(f"must be a whole number from {low} to {high}")
        return int(given)

    return parse


def _or_else(text: str, read: Callable[[G], T]) -> Callable[[G], T]:
    def parse(given: G) -> T:
        try:
            return read(given)
        except BadInput as why:
            raise BadInput(text) from why

    return parse


_neuron = _or_else("must be a whole number of neuron (1 0G = 10^18 neuron)", parse_neuron)
_address = _or_else("must be an address: 0x and 40 hex digits", Address)


def _addresses(given: str) -> tuple[Address, ...]:
    return tuple(_address(part.strip()) for part in given.split(",") if part.strip())


def _levels(given: str) -> tuple[int, ...]:
    """The longest first; 0 alone for none."""
    text = f"must be at most {_MOST_LEVELS} whole numbers of seconds by comma, or 0 for none"
    if given.strip() == "0":
        return ()
    levels = {_or_else(text, _whole(1))(part.strip()) for part in given.split(",")}
    if len(levels) > _MOST_LEVELS:
        raise BadInput(text)
    return tuple(sorted(levels, reverse=True))


def _names(given: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in given.split(",") if part.strip())


def _networks(given: str) -> tuple[str, ...]:
    names = _names(given)
    for name in set(names) - {"unix"}:
        try:
            ip_network(name)
        except ValueError as why:
            text = "must be addresses, networks like 10.0.0.0/8, or unix for our socket, by comma"
            raise BadInput(text) from why
    return names


def _targets(given: str) -> tuple[str, ...]:
    names = _names(given)
    _or_else("must be hosts, addresses, or networks like 10.0.0.0/8, by comma", read_allowed)(names)
    return names


def _origins(given: str) -> tuple[str, ...]:
    names = _names(given)
    for name in names:
        # As a browser spells it: otherwise it would never be recognised.
        if not re.fullmatch(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?", name):
            raise BadInput("must be origins like https://example.org: no path, lower case")
    return names


def _url(given: str) -> str:
    try:
        parts = urlsplit(given)
        named = parts.scheme in ("http", "https") and parts.hostname
    except ValueError:
        named = None
    if not named:
        raise BadInput("must be an http:// or https:// address")
    try:
        _ = parts.port  # reading it is what checks it
    except ValueError as why:
        raise BadInput("has no usable port") from why
    return given.rstrip("/")


def _open_url(given: str) -> str:
    """One that is shown to users, or in the log."""
    url = _url(given)
    if "@" in urlsplit(url).netloc:
        raise BadInput("must have no user name or password in it")
    return url


def _base(given: str) -> str:
    """One that paths are put behind."""
    url = _open_url(given)
    if "?" in url or "#" in url:
        raise BadInput("must have no query or fragment")
    return url


def _urls(given: str) -> tuple[str, ...]:
    urls = tuple(_url(part.strip()) for part in given.split(",") if part.strip())
    if not urls:
        raise BadInput("must name at least one http:// or https:// address")
    return urls


def _switch(given: str) -> bool:
    """Strict, so that a typo never selects a mock key (T1; wire.md, section 8)."""
    if given in ("true", "1"):
        return True
    if given in ("", "false", "0"):
        return False
    raise BadInput("must be true, 1, false or 0")


def _private_key(given: str) -> str:
    """Its form; the text never repeats it."""
    if not re.fullmatch(r"(?:0[xX])?[0-9a-fA-F]{64}", given):
        raise BadInput("must be a private key: 0x and 64 hex digits")
    return given


def _host_and_port(given: str) -> tuple[str, int]:
    # No URL: there might be a password in it, and the host is shown.
    found = re.fullmatch(r"([^@/]+):([0-9]{1,5})", given)
    if not found or not 0 < int(found[2]) < 65536:
        raise BadInput("must be host:port")
    return found[1].strip("[]"), int(found[2])


def listening_address(given: str) -> tuple[str, int]:
    """
    Host and port to listen on; port 0 is any that is free.

    @raise BadInput: It is not that.
    """
    found = re.fullmatch(r"(\[[0-9a-fA-F:.%]+\]|[^@/:\s]+):([0-9]{1,5})", given)
    if not found or int(found[2]) > 65535:
        raise BadInput("must be host:port, such as 127.0.0.1:9464 or [::1]:9464")
    return found[1].strip("[]"), int(found[2])


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(given: str) -> str:
        if given not in words:
            raise BadInput(f"must be one of {', '.join(words)}")
        return given

    return parse


SETTINGS: tuple[Setting, ...] = (
    Setting("DAYTONA_API_URL", "daytona_api_url", _base, REQUIRED, "Daytona's internal endpoint"),
    Setting(
        "DAYTONA_ADMIN_KEY",
        "daytona_admin_key",
        _text,
        REQUIRED,
        "its key; only it and its toolbox get it",
    ),
    Setting(
        "SETTLEMENT_CONTRACT",
        "settlement_contract",
        _address,
        REQUIRED,
        "the BeaconProxy of SandboxServing",
    ),
    Setting("RPC_URL", "rpc_urls", _urls, REQUIRED, "the chain's JSON-RPC; several by comma"),
    Setting("CHAIN_ID", "chain_id", _whole(1, 2**53), REQUIRED, "16602 is 0G Galileo"),
    Setting("PROVIDER_ADDRESS", "provider", _address, "", "default: the enclave key's address"),
    Setting("REDIS_ADDR", "redis", _host_and_port, "localhost:6379", "host:port"),
    Setting("REDIS_PASSWORD", "redis_password", _text, "", ""),
    Setting("VOUCHER_INTERVAL_SEC", "voucher_interval", _whole(1), "3600", "length of a period"),
    Setting(
        "COMPUTE_PRICE_PER_SEC", "compute_price", _neuron, "16667", "neuron; a price on chain wins"
    ),
    Setting("CREATE_FEE", "create_fee", _neuron, "5000000", "neuron; a price on chain wins"),
    Setting("PORT", "port", _whole(0, 65535), "8080", "HTTP port; 0 for any free one"),
    Setting("MOCK_TEE", "mock_tee", _switch, "", "true takes the key from the environment"),
    Setting("MOCK_APP_PRIVATE_KEY", "mock_key", _private_key, "", "that key, 0x and 64 hex digits"),
    Setting("BACKEND_TAPP_IP", "tapp_host", _text, "127.0.0.1", "key service in the enclave"),
    Setting("BACKEND_TAPP_PORT", "tapp_port", _whole(1, 65535), "50051", ""),
    Setting("BACKEND_APP_NAME", "tapp_app", _text, "", "needed unless MOCK_TEE"),
    Setting(
        "TAPP_TRUSTED_HOSTS", "tapp_trusted_hosts", _names, "", "non-loopback key services allowed"
    ),
    Setting("ADMIN_ADDRESSES", "operators", _addresses, "", "default: the provider"),
    Setting("SSH_GATEWAY_HOST", "ssh_gateway_host", _text, "", "host put into sshCommand"),
    Setting("PROXY_DOMAIN", "proxy_domain", _text, "", "domain of preview URLs"),
    Setting(
        "RECONCILE_INTERVAL_SEC",
        "reconcile_interval",
        _whole(1),
        "",
        "sweep of Daytona; default min(15, VOUCHER_INTERVAL_SEC)",
    ),
    Setting("CONFIRMATIONS", "confirmations", _whole(0, 10_000), "2", "blocks behind the head"),
    Setting("MIRROR_MAX_AGE_SEC", "mirror_max_age", _whole(1), "60", "then create answers 503"),
    Setting("BATCH_MAX", "batch_max", _whole(1, 1000), "50", "vouchers in a transaction"),
    Setting("BATCH_WAIT_SEC", "batch_wait", _whole(0), "2", "wait for company"),
    Setting("MAX_IN_FLIGHT", "max_in_flight", _whole(1, 16), "5", "batches at once"),
    Setting("SETTLE_MIN_NEURON", "settle_min", _neuron, "0", "smallest sum worth a voucher"),
    Setting("SETTLE_MAX_AGE_SEC", "settle_max_age", _whole(1), "1800", "then it is settled anyway"),
    Setting("LOSS_CAP_NEURON", "loss_cap", _neuron, "0", "credit that the operator gives"),
    Setting("STOP_DELAY_SEC", "stop_delay", _whole(0), "60", "how long a stop may take"),
    Setting(
        "STOP_GRACE_SEC",
        "stop_grace",
        _whole(0),
        "0",
        "how long what runs goes on on LOSS_CAP_NEURON; 0: until that is used up",
    ),
    Setting("ACK_GRACE_SEC", "ack_grace", _whole(0), "900", "time to acknowledge a new version"),
    Setting(
        "WARN_BEFORE_SEC",
        "warn_before",
        _levels,
        "86400,3600,600",
        "a wallet is told at so much running time left; 0: never",
    ),
    Setting("DEADMAN_MINUTES", "deadman_minutes", _whole(1, 10_000), "60", "auto-stop without us"),
    Setting(
        "FORGIVE_DEBTS",
        "forgive_debts",
        _switch,
        "",
        "true writes off what a voucher left owed instead of collecting it after a deposit",
    ),
    Setting("ALLOW_RESIZE", "allow_resize", _switch, "", "true lets owners resize a sandbox"),
    Setting("MAX_SANDBOXES_PER_WALLET", "max_sandboxes", _whole(1), "20", ""),
    Setting(
        "LIFECYCLE_PER_HOUR",
        "lifecycle_per_hour",
        _whole(1),
        "60",
        "accepted creates, starts and recovers of a wallet; 429 beyond",
    ),
    Setting(
        "PEER_PER_SECOND",
        "peer_per_second",
        _whole(1, 10**6),
        "100",
        "requests of an address in the long run; five seconds' worth at once",
    ),
    Setting(
        "WALLET_PER_SECOND",
        "wallet_per_second",
        _whole(1, 10**6),
        "50",
        "signed requests of a wallet, likewise",
    ),
    Setting("MAX_DISK_GB", "max_disk_gib", _whole(1), "10", "disk included in the price"),
    Setting("START_BLOCK", "start_block", _whole(0, 2**53), "", "default: found by bisecting"),
    Setting("LOG_RANGE", "log_range", _whole(1), "5000", "blocks per eth_getLogs"),
    Setting(
        "GAS_FLOOR_NEURON", "gas_floor", _neuron, str(10**16), "stop sending below this (0.01 0G)"
    ),
    Setting("GAS_FEE_CAP_NEURON", "gas_fee_cap", _neuron, str(200 * 10**9), "highest fee per gas"),
    Setting(
        "AUTH_BINDING",
        "auth_binding",
        _one_of("compat", "toolbox-compat", "strict"),
        "toolbox-compat",
        "how strictly a signature is bound to the body",
    ),
    Setting(
        "AUTH_AUDIENCE",
        "auth_audience",
        _one_of("optional", "required"),
        "optional",
        "whether requests must name this provider",
    ),
    Setting(
        "CONTRACT_BEHAVIOUR",
        "contract_behaviour",
        _one_of("auto", "flawed", "fixed"),
        "auto",
        "whether the contract has the flaws K1 and K2; auto asks its code",
    ),
    Setting("REFUND_LOSS_NEURON", "refund_loss", _neuron, "0", "loss of a refund accepted by K1"),
    Setting("PUBLIC_URL", "public_url", _base, "", "how users reach us; logins are signed for it"),
    Setting("PUBLIC_RPC_URL", "public_rpc_url", _open_url, "", "RPC shown to users"),
    Setting(
        "TRUSTED_PROXIES",
        "trusted_proxies",
        _networks,
        "",
        "addresses, networks, or unix, whose X-Forwarded-For is believed; by comma",
    ),
    Setting(
        "CORS_ORIGINS", "cors_origins", _origins, "", "pages that may ask, by comma; default: none"
    ),
    Setting(
        "WEBHOOK_PRIVATE_TARGETS",
        "webhook_private_targets",
        _targets,
        "",
        "hosts and networks, by comma, that webhooks may lead to although they are not public",
    ),
    Setting(
        "LOG_FORMAT",
        "log_format",
        _one_of("auto", "json", "text", "journal"),
        "auto",
        "auto is text on a terminal, journal under systemd, json otherwise",
    ),
    Setting(
        "LEASE_SEC", "lease", _whole(2, 600), "15", "how long a silent worker stays the worker"
    ),
    Setting(
        "METRICS_ADDR",
        "metrics_addr",
        listening_address,
        "",
        "host:port for metrics, health and readiness; never where the internet reaches it",
    ),
)

_COMMAND_LINE_ONLY = frozenset({"USER_KEY", "PROVIDER_KEY", "OWNER_KEY"})


@frozen(kw_only=True)
class Configuration:
    """
    What the daemon was told; wire.md §8 has each variable.  Secrets are not in its repr.

    """

    daytona_api_url: str
    daytona_admin_key: str = field(repr=False)
    settlement_contract: Address
    rpc_urls: tuple[str, ...] = field(repr=False)
    chain_id: int
    provider: Address | None
    redis: tuple[str, int]
    redis_password: str | None = field(repr=False)
    voucher_interval: int
    compute_price: Neuron
    create_fee: Neuron
    port: int
    mock_tee: bool
    mock_key: str | None = field(repr=False)
    tapp_host: str
    tapp_port: int
    tapp_app: str | None
    tapp_trusted_hosts: tuple[str, ...]
    operators: tuple[Address, ...]
    ssh_gateway_host: str | None
    proxy_domain: str | None
    reconcile_interval: int
    confirmations: int
    mirror_max_age: int
    batch_max: int
    batch_wait: int
    max_in_flight: int
    settle_min: Neuron
    settle_max_age: int
    loss_cap: Neuron
    stop_delay: int
    stop_grace: int
    ack_grace: int
    warn_before: tuple[int, ...]
    deadman_minutes: int
    forgive_debts: bool
    allow_resize: bool
    max_sandboxes: int
    lifecycle_per_hour: int
    peer_per_second: int
    wallet_per_second: int
    max_disk_gib: int
    start_block: int | None
    log_range: int
    gas_floor: Neuron
    gas_fee_cap: Neuron
    auth_binding: Literal["compat", "toolbox-compat", "strict"]
    auth_audience: str
    contract_behaviour: Literal["auto", "flawed", "fixed"]
    refund_loss: Neuron
    public_url: str | None
    public_rpc_url: str | None
    trusted_proxies: tuple[str, ...]
    cors_origins: tuple[str, ...]
    webhook_private_targets: tuple[str, ...]
    log_format: str
    lease: int
    metrics_addr: tuple[str, int] | None


def read_configuration(
    environment: Mapping[str, str], *, already_wrong: Iterable[str] = ()
) -> Configuration:
    """
    @param environment: Variables by name; an empty value is an absent one.
    @param already_wrong: Problems of where they came from, to be told together with ours.
    @raise ConfigurationError: Naming every variable that is missing or wrong.
    """
    problems = list(already_wrong)
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        given = environment.get(setting.name, "").strip()
        if not given and setting.default is REQUIRED:
            problems.append(f"{setting.name} is required: {setting.help}")
            continue
        given = given or setting.default
        try:
            values[setting.attribute] = setting.parse(given) if given else _absent(setting)
        except BadInput as why:
            problems.append(f"{setting.name} {why.text}")
    problems.extend(_together(values))
    if problems:
        raise ConfigurationError.of(WRONG, problems)
    if values["reconcile_interval"] is None:
        values["reconcile_interval"] = min(15, values["voucher_interval"])
    return Configuration(**values)


def _absent(setting: Setting) -> Any:
    if setting.parse is _switch:
        return False
    return () if setting.parse in (_addresses, _names, _networks, _origins, _targets) else None


def _together(values: Mapping[str, Any]) -> list[str]:
    """Settings that are wrong only beside one another; absent where they are wrong alone."""
    problems = []
    if values.get("mock_tee"):
        if "mock_key" in values and values["mock_key"] is None:
            problems.append("MOCK_APP_PRIVATE_KEY is required with MOCK_TEE")
        if values.get("chain_id") is not None and values["chain_id"] not in TEST_CHAINS:
            problems.append(
                f"MOCK_TEE is refused on chain {values['chain_id']}: a mock key may sign on test"
                f" chains only ({', '.join(map(str, sorted(TEST_CHAINS)))})"
            )
    elif "mock_tee" in values:
        if not values["tapp_app"]:
            problems.append("BACKEND_APP_NAME is required unless MOCK_TEE is true")
        trusted = {host.lower() for host in values["tapp_trusted_hosts"]}
        host = values["tapp_host"].lower()
        # The adapter that asks for the key holds to the same rule (T3).
        if not (_is_loopback(host) or host in trusted):
            problems.append(
                "BACKEND_TAPP_IP is not on this machine and the key would travel unencrypted:"
                " if the way there is safe, name that host in TAPP_TRUSTED_HOSTS"
            )
    if "deadman_minutes" in values and "reconcile_interval" in values:
        every = values["reconcile_interval"] or 0
        if every * 3 > values["deadman_minutes"] * 60:
            problems.append(
                "RECONCILE_INTERVAL_SEC must be at most a third of DEADMAN_MINUTES, or paid"
                " sandboxes would stop"
            )
    return problems


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_env_file(text: str) -> dict[str, str]:
    """
    C{NAME=value} lines, as systemd's EnvironmentFile has them; blank lines and C{#} skipped.

    @raise WrongEnvFile: A line is no assignment, or names a variable nobody reads.
    """
    known = {setting.name for setting in SETTINGS} | _COMMAND_LINE_ONLY
    found: dict[str, str] = {}
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, separator, value = line.partition("=")
        name, value = name.strip(), value.strip()
        if value[:1] in ('"', "'") and value[-1:] == value[:1] and len(value) > 1:
            value = value[1:-1]
        if not separator:
            problems.append(f"line {number} is no NAME=value")
        elif name not in known:
            problems.append(f"line {number}: nobody reads {name}")
        else:
            found[name] = value
    if problems:
        wrong = ConfigurationError.of("the environment file is wrong", problems)
        raise WrongEnvFile(wrong.text, wrong.problems, found)
    return found
