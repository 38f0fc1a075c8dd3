"""
The enclave's key, from a real gRPC server and from the environment.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sandbox_billing.adapters.enclave.mock import MockEnclave
from sandbox_billing.adapters.enclave.tapp import METHOD, TappKeyService
from sandbox_billing.adapters.enclave.tapp_pb2 import (
    GetAppSecretKeyRequest,
    GetAppSecretKeyResponse,
)
from sandbox_billing.errors import ConfigurationError, Transient
from tests.ports.enclave import KEY, SECRET, enclave_port_suite, spellings_of_the_secret


Answer = Callable[[GetAppSecretKeyRequest, grpc.ServicerContext], GetAppSecretKeyResponse]


def right_answer(
    request: GetAppSecretKeyRequest, context: grpc.ServicerContext
) -> GetAppSecretKeyResponse:
    """What the key service says when all is well."""
    return GetAppSecretKeyResponse(
        success=True,
        private_key=SECRET,
        public_key=bytes(64),
        eth_address=KEY.address.to_bytes(),
        x25519_public_key=bytes(32),
    )


def failing(code: grpc.StatusCode, details: str) -> Answer:
    """A service that ends each call with a status."""

    def answer(request: object, context: grpc.ServicerContext) -> GetAppSecretKeyResponse:
        context.abort(code, details)
        raise AssertionError("abort returned")

    return answer


@define
class KeyServer:
    """
    A key service on a real socket.

    @ivar answer: What it does with a request; may be changed at any time.
    @ivar requests: What it was sent.
    """

    answer: Answer = right_answer
    requests: list[GetAppSecretKeyRequest] = field(factory=list)
    port: int = 0

    def _handle(self, request: GetAppSecretKeyRequest, context: grpc.ServicerContext) -> Any:
        self.requests.append(request)
        return self.answer(request, context)

    def start(self, test: TestCase) -> None:
        """Listen on a free port until the test is over."""
        executor = ThreadPoolExecutor(4)
        server = grpc.server(executor)
        _, service, method = METHOD.split("/")
        handler = grpc.unary_unary_rpc_method_handler(
            self._handle,
            request_deserializer=GetAppSecretKeyRequest.FromString,
            # A test may answer with bytes that are no response.
            response_serializer=lambda answer: (
                answer if isinstance(answer, bytes) else answer.SerializeToString()
            ),
        )
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(service, {method: handler})]
        )
        self.port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        test.addCleanup(executor.shutdown)
        test.addCleanup(lambda: server.stop(None).wait())


def key_service(test: TestCase, port: int, **changes: Any) -> TappKeyService:
    """Our client, with a thread pool of the test's own."""
    from twisted.internet import reactor

    pool = ThreadPool(0, 4, "enclave")
    pool.start()
    test.addCleanup(pool.stop)
    settings = {"host": "127.0.0.1", "app_name": "sandbox-test", "timeout_seconds": 120.0}
    return TappKeyService(**{**settings, **changes}, port=port, reactor=reactor, thread_pool=pool)


@define
class TappWorld:
    """Our client in front of a server that is up."""

    enclave: TappKeyService

    @classmethod
    def make(cls, test: TestCase) -> TappWorld:
        """Start both."""
        server = KeyServer()
        server.start(test)
        return cls(key_service(test, server.port))


@define
class MockWorld:
    """The key from the environment."""

    enclave: MockEnclave

    @classmethod
    def make(cls, test: TestCase) -> MockWorld:
        """Nothing to start."""
        return cls(MockEnclave.from_hex(SECRET.hex()))


class TappPortTests(enclave_port_suite(TappWorld.make)):  # type: ignore[misc]
    """L{TappKeyService} and a server keep the port's promises."""


class MockPortTests(enclave_port_suite(MockWorld.make)):  # type: ignore[misc]
    """L{MockEnclave} keeps the port's promises."""


