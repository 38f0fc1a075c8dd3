"""
Sign-In with Ethereum (EIP-4361): what a wallet signs to be given a session token.

A rule for each line: no field of the grammar can hold a line feed.  The rules are regular,
and none of them ever tries a character twice, because what is read here was sent by
anybody: a parser of the EIP's own ABNF takes a tenth of a second for a message made to
keep it busy, and the whole daemon waits.  That grammar is the oracle of the tests.

What the token may do stands in its resources: L{sandbox_billing.ledger.token.read_grant}.

Tests: C{tests.signing.test_siwe}.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

from attrs import frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.eip191 import personal_digest
from sandbox_billing.signing.key import SigningKey


MAX_MESSAGE_BYTES = 2048
MAX_LINE = 256
"""Characters."""

MAX_NONCE = 64
MAX_CHAIN_DIGITS = 18

_NOT_SIWE = "not a Sign-In with Ethereum message (EIP-4361): {why}"

# RFC 3986, appendix A; each repetition is possessive, so that nothing is tried again.
_UNRESERVED, _SUB_DELIMS = r"0-9A-Za-z\-._~", r"!$&'()*+,;="
_ENCODED = r"%[0-9A-Fa-f]{2}"


def _any_of(more: str) -> str:
    """Unreserved characters, encoded ones, sub-delims, and those that are named."""
    return rf"(?:[{_UNRESERVED}{_SUB_DELIMS}{more}]|{_ENCODED})"


_PCHAR = _any_of(":@")
_SCHEME = r"[A-Za-z][0-9A-Za-z+\-.]*+"
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9][0-9]|[0-9])"
_H16 = r"[0-9A-Fa-f]{1,4}"
_LS32 = rf"(?:{_H16}:{_H16}|{_OCTET}(?:\.{_OCTET}){{3}})"
_IPV6 = "|".join(
    [rf"(?:{_H16}:){{6}}{_LS32}", rf"::(?:{_H16}:){{5}}{_LS32}"]
    + [
        rf"(?:(?:{_H16}:){{0,{before}}}{_H16})?::{after}"
        for before, after in enumerate(
            [rf"(?:{_H16}:){{{count}}}{_LS32}" for count in (4, 3, 2, 1, 0)] + [_H16, ""]
        )
    ]
)
_IP_FUTURE = rf"[vV][0-9A-Fa-f]++\.[{_UNRESERVED}{_SUB_DELIMS}:]++"
_AUTHORITY = (
    rf"(?:{_any_of(':')}*+@)?+"
    rf"(?:\[(?:{_IPV6}|{_IP_FUTURE})\]|{_any_of('')}*+)(?::[0-9]*+)?+"
)
_URI = (
    rf"{_SCHEME}:"
    rf"(?://{_AUTHORITY}(?:/{_PCHAR}*+)*+|/?+(?:{_PCHAR}++(?:/{_PCHAR}*+)*+)?+)"
    rf"(?:\?(?:{_PCHAR}|[/?])*+)?+(?:\#(?:{_PCHAR}|[/?])*+)?+"
)
_MOMENT = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[tT][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]++)?+"
    r"(?:[zZ]|[+\-][0-9]{2}:[0-9]{2})"
)
"""RFC 3339, C{date-time}."""

RULES: Mapping[str, re.Pattern[str]] = {
    rule: re.compile(pattern)
    for rule, pattern in {
        "head": (
            rf"(?:(?P<scheme>{_SCHEME})://)?(?P<domain>{_AUTHORITY})"
            " wants you to sign in with your Ethereum account:"
        ),
        "address": "(?P<address>0x[0-9A-Fa-f]{40})",
        "statement": rf"(?P<statement>[{_UNRESERVED}{_SUB_DELIMS}:/?#\[\]@ ]++)",
        "uri-line": rf"URI: (?P<URI>{_URI})",
        "version-line": "Version: 1",
        "chain-id-line": "Chain ID: (?P<chain_id>[0-9]++)",
        "nonce-line": "Nonce: (?P<nonce>[0-9A-Za-z]{8,}+)",
        "issued-at-line": f"Issued At: (?P<date_time>{_MOMENT})",
        "expiration-time-line": f"Expiration Time: (?P<date_time>{_MOMENT})",
        "not-before-line": f"Not Before: (?P<date_time>{_MOMENT})",
        "request-id-line": f"Request ID: (?P<request_id>{_PCHAR}*+)",
        "resources-line": "Resources:",
        "resource-line": f"- (?P<URI>{_URI})",
    }.items()
}
"""The lines of EIP-4361, in their order."""


def _parse(rule: str, line: str) -> Mapping[str, str | None]:
    """The text of each part that is named."""
    found = RULES[rule].fullmatch(line)
    if found is None:
        name = rule.removesuffix("-line").replace("-", " ")
        raise BadInput(_NOT_SIWE.format(why=f"{name} is missing or malformed"))
    return found.groupdict()


def _part(rule: str, line: str, name: str) -> str:
    """The text of a part that every such line has."""
    part = _parse(rule, line)[name]
    assert part is not None
    return part


def moment(text: str) -> int:
    """
    @param text: An RFC 3339 C{date-time}.
    @return: Unix seconds; parts of a second are cut off.
    @raise BadInput: There is no such moment.
    """
    try:
        return int(datetime.fromisoformat(text.upper()).timestamp() // 1)
    except (ValueError, OverflowError):
        raise BadInput(_NOT_SIWE.format(why=f"there is no moment {text[:40]}")) from None


@frozen(kw_only=True)
class SiweMessage:
    """
    What an EIP-4361 message says, field by field.

    Its moments are as they are spelt; L{moment} reads them.

    @ivar scheme: Of the origin, where it is named.
    @ivar resources: None where there is no such list.
    """

    scheme: str | None = None
    domain: str
    address: Address
    statement: str | None = None
    uri: str
    chain_id: int
    nonce: str
    issued_at: str
    expiration_time: str | None = None
    not_before: str | None = None
    request_id: str | None = None
    resources: tuple[str, ...] | None = None

    def __str__(self) -> str:
        """What the wallet signs."""
        origin = self.domain if self.scheme is None else f"{self.scheme}://{self.domain}"
        lines = [
            f"{origin} wants you to sign in with your Ethereum account:",
            checksum(self.address),
            "",
            *([] if self.statement is None else [self.statement]),
            "",
            f"URI: {self.uri}",
            "Version: 1",
            f"Chain ID: {self.chain_id}",
            f"Nonce: {self.nonce}",
            f"Issued At: {self.issued_at}",
        ]
        for label, value in (
            ("Expiration Time", self.expiration_time),
            ("Not Before", self.not_before),
            ("Request ID", self.request_id),
        ):
            if value is not None:
                lines.append(f"{label}: {value}")
        if self.resources is not None:
            lines += ["Resources:", *(f"- {one}" for one in self.resources)]
        return "\n".join(lines)


@frozen
class _Lines:
    """The lines of a message, read from the first to the last."""

    left: list[str]

    def take(self) -> str:
        if not self.left:
            raise BadInput(_NOT_SIWE.format(why="it ends too early"))
        return self.left.pop(0)

    def optional(self, rule: str, label: str, part: str) -> str | None:
        if not self.left or not self.left[0].startswith(label):
            return None
        return _part(rule, self.take(), part)

    def blank(self) -> None:
        if self.take() != "":
            raise BadInput(_NOT_SIWE.format(why="an empty line is missing"))


def _read_address(line: str) -> Address:
    address = Address(_part("address", line, "address"))
    if checksum(address) != line:
        raise BadInput(_NOT_SIWE.format(why="the address is not spelt as EIP-55 wants"))
    return address


def _read_chain_id(line: str) -> int:
    text = _part("chain-id-line", line, "chain_id")
    if len(text) > MAX_CHAIN_DIGITS or text != str(int(text)):
        raise BadInput(_NOT_SIWE.format(why="chain id is malformed"))
    return int(text)


def _read_nonce(line: str) -> str:
    nonce = _part("nonce-line", line, "nonce")
    if len(nonce) > MAX_NONCE:
        raise BadInput(_NOT_SIWE.format(why=f"the nonce is longer than {MAX_NONCE}"))
    return nonce


def _read_statement(lines: _Lines) -> str | None:
    """Between two empty lines, which stand there without it, too."""
    lines.blank()
    statement = None
    if lines.left and lines.left[0] != "":
        statement = _part("statement", lines.take(), "statement")
    lines.blank()
    return statement


def _read_resources(lines: _Lines) -> tuple[str, ...] | None:
    if not lines.left or not lines.left[0].startswith("Resources:"):
        return None
    _parse("resources-line", lines.take())
    found = []
    while lines.left:
        found.append(_part("resource-line", lines.take(), "URI"))
    return tuple(found)


def parse_siwe(text: str) -> SiweMessage:
    """
    Read a message; nothing is proven yet.

    @param text: As it was signed: lines end with a line feed alone, the last one with none.
    @raise BadInput: It is none, or longer than is read.
    """
    if not text.isascii():
        raise BadInput(_NOT_SIWE.format(why="it is not ASCII"))
    if len(text) > MAX_MESSAGE_BYTES:
        raise BadInput(_NOT_SIWE.format(why=f"it is longer than {MAX_MESSAGE_BYTES} bytes"))
    lines = _Lines(text.split("\n"))
    if any(len(line) > MAX_LINE for line in lines.left):
        raise BadInput(_NOT_SIWE.format(why=f"a line is longer than {MAX_LINE} characters"))
    first = lines.take()
    scheme, domain = _parse("head", first)["scheme"], _part("head", first, "domain")
    address, statement = _read_address(lines.take()), _read_statement(lines)
    uri = _part("uri-line", lines.take(), "URI")
    _parse("version-line", lines.take())
    message = SiweMessage(
        scheme=scheme,
        domain=domain,
        address=address,
        statement=statement,
        uri=uri,
        chain_id=_read_chain_id(lines.take()),
        nonce=_read_nonce(lines.take()),
        issued_at=_part("issued-at-line", lines.take(), "date_time"),
        expiration_time=lines.optional("expiration-time-line", "Expiration Time: ", "date_time"),
        not_before=lines.optional("not-before-line", "Not Before: ", "date_time"),
        request_id=lines.optional("request-id-line", "Request ID: ", "request_id"),
        resources=_read_resources(lines),
    )
    if lines.left:
        raise BadInput(_NOT_SIWE.format(why="more stands where it should end"))
    return message


def login_message(
    wallet: Address,
    *,
    url: str,
    chain_id: int,
    resources: Iterable[str],
    nonce: str,
    issued_at: int,
    statement: str = "Let a program rent sandboxes in my name.",
) -> str:
    """
    What a wallet signs (EIP-191) to log in.

    @param url: The proxy's, as users reach it (PUBLIC_URL).
    @param resources: What the token may do: L{sandbox_billing.ledger.token.Grant.resources}.
    @param nonce: 8 to 64 letters and digits, never used before.
    @param issued_at: Now, unix seconds.
    @return: ASCII.
    """
    message = SiweMessage(
        domain=urlsplit(url).netloc,
        address=wallet,
        statement=statement,
        uri=url,
        chain_id=chain_id,
        nonce=nonce,
        issued_at=datetime.fromtimestamp(issued_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        resources=tuple(resources),
    )
    return str(message)


def sign_login(
    key: SigningKey,
    *,
    url: str,
    chain_id: int,
    resources: Iterable[str],
    nonce: str,
    issued_at: int,
) -> dict[str, str]:
    """
    Sign a login as our own client does: L{login_message}, by a key that is here.

    @return: The body of C{POST /api/auth/session}.
    """
    text = login_message(
        key.address,
        url=url,
        chain_id=chain_id,
        resources=resources,
        nonce=nonce,
        issued_at=issued_at,
    )
    signature = key.sign_digest(personal_digest(text.encode("ascii")))
    return {"message": text, "signature": "0x" + signature.hex()}
