"""
The door: each wrong header, signature, nonce, expiry, binding and body, with status and text.
"""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from typing import Any

from sandbox_billing.errors import Transient, UnknownOutcome
from sandbox_billing.signing.request import sign_message
from tests.web.asking import AskingTestCase, Reply
from tests.web.world import NOW, OWNER, SANDBOX, STRANGER, World, signed_json


MISMATCH = (401, "signature does not match request")


class FormTests(AskingTestCase):
    """
    Headers that do not say what they must, in the order in which they are judged.
    """

    def listed(self, headers: dict[str, str]) -> tuple[int, str]:
        """What a list with these headers is told."""
        reply = self.ask("GET", "/api/sandbox", headers)
        self.assertEqual(self.world.calls.asked, [])
        self.assertEqual(self.world.guard.seen, set())
        return reply.error

    def test_missing(self) -> None:
        """Without one of the three, nobody has signed."""
        for name in ("X-Wallet-Address", "X-Signed-Message", "X-Wallet-Signature"):
            headers = self.world.signed("list")
            del headers[name]
            self.assertEqual(self.listed(headers), (401, "missing auth headers"))
        self.assertEqual(self.listed({}), (401, "missing auth headers"))

    def test_encoding(self) -> None:
        """The message is standard base64."""
        for text in ("%%%", "eyJ9_-", "e"):
            headers = {**self.world.signed("list"), "X-Signed-Message": text}
            self.assertEqual(self.listed(headers), (401, "invalid X-Signed-Message encoding"))

    def test_message(self) -> None:
        """Every field is there and well formed, the nonce included."""
        spoilt: list[Any] = [
            [],
            {},
            self.world.message(action=""),
            self.world.message(action=1),
            self.world.message(expires_at=str(NOW + 300)),
            self.world.message(expires_at=NOW + 0.5),
            self.world.message(expires_at=True),
            self.world.message(nonce=""),
            self.world.message(nonce="short"),
            self.world.message(nonce="x" * 65),
            self.world.message(nonce="0123456789abcdef*"),
            self.world.message(payload=[]),
            self.world.message(payload=None),
            self.world.message(resource_id=None),
            self.world.message(audience="me"),
            self.world.message(chain_id="16602"),
            self.world.message(body_sha256="00"),
        ]
        for message in spoilt:
            self.assertEqual(
                self.listed(signed_json(message)), (401, "invalid signed message JSON")
            )
        for raw in (b"no json", b"\xff", b'{"action":1,"action":2}'):
            headers = {
                **self.world.signed("list"),
                "X-Signed-Message": base64.b64encode(raw).decode(),
            }
            self.assertEqual(self.listed(headers), (401, "invalid signed message JSON"))

    def test_expiry(self) -> None:
        """C{now < expires_at <= now + 330}."""
        for ahead, text in (
            (0, "request expired"),
            (-1, "request expired"),
            (331, "expires_at too far in future"),
        ):
            headers = self.world.signed("list", expires_at=NOW + ahead)
            self.assertEqual(self.listed(headers), (401, text))
        for ahead in (1, 330):
            headers = self.world.signed("list", expires_at=NOW + ahead)
            self.assertEqual(self.ask("GET", "/api/sandbox", headers).status, 200)

    def test_expiry_before_signature(self) -> None:
        """An old and wrongly signed request is told that it is old."""
        headers = self.world.signed("list", expires_at=NOW - 1)
        headers["X-Wallet-Signature"] = "0x00"
        self.assertEqual(self.listed(headers), (401, "request expired"))

    def test_signature(self) -> None:
        """Another author, a malformed address and a malformed signature are one error."""
        good = self.world.signed("list")
        other = self.world.signed("list", key=STRANGER)
        for name, text in (
            ("X-Wallet-Address", other["X-Wallet-Address"]),
            ("X-Wallet-Signature", other["X-Wallet-Signature"]),
            ("X-Signed-Message", other["X-Signed-Message"]),
            ("X-Wallet-Address", "0x1234"),
            ("X-Wallet-Signature", "0x1234"),
            ("X-Wallet-Signature", good["X-Wallet-Signature"][2:]),
            ("X-Wallet-Signature", "0x" + "00" * 65),
            ("X-Wallet-Signature", good["X-Wallet-Signature"][:-2] + "1d"),
        ):
            self.assertEqual(self.listed({**good, name: text}), (401, "invalid signature"))

    def test_spellings_of_the_wallet(self) -> None:
        """The address is compared whatever its case, and v may be 0 or 1."""
        headers = self.world.signed("list")
        headers["X-Wallet-Address"] = headers["X-Wallet-Address"].lower()
        v = int(headers["X-Wallet-Signature"][-2:], 16) - 27
        headers["X-Wallet-Signature"] = headers["X-Wallet-Signature"][:-2] + f"{v:02x}"
        self.assertEqual(self.ask("GET", "/api/sandbox", headers).status, 200)

    def test_token_beside_signature(self) -> None:
        """Which of the two was meant is not guessed."""
        headers = {**self.world.signed("list"), "Authorization": "Bearer x"}
        self.assertEqual(self.listed(headers), (400, "either a token or a signature, not both"))

    def test_header_twice(self) -> None:
        """Nor which of two wallets."""
        headers: Any = self.world.signed("list")
        headers["X-Wallet-Address"] = [headers["X-Wallet-Address"]] * 2
        self.assertEqual(self.listed(headers), (400, "X-Wallet-Address stands twice"))

    def test_wire_vector(self) -> None:
        """The example of wire.md §4, byte for byte, opens the door at its time."""
        self.world.wall.moment = 1709500000 - 300
        raw = (
            b'{"action":"create","expires_at":1709500000,'
            b'"nonce":"a3f8c2d1e4b7069512345678abcdef01","payload":{},"resource_id":""}'
        )
        headers = sign_message(OWNER, raw)
        self.assertEqual(
            headers["X-Wallet-Signature"],
            "0xf13aed4c4208bc1612f3c2a86354741f02d87886b3990905c4fdbf2f4ea92c620f9cbcad9fa186fff"
            "fff1e4023b9ce1919837e70b1cfcf6135b3d51e692b4c5d1b",
        )
        self.assertEqual(self.ask("POST", "/api/sandbox", headers).status, 200)