class TappTests(TestCase):
    """The key service's ways of answering, and what we make of each."""

    def setUp(self) -> None:
        """A server that is up, and our client of it."""
        self.server = KeyServer()
        self.server.start(self)
        self.enclave = key_service(self, self.server.port)

    async def assert_problem(self, family: type[Exception], *words: str) -> None:
        """Fetching fails in this family, in these words, and gives nothing away."""
        try:
            await self.enclave.fetch_key()
        except (ConfigurationError, Transient) as problem:
            self.assertIs(type(problem), family)
            for word in words:
                self.assertIn(word, problem.text)
            told = repr(problem) + str(problem) + "".join(traceback.format_exception(problem))
            for spelling in spellings_of_the_secret():
                self.assertNotIn(spelling, told)
        else:
            self.fail("a key was fetched")

    async def test_request(self) -> None:
        """It is asked in the wire facts' words, once."""
        await self.enclave.fetch_key()
        self.assertEqual(
            [(sent.app_id, sent.key_type, sent.x25519) for sent in self.server.requests],
            [("sandbox-test", "ethereum", True)],
        )

    async def test_other_numbers(self) -> None:
        """The bytes on the wire are fields 1, 2 and 3 with the types of the wire facts."""
        await self.enclave.fetch_key()
        self.assertEqual(
            self.server.requests[0].SerializeToString(),
            b"\x0a\x0csandbox-test\x12\x08ethereum\x18\x01",
        )

    async def test_refused(self) -> None:
        """C{success = false} is for good, with the service's reason and our dialect."""
        self.server.answer = lambda request, context: GetAppSecretKeyResponse(
            success=False, message="no such app", private_key=SECRET
        )
        await self.assert_problem(
            ConfigurationError, "no such app", "app_id/key_type/x25519", "BACKEND_APP_NAME"
        )

    async def test_refused_with_the_key_in_its_words(self) -> None:
        """A service that talks too much is not quoted."""
        self.server.answer = lambda request, context: GetAppSecretKeyResponse(
            success=False, message=f"cannot use\n{SECRET.hex()} 0x{SECRET.hex().upper()}"
        )
        await self.assert_problem(ConfigurationError, "cannot use [hex removed]")

    async def test_refusing_statuses(self) -> None:
        """Statuses that asking again will not change are for good, and name our dialect."""
        for code in (
            grpc.StatusCode.UNIMPLEMENTED,
            grpc.StatusCode.INVALID_ARGUMENT,
            grpc.StatusCode.PERMISSION_DENIED,
            grpc.StatusCode.UNAUTHENTICATED,
            grpc.StatusCode.NOT_FOUND,
        ):
            self.server.answer = failing(code, f"because {SECRET.hex()}")
            await self.assert_problem(
                ConfigurationError, code.name, "because", "app_id/key_type/x25519"
            )

    async def test_transient_statuses(self) -> None:
        """All other statuses may pass, and their cause is told (T4)."""
        for code in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.DEADLINE_EXCEEDED,
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            grpc.StatusCode.FAILED_PRECONDITION,
            grpc.StatusCode.ABORTED,
            grpc.StatusCode.CANCELLED,
            grpc.StatusCode.INTERNAL,
            grpc.StatusCode.UNKNOWN,
        ):
            self.server.answer = failing(code, f"because {SECRET.hex()}")
            await self.assert_problem(Transient, code.name, "because")

    async def test_crash(self) -> None:
        """A service that crashes while it comes up is asked again later."""

        def crash(request: object, context: object) -> GetAppSecretKeyResponse:
            raise OSError("guard used twice")

        self.server.answer = crash
        await self.assert_problem(Transient, "UNKNOWN", "guard used twice")

    async def test_not_listening(self) -> None:
        """Nobody there: transient, at once."""
        with contextlib.closing(socket.socket()) as taken:
            taken.bind(("127.0.0.1", 0))
            self.enclave = key_service(self, taken.getsockname()[1])
            await self.assert_problem(Transient, "UNAVAILABLE")

    async def test_silence(self) -> None:
        """No answer in time: transient."""
        over = threading.Event()
        self.addCleanup(over.set)

        def wait(request: Any, context: Any) -> GetAppSecretKeyResponse:
            over.wait(600)
            return right_answer(request, context)

        self.server.answer = wait
        self.enclave = key_service(self, self.server.port, timeout_seconds=0.2)
        await self.assert_problem(Transient, "DEADLINE_EXCEEDED")

    async def test_cancelled(self) -> None:
        """Who stops waiting stops at once; the call ends by its own time-out."""
        asked, over = threading.Event(), threading.Event()
        self.addCleanup(over.set)

        def wait(request: Any, context: Any) -> GetAppSecretKeyResponse:
            asked.set()
            over.wait(600)
            return right_answer(request, context)

        self.server.answer = wait
        fetching = Deferred.fromCoroutine(self.enclave.fetch_key())
        self.assertTrue(asked.wait(120))
        fetching.cancel()
        try:
            await fetching
        except CancelledError:
            pass
        else:
            self.fail("it was not cancelled")

    async def test_another_address(self) -> None:
        """A key that is not the reported address's is refused, naming both."""

        def answer(request: Any, context: Any) -> GetAppSecretKeyResponse:
            response = right_answer(request, context)
            response.eth_address = bytes([0x22]) * 20
            return response

        self.server.answer = answer
        await self.assert_problem(ConfigurationError, KEY.address.hex, "0x" + "22" * 20)

    async def test_malformed_answers(self) -> None:
        """A key or an address of another length, or none, is refused."""
        for changes, word in (
            ({"private_key": SECRET + b"\x11"}, "33"),
            ({"private_key": SECRET[1:]}, "31"),
            ({"private_key": b""}, "0"),
            ({"private_key": bytes(32)}, "not a secp256k1"),
            ({"private_key": SECRET.hex().encode()}, "64"),
            ({"eth_address": b""}, "0 bytes instead of 20"),
            ({"eth_address": KEY.address.hex.encode()}, "42 bytes instead of 20"),
        ):

            def answer(
                request: Any, context: Any, changes: dict[str, bytes] = changes
            ) -> GetAppSecretKeyResponse:
                response = right_answer(request, context)
                for name, value in changes.items():
                    setattr(response, name, value)
                return response

            self.server.answer = answer
            await self.assert_problem(ConfigurationError, word)

    async def test_no_answer_of_ours(self) -> None:
        """Bytes that are not this message are an answer of somebody else."""
        noise: Any = b"\xff" + SECRET
        self.server.answer = lambda request, context: noise
        await self.assert_problem(Transient, "INTERNAL")

    async def test_proxy_in_the_environment(self) -> None:
        """The key does not take the way of a proxy that the environment names."""
        names = ("http_proxy", "grpc_proxy", "https_proxy")
        before = {name: os.environ.get(name) for name in names}

        def restore() -> None:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value

        self.addCleanup(restore)
        with contextlib.closing(socket.socket()) as proxy:
            proxy.bind(("127.0.0.1", 0))
            for name in names:
                os.environ[name] = f"http://127.0.0.1:{proxy.getsockname()[1]}"
            signer = await self.enclave.fetch_key()
        self.assertEqual(signer.address, KEY.address)


