"""
What a provider refuses, with the command that comes next.

Tests: L{tests.cli.test_user_errors}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox_billing.cli.amounts import both
from sandbox_billing.cli.reverts import moment
from sandbox_billing.cli.user_text import lasting


_US = "sandbox-billing user"


def next_step(
    status: int,
    body: Mapping[str, Any],
    *,
    version: int | None = None,
    debt: int | None = None,
    with_token: bool = False,
    retry_after: float | None = None,
) -> str:
    """
    A refusal in words, and what to do.

    @param status: Of HTTP.
    @param body: The error, as it came.
    @param version: The provider's signer version now; None where nobody said.
    @param debt: neuron that the wallet owes; None where nobody said.
    @param with_token: Whether a session token was sent.
    """
    # What answers inside a sandbox has only the second, as Daytona's own errors have.
    told = body.get("error") or body.get("message")
    text = told if isinstance(told, str) else f"HTTP {status}"
    if status == 402:
        return _unpaid(text, body, version, debt)
    if status == 401:
        return _unproven(text, with_token=with_token)
    if status == 429 or (status == 503 and retry_after is not None):
        when = "in a moment" if retry_after is None else f"in {lasting(max(1.0, retry_after))}"
        return f"{text}: try again {when}"
    if status == 403 and "has not the scope" in text:
        return f"{text}: log in with it ({_US} login), or log out and sign: {_US} logout"
    if status == 403 and "for one sandbox only" in text:
        return f"{text}: log in without --sandbox ({_US} login), or log out: {_US} logout"
    if status == 404 and text == "no such sandbox":
        return f"{text}: look which there are: {_US} list"
    if status == 404 and text == "no such route":
        return f"{text}: this provider does not offer it, or --url is another server's"
    if status == 404 and text.startswith("there is no snapshot"):
        return f"{text}: look which there are: {_US} snapshots"
    if status == 400 and "Is the Sandbox started?" in text:
        return f"{text} Look with '{_US} list', and start it: {_US} start SANDBOX"
    if status == 400 and "not in a stoppable state" in text:
        return f"{text}: perhaps it has stopped; look with '{_US} list'"
    if status == 408 and "command execution" in text:
        return f"{text}: it was ended; to let it take longer: {_US} exec --timeout SECONDS"
    if status == 409 and "stop pending" in text:
        why = body.get("reason")
        because = f" ({why})" if why else ""
        return f"{text}{because}: it is being stopped; look with '{_US} list' and start it then"
    if status >= 500 and "look" not in text:
        return f"{text}: it may or may not have been done; look with '{_US} list'"
    return text


def not_resumed(text: str) -> str:
    """
    Why one was not started again, and what to do.

    @param text: As C{POST /api/account/resume} told it.
    """
    if text.startswith("stop pending"):
        return f"{text}: it is being stopped; in some seconds: {_US} resume"
    if text.startswith("spend limit"):
        return f"{text}: see it, and raise it: {_US} settings"
    if text.startswith("insufficient balance"):
        return f"{text}: see '{_US} account', pay in ({_US} deposit AMOUNT), and run this again"
    return text


def _unpaid(text: str, body: Mapping[str, Any], version: int | None, debt: int | None) -> str:
    code = body.get("code")
    if code is None:
        code = "not_acknowledged" if "acknowledged" in text else "insufficient_balance"
    if code == "not_acknowledged":
        if version is None:
            return f"acknowledge the provider's signer first: {_US} acknowledge"
        return f"acknowledge signer version {version} first: {_US} acknowledge --version {version}"
    if code == "debt":
        return _in_debt(body, debt)
    if code == "blocked":
        return (
            f"this wallet is blocked until what it was stopped for is settled: see why with "
            f"'{_US} account'; after a deposit it takes a minute or two"
        )
    if code == "spend_limit":
        return _over(text, body)
    return _too_little(text, body)


_RAISE = {
    "per_day": "settings --per-day AMOUNT",
    "total": "settings --total AMOUNT",
    "sandbox": "settings --sandbox ID=AMOUNT",
}
"""By whose limit it is; one of a session's own is not changed."""


def _over(text: str, body: Mapping[str, Any]) -> str:
    told = [
        f"{both(int(body[name]))} {words}"
        for name, words in (("limit", "allowed"), ("left", "left"), ("required", "needed"))
        if str(body.get(name, "")).isdecimal()
    ]
    numbers = f" ({', '.join(told)})" if told else ""
    command = _RAISE.get(str(body.get("which")))
    if command is None:
        return f"{text}{numbers}: log in with another limit: {_US} login --spend-limit AMOUNT"
    resets = body.get("resets_at")
    wait = f"wait until {moment(int(resets))}, or " if isinstance(resets, int | float) else ""
    return f"{text}{numbers}: {wait}raise it: {_US} {command}"


def _in_debt(body: Mapping[str, Any], debt: int | None) -> str:
    if debt is None:
        return f"something is owed from before: see '{_US} account', deposit it, and try again"
    missing = debt - int(body.get("balance") or 0)
    if missing <= 0:
        return f"{both(debt)} is owed from before and is being collected: try again in a minute"
    return (
        f"{both(debt)} is owed from before: deposit at least what is missing, and try again when "
        f"it is collected: {_US} deposit {missing}"
    )


def _too_little(text: str, body: Mapping[str, Any]) -> str:
    try:
        balance, required = int(body["balance"]), int(body["required"])
        exposure = int(body.get("exposure") or 0)
    except (KeyError, TypeError, ValueError):
        return f"{text}: see '{_US} account', and deposit: {_US} deposit AMOUNT"
    missing = exposure + required - balance
    aside = f", {both(exposure)} of it is set aside for what runs" if exposure else ""
    return (
        f"the balance is {both(balance)}{aside}, and this needs {both(required)}: "
        f"{_US} deposit {max(1, missing)}"
    )


def _unproven(text: str, *, with_token: bool) -> str:
    if with_token:
        return f"the session has ended: {_US} login"
    if text in ("request expired", "expires_at too far in future"):
        return f"{text}: this machine's clock is wrong by minutes; set it"
    if "for another address than" in text:
        # Never its URL in a command: a look-alike would harvest a login for the one it names.
        return (
            f"{text}: whoever holds a login for that address can use it there. It is --url's word "
            "alone: if you did not learn from somewhere else that both are the same provider's, "
            "stop here; if you did, --public-url and --provider say so"
        )
    if "signature" in text:
        return f"{text}: is --url the provider's own address, and the key the wallet's?"
    return text
