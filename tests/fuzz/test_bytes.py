"""
Bytes that are hardly HTTP, before the real site, the real client and a simulated Daytona.

Everything is in one process and in memory: what was sent, how it was cut into pieces and
what came of it is found again from the example alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from attrs import evolve, frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.ledger.token import Grant, Scope
from sandbox_billing.signing.siwe import sign_login
from sandbox_billing.web._routes import ANY, METHODS, Who
from tests.fuzz.test_document import possessions, reached_for, unnamed
from tests.services.lives import DOMAIN, PROVIDER
from tests.web.test_every_route import OWNER, STRANGER, Bench
from tests.web.test_spellings import table_of
from tests.web.world import TERMS
from tests.web.world import World as Stage


STATUSES = frozenset(
    {100, 200, 204, 400, 401, 402, 403, 404, 405, 408, 409, 411, 413, 415, 417, 422, 429, 431}
    | {501, 502, 503, 504, 505}
)
"""What may be answered; 501 and 505 are HTTP's own, for what no site of this kind does."""

MINE, THEIRS, TOKEN = "{mine}", "{theirs}", "{token}"
"""Stand in an example for what each world makes anew."""

_ROWS = tuple(
    (method, route.pattern)
    for route in table_of(Stage()).routes
    if route.who is not Who.NOBODY
    for method in (("GET", "POST") if route.method == ANY else (route.method,))
)

_BODIES = (
    b"",
    b"{}",
    b'{"snapshot":"daytona-small"}',
    b'{"labels":{"a":"b"}}',
    b'{"cpu":2}',
    b'{"networkBlockAll":true}',
    b'{"volumes":[{"volumeId":"x"}]}',
    b'{"a":1,"a":2}',
    b"[" * 3000,
    b'{"cpu":1e400}',
    b'"\\ud800"',
)
_USUAL = {
    "/api/sandbox": b'{"snapshot":"daytona-small"}',
    "/api/sandbox/{id}/labels": b'{"labels":{"a":"b"}}',
    "/api/sandbox/{id}/resize": b'{"cpu":2}',
    "/api/sandbox/{id}/network-settings": b'{"networkBlockAll":true}',
}
_HIDDEN = (
    b"DELETE /api/sandbox/{mine} HTTP/1.1\r\nHost: x\r\n\r\n",
    b"0\r\n\r\nPOST /api/sandbox/{mine}/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
)


@frozen(kw_only=True)
class Sent:
    """
    One connection's bytes.

    @ivar is_known: Whether a token of L{OWNER} is among them.
    """

    raw: bytes
    cuts: tuple[int, ...] = ()
    is_known: bool = False

    def pieces(self, world: Mapping[str, str]) -> list[bytes]:
        """As they arrive in this world."""
        raw = self.raw
        for name, value in world.items():
            raw = raw.replace(name.encode("ascii"), value.encode("ascii"))
        at = [0, *sorted(cut % (len(raw) + 1) for cut in self.cuts), len(raw)]
        return [raw[a:b] for a, b in pairwise(at) if a < b]


def odd_texts() -> st.SearchStrategy[str]:
    """Short, and with what HTTP or a path reads twice."""
    signs = "/\\%?#.;:@&=+ \t\r\n\0\x0b\x7f\x85\xa0\xff{}[]()<>\"',*aZ09-_~"
    return st.text(st.sampled_from(signs), max_size=8) | st.sampled_from(
        ["..", "%2e%2e", "%2f", "%00", "%0d%0a", "%zz", "%C3%A9", "//", "/../", "http://x/", "null"]
    )


def ids() -> st.SearchStrategy[str]:
    """Of both users, and nobody's."""
    return st.sampled_from([MINE, MINE, THEIRS, "paginated", "for-runner", "nobody"]) | odd_texts()


@st.composite
def targets(draw: st.DrawFn, pattern: str, faults: frozenset[str]) -> str:
    """
    A target of a row.
    """
    odd = odd_texts()
    target = pattern.replace("{id}", draw(ids() if "id" in faults else st.just(MINE)))
    for name, usual in (
        *(("port", "3000"), ("token", "tok3n"), ("trace", "0af7"), ("flag", "false")),
        *(("snapshot", "daytona-small"),),
    ):
        target = target.replace("{" + name + "}", draw(odd if "part" in faults else st.just(usual)))
    target = target.replace("**", draw(odd if "part" in faults else st.just("files")) or "a")
    if pattern.endswith(("/logs", "/traces", "/metrics")):
        target += "?from=2025-01-01T00:00:00Z&to=2025-01-02T00:00:00Z"
    if "query" in faults:
        names = st.sampled_from(["labels", "limit", "page", "cursor", "verbose", "from", "token"])
        pairs = draw(st.lists(st.tuples(names | odd, odd), min_size=1, max_size=3))
        target += "&" if "?" in target else "?"
        target += "&".join(f"{name}={value}" for name, value in pairs)
    if "target" in faults:
        at = draw(st.integers(0, len(target)))
        target = target[:at] + draw(odd) + target[at:]
    return target.swapcase() if "case" in faults else target


