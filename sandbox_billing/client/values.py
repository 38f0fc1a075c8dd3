"""
What a provider tells of itself, of sandboxes and of sessions.

Read leniently: a field that is not there is None, and all that came is in C{raw}, also what
this release has never heard of.

Tests: C{tests.client.test_core}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from attrs import field, frozen

from sandbox_billing.client.errors import Garbled


_T = TypeVar("_T")
Raw = Mapping[str, Any]

MOST_PAGES = 10_000
"""More than there are: a provider who always has one more would never be left."""


def raw_of(found: object) -> Raw:
    """
    @raise Garbled: It is no JSON object.
    """
    if not isinstance(found, Mapping):
        raise Garbled(text="the answer is not of the form that belongs to this request")
    return found


def amount(raw: Raw, name: str) -> int | None:
    """neuron, from a decimal string; None for what is not there."""
    found = raw.get(name)
    if isinstance(found, str) and found.isascii() and found.removeprefix("-").isdecimal():
        return int(found)
    return found if type(found) is int else None


def text(raw: Raw, name: str) -> str | None:
    """None for what is not there."""
    found = raw.get(name)
    return found if isinstance(found, str) else None


def number(raw: Raw, name: str) -> float | None:
    """None for what is not there; a bool is no number."""
    found = raw.get(name)
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None


def whole(raw: Raw, name: str) -> int | None:
    """None for what is not there or has a fraction."""
    found = number(raw, name)
    return int(found) if found is not None and found == int(found) else None


def rows(raw: Raw, name: str) -> tuple[Raw, ...]:
    """The objects of a list; empty for what is not there."""
    found = raw.get(name)
    return tuple(raw_of(one) for one in found) if isinstance(found, list) else ()


@frozen(kw_only=True)
class Page(Generic[_T]):
    """
    A part of a list.

    @ivar next: What asks for the next one; None at the end.
    """

    items: tuple[_T, ...]
    next: str | None


class Pages:
    """
    Where in a list who reads all of it is.

    @ivar cursor: Of the page to be read; None for the first.
    """

    def __init__(self, most: int = MOST_PAGES) -> None:
        """@param most: Pages, after which nobody believes in an end."""
        self._most = most
        self._seen: set[str] = set()
        self.cursor: str | None = None

    def turn(self, found: Page[Any]) -> bool:
        """
        Whether there is one more.

        @raise Garbled: There was always one more.
        """
        if found.next is None or found.next in self._seen:
            return False
        if len(self._seen) >= self._most:
            raise Garbled(
                text=f"the provider's list has no end: it was left after {self._most} pages"
            )
        self._seen.add(found.next)
        self.cursor = found.next
        return True


@frozen
class Info:
    """
    A provider: where it is billed, and what it asks.  Amounts are neuron.
    """

    raw: Raw = field(repr=False, converter=raw_of)

    @property
    def provider(self) -> str:
        """Its address."""
        return str(self.raw.get("provider_address", ""))

    @property
    def contract(self) -> str:
        """The address of the settlement contract."""
        return str(self.raw.get("contract_address", ""))

    @property
    def chain_id(self) -> int:
        """Of the chain it is on."""
        return whole(self.raw, "chain_id") or 0

    @property
    def rpc_url(self) -> str:
        """A node of that chain, by the provider's choice; empty where none is told."""
        return text(self.raw, "rpc_url") or ""

    @property
    def create_fee(self) -> int:
        """For each create."""
        return amount(self.raw, "create_fee") or 0

    @property
    def price_per_cpu_per_minute(self) -> int:
        """For each core."""
        return amount(self.raw, "price_per_cpu_per_min") or 0

    @property
    def price_per_memory_gib_per_minute(self) -> int:
        """For each GiB."""
        return amount(self.raw, "price_per_mem_gb_per_min") or 0

    @property
    def min_balance(self) -> int:
        """What the smallest create asks of a wallet that owes nothing."""
        return amount(self.raw, "min_balance") or 0


@frozen
class Provider:
    """One that is registered with the contract."""

    raw: Raw = field(repr=False, converter=raw_of)

    @property
    def address(self) -> str:
        """Its address."""
        return str(self.raw.get("address", ""))

    @property
    def url(self) -> str:
        """Where it says that it is reached."""
        return text(self.raw, "url") or ""

    @property
    def signer_version(self) -> int | None:
        """What an acknowledgement is for; prices change it, too."""
        return whole(self.raw, "signer_version")


@frozen
class Snapshot:
    """What a sandbox may start from."""

    raw: Raw = field(repr=False, converter=raw_of)

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.raw.get("id", ""))

    @property
    def name(self) -> str:
        """Its name."""
        return text(self.raw, "name") or ""


@frozen
class Sandbox:
    """As Daytona tells it."""

    raw: Raw = field(repr=False, converter=raw_of)

    @property
    def id(self) -> str:
        """Its id."""
        return str(self.raw.get("id", ""))

    @property
    def name(self) -> str | None:
        """By which its owner may call it."""
        return text(self.raw, "name")

    @property
    def state(self) -> str | None:
        """C{started}, C{stopped} and so on."""
        return text(self.raw, "state")

    @property
    def cpu(self) -> int | None:
        """Cores."""
        return whole(self.raw, "cpu")

    @property
    def memory(self) -> int | None:
        """GiB."""
        return whole(self.raw, "memory")

    @property
    def disk(self) -> int | None:
        """GiB."""
        return whole(self.raw, "disk")

    @property
    def labels(self) -> Mapping[str, str]:
        """The user's and ours."""
        found = self.raw.get("labels")
        return found if isinstance(found, Mapping) else {}


@frozen(kw_only=True)
class ExecResult:
    """
    How a command inside ended.

    @ivar output: Both of its outputs, in the order they came.
    """

    exit_code: int
    output: str
    raw: Raw = field(repr=False, factory=dict)


@frozen
class SshAccess:
    """A way in by ssh; whoever has it gets in."""

    raw: Raw = field(repr=False, converter=raw_of)

    @property
    def token(self) -> str:
        """The user name to log in as."""
        return str(self.raw.get("token", ""))

    @property
    def command(self) -> str | None:
        """What to type."""
        return text(self.raw, "sshCommand")


@frozen
class Session:
    """
    A session token: what it may do, and until when.
    """

    raw: Raw = field(repr=False, converter=raw_of)

    @property
    def token(self) -> str:
        """The secret, told at the login and never again; empty in a list."""
        return str(self.raw.get("token", ""))

    @property
    def id(self) -> str:
        """Its public name, by which it is ended."""
        return str(self.raw.get("id", ""))

    @property
    def wallet(self) -> str:
        """For whom it speaks."""
        return str(self.raw.get("wallet", ""))

    @property
    def scopes(self) -> tuple[str, ...]:
        """C{read}, C{manage}, C{toolbox}."""
        return tuple(map(str, self.raw.get("scopes") or ()))

    @property
    def spend_limit(self) -> int | None:
        """neuron; None for none."""
        return amount(self.raw, "spend_limit")

    @property
    def sandbox(self) -> str | None:
        """The one that it is for."""
        return text(self.raw, "sandbox")

    @property
    def expires_at(self) -> int:
        """unix seconds."""
        return whole(self.raw, "expires_at") or 0
