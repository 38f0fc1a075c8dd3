"""
What was signed is this request and no other (A1, A2).
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import attrs
from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.key import SigningKey
from sandbox_billing.signing.request import (
    AuthenticationError,
    Body,
    RequestFacts,
    SignedHeaders,
    SignedMessage,
    canonical_query,
    check_binding,
    dump_json,
    json_equal,
    parse_strict_json,
    sign_request,
)
from tests.signing.strategies import addresses, canonical_paths, json_objects


# A published test key.
KEY = SigningKey.from_bytes(bytes([0x11]) * 32)
PROVIDER = Address("0x" + "22" * 20)
OTHER = Address("0x" + "33" * 20)
CHAIN_ID = 16602

LIST = RequestFacts(method="GET", path="/api/sandbox", verb="list")
SHOW = RequestFacts(method="GET", path="/api/sandbox/sb-1", verb="list", resource_id="sb-1")
STOP = RequestFacts(method="POST", path="/api/sandbox/sb-1/stop", verb="stop", resource_id="sb-1")
CREATE = RequestFacts(
    method="POST", path="/api/sandbox", verb="create", body={"name": "a", "cpu": 1}
)
PLAIN = RequestFacts(method="POST", path="/api/sandbox/sb-1/public/true", resource_id="sb-1")
TOOLBOX = RequestFacts(
    method="POST",
    path="/api/toolbox/sb-1/toolbox/process/execute",
    verb="toolbox",
    resource_id="sb-1",
    body={"command": "ls"},
)


def signed(
    action: str, resource_id: str = "", payload: Any = None, **changes: Any
) -> SignedMessage:
    """A message, as read from its headers; an older client's unless changed."""
    message = SignedMessage(
        wallet_text=KEY.address.hex,
        signature_text="0x",
        raw=b"",
        action=action,
        resource_id=resource_id,
        payload={} if payload is None else payload,
        expires_at=1,
        nonce="0" * 32,
    )
    return attrs.evolve(message, **changes)


class BindingCase(SynchronousTestCase):
    """What the test cases below share."""

    def check(
        self,
        message: SignedMessage,
        request: RequestFacts,
        *,
        binding: Any = "toolbox-compat",
        audience_required: bool = False,
        is_toolbox: bool = False,
    ) -> str | None:
        """Compare them at our provider and chain."""
        return check_binding(
            message,
            request,
            binding=binding,
            is_toolbox=is_toolbox,
            audience_required=audience_required,
            provider=PROVIDER,
            chain_id=CHAIN_ID,
        )

    def assert_bound(self, message: SignedMessage, request: RequestFacts, **how: Any) -> None:
        """This was signed for that."""
        self.assertIsNone(self.check(message, request, **how))

    def assert_foreign(self, message: SignedMessage, request: RequestFacts, **how: Any) -> None:
        """This was signed for something else."""
        problem = self.assertRaises(AuthenticationError, self.check, message, request, **how)
        self.assertEqual(str(problem), "signature does not match request")


class VerbTests(BindingCase):
    """The client that signs a verb and an id."""

    def test_bound(self) -> None:
        """Verb and id as the route and the path say."""
        self.assert_bound(signed("list"), LIST)
        self.assert_bound(signed("stop", "sb-1"), STOP)
        self.assert_bound(signed("create", payload={"cpu": 1, "name": "a"}), CREATE)

    def test_list_below(self) -> None:
        """What stands below a list may name the id or not, but no other."""
        self.assert_bound(signed("list"), SHOW)
        self.assert_bound(signed("list", "sb-1"), SHOW)
        self.assert_foreign(signed("list", "sb-2"), SHOW)
        self.assert_foreign(signed("list", "sb-1"), LIST)
        reading = attrs.evolve(TOOLBOX, method="GET", body=Body.EMPTY)
        self.assert_foreign(signed("toolbox"), reading)

    def test_other_verb(self) -> None:
        """Signed for a list, sent as a stop (A1)."""
        for action in ("list", "start", "delete", "STOP", "Stop", "stop ", "", "stop:"):
            self.assert_foreign(signed(action, "sb-1"), STOP)

    def test_other_id(self) -> None:
        """Signed for one sandbox, sent for another, or for none."""
        for resource_id in ("", "sb-2", "SB-1", "sb-1 "):
            self.assert_foreign(signed("stop", resource_id), STOP)

    def test_unsigned_query(self) -> None:
        """A verb says nothing of a query, which is accepted on GET only."""
        query = canonical_query("force=true")
        self.assert_bound(signed("list"), attrs.evolve(LIST, query=query))
        self.assert_foreign(signed("stop", "sb-1"), attrs.evolve(STOP, query=query))
        head = attrs.evolve(LIST, method="HEAD", query=query)
        self.assert_foreign(signed("list"), head)

    def test_routes_without_verb(self) -> None:
        """They take a path only; no verb is made of a missing one."""
        for action in ("", "None", "public", "toolbox"):
            self.assert_foreign(signed(action, "sb-1"), PLAIN)


