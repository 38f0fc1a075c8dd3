"""What the two commands for development keys say where no billing proxy answers."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.error import URLError

from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.devnet.sign import NO_PROXY, asked_of
from sandbox_billing.errors import BadInput
from tests.web.world import PROVIDER


class _Info(BaseHTTPRequestHandler):
    """Says the same to everybody."""

    status, text = 200, b""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.text)

    def log_message(self, *about: Any) -> None:
        """Say nothing."""


class AskedTests(SynchronousTestCase):
    """L{asked_of}."""

    def served(self, text: str, status: int = 200) -> str:
        """@return: The address of a server of this machine."""
        kind = type("Info", (_Info,), {"status": status, "text": text.encode()})
        server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
        running = Thread(target=server.serve_forever, args=(0.01,))
        running.start()
        for end in (server.server_close, running.join, server.shutdown):
            self.addCleanup(end)
        return f"http://127.0.0.1:{server.server_address[1]}"

    def test_proxy(self) -> None:
        """Provider and chain."""
        base = self.served(f'{{"provider_address":"{PROVIDER.hex}","chain_id":16602}}')
        self.assertEqual(asked_of(base), (PROVIDER, 16602))

    def test_something_else(self) -> None:
        """Another of the addresses in the banner, or none: what is meant is said."""
        others = ("<html>", "[]", "{}", '{"provider_address":"x","chain_id":1}')
        addresses = [self.served(text) for text in others]
        addresses += [self.served("{}", status=404), "127.0.0.1:8080", "here", "http://[::1"]
        for base in addresses:
            why = self.assertRaises(BadInput, asked_of, base)
            self.assertEqual(str(why), NO_PROXY)

    def test_not_now(self) -> None:
        """A proxy that starts, or is not there, is no other address."""
        self.assertRaises(URLError, asked_of, self.served("{}", status=503))
