"""
What must be so before money work begins: pure checks, each with what to do, and who asks.

A problem named here is wrong and stays wrong: the process ends with 78
(EX_CONFIG).  What is only unreachable is not a problem of this module: wiring
waits for it and says so in readiness.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError

from sandbox_billing.adapters.redis.keyspace import RedisKeyspace
from sandbox_billing.configuration import Configuration
from sandbox_billing.errors import ConfigurationError, Transient
from sandbox_billing.interfaces import ContractFacts, DaytonaRefused, IChain, IRuntime, ISigner
from sandbox_billing.ledger.account import ServiceRecord
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.eip712 import EIP712Domain


_NO_ENDPOINT = (CannotListenError, OSError, OverflowError, TypeError, ValueError)
"""What endpoints raise: a port that is taken or none, and words they do not understand."""

HUSH_SECONDS = 10.0
"""Then it is said what is being waited for: perhaps there is nobody else."""

CLOCK_SECONDS = 2
"""Further apart, what one process saw running is another's future."""


def redis_problems(
    *, policy: str, appendonly: bool, volatile_allowed: bool, clock_offset: float = 0.0
) -> tuple[str, ...]:
    """
    @param policy: C{maxmemory-policy}.
    @param appendonly: Whether writes reach a file.
    @param clock_offset: Its clock less ours, seconds.
    @param volatile_allowed: Devnet: a throw-away server may forget.
    """
    problems = []
    if policy != "noeviction":
        problems.append(
            f"Redis has maxmemory-policy {policy}, which throws charges away: set it to noeviction"
        )
    if not appendonly and not volatile_allowed:
        problems.append(
            "Redis has its append-only file off, so nothing signed could be proven to be stored:"
            " set appendonly yes"
        )
    if abs(clock_offset) > CLOCK_SECONDS:
        problems.append(
            f"Redis's clock and this machine's differ by {clock_offset:.0f} s: every second is"
            " charged by the clock, so set the wrong one right (NTP)"
        )
    return tuple(problems)


def go_problems(found: tuple[str, ...]) -> tuple[str, ...]:
    """
    @param found: Keys of the Go system in this Redis: sessions and vouchers nobody would
        settle if we started beside them (wire.md, section 6).
    """
    if not found:
        return ()
    return (
        f"this Redis holds the Go system's {', '.join(found)}: import them first with"
        " `sandbox-billing import-go` (docs: migration), or use another database",
    )


def contract_problems(
    facts: ContractFacts, separator: str, configuration: Configuration
) -> tuple[str, ...]:
    """
    @param facts: As the chain answers.
    @param separator: Our own EIP-712 domain separator, hex.
    """
    if facts.chain_id != configuration.chain_id:
        return (
            f"RPC_URL answers for chain {facts.chain_id}, CHAIN_ID says {configuration.chain_id}:"
            " correct the one that is wrong",
        )
    if not facts.has_code:
        return (
            f"there is no contract at SETTLEMENT_CONTRACT {configuration.settlement_contract}:"
            " deploy it first, or correct the address",
        )
    if facts.domain_separator != separator:
        return (
            f"the contract's domain separator is {facts.domain_separator}, ours {separator}:"
            " SETTLEMENT_CONTRACT must be the proxy's address, of a SandboxServing",
        )
    longest = configuration.voucher_interval + configuration.settle_max_age
    if longest >= facts.lock_seconds:
        return (
            f"VOUCHER_INTERVAL_SEC + SETTLE_MAX_AGE_SEC is {longest} s and a refund is locked for"
            f" {facts.lock_seconds} s only: users could leave before they are charged; shorten"
            " either",
        )
    return ()


def registration_problems(
    service: ServiceRecord | None, provider: Address, signer: Address
) -> tuple[str, ...]:
    """
    @param service: The provider's registration at the head.
    @param signer: The address of the enclave's key.
    """
    if service is None:
        return (
            f"provider {provider} is not registered: call addOrUpdateService with"
            f" teeSignerAddress {signer} from the provider's own key, as `sandbox-billing provider"
            " register --tee-signer` does (docs: operations)",
        )
    if service.signer != signer:
        return (
            f"provider {provider} is registered with signer {service.signer}, the enclave's key is"
            f" {signer}: register again with the latter, or correct PROVIDER_ADDRESS",
        )
    return ()


def refuse(problems: tuple[str, ...]) -> None:
    """
    @raise ConfigurationError: There are any.
    """
    if problems:
        raise ConfigurationError("\n".join(problems), problems)


async def listen(reactor: Any, endpoint: str, factory: Any) -> Any:
    """
    @return: The port.
    @raise ConfigurationError: It cannot be listened on, or nobody understands it.
    """
    try:
        return await serverFromString(reactor, endpoint).listen(factory)
    except LookupError as why:
        raise ConfigurationError(
            f"cannot listen on {endpoint}: systemd has passed no such socket: start it by its"
            " .socket unit"
        ) from why
    except _NO_ENDPOINT as why:
        raise ConfigurationError(f"cannot listen on {endpoint}: {why}") from why


def hush(reactor: Any, endpoint: str, port: Any) -> Callable[[], None]:
    """
    Leave a socket that systemd has passed to those who share it, until we can answer: what this
    process took meanwhile would be 503, and the others are ready.

    Where nobody shares it, connections wait in the kernel; not for longer than C{HUSH_SECONDS}.

    @return: Takes connections from now on.
    """
    if not endpoint.startswith("systemd:"):
        return lambda: None
    port.stopReading()

    def take() -> None:
        if waiting.active():
            waiting.cancel()
        if port.connected:
            port.startReading()

    waiting = reactor.callLater(HUSH_SECONDS, take)
    return take


async def check_redis(
    keyspace: RedisKeyspace, provider: Address, *, volatile_allowed: bool
) -> None:
    """Connect, and look how it is set up and what is in it."""
    await keyspace.connect()
    facts = await keyspace.facts()
    refuse(
        redis_problems(
            policy=facts.maxmemory_policy,
            appendonly=facts.appendonly,
            volatile_allowed=volatile_allowed,
            # Ours is in whole seconds, rounded down.
            clock_offset=facts.time_offset_seconds - 0.5,
        )
    )
    refuse(go_problems(await keyspace.go_keys(checksum(provider))))


async def check_chain(
    chain: IChain,
    *,
    domain: EIP712Domain,
    provider: Address,
    signer: ISigner,
    configuration: Configuration,
) -> int:
    """@return: LOCK_TIME(), seconds."""
    facts = await chain.facts()
    refuse(contract_problems(facts, "0x" + domain.separator.hex(), configuration))
    service = await chain.service(provider, await chain.head())
    refuse(registration_problems(service, provider, signer.address))
    return facts.lock_seconds


async def check_daytona(runtime: IRuntime) -> None:
    """Whether it answers to our key."""
    try:
        await runtime.ping()
    except DaytonaRefused as why:
        if why.status in (401, 403):
            raise ConfigurationError(
                f"Daytona refuses DAYTONA_ADMIN_KEY ({why.status}): correct it"
            ) from why
        raise Transient(f"Daytona answers {why.status}: {why.text}") from why
