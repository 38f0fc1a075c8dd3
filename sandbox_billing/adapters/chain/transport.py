"""
HTTP to one JSON-RPC node, through web3's provider with everything it does by itself off.

Imported by L{node<sandbox_billing.adapters.chain.node>} at the first call only: web3 costs
half a second and 54 MiB.

Tests: L{tests.adapters.test_chain_failover}.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from web3 import HTTPProvider

from sandbox_billing.signing.depth import is_deep


MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""A range of logs may be large; a node must not fill our memory all the same."""

_CHUNK_BYTES = 64 * 1024


class BoundedSession(requests.Session):
    """
    A session whose answers are bounded in size and in time.

    requests' own time-out starts anew with every byte.  What is returned knows no URL, so
    that no error text can contain one.
    """

    def __init__(self, total_seconds: float, seconds: Callable[[], float]) -> None:
        super().__init__()
        self._total_seconds = total_seconds
        self._seconds = seconds
        for scheme in ("http://", "https://"):
            self.mount(scheme, HTTPAdapter(pool_maxsize=16, max_retries=0))

    def post(self, url: Any, data: Any = None, json: Any = None, **kwargs: Any) -> Any:
        """
        @raise requests.Timeout: The whole answer was not there in time.
        @raise requests.RequestException: It is too long or too deep, or broke off.
        """
        deadline = self._seconds() + self._total_seconds
        # A redirect would send a credential in the path to somebody else.
        kwargs.update(stream=True, allow_redirects=False)
        with super().post(url, data=data, json=json, **kwargs) as response:
            body = self._read(response, deadline)
        if is_deep(body):
            raise requests.exceptions.ContentDecodingError("the answer is nested too deep")
        bounded = requests.Response()
        bounded.status_code = response.status_code
        bounded.reason = ""
        bounded.raw = BytesIO(body)
        return bounded

    def _read(self, response: requests.Response, deadline: float) -> bytes:
        parts: list[bytes] = []
        length = 0
        while True:
            part = response.raw.read1(_CHUNK_BYTES, decode_content=True)
            if not part:
                return b"".join(parts)
            parts.append(part)
            length += len(part)
            if length > MAX_ANSWER_BYTES:
                raise requests.exceptions.ContentDecodingError("the answer is too long")
            if self._seconds() > deadline:
                raise requests.exceptions.ReadTimeout("the answer takes too long")


def make_provider(
    url: str, *, connect_seconds: float, read_seconds: float, seconds: Callable[[], float]
) -> HTTPProvider:
    """
    @param read_seconds: Between two bytes, and for the whole answer.
    @param seconds: A clock that only runs forward (C{reactor.seconds}).
    """
    provider = HTTPProvider(
        url,
        request_kwargs={"timeout": (connect_seconds, read_seconds)},
        session=BoundedSession(read_seconds, seconds),
        # By default it would send five times, eth_sendRawTransaction included.
        exception_retry_configuration=None,
    )
    # A contract's answer must not make us call a URL of its choice.  Reads go to the
    # provider directly and could not be redirected either way.
    provider.global_ccip_read_enabled = False
    return provider
