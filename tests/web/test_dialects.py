"""
The front desk before a simulated Daytona of every dialect, on real sockets.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import treq
from attrs import evolve
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.trial.unittest import TestCase
from twisted.web.server import Site

from sandbox_billing.devnet.daytona import Dialect
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.key import SigningKey
from sandbox_billing.web.root import make_root
from tests.adapters.test_daytona_runtime import SocketWorld
from tests.web.world import OWNER, STRANGER, World, sandbox


OURS = "https://sandboxes.example/toolbox"


class DialectTestCase(TestCase):
    """
    Two wallets with sandboxes, one of which has some from another system.
    """

    timeout = 300

    async def serve(self, dialect: Dialect) -> None:
        """A desk on a socket, before a Daytona on another one."""
        self.daytona = SocketWorld.make(self, dialect)
        self.world = World()
        desk = evolve(self.world.desk, runtime=self.daytona.runtime)
        site = Site(make_root(desk))
        self.port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(site)
        self.addCleanup(self.port.stopListening)

    async def create(self, owner: str, **body: Any) -> str:
        """@param owner: As Daytona shall store it."""
        labels = {"daytona-owner": owner, **body.pop("labels", {})}
        work = self.daytona.runtime.create({"labels": labels, **body})
        return (await self.daytona.run(work)).id

    async def ask(
        self, method: str, target: str, *, key: SigningKey | None = OWNER
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, JSON and headers."""
        headers = {} if key is None else self.world.signed(f"{method}:{target}", key=key)
        url = f"http://127.0.0.1:{self.port.getHost().port}{target}"
        work = treq.request(method, url, headers=headers, persistent=False)
        response = await self.daytona.run(_awaited(work))
        body = await self.daytona.run(_awaited(treq.content(response)))
        shown = {
            name.decode().lower(): values[0].decode()
            for name, values in response.headers.getAllRawHeaders()
        }
        return response.code, json.loads(body), shown


async def _awaited(work: Any) -> Any:
    return await work


class ListTests(DialectTestCase):
    """
    The same user before each of them.
    """

    async def _every_list(self, dialect: Dialect) -> None:
        await self.serve(dialect)
        mine = [await self.create(OWNER.address.hex, labels={"n": str(n % 2)}) for n in range(5)]
        mine += [await self.create(checksum(OWNER.address)) for _ in range(2)]
        await self.create(STRANGER.address.hex)
        status, reply, _ = await self.ask("GET", "/api/sandbox")
        self.assertEqual(status, 200)
        items = reply["items"] if dialect is Dialect.NEW else reply
        self.assertEqual(isinstance(reply, dict), dialect is Dialect.NEW)
        self.assertEqual(sorted(one["id"] for one in items), sorted(mine))
        for one in items:
            self.assertEqual(one["toolboxProxyUrl"], OURS)
            self.assertEqual((one["kvm"], one["networkBlockAll"]), (False, False))
        status, page, _ = await self.ask("GET", "/api/sandbox/paginated?limit=3&page=2")
        self.assertEqual((page["total"], page["page"], page["totalPages"]), (7, 2, 3))
        self.assertEqual(len(page["items"]), 3)
        query = "labels=%7B%22n%22:%221%22%7D"
        for target in (f"/api/sandbox?{query}", f"/api/sandbox/paginated?{query}"):
            _, reply, _ = await self.ask("GET", target)
            items = reply["items"] if isinstance(reply, dict) else reply
            self.assertEqual({one["id"] for one in items}, {mine[1], mine[3]})
        for target in ("/api/sandbox?labels=null", "/api/sandbox/paginated?labels=null"):
            _, reply, _ = await self.ask("GET", target)
            items = reply["items"] if isinstance(reply, dict) else reply
            self.assertEqual(len(items), 7)
        self.assertEqual((await self.ask("GET", "/api/sandbox?labels=%7B"))[0], 400)
        lists = [
            one for one in self.daytona.simulator.received if one.target.startswith("/api/sandbox?")
        ]
        if dialect is not Dialect.NEW:
            self.assertTrue(all("daytona-billing-ref" in one.target for one in lists))

    async def test_new(self) -> None:
        """v0.190: cursors."""
        await self._every_list(Dialect.NEW)

    async def test_middle(self) -> None:
        """v0.170: an array, of which Daytona is never asked for all."""
        await self._every_list(Dialect.MIDDLE)

    async def test_old(self) -> None:
        """v0.149: the same."""
        await self._every_list(Dialect.OLD)

    async def test_cursors(self) -> None:
        """Page after page, each sandbox once, in the order that was asked for."""
        await self.serve(Dialect.NEW)
        mine = [await self.create(OWNER.address.hex, name=f"b{n}") for n in range(5)]
        theirs = [await self.create(checksum(OWNER.address), name=f"a{n}") for n in range(4)]
        found, cursor, sizes = [], "", []
        while True:
            target = f"/api/sandbox?limit=2&order=asc&sort=name{cursor}"
            _, page, _ = await self.ask("GET", target)
            found += [one["id"] for one in page["items"]]
            sizes.append(len(page["items"]))
            if page["nextCursor"] is None:
                break
            cursor = "&cursor=" + page["nextCursor"].replace("=", "%3D").replace("+", "%2B")
        self.assertEqual(found, mine + theirs)
        self.assertEqual(sizes, [2, 2, 2, 2, 1])

    async def test_states(self) -> None:
        """Filters with several values reach Daytona as it reads them, on its inner state."""
        await self.serve(Dialect.NEW)
        await self.create(OWNER.address.hex)
        started = self.daytona.simulator.records
        while any(one.raw != "started" for one in started.values()):
            await self.daytona.pause()
        for query, count in (("states=started&states=error", 1), ("states=stopped", 0)):
            _, page, _ = await self.ask("GET", f"/api/sandbox?{query}")
            self.assertEqual(len(page["items"]), count, query)

    async def test_refused_by_daytona(self) -> None:
        """What Daytona refuses of a list keeps its status and text."""
        await self.serve(Dialect.NEW)
        status, reply, _ = await self.ask("GET", "/api/sandbox?sort=secret")
        self.assertEqual(status, 400)
        self.assertIn("sort", reply["message"])