class PlaintextTests(TestCase):
    """Which ways are safe enough for a key in plaintext (T3)."""

    async def refusal(self, host: str, *trusted: str) -> str | None:
        """Why this host was not even asked, if it was not."""
        enclave = key_service(self, 1, host=host, trusted_hosts=trusted, timeout_seconds=0.001)
        try:
            await enclave.fetch_key()
        except ConfigurationError as problem:
            return problem.text
        except Transient:
            return None
        raise AssertionError("a key was fetched")

    async def test_loopback(self) -> None:
        """Loopback needs no word from the operator."""
        for host in ("127.0.0.1", "127.8.9.10", "::1", "localhost", "LOCALHOST"):
            self.assertIsNone(await self.refusal(host), host)

    async def test_elsewhere(self) -> None:
        """Any other host is not asked, and the refusal names the setting."""
        for host in ("192.0.2.1", "0.0.0.0", "keys.invalid", "localhost.keys.invalid", ""):
            self.assertIn("TAPP_TRUSTED_HOSTS", await self.refusal(host) or "", host)

    async def test_trusted(self) -> None:
        """A host is trusted by its name, whole and in any case; no other with it."""
        self.assertIsNone(await self.refusal("keys.invalid", "Keys.Invalid"))
        self.assertIsNone(await self.refusal("KEYS.invalid", "x", "keys.invalid"))
        for host in ("a.keys.invalid", "keys.invalid.", "keys"):
            self.assertIsNotNone(await self.refusal(host, "keys.invalid"), host)


class MockTests(SynchronousTestCase):
    """A key from the environment."""

    def test_warns(self) -> None:
        """Each fetch says in the log that there is no enclave."""
        from twisted.logger import LogLevel, capturedLogs

        enclave = MockEnclave.from_hex("0x" + SECRET.hex())
        with capturedLogs() as events:
            signer = self.successResultOf(Deferred.fromCoroutine(enclave.fetch_key()))
        self.assertEqual(signer.address, KEY.address)
        self.assertEqual([event["log_level"] for event in events], [LogLevel.warn])
        self.assertEqual(events[0]["signer"], KEY.address.hex)

    def test_no_key(self) -> None:
        """A malformed key is refused by the setting's name, without repeating it."""
        for bad in ("", SECRET.hex()[:-1], "0" * 64, SECRET.hex() + " "):
            problem = self.assertRaises(ConfigurationError, MockEnclave.from_hex, bad)
            self.assertIn("MOCK_APP_PRIVATE_KEY", problem.text)
            self.assertNotIn("1111", problem.text)
