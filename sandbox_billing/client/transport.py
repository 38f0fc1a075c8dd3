"""
The transport of the blocking client: C{requests}, with time-outs, without redirects.

Tests: C{tests.client.test_client}.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from sandbox_billing.client.calls import Answer, Call, Upload
from sandbox_billing.client.errors import BadRequest, ConnectionLost, NotConnected


CONNECT_SECONDS = 10.0
_PIECE_BYTES = 64 * 1024


class Transport(Protocol):
    """How a blocking client's requests travel."""

    def send(self, call: Call) -> Answer:
        """
        @raise ApiError: L{NotConnected} or L{ConnectionLost}.
        """

    @contextmanager
    def open(self, call: Call) -> Iterator[tuple[Answer, Iterator[bytes]]]:
        """
        For an answer that comes bit by bit.

        @return: Its head, and the pieces of its body as they come.
        @raise ApiError: As C{send}; also out of the pieces.
        """

    def close(self) -> None:
        """Ends all connections."""


class _NoAuth(requests.auth.AuthBase):
    """Keeps C{~/.netrc} out: what proves us is in the headers."""

    def __call__(self, prepared: requests.PreparedRequest) -> requests.PreparedRequest:
        return prepared


class RequestsTransport:
    """
    @ivar session: Of requests; its certificates and proxies are those of the environment.
    """

    def __init__(self, session: requests.Session) -> None:
        self.session = session

    @classmethod
    def fresh(cls) -> RequestsTransport:
        """With connections of its own, and no retries below ours."""
        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=0))
        return cls(session)

    def _begin(self, call: Call) -> requests.Response:
        data = call.body if isinstance(call.body, Upload) else call.body or None
        return self.session.request(
            call.method,
            call.url,
            headers=dict(call.headers),
            data=data,
            timeout=(CONNECT_SECONDS, call.timeout),
            allow_redirects=False,
            stream=True,
            auth=_NoAuth(),
        )

    @contextmanager
    def open(self, call: Call) -> Iterator[tuple[Answer, Iterator[bytes]]]:
        """The connection ends with the context."""
        with _told(call):
            response = self._begin(call)
        with response:
            yield _head(response), _pieces(call, response)

    def send(self, call: Call) -> Answer:
        """In one piece, or into the call's sink."""
        with self.open(call) as (head, pieces):
            if call.sink is None or not head.ok:
                return Answer(status=head.status, headers=head.headers, body=b"".join(pieces))
            for piece in pieces:
                call.sink(piece)
            return head

    def close(self) -> None:
        """All of them."""
        self.session.close()


def _head(response: requests.Response) -> Answer:
    return Answer(status=response.status_code, headers=dict(response.headers))


def _pieces(call: Call, response: requests.Response) -> Iterator[bytes]:
    # As they come: iter_content would wait until so many are there.
    while True:
        with _told(call):
            piece = response.raw.read1(_PIECE_BYTES, decode_content=True)
        if not piece:
            return
        yield piece


@contextmanager
def _told(call: Call) -> Iterator[None]:
    """What requests and urllib3 raise, as what it means."""
    try:
        yield
    except (requests.ConnectTimeout, requests.exceptions.SSLError) as problem:
        raise NotConnected(text=f"{call.url}: no connection: {_why(problem)}") from problem
    except (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
    ) as problem:
        raise BadRequest(text=f"{call.url} is no address: give http:// or https://") from problem
    except requests.ConnectionError as problem:
        if "NewConnectionError" in repr(problem) or "NameResolutionError" in repr(problem):
            raise NotConnected(
                text=f"{call.url}: nobody listens there, or there is no such host"
            ) from problem
        raise _lost(call, problem) from problem
    except (requests.RequestException, HTTPError, OSError) as problem:
        raise _lost(call, problem) from problem


def _lost(call: Call, problem: Exception) -> ConnectionLost:
    path = call.url.partition("?")[0]
    return ConnectionLost(
        text=f"{call.method} {path}: no answer ({_why(problem)}); look whether it was done "
        "before you ask again"
    )


def _why(problem: Exception) -> str:
    return type(problem).__name__
