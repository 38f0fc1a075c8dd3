"""
The same bytes to a Daytona that speaks TLS, and to one whose certificate is a stranger's.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet import reactor, ssl
from twisted.internet.endpoints import SSL4ServerEndpoint
from twisted.web.client import BrowserLikePolicyForHTTPS

from tests.web.streams import SWITCHED, Scripted, StreamTestCase
from tests.web.world import SANDBOX


def certificate() -> ssl.PrivateCertificate:
    """For C{localhost}, by nobody but itself, for an hour."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return ssl.PrivateCertificate.loadPEM(made.public_bytes(pem) + secret)


class TLSTests(StreamTestCase):
    """
    A toolbox behind C{https://}.
    """

    async def behind_tls(self, *, trusted: bool) -> None:
        """Put the toolbox there."""
        own = certificate()
        if trusted:
            self.trust = BrowserLikePolicyForHTTPS(trustRoot=ssl.Certificate(own.original))
        await self.serve()
        self.daytona = Scripted()
        endpoint = SSL4ServerEndpoint(reactor, 0, own.options(), interface="127.0.0.1")
        port = await endpoint.listen(self.daytona)
        self.addCleanup(port.stopListening)
        self.show(SANDBOX, toolboxProxyUrl=f"https://localhost:{port.getHost().port}/toolbox")

    async def test_body_both_ways(self) -> None:
        """Megabytes up and down."""
        await self.behind_tls(trusted=True)
        client = await self.connect()
        body = bytes(range(256)) * 8192
        client.send(self.request("POST", f"{self.box}/files/upload", length=len(body)) + body)
        upstream = await self.upstream()
        await self.until(lambda: upstream.body == body)
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await self.until(lambda: client.body == body)

    async def test_tunnel(self) -> None:
        """A terminal, and the end of it."""
        await self.behind_tls(trusted=True)
        client = await self.connect(stays=True)
        client.send(self.upgrade(f"{self.box}/process/pty/1/connect") + b"early")
        upstream = await self.upstream()
        upstream.send(SWITCHED + b"\r\nfirst")
        await self.until(lambda: client.body == b"first" and upstream.body == b"early")
        client.transport.loseWriteConnection()
        upstream.send(b" and last")
        await self.until(lambda: client.body == b"first and last")
        upstream.transport.loseConnection()
        await self.until(lambda: client.half)
        await self.until(lambda: not self.site.channels and not self.world.streams.count)

    async def test_stranger(self) -> None:
        """A certificate that nobody vouches for gets neither key nor body."""
        await self.behind_tls(trusted=False)
        client = await self.connect()
        client.send(self.request("GET", f"{self.box}/x"))
        await self.until(lambda: client.status == 502)
        self.assertEqual([one.count for one in self.daytona.connections], [0])