def header_lines() -> st.SearchStrategy[str]:
    """Each whole, but for its end."""
    usual = st.sampled_from(
        [
            "Host: x",
            "Host: {theirs}",
            "Connection: close",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
            "Expect: 100-continue",
            "Content-Type: application/json",
            "Content-Type: text/plain",
            "Content-Length: 0",
            "Content-Length: 5",
            "Content-Length: -1",
            "Content-Length: +1",
            "Content-Length: 99999999999999999999",
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: gzip, chunked",
            "Authorization: Bearer nothing",
            "Authorization: Basic YTpi",
            "X-Wallet-Address: 0x00",
            "X-Signed-Message: e30=",
            "X-Wallet-Signature: 0x00",
            "X-Daytona-Organization-ID: other",
            "X-Forwarded-For: 10.0.0.1",
            "Idempotency-Key: k",
            "Origin: null",
            " folded: x",
            "no colon",
        ]
    )
    return usual | st.builds("{}: {}".format, odd_texts(), odd_texts())


def chunked(body: bytes, size: int) -> bytes:
    """A body in chunks of a size."""
    parts = (body[at : at + size] for at in range(0, len(body), size))
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


FAULTS = (
    *("id", "id", "part", "query", "query", "target", "case", "method", "version", "headers"),
    *("headers", "host", "body", "body", "framing", "type", "end", "noise", "hidden", "nobody"),
)


@st.composite
def messages(draw: st.DrawFn) -> Sent:
    """A request of a row, with two faults at most: with more, it is refused for the first."""
    faults = frozenset(draw(st.lists(st.sampled_from(FAULTS), max_size=2)))
    method, pattern = draw(st.sampled_from(_ROWS))
    target = draw(targets(pattern, faults))
    if "method" in faults:
        others = [*sorted(METHODS), "get", "TRACE", "CONNECT", "PRI", "", "GE T", "\0"]
        method = draw(st.sampled_from(others))
    odd_versions = st.sampled_from(["HTTP/1.0", "HTTP/2.0", "HTTP/1.1 ", "HTTP/0.9", ""])
    version = draw(odd_versions) if "version" in faults else "HTTP/1.1"
    lines = draw(st.lists(header_lines(), min_size=1, max_size=3)) if "headers" in faults else []
    lines += [] if "host" in faults else ["Host: x"]
    is_known = "nobody" not in faults
    lines += [f"Authorization: Bearer {TOKEN}"] if is_known else []
    body = (
        draw(st.sampled_from(_BODIES) | st.binary(max_size=40))
        if "body" in faults
        else (_USUAL.get(pattern, b"") if method in ("POST", "PUT") else b"")
    )
    lines += ["Content-Type: application/json"] if body and "type" not in faults else []
    if draw(st.booleans()) or "framing" in faults:
        lines.append("Transfer-Encoding: chunked")
        body = chunked(body, draw(st.integers(1, 9)))
        if "framing" in faults:
            body = draw(st.sampled_from([body[:-1], body.replace(b"\r", b""), b"g\r\n" + body]))
    elif body or method in ("POST", "PUT"):
        lines.append(f"Content-Length: {len(body)}")
    head = "\r\n".join([" ".join([method, target, version]), *draw(st.permutations(lines)), "", ""])
    if "end" in faults:
        parts = head.split("\r\n")
        at = draw(st.integers(1, len(parts) - 1))
        ends = st.sampled_from(["\n", "\r", "\r\r\n", "\0\r\n"])
        head = "\r\n".join(parts[:at]) + draw(ends) + "\r\n".join(parts[at:])
    raw = head.encode("utf-8", "replace") + body
    raw += draw(st.sampled_from(_HIDDEN)) if "hidden" in faults else b""
    if "noise" in faults:
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.binary(min_size=1, max_size=6)) + raw[at:]
    cuts = draw(st.lists(st.integers(0, 400), max_size=3))
    return Sent(raw=raw, cuts=tuple(cuts), is_known=is_known)