class NonceTests(AskingTestCase):
    """
    Once, and only by what got through the door.
    """

    def test_once(self) -> None:
        """The same headers a second time change nothing."""
        path = f"/api/sandbox/{SANDBOX}/stop"
        headers = self.world.signed("stop", SANDBOX)
        self.assertEqual(self.ask("POST", path, headers).status, 200)
        self.assertEqual(self.ask("POST", path, headers).error, (401, "nonce already used"))
        self.assertEqual(len(self.world.calls.asked), 1)

    def test_per_wallet(self) -> None:
        """Nobody can use up another wallet's nonce (A3)."""
        nonce = "0" * 32
        for key in (OWNER, STRANGER):
            headers = self.world.signed("list", key=key, nonce=nonce)
            self.assertEqual(self.ask("GET", "/api/sandbox", headers).status, 200)

    def test_not_burnt_by_a_mismatch(self) -> None:
        """A signature shown at the wrong door still opens the right one."""
        headers = self.world.signed("stop", SANDBOX)
        wrong = self.ask("DELETE", f"/api/sandbox/{SANDBOX}", headers)
        self.assertEqual(wrong.error, MISMATCH)
        right = self.ask("POST", f"/api/sandbox/{SANDBOX}/stop", headers)
        self.assertEqual(right.status, 200)

    def test_expires_with_the_message(self) -> None:
        """The guard is told until when it must remember."""
        self.ask("GET", "/api/sandbox", self.world.signed("list", nonce="n" * 16))
        self.assertEqual(
            self.world.guard.calls.asked, [("first_use", OWNER.address, "n" * 16, NOW + 300)]
        )

    def test_guard_unavailable(self) -> None:
        """When it cannot be known whether a nonce was used, nothing is done."""
        for problem in (Transient("redis is gone"), UnknownOutcome("no reply")):
            self.world.guard.calls.failing["first_use"] = problem
            reply = self.ask_signed("POST", f"/api/sandbox/{SANDBOX}/stop", "stop", SANDBOX)
            self.assertEqual(
                reply.error, (503, "the nonce could not be checked; sign again and retry")
            )
        self.assertEqual(self.world.calls.asked, [])


