"""
A server's keyspace: every fact is one run of C{scripts/commit.lua} on one connection.

Tests: C{tests.adapters.test_redis_keyspace} and the suites of C{tests.ports}.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Protocol

from attrs import define, field
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import (
    Commit,
    Committed,
    Expectation,
    Outcome,
    Read,
    Reply,
    Write,
    understand,
)
from sandbox_billing.adapters.redis.connection import LostInFlight, RedisConnection, ServerError
from sandbox_billing.adapters.redis.seam import IKeyspace, ServerFacts
from sandbox_billing.errors import BadInput, Transient, UnknownOutcome


WAIT_MILLISECONDS = 2_000
"""How long the disk is waited for (design.md, section 6)."""

_REFUSALS = ("OOM", "READONLY", "LOADING", "MISCONF", "BUSY", "MASTERDOWN", "NOREPLICAS")
"""Errors that come before the first write: nothing was done, and it may work later."""


class _Clocked(IReactorTime):
    """What txredisapi needs beside it is the global reactor."""


def script() -> bytes:
    """The text of C{commit.lua}."""
    found = files("sandbox_billing.adapters.redis.scripts").joinpath("commit.lua")
    return found.read_bytes()
