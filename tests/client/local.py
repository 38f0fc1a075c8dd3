"""A provider of few words that listens on a socket of this machine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase


@define(eq=False)
class Local:
    """
    @ivar answer: Called with the handler of each request, its body read; writes what is answered.
    @ivar asked: Method and target of each.
    """

    answer: Callable[[Handler, bytes], None]
    asked: list[str] = field(factory=list)
    headers: list[dict[str, str]] = field(factory=list)
    bodies: list[bytes] = field(factory=list)
    url: str = ""

    @classmethod
    def start(cls, case: SynchronousTestCase, answer: Callable[[Handler, bytes], None]) -> Local:
        """It ends with the test."""
        local = cls(answer)

        class Bound(Handler):
            world = local

        server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()

        def stop() -> None:
            server.shutdown()
            thread.join()
            server.server_close()

        case.addCleanup(stop)
        local.url = f"http://127.0.0.1:{server.server_address[1]}"
        return local


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    # One packet for head and body: two would wait for each other (Nagle).
    wbufsize = -1
    world: Local

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.world.asked.append(f"{self.command} {self.path}")
        self.world.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.world.bodies.append(body)
        self.world.answer(self, body)

    do_GET = do_POST = do_PUT = do_DELETE = _any

    def tell(self, document: Any, status: int = 200, **headers: str) -> None:
        """JSON."""
        self.give(json.dumps(document).encode(), status, **headers)

    def give(
        self, body: bytes, status: int = 200, *, length: int | None = None, **more: str
    ) -> None:
        """@param length: Other than the true one: then the connection breaks off."""
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        if length is not None:
            self.drop()

    def drop(self) -> None:
        """End the connection here."""
        self.wfile.flush()
        self.close_connection = True

    def log_message(self, format: str, *arguments: Any) -> None:
        """Tests are quiet."""
