"""
Whether what was signed is this request and no other (A1, A2).

Two kinds of client exist and both are accepted: one signs a verb and the id,
the other C{METHOD:path[?query]}.  The verb of a route is the caller's table's.

Tests: C{tests.signing.test_binding}.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Literal, TypeAlias

from attrs import frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.canonical import Query, canonical_path, canonical_query
from sandbox_billing.signing.message import MISMATCH, AuthenticationError, SignedMessage
from sandbox_billing.signing.strict_json import JSONValue, json_equal


BindingMode: TypeAlias = Literal["compat", "toolbox-compat", "strict"]

_BEHIND_PROXY = re.compile(r"\A/proxy/0[xX][0-9a-fA-F]{40}(?=/)")


class Body(Enum):
    """
    A body that is no JSON value.
    """

    EMPTY = "no bytes at all; the same as {}"
    OPAQUE = "not JSON, or too large to be read as JSON"


@frozen(kw_only=True)
class RequestFacts:
    """
    A request as we read it.

    @ivar method: In upper case.
    @ivar path: As L{canonical_path} spells it.
    @ivar query: As L{canonical_query} reads it.
    @ivar verb: What the first kind of client signs on this route, if it can.
    @ivar resource_id: The id or name as the path has it, before it is resolved;
        empty where the path has none.
    @ivar body: The parsed JSON, or why there is none.
    @ivar body_sha256: Lower-case hex of the body's hash; None while it streams.
    """

    method: str
    path: str
    query: Query = ()
    verb: str | None = None
    resource_id: str = ""
    body: JSONValue | Body = Body.EMPTY
    body_sha256: str | None = None


def _binds_verb(message: SignedMessage, request: RequestFacts) -> bool:
    if request.verb is None or message.action != request.verb:
        return False
    if request.query and request.method != "GET":
        return False
    if message.resource_id == request.resource_id:
        return True
    # Lists, and what stands below them, were always signed either way.
    return request.verb == "list" and request.method == "GET" and message.resource_id == ""


def _binds_path(message: SignedMessage, request: RequestFacts) -> bool:
    method, colon, target = message.action.partition(":")
    if not colon or method != request.method or message.resource_id != "":
        return False
    spelt, _, query = target.partition("?")
    try:
        path = canonical_path(spelt)
        signed_query = canonical_query(query)
    except BadInput:
        return False
    # A page behind a broker's proxy signs the path its browser sees.
    if request.path not in (path, _BEHIND_PROXY.sub("", path)):
        return False
    if not signed_query:
        return not request.query or request.method == "GET"
    return signed_query == request.query


def _binds_body(message: SignedMessage, request: RequestFacts, *, compat: bool) -> bool:
    unsigned = not message.payload
    if message.body_sha256 is not None:
        # A hash still to come is the caller's to compare.
        if request.body_sha256 not in (None, message.body_sha256):
            return False
        if unsigned:
            return True
    if request.body is Body.EMPTY:
        return unsigned
    if request.body is Body.OPAQUE:
        return unsigned and compat
    assert not isinstance(request.body, Body)
    return json_equal(message.payload, request.body) or (unsigned and compat)


def check_binding(
    message: SignedMessage,
    request: RequestFacts,
    *,
    binding: BindingMode,
    is_toolbox: bool,
    audience_required: bool,
    provider: Address,
    chain_id: int,
) -> str | None:
    """
    Compare a message with the request it came with.

    @param binding: Where C{{}} may stand for any body: everywhere
        (C{compat}), on toolbox routes only, or nowhere (C{strict}).
    @param is_toolbox: Whether this is a toolbox route.
    @param audience_required: Refuse a message that names no provider.
    @return: The hash the body must turn out to have, in lower-case hex, where
        the message names one and the request's is not known yet; else None.
    @raise AuthenticationError: It is another request that was signed.
    """
    audience_binds = message.audience == provider or (
        message.audience is None and not audience_required
    )
    compat = binding == "compat" or (binding == "toolbox-compat" and is_toolbox)
    if not (
        audience_binds
        and message.chain_id in (None, chain_id)
        and (_binds_verb(message, request) or _binds_path(message, request))
        and _binds_body(message, request, compat=compat)
    ):
        raise AuthenticationError(MISMATCH)
    return message.body_sha256 if request.body_sha256 is None else None
