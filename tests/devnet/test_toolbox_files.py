"""
The files of the simulated toolbox: paths, both stores, and multipart.
"""

from __future__ import annotations

import io
import os
from contextlib import closing
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.devnet.daytona.toolbox_disk import DiskFiles
from sandbox_billing.devnet.daytona.toolbox_errors import ToolboxError
from sandbox_billing.devnet.daytona.toolbox_memory import MemoryFiles
from sandbox_billing.devnet.daytona.toolbox_multipart import (
    Part,
    boundary_of,
    end,
    part_head,
    read_parts,
)
from sandbox_billing.devnet.daytona.toolbox_paths import Files, joined, segments
from tests.ports import at_home


class PathTests(SynchronousTestCase):
    """L{segments}."""

    def test_home(self) -> None:
        """A relative path is counted from the home, an absolute one from the root."""
        self.assertEqual(joined(segments("a/./b//c")), "/home/daytona/a/b/c")
        self.assertEqual(joined(segments("/a/../b/")), "/b")
        self.assertEqual(joined(segments("../../x")), "/x")

    def test_refused(self) -> None:
        """What climbs out, is empty or has a NUL."""
        for path, status in (("/..", 403), ("../../../x", 403), ("", 400), ("a\0b", 400)):
            with self.subTest(path=path):
                self.assertEqual(self.assertRaises(ToolboxError, segments, path).status, status)

    @given(st.lists(st.sampled_from(["..", ".", "", "a", "...", "..b", "/"]), max_size=12))
    def test_never_out(self, steps: list[str]) -> None:
        """Whatever is accepted has no step that is not a name."""
        try:
            found = segments("/".join(steps))
        except ToolboxError:
            return
        self.assertFalse({"..", ".", ""} & set(found))


def suite(make: Any) -> type[SynchronousTestCase]:
    """@param make: From a test case to L{Files}."""

    class FilesTests(SynchronousTestCase):
        """What both stores do."""

        def setUp(self) -> None:
            self.files: Files = make(self)

        def put(self, path: str, content: bytes) -> None:
            with closing(self.files.create(path)) as sink:
                sink.write(content)

        def get(self, path: str) -> bytes:
            with closing(self.files.open(path)) as file:
                return file.read()

        def refused(self, status: int, call: Any, *args: Any, **kw: Any) -> None:
            self.assertEqual(self.assertRaises(ToolboxError, call, *args, **kw).status, status)

        def test_round_trip(self) -> None:
            """What is written is read, replaced and described."""
            self.put("a/b.txt", b"first, and long")
            self.put("/home/daytona/a/b.txt", b"then")
            self.assertEqual(self.get("a/b.txt"), b"then")
            document = self.files.info("a/b.txt").document()
            self.assertEqual(
                (document["name"], document["size"], document["isDir"], document["path"]),
                ("b.txt", 4, False, "/home/daytona/a/b.txt"),
            )
            self.assertTrue(document["mode"].startswith("-rw"))

        def test_folders(self) -> None:
            """Made with those on the way, listed by name, walked to the ground."""
            self.files.folder("x/y", 0o700)
            self.files.folder("x/y", 0o755)
            self.put("x/y/z", b"")
            self.put("x/a", b"")
            self.assertEqual([each.path[-4:] for each in self.files.entries("x")], ["/x/a", "/x/y"])
            walked = [each.path for each in self.files.walk("/home/daytona")]
            self.assertIn("/home/daytona/x/y/z", walked)
            self.assertEqual(len(walked), 4)
            self.assertEqual(self.files.info("x/y").document()["permissions"], "0700")

        def test_remove(self) -> None:
            """A folder goes only when that is asked for."""
            self.put("x/y", b"1")
            self.refused(400, self.files.remove, "x", recursive=False)
            self.files.remove("x/y", recursive=False)
            self.files.remove("x", recursive=True)
            self.refused(404, self.files.info, "x")
            self.refused(404, self.files.remove, "x", recursive=True)

        def test_move(self) -> None:
            """With what it holds, and never over something."""
            self.put("x/y", b"1")
            self.put("z", b"2")
            self.files.move("x", "new/place")
            self.assertEqual(self.get("new/place/y"), b"1")
            self.refused(409, self.files.move, "z", "new/place")
            self.refused(404, self.files.move, "x", "w")

        def test_wrong_kind(self) -> None:
            """A folder is no file, a file no folder."""
            self.put("x/y", b"1")
            self.refused(400, self.files.open, "x")
            self.refused(400, self.files.create, "x")
            self.refused(400, self.files.entries, "x/y")
            self.refused(400, self.files.create, "x/y/z")
            self.refused(404, self.files.open, "nothing")

        def test_permit(self) -> None:
            """The bits are kept."""
            self.put("x", b"1")
            self.files.permit("x", 0o640)
            self.assertEqual(self.files.info("x").document()["permissions"], "0640")

        def test_destroy(self) -> None:
            """Nothing is left, not even what was made unreadable."""
            self.put("x/y", b"1")
            self.files.permit("x", 0o000)
            self.files.destroy()
            self.refused(404, self.files.info, "x/y")

    return FilesTests