class PathTests(BindingCase):
    """The client that signs METHOD:path[?query]."""

    def test_bound(self) -> None:
        """On routes with a verb and without."""
        self.assert_bound(signed("POST:/api/sandbox/sb-1/stop"), STOP)
        self.assert_bound(signed("POST:/api/sandbox/sb-1/public/true"), PLAIN)
        self.assert_bound(signed("GET:/api/sandbox"), LIST)

    def test_other_method_or_path(self) -> None:
        """Another method, another path, another spelling that is not canonical."""
        for action in (
            "DELETE:/api/sandbox/sb-1/stop",
            "post:/api/sandbox/sb-1/stop",
            ":/api/sandbox/sb-1/stop",
            "POST/api/sandbox/sb-1/stop",
            "POST: /api/sandbox/sb-1/stop",
            "POST:/api/sandbox/sb-1/start",
            "POST:/api/sandbox/sb-2/stop",
            "POST:/api/sandbox/sb-1/STOP",
            "POST:/api/sandbox/sb-1/stop/",
            "POST:/api//sandbox/sb-1/stop",
            "POST:/api/./sandbox/sb-1/stop",
            "POST:/api/sandbox/sb-1/%73top",
            "POST:/api/sandbox/sb-1/stop#x",
            "POST:api/sandbox/sb-1/stop",
            "POST:",
        ):
            self.assert_foreign(signed(action), STOP)

    def test_resource_id_is_empty(self) -> None:
        """This client never names an id beside the path."""
        self.assert_foreign(signed("POST:/api/sandbox/sb-1/stop", "sb-1"), STOP)

    def test_same_spelling(self) -> None:
        """Spellings that honest clients differ in are one path."""
        request = attrs.evolve(PLAIN, path="/api/sandbox/a:b/public/true")
        self.assert_bound(signed("POST:/api/sandbox/a%3ab/public/true"), request)

    def test_behind_proxy(self) -> None:
        """One prefix of a broker's proxy is taken off, in front and whole."""
        prefix = "/proxy/0x" + "aB" * 20
        path = "/api/sandbox/sb-1/stop"
        self.assert_bound(signed(f"POST:{prefix}{path}"), STOP)
        for action in (
            f"POST:{prefix}{prefix}{path}",
            f"POST:/proxy/0x{'aB' * 19}{path}",
            f"POST:/proxy{path}",
            f"POST:/proxy/sb{path}",
            f"POST:/x{prefix}{path}",
            f"POST:/api{prefix}/sandbox/sb-1/stop",
            f"POST:{prefix}",
        ):
            self.assert_foreign(signed(action), STOP)
        own = attrs.evolve(PLAIN, path=f"{prefix}{path}")
        self.assert_bound(signed(f"POST:{prefix}{path}"), own)
        self.assert_foreign(signed(f"POST:{path}"), own)

    def test_query(self) -> None:
        """A signed query is the request's; an unsigned one is for GET only."""
        for request, method in ((LIST, "GET"), (attrs.evolve(LIST, method="POST"), "POST")):
            action = f"{method}:/api/sandbox"
            asked = attrs.evolve(request, query=canonical_query("a=1&b=x%3Ay"))
            self.assert_bound(signed(action + "?a=1&b=x:y"), asked)
            self.assert_bound(signed(action + "?"), request)
            for query in ("?a=1", "?a=1&b=x%3Az", "?b=x:y&a=1", "?a=1&b=x:y&c=", "?a", "?%"):
                self.assert_foreign(signed(action + query), asked)
            self.assert_foreign(signed(action + "?a=1"), request)
        asked = attrs.evolve(LIST, query=canonical_query("a=1"))
        for action in ("GET:/api/sandbox", "GET:/api/sandbox?"):
            self.assert_bound(signed(action), asked)
        posted = attrs.evolve(asked, method="POST")
        self.assert_foreign(signed("POST:/api/sandbox"), posted)
        self.assert_foreign(signed("POST:/api/sandbox?"), posted)


