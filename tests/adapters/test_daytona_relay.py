"""
Where the relay goes, and whom it follows: pure, for whatever Daytona may say.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from sandbox_billing.adapters.daytona.relay import (
    NoRelay,
    Target,
    door_location,
    relay_at,
    target_of,
    toolbox_base,
)
from sandbox_billing.errors import BadInput, Transient
from sandbox_billing.interfaces import IRelay, Place, RelayCall, Sandbox
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.resources import Resources


API = "http://daytona:3000/api"
OURS = "https://ours.example"


def shown(url: Any, id: str = "one") -> Sandbox:
    """A sandbox of which Daytona says where its toolbox is."""
    return Sandbox(
        id=SandboxId(id),
        name=id,
        state="started",
        desired_state=None,
        labels={},
        resources=Resources(),
        auto_stop_minutes=None,
        last_activity_at=None,
        document={"toolboxProxyUrl": url},
    )


class TargetTests(SynchronousTestCase):
    """
    L{target_of} and L{toolbox_base}.
    """

    def target(self, url: Any, place: Place, id: str = "one") -> tuple[str, str]:
        """Origin and path."""
        call = RelayCall(method="GET", place=place, sandbox=shown(url, id))
        found = target_of(call, api=API, own_url=OURS)
        return found.origin, found.path

    def test_places(self) -> None:
        """Each where daytona.md §3 has it."""
        url, proxy, api = "http://p:4000/toolbox", "http://p:4000", "http://daytona:3000"
        for place, origin, path in (
            (Place.TOOLBOX, proxy, "/toolbox/one"),
            (Place.BUILD_LOGS, proxy, "/sandboxes/one/build-logs"),
            (Place.LEGACY_TOOLBOX, api, "/api/toolbox/one/toolbox"),
            (Place.LEGACY_BUILD_LOGS, api, "/api/sandbox/one/build-logs"),
        ):
            self.assertEqual(self.target(url, place), (origin, path))
            self.assertEqual(self.target(f"{url}/", place), (origin, path))

    def test_not_named(self) -> None:
        """The older address, where there is no other, or the other is ours."""
        for url in (None, "", 7, OURS, f"{OURS}/toolbox", f"{OURS}/toolbox/"):
            found = self.target(url, Place.TOOLBOX)
            self.assertEqual(found, ("http://daytona:3000", "/api/toolbox/one/toolbox"))
        # One that only begins like us is another host.
        other = f"{OURS}.evil/x"
        self.assertEqual(toolbox_base(shown(other), api=API, own_url=OURS), other)

    def test_ourselves(self) -> None:
        """However it is spelt: the key must not come in at our own front door."""
        for url in (
            "https://OURS.example/toolbox",
            "https://ours.example:443/toolbox",
            "http://ours.example/toolbox",
            "http://ours.example:80/toolbox",
            "https://ours.example./toolbox",
            "HTTPS://ours.example/elsewhere",
        ):
            self.assertEqual(self.target(url, Place.TOOLBOX)[0], "http://daytona:3000", url)
        # Behind the same name there may be more than us.
        self.assertEqual(
            self.target("https://ours.example:4000/toolbox", Place.TOOLBOX)[0],
            "https://ours.example:4000",
        )

    def test_no_way_down(self) -> None:
        """Where Daytona has TLS its key goes nowhere in plain sight."""
        api = "https://daytona.example/api"
        with self.assertRaises(Transient):
            toolbox_base(shown("http://p:4000/toolbox"), api=api, own_url=OURS)
        safe = "https://p:4000/toolbox"
        self.assertEqual(toolbox_base(shown(safe), api=api, own_url=OURS), safe)

    def test_unusable(self) -> None:
        """Neither key nor body goes to what is no plain URL of a host."""
        for url in (
            "ftp://p/toolbox",
            "file:///etc/passwd",
            "http://",
            "http://user:secret@p/toolbox",
            "http://p/toolbox?x=1",
            "http://p/toolbox#x",
            "http://p:port/toolbox",
            "http://p:0/toolbox",
            "//p/toolbox",
            "http://[::1/toolbox",
            "http://p q/toolbox",
            "http://p/tool\r\nbox",
            "http://\xe9/toolbox",
        ):
            self.assertRaises(Transient, self.target, url, Place.TOOLBOX)

    @given(st.text(min_size=1, max_size=40))
    def test_id_is_one_segment(self, id: str) -> None:
        """Whatever an id is, it stays one segment."""
        try:
            id.encode()
        except UnicodeEncodeError:
            return
        _, path = self.target("http://p/toolbox", Place.TOOLBOX, id)
        first, rest = path[1:].split("/")
        self.assertEqual((first, unquote(rest)), ("toolbox", id))


class LocationTests(SynchronousTestCase):
    """
    L{door_location}.
    """

    target = Target(origin="http://p:4000", path="/toolbox/one")

    def led(self, location: str) -> str | None:
        """Where a client is led."""
        return door_location(location, self.target, "/toolbox/mine")

    def test_through(self) -> None:
        """Below this sandbox's toolbox: through our door."""
        for location in ("/toolbox/one/a?b=c", "http://p:4000/toolbox/one/a?b=c"):
            self.assertEqual(self.led(location), "/toolbox/mine/a?b=c")

    def test_elsewhere(self) -> None:
        """Anywhere else: nowhere."""
        for location in (
            *("/toolbox/onemore/a", "/toolbox/two/a", "/toolbox/one", "", "a", "//p/toolbox/one/a"),
            *("http://p:40000/toolbox/one/a", "http://q/toolbox/one/a", "/toolbox/one/../two"),
            *("/toolbox/one/a/..", "/toolbox/one/a\r\nX: y", "/toolbox/one/\xe9"),
            *("/toolbox/one/%2e%2e/two", "/toolbox/one/..%2ftwo", "/toolbox/one/..\\two"),
        ):
            self.assertIsNone(self.led(location), location)

    @given(st.text(max_size=30))
    def test_never_out(self, tail: str) -> None:
        """What comes of it is below our door, in one line, and climbs nowhere."""
        led = self.led(f"/toolbox/one/{tail}")
        if led is not None:
            self.assertTrue(led.startswith("/toolbox/mine/"))
            self.assertTrue(led.isascii() and led.isprintable())
            steps = unquote(urlsplit(led).path).replace("\\", "/").split("/")
            self.assertNotIn("..", steps)


class PortTests(SynchronousTestCase):
    """
    The port.
    """

    def test_both(self) -> None:
        """Both relays have all of it, and neither shows the key."""
        relay = relay_at(API, admin_key="the-key", own_url=OURS, reactor=object())
        for one in (relay, NoRelay()):
            verifyObject(IRelay, one)
            self.assertNotIn("the-key", repr(one))

    def test_no_key(self) -> None:
        """Without a key nobody is asked."""
        self.assertRaises(BadInput, relay_at, API, admin_key="", own_url="", reactor=object())
