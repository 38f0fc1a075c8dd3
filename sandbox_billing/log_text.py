"""
What may stand in a line of the log: bounded, on one line, and no secret.

Users choose names and labels, sandboxes and nodes choose error texts.  None of them can
begin a line of its own, steer a terminal, or fill the disk.  Secrets are kept out where
texts are made; what is done here is the second fence, for a text that nobody made: the
message of an exception that nobody expected.

Tests: C{tests.test_log_text}.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from attrs import field, frozen


MOST_CHARACTERS: Final = 2_048
"""Of a value, or of a message."""

MOST_OF_TRACEBACK: Final = 16_384

HIDDEN: Final = "[secret]"

LEAST_SECRET: Final = 8
"""Shorter ones would be found everywhere."""

# By their form: session tokens, webhooks' secrets, signatures (65 bytes or more in hex),
# Authorization, signed messages (JSON in Base64), and what stands before a URL's host.
_SECRET_FORMS: Final = re.compile(
    r"(?:sbt_|whsec_)[A-Za-z0-9_-]{20,}"
    r"|(?:0x)?[0-9a-fA-F]{130,}"
    r"|(?<=Bearer )[^\s'\"]+"
    r"|\beyJ[A-Za-z0-9+/_=-]{40,}"
    r"|(?<=://)[^/?#\s'\"]+(?=@)"
)

_ESCAPE: Final = re.compile(r"%[0-9a-fA-F]{2}")


def escaped(text: str, *, keep: str = "") -> str:
    """
    What cannot be seen, as C{\\xNN} or C{\\uNNNN}: nothing begins a line, or moves a cursor.

    @param keep: Characters to leave as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in keep else one.encode("unicode_escape").decode("ascii")
        for one in text
    )


def cut(text: str, most: int = MOST_CHARACTERS) -> str:
    """The beginning of a text, and how much more there was."""
    if len(text) <= most:
        return text
    return f"{text[:most]}[and {len(text) - most} more characters]"


def cut_middle(text: str, most: int = MOST_OF_TRACEBACK) -> str:
    """Both ends of a text: a traceback begins with where and ends with what."""
    if len(text) <= most:
        return text
    half = most // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"


def _longest_first(secrets: Iterable[str]) -> tuple[str, ...]:
    """So that what is a part of another leaves nothing of it."""
    long_enough = {one for one in secrets if len(one) >= LEAST_SECRET}
    return tuple(sorted(long_enough, key=lambda one: (-len(one), one)))


@frozen
class Fence:
    """
    @ivar secrets: What is never written, longest first.
    """

    secrets: tuple[str, ...] = field(default=(), repr=False, converter=_longest_first)

    def hidden(self, text: str) -> str:
        """A text without what must not be in it."""
        for secret in self.secrets:
            if secret in text:
                text = text.replace(secret, HIDDEN)
        return _SECRET_FORMS.sub(HIDDEN, text)

    def line(self, text: str) -> str:
        """As a value or a message: hidden before it is cut, or half a secret would stay."""
        return cut(escaped(self.hidden(text)))

    def value(self, text: str) -> str:
        """As a value of JSON, which has escapes of its own: the text is as it was."""
        return cut(self.hidden(text))

    def traceback(self, text: str) -> str:
        """Of several lines."""
        return cut_middle(escaped(self.hidden(text), keep="\n"))


def secrets_of_url(url: str) -> tuple[str, ...]:
    """Everything in a URL that may be a credential: whole segments of the path, and values."""
    parts = urlsplit(url)
    pieces = [parts.username or "", parts.password or ""]
    pieces += [value for _, value in parse_qsl(parts.query)]
    # As it is sent, too.
    pieces += [pair.partition("=")[2] for pair in parts.query.split("&")]
    pieces += [piece for piece in parts.path.split("/") if len(piece) >= 16]
    return tuple(piece for piece in pieces if piece)


def secrets_of(texts: Iterable[str | None], urls: Iterable[str]) -> tuple[str, ...]:
    """
    What a L{Fence} keeps out.

    @param texts: Keys and passwords, C{None} for none.
    @param urls: Of which parts may be credentials.
    """
    found = [text for text in texts if text]
    # A key is known with and without its prefix, and its digits in either case.
    digits = [text.removeprefix("0x") for text in found if text.startswith("0x")]
    found += [spelt for text in digits for spelt in (text, text.lower(), text.upper())]
    found += [piece for url in urls for piece in secrets_of_url(url)]
    return tuple(spelt for text in found for spelt in _spellings(text))


def _spellings(text: str) -> tuple[str, ...]:
    """As it was given, and as libraries say it: with the escapes of a URL, or without."""
    escapes = _ESCAPE.sub(lambda found: found[0].upper(), text)
    plain = unquote(text)
    return tuple(dict.fromkeys((text, escapes, plain, quote(plain), quote(plain, safe=""))))
