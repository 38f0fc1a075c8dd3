"""
The page of those who pay: a few files out of the package, and the rules they live by.

Nothing is built, and nothing is fetched from anywhere else.  All addresses in it are
relative: it may stand below C{/proxy/<address>}.

Tests: C{tests.web.test_page}, C{tests.page}.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib import resources

from attrs import field, frozen

from sandbox_billing.web._router import Asked
from sandbox_billing.web.answers import Answer, NotServed, dump
from sandbox_billing.web.terms import Terms


NO_FILE = "the page has no such file"

INDEX = "index.html"
OPERATOR = "operator.html"
SETTINGS = "settings.json"
DEVELOPMENT = "devnet.js"
"""A wallet of well-known keys, for the devnet alone."""

TYPES: Mapping[str, str] = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "json": "application/json; charset=utf-8",
}

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'{chain}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@frozen
class File:
    """
    One file of a page.

    @ivar tag: What C{If-None-Match} may say.
    """

    content: bytes = field(repr=False)
    type: str
    tag: str


def file_of(name: str, content: bytes) -> File:
    """@param name: Its ending says what it is."""
    tag = f'"{sha256(content).hexdigest()[:32]}"'
    return File(content, TYPES[name.rpartition(".")[2]], tag)


@cache
def shipped_files() -> Mapping[str, File]:
    """What lies in the package, by name."""
    folder = resources.files("sandbox_billing").joinpath("page")
    names = (one.name for one in folder.iterdir() if one.name.rpartition(".")[2] in TYPES)
    return {name: file_of(name, folder.joinpath(name).read_bytes()) for name in names}


def headers_of(file: File, chain: str) -> dict[str, str]:
    """
    @param chain: The one other address that a page's scripts may ask; empty for none.
    """
    return {
        "Content-Type": file.type,
        "ETag": file.tag,
        # Asked for again each time, and sent only when it is another: the files of one
        # release fit together.
        "Cache-Control": "no-cache",
        "Content-Security-Policy": _POLICY.format(chain=f" {chain}" if chain else ""),
        "Referrer-Policy": "no-referrer",
        # Some wallets sign in a window of their own, which must be able to answer.
        "Cross-Origin-Opener-Policy": "same-origin-allow-popups",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    }


@frozen(kw_only=True)
class Page:
    """
    C{/} and what it consists of.

    @ivar files: By name; one folder, no path leads anywhere else.
    """

    terms: Terms
    files: Mapping[str, File] = field(factory=shipped_files, repr=False)

    async def index(self, asked: Asked) -> Answer:
        """The page."""
        return self._answer(self.files[INDEX])

    async def operator(self, asked: Asked) -> Answer:
        """The page for operators: what it shows, it asks for in their name."""
        return self._answer(self.files[OPERATOR])

    async def file(self, asked: Asked) -> Answer:
        """A script, a style, a picture, or what the page has to know before it asks anything."""
        name, chain = asked.parts["file"], self.terms.development_rpc_url
        if name == SETTINGS:
            told = {"sign_in_url": self.terms.sign_in_url, "development_rpc_url": chain}
            return self._answer(file_of(SETTINGS, dump(told)))
        found = self.files.get(name)
        if found is None or name in (INDEX, OPERATOR) or (name == DEVELOPMENT and not chain):
            raise NotServed(NO_FILE, status=404)
        return self._answer(found)

    def _answer(self, file: File) -> Answer:
        headers = headers_of(file, self.terms.development_rpc_url)
        return Answer(raw=file.content, headers=headers)
