"""
What is done once, however often it is asked for: a request's key, told when its end is not seen.

Tests: L{tests.cli.test_user_once}.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from secrets import token_hex
from typing import Any

import click

from sandbox_billing.cli.output import printable
from sandbox_billing.errors import BadInput, UnknownOutcome


_KEY = re.compile(r"[\x21-\x7e]{1,255}\Z")
"""Of what a provider takes all but the blank, which a shell would need quoted."""

_OPTION = "--idempotency-key"


def key_option(command: Callable[..., None]) -> Callable[..., None]:
    """
    Adds C{--idempotency-key}; passes C{once}, a fresh one where none was given.
    """

    @click.option(
        _OPTION,
        metavar="KEY",
        help="That an earlier try was told with: it is not done twice. [default: a new one]",
    )
    @wraps(command)
    def wrapped(*args: Any, idempotency_key: str | None, **kwargs: Any) -> None:
        if idempotency_key is None:
            # A fresh one of each run: nothing depends on its value.
            idempotency_key = token_hex(16)
        elif not _KEY.match(idempotency_key):
            raise BadInput(f"{_OPTION}: 1 to 255 printable ASCII characters, no blank")
        command(*args, once=idempotency_key, **kwargs)

    return wrapped


@contextmanager
def once_only(key: str, look: str = "sandbox-billing user list") -> Iterator[None]:
    """
    Around a request with this key.

    @param look: The command that shows what was done.
    @raise UnknownOutcome: It was stopped, or its answer lost: it may have been done, and may cost.
        With how to find out.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise UnknownOutcome(
            f"stopped before the answer came: it may have been done. {_again(key, look)}"
        ) from None
    except UnknownOutcome as problem:
        # The library names its own argument.
        text, _, _ = str(problem).partition("; idempotency_key=")
        raise UnknownOutcome(printable(f"{text}. {_again(key, look)}")) from None


def _again(key: str, look: str) -> str:
    return (
        f"Look with '{look}', or give the same command again with "
        f"{_OPTION} {key}: then it is not done twice"
    )