class BindingTests(AskingTestCase):
    """
    A signature is for one request (A1, A2).
    """

    def tried(self, method: str, target: str, headers: dict[str, str], body: bytes = b"") -> Reply:
        """One request."""
        return self.ask(method, target, headers, body)

    def test_other_verbs_and_ids(self) -> None:
        """Signed for one verb and id, useless for all others."""
        path = f"/api/sandbox/{SANDBOX}"
        for method, target, action, id in (
            ("DELETE", path, "list", SANDBOX),
            ("DELETE", path, "stop", SANDBOX),
            ("DELETE", path, "delete", "other"),
            ("DELETE", path, "delete", ""),
            ("POST", f"{path}/start", "stop", SANDBOX),
            ("POST", f"{path}/start", f"POST:{path}/stop", ""),
            ("POST", f"{path}/start", f"POST:{path}/start", SANDBOX),
            ("DELETE", path, f"GET:{path}", ""),
            ("GET", path, f"get:{path}", ""),
            ("GET", "/api/sandbox", "create", ""),
            ("GET", path, "list", "other"),
        ):
            reply = self.tried(method, target, self.world.signed(action, id))
            self.assertEqual(reply.error, MISMATCH, (method, target, action, id))
        self.assertEqual(self.world.calls.asked, [])

    def test_both_dialects(self) -> None:
        """Verb with id, list without, method with path, and the path behind a proxy page."""
        path = f"/api/sandbox/{SANDBOX}"
        for action, id in (
            ("list", SANDBOX),
            ("list", ""),
            (f"GET:{path}", ""),
            (f"GET:/proxy/0x{'ab' * 20}{path}", ""),
        ):
            self.assertEqual(self.tried("GET", path, self.world.signed(action, id)).status, 200)

    def test_head_is_a_get(self) -> None:
        """A signature for GET opens HEAD: it shows less."""
        headers = self.world.signed("GET:/api/sandbox")
        reply = self.tried("HEAD", "/api/sandbox", headers)
        self.assertEqual((reply.status, reply.json), (200, None))
        shown = len(b'{"items":[],"nextCursor":null}')
        self.assertEqual(reply.header("Content-Length"), str(shown))

    def test_query(self) -> None:
        """Unsigned on GET only; signed, it must be equal."""
        ok = self.tried("GET", "/api/sandbox?limit=5", self.world.signed("list"))
        self.assertEqual(ok.status, 200)
        headers = self.world.signed("GET:/api/sandbox?limit=5")
        self.assertEqual(self.tried("GET", "/api/sandbox?limit=6", headers).error, MISMATCH)
        path = f"/api/sandbox/{SANDBOX}/stop"
        headers = self.world.signed("stop", SANDBOX)
        self.assertEqual(self.tried("POST", f"{path}?force=false", headers).error, MISMATCH)

    def test_body(self) -> None:
        """What was signed is what is sent, as JSON values."""
        body = {"name": "a", "cpu": 1}
        signed = self.world.signed("create", body=json.dumps(body).encode())
        for other in (b'{"name":"a","cpu":2}', b'{"name":"a"}', b'{"name":"a","cpu":true}', b""):
            self.assertEqual(self.tried("POST", "/api/sandbox", signed, other).error, MISMATCH)
        same = b'{ "cpu": 1, "name": "\\u0061" }'
        self.assertEqual(self.tried("POST", "/api/sandbox", signed, same).status, 200)

    def test_unsigned_body(self) -> None:
        """An empty payload stands for a body only where the operator lets it."""
        body = b'{"name":"a"}'
        for binding, status in (("toolbox-compat", 401), ("strict", 401), ("compat", 200)):
            world = self.world.with_terms(auth_binding=binding)
            reply = self.ask("POST", "/api/sandbox", world.signed("create"), body, world=world)
            self.assertEqual(reply.status, status)

    def test_body_by_hash(self) -> None:
        """A long body is signed by its hash."""
        body = json.dumps({"env": {"A": "x" * 9000}}).encode()
        message = self.world.message(action="create", body_sha256=sha256(body).hexdigest())
        headers = signed_json(message)
        self.assertEqual(self.tried("POST", "/api/sandbox", headers, body + b" ").error, MISMATCH)
        self.assertEqual(self.tried("POST", "/api/sandbox", headers, body).status, 200)

    def test_audience(self) -> None:
        """Another provider's and another chain's requests are not ours (A2)."""
        for changes in ({"audience": CONTRACT_OF_ANOTHER}, {"chain_id": 1}):
            headers = signed_json(self.world.message(**changes))
            self.assertEqual(self.tried("GET", "/api/sandbox", headers).error, MISMATCH)
        headers = signed_json(self.world.message())
        self.assertEqual(self.tried("GET", "/api/sandbox", headers).status, 200)
        strict = self.world.with_terms(audience_required=True)
        headers = signed_json(strict.message())
        self.assertEqual(self.ask("GET", "/api/sandbox", headers, world=strict).error, MISMATCH)
        named = strict.signed("list")
        self.assertEqual(self.ask("GET", "/api/sandbox", named, world=strict).status, 200)


