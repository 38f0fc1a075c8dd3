"""
An explorer's API for verifying sources, in Etherscan's form.

Etherscan tells how a verification went in prose only; what is read of it stands here and
nowhere else.  The API key and the URL appear in no text.

Tests: L{tests.cli.test_verify}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

import requests
from attrs import field, frozen

from sandbox_billing.cli.session import Pace
from sandbox_billing.errors import BadInput, Refused, Transient
from sandbox_billing.signing.depth import is_deep


_SECONDS = (5.0, 30.0)
_MAX_BYTES = 4 * 1024 * 1024
_MAX_WORDS = 300


@frozen(auto_exc=False)
class RateLimited(Transient):
    """
    An explorer wants to be asked less often; caught by L{verify}, which does.

    @ivar seconds: Until when, where it says so.
    """

    seconds: float | None = None


class Verdict(Enum):
    """
    What an explorer says of a verification.
    """

    PENDING = "pending"
    VERIFIED = "verified"
    ALREADY = "already verified"
    NOT_YET = "not indexed yet"
    FAILED = "failed"


def verdict(words: str) -> Verdict:
    """
    Read an explorer's prose.
    """
    said = words.lower()
    if "already verified" in said or "already been verified" in said:
        return Verdict.ALREADY
    if "pending" in said or "in progress" in said or "in queue" in said:
        return Verdict.PENDING
    if "unable to locate" in said or "does not exist" in said:
        # It has not seen the block yet.
        return Verdict.NOT_YET
    if said.startswith("pass") or said == "success":
        return Verdict.VERIFIED
    return Verdict.FAILED


@frozen(kw_only=True)
class Reply:
    """
    @ivar ok: Its status is 1.
    @ivar result: A guid, words, or a list.
    """

    ok: bool
    result: Any

    @property
    def words(self) -> str:
        """What it says, fit for a terminal."""
        return "".join(c if c.isprintable() else " " for c in str(self.result)[:_MAX_WORDS])


@frozen(kw_only=True)
class Explorer:
    """
    Blocking.

    @ivar url: The API's.
    @ivar key: Sent with each request; None where the explorer wants none.
    @ivar chain_id: Explorers that serve several chains want it in the query.
    """

    url: str = field(repr=False)
    key: str | None = field(repr=False)
    chain_id: int
    pace: Pace

    @property
    def label(self) -> str:
        """Its host, for texts."""
        return urlsplit(self.url).netloc.rpartition("@")[2]

    def submit(self, fields: Mapping[str, str]) -> Reply:
        """
        C{verifysourcecode}.

        @raise Transient: It does not answer.
        @raise RateLimited: It wants to be asked later; so do all of these.
        """
        return self._send("POST", {"action": "verifysourcecode", **fields})

    def status(self, guid: str) -> Reply:
        """
        C{checkverifystatus} of what L{submit} has returned.

        @raise Transient: It does not answer.
        """
        return self._send("GET", {"action": "checkverifystatus", "guid": guid})

    def creation(self, address: str) -> str | None:
        """
        @return: The hash of the transaction that created a contract; None if it does not say.
        """
        fields = {"action": "getcontractcreation", "contractaddresses": address}
        found = self._send("GET", fields).result
        if isinstance(found, list) and found and isinstance(found[0], dict):
            hashed = found[0].get("txHash")
            return hashed if isinstance(hashed, str) else None
        return None

    def _send(self, method: str, fields: Mapping[str, str]) -> Reply:
        fields = {"module": "contract", **fields}
        if self.key:
            fields["apikey"] = self.key
        query = {"chainid": str(self.chain_id)}
        posting = method == "POST"
        if not posting:
            query.update(fields)
        # Each "from None": what is cut off has the URL, and so the key, in its text.
        try:
            with requests.request(
                method,
                self.url,
                params=query,
                data=fields if posting else None,
                timeout=_SECONDS,
                allow_redirects=False,
                stream=True,
            ) as response:
                body = response.raw.read(_MAX_BYTES + 1, decode_content=True)
                status = response.status_code
                after = response.headers.get("Retry-After", "")
        except (
            requests.exceptions.InvalidURL,
            requests.exceptions.MissingSchema,
            requests.exceptions.InvalidSchema,
        ):
            raise BadInput("--api is no http or https URL") from None
        except (requests.RequestException, OSError) as problem:
            raise Transient(
                f"{self.label} failed: {type(problem).__name__}: look at --api"
            ) from None
        if status == 429:
            asked = float(after) if after.isascii() and after.isdigit() else None
            raise RateLimited(f"{self.label} answered HTTP 429", seconds=asked)
        if status in (401, 403):
            raise Refused(f"{self.label} answered HTTP {status}: look at EXPLORER_API_KEY")
        if status != 200 or len(body) > _MAX_BYTES:
            raise Transient(f"{self.label} answered HTTP {status}: look at --api")
        return self._reply(body)

    def _reply(self, body: bytes) -> Reply:
        try:
            if is_deep(body):
                raise ValueError("no explorer answers so deep")
            found = json.loads(body)
            reply = Reply(ok=str(found["status"]) == "1", result=found["result"])
        except (ValueError, KeyError, TypeError):
            raise Transient(
                f"{self.label} does not answer as Etherscan does: look at --api"
            ) from None
        if not reply.ok and "rate limit" in reply.words.lower():
            raise RateLimited(f"{self.label} says: {reply.words}")
        return reply