def conversations() -> st.SearchStrategy[list[Sent]]:
    """A few connections, one after the other, and sometimes mere noise."""
    noise = st.binary(max_size=80).map(lambda raw: Sent(raw=raw))
    return st.lists(st.one_of(*[messages()] * 12, noise), min_size=1, max_size=5)


def dechunked(raw: bytes) -> tuple[bytes, bytes]:
    """A body that came in chunks, as far as it came (a stream is cut), and what follows it."""
    body = b""
    while raw and not raw.startswith(b"HTTP/1."):
        size, _, raw = raw.partition(b"\r\n")
        length = int(size, 16)
        body, raw = body + raw[:length], raw[length:].removeprefix(b"\r\n")
        if not length:
            break
    return body, raw


def replies(raw: bytes) -> list[tuple[int, dict[str, str], bytes]]:
    """
    What was answered on a connection.

    @raise AssertionError: It is no sequence of whole replies.
    """
    found = []
    while raw:
        head, separator, raw = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        version, status, *_ = lines[0].split(" ")
        assert separator and version in ("HTTP/1.0", "HTTP/1.1"), head
        headers = {n.lower(): v for n, _, v in (line.partition(": ") for line in lines[1:])}
        if status == "100":
            body = b""
        elif "content-length" in headers:
            length = int(headers["content-length"])
            # A HEAD's reply tells the length of a body that does not come.
            length = 0 if raw.startswith(b"HTTP/1.") or not raw else length
            assert len(raw) >= length, "a reply that broke off"
            body, raw = raw[:length], raw[length:]
        elif headers.get("transfer-encoding") == "chunked":
            body, raw = dechunked(raw)
        else:
            body, raw = raw, b""
        found.append((int(status), headers, body))
    return found


class Wire(StringTransport):
    """Takes back a producer that was never there, as sockets do."""

    def unregisterProducer(self) -> None:
        self.producer = None


class Street:
    """
    A bench, a token of its owner, and what must be true of every connection.
    """

    def __init__(self) -> None:
        self.bench = Bench()
        world = self.bench.world
        grant = Grant(provider=PROVIDER, scopes=tuple(Scope), life_seconds=3600)
        login = sign_login(
            OWNER,
            url=TERMS.sign_in_url,
            chain_id=DOMAIN.chain_id,
            resources=grant.resources(),
            nonce="0123456789abcdef",
            issued_at=world.wall.now(),
        )
        self.token = ""
        (_status, _headers, told), *_ = self.answers(
            Sent(
                raw=b"POST /api/auth/session HTTP/1.0\r\nContent-Type: application/json\r\n"
                + b"Content-Length: %d\r\n\r\n" % len(json.dumps(login))
                + json.dumps(login).encode()
            )
        )
        self.token = json.loads(told)["token"]

    def answers(self, sent: Sent) -> list[tuple[int, dict[str, str], bytes]]:
        """Send all, wait as long as a client would, and hang up."""
        bench, transport = self.bench, Wire()
        world = {MINE: bench.mine, THEIRS: bench.theirs, TOKEN: self.token}
        channel = bench.site.buildProtocol(None)
        channel.makeConnection(transport)
        for piece in sent.pieces(world):
            if not transport.disconnecting:
                channel.dataReceived(piece)
            bench.world.flush()
        for turn in range(12):
            bench.world.flush()
            if transport.disconnecting:
                break
            if turn > 3:
                bench.world.advance(1)
        # Nobody waits for the rest of a request for ever.
        bench.site.reactor.advance(40)
        bench.world.flush()
        channel.connectionLost(Failure(ConnectionDone()))
        bench.world.flush()
        return replies(transport.value())

    def faults(self, sent: Sent) -> list[str]:
        """What was wrong with all that came of it."""
        bench = self.bench
        find, received = bench.world.simulator.find, bench.world.simulator.received
        received.clear()
        bench.relay.calls.clear()
        before = (
            possessions(find(bench.theirs)),
            possessions(bench.world.simulator.records[bench.mine]),
        )
        told = self.answers(sent)
        found = [f"unnamed: {one}" for one in unnamed(received)]
        found += [f"reached for: {one}" for one in reached_for(received, bench.theirs)]
        found += [f"streamed: {one}" for one in bench.relay.calls if bench.mine not in one]
        after = (
            possessions(find(bench.theirs)),
            possessions(bench.world.simulator.records[bench.mine]),
        )
        if after[0] != before[0]:
            found.append("another wallet's sandbox was changed")
        if not sent.is_known and (after[1] != before[1] or bench.relay.calls):
            found.append("a sandbox was reached by nobody")
        for status, headers, body in told:
            found += self._faults_of(sent, status, headers, body)
        return found

    def _faults_of(
        self, sent: Sent, status: int, headers: dict[str, str], body: bytes
    ) -> list[str]:
        found = [] if status in STATUSES else [f"status {status}"]
        if status in (100, 204) or not body:
            return found
        if THEIRS.encode() not in sent.raw and self.bench.theirs.encode() in body:
            found.append("another wallet's sandbox was shown")
        if status < 400 and "json" not in headers["content-type"]:
            # A page, a table, a stream of notices: each is tested where it is made.
            return found if "x-request-id" in headers else [*found, f"{status} without its id"]
        document: Any = json.loads(body)
        if status >= 400:
            shape = {"error", "statusCode", "message", "path", "timestamp"}
            if not shape <= document.keys() or document["statusCode"] != status:
                found.append(f"an error without its shape: {document}")
            elif not document["error"]:
                found.append(f"{status} without a reason")
        if "x-request-id" not in headers:
            found.append(f"{status} without X-Request-Id")
        return found