class BodyTests(BindingCase):
    """The payload is the body, or stands for it as far as the operator allows."""

    def test_equal(self) -> None:
        """As values: order and spelling of numbers do not matter, types do."""
        request = attrs.evolve(CREATE, body=parse_strict_json(b'{"a":1.0,"b":true}'))
        self.assert_bound(signed("create", payload={"b": True, "a": 1}), request)
        for payload in ({"a": True, "b": True}, {"a": 1, "b": 1}, {"a": 1}, {"a": "1", "b": True}):
            self.assert_foreign(signed("create", payload=payload), request, binding="compat")

    def test_empty_body(self) -> None:
        """No bytes and {} are the same; a payload needs its body."""
        for body in (Body.EMPTY, {}):
            request = attrs.evolve(CREATE, body=body)
            self.assert_bound(signed("create"), request, binding="strict")
            self.assert_foreign(signed("create", payload={"a": 1}), request, binding="compat")

    def test_modes(self) -> None:
        """{} for any body: everywhere, on toolbox routes, nowhere."""
        bodies: tuple[Any, ...] = ({"a": 1}, [1], None, False, Body.OPAQUE)
        for body in bodies:
            for binding, is_toolbox, bound in (
                ("compat", False, True),
                ("compat", True, True),
                ("toolbox-compat", False, False),
                ("toolbox-compat", True, True),
                ("strict", False, False),
                ("strict", True, False),
            ):
                check = self.assert_bound if bound else self.assert_foreign
                request = attrs.evolve(TOOLBOX, body=body)
                check(signed("toolbox", "sb-1"), request, binding=binding, is_toolbox=is_toolbox)

    def test_opaque_body(self) -> None:
        """A payload cannot equal what is not JSON."""
        request = attrs.evolve(TOOLBOX, body=Body.OPAQUE)
        message = signed("toolbox", "sb-1", payload={"a": 1})
        self.assert_foreign(message, request, binding="compat", is_toolbox=True)

    def test_hash(self) -> None:
        """A hash binds any body, in every mode; another hash refuses it."""
        body = b"\x00not json"
        digest = sha256(body).hexdigest()
        request = attrs.evolve(TOOLBOX, body=Body.OPAQUE, body_sha256=digest)
        message = signed("toolbox", "sb-1", body_sha256=digest)
        self.assert_bound(message, request, binding="strict")
        for wrong in (sha256(b"").hexdigest(), digest[:-1] + "0"):
            assert wrong != digest
            self.assert_foreign(
                signed("toolbox", "sb-1", body_sha256=wrong),
                request,
                binding="compat",
                is_toolbox=True,
            )

    def test_hash_and_payload(self) -> None:
        """Where both are signed, both must match."""
        digest = sha256(b'{"command":"ls"}').hexdigest()
        request = attrs.evolve(TOOLBOX, body_sha256=digest)
        right = signed("toolbox", "sb-1", payload={"command": "ls"}, body_sha256=digest)
        self.assert_bound(right, request, binding="strict")
        wrong = attrs.evolve(right, payload={"command": "rm"})
        self.assert_foreign(wrong, request, binding="compat", is_toolbox=True)

    def test_hash_still_to_come(self) -> None:
        """While a body streams, the caller is told what it must turn out to be."""
        digest = "ab" * 32
        request = attrs.evolve(TOOLBOX, body=Body.OPAQUE)
        message = signed("toolbox", "sb-1", body_sha256=digest)
        self.assertEqual(self.check(message, request, binding="strict"), digest)