def _disk(case: SynchronousTestCase) -> DiskFiles:
    root = Path(case.mktemp())
    root.mkdir()
    files = DiskFiles(root.resolve())
    files.prepare()
    return files


MemoryTests = suite(lambda case: MemoryFiles(lambda: 1.0))
DiskTests = suite(_disk)


class EscapeTests(SynchronousTestCase):
    """L{DiskFiles} and links."""

    def setUp(self) -> None:
        self.files = _disk(self)
        self.outside = Path(self.mktemp()).resolve()
        self.outside.mkdir()
        (self.outside / "secret").write_text("secret")
        os.symlink(self.outside, self.files.home / "out")
        os.symlink(self.outside / "secret", self.files.home / "file")
        os.symlink("inner", self.files.home / "in")
        (self.files.home / "inner").write_text("own")

    def test_refused(self) -> None:
        """Nothing is read, written, made, moved or listed through a link that leads out."""
        files = self.files
        for call, args in (
            (files.open, ("out/secret",)),
            (files.open, ("file",)),
            (files.create, ("out/new",)),
            (files.create, ("file",)),
            (files.entries, ("out",)),
            (files.info, ("out/secret",)),
            (files.folder, ("out/new", 0o755)),
            (files.permit, ("file", 0o777)),
            (files.move, ("out/secret", "mine")),
            (files.move, ("inner", "out/theirs")),
        ):
            with self.subTest(call=call.__name__, args=args):
                self.assertEqual(self.assertRaises(ToolboxError, call, *args).status, 403)
        refused = self.assertRaises(ToolboxError, lambda: list(files.walk("out")))
        self.assertEqual(refused.status, 403)
        self.assertEqual([each.name for each in self.outside.iterdir()], ["secret"])

    def test_inside(self) -> None:
        """A link that stays inside is followed, and any link can be deleted."""
        with closing(self.files.open("in")) as file:
            self.assertEqual(file.read(), b"own")
        self.files.remove("out", recursive=True)
        self.assertTrue((self.outside / "secret").exists())
        self.files.destroy()
        self.assertTrue((self.outside / "secret").exists())

    def test_pipe(self) -> None:
        """What would block whoever opens it is no file."""
        os.mkfifo(self.files.home / "pipe")
        self.assertEqual(self.assertRaises(ToolboxError, self.files.open, "pipe").status, 400)

    def test_real_path(self) -> None:
        """A path as commands print it is one of the user's."""
        with closing(self.files.open(str(self.files.home / "inner"))) as file:
            self.assertEqual(file.read(), b"own")


class BoundTests(SynchronousTestCase):
    """L{MemoryFiles} and its bound."""

    def test_full(self) -> None:
        """All files together keep to the bound; one that is replaced counts once."""
        files = MemoryFiles(lambda: 1.0, limit=10)
        for content in (b"1" * 6, b"2" * 8):
            with closing(files.create("a")) as sink:
                sink.write(content)
        with closing(files.create("b")) as sink:
            refused = self.assertRaises(ToolboxError, sink.write, b"123")
        self.assertIn("no space left", refused.message)


BOUNDARY = b"b-0"
CONTENT = st.lists(
    st.sampled_from([b"\r\n", b"--", b"--b-0", b"\r\n--b", b"x", b"-", b"\r", b"0" * 300_000]),
    max_size=6,
).map(b"".join)


class MultipartTests(SynchronousTestCase):
    """C{multipart/form-data}."""

    @given(st.lists(CONTENT.filter(lambda text: b"\r\n--b-0" not in b"\r\n" + text), max_size=3))
    def test_round_trip(self, contents: list[bytes]) -> None:
        """Parts come out as they went in, wherever the pieces end."""
        body = b"".join(
            part_head(BOUNDARY, name="file", filename=f"{n}.txt", content_type="a/b")
            + content
            + b"\r\n"
            for n, content in enumerate(contents)
        )
        found: list[tuple[str | None, bytes]] = []
        for item in read_parts(io.BytesIO(body + end(BOUNDARY)), BOUNDARY):
            if isinstance(item, Part):
                found.append((item.filename, b""))
            else:
                found[-1] = (found[-1][0], found[-1][1] + item)
        self.assertEqual(found, [(f"{n}.txt", each) for n, each in enumerate(contents)])

    def test_cut(self) -> None:
        """A body that ends too early is refused wherever it was cut."""
        head = part_head(BOUNDARY, name="file", filename="a", content_type="a/b")
        body = head + b"content\r\n" + end(BOUNDARY)
        for length in range(len(body) - 4):
            with self.subTest(length=length):
                self.assertRaises(
                    ToolboxError, lambda n=length: list(read_parts(io.BytesIO(body[:n]), BOUNDARY))
                )

    def test_boundary(self) -> None:
        """Quoted or not; None for another type."""
        self.assertEqual(boundary_of('multipart/form-data; boundary="a b"'), b"a b")
        self.assertEqual(boundary_of("multipart/form-data; boundary=ab"), b"ab")
        self.assertIsNone(boundary_of("application/json"))
        self.assertIsNone(boundary_of("multipart/form-data"))


at_home(globals())