class AccessTests(DialectTestCase):
    """
    Previews and the catalogue.
    """

    async def test_previews(self) -> None:
        """A signed preview is made, known and ended; a stranger's token is not ours to end."""
        await self.serve(Dialect.NEW)
        id = await self.create(OWNER.address.hex)
        other = await self.create(STRANGER.address.hex)
        for one, key in ((id, OWNER), (other, STRANGER)):
            shown = sandbox(one, key.address)
            self.world.intake.sandboxes[one] = (key.address, shown)
            self.world.doors.metered.add(one)
            self.world.doors.recorded.add(one)
        theirs = await self.daytona.run(
            self.daytona.runtime.signed_preview(SandboxId(other), 3000, 60)
        )
        base = f"/api/sandbox/{id}/ports/3000/signed-preview-url"
        status, preview, _ = await self.ask("GET", f"{base}?expiresInSeconds=86400")
        self.assertEqual((status, preview["port"]), (200, 3000))
        _, _, until = self.daytona.simulator.signed[preview["token"]]
        self.assertLessEqual(until - self.daytona.simulator.wall(), 3600)
        self.assertEqual((await self.ask("POST", f"{base}/{theirs['token']}/expire"))[0], 404)
        self.assertEqual((await self.ask("POST", f"{base}/{preview['token']}/expire"))[0], 200)
        self.assertEqual(set(self.daytona.simulator.signed), {theirs["token"]})

    async def test_catalogue(self) -> None:
        """Nothing that anybody is told names a host of Daytona's."""
        for dialect in (Dialect.NEW, Dialect.OLD):
            await self.serve(dialect)
            for target in ("/api/config", "/api/shared-regions", "/api/snapshots"):
                status, reply, _ = await self.ask("GET", target, key=None)
                self.assertEqual(status, 200)
                text = json.dumps(reply)
                for word in ("localhost", "127.0.0.1", ":4000", "admin-key"):
                    self.assertNotIn(word, text)
            name = reply["items"][0]["name"]
            _, one, _ = await self.ask("GET", f"/api/snapshots/{name}", key=None)
            self.assertEqual(one["id"], reply["items"][0]["id"])