class AudienceTests(BindingCase):
    """One provider, one chain (A2)."""

    def test_absent(self) -> None:
        """Older messages name neither; the operator may demand the provider."""
        self.assert_bound(signed("list"), LIST)
        self.assert_foreign(signed("list"), LIST, audience_required=True)
        self.assert_foreign(signed("list", chain_id=CHAIN_ID), LIST, audience_required=True)

    def test_present(self) -> None:
        """What is named must be us."""
        for required in (False, True):
            ours = signed("list", audience=PROVIDER, chain_id=CHAIN_ID)
            self.assert_bound(ours, LIST, audience_required=required)
            self.assert_bound(signed("list", audience=PROVIDER), LIST, audience_required=required)
            for foreign in (
                attrs.evolve(ours, audience=OTHER),
                attrs.evolve(ours, chain_id=1),
                attrs.evolve(ours, chain_id=0),
            ):
                self.assert_foreign(foreign, LIST, audience_required=required)


@attrs.frozen(kw_only=True)
class Call:
    """A request of our own client, before it is signed."""

    method: str
    path: str
    raw_query: str
    verb: str | None
    resource_id: str
    body: dict[str, Any]
    provider: Address
    chain_id: int

    def facts(self) -> RequestFacts:
        """The same as the door reads it."""
        raw = dump_json(self.body)
        return RequestFacts(
            method=self.method,
            path=self.path,
            query=canonical_query(self.raw_query),
            verb=self.verb,
            resource_id=self.resource_id,
            body=parse_strict_json(raw),
            body_sha256=sha256(raw).hexdigest(),
        )


def calls() -> st.SearchStrategy[Call]:
    """Requests of every shape."""
    words = st.sampled_from(["start", "stop", "delete", "labels", "toolbox"])
    return st.builds(
        Call,
        method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
        path=canonical_paths(),
        raw_query=st.sampled_from(["", "a=1", "a=1&b=2", "force=true"]),
        verb=st.none() | words,
        resource_id=st.sampled_from(["sb-1", "sb-2"]),
        body=json_objects(),
        provider=addresses(),
        chain_id=st.integers(1, 2**64),
    )


class PropertyTests(SynchronousTestCase):
    """Signed by our client, checked by our door."""

    def admitted(self, call: Call, action: str, resource_id: str, sent: Call) -> bool:
        """Whether what was signed for one call passes for another."""
        headers = sign_request(
            KEY,
            action=action,
            resource_id=resource_id,
            body=dump_json(call.body),
            expires_at=300,
            nonce="0" * 32,
            audience=call.provider,
            chain_id=call.chain_id,
        )
        try:
            check_binding(
                SignedHeaders.parse(*headers.values()),
                sent.facts(),
                binding="strict",
                is_toolbox=False,
                audience_required=True,
                provider=sent.provider,
                chain_id=sent.chain_id,
            )
        except AuthenticationError:
            return False
        return True

    @given(calls(), calls(), st.data())
    def test_signed_path(self, call: Call, other: Call, data: st.DataObject) -> None:
        """METHOD:path?query passes for its own request and for none with a field changed."""
        action = f"{call.method}:{call.path}"
        if call.raw_query:
            action += f"?{call.raw_query}"
        self.assertTrue(self.admitted(call, action, "", call))
        name = data.draw(
            st.sampled_from(["method", "path", "raw_query", "body", "provider", "chain_id"])
        )
        sent = attrs.evolve(call, **{name: getattr(other, name)})
        assume(getattr(call, name) != getattr(other, name))
        assume(not json_equal(call.body, other.body) or name != "body")
        if name == "raw_query" and not call.raw_query and call.method == "GET":
            return
        self.assertFalse(self.admitted(call, action, "", sent))

    @given(calls(), calls(), st.data())
    def test_signed_verb(self, call: Call, other: Call, data: st.DataObject) -> None:
        """A verb and an id pass for their own request and for none with a field changed."""
        assume(call.verb is not None)
        assert call.verb is not None
        call = attrs.evolve(call, raw_query="")
        self.assertTrue(self.admitted(call, call.verb, call.resource_id, call))
        name = data.draw(
            st.sampled_from(["verb", "resource_id", "body", "provider", "chain_id", "raw_query"])
        )
        sent = attrs.evolve(call, **{name: getattr(other, name)})
        assume(getattr(call, name) != getattr(other, name))
        assume(not json_equal(call.body, other.body) or name != "body")
        if name == "raw_query" and call.method == "GET":
            return
        self.assertFalse(self.admitted(call, call.verb, call.resource_id, sent))