def request(method: str, path: str, *lines: str, body: bytes = b"", is_known: bool = True) -> Sent:
    """A request that is right."""
    token = [f"Authorization: Bearer {TOKEN}"] if is_known else []
    head = [f"{method} {path} HTTP/1.1", "Host: x", *token, *lines, "", ""]
    return Sent(raw="\r\n".join(head).encode() + body, is_known=is_known)


class BytesTests(SynchronousTestCase):
    """
    Whatever arrives, the laws hold.
    """

    @example([request("GET", "/api/sandbox/{mine}"), request("GET", "/api/sandbox/{theirs}")])
    @example(
        [request("POST", "/api/sandbox/{mine}/stop", "Transfer-Encoding: chunked", body=_HIDDEN[1])]
    )
    @example(
        [request("GET", "/toolbox/{mine}/files?path=x"), request("GET", "/toolbox/{theirs}/x")]
    )
    @example([request("HEAD", "/api/sandbox/paginated"), request("BREW", "/openapi.json")])
    # Each makes a world of its own and asks several things there.
    @settings(max_examples=settings.default.max_examples // 2)
    @given(conversations())
    def test_laws(self, sent: list[Sent]) -> None:
        """No failure that nobody chose, nothing behind us that no row names, nobody else's."""
        street = Street()
        for one in sent:
            self.assertEqual(street.faults(one), [], one)
        # What was logged as a failure is an error of this test, too: of the example.
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_streams_and_pages(self) -> None:
        """What is no JSON is looked at, too: chunks, tables and files."""
        street = Street()
        for path in ("/api/events/stream", "/api/usage?format=csv", "/", "/page/app.js"):
            (status, headers, body), *_ = street.answers(request("GET", path))
            self.assertEqual(status, 200, path)
            self.assertNotIn("json", headers["content-type"])
            self.assertEqual(street.faults(request("GET", path)), [])
            self.assertFalse(body.startswith(b"HTTP"))

    def test_reaches(self) -> None:
        """The token is one, and a right request gets through: else nothing is shown."""
        street = Street()
        (status, _headers, body), *_ = street.answers(request("GET", "/api/sandbox/{mine}"))
        self.assertEqual((status, json.loads(body)["id"]), (200, street.bench.mine))
        (status, *_), *_ = street.answers(request("GET", "/api/sandbox/{theirs}"))
        self.assertEqual(status, 403)

    def test_can_fail(self) -> None:
        """Each law finds what breaks it."""
        street = Street()
        good = request("POST", "/api/sandbox/{mine}/stop", "Content-Length: 0")
        self.assertEqual(street.faults(good), [])
        nobodys = evolve(request("DELETE", "/api/sandbox/{mine}"), is_known=False)
        street = Street()
        self.assertEqual(street.faults(nobodys), ["a sandbox was reached by nobody"])
        street = Street()
        street.bench.theirs = street.bench.mine
        self.assertIn(
            "another wallet's sandbox was shown", street.faults(request("GET", "/api/sandbox"))
        )
        self.assertEqual(street._faults_of(good, 500, {}, b""), ["status 500"])
        found = street._faults_of(good, 502, {"x-request-id": "r"}, b'{"error":""}')
        self.assertEqual(found, ["an error without its shape: {'error': ''}"])
        self.assertRaises(
            AssertionError, replies, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"
        )

    def test_the_stranger_is_one(self) -> None:
        """Both users of the bench have a sandbox."""
        bench = Bench()
        labels = bench.world.simulator.find(bench.theirs).labels
        self.assertEqual(labels["daytona-owner"], STRANGER.address.hex)
