"""The grammar of EIP-4361 as it is published, read by a parser of ABNF: slow, and right."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from abnf.grammars import rfc3339, rfc3986
from abnf.grammars.misc import load_grammar_rules
from abnf.parser import Node, ParseError
from abnf.parser import Rule as _Rule


PARTS = frozenset(
    {"scheme", "domain", "address", "statement", "URI", "chain-id", "nonce", "date-time"}
    | {"request-id"}
)
"""What is read of lines, by the names of the grammar's rules."""


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
class Line(_Rule):
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


def parts(rule: str, line: str) -> dict[str, str] | None:
    """
    @return: The text of the first part of each name; None for what is no such line.
    """
    try:
        parsed = Line(rule).parse_all(line)
    except ParseError:
        return None
    texts: dict[str, str] = {}
    for node in _nodes(parsed):
        if node.name in PARTS:
            texts.setdefault(str(node.name), str(node.value))
    return texts
