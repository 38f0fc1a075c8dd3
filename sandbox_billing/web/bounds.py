"""
How much a client may take.

Tests: C{tests.web.test_bounds}.
"""

from __future__ import annotations

from attrs import frozen

from sandbox_billing.web._router import MAX_BODY_BYTES


@frozen(kw_only=True)
class Limits:
    """
    How much a client may take.

    @ivar header_line_bytes: A signed message travels in a line (wire.md §4).
    @ivar header_total_bytes: More than one such line, for all the others.
    @ivar headers_seconds: From the first byte of a request to the end of its headers; the
        idle timer alone is reset by each byte.
    @ivar body_seconds: From there to the end of its body.
    @ivar idle_seconds: Between requests.
    @ivar upload_idle_seconds: Between two pieces of a body that is a stream, while we would
        read it; there is no limit to its whole.
    @ivar connections_of_peer: Of one address, or one /64 of IPv6, that is no trusted proxy.
    @ivar all_bodies_bytes: Of all bodies together that are read whole and are not answered yet.
        They rest in memory, not in files: files are what connections are made of.
    @ivar bodies_of_peer_bytes: Of those of one address, or /64, that is no trusted proxy.
    @ivar linger_bytes: Thrown away after a refusal, that the client may read it.
    """

    header_line_bytes: int = 64 * 1024
    header_total_bytes: int = 80 * 1024
    body_bytes: int = MAX_BODY_BYTES
    headers_seconds: float = 15.0
    body_seconds: float = 30.0
    idle_seconds: float = 60.0
    upload_idle_seconds: float = 60.0
    connections: int = 10_000
    connections_of_peer: int = 2_000
    all_bodies_bytes: int = 128 * 1024 * 1024
    bodies_of_peer_bytes: int = 32 * 1024 * 1024
    linger_bytes: int = 8 * 1024 * 1024
    linger_seconds: float = 5.0

    @classmethod
    def for_files(cls, files: int) -> Limits:
        """
        Never more clients than there may be open files: or the connections to Redis, Daytona
        and the chain, which everybody needs, would be the ones that fail.

        @param files: How many this process may open.
        """
        most = min(cls().connections, _share(files, 4))
        return cls(connections=most, connections_of_peer=max(1, most // 5))


OWN_FILES = 128
"""For ourselves: logs, Redis, Daytona, the chain, what the reactor needs."""

MOST_STREAMS = 2_000

ENOUGH_FILES = 16_384
"""With so many, nothing here is bounded by them."""


def streams_for_files(files: int) -> int:
    """How many streams may be open: each has a connection of its own to Daytona."""
    return min(MOST_STREAMS, _share(files, 1))


def _share(files: int, fifths: int) -> int:
    return max(1, (files - OWN_FILES) * fifths // 5)
