"""
Sandboxes, and what is inside them: one operation each.

Tests: C{tests.client.test_core}.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

from sandbox_billing.client.calls import Answer, Flow, Pause, Upload, path_of
from sandbox_billing.client.core import Core
from sandbox_billing.client.errors import Conflict, Garbled, Unclear
from sandbox_billing.client.values import (
    ExecResult,
    Page,
    Provider,
    Sandbox,
    Snapshot,
    SshAccess,
    raw_of,
    text,
    whole,
)


EXEC_SECONDS = 600.0
_GRACE_SECONDS = 30.0
_POLL_SECONDS = 1.0
_PAGE = 100
_SPELT = "/%?-._~:@!$&'()*+,;="
_FAILED = frozenset({"error", "build_failed"})


def dumped(document: object) -> bytes:
    """Compact JSON."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


class SandboxCalls(Core):
    """
    @raise ApiError: Any of them; L{sandbox_billing.client.errors} says which.
    """

    def create(self, body: Mapping[str, Any], key: str | None) -> Flow[Sandbox]:
        """@param key: None for one of its own: it is not made twice whatever gets lost."""
        answer = yield from self.ask(
            "POST", "/api/sandbox", body=dumped(body), key=key or self.fresh()
        )
        return Sandbox(answer.document())

    def get(self, sandbox: str) -> Flow[Sandbox]:
        """By id or name."""
        answer = yield from self.ask("GET", path_of("api", "sandbox", sandbox))
        return Sandbox(answer.document())

    def sandboxes(
        self, cursor: str | None, labels: Mapping[str, str] | None, states: Iterable[str]
    ) -> Flow[Page[Sandbox]]:
        """A page, in either shape that Daytonas have."""
        answer = yield from self.ask(
            "GET",
            "/api/sandbox",
            query=[
                ("cursor", cursor),
                ("limit", _PAGE),
                ("labels", None if labels is None else json.dumps(dict(labels))),
                *(("states", state) for state in states),
            ],
        )
        found = answer.json()
        if isinstance(found, list):
            return Page(items=tuple(map(Sandbox, found)), next=None)
        page = raw_of(found)
        items = page.get("items")
        if not isinstance(items, list):
            raise Garbled(text="the answer is no list of sandboxes")
        return Page(items=tuple(map(Sandbox, items)), next=text(page, "nextCursor") or None)

    def change(self, sandbox: str, verb: str, key: str | None) -> Flow[Sandbox]:
        """@param verb: C{start}, C{stop} or C{archive}."""
        answer = yield from self.ask(
            "POST", path_of("api", "sandbox", sandbox, verb), key=key or self.fresh()
        )
        return _sandbox(answer, sandbox)

    def delete(self, sandbox: str, key: str | None) -> Flow[Sandbox]:
        """For good."""
        answer = yield from self.ask(
            "DELETE", path_of("api", "sandbox", sandbox), key=key or self.fresh()
        )
        return _sandbox(answer, sandbox)

    def set_labels(self, sandbox: str, labels: Mapping[str, str]) -> Flow[Sandbox]:
        """All of the user's."""
        answer = yield from self.ask(
            "PUT",
            path_of("api", "sandbox", sandbox, "labels"),
            body=dumped({"labels": dict(labels)}),
        )
        return _sandbox(answer, sandbox)

    def wait(self, sandbox: str, state: str, seconds: float) -> Flow[Sandbox]:
        """
        @raise Conflict: It has failed.
        @raise Unclear: It is something else still.
        """
        waited = 0.0
        while True:
            found = yield from self.get(sandbox)
            if found.state == state:
                return found
            if found.state in _FAILED:
                why = text(found.raw, "errorReason") or found.state
                raise Conflict(text=f"{sandbox} has failed: {why}")
            if waited >= seconds:
                raise Unclear(text=f"{sandbox} is {found.state}, and not {state} yet: look again")
            yield Pause(_POLL_SECONDS)
            waited += _POLL_SECONDS

    def ssh_access(self, sandbox: str, minutes: int) -> Flow[SshAccess]:
        """A way in."""
        answer = yield from self.ask(
            "POST",
            path_of("api", "sandbox", sandbox, "ssh-access"),
            query=[("expiresInMinutes", minutes)],
        )
        return SshAccess(answer.document())

    # -- inside

    def toolbox(
        self,
        sandbox: str,
        method: str,
        path: str,
        *,
        body: bytes | Upload = b"",
        content_type: str = "application/json",
        query: Iterable[tuple[str, str | int | None]] = (),
        timeout: float | None = None,
        sink: Callable[[bytes], object] | None = None,
    ) -> Flow[Answer]:
        """@param path: Below the sandbox's toolbox, spelt as it is sent; it may have a query."""
        return (
            yield from self.ask(
                method,
                path_of("toolbox", sandbox) + "/" + quote(path.lstrip("/"), safe=_SPELT),
                query=query,
                body=body,
                content_type=content_type,
                timeout=timeout,
                sink=sink,
            )
        )

    def exec(
        self,
        sandbox: str,
        command: str,
        cwd: str | None,
        env: Mapping[str, str] | None,
        timeout: float | None,
    ) -> Flow[ExecResult]:
        """Never sent twice: it may have run."""
        seconds = EXEC_SECONDS if timeout is None else timeout
        if env:
            # By the shell: not every release has a field for it.
            told = "".join(f"export {name}={shlex.quote(env[name])}; " for name in env)
            command = f"sh -c {shlex.quote(told + command)}"
        body: dict[str, Any] = {"command": command, "timeout": max(1, round(seconds))}
        if cwd is not None:
            body["cwd"] = cwd
        answer = yield from self.toolbox(
            sandbox,
            "POST",
            "process/execute",
            body=dumped(body),
            timeout=seconds + _GRACE_SECONDS,
        )
        raw = answer.document()
        code = whole(raw, "exitCode")
        if code is None:
            raise Garbled(text="the sandbox did not tell how the command ended")
        return ExecResult(exit_code=code, output=text(raw, "result") or "", raw=raw)

    def upload(self, sandbox: str, remote: str, form: Upload, content_type: str) -> Flow[None]:
        """@param form: As L{sandbox_billing.client.files.form_of} makes it."""
        yield from self.toolbox(
            sandbox,
            "POST",
            "files/upload",
            query=[("path", remote)],
            body=form,
            content_type=content_type,
        )

    def download(self, sandbox: str, remote: str, sink: Callable[[bytes], object]) -> Flow[None]:
        """In pieces, where the transport can."""
        yield from self.toolbox(
            sandbox, "GET", "files/download", query=[("path", remote)], sink=sink
        )

    # -- what everybody may know

    def providers(self) -> Flow[tuple[Provider, ...]]:
        """All that are registered with the contract."""
        answer = yield from self.ask("GET", "/api/providers", public=True)
        return tuple(map(Provider, _list(answer.json())))

    def snapshots(self, page: int) -> Flow[Page[Snapshot]]:
        """@param page: From 1."""
        answer = yield from self.ask(
            "GET", "/api/snapshots", query=[("page", page), ("limit", _PAGE)], public=True
        )
        raw = answer.document()
        more = page < (whole(raw, "totalPages") or 1)
        return Page(
            items=tuple(map(Snapshot, _list(raw.get("items")))),
            next=str(page + 1) if more else None,
        )


def _list(found: object) -> list[Any]:
    if not isinstance(found, list):
        raise Garbled(text="the answer is no list")
    return found


def _sandbox(answer: Answer, asked: str) -> Sandbox:
    """Some releases answer a delete with nothing."""
    return Sandbox(answer.document() if answer.body.strip() else {"id": asked})
