"""
What every request has in common: who asks, signed for whom, and when to ask again.

Tests: C{tests.client.test_core}.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import evolve

from sandbox_billing.client.calls import Answer, Call, Flow, Pause, Query, Upload, query_of
from sandbox_billing.client.errors import (
    ApiError,
    ConnectionLost,
    Garbled,
    NotConnected,
    Unclear,
    error_of,
)
from sandbox_billing.client.signer import Signer
from sandbox_billing.client.values import Info
from sandbox_billing.errors import BadInput, Transient, UnknownOutcome
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.request import message_headers, request_message


LIFE_SECONDS = 300
"""Of a signature (wire.md §4); clocks differ by half a minute at most."""

MOST_TRIES = 6
PATIENCE_SECONDS = 60.0
"""Waited for at most between the tries of one operation, all together."""

_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 8.0
_PASSING = frozenset({502, 503, 504})

USER_AGENT = "sandbox-billing-client"


class Core:
    """
    @ivar token: A session's; then nothing is signed.
    """

    def __init__(
        self,
        url: str,
        *,
        signer: Signer | None,
        token: str | None,
        provider: str | None,
        chain_id: int | None,
        timeout: float,
        now: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """
        @param provider: Whom signatures are for; None: whom C{/info} names.
        @param chain_id: Likewise.
        @param now: unix seconds.
        """
        self.base = url.rstrip("/")
        self.signer = signer
        self.token = token
        self.timeout = timeout
        self._provider = None if provider is None else Address(provider)
        self._chain_id = chain_id
        self._now = now
        self._random_bytes = random_bytes

    # -- one request

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: bytes | Upload = b"",
        content_type: str = "application/json",
        key: str | None = None,
        public: bool = False,
        timeout: float | None = None,
        sink: Callable[[bytes], object] | None = None,
    ) -> Flow[Answer]:
        """
        Send it, signed anew each time; what may be repeated is, when it fails in passing.

        @param path: As L{path_of<sandbox_billing.client.calls.path_of>} makes it.
        @param key: An Idempotency-Key: it may be repeated.
        @param public: Nobody needs to be proven.
        @param timeout: Other than the client's.
        @raise ApiError: It was refused, or nobody knows what became of it.
        """
        target = path + query_of(query)
        repeatable = key is not None or (method == "GET" and sink is None)
        waited = 0.0
        unclear: ApiError | None = None
        for tries in range(1, MOST_TRIES + 1):
            call = yield from self.signed(
                method, target, body=body, content_type=content_type, key=key, public=public
            )
            error = yield from _attempt(call, timeout or self.timeout, sink, target)
            if isinstance(error, Answer):
                return error
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (tries - 1))
            if error.retry_after is not None:
                pause = max(pause, error.retry_after)
            waited += pause
            may = repeatable and _passes(error, keyed=key is not None)
            if not may or tries == MOST_TRIES or waited > PATIENCE_SECONDS:
                raise _with_key(_told_last(error, unclear), key)
            if key is not None and isinstance(error, UnknownOutcome):
                unclear = error
            yield Pause(pause, error)
        raise AssertionError("the last try returns or raises")

    def signed(
        self,
        method: str,
        target: str,
        *,
        body: bytes | Upload = b"",
        content_type: str = "application/json",
        key: str | None = None,
        public: bool = False,
        more: Mapping[str, str] | None = None,
    ) -> Flow[Call]:
        """
        A request that proves who asks; to be sent once, and soon.

        @param target: Path and query.
        @raise BadInput: There is neither signer nor token.
        """
        headers = {"Accept": "application/json", "User-Agent": USER_AGENT, **(more or {})}
        if len(body):
            headers["Content-Type"] = content_type
        if key is not None:
            headers["Idempotency-Key"] = key
        if not public:
            headers |= yield from self._proof(method, target, body)
        return Call(
            method=method, url=self.base + target, headers=headers, body=body, timeout=self.timeout
        )

    def _proof(self, method: str, target: str, body: bytes | Upload) -> Flow[dict[str, str]]:
        if self.token is not None:
            return {"Authorization": f"Bearer {self.token}"}
        if self.signer is None:
            raise BadInput("this needs a wallet: give the client a signer, or a session's token")
        provider, chain_id = yield from self.whom()
        raw = request_message(
            action=f"{method}:{target}",
            body=body if isinstance(body, bytes) else b"",
            body_sha256=None if isinstance(body, bytes) else body.sha256,
            expires_at=int(self._now()) + LIFE_SECONDS,
            nonce=self.fresh(),
            audience=provider,
            chain_id=chain_id,
        )
        return message_headers(self.signer.address, raw, self.signer.sign_message(raw))

    def fresh(self) -> str:
        """32 hex digits that were never used before."""
        return self._random_bytes(16).hex()

    # -- whom signatures are for

    def info(self) -> Flow[Info]:
        """Where and for how much."""
        answer = yield from self.ask("GET", "/info", public=True)
        return Info(answer.document())

    def whom(self) -> Flow[tuple[Address, int]]:
        """
        Provider and chain, asked for once, unless they were given.

        @raise Garbled: C{/info} does not name them.
        """
        if self._provider is None or self._chain_id is None:
            told = yield from self.info()
            if not told.provider or not told.chain_id:
                raise Garbled(text=f"{self.base}/info names no provider: is it a billing proxy?")
            self._provider = self._provider or Address(told.provider)
            self._chain_id = self._chain_id or told.chain_id
        return self._provider, self._chain_id

    @property
    def host(self) -> str:
        """For messages."""
        return urlsplit(self.base).netloc


def _attempt(
    call: Call, timeout: float, sink: Callable[[bytes], object] | None, target: str
) -> Flow[Answer | ApiError]:
    try:
        answer: Answer = yield evolve(call, timeout=timeout, sink=sink)
    except ApiError as error:
        return error
    except OSError as problem:
        path = target.partition("?")[0]
        return ConnectionLost(
            text=f"{call.method} {path}: no answer ({problem}); look whether it was done before "
            "you ask again"
        )
    if answer.ok:
        if sink is not None and answer.body:
            sink(answer.body)
        return answer
    return refusal(answer)


def refusal(answer: Answer) -> ApiError:
    """The error that an answer is."""
    if 300 <= answer.status < 400:
        return Garbled(
            text="the answer is a redirect, which is not followed: give the address it leads to",
            status=answer.status,
        )
    try:
        body: Any = json.loads(answer.body)
    except (ValueError, RecursionError):
        body = None
    return error_of(answer.status, body, answer.headers)


def _passes(error: ApiError, *, keyed: bool) -> bool:
    """Whether asking again, soon, may help and cannot harm."""
    if isinstance(error, ConnectionLost | NotConnected) or error.status in _PASSING:
        return True
    return keyed and _is_under_way(error)


def _told_last(error: ApiError, unclear: ApiError | None) -> ApiError:
    """
    That the last try came to nothing, or must wait, does not say so of an earlier one.

    @param unclear: The try of which nobody knows what became.
    """
    if unclear is None or not (isinstance(error, Transient) or _is_under_way(error)):
        return error
    return unclear


def _is_under_way(error: ApiError) -> bool:
    """The first request under this key is still at work, or the sandbox changes its state."""
    return error.status == 409 and error.retry_after is not None


def _with_key(error: ApiError, key: str | None) -> ApiError:
    if key is None or not isinstance(error, Unclear):
        return error
    return type(error)(
        text=f"{error}; idempotency_key={key!r} finds out without doing it twice",
        status=error.status,
        body=error.body,
        retry_after=error.retry_after,
        request_id=error.request_id,
    )
