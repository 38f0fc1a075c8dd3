"""
Beliefs about Twisted that C{web/site.py} and what flows lean on: an upgrade says so here.
"""

from __future__ import annotations

import inspect
from typing import Any

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web import _newclient, http, server


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


class StreamingTests(SynchronousTestCase):
    """
    What C{web/streaming.py} and C{web/pipe.py} lean on.
    """

    def assert_says(self, thing: Any, *texts: str) -> None:
        """Its source holds these."""
        source = inspect.getsource(thing)
        for text in texts:
            self.assertIn(text, source)

    def test_channel(self) -> None:
        """Names, and who resumes whom."""
        channel = http.HTTPChannel
        self.assert_says(
            channel.resumeProducing,
            "self._waitingForTransport = False",
            "if not self._handlingRequest:",
            "self._networkProducer.resumeProducing()",
        )
        self.assert_says(channel.pauseProducing, "self._waitingForTransport = True")
        self.assert_says(channel.rawDataReceived, "self._dataBuffer.append(data)")
        self.assert_says(channel._send100Continue, "100 Continue")
        self.assert_says(
            channel._protocolUpgradeForWebsockets,
            "self.dataReceived = protocol.dataReceived",
            "self.connectionLost = protocol.connectionLost",
            "protocol.makeConnection(self.transport)",
        )

    def test_timeout_that_is_remembered(self) -> None:
        """The one that is set when the body is whole is the next request's."""
        self.assert_says(
            http.HTTPChannel.allContentReceived, "self._savedTimeOut = self.setTimeout(None)"
        )
        self.assert_says(http.HTTPChannel.requestDone, "self.setTimeout(self._savedTimeOut)")

    def test_cleanup_comes_last(self) -> None:
        """Everything is written, the last chunk too, before the request is taken away."""
        source = inspect.getsource(http.Request.finish)
        order = [source.index(text) for text in ('b"0\\r\\n\\r\\n"', "finished = 1", "_cleanup()")]
        self.assertEqual(order, sorted(order))
        self.assert_says(http.Request._cleanup, "self.channel.requestDone(self)")
        self.assert_says(http.Request.connectionLost, "self._disconnected = True")

    def test_where_a_body_goes(self) -> None:
        """Its pieces, and its end, come to the request."""
        self.assert_says(
            http.HTTPChannel._maybeChooseTransferDecoder,
            "self.requests[-1].handleContentChunk, self._finishRequestBody",
        )
        self.assert_says(
            http.HTTPChannel.allContentReceived, "req.requestReceived(command, path, version)"
        )

    def test_client(self) -> None:
        """What C{adapters/daytona/upstream.py} takes from Twisted's client."""
        parser = _newclient.HTTPClientParser
        self.assert_says(parser.__init__, "self._responseDeferred = Deferred()")
        self.assert_says(
            parser.allHeadersReceived,
            "self.transport.pauseProducing()",
            "self._responseDeferred.callback(self.response)",
        )
        self.assert_says(parser.connectionLost, "self.bodyDecoder.noMoreData()", "!= DONE")
        self.assert_says(_newclient.Request.writeTo, "UNKNOWN_LENGTH", "self.bodyProducer is None")

    def test_twisted_still_needs_us_upstream(self) -> None:
        """Were this to fail, Twisted's client can change protocols itself."""
        self.assert_says(
            _newclient.HTTPClientParser.allHeadersReceived, "100 <= self.response.code < 200"
        )
