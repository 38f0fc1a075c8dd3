"""Everything the contracts can be asked, by the EVM and by the model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sandbox_billing.errors import Refused
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip712 import EIP712Domain
from tests.evm.actors import PAIRS, PEOPLE, PROVIDERS, say
from tests.evm.model import LOCK
from tests.evm.model_state import State
from tests.evm.subject import ABI, Broken, Subject


Question = tuple[Any, ...]
"""A view's name and its arguments; the beacon's names start with C{beacon}."""

Facts = Mapping[Question, Any]
"""The answers to L{QUESTIONS}."""

_OF_A_PAIR = ("getBalance", "getLastNonce", "isTEEAcknowledged")
_OF_A_PROVIDER = (
    "services",
    "serviceExists",
    "providerEarnings",
    "getProviderEarnings",
    "providerStakes",
    "leavingAt",
)
_OF_SERVING = ("providerStake", "owner", "pendingOwner", "domainSeparator", "LOCK_TIME")
_OF_BEACON = ("owner", "pendingOwner", "implementation")

QUESTIONS: Mapping[Question, bytes] = {
    **{(name, *pair): ABI.call(name, *pair) for name in _OF_A_PAIR for pair in PAIRS},
    **{(name, who): ABI.call(name, who) for name in _OF_A_PROVIDER for who in PROVIDERS},
    **{(name,): ABI.call(name) for name in _OF_SERVING},
    **{("beacon", name): ABI.call(name) for name in _OF_BEACON},
}
"""Everything that the contracts can be asked, with its calldata."""


@lru_cache(maxsize=4096)
def _answer(name: str, output: bytes) -> Any:
    values = ABI.returned(name, output)
    return values[0] if len(values) == 1 else values


def read(subject: Subject) -> Facts:
    """
    Ask the contracts everything; the world remembers what did not change.

    @raise Broken: A view fails.
    """
    facts = {}
    for question, data in QUESTIONS.items():
        of_beacon = question[0] == "beacon"
        to = subject.state.beacon if of_beacon else subject.state.serving
        name = question[1] if of_beacon else question[0]
        try:
            facts[question] = _answer(name, subject.world.view(to, data))
        except Refused as refused:
            raise Broken(f"{name} can be read", str(refused)) from refused
    return facts


def foretell(state: State, chain: int) -> Facts:
    """What L{read} finds on a chain, by the model."""
    facts: dict[Question, Any] = {}
    for user, who in PAIRS:
        account, provider = state.account(user, who), state.provider(who)
        acknowledged = provider.registered and account.acknowledged == provider.version
        facts["getBalance", user, who] = account.balance, account.pending, account.unlock_at
        facts["getLastNonce", user, who] = account.nonce
        facts["isTEEAcknowledged", user, who] = acknowledged
    for who in PROVIDERS:
        provider = state.provider(who)
        offer = provider.offer
        prices = offer.cpu, offer.create_fee, provider.version, offer.memory
        facts["services", who] = offer.url, provider.signer, *prices
        facts["serviceExists", who] = provider.registered
        facts["providerEarnings", who] = provider.earnings
        facts["getProviderEarnings", who] = provider.earnings
        facts["providerStakes", who] = provider.stake
        facts["leavingAt", who] = provider.leaving_at
    serving, beacon = state.owners[state.serving], state.owners[state.beacon]
    domain = EIP712Domain(chain, Address.from_bytes(state.serving))
    facts["providerStake",] = state.required_stake
    facts["owner",], facts["pendingOwner",] = serving.owner, serving.offered
    facts["domainSeparator",], facts["LOCK_TIME",] = domain.separator, LOCK
    facts["beacon", "owner"], facts["beacon", "pendingOwner"] = beacon.owner, beacon.offered
    facts["beacon", "implementation"] = state.implementation
    return facts


def agree_on_state(subject: Subject, facts: Facts) -> None:
    """
    @raise Broken: Contract and model answer a view differently, or somebody's native money
        is not what the model says.
    """
    for question, expected in foretell(subject.state, subject.world.chain).items():
        if facts[question] != expected:
            name = " ".join(each for each in question if isinstance(each, str))
            who = ", ".join(say(each) for each in question if isinstance(each, bytes))
            raise Broken(f"{name} answers", f"{expected} for {who}, not {facts[question]}")
    for address in (*PEOPLE, subject.state.serving, subject.state.beacon):
        has, should = subject.world.holdings(address), subject.state.purse(address)
        if has != should:
            raise Broken("native money", f"of {say(address)} is off by {has - should}")
