"""
What passes to Daytona and back, and that nothing else does.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from sandbox_billing.errors import BadInput
from sandbox_billing.signing.request import canonical_query
from sandbox_billing.web.forwarding import (
    FORWARDED_HEADERS,
    RETURNED_HEADERS,
    UPGRADE_HEADERS,
    forwarded_query,
    request_headers,
    response_headers,
)


STRIPPED = (
    *("Authorization", "Cookie", "Proxy-Authorization", "Host", "Content-Length"),
    *("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Real-IP"),
    *("X-Daytona-Organization-ID", "X-Daytona-Preview-Token", "X-Daytona-Authorization"),
    *("X-Daytona-Skip-Last-Activity-Update", "X-Daytona-Disable-CORS", "X-Daytona-New"),
    *("X-Wallet-Address", "X-Signed-Message", "X-Wallet-Signature", "Idempotency-Key"),
    *("Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Expect"),
    *("Origin", "Referer", "X-HTTP-Method-Override"),
)
"""By name (daytona.md §13), so that a list which grows too far is seen."""

_NAMES = st.one_of(
    st.sampled_from([*STRIPPED, *sorted(FORWARDED_HEADERS | UPGRADE_HEADERS)]),
    st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,20}", fullmatch=True),
)


class RequestTests(SynchronousTestCase):
    """
    L{request_headers}.
    """

    def test_passes(self) -> None:
        """What the SDKs send and a toolbox needs, in lower case."""
        headers = Headers(
            {
                "Content-Type": ["multipart/form-data; boundary=x"],
                "X-Daytona-Source": ["sdk-python"],
                "Accept": ["a/b", "c/d"],
                "Range": ["bytes=0-9"],
                "Sec-WebSocket-Key": ["k"],
            }
        )
        self.assertEqual(
            request_headers(headers, upgrading=False),
            (
                ("accept", "a/b, c/d"),
                ("content-type", "multipart/form-data; boundary=x"),
                ("range", "bytes=0-9"),
                ("x-daytona-source", "sdk-python"),
            ),
        )

    def test_stripped(self) -> None:
        """Who he is and what he may see is not the client's to say, however it is spelt."""
        for upgrading in (False, True):
            for name in STRIPPED:
                for spelt in (name, name.lower(), name.upper()):
                    headers = Headers({spelt: ["x"]})
                    self.assertEqual(request_headers(headers, upgrading=upgrading), (), name)

    def test_handshake(self) -> None:
        """Subprotocols pass with an upgrade only; two lines are one list."""
        headers = Headers({"Sec-WebSocket-Protocol": ["X-Daytona-Pty-Exit-Control", "b"]})
        self.assertEqual(request_headers(headers, upgrading=False), ())
        self.assertEqual(
            request_headers(headers, upgrading=True),
            (("sec-websocket-protocol", "X-Daytona-Pty-Exit-Control, b"),),
        )

    def test_hop_by_hop(self) -> None:
        """What C{Connection} names was for us."""
        headers = Headers({"Connection": ["close, Range"], "Range": ["x"], "Accept": ["y"]})
        self.assertEqual(request_headers(headers, upgrading=False), (("accept", "y"),))

    def test_two_ways(self) -> None:
        """Two of what may stand once, or a control character, are refused."""
        for headers in (
            Headers({"Content-Type": ["a/b", "c/d"]}),
            Headers({"Accept": ["a\x0bb"]}),
            Headers({"User-Agent": ["a\x00"]}),
        ):
            self.assertRaises(BadInput, request_headers, headers, upgrading=False)

    @given(st.dictionaries(_NAMES, st.text(st.characters(max_codepoint=255), max_size=8)))
    def test_nothing_else(self, given_headers: dict[str, str]) -> None:
        """Whatever is sent, only what is named passes, once, and never a line's end."""
        headers = Headers()
        for name, value in given_headers.items():
            headers.addRawHeader(name.encode(), value.encode("latin-1"))
        try:
            passed = request_headers(headers, upgrading=True)
        except BadInput:
            return
        self.assertLessEqual({name for name, _ in passed}, FORWARDED_HEADERS | UPGRADE_HEADERS)
        self.assertEqual(len({name for name, _ in passed}), len(passed))
        for _, value in passed:
            self.assertFalse(set(value) & set("\r\n\0"))


class ResponseTests(SynchronousTestCase):
    """
    L{response_headers}.
    """

    def test_comes_back(self) -> None:
        """What tells of the content; nothing that speaks for Daytona to a browser."""
        headers = Headers(
            {
                "Content-Type": ["text/plain"],
                "Content-Disposition": ["attachment; filename=x"],
                "Location": ["/toolbox/1/x"],
                "Set-Cookie": ["a=b"],
                "Access-Control-Allow-Origin": ["*"],
                "Access-Control-Allow-Credentials": ["true"],
                "WWW-Authenticate": ["Basic"],
                "Server": ["nginx"],
                "X-Powered-By": ["Express"],
                "Transfer-Encoding": ["chunked"],
                "Content-Length": ["3"],
            }
        )
        self.assertEqual(
            response_headers(headers),
            (
                ("content-disposition", "attachment; filename=x"),
                ("content-type", "text/plain"),
                ("location", "/toolbox/1/x"),
            ),
        )

    def test_odd_ones(self) -> None:
        """Hop by hop, or with a control character: left out."""
        headers = Headers({"Connection": ["etag"], "ETag": ["x"], "Content-Type": ["a\x01b"]})
        self.assertEqual(response_headers(headers), ())
        self.assertNotIn("set-cookie", RETURNED_HEADERS)


class QueryTests(SynchronousTestCase):
    """
    L{forwarded_query}.
    """

    def test_key_is_stripped(self) -> None:
        """In any case; the rest stays in its order."""
        query = canonical_query("b=2&DAYTONA_SANDBOX_AUTH_KEY=x&a=1&Daytona_Sandbox_Auth_Key=y")
        self.assertEqual(forwarded_query(query), "b=2&a=1")

    @given(st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=5))
    def test_round_trip(self, fields: list[tuple[str, str]]) -> None:
        """Daytona reads what we read, and no field is made out of another."""
        query = tuple(fields)
        spelt = forwarded_query(query)
        if len(spelt) <= 8192:
            self.assertEqual(canonical_query(spelt), query)
        self.assertFalse(set(spelt) & set("#? \r\n"))
