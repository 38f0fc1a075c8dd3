"""
One spelling for each path and query.

Daytona's router ignores case, one trailing slash and percent-encoding, ours
does not: whatever could be read in two ways is refused here (P1), so that what
was signed, what we match and what goes on are the same.  Case is significant.

Two spellings of one path stay acceptable because honest clients differ in
them: of C{:@!$&'()*+,;=}, which some encode and some do not (they become
literal), and the case of hex digits (it becomes upper).

Tests: C{tests.signing.test_canonical}.
"""

from __future__ import annotations

import re
from typing import TypeAlias
from urllib.parse import parse_qsl, unquote_to_bytes

from sandbox_billing.errors import BadInput


Query: TypeAlias = tuple[tuple[str, str], ...]

MAX_PATH_CHARACTERS = 8192
MAX_QUERY_CHARACTERS = 8192
MAX_QUERY_FIELDS = 100

_LITERAL = re.compile(r"[0-9A-Za-z\-._~:@!$&'()*+,;=/%]+\Z")
_ESCAPE = re.compile(r"%(?:([0-9A-Fa-f]{2}))?")
_UNRESERVED = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-._~")
_EITHER_WAY = frozenset(b":@!$&'()*+,;=")
# A slash, a backslash or a percent sign that only the next reader would see.
_HIDDEN = frozenset(b"/\\%")
_QUERY_LITERAL = re.compile(r"[!\"$-~]*\Z")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def _text(raw: str | bytes, what: str) -> str:
    if isinstance(raw, str):
        return raw
    try:
        return raw.decode("ascii")
    except UnicodeDecodeError:
        raise BadInput(f"the {what} contains bytes that are not ASCII") from None


def _one_spelling(match: re.Match[str]) -> str:
    if match[1] is None:
        raise BadInput("the path contains a percent sign without two hex digits")
    byte = int(match[1], 16)
    if byte in _UNRESERVED:
        raise BadInput(f"the path hides {chr(byte)!r} behind a percent sign")
    if byte in _HIDDEN:
        raise BadInput("the path contains an encoded slash, backslash or percent sign")
    if byte < 0x20 or byte == 0x7F:
        raise BadInput("the path contains an encoded control character")
    return chr(byte) if byte in _EITHER_WAY else match[0].upper()


def canonical_path(raw: str | bytes) -> str:
    """
    The one spelling of a path.

    @param raw: A path as it stands in a request line, without query.
    @return: The same, percent-encoded only where it must be; unchanged when
        given again.
    @raise BadInput: It is spelt in an odd way; the text says which.
    """
    path = _text(raw, "path")
    if not path.startswith("/"):
        raise BadInput("a path begins with a slash")
    if len(path) > MAX_PATH_CHARACTERS:
        raise BadInput("the path is too long")
    if path == "/":
        return path
    if not _LITERAL.match(path):
        raise BadInput("the path contains a character that no path may contain")
    segments = path[1:].split("/")
    if segments[-1] == "":
        raise BadInput("the path ends with a slash")
    if "" in segments:
        raise BadInput("the path contains a doubled slash")
    if "." in segments or ".." in segments:
        raise BadInput("the path contains a dot segment")
    canonical = _ESCAPE.sub(_one_spelling, path)
    try:
        # Looked at only: what is no UTF-8, every reader reads differently.
        unquote_to_bytes(canonical).decode("utf-8")
    except UnicodeDecodeError:
        raise BadInput("the path contains encoded bytes that are not UTF-8") from None
    return canonical


def canonical_authority(scheme: str, authority: str) -> str:
    """
    The one spelling of an address's host and port, as browsers spell it.

    @param scheme: Lower case; says which port goes without saying.
    @param authority: C{[user@]host[:port]}.
    """
    host, colon, port = authority.lower().rpartition(":")
    silent = colon and port in ("", {"http": "80", "https": "443"}.get(scheme, ""))
    return host if silent else authority.lower()


def canonical_query(raw: str | bytes) -> Query:
    """
    A query as its decoded names and values, in their order.

    @param raw: What follows the question mark; empty and absent are the same.
    @raise BadInput: It is spelt in an odd way, or has more than 100 fields.
    """
    query = _text(raw, "query")
    if not query:
        return ()
    if len(query) > MAX_QUERY_CHARACTERS:
        raise BadInput("the query is too long")
    if not _QUERY_LITERAL.match(query) or _BROKEN_ESCAPE.search(query):
        raise BadInput("the query contains a character that no query may contain")
    try:
        return tuple(
            parse_qsl(
                query,
                keep_blank_values=True,
                strict_parsing=True,
                errors="strict",
                max_num_fields=MAX_QUERY_FIELDS,
            )
        )
    except UnicodeDecodeError:
        raise BadInput("the query contains encoded bytes that are not UTF-8") from None
    except ValueError:
        raise BadInput("the query is not a list of name=value") from None
