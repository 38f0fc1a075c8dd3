"""
One JSON-RPC node: what it answered, what it refused, and whether it answered at all.

Blocking; for the threads of the adapter.  No text made here contains a node's URL: its
user, path or query may be a credential.

Tests: L{tests.adapters.test_chain_failover}.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qsl, urlsplit

from attrs import field, frozen

from sandbox_billing.errors import ConfigurationError, Transient


if TYPE_CHECKING:
    from web3 import HTTPProvider

Request: TypeAlias = tuple[str, Sequence[Any]]
"""A method and its parameters."""

REVERTED = 3
INVALID_PARAMS = -32602

MAX_BATCH = 100

HASTY_SECONDS = 2.0
"""How long a node has for a question that another could answer instead."""

_MAX_WORDS = 200


@frozen(auto_exc=False)
class NodeFailure(Transient):
    """
    A node gave no usable answer.  Caught by L{nodes.Nodes}, which asks the next one.

    @ivar slow: It took too long; asking for less may help.
    @ivar too_much: It refuses the size of the request; asking for less may help.
    """

    slow: bool = False
    too_much: bool = False


@frozen(auto_exc=False)
class RpcRefusal(Transient):
    """
    A node answered with an error.

    @ivar code: JSON-RPC's; what decisions rest on, where any does.
    @ivar data: Of a revert: what was returned, C{0x} and hex.
    """

    code: int = 0
    data: str | None = field(default=None, repr=False)

    @property
    def reverted(self) -> bool:
        """Whether the node says that the call itself ran and reverted."""
        return self.code == REVERTED or self.data is not None


Answer: TypeAlias = Any | RpcRefusal


def _secrets(url: str) -> tuple[str, ...]:
    """Everything in a URL that may be a credential."""
    parts = urlsplit(url)
    pieces = [parts.username or "", parts.password or ""]
    pieces += [value for _, value in parse_qsl(parts.query)]
    pieces += parts.path.split("/")
    return (url, *(piece for piece in pieces if len(piece) > 5))


class Node:
    """
    One configured URL.

    Threads share it; what it learns of the node (batch size, C{by_hash}) are single
    assignments that may be lost without harm.

    @ivar label: For texts: its host and port.
    @ivar by_hash: Whether it takes a block's hash instead of its number (EIP-1898).
    @ivar shunned_until: Not asked before this moment unless no other is left.
    @ivar chain_id: Of the chain it serves; None until it was asked.
    @ivar patient: Itself, or what it is the L{hasty} twin of.
    """

    def __init__(
        self,
        url: str,
        *,
        seconds: Callable[[], float],
        connect_seconds: float = 3.0,
        read_seconds: float = 10.0,
        moved: Callable[[], None] = lambda: None,
    ) -> None:
        """
        @param moved: Called after each call, in its thread: a read of many calls may take long.
        @raise ConfigurationError: It is no http or https URL.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError("an RPC URL begins with http:// or https:// and has a host")
        self._url = url
        self._seconds = seconds
        self._connect_seconds = connect_seconds
        self._read_seconds = read_seconds
        self._moved = moved
        self._secrets = _secrets(url)
        self._made: HTTPProvider | None = None
        self._twin: Node | None = None
        self._batch_size = MAX_BATCH
        self.label = parts.hostname + (f":{parts.port}" if parts.port else "")
        self.by_hash = True
        self.shunned_until = 0.0
        self.chain_id: int | None = None
        self.patient = self

    def __repr__(self) -> str:
        return f"<Node {self.label}>"

    def hasty(self) -> Node:
        """The same node with little patience: for questions that another could answer."""
        if self._twin is None:
            self._twin = Node(
                self._url,
                seconds=self._seconds,
                connect_seconds=min(HASTY_SECONDS, self._connect_seconds),
                read_seconds=min(HASTY_SECONDS, self._read_seconds),
                moved=self._moved,
            )
            self._twin.patient = self
        return self._twin

    def call(self, method: str, *params: Any) -> Any:
        """
        @return: The C{result}.
        @raise RpcRefusal: It answered with an error.
        @raise NodeFailure: It did not answer, or not in JSON-RPC.
        """
        answer = self._answer(self._send(lambda p: p.make_request(method, list(params))))
        if isinstance(answer, RpcRefusal):
            raise answer
        return answer

    def batch(self, requests: Sequence[Request]) -> list[Answer]:
        """
        Several at once, one by one where the node takes no batches.

        @return: For each its C{result} or its L{RpcRefusal}, in the order asked.
        @raise NodeFailure: As L{call}.
        """
        answers: list[Answer] = []
        while len(answers) < len(requests):
            size = self._batch_size
            part = requests[len(answers) : len(answers) + size]
            if len(part) == 1:
                answers.append(self._single(part[0]))
                continue
            found = self._array(part)
            if found is None:
                self._batch_size = max(1, min(size, len(part)) // 2)
            else:
                answers.extend(found)
        return answers

    def _single(self, request: Request) -> Answer:
        method, params = request
        try:
            return self.call(method, *params)
        except RpcRefusal as refusal:
            return refusal

    def _array(self, requests: Sequence[Request]) -> list[Answer] | None:
        """
        @return: None when the node refuses an array of this length.
        """
        pairs: Any = [(method, list(params)) for method, params in requests]
        try:
            replies = self._send(lambda p: p.make_batch_request(pairs))
        except NodeFailure as failure:
            if failure.too_much:
                return None
            raise
        if not isinstance(replies, list) or len(replies) != len(requests):
            return None
        # web3 has sorted them by id; with twins or strangers among them that means nothing.
        ids = {reply.get("id") for reply in replies}
        if len(ids) != len(requests) or not all(type(ident) is int for ident in ids):
            raise NodeFailure(f"{self.label} answered a batch with other ids")
        return [self._answer(reply) for reply in replies]

    def _answer(self, reply: Any) -> Answer:
        if not isinstance(reply, dict):
            raise NodeFailure(f"{self.label} did not answer in JSON-RPC")
        error = reply.get("error")
        if error is None:
            if "result" not in reply:
                raise NodeFailure(f"{self.label} did not answer in JSON-RPC")
            return reply["result"]
        if not isinstance(error, dict) or type(error.get("code")) is not int:
            raise NodeFailure(f"{self.label} answered with an error that is not JSON-RPC's")
        data = error.get("data")
        return RpcRefusal(
            f"{self.label} answered error {error['code']}: {self._words(error.get('message'))}",
            code=error["code"],
            data=data.lower() if isinstance(data, str) and _is_hex(data) else None,
        )

    def _words(self, message: object) -> str:
        """A node's prose for the log, unless it repeats something of our URL."""
        words = str(message)
        if any(secret in words for secret in self._secrets):
            return "(text withheld)"
        return "".join(c if c.isprintable() else " " for c in words[:_MAX_WORDS])

    def _send(self, work: Callable[[HTTPProvider], Any]) -> Any:
        provider = self._provider()
        from requests import ConnectTimeout, HTTPError, RequestException, Timeout
        from urllib3.exceptions import HTTPError as BrokenTransfer
        from urllib3.exceptions import ReadTimeoutError

        # Each "from None": what is cut off has the URL in its text.
        try:
            return work(provider)
        except ConnectTimeout:
            raise NodeFailure(f"{self.label} cannot be reached") from None
        except (Timeout, ReadTimeoutError):
            raise NodeFailure(f"{self.label} did not answer in time", slow=True) from None
        except HTTPError as problem:
            status = 0 if problem.response is None else problem.response.status_code
            raise NodeFailure(
                f"{self.label} answered HTTP {status}", too_much=status in (400, 413, 422)
            ) from None
        except (RequestException, BrokenTransfer, OSError) as problem:
            raise NodeFailure(f"{self.label} failed: {type(problem).__name__}") from None
        except (ValueError, TypeError, AttributeError, RecursionError):
            # web3 takes for granted that what it sorts and decodes has the right form.
            raise NodeFailure(f"{self.label} did not answer in JSON-RPC") from None
        finally:
            self._moved()

    def _provider(self) -> HTTPProvider:
        if self._made is None:
            from sandbox_billing.adapters.chain.transport import make_provider

            self._made = make_provider(
                self._url,
                connect_seconds=self._connect_seconds,
                read_seconds=self._read_seconds,
                seconds=self._seconds,
            )
        return self._made


def _is_hex(text: str) -> bool:
    if text[:2] not in ("0x", "0X"):
        return False
    try:
        bytes.fromhex(text[2:])
    except ValueError:
        return False
    return True


def quantity(value: object, what: str) -> int:
    """
    A number as JSON-RPC spells it.

    @raise NodeFailure: It is spelt otherwise.
    """
    if isinstance(value, str) and value[:2] == "0x":
        try:
            return int(value[2:], 16)
        except ValueError:
            pass
    raise NodeFailure(f"a node answered something that is no number for {what}")


def octets(value: object, what: str) -> bytes:
    """
    Bytes as JSON-RPC spells them.

    @raise NodeFailure: They are spelt otherwise.
    """
    if isinstance(value, str) and _is_hex(value):
        return bytes.fromhex(value[2:])
    raise NodeFailure(f"a node answered something that is no hex for {what}")
