"""
Our own OpenAPI document: made from the table, so that it cannot say anything else.

Tests: C{tests.web.test_openapi}; C{bin/fuzz} asks a running daemon whether it keeps to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import evolve, field, frozen

from sandbox_billing import __version__
from sandbox_billing.ledger.token import Scope
from sandbox_billing.web._descriptions import DESCRIBED, IDEMPOTENT, PARTS, QUERIES, Described
from sandbox_billing.web._router import PROBES, Asked
from sandbox_billing.web._routes import REST, Policy, Route, Who
from sandbox_billing.web._schema_words import TEXT, Schema, array, ref
from sandbox_billing.web._schemas import SCHEMAS
from sandbox_billing.web._tags import TAGS, tag_of
from sandbox_billing.web.answers import Answer


PATH = "/openapi.json"

_JSON = "application/json"

_ABOUT = """\
Daytona's API for those who pay with 0G tokens. HEAD is served wherever GET is. Whatever is \
not in here is not served. Amounts are integers of neuron (10^-18 0G), written as strings. \
A wallet signs each request by three headers, or shows a session token."""

_SAID: Mapping[int, str] = {
    400: "Wrong body, query, path or form of request; the text says what",
    401: "Nothing proves who asks",
    402: "Cannot pay",
    403: "Not the asker's, or not allowed",
    404: "There is none",
    408: "It did not arrive in time",
    409: "In progress, or not in this state; perhaps with Retry-After",
    413: "Request body too large",
    415: "The body must be application/json",
    422: "Daytona does not do this with this sandbox",
    429: "Too many requests or sandboxes, with Retry-After",
    431: "Request headers too large",
    500: "Ours; logged",
    502: "Daytona or the chain failed; the text says whether it may have happened",
    503: "Not ready: it cannot be decided now",
    504: "Daytona did not answer in time",
}

_EVERYWHERE = frozenset({400, 408, 413, 415, 429, 431, 500, 503})
_KNOWN = frozenset({401, 403, 503})
_OWN = frozenset({403, 404})
_ASKING = frozenset({400, 502, 503, 504})
_DAYTONAS = frozenset({409, 422})

_SIGNED = ("wallet", "message", "signature")

_SECURITY_SCHEMES: Mapping[str, Any] = {
    "wallet": {"type": "apiKey", "in": "header", "name": "X-Wallet-Address"},
    "message": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Signed-Message",
        "description": "Base64 of a JSON object: action, resource_id, payload, expires_at, nonce.",
    },
    "signature": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Wallet-Signature",
        "description": "EIP-191, of the bytes of the message.",
    },
    "token": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "sbt_...",
        "description": "A session token, for one or more of the scopes read, manage and toolbox.",
    },
}

_IDEMPOTENCY_KEY: Schema = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "pattern": "^[ -~]{1,255}$"},
}


def is_served(route: Route) -> bool:
    """Whether it is somebody's."""
    return route.who is not Who.NOBODY


def path_of(route: Route) -> str:
    """As OpenAPI spells it: what stands for many segments has a name there, too."""
    return (
        route.pattern.removesuffix(REST) + "{path}"
        if route.segments[-1] == REST
        else (route.pattern)
    )


def statuses_of(route: Route, described: Described) -> frozenset[int]:
    """What may be answered beside 200."""
    found = _EVERYWHERE | described.may_refuse
    if route.who is not Who.PUBLIC:
        found |= _KNOWN
    if route.who is Who.OWNER:
        found |= _OWN
    if described.may_ask:
        found |= _ASKING
        if route.who is Who.OWNER or route.policy is Policy.INTERCEPT:
            found |= _DAYTONAS | {404}
    if route.pattern.encode("ascii") in PROBES:
        found -= {429}
    return found


def _parameters(route: Route, described: Described, verb: str | None) -> list[Schema]:
    path = path_of(route)
    found: list[Schema] = [
        {"name": name, "in": "path", "required": True, "schema": PARTS[name]}
        for name in re.findall(r"\{(\w+)\}", path)
    ]
    for name in sorted(route.query | route.several):
        schema = described.query.get(name, QUERIES.get(name, TEXT))
        found.append(
            {
                "name": name,
                "in": "query",
                "required": name in described.required,
                "schema": array(schema) if name in route.several else schema,
            }
        )
    if verb in IDEMPOTENT or described.waits:
        found.append(_IDEMPOTENCY_KEY)
    return found


