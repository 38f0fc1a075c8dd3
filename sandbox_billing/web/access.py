"""
Ways into a sandbox that do not lead through us, and what its owner may open or close.

An SSH or preview token is honoured by Daytona itself, whatever becomes of us: so each ends
before an unwatched sandbox would, and none opens more than it says (docs/security.rst).

Tests: C{tests.web.test_access}.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from attrs import field, frozen

from sandbox_billing.errors import BadInput, Refused
from sandbox_billing.interfaces import IIntake, IRuntime, Sandbox
from sandbox_billing.signing.request import JSONValue
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web._router import Asked
from sandbox_billing.web.answers import Answer, NotServed
from sandbox_billing.web.open_streams import OpenStreams
from sandbox_billing.web.payloads import whole
from sandbox_billing.web.policy import shown, ssh_shown, toolbox_url
from sandbox_billing.web.terms import Terms


CLOSED_PORT = "no preview of this port: it leads into the toolbox"
NO_PREVIEW = "no such preview token of this sandbox and port"
OWN_SIGNATURE = "only the wallet's own signature may make a sandbox public, not a token"

CLOSED_PORTS = frozenset({2280, 22220, 22222, 33333})
"""The toolbox, its terminals and SSH: inside the sandbox, past our door."""

_MAX_MINUTES = 10**6
_DEFAULT_SSH_MINUTES = 60
_DEFAULT_PREVIEW_SECONDS = 60
_MAX_PREVIEW_SECONDS = 86_400
_MAX_TEXT = 16_384

_TOKEN = re.compile(r"[0-9A-Za-z_.~-]{1,256}\Z")
_TRACE = re.compile(r"[0-9A-Za-z-]{1,64}\Z")
_FLAGS = {"true": True, "false": False}
_NETWORK: dict[str, type] = {
    "networkBlockAll": bool,
    "networkAllowList": str,
    "domainAllowList": str,
}


def _port(asked: Asked) -> int:
    """
    @raise BadInput: It is no port.
    @raise Refused: It is one of the toolbox's.
    """
    port = whole(asked.parts, "port", 0, least=1, most=65_535)
    if port in CLOSED_PORTS:
        raise Refused(CLOSED_PORT)
    return port


def check_signed(asked: Asked) -> None:
    """
    What opens a sandbox to everybody is not a program's to do (P17).

    @raise Refused: A token asks.
    """
    if asked.known.token is not None:
        raise Refused(OWN_SIGNATURE)


def preview_shown(preview: dict[str, Any], domain: str) -> dict[str, Any]:
    """
    A preview with the host that users can reach.

    @param domain: PROXY_DOMAIN; empty keeps Daytona's.
    """
    url = preview.get("url")
    if not domain or not isinstance(url, str):
        return preview
    parts = urlsplit(url)
    label = (parts.hostname or "").partition(".")[0]
    moved = urlunsplit(("https", f"{label}.{domain}", parts.path, parts.query, ""))
    return {**preview, "url": moved}


def read_network(body: JSONValue) -> dict[str, Any]:
    """
    Read the body of network-settings.

    @raise BadInput: A field is unknown or has another type, or there is none.
    """
    if not isinstance(body, dict):
        raise BadInput("the body must be a JSON object")
    given = {name: value for name, value in body.items() if value is not None}
    for name, value in given.items():
        if name not in _NETWORK:
            raise BadInput(f"unknown or forbidden field: {name[:64]}")
        if type(value) is not _NETWORK[name] or (isinstance(value, str) and len(value) > _MAX_TEXT):
            raise BadInput(f"{name} must be a {'flag' if _NETWORK[name] is bool else 'short text'}")
    if not given:
        raise BadInput(f"one of {', '.join(sorted(_NETWORK))} must be given")
    return given


@frozen(kw_only=True)
class Access:
    """
    Routes below C{/api/sandbox/{id}} that open and close doors.
    """

    intake: IIntake = field(validator=provides(IIntake))
    runtime: IRuntime = field(validator=provides(IRuntime))
    streams: OpenStreams
    terms: Terms

    async def _own(self, asked: Asked) -> Sandbox:
        return await self.intake.owned(asked.wallet, asked.id)

    async def _paid_for(self, asked: Asked) -> Sandbox:
        """
        One that may be led into.

        @raise StopPending: It was never metered.
        """
        sandbox = await self._own(asked)
        why = await self.streams.refused_unknown(sandbox.id)
        if why is not None:
            raise why
        return sandbox

    def _shown(self, sandbox: Sandbox) -> Answer:
        return Answer(document=shown(sandbox.document, self.terms.public_url))

    # -- ssh ------------------------------------------------------------------------

    async def ssh_access(self, asked: Asked) -> Answer:
        """A token that ends before an unwatched sandbox would."""
        wanted = whole(
            asked.query, "expiresInMinutes", _DEFAULT_SSH_MINUTES, least=1, most=_MAX_MINUTES
        )
        sandbox = await self._paid_for(asked)
        access = await self.runtime.ssh_access(sandbox.id, min(wanted, self.terms.deadman_minutes))
        return Answer(document=ssh_shown(access, self.terms.ssh_gateway_host))

    async def revoke_ssh(self, asked: Asked) -> Answer:
        """One token, or all of this sandbox."""
        token = asked.query.get("token")
        if token is not None and not _TOKEN.match(token):
            raise BadInput("token has signs that no token has")
        sandbox = await self._own(asked)
        return self._shown(await self.runtime.revoke_ssh(sandbox.id, token))

    # -- previews -------------------------------------------------------------------

    async def signed_preview_url(self, asked: Asked) -> Answer:
        """A URL that opens one port, and ends before an unwatched sandbox would."""
        port = _port(asked)
        wanted = whole(
            asked.query,
            "expiresInSeconds",
            _DEFAULT_PREVIEW_SECONDS,
            least=1,
            most=_MAX_PREVIEW_SECONDS,
        )
        sandbox = await self._paid_for(asked)
        seconds = min(wanted, self.terms.deadman_minutes * 60)
        preview = await self.runtime.signed_preview(sandbox.id, port, seconds)
        return Answer(document=preview_shown(dict(preview), self.terms.proxy_domain))

    async def expire_preview(self, asked: Asked) -> Answer:
        """Daytona would end anybody's token, so we ask first whose it is."""
        port, token = _port(asked), asked.parts["token"]
        sandbox = await self._own(asked)
        held = _TOKEN.match(token) and await self.runtime.preview_holder(token, port)
        if held != sandbox.id:
            raise NotServed(NO_PREVIEW, status=404)
        await self.runtime.expire_preview(sandbox.id, port, token)
        return Answer(document={})

    # -- network --------------------------------------------------------------------

    async def set_public(self, asked: Asked) -> Answer:
        """Opened by the owner's own signature only; closed by whoever may manage (P17)."""
        flag = _FLAGS.get(asked.parts["flag"])
        if flag is None:
            raise BadInput("public must be true or false")
        if flag:
            check_signed(asked)
        sandbox = await (self._paid_for if flag else self._own)(asked)
        return self._shown(await self.runtime.set_public(sandbox.id, flag))

    async def set_network(self, asked: Asked) -> Answer:
        """Egress of the sandbox."""
        settings = read_network(asked.body)
        sandbox = await self._own(asked)
        return self._shown(await self.runtime.set_network(sandbox.id, settings))

    # -- looking --------------------------------------------------------------------

    async def _telemetry(self, asked: Asked, *kind: str) -> Answer:
        sandbox = await self._own(asked)
        query: dict[str, str | tuple[str, ...]] = {**asked.query, **asked.several}
        return Answer(document=await self.runtime.telemetry(sandbox.id, kind, query))

    async def logs(self, asked: Asked) -> Answer:
        """What the sandbox reported."""
        return await self._telemetry(asked, "logs")

    async def metrics(self, asked: Asked) -> Answer:
        """What it used."""
        return await self._telemetry(asked, "metrics")

    async def traces(self, asked: Asked) -> Answer:
        """What it did."""
        return await self._telemetry(asked, "traces")

    async def trace(self, asked: Asked) -> Answer:
        """One of them."""
        if not _TRACE.match(asked.parts["trace"]):
            raise NotServed("no such trace", status=404)
        return await self._telemetry(asked, "traces", asked.parts["trace"])

    async def toolbox_proxy_url(self, asked: Asked) -> Answer:
        """Ours, whatever Daytona's is."""
        await self._own(asked)
        return Answer(document={"url": toolbox_url(self.terms.public_url)})

    async def build_logs_url(self, asked: Asked) -> Answer:
        """Ours: the stream is served where newer SDKs expect it."""
        sandbox = await self._own(asked)
        url = f"{self.terms.public_url}/sandboxes/{sandbox.id}/build-logs"
        return Answer(document={"url": url})
