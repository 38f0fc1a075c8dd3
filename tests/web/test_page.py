"""
The files of the page, and the rules that browsers are told to hold it to.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import treq
from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

import sandbox_billing
from sandbox_billing.web._router import Asked
from sandbox_billing.web.page import INDEX, NO_FILE, SETTINGS, TYPES, Page, shipped_files
from tests.web.asking import AskingTestCase
from tests.web.world import TERMS


CHAIN = "http://127.0.0.1:8545"


class FilesTests(SynchronousTestCase):
    """
    What is in the package.
    """

    def texts(self) -> dict[str, str]:
        """Every file."""
        return {name: file.content.decode("utf-8") for name, file in shipped_files().items()}

    def test_whole_folder(self) -> None:
        """Nothing lies there that is not served."""
        folder = Path(sandbox_billing.__file__).with_name("page")
        self.assertEqual({one.name for one in folder.iterdir()}, set(shipped_files()))
        self.assertIn(INDEX, shipped_files())

    def test_names_are_described(self) -> None:
        """Each has a name that our OpenAPI document allows."""
        pattern = re.compile(r"[a-z_-]{1,32}[.][a-z]{2,4}")
        for name in (*shipped_files(), SETTINGS):
            self.assertRegex(name, pattern)

    def test_nothing_inline(self) -> None:
        """No script, style or handler stands in the page itself: the policy forbids them."""
        for name, text in self.texts().items():
            if not name.endswith((".html", ".svg")):
                continue
            self.assertNotRegex(text, r"<script(?![^>]*\bsrc=)")
            self.assertNotRegex(text, r"<style|\sstyle=|\son[a-z]+=|javascript:")

    def test_no_markup_from_strings(self) -> None:
        """No script makes elements out of text: names of sandboxes are anybody's words."""
        for name, text in self.texts().items():
            if name.endswith(".js"):
                self.assertNotRegex(
                    text, r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", name
                )

    def test_relative(self) -> None:
        """It may stand below a path of somebody else's, and asks nobody else for anything."""
        for name, text in self.texts().items():
            self.assertNotRegex(text, r"(?:src|href)=\"(?:/|https?:)", name)
            for named in re.findall(
                r"^(?:import|export) .* from (.*);$|import\((.*?)\)", text, re.M
            ):
                self.assertRegex("".join(named), r"^\"\./[a-z_]+[.]js\"$", name)
            self.assertNotRegex(text, r"@import|url\(\s*[\"']?(?:/|https?:)", name)


@frozen
class RawReply:
    """What came back, as bytes."""

    status: int
    body: bytes
    headers: Any

    def header(self, name: str) -> str | None:
        """One header's value."""
        values = self.headers.getRawHeaders(name)
        return values[0] if values else None


class ServedTests(AskingTestCase):
    """
    Over HTTP.
    """

    def ask_raw(
        self, target: str, headers: dict[str, str] | None = None, method: str = "GET"
    ) -> RawReply:
        """Send one request; its reply may be anything."""
        agent: Any = self.world.agent
        fields = Headers({name: [value] for name, value in (headers or {}).items()})
        url = b"https://front.example" + target.encode("ascii")
        response = self.successResultOf(agent.request(method.encode("ascii"), url, fields))
        body = self.successResultOf(treq.content(response))
        return RawReply(response.code, body, response.headers)

    def test_page(self) -> None:
        """Served to anybody, as what it is, and held to the strictest policy it works under."""
        reply = self.ask_raw("/")
        self.assertEqual(reply.status, 200)
        self.assertEqual(reply.header("Content-Type"), "text/html; charset=utf-8")
        self.assertEqual(reply.header("X-Content-Type-Options"), "nosniff")
        self.assertEqual(reply.header("Referrer-Policy"), "no-referrer")
        policy = reply.header("Content-Security-Policy") or ""
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        self.assertEqual(
            rules,
            {
                "default-src": "'none'",
                "script-src": "'self'",
                "style-src": "'self'",
                "img-src": "'self' data:",
                "connect-src": "'self'",
                "base-uri": "'none'",
                "form-action": "'none'",
                "frame-ancestors": "'none'",
            },
        )
        self.assertEqual(reply.body, shipped_files()[INDEX].content)

    def test_every_file(self) -> None:
        """Each of them, with its type."""
        for name, file in shipped_files().items():
            if name.endswith(".html") or name == "devnet.js":
                continue
            reply = self.ask_raw(f"/page/{name}")
            self.assertEqual((reply.status, reply.body), (200, file.content), name)
            kind = TYPES[name.rpartition(".")[2]]
            self.assertEqual(reply.header("Content-Type"), kind)

    def test_known(self) -> None:
        """Whoever has it is sent none of it again, and is told its tag."""
        tag = self.ask_raw("/").header("ETag")
        assert tag is not None
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            reply = self.ask_raw("/", {"If-None-Match": known})
            self.assertEqual((reply.status, reply.body, reply.header("ETag")), (304, b"", tag))
        self.assertEqual(self.ask_raw("/", {"If-None-Match": '"other"'}).status, 200)

    def test_head(self) -> None:
        """As GET, without the body."""
        reply = self.ask_raw("/", method="HEAD")
        whole = shipped_files()[INDEX].content
        self.assertEqual((reply.status, reply.body), (200, b""))
        self.assertEqual(reply.header("Content-Length"), str(len(whole)))

    def test_no_such_file(self) -> None:
        """What is not in the folder is not there, the devnet's wallet in particular."""
        for name in ("nothing.js", "devnet.js", "index.html", "__init__.py"):
            reply = self.ask("GET", f"/page/{name}")
            self.assertEqual(reply.error, (404, NO_FILE))

    def test_settings(self) -> None:
        """What the page has to know first; no node that signs for anybody."""
        told = self.ask("GET", f"/page/{SETTINGS}").json
        self.assertEqual(
            told, {"sign_in_url": "https://sandboxes.example", "development_rpc_url": ""}
        )


class DevelopmentTests(SynchronousTestCase):
    """
    The devnet's wallet.
    """

    def test_only_on_the_devnet(self) -> None:
        """Its script is served where there is such a chain, which the policy then lets ask."""
        page = Page(terms=evolve(TERMS, development_rpc_url=CHAIN))
        asked = Asked(parts={"file": "devnet.js"})
        answer = self.successResultOf(Deferred.fromCoroutine(page.file(asked)))
        self.assertEqual(answer.raw, shipped_files()["devnet.js"].content)
        policy = answer.headers["Content-Security-Policy"]
        self.assertIn(f"connect-src 'self' {CHAIN};", policy)
