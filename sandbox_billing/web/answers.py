"""
Answers, and the one table from exception to HTTP (wire.md §5).

Routes return an L{Answer} or raise a domain error; nobody else writes a status.

Tests: C{tests.web.test_router}.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

from attrs import field, frozen

from sandbox_billing.errors import (
    BadInput,
    NoAnswerInTime,
    Refused,
    StoreDown,
    Transient,
    UnknownOutcome,
)
from sandbox_billing.interfaces import (
    CannotPay,
    DaytonaRefused,
    NoSuchSandbox,
    NoSuchSnapshot,
    NotReady,
    NotYours,
    SpendLimitReached,
    StopPending,
    TooMany,
    TooSlow,
)
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.ledger.spending import SPEND_LIMIT
from sandbox_billing.signing.request import AuthenticationError
from sandbox_billing.web._inside import without_inside


ACCESS = "{method} {path} {status} {milliseconds} ms {peer} {request_id}"
"""The access log: never a header, a query or a body, which hold signatures and secrets."""

MASKED = "{token}"

_BEFORE_SECRETS = frozenset({"signed-preview-url"})
"""The segment after one of these opens something by itself."""

SERVER_NAME = "sandbox-billing"

UNEXPECTED = "something went wrong here; it was logged"
UPSTREAM_FAILED = "a part behind this proxy failed and nothing was changed; try again"
STORE_DOWN = "the store of this proxy does not answer; try again later"
OUTCOME_UNKNOWN = (
    "a part behind this proxy failed and it may or may not have happened; look before trying again"
)
NO_ANSWER = "no answer came in time and it may or may not have happened; look before trying again"

_MAX_TEXT = 1000
_MAX_PATH = 512

_ABOUT_OUR_KEY = frozenset({401, 402, 403, 407})
"""
Codes that speak of our credential at Daytona.  Passed on, they would tell a user that he
may not have what is his: 403 means a proven other owner (P15).
"""


@frozen(kw_only=True)
class Answer:
    """
    A reply.

    @ivar document: What becomes its JSON.
    @ivar chunks: The JSON itself, in pieces, where it is too long to be held; in place of
        the document.
    @ivar raw: The bytes themselves, where they are no JSON, in place of the document; the
        headers say what they are.
    @ivar as_found: What was asked for was so already, and changed nothing.
    """

    document: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(factory=dict)
    chunks: AsyncGenerator[bytes, None] | None = field(default=None, eq=False, repr=False)
    raw: bytes | None = field(default=None, repr=False)
    as_found: bool = field(default=False, eq=False, repr=False)


@frozen(auto_exc=False)
class InvalidToken(AuthenticationError):
    """401: unknown, expired, revoked or no token of ours; which of them is not told."""


@frozen(auto_exc=False)
class NotServed(BadInput):
    """
    The request is refused for its form alone.

    @ivar status: 404, 405, 413 or 415.
    @ivar allow: The methods that are served, for a 405.
    """

    status: int = 400
    allow: tuple[str, ...] = ()


@frozen(auto_exc=False)
class Conflict(Refused):
    """
    409: the key of this request is in use.

    @ivar retry_after: Seconds; 0 when waiting does not help.
    """

    retry_after: int = 0


@frozen(auto_exc=False)
class Told(Refused):
    """
    A refusal that was told before, and is told again.

    @ivar answer: As it was.
    """

    answer: Answer = field(kw_only=True)


_STATUS: tuple[tuple[type[Exception], int], ...] = (
    # A subclass stands before its family.
    (AuthenticationError, 401),
    (BadInput, 400),
    (CannotPay, 402),
    (SpendLimitReached, 402),
    (Conflict, 409),
    (StopPending, 409),
    (NotYours, 403),
    (NoSuchSandbox, 404),
    (NoSuchSnapshot, 404),
    (TooMany, 429),
    (Refused, 403),
    (NotReady, 503),
    (TooSlow, 504),
    (StoreDown, 503),
    (Transient, 502),
    (NoAnswerInTime, 504),
    (UnknownOutcome, 502),
)

_INNER_TEXTS: tuple[tuple[type[Exception], str], ...] = (
    # The texts of these name parts of our inside; the log has them.
    (StoreDown, STORE_DOWN),
    (Transient, UPSTREAM_FAILED),
    (NoAnswerInTime, NO_ANSWER),
    (UnknownOutcome, OUTCOME_UNKNOWN),
)


def _text_of(error: Exception) -> str:
    if isinstance(error, NotReady | TooSlow):
        return error.text
    for kind, shown in _INNER_TEXTS:
        if isinstance(error, kind):
            return shown
    text = getattr(error, "text", "")
    return text[:_MAX_TEXT] if isinstance(text, str) else ""


def refusal(error: Exception) -> Answer | None:
    """
    What a domain error is to a client.

    @return: An answer whose document has C{error} and what belongs to this error; None
        for an error that nobody foresaw.
    """
    if isinstance(error, Told):
        return error.answer
    if isinstance(error, DaytonaRefused):
        passed_on = 400 <= error.status < 500 and error.status not in _ABOUT_OUR_KEY
        text = without_inside(error.text)[:_MAX_TEXT] if passed_on else UPSTREAM_FAILED
        wait = {"Retry-After": str(error.retry_after)} if error.retry_after > 0 else {}
        return Answer(
            status=error.status if passed_on else 502,
            document={"error": text},
            headers=wait if passed_on else {},
        )
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), None)
    if status is None:
        return None
    document: dict[str, Any] = {"error": _text_of(error)}
    headers = {}
    if isinstance(error, CannotPay):
        document["balance"] = str(error.balance)
        document["required"] = str(error.required)
        document["exposure"] = str(error.exposure)
        document["code"] = error.code
    elif isinstance(error, SpendLimitReached):
        document["limit"] = str(error.limit)
        document["spent"] = str(error.spent)
        document["reserved"] = str(error.reserved)
        document["required"] = str(error.required)
        document["which"] = error.which.value
        document["left"] = str(max(0, error.limit - error.spent - error.reserved))
        document["resets_at"] = error.resets_at
        document["code"] = SPEND_LIMIT
    elif isinstance(error, StopPending):
        if error.reason:
            document["reason"] = error.reason
        if error.retry_after > 0:
            headers["Retry-After"] = str(error.retry_after)
    elif isinstance(error, NotServed):
        status = error.status
        if error.allow:
            headers["Allow"] = ", ".join(error.allow)
    elif isinstance(error, InvalidToken):
        headers["WWW-Authenticate"] = "Bearer"
    elif isinstance(error, TooMany | NotReady | Conflict) and error.retry_after > 0:
        headers["Retry-After"] = str(error.retry_after)
    return Answer(status=status, document=document, headers=headers)


def described(answer: Answer, *, path: str, now: UnixSeconds) -> Answer:
    """
    Add to an error what Daytona's SDKs read: status, message, path and time.

    @param path: As the client spelt it, without its query.
    """
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    document = {
        **answer.document,
        "statusCode": answer.status,
        "message": answer.document["error"],
        "path": path[:_MAX_PATH],
        "timestamp": stamp,
    }
    return Answer(status=answer.status, document=document, headers=answer.headers)


def _plain(value: object) -> Any:
    if isinstance(value, Decimal):
        # Daytona's SDKs refuse 1.0 where an integer belongs.
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} has no JSON")


def dump(document: Any) -> bytes:
    """A document as compact JSON."""
    return json.dumps(
        document, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_plain
    ).encode("utf-8")


def loggable(path: str) -> str:
    """
    A path for the access log, without what is secret in it: also one that is refused for its
    spelling, and holds what another spelling would open.

    @param path: As sent, without its query.
    """
    spelt, hide = path.split("/"), False
    for at, part in enumerate(spelt):
        if not part:
            continue
        if hide:
            spelt[at] = MASKED
        hide = unquote(part).lower() in _BEFORE_SECRETS
    return "/".join(spelt)


def standard_headers(body: bytes | None, request_id: str) -> dict[str, str]:
    """
    What every reply carries.

    @param body: None for one of which nobody knows the length yet.
    """
    return {
        "Server": SERVER_NAME,
        "Content-Type": "application/json; charset=utf-8",
        **({} if body is None else {"Content-Length": str(len(body))}),
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "X-Request-Id": request_id,
    }
