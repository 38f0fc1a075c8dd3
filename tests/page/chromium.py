"""
A headless Chromium, driven over a pipe by its own protocol: no driver, no port, no reactor.

The protocol is JSON, each message ended by a NUL (C{--remote-debugging-pipe}).
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field


PATIENCE_SECONDS = 90.0
"""A deadline that only a broken page meets, on a machine that has other things to do."""

_HIGH = 50
"""Above what the child's own two descriptors are."""

_COMMAND = (
    *("--headless=new", "--no-sandbox", "--remote-debugging-pipe", "--disable-gpu"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-extensions", "--disable-sync", "--hide-scrollbars", "--mute-audio"),
    *("--force-color-profile=srgb", "--lang=en-GB", "--disable-dev-shm-usage"),
)

AT_REST = """
async (chosen) => {
  const element = document.querySelector(chosen);
  const place = () => JSON.stringify(element.getBoundingClientRect());
  if (!element || !element.checkVisibility() || element.disabled) return null;
  element.scrollIntoView({ block: "center", behavior: "instant" });
  const before = place();
  await new Promise((resume) => { setTimeout(resume, 50); });
  if (!element.isConnected || element.disabled || place() !== before) return null;
  const { x, y, width, height } = element.getBoundingClientRect();
  const middle = [x + width / 2, y + height / 2];
  if (!element.contains(document.elementFromPoint(...middle))) return null;
  window.clicked = null;
  // Not of this element alone: a table that is made anew has another in its place by then.
  const tell = (event) => { if (event.target.closest(chosen)) window.clicked = true; };
  document.addEventListener("click", tell, { capture: true, once: true });
  return middle;
}
"""
"""The middle of an element that nothing covers and nothing moves; and its click will be told."""

MOST_CLICKS = 5

KEYS: Mapping[str, tuple[str, int, str]] = {
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    "Escape": ("Escape", 27, ""),
    "Space": ("Space", 32, " "),
}


def find_chromium() -> str | None:
    """Where it is, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


class BrowserTrouble(AssertionError):
    """The browser refused, or something never happened."""


@define(eq=False)
class Browser:
    """
    @ivar folder: Its profile; gone when it ends.
    """

    process: Any
    folder: str
    _write: int
    _read: int
    _rest: bytes = b""
    _last: int = 0
    _replies: dict[int, Any] = field(factory=dict)
    _tabs: dict[str, Tab] = field(factory=dict)

    @classmethod
    def start(cls, command: str) -> Browser:
        """@param command: Of L{find_chromium}."""
        folder = tempfile.mkdtemp(prefix="sandbox-billing-chromium-")
        its_in, our_out, our_in, its_out = _two_pipes()

        def place() -> None:
            os.dup2(its_in, 3)
            os.dup2(its_out, 4)

        process = subprocess.Popen(
            [command, *_COMMAND, f"--user-data-dir={folder}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=place,
            # What is open here closes itself there, but for the two that were placed.
            close_fds=False,
            start_new_session=True,
            env={**os.environ, "HOME": folder, "TZ": "UTC"},
        )
        os.close(its_in)
        os.close(its_out)
        return cls(process, folder, our_out, our_in)

    def close(self) -> None:
        """End it, with all of its children."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._write)
        os.close(self._read)
        shutil.rmtree(self.folder, ignore_errors=True)

    def call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """
        Ask, and wait for the answer; what happens meanwhile is heard.

        @raise BrowserTrouble: It refuses.
        """
        self._last += 1
        asked = self._last
        message = {"id": asked, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while asked not in self._replies:
            self.listen(deadline - time.monotonic())
            if time.monotonic() > deadline:
                raise BrowserTrouble(f"no answer to {method}")
        reply = self._replies.pop(asked)
        if "error" in reply:
            raise BrowserTrouble(f"{method}: {reply['error']['message']}")
        return reply["result"]

    def listen(self, seconds: float) -> None:
        """Hear what there is to hear, for so long at most."""
        if not select.select([self._read], [], [], max(0.0, seconds))[0]:
            return
        data = os.read(self._read, 1 << 20)
        if not data:
            raise BrowserTrouble("the browser has ended")
        *messages, self._rest = (self._rest + data).split(b"\0")
        for raw in messages:
            message = json.loads(raw)
            if "id" in message:
                self._replies[message["id"]] = message
            elif message.get("sessionId") in self._tabs:
                self._tabs[message["sessionId"]].heard(message["method"], message["params"])

    def tab(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> Tab:
        """A tab that shares nothing with any other: no storage, no cookies."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        made = Tab(self, session["sessionId"], context)
        self._tabs[made.session] = made
        for domain in ("Page", "Runtime", "Network", "Log"):
            made.call(f"{domain}.enable")
        made.emulate(width=width, height=height, dark=dark)
        return made


def _two_pipes() -> tuple[int, int, int, int]:
    """Two pipes, their four ends above those that the child is given."""
    low = (*os.pipe(), *os.pipe())
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _HIGH) for end in low]
    for end in low:
        os.close(end)
    first, second, third, fourth = high
    return first, second, third, fourth


@define(eq=False)
class Tab:
    """
    @ivar asked: Addresses of everything that was requested.
    @ivar complaints: What stands in the console as an error, policy violations among them.
    @ivar refused: What was asked for and refused, as the console tells it.
    @ivar rewriting: By a part of an address: how a reply's JSON is changed on its way.
    """

    browser: Browser
    session: str
    context: str
    asked: list[str] = field(factory=list)
    complaints: list[str] = field(factory=list)
    refused: list[str] = field(factory=list)
    rewriting: dict[str, Callable[[Any], Any]] = field(factory=dict)

    def call(self, method: str, **parameters: Any) -> Any:
        """As L{Browser.call}, of this tab."""
        return self.browser.call(method, self.session, **parameters)

    def close(self) -> None:
        """Close it, and forget what it stored."""
        self.browser.call("Target.disposeBrowserContext", browserContextId=self.context)

    def heard(self, method: str, told: Any) -> None:
        """Something happened in it."""
        if method == "Network.requestWillBeSent":
            self.asked.append(told["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            thrown = details.get("exception", {}).get("description", "")
            self.complaints.append(f"{details['text']} {thrown}")
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert"):
            self.complaints.append(" ".join(_shown(one) for one in told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            entry = told["entry"]
            heard = self.refused if entry["source"] == "network" else self.complaints
            heard.append(f"{entry['text']} {entry.get('url', '')}")
        elif method == "Fetch.requestPaused":
            try:
                self._rewrite(told)
            except BrowserTrouble as why:
                # The page has left meanwhile, and its requests with it.
                if "Invalid InterceptionId" not in str(why):
                    raise

    def intercept(self, part: str, change: Callable[[Any], Any]) -> None:
        """Change the JSON of replies whose address has this part."""
        self.rewriting[part] = change
        patterns = [
            {"urlPattern": f"*{one}*", "requestStage": "Response"} for one in self.rewriting
        ]
        self.call("Fetch.enable", patterns=patterns)

    def _rewrite(self, told: Any) -> None:
        request, url = told["requestId"], told["request"]["url"]
        change = next((one for part, one in self.rewriting.items() if part in url), None)
        if change is None or told.get("responseStatusCode") != 200:
            self.call("Fetch.continueRequest", requestId=request)
            return
        raw = self.call("Fetch.getResponseBody", requestId=request)
        body = base64.b64decode(raw["body"]) if raw["base64Encoded"] else raw["body"]
        changed = json.dumps(change(json.loads(body))).encode()
        self.call(
            "Fetch.fulfillRequest",
            requestId=request,
            responseCode=200,
            responseHeaders=told["responseHeaders"],
            body=base64.b64encode(changed).decode(),
        )

    # -- looking ---------------------------------------------------------------------------

    def emulate(self, *, width: int, height: int, dark: bool = False, still: bool = True) -> None:
        """
        Be a screen.

        @param still: Whether its user wants nothing to move.
        """
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        features = [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"},
        ]
        self.call("Emulation.setEmulatedMedia", features=features)

    def before(self, script: str) -> None:
        """Run a script in every document that is opened from now on, before its own."""
        self.call("Page.addScriptToEvaluateOnNewDocument", source=script)

    def go(self, url: str) -> None:
        """Open an address, be it the one that is open: what stood there is gone when this ends."""
        self.js("window.departing = true")
        self.call("Page.navigate", url=url)
        self.until(
            "!window.departing && document.readyState === 'complete'"
            f" && location.href.startsWith({json.dumps(url)})"
        )

    def js(self, expression: str) -> Any:
        """
        What an expression is in the page, after its promise.

        @raise BrowserTrouble: It throws.
        """
        told = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in told:
            details = told["exceptionDetails"]
            why = details.get("exception", {}).get("description", details["text"])
            raise BrowserTrouble(f"{expression[:200]}: {why}")
        return told["result"].get("value")

    def until(self, expression: str, seconds: float = PATIENCE_SECONDS) -> Any:
        """
        Wait until an expression is true in the page.

        @raise BrowserTrouble: It never was; with what the page shows.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                if found := self.js(expression):
                    return found
            except BrowserTrouble:
                # The page is on its way from one document to the next.
                if time.monotonic() > deadline:
                    raise
            if time.monotonic() > deadline:
                seen = self.js("document.body.innerText.slice(0, 3000)")
                raise BrowserTrouble(f"never: {expression}\n{self.complaints}\n{seen}")
            self.browser.listen(0.05)

    def text(self, selector: str) -> str:
        """What the first such element shows."""
        return str(self.js(f"document.querySelector({json.dumps(selector)}).innerText"))

    def sees(self, selector: str, text: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until an element shows a text."""
        chosen, wanted = json.dumps(selector), json.dumps(text)
        self.until(
            f"document.querySelector({chosen})?.innerText.includes({wanted})", seconds=seconds
        )

    def screenshot(self, path: Path, *, whole: bool = True) -> None:
        """@param whole: All of the page, not only what is in view."""
        if whole:
            # What sticks to the top of the window would hide something in the middle.
            self.js("scrollTo({top: 0, behavior: 'instant'})")
        taken = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(taken["data"]))

    # -- acting ----------------------------------------------------------------------------

    def click(self, selector: str) -> None:
        """
        Where a finger would: in the middle of what is visible, at rest and takes clicks.

        A page that has just got an answer may move while the finger is on its way: a click
        that missed is made again, as a user would.
        """
        chosen = json.dumps(selector)
        for _ in range(MOST_CLICKS):
            x, y = self.until(f"({AT_REST})({chosen})")
            for kind in ("mousePressed", "mouseReleased"):
                self.call(
                    "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
                )
            if self.until("[window.clicked !== null]")[0]:
                return
        raise BrowserTrouble(f"{MOST_CLICKS} clicks at {selector} missed it")

    def press(self, key: str, *, shift: bool = False) -> None:
        """@param key: Of L{KEYS}."""
        code, number, text = KEYS[key]
        common = {
            "key": " " if key == "Space" else key,
            "code": code,
            "windowsVirtualKeyCode": number,
            "modifiers": 8 if shift else 0,
        }
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def write(self, text: str) -> None:
        """In place of what the focused field holds."""
        self.js("document.activeElement.select?.()")
        self.call("Input.insertText", text=text)


def _shown(argument: Any) -> str:
    return str(argument.get("value", argument.get("description", argument.get("type"))))
