"""
What the simulated toolbox answers is what its clients expect, release by release.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.threads import deferToThread

from sandbox_billing.devnet.daytona.toolbox_errors import missing
from tests.devnet.toolbox_bench import KEY, ToolboxCase
from tests.sdk.documents import Document
from tests.sdk.test_models import problems


_GET = (
    ("FileInfo", "files"),
    ("FileInfo", "files/info?path=a/b.txt"),
    ("SearchFilesResponse", "files/search?path=.&pattern=*"),
    ("Match", "files/find?path=.&pattern=text"),
    ("Session", "process/session"),
    ("Session", "process/session/s"),
    ("Session", "process/session/entrypoint"),
    ("PtyListResponse", "process/pty"),
    ("PtySessionInfo", "process/pty/p"),
    ("ListContextsResponse", "process/interpreter/context"),
    ("WorkDirResponse", "work-dir"),
    ("UserHomeDirResponse", "user-home-dir"),
    ("PortList", "port"),
    ("IsPortInUseResponse", "port/3000/in-use"),
    ("GitStatus", "git/status?path=a"),
    ("ListBranchResponse", "git/branches?path=a"),
    ("LspSymbol", "lsp/document-symbols?languageId=python&pathToProject=a&uri=b"),
    ("ComputerUseStatusResponse", "computeruse/status"),
    ("ProcessStatusResponse", "computeruse/process/xvfb/status"),
    ("ProcessLogsResponse", "computeruse/process/xvfb/logs"),
    ("ProcessErrorsResponse", "computeruse/process/xvfb/errors"),
    ("ScreenshotResponse", "computeruse/screenshot"),
    ("DisplayInfoResponse", "computeruse/display/info"),
    ("WindowsResponse", "computeruse/display/windows"),
    ("MousePositionResponse", "computeruse/mouse/position"),
    ("ListRecordingsResponse", "computeruse/recordings"),
)

_POST: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("ExecuteResponse", "process/execute", {"command": "echo x"}),
    ("SessionExecuteResponse", "process/session/s/exec", {"command": "echo x"}),
    ("SessionExecuteResponse", "process/session/s/exec", {"command": "echo", "runAsync": True}),
    ("PtyCreateResponse", "process/pty", {"id": "q"}),
    ("PtySessionInfo", "process/pty/p/resize", {"cols": 100, "rows": 30}),
    ("InterpreterContext", "process/interpreter/context", {}),
    ("ReplaceResult", "files/replace", {"files": ["a/b.txt"], "pattern": "t", "newValue": "t"}),
    ("GitCommitResponse", "git/commit", {"path": "a"}),
    (
        "CompletionList",
        "lsp/completions",
        {"languageId": "python", "pathToProject": "a", "uri": "b"},
    ),
    ("ComputerUseStartResponse", "computeruse/start", {}),
    ("ComputerUseStopResponse", "computeruse/stop", {}),
    ("ProcessRestartResponse", "computeruse/process/xvfb/restart", {}),
    ("MousePositionResponse", "computeruse/mouse/move", {"x": 1, "y": 2}),
    ("ScrollResponse", "computeruse/mouse/scroll", {"x": 1, "y": 2, "direction": "up"}),
)

_CODE = ("CodeRunResponse", "process/code-run", {"code": "print(1)", "language": "python"})


class ToolboxModelTests(ToolboxCase):
    """Documents of the toolbox against the models of its client."""

    timeout = 600

    async def documents(self, release: str, *posts: tuple[str, str, Any]) -> list[Document]:
        """All of them, asked for by an SDK of that release."""
        self.headers = {**KEY, "X-Daytona-SDK-Version": release}
        await self.ask("POST", "files/upload-v2?path=a/b.txt", data=b"text\n")
        await self.ask("POST", "process/session", {"sessionId": "s"})
        await self.ask("POST", "process/pty", {"id": "p"})
        found: list[Document] = []
        for model, path, body in (*_POST, *posts, *((*each, None) for each in _GET)):
            method = "GET" if body is None else "POST"
            reply = await self.ask(method, path, body, headers=self.headers)
            self.assertLess(reply.status, 300, (path, reply.body))
            answer = reply.json
            each = answer if isinstance(answer, list) else [answer]
            found += [(f"toolbox:{model}", document) for document in each]
        command = (await self.ask("GET", "process/session/s")).json["commands"][0]
        found.append(("toolbox:Command", command))
        return found

    async def of(self, release: str, *posts: tuple[str, str, Any]) -> set[tuple[str, str]]:
        """@return: As L{problems} says."""
        return await deferToThread(problems, release, await self.documents(release, *posts))

    async def test_old(self) -> None:
        """0.149 reads all of it, and skips the two fields that are newer."""
        newer = {("toolbox:FileInfo", f"{name}: unknown field") for name in ("modifiedAt", "path")}
        self.assertEqual(await self.of("0.149.0"), newer)

    async def test_new(self) -> None:
        """0.190 too, with its own way to run code; one field is newer."""
        newer = {("toolbox:FileInfo", "path: unknown field")}
        self.assertEqual(await self.of("0.190.0", _CODE), newer)

    async def test_current(self) -> None:
        """And the current release, which alone has a model of errors."""
        found = await self.documents("0.226.1", _CODE)
        error = missing("x").document(method="GET", path="/x", at=0)
        found.append(("toolbox:ErrorResponse", error))
        found.append(("toolbox:SystemMetrics", (await self.ask("GET", "system/metrics")).json))
        uploaded = await self.ask("POST", "files/upload-v2?path=a/b.txt", data=b"text\n")
        found.append(("toolbox:UploadedFile", uploaded.json))
        self.assertEqual(await deferToThread(problems, "0.226.1", found), set())
