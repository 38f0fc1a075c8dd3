"""
What a provider refuses, by what can be done about it.

Each is an L{ApiError} and belongs to a family of L{sandbox_billing.errors}: correct it
(C{BadInput}), meet the condition (C{Refused}), try again (C{Transient}), or look what has become
of it (C{UnknownOutcome}).  Each text ends with the next step.

Tests: C{tests.client.test_core}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.ledger.money import format_0g


class ApiError(Exception):
    """
    Something that was asked for was not done, or nobody knows.

    @ivar text: What is wrong, and what to do.
    @ivar status: Of HTTP; 0 where nothing was answered.
    @ivar body: The error's JSON, as it came.
    @ivar retry_after: Seconds after which it may be different; None where nobody said.
    @ivar request_id: By which the provider finds it in his log.
    """

    text: str
    status: int
    body: Mapping[str, Any]
    retry_after: float | None
    request_id: str | None

    # By hand: attrs writes past the slots of the family that a subclass also belongs to.
    def __init__(
        self,
        *,
        text: str,
        status: int = 0,
        body: Mapping[str, Any] | None = None,
        retry_after: float | None = None,
        request_id: str | None = None,
    ) -> None:
        for name, value in (
            ("text", text),
            ("status", status),
            ("body", body or {}),
            ("retry_after", retry_after),
            ("request_id", request_id),
        ):
            object.__setattr__(self, name, value)

    def __str__(self) -> str:
        return self.text

    @property
    def code(self) -> str | None:
        """Which of several reasons it is, where a status has several."""
        found = self.body.get("code")
        return found if isinstance(found, str) else None


class BadRequest(ApiError, BadInput):
    """400 and its like: this request is wrong, and will be wrong again."""


class Unauthorized(ApiError, BadInput):
    """401: who asks was not proven."""


class CannotPay(ApiError, Refused):
    """
    402.  C{code} is C{insufficient_balance}, C{not_acknowledged}, C{debt}, C{blocked} or
    C{spend_limit}.
    """

    def _amount(self, name: str) -> int | None:
        found = self.body.get(name)
        return int(found) if isinstance(found, str) and found.isdecimal() else None

    @property
    def balance(self) -> int | None:
        """neuron that the provider sees of this wallet."""
        return self._amount("balance")

    @property
    def required(self) -> int | None:
        """neuron that this takes."""
        return self._amount("required")

    @property
    def exposure(self) -> int | None:
        """neuron that are spoken for."""
        return self._amount("exposure")

    @property
    def missing(self) -> int:
        """neuron to deposit so that it goes, as far as is known; 0 where it is not."""
        if self.balance is None or self.required is None:
            return 0
        return max(0, self.required + (self.exposure or 0) - self.balance)


class NotYours(ApiError, Refused):
    """403: another wallet's, or not offered to this one."""


class NotFound(ApiError, Refused):
    """404."""


class Conflict(ApiError, Refused):
    """409: something else is under way."""


class TooMany(ApiError, Transient):
    """429: asked too often, or too much; nothing was done."""


class Unavailable(ApiError, Transient):
    """503, or no connection at all: nothing was done."""


class NotConnected(Unavailable):
    """No connection was made: the request was never sent."""


class TimedOut(ApiError, Refused):
    """408: a command inside took longer than it was given, and was ended."""


class Unclear(ApiError, UnknownOutcome):
    """500, 502, 504: it may or may not have been done."""


class ConnectionLost(Unclear):
    """It was sent, and no answer came."""


class Garbled(Unclear):
    """An answer that is not understood; its request may have been done."""


_KINDS: Mapping[int, type[ApiError]] = {
    401: Unauthorized,
    402: CannotPay,
    403: NotYours,
    404: NotFound,
    408: TimedOut,
    409: Conflict,
    429: TooMany,
    503: Unavailable,
}


def _kind(status: int) -> type[ApiError]:
    known = _KINDS.get(status)
    if known is not None:
        return known
    return BadRequest if 400 <= status < 500 else Unclear


def _unpaid(error: ApiError, text: str) -> str:
    assert isinstance(error, CannotPay)
    if error.code == "not_acknowledged" or "acknowledged" in text:
        return f"{text}: agree to the provider's signer first (ChainAccount.acknowledge)"
    if error.code == "debt":
        return f"{text}: something is owed from before; deposit it, and ask again when it is paid"
    if error.code == "blocked":
        return f"{text}: what ran out of money is being settled; deposit, and ask again in a minute"
    if error.code == "spend_limit":
        return f"{text}: raise the limit (set_settings), or log in with a higher one"
    if error.missing:
        return f"{text}: deposit at least {format_0g(error.missing)} more (ChainAccount.deposit)"
    return f"{text}: deposit more (ChainAccount.deposit)"


def _unproven(text: str) -> str:
    if "token" in text:
        return f"{text}: log in again"
    if text in ("request expired", "expires_at too far in future"):
        return f"{text}: the clock of this machine is wrong by minutes; set it"
    if text == "signature does not match request":
        return f"{text}: is it this provider's address, and nothing rewrites what is sent to it?"
    return text


def _advised(error: ApiError, text: str) -> str:
    wait = "in a moment" if error.retry_after is None else f"in {error.retry_after:.0f} s"
    match error:
        case CannotPay():
            return _unpaid(error, text)
        case Unauthorized():
            return _unproven(text)
        case TooMany() | Unavailable():
            return f"{text}: ask again {wait}"
        case Conflict() if text == "stop pending":
            return f"{text} ({error.body.get('reason') or 'asked for'}): start it when it has ended"
        case Conflict() if error.retry_after is not None:
            return f"{text}: ask again {wait}"
        case Unclear() if "look before" not in text and "again" not in text:
            return f"{text}: look whether it was done before you ask again"
    return text


def error_of(status: int, body: object, headers: Mapping[str, str]) -> ApiError:
    """
    The error that an answer is.

    @param body: Its JSON, or anything else.
    @param headers: By their names in lower case.
    """
    told: Mapping[str, Any] = body if isinstance(body, dict) else {}
    text = told.get("error") or told.get("message")
    if not isinstance(text, str) or not text:
        text = f"HTTP {status}"
    wait = headers.get("retry-after", "")
    kind = _kind(status)
    error = kind(
        text=text,
        status=status,
        body=told,
        retry_after=float(wait) if wait.isdecimal() else None,
        request_id=headers.get("x-request-id"),
    )
    return kind(
        text=_advised(error, text),
        status=status,
        body=told,
        retry_after=error.retry_after,
        request_id=error.request_id,
    )
