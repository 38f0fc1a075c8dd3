"""
One devnet and one browser for all tests of the page, ended with the process.

The devnet is what a user starts, C{twistd sandbox-billing --devnet}, in a process of its own:
so these tests need no reactor, and may wait for the browser.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any
from unittest import SkipTest
from urllib.request import Request, urlopen

from attrs import define
from twisted.trial.unittest import SynchronousTestCase

from tests.blackbox.process import PLUGIN_FOLDER, TREE, TWISTD
from tests.page.chromium import Browser, Tab, find_chromium
from tests.page.sight import PALE, WIDE


REQUIRED = "REQUIRE_BROWSER"
START_SECONDS = 120.0
PICTURES = TREE / "build" / "screenshots"

WHO = {"Alice": 4, "Bob": 5, "Mallory": 6, "Dave": 7, "Erin": 8, "Frank": 9, "Grace": 10}
"""By the numbers of their WELL-KNOWN DEVELOPMENT KEYS."""


@define(eq=False)
class Devnet:
    """
    @ivar url: Of the proxy.
    @ivar chain: Of the chain's JSON-RPC.
    """

    process: Any
    folder: Path
    url: str = ""
    chain: str = ""

    @classmethod
    def start(cls) -> Devnet:
        """Start one, and wait for its banner."""
        folder = Path(tempfile.mkdtemp(prefix="sandbox-billing-page-"))
        log = folder / "log"
        with log.open("wb") as said:
            process = subprocess.Popen(
                [
                    *(str(TWISTD), "-n", "--pidfile=", "sandbox-billing", "--devnet"),
                    *("--endpoint", "tcp:0:interface=127.0.0.1"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd=folder,
                env={"PYTHONPATH": str(PLUGIN_FOLDER), "PATH": os.environ.get("PATH", "")},
                start_new_session=True,
            )
        devnet = cls(process, folder)
        deadline = time.monotonic() + START_SECONDS
        while not devnet.url:
            text = log.read_text("utf-8", "replace")
            proxy = re.search(r"^    billing proxy +(\S+)$", text, re.MULTILINE)
            chain = re.search(r"^    chain +(\S+) ", text, re.MULTILINE)
            if proxy is not None and chain is not None:
                devnet.url, devnet.chain = proxy[1], chain[1]
            elif process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"no devnet: {text[-3000:]}")
            else:
                time.sleep(0.05)
        return devnet

    def close(self) -> None:
        """End it, with its Redis."""
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def rpc(self, method: str, *values: Any) -> Any:
        """Ask the chain."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": values})
        asked = Request(
            self.chain, data=body.encode(), headers={"Content-Type": "application/json"}
        )
        with urlopen(asked, timeout=30) as answer:
            reply = json.load(answer)
        assert "error" not in reply, reply
        return reply["result"]


@cache
def devnet() -> Devnet:
    """The one of this process."""
    made = Devnet.start()
    atexit.register(made.close)
    return made


@cache
def browser() -> Browser:
    """
    The one of this process.

    @raise SkipTest: There is none to be had, or nobody wants it.
    """
    command = find_chromium()
    if not os.environ.get(REQUIRED):
        raise SkipTest(f"a browser and a devnet: only where {REQUIRED} is set")
    if command is None:
        raise AssertionError(f"{REQUIRED} is set, and there is no Chromium")
    made = Browser.start(command)
    atexit.register(made.close)
    return made


class BrowserTestCase(SynchronousTestCase):
    """
    Each test has a tab of its own; when it ends, nothing was complained of.
    """

    timeout = 180

    def setUp(self) -> None:
        """A tab, and everything that goes wrong in it."""
        self.tab = self.open_tab()

    def open_tab(self, **how: Any) -> Tab:
        """Another one, closed with the test."""
        tab = browser().tab(**how)
        self.addCleanup(tab.close)
        return tab

    def open_page(self, tab: Tab | None = None) -> Tab:
        """The page, with the wallets of the devnet."""
        tab = tab or self.tab
        tab.go(devnet().url + "/")
        tab.until("document.querySelectorAll('#wallets button').length > 3")
        return tab

    def sign_in(self, who: str, tab: Tab | None = None) -> Tab:
        """With the development key of somebody."""
        tab = self.open_page(tab)
        tab.click(f'[data-rdns="devnet.key{WHO[who]}"] button')
        tab.until("!document.getElementById('inside').hidden")
        return tab

    def look(self, name: str, tab: Tab) -> None:
        """Pictures in light and dark, on a desk and on a phone; all of it can be read."""
        for width, height, size in ((1280, 900, ""), (360, 740, "-phone")):
            for dark in (False, True):
                tab.emulate(width=width, height=height, dark=dark)
                tab.screenshot(PICTURES / f"{name}{size}{'-dark' if dark else ''}.png")
                self.assertEqual(tab.js(PALE), [], f"{name}{size}, dark: {dark}")
                self.assertEqual(tab.js(WIDE), [], f"{name} is wider than its window")
        tab.emulate(width=1280, height=900)

    def assert_quiet(self, tab: Tab | None = None) -> None:
        """Nothing was asked of anybody else, and neither policy nor script was at fault."""
        tab = tab or self.tab
        self.assertEqual((tab.complaints, tab.refused), ([], []))
        ours = (devnet().url, devnet().chain, "data:", "blob:", "about:")
        self.assertEqual([url for url in tab.asked if not url.startswith(ours)], [])
