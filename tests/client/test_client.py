"""The blocking client over sockets: files, streams of notices, and connections that fail."""

from __future__ import annotations

import io
import json
import os
import socket
from hashlib import sha256
from pathlib import Path
from typing import Any

from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.client import (
    BadRequest,
    Client,
    ConnectionLost,
    Garbled,
    KeySigner,
    NotConnected,
    NotFound,
    Unauthorized,
)
from sandbox_billing.client.sse import NoticeParser
from sandbox_billing.errors import BadInput
from sandbox_billing.signing.request import SignedHeaders
from tests.client.local import Handler, Local


# A WELL-KNOWN DEVELOPMENT KEY: 32 bytes of 0x11 (wire.md §2).
SECRET = "11" * 32
CONTENT = os.urandom(700_000)


def client(local: Local, **more: Any) -> Client:
    """One that never waits."""
    return Client(
        local.url,
        KeySigner.from_hex(SECRET),
        provider="0x" + "22" * 20,
        chain_id=1,
        sleep=lambda _seconds: None,
        **more,
    )


class FileTests(SynchronousTestCase):
    """In and out."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def test_upload(self) -> None:
        """A file is sent as a form of known length, and signed by its hash."""
        here = self.folder / "here.bin"
        here.write_bytes(CONTENT)
        local = Local.start(self, lambda handler, _body: handler.tell({}))
        with client(local) as at:
            at.upload("box", here, "/tmp/ü b.bin")
            at.upload("box", b"small", "c")
        self.assertEqual(
            local.asked[0], "POST /toolbox/box/files/upload?path=%2Ftmp%2F%C3%BC%20b.bin"
        )
        self.assertIn(CONTENT, local.bodies[0])
        self.assertIn(b"\r\n\r\nsmall\r\n", local.bodies[1])
        headers = local.headers[0]
        message = SignedHeaders.parse(
            headers["x-wallet-address"], headers["x-signed-message"], headers["x-wallet-signature"]
        )
        self.assertEqual(message.body_sha256, sha256(local.bodies[0]).hexdigest())
        self.assertRaises(BadInput, client(local).upload, "box", self.folder / "none", "x")

    def test_download(self) -> None:
        """Whole, into a file or an open one."""
        local = Local.start(self, lambda handler, _body: handler.give(CONTENT))
        target, memory = self.folder / "back.bin", io.BytesIO()
        with client(local) as at:
            self.assertEqual(at.download("box", "a", target), len(CONTENT))
            self.assertEqual(at.download("box", "a", memory), len(CONTENT))
        self.assertEqual((target.read_bytes(), memory.getvalue()), (CONTENT, CONTENT))

    def test_broken_off(self) -> None:
        """Half a file is none, what was there before stays, and nothing is left lying about."""
        local = Local.start(self, lambda handler, _body: handler.give(CONTENT, length=10**6))
        target = self.folder / "back.bin"
        target.write_bytes(b"before")
        with client(local) as at:
            self.assertRaises(ConnectionLost, at.download, "box", "a", target)
        self.assertEqual(target.read_bytes(), b"before")
        self.assertEqual(os.listdir(self.folder), ["back.bin"])

    def test_refused(self) -> None:
        """The error is read, and not written into the file."""
        local = Local.start(
            self, lambda handler, _body: handler.tell({"error": "no such file"}, 404)
        )
        target = self.folder / "back.bin"
        with client(local) as at:
            found = self.assertRaises(NotFound, at.download, "box", "a", target)
        self.assertEqual((str(found), target.exists()), ("no such file", False))


class ConnectionTests(SynchronousTestCase):
    """What fails below HTTP."""

    def test_nobody(self) -> None:
        """Nobody listens: it was never sent, and that is what is said."""
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{held.getsockname()[1]}"
            at = Client(url, token="sbt_x", sleep=lambda _seconds: None)
            found = self.assertRaises(NotConnected, at.exec, "a", "b")
        self.assertIn("nobody listens", str(found))

    def test_no_host(self) -> None:
        """An address that is none."""
        for url in ("nonsense", "ftp://127.0.0.1", "http://"):
            at = Client(url, token="sbt_x", sleep=lambda _seconds: None)
            self.assertRaises(BadRequest, at.get, "a")

    def test_silence(self) -> None:
        """Who says nothing is given up, and nobody knows what was done."""
        local = Local.start(self, lambda handler, _body: handler.drop())
        with client(local) as at:
            self.assertRaises(ConnectionLost, at.exec, "box", "x")
            self.assertEqual(len(local.asked), 1)
            self.assertRaises(ConnectionLost, at.create)
        self.assertEqual(len({one.get("idempotency-key") for one in local.headers}), 2)
        self.assertEqual(len({one["x-signed-message"] for one in local.headers}), 7)

    def test_redirect(self) -> None:
        """A token is never carried to where an answer points."""
        other = Local.start(self, lambda handler, _body: handler.tell({}))
        local = Local.start(
            self, lambda handler, _body: handler.tell({}, 307, Location=f"{other.url}/x")
        )
        self.assertRaises(Garbled, Client(local.url, token="sbt_x").get, "a")
        self.assertEqual(other.asked, [])

    def test_netrc(self) -> None:
        """A C{~/.netrc} for the host does not take the place of the token."""
        folder = Path(self.mktemp())
        folder.mkdir()
        netrc = folder / "netrc"
        netrc.write_text("default login a password b\n")
        netrc.chmod(0o600)
        self.patch(os, "environ", {**os.environ, "NETRC": str(netrc)})
        local = Local.start(self, lambda handler, _body: handler.tell({"id": "a"}))
        Client(local.url, token="sbt_x").get("a")
        self.assertEqual(local.headers[0]["authorization"], "Bearer sbt_x")


class NoticeTests(SynchronousTestCase):
    """The stream that never ends, until it does."""

    def test_goes_on(self) -> None:
        """Broken off, it goes on after the last one that was heard; refused, it ends."""

        def answer(handler: Handler, _body: bytes) -> None:
            turn = len(local.asked)
            if turn == 3:
                handler.tell({"error": "invalid or expired token"}, 401)
                return
            one = json.dumps({"id": str(turn), "kind": "blocked", "facts": {"n": turn}})
            text = f": heartbeat\n\nid: {turn}\nevent: blocked\ndata: {one}\n\nid: 9\ndata: cut"
            handler.give(text.encode(), length=10**6, Content_Type="text/event-stream")

        local = Local.start(self, answer)
        heard = []
        with client(local) as at:
            found = self.assertRaises(
                Unauthorized, lambda: heard.extend(at.notices(after="0")) or [None]
            )
            told = at.notices(after="5")
            del local.asked[:]
            heard += [next(told), next(told)]
            told.close()
        self.assertIn("log in again", str(found))
        self.assertEqual([one.facts["n"] for one in heard], [1, 2, 1, 2])
        known = [one.get("last-event-id") for one in local.headers]
        self.assertEqual(known, ["0", "1", "2", "5", "1"])
        self.assertEqual(len({one["x-signed-message"] for one in local.headers}), 5)

    def test_garbled(self) -> None:
        """What is no stream of notices is told, and not asked for again and again."""
        local = Local.start(self, lambda handler, _body: handler.give(b"data: {\n\n"))
        with client(local) as at:
            self.assertRaises(Garbled, next, at.notices())
        self.assertEqual(len(local.asked), 1)

    @given(st.lists(st.text(max_size=20), max_size=6), st.data(), st.sampled_from(["\n", "\r\n"]))
    def test_any_pieces(self, words: list[str], data: st.DataObject, end: str) -> None:
        """However a stream is cut into pieces, the same notices are in it, in their order."""
        text = ""
        for number, word in enumerate(words):
            text += f": x{end}id: {number}{end}data: {json.dumps({'kind': word})}{end}{end}"
        raw, parser, found = text.encode(), NoticeParser(), []
        while raw:
            at = data.draw(st.integers(1, len(raw)))
            found += parser.feed(raw[:at])
            raw = raw[at:]
        self.assertEqual([one.kind for one in found], words)
        self.assertEqual(parser.last, str(len(words) - 1) if words else None)

    def test_no_stream(self) -> None:
        """What is none is not read for ever."""
        self.assertRaises(Garbled, lambda: list(NoticeParser().feed(b"x" * 2_000_000)))
        self.assertRaises(Garbled, lambda: list(NoticeParser().feed(b"data: {\n\n")))


class SignerTests(SynchronousTestCase):
    """Where a key comes from."""

    def test_environment(self) -> None:
        """Set, not set, and no key; the text never shows it."""
        self.patch(os, "environ", {"USER_KEY": f"0x{SECRET}\n", "ODD": "secret"})
        signer = KeySigner.from_env()
        self.assertEqual(signer.address.hex, "0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a")
        self.assertNotIn(SECRET, repr(signer))
        self.assertIn(
            "NONE is not set", str(self.assertRaises(BadInput, KeySigner.from_env, "NONE"))
        )
        found = self.assertRaises(BadInput, KeySigner.from_env, "ODD")
        self.assertNotIn("secret", str(found))

    def test_keystore(self) -> None:
        """With its password, with another, and what is none."""
        folder = Path(self.mktemp())
        folder.mkdir()
        path, odd = folder / "key.json", folder / "odd.json"
        path.write_text(
            json.dumps(Account.encrypt("0x" + SECRET, "pass", kdf="pbkdf2", iterations=2))
        )
        self.assertEqual(
            KeySigner.from_keystore(path, "pass").address, KeySigner.from_hex(SECRET).address
        )
        for text in ("{}", "[]", "nonsense"):
            odd.write_text(text)
            self.assertRaises(BadInput, KeySigner.from_keystore, odd, "pass")
        self.assertRaises(BadInput, KeySigner.from_keystore, path, "other")
        self.assertRaises(BadInput, KeySigner.from_keystore, folder / "none", "pass")
