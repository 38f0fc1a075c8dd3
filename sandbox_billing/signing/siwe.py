"""
Sign-In with Ethereum (EIP-4361): what a wallet signs to be given a session token.

The grammar is the EIP's own, a rule for each line: no field of it can hold a line feed,
so that lines are read one by one, and the time this takes is bounded by the longest.

What the token may do stands in its resources: L{sandbox_billing.ledger.token.read_grant}.

Tests: C{tests.signing.test_siwe}.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import ClassVar
from urllib.parse import urlsplit

from abnf.grammars import rfc3339, rfc3986
from abnf.grammars.misc import load_grammar_rules
from abnf.parser import Node, ParseError
from abnf.parser import Rule as _Rule
from attrs import frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.eip191 import personal_digest
from sandbox_billing.signing.key import SigningKey


MAX_MESSAGE_BYTES = 2048
MAX_LINE = 256
"""Characters.  The parser's time grows with the square of a line: so long a one takes it
some milliseconds."""

MAX_NONCE = 64
MAX_CHAIN_DIGITS = 18

_PARTS = frozenset(
    {"scheme", "domain", "address", "statement", "URI", "chain-id", "nonce", "date-time"}
    | {"request-id"}
)
"""What is read of lines, by the names of the grammar's rules."""

_NOT_SIWE = "not a Sign-In with Ethereum message (EIP-4361): {why}"


@load_grammar_rules(
    [
        (name, rules.Rule(name))
        for rules, names in (
            (rfc3986, ("authority", "pchar", "reserved", "scheme", "unreserved", "URI")),
            (rfc3339, ("date-time",)),
        )
        for name in names
    ]
)
class _Line(_Rule):
    """The lines of EIP-4361, in their order."""

    grammar: ClassVar[list[str] | str] = [
        'head = [ scheme "://" ] domain %s" wants you to sign in with your Ethereum account:"',
        "domain = authority",
        'address = %s"0x" 40HEXDIG',
        'statement = 1*( reserved / unreserved / " " )',
        'uri-line = %s"URI: " URI',
        'version-line = %s"Version: " version',
        'version = "1"',
        'chain-id-line = %s"Chain ID: " chain-id',
        "chain-id = 1*DIGIT",
        'nonce-line = %s"Nonce: " nonce',
        "nonce = 8*( ALPHA / DIGIT )",
        'issued-at-line = %s"Issued At: " date-time',
        'expiration-time-line = %s"Expiration Time: " date-time',
        'not-before-line = %s"Not Before: " date-time',
        'request-id-line = %s"Request ID: " request-id',
        "request-id = *pchar",
        'resources-line = %s"Resources:"',
        'resource-line = %s"- " URI',
    ]


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _nodes(child)


@lru_cache(maxsize=256)
def _parse(rule: str, line: str) -> Mapping[str, str]:
    """
    The text of the first part of each name; parts of parts come after their whole.

    Most lines of a login are those of the login before.
    """
    try:
        parsed = _Line(rule).parse_all(line)
    except ParseError:
        name = rule.removesuffix("-line").replace("-", " ")
        raise BadInput(_NOT_SIWE.format(why=f"{name} is missing or malformed")) from None
    texts: dict[str, str] = {}
    for node in _nodes(parsed):
        if node.name in _PARTS:
            texts.setdefault(node.name, str(node.value))
    return texts


def _part(rule: str, line: str, name: str) -> str:
    """The text of a part that every such line has."""
    return _parse(rule, line)[name]


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
    text = _part("chain-id-line", line, "chain-id")
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
    head = _parse("head", lines.take())
    address, statement = _read_address(lines.take()), _read_statement(lines)
    uri = _part("uri-line", lines.take(), "URI")
    _parse("version-line", lines.take())
    message = SiweMessage(
        scheme=head.get("scheme"),
        domain=head["domain"],
        address=address,
        statement=statement,
        uri=uri,
        chain_id=_read_chain_id(lines.take()),
        nonce=_read_nonce(lines.take()),
        issued_at=_part("issued-at-line", lines.take(), "date-time"),
        expiration_time=lines.optional("expiration-time-line", "Expiration Time: ", "date-time"),
        not_before=lines.optional("not-before-line", "Not Before: ", "date-time"),
        request_id=lines.optional("request-id-line", "Request ID: ", "request-id"),
        resources=_read_resources(lines),
    )
    if lines.left:
        raise BadInput(_NOT_SIWE.format(why="more stands where it should end"))
    return message


def sign_login(
    key: SigningKey,
    *,
    url: str,
    chain_id: int,
    resources: Iterable[str],
    nonce: str,
    issued_at: int,
    statement: str = "Let a program rent sandboxes in my name.",
) -> dict[str, str]:
    """
    Sign a login as our own client does.

    @param url: The proxy's, as users reach it (PUBLIC_URL).
    @param resources: What the token may do: L{sandbox_billing.ledger.token.Grant.resources}.
    @param nonce: 8 to 64 letters and digits, never used before.
    @param issued_at: Now, unix seconds.
    @return: The body of C{POST /api/auth/session}.
    """
    message = SiweMessage(
        domain=urlsplit(url).netloc,
        address=key.address,
        statement=statement,
        uri=url,
        chain_id=chain_id,
        nonce=nonce,
        issued_at=datetime.fromtimestamp(issued_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        resources=tuple(resources),
    )
    text = str(message)
    signature = key.sign_digest(personal_digest(text.encode("ascii")))
    return {"message": text, "signature": "0x" + signature.hex()}
