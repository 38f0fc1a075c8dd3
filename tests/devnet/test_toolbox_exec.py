"""
The simulated toolbox where commands really run: what they see, and that all of them end.
"""

from __future__ import annotations

import io
import json
import os
import resource
from pathlib import Path
from typing import IO, Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import FileBodyProducer

from sandbox_billing.devnet.daytona.toolbox_disk import DiskFiles
from sandbox_billing.devnet.daytona.toolbox_host import STDERR, STDOUT
from sandbox_billing.devnet.daytona.toolbox_shells import MarkedShell
from sandbox_billing.devnet.daytona.toolbox_spawn import localised
from tests.devnet.toolbox_bench import KEY, ToolboxCase


MEBIBYTE = 1024 * 1024


def alive(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


class _Real(ToolboxCase):
    allow_exec = True

    @property
    def files(self) -> DiskFiles:
        """Of the sandbox."""
        found = self.service.toolbox.box(self.simulator.records[self.sandbox]).files
        assert isinstance(found, DiskFiles)
        return found

    async def printed_pid(self, path: str) -> int:
        """What a command has written there."""
        place = self.files.home / path
        await self.until(lambda: place.exists() and place.read_text().strip(), "written")
        return int(place.read_text())


class ExecuteTests(_Real):
    """C{process/execute} and C{process/code-run}."""

    async def test_world(self) -> None:
        """A bare environment, the folder, the sandbox's own variables and the request's."""
        os.environ["SECRET_OF_THE_TEST"] = "secret"
        self.addCleanup(os.environ.pop, "SECRET_OF_THE_TEST")
        _, seen = await self.run_command("env", envs={"A": "b c"})
        names = {line.partition("=")[0] for line in seen.splitlines()}
        self.assertEqual(
            names - {"_", "SHLVL", "PWD", "OLDPWD"},
            {"PATH", "HOME", "LANG", "A", "OF", "TOOLBOX_PROCESS"},
        )
        self.assertIn("A=b c", seen)
        self.assertEqual((await self.run_command("pwd"))[1].strip(), str(self.files.home))

    async def test_home(self) -> None:
        """Files and commands agree on where the home is."""
        await self.ask("POST", "files/upload-v2?path=/home/daytona/a", data=b"from files")
        self.assertEqual(await self.run_command("cat /home/daytona/a"), (0, "from files"))
        await self.run_command("mkdir sub; echo from commands > sub/b")
        read = await self.run_command("cat b", cwd="/home/daytona/sub")
        self.assertEqual(read, (0, "from commands\n"))
        reply = await self.ask("GET", "files/download?path=sub/b")
        self.assertEqual(reply.body, b"from commands\n")

    async def test_outputs(self) -> None:
        """Both, the exit code, and that of a signal."""
        self.assertEqual(await self.run_command("echo o; echo e >&2; exit 3"), (3, "o\ne\n"))
        self.assertEqual((await self.run_command("kill -9 $$"))[0], 137)
        self.assertEqual(await self.run_command("cat"), (0, ""))
        reply = await self.ask("POST", "process/execute", {"command": "pwd", "cwd": "/none"})
        self.assertEqual(reply.status, 400)

    async def test_large(self) -> None:
        """A megabyte of output is whole."""
        code, text = await self.run_command("yes 1234567 | head -c 1048576")
        self.assertEqual((code, len(text)), (0, MEBIBYTE))

    async def test_timeout(self) -> None:
        """Ends the command and what it started."""
        # On a busy machine a shell needs a while to begin.
        body = {"command": "sleep 77 & echo $! > pid; wait", "timeout": 3}
        reply = await self.ask("POST", "process/execute", body)
        self.assertEqual(reply.status, 408)
        pid = await self.printed_pid("pid")
        await self.until(lambda: not alive(pid), "ended")

    async def test_code(self) -> None:
        """A real Python, with arguments."""
        body = {"code": "import sys; print(sys.argv[1:], 6*7)", "language": "python", "argv": ["a"]}
        reply = await self.ask("POST", "process/code-run", body)
        self.assertEqual(reply.json["result"], "['a'] 42\n")

    async def test_link_out(self) -> None:
        """A link that a command makes does not lead the files out."""
        await self.run_command("ln -s /etc out; ln -s /etc/passwd passwd")
        for path in ("files/download?path=passwd", "files?path=out"):
            self.assertEqual((await self.ask("GET", path)).status, 403)
        reply = await self.ask("POST", "files/upload-v2?path=out/new", data=b"x")
        self.assertEqual(reply.status, 403)


class EndTests(_Real):
    """Nothing survives."""

    async def test_stop(self) -> None:
        """What runs, what was left behind, and what fled from its group all end with a stop."""
        await self.run_command("sleep 77 >/dev/null 2>&1 & echo $! > left")
        await self.run_command("setsid sh -c 'echo $$ > fled; exec sleep 77' >/dev/null 2>&1 &")
        waiting = Deferred.fromCoroutine(
            self.ask("POST", "process/execute", {"command": "echo $$ > runs; exec sleep 77"})
        )
        pids = [await self.printed_pid(path) for path in ("left", "fled", "runs")]
        self.assertEqual([alive(pid) for pid in pids], [True] * 3)
        await self.api("POST", f"/sandbox/{self.sandbox}/stop")
        await self.until(lambda: not any(map(alive, pids)), "ended")
        self.assertEqual((await waiting).status, 502)
        self.assertTrue(self.files.home.exists(), "a stop keeps the files")

    async def test_delete(self) -> None:
        """Its folder goes, processes first."""
        files = self.files
        await self.ask("POST", "process/session", {"sessionId": "s"})
        body = {"command": "echo $$ > pid; while :; do echo x >> grows; done", "runAsync": True}
        await self.ask("POST", "process/session/s/exec", body)
        pid = await self.printed_pid("pid")
        await self.api("DELETE", f"/sandbox/{self.sandbox}")
        await self.until(lambda: not alive(pid), "ended")
        await self.until(lambda: not files.root.exists(), "gone")

    async def test_shutdown(self) -> None:
        """Stopping the simulator ends everything, and waits for it."""
        root = self.files.root
        waiting = Deferred.fromCoroutine(
            self.ask("POST", "process/execute", {"command": "echo $$ > pid; exec sleep 77"})
        )
        waiting.addErrback(lambda failure: None)
        pid = await self.printed_pid("pid")
        await self.service.stopService()
        self.assertFalse(alive(pid))
        self.assertFalse(root.exists())


class SessionTests(_Real):
    """A shell that lives on."""

    async def setUp(self) -> None:
        await super().setUp()
        await self.ask("POST", "process/session", {"sessionId": "s"})

    async def exec(self, command: str, **more: Any) -> dict[str, Any]:
        """In the session."""
        body = {"command": command, **more}
        found: dict[str, Any] = (await self.ask("POST", "process/session/s/exec", body)).json
        return found

    async def test_state(self) -> None:
        """Variables and the folder last; a command that is none does not end it."""
        await self.exec("X=5; mkdir d; cd d")
        self.assertEqual((await self.exec("if"))["exitCode"], 2)
        done = await self.exec("echo $X; basename $PWD; echo 'e' >&2; (exit 4)")
        self.assertEqual((done["stdout"], done["stderr"], done["exitCode"]), ("5\nd\n", "e\n", 4))

    async def test_no_newline(self) -> None:
        """Output that does not end its line, or has NULs, is as it was."""
        self.assertEqual((await self.exec("printf 'a\\0b'"))["stdout"], "a\0b")

    async def test_exit(self) -> None:
        """A command that ends the shell has that exit code; the next one finds none."""
        self.assertEqual((await self.exec("echo x; exit 9"))["exitCode"], 9)
        self.assertNotEqual((await self.exec("echo y"))["exitCode"], 0)

    async def test_input(self) -> None:
        """A line typed to the command that waits."""
        begun = await self.exec("read line; echo got $line", runAsync=True)
        path = f"process/session/s/command/{begun['cmdId']}"
        self.assertEqual((await self.ask("POST", f"{path}/input", {"data": "a b"})).status, 204)
        socket = await self.socket(f"{path}/logs?follow=true")
        self.assertEqual(await socket.rest(), [b"\x01\x01\x01got a b\n"])
        self.assertEqual((await self.ask("POST", f"{path}/input", {"data": "c"})).status, 410)


class TerminalTests(_Real):
    """A real terminal."""

    async def test_terminal(self) -> None:
        """Its size, its variables and its exit."""
        socket = await self.socket("process/pty/create-connect?id=p&cols=91&rows=17")
        await socket.send(b"stty size; echo $TERM; exit 5\n")
        shown = b"".join(each for each in await socket.rest() if isinstance(each, bytes))
        self.assertIn(b"17 91", shown)
        self.assertIn(b"xterm-256color", shown)
        self.assertEqual(json.loads(str(socket.closed[1]))["exitCode"], 5)

    async def test_slow_reader(self) -> None:
        """A flood waits for a reader who does not read, in the kernel and not in memory."""
        socket = await self.socket("process/pty/create-connect?id=p")
        before = peak()
        await socket.send(b"yes 0123456789012345678901234567890123456789\n")
        # Nothing is waited for: this is how long it may flood.
        await deferLater(reactor, 2)
        self.assertLess(peak() - before, 40 * MEBIBYTE)
        self.assertEqual((await self.ask("DELETE", "process/pty/p")).status, 200)


class InterpreterTests(_Real):
    """A Python with variables."""

    async def ran(self, **body: Any) -> tuple[list[dict[str, Any]], int | None]:
        """@return: The messages, and the close code."""
        socket = await self.socket("process/interpreter/execute")
        await socket.send(json.dumps(body))
        told = [json.loads(each) for each in await socket.rest()]
        return told, socket.closed[0]

    async def test_variables(self) -> None:
        """They last in a context, and an exception is told whole."""
        self.assertEqual((await self.ran(code="x = 41"))[1], 1000)
        told, _ = await self.ran(code="print(x + 1)\n1/0")
        self.assertEqual("".join(each["text"] for each in told if each["type"] == "stdout"), "42\n")
        self.assertIn("ZeroDivisionError", [each.get("name") for each in told])

    async def test_timeout(self) -> None:
        """Closes with the code that SDKs know, and the next run begins anew."""
        self.assertEqual((await self.ran(code="while 1: pass", timeout=1))[1], 4008)
        told, code = await self.ran(code="print('new')")
        self.assertEqual((told[0]["text"], code), ("new", 1000))


class LargeTests(_Real):
    """Nothing is held whole."""

    timeout = 600

    async def test_memory(self) -> None:
        """200 MiB up as the SDKs send them, and down both ways, in little memory."""
        size = 200 * MEBIBYTE
        form = _form(Path(self.mktemp()), size)
        self.addCleanup(form.close)
        headers = {**KEY, "Content-Type": "multipart/form-data; boundary=e"}
        before = peak()
        reply = await self.ask(
            "POST", "files/bulk-upload", headers=headers, data=FileBodyProducer(form)
        )
        self.assertEqual(reply.json["files"], [{"path": "big", "bytes": size}], reply.body[:200])
        for method, path, body in (
            ("GET", "files/download?path=big", None),
            ("POST", "files/bulk-download", {"paths": ["big"]}),
        ):
            data = None if body is None else io.BytesIO(json.dumps(body).encode())
            response = await self.http.request(
                method, self.url(path), headers=KEY, data=data, unbuffered=True
            )
            lengths: list[int] = []
            await response.collect(lambda piece, lengths=lengths: lengths.append(len(piece)))
            self.assertGreaterEqual(sum(lengths), size)
        self.assertLess(peak() - before, 40 * MEBIBYTE)


def _form(place: Path, size: int) -> IO[bytes]:
    """An upload with one file of zeros, on disk."""
    file = place.open("w+b")
    name = 'form-data; name="files[0].file"; filename="big"'
    file.write(f"--e\r\nContent-Disposition: {name}\r\n\r\n".encode())
    file.seek(size, os.SEEK_CUR)
    file.write(b"\r\n--e--\r\n")
    file.seek(0)
    return file


def peak() -> int:
    """The most memory that this process ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class LocalisedTests(SynchronousTestCase):
    """L{localised}."""

    def test_wrapped(self) -> None:
        """The home is replaced, inside the wrapping of 0.149 too."""
        home = Path("/h")
        self.assertEqual(localised("cat /home/daytona/x", home), "cat /h/x")
        # cat /home/daytona/x, and cat /h/x
        old = "echo 'Y2F0IC9ob21lL2RheXRvbmEveA==' | base64 -d | sh"
        self.assertEqual(localised(old, home), "echo 'Y2F0IC9oL3g=' | base64 -d | sh")


class _Told:
    """In place of a process."""

    def __init__(self) -> None:
        self.ended: Deferred[int] = Deferred()
        self.written: list[bytes] = []
        self.on_output: Any = None

    def write(self, data: bytes) -> None:
        self.written.append(data)


class MarkTests(SynchronousTestCase):
    """L{MarkedShell}: where one command's output ends."""

    def test_any_pieces(self) -> None:
        """However the bytes are cut, the output is whole and has nothing of the marks."""
        mark = b"abcabd"
        out = b"abcabcab\n" + mark + b" 7\n"
        err = b"abcab" + mark + b" 7\n"
        for size in range(1, len(out) + 1):
            with self.subTest(size=size):
                told: Any = _Told()
                shell = MarkedShell(told, 9, mark)
                shell.start()
                got = {STDOUT: b"", STDERR: b""}

                def take(number: int, data: bytes, got: dict[int, bytes] = got) -> None:
                    got[number] += data

                done = shell.run("x", take)
                for at in range(0, max(len(out), len(err)), size):
                    told.on_output(STDOUT, out[at : at + size])
                    told.on_output(STDERR, err[at : at + size])
                self.assertEqual(self.successResultOf(done), 7)
                self.assertEqual(got, {STDOUT: b"abcabcab\n", STDERR: b"abcab"})
