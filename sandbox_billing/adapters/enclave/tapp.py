"""
The key service inside the TEE, over gRPC.

Tests: C{tests.adapters.test_enclave}.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from typing import cast

import grpc
from attrs import field, frozen
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from zope.interface import classImplements, implementer

from sandbox_billing.adapters.enclave.tapp_pb2 import (
    GetAppSecretKeyRequest,
    GetAppSecretKeyResponse,
)
from sandbox_billing.errors import BadInput, ConfigurationError, Transient
from sandbox_billing.interfaces import IEnclave, ISigner
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.key import SigningKey


# The signing room knows no interfaces.
classImplements(SigningKey, ISigner)

METHOD = "/tapp_service.TappService/GetAppSecretKey"
DIALECT = "app_id/key_type/x25519"
KEY_TYPE = "ethereum"

_REFUSALS = frozenset(
    {
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.NOT_FOUND,
    }
)
"""
What asking again will not change.  UNKNOWN and INTERNAL are not among them: an
older service crashes so while it is coming up (T4).
"""

_LONG_HEX = re.compile(r"[0-9A-Fa-f]{32,}")
_MAX_QUOTED_CHARACTERS = 200


def _quoted(text: str | None) -> str:
    """
    The service's own words, fit for a log: printable, short, and without
    anything as long as half a key.
    """
    printable = "".join(char if char.isprintable() else " " for char in text or "")
    return _LONG_HEX.sub("[hex removed]", printable)[:_MAX_QUOTED_CHARACTERS] or "no reason given"


def _refused(reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"the key service refused the {DIALECT} dialect: {reason}; check BACKEND_APP_NAME, "
        "and that the service speaks this dialect"
    )


def _problem(call: grpc.Call) -> Exception:
    code = call.code()
    reason = f"{code.name}: {_quoted(call.details())}"
    if code in _REFUSALS:
        return _refused(reason)
    return Transient(f"the key service did not answer: {reason}")


def _take(response: GetAppSecretKeyResponse) -> tuple[bytes, bytes]:
    """
    The private key and the address of a response, which its caller drops: its
    C{repr} prints the key, and so would any text that holds it.
    """
    if not response.success:
        raise _refused(_quoted(response.message))
    return bytes(response.private_key), bytes(response.eth_address)


def _checked(secret: bytes, reported: bytes) -> SigningKey:
    try:
        key = SigningKey.from_bytes(secret)
    except BadInput as problem:
        raise ConfigurationError(f"the key service's answer is no key: {problem.text}") from None
    if len(reported) != 20:
        raise ConfigurationError(
            f"the key service reports an address of {len(reported)} bytes instead of 20, "
            "so that its key cannot be checked"
        )
    address = Address.from_bytes(reported)
    if key.address != address:
        raise ConfigurationError(
            f"the key service reports {address} but its key belongs to {key.address}"
        )
    return key


def _lowered(host: str) -> str:
    return host.lower()


def _all_lowered(hosts: Iterable[str]) -> frozenset[str]:
    return frozenset(map(_lowered, hosts))


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@implementer(IEnclave)
@frozen(kw_only=True)
class TappKeyService:
    """
    0g-tapp's C{GetAppSecretKey}, in the one dialect that is deployed.

    @ivar host: C{BACKEND_TAPP_IP}.
    @ivar port: C{BACKEND_TAPP_PORT}.
    @ivar app_name: C{BACKEND_APP_NAME}.
    @ivar trusted_hosts: C{TAPP_TRUSTED_HOSTS}: beside loopback, the hosts to
        which the way is safe although the key travels over it unencrypted (T3).
    @ivar timeout_seconds: Of the whole call.
    """

    host: str = field(converter=_lowered)
    port: int
    app_name: str
    trusted_hosts: frozenset[str] = field(default=frozenset(), converter=_all_lowered)
    timeout_seconds: float = 10.0
    reactor: IReactorFromThreads = field(repr=False)
    thread_pool: ThreadPool = field(repr=False)

    async def fetch_key(self) -> ISigner:
        if not _is_loopback(self.host) and self.host not in self.trusted_hosts:
            raise ConfigurationError(
                f"the key would travel unencrypted from {self.host}: if the way there is safe, "
                "name that host in TAPP_TRUSTED_HOSTS"
            )
        return await deferToThreadPool(self.reactor, self.thread_pool, self._fetch)

    def _fetch(self) -> SigningKey:
        return _checked(*_take(self._ask()))

    def _ask(self) -> GetAppSecretKeyResponse:
        host = f"[{self.host}]" if ":" in self.host else self.host
        # A proxy from the environment would read the key.
        options = [("grpc.enable_http_proxy", 0)]
        with grpc.insecure_channel(f"{host}:{self.port}", options=options) as channel:
            call = channel.unary_unary(
                METHOD,
                request_serializer=GetAppSecretKeyRequest.SerializeToString,
                response_deserializer=GetAppSecretKeyResponse.FromString,
            )
            request = GetAppSecretKeyRequest(app_id=self.app_name, key_type=KEY_TYPE, x25519=True)
            try:
                return call(request, timeout=self.timeout_seconds)
            except grpc.RpcError as error:
                # What a blocking call raises is always a grpc.Call as well.
                raise _problem(cast(grpc.Call, error)) from None
