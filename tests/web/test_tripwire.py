"""
Beliefs about Twisted that C{web/site.py} leans on; an upgrade that breaks one says so here.
"""

from __future__ import annotations

import inspect

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web import http, server


class PrivateNameTests(SynchronousTestCase):
    """
    The names of HTTPChannel that are not promised.
    """

    def test_channel(self) -> None:
        """Each is there and is used as we think."""
        channel = inspect.getsource(http.HTTPChannel)
        for used in (
            "self._receivedHeaderSize += len(line)",
            "self._receivedHeaderSize > self.totalHeadersSize",
            "self._respondToBadRequestAndDisconnect()",
            "self._command = command",
            "self._path = request",
            "self._version = version",
            "self._networkProducer.registerProducer(self, True)",
            "self.persistent = self.checkPersistence(req, self._version)",
            "req.gotLength(self.length)",
            "self.allContentReceived()",
        ):
            self.assertIn(used, channel)

    def test_order(self) -> None:
        """Persistence is settled before the length, and the 100 comes after it."""
        source = inspect.getsource(http.HTTPChannel.allHeadersReceived)
        order = [source.index(text) for text in ("checkPersistence", "gotLength", "Expect")]
        self.assertEqual(order, sorted(order))

    def test_request(self) -> None:
        """The first write is told by C{startedWriting}; the body goes to C{handleContentChunk}."""
        self.assertIn("self.startedWriting", inspect.getsource(http.Request.write))
        self.assertIn("handleContentChunk", inspect.getsource(http.HTTPChannel))
        self.assertIn("defaultContentType", inspect.getsource(server.Request))

    def test_twisted_still_needs_us(self) -> None:
        """Were this to fail, Twisted answers long lines itself and part of us can go."""
        transport = StringTransport()
        channel = http.HTTPChannel()
        channel.factory = http.HTTPFactory()
        channel.timeOut = None
        channel.makeConnection(transport)
        channel.dataReceived(b"GET /" + b"x" * 20_000)
        self.assertEqual((transport.value(), transport.disconnecting), (b"", True))