CONTRACT_OF_ANOTHER = "0x" + "99" * 20


class BodyTests(AskingTestCase):
    """
    What a body may be.
    """

    def created(self, body: bytes, content_type: str | None = "application/json") -> Reply:
        """A create with a body that is signed by its hash, whatever it is."""
        message = self.world.message(action="create", body_sha256=sha256(body).hexdigest())
        headers = signed_json(message)
        # An empty type, that the test case adds none.
        headers["Content-Type"] = content_type or ""
        return self.ask("POST", "/api/sandbox", headers, body)

    def test_content_type(self) -> None:
        """JSON that does not say so is not read."""
        for content_type in (None, "text/plain", "application/x-www-form-urlencoded", "json"):
            reply = self.created(b"{}", content_type)
            self.assertEqual(reply.error, (415, "the body must be application/json"))
        self.assertEqual(self.created(b"{}", "Application/JSON; charset=utf-8").status, 200)

    def test_not_json(self) -> None:
        """Each is refused before intake hears of it, and none is a 500 (V1)."""
        for body, text in (
            (b"{", "not JSON: Expecting property name enclosed in double quotes at character 1"),
            (b"\xff{}", "the JSON is not UTF-8"),
            (b"\xef\xbb\xbf{}", "the JSON begins with a byte order mark"),
            (b'{"a":1,"a":1}', "a key stands twice in one object of the JSON"),
            (b'{"cpu":NaN}', "NaN is not JSON"),
            (b'{"a":' * 33 + b"1" + b"}" * 33, "the JSON is deeper than 32"),
            (b"null", "the body must be a JSON object"),
            (b"[]", "the body must be a JSON object"),
            (b'"x"', "the body must be a JSON object"),
        ):
            self.assertEqual(self.created(body).error, (400, text))
        self.assertEqual(self.world.calls.asked, [])

    def test_too_large(self) -> None:
        """One byte over the limit is too much; the limit itself is not."""
        limit = 256 * 1024
        filled = b'{"user":"' + b"x" * (limit - 11) + b'"}'
        self.assertEqual(len(filled), limit)
        # Read, and refused for what it says.
        self.assertEqual(self.created(filled).status, 400)
        self.assertEqual(self.created(filled + b" ").error, (413, "request body too large"))

    def test_too_large_for_its_route(self) -> None:
        """What anybody may send, and what says little, is bounded more closely."""
        large = (413, "request body too large")
        for path, limit in (("/api/auth/session", 16), (f"/api/sandbox/{SANDBOX}/resize", 64)):
            filled = b'{"cpu":"' + b"x" * (limit * 1024 - 10) + b'"}'
            for body, refused in ((filled, False), (filled + b" ", True)):
                digest = sha256(body).hexdigest()
                message = self.world.message(action=f"POST:{path}", body_sha256=digest)
                reply = self.ask("POST", path, signed_json(message), body)
                self.assertEqual(reply.error == large, refused, (path, reply.error))

    def test_many_values(self) -> None:
        """What would keep a parser busy for all is not parsed."""
        body = b'{"env":[' + b"{}," * 4000 + b"{}]}"
        self.assertEqual(self.created(body).error, (400, "the JSON holds more than 4000 values"))

    def test_where_none_is_asked(self) -> None:
        """C{{}} is no body; anything else is refused where nothing is asked."""
        path = f"/api/sandbox/{SANDBOX}/stop"
        self.assertEqual(self.ask_signed("POST", path, "stop", SANDBOX, {}).status, 200)
        reply = self.ask_signed("POST", path, "stop", SANDBOX, {"force": True})
        self.assertEqual(reply.error, (400, "this request takes no body"))
        reply = self.ask("GET", "/healthz", {}, b'{"a":1}')
        self.assertEqual(reply.error, (400, "this request takes no body"))

    def test_payload_errors_after_the_door(self) -> None:
        """An unsigned bad body is told to sign first."""
        reply = self.ask("POST", "/api/sandbox", {}, b"{")
        self.assertEqual(reply.error, (401, "missing auth headers"))

    def test_worlds_are_apart(self) -> None:
        """A test's world never saw what another's did."""
        self.assertEqual(World().guard.seen, set())
