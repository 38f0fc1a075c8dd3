"""
The blocking client.

Tests: C{tests.client.test_core}, C{tests.client.test_client}.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from sandbox_billing.client.calls import Answer
from sandbox_billing.client.files import Counted, beside, form_of
from sandbox_billing.client.sync_account import AccountClient
from sandbox_billing.client.values import ExecResult, Sandbox, SshAccess


class Client(AccountClient):
    """
    A provider, as one wallet uses it.  Not for several threads at once.

    Whatever fails raises an L{ApiError<sandbox_billing.client.errors.ApiError>}.
    """

    # -- sandboxes

    def create(
        self,
        *,
        snapshot: str | None = None,
        labels: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        **more: Any,
    ) -> Sandbox:
        """
        Rent one.  It may take a moment to run: L{wait}.

        @param idempotency_key: Of an earlier try of the same; None for a new one.
        @param more: As Daytona names it: C{name}, C{cpu}, C{memory}, C{disk}, C{target} and so on.
        """
        said = {"snapshot": snapshot, "labels": labels, "env": env}
        body = {**{name: one for name, one in said.items() if one is not None}, **more}
        return self._do(self._calls.create(body, idempotency_key))

    def get(self, sandbox: str) -> Sandbox:
        """By id or name."""
        return self._do(self._calls.get(sandbox))

    def list(
        self, *, labels: Mapping[str, str] | None = None, states: Iterable[str] = ()
    ) -> Iterator[Sandbox]:
        """The wallet's own, page by page."""
        wanted = tuple(states)
        return self._all(lambda cursor: self._calls.sandboxes(cursor, labels, wanted))

    def wait(self, sandbox: str, state: str = "started", *, timeout: float = 120.0) -> Sandbox:
        """Look every second until it is so."""
        return self._do(self._calls.wait(sandbox, state, timeout))

    def start(self, sandbox: str, *, idempotency_key: str | None = None) -> Sandbox:
        """From now on it costs."""
        return self._do(self._calls.change(sandbox, "start", idempotency_key))

    def stop(self, sandbox: str, *, idempotency_key: str | None = None) -> Sandbox:
        """Its disk stays; it costs nothing from now on."""
        return self._do(self._calls.change(sandbox, "stop", idempotency_key))

    def archive(self, sandbox: str, *, idempotency_key: str | None = None) -> Sandbox:
        """Only a stopped one."""
        return self._do(self._calls.change(sandbox, "archive", idempotency_key))

    def delete(self, sandbox: str, *, idempotency_key: str | None = None) -> Sandbox:
        """For good, with its disk."""
        return self._do(self._calls.delete(sandbox, idempotency_key))

    def set_labels(self, sandbox: str, labels: Mapping[str, str]) -> Sandbox:
        """In place of those that it had."""
        return self._do(self._calls.set_labels(sandbox, labels))

    def ssh_access(self, sandbox: str, *, minutes: int = 60) -> SshAccess:
        """Whoever has it gets in."""
        return self._do(self._calls.ssh_access(sandbox, minutes))

    # -- inside

    def exec(
        self,
        sandbox: str,
        command: str,
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> ExecResult:
        """
        Run a command to its end.

        @param timeout: Seconds that it may take; None for ten minutes.
        """
        return self._do(self._calls.exec(sandbox, command, cwd, env, timeout))

    def toolbox(
        self,
        sandbox: str,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        content_type: str = "application/json",
        timeout: float | None = None,
    ) -> Answer:
        """
        Anything that Daytona's toolbox has.

        @param path: Below the sandbox's toolbox: C{files?path=/tmp}.
        """
        return self._do(
            self._calls.toolbox(
                sandbox,
                method,
                path,
                body=body or b"",
                content_type=content_type,
                timeout=timeout,
            )
        )

    def upload(self, sandbox: str, source: bytes | str | Path, remote: str) -> None:
        """
        @param source: The bytes themselves, or the path of a file here, of any size.
        """
        form, content_type = form_of(source, remote)
        self._do(self._calls.upload(sandbox, remote, form, content_type))

    def download(self, sandbox: str, remote: str, target: str | Path | IO[bytes]) -> int:
        """
        @param target: The path of a file here, which is there only when it is whole; or an open
            one.
        @return: Bytes.
        """
        if not isinstance(target, str | Path):
            sink = Counted(target)
            self._do(self._calls.download(sandbox, remote, sink))
            return sink.written
        path = Path(target)
        part = beside(path)
        try:
            with part.open("xb") as file:
                sink = Counted(file)
                self._do(self._calls.download(sandbox, remote, sink))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return sink.written