def _security(route: Route) -> list[dict[str, list[str]]]:
    if route.who is Who.PUBLIC:
        return []
    scopes = [] if route.scope is None else [route.scope.value]
    return [{name: [] for name in _SIGNED}, {"token": scopes}]


def _schema_of(described: Described) -> Schema:
    if described.reply:
        return ref(described.reply)
    return {} if described.media == "*/*" else TEXT


def _replies(route: Route, described: Described) -> dict[str, Any]:
    if route.stream:
        # A sandbox answers with any status, and so may we.
        return {"default": {"description": "The sandbox's own answer, or an Error of ours"}}
    good: dict[str, Any] = {
        "description": described.summary,
        "content": {
            described.media: {"schema": _schema_of(described)},
            **{media: {"schema": TEXT} for media in described.also},
        },
    }
    found = {str(described.status): good}
    if described.waits:
        found["202"] = {**good, "description": "The same, and it is not over yet"}
    for status in sorted(statuses_of(route, described)):
        found[str(status)] = {"$ref": f"#/components/responses/{status}"}
    if route.pattern == "/readyz":
        found["503"] = {"description": "It cannot", "content": good["content"]}
    return found


def _operation(route: Route, method: str) -> dict[str, Any]:
    described = DESCRIBED[route.method, route.pattern]
    words = [part.strip("{}*") for part in route.segments if part.strip("{}*") not in ("", "api")]
    operation: dict[str, Any] = {
        "operationId": "-".join((method.lower(), *words)).replace(".", "-"),
        "summary": described.summary,
        "tags": [tag_of(route).name],
        "security": _security(route),
        "responses": _replies(route, described),
    }
    parameters = _parameters(route, described, route.verb)
    if parameters:
        operation["parameters"] = parameters
    if route.stream and method not in ("GET", "HEAD", "OPTIONS"):
        operation["requestBody"] = {"content": {"*/*": {}}}
    elif described.body:
        content: dict[str, Any] = {"schema": ref(described.body)}
        if described.example is not None:
            content["example"] = described.example
        operation["requestBody"] = {
            # Without one, a create has all of its defaults, and no setting is changed.
            "required": described.body not in ("CreateSandbox", "ChangeSettings", "PerhapsReason"),
            "content": {_JSON: content},
        }
    return operation


def _refused(status: int) -> dict[str, Any]:
    schema = ref("CannotPay" if status == 402 else "Error")
    return {"description": _SAID[status], "content": {_JSON: {"schema": schema}}}


def document_of(routes: Iterable[Route], public_url: str) -> dict[str, Any]:
    """
    OpenAPI 3.1, of every row that somebody is served.

    @param public_url: Where users reach us, without a trailing slash.
    @raise KeyError: A row that nobody has described.
    """
    paths: dict[str, dict[str, Any]] = {}
    for route in filter(is_served, routes):
        methods = {route.method} if len(route.allowed) < 3 else route.allowed
        for method in sorted(methods):
            at = paths.setdefault(path_of(route), {})
            at[method.lower()] = _operation(route, method)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "sandbox-billing",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": public_url or "/"}],
        "tags": [{"name": tag.name, "description": tag.about} for tag in TAGS],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "responses": {str(status): _refused(status) for status in _SAID},
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


@frozen(kw_only=True)
class OpenAPI:
    """
    @ivar document: Of L{document_of}.
    """

    document: Mapping[str, Any] = field(repr=False)

    async def show(self, asked: Asked) -> Answer:
        """The whole of it."""
        return Answer(document=self.document, headers={"Cache-Control": "public, max-age=300"})


def with_document(routes: tuple[Route, ...], public_url: str) -> tuple[Route, ...]:
    """The rows, and one more that tells of them all."""
    row = Route(method="GET", pattern=PATH, who=Who.PUBLIC, policy=Policy.OURS, scope=Scope.READ)
    shown = OpenAPI(document=document_of((*routes, row), public_url))
    return (*routes, evolve(row, handler=shown.show))
