"""Who is cut and who is not, where what is stored of one of them cannot be read."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import IDoors
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.web.open_streams import OpenStream
from tests.web.world import FOREIGN, OWNER, SANDBOX, STRANGER, World


PEOPLE = ((OWNER, SANDBOX), (STRANGER, FOREIGN))


@implementer(IDoors)
class DamagedDoors:
    """Cannot read what is stored of one."""

    def __init__(self, inner: Any, damaged: object) -> None:
        self._inner, self._damaged = inner, damaged

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def funds(self, wallet: Any) -> Any:
        """A wallet's account."""
        return await self._read(self._inner.funds, wallet)

    async def session(self, sandbox: Any) -> Any:
        """A sandbox's session."""
        return await self._read(self._inner.session, sandbox)

    async def _read(self, read: Any, name: Any) -> Any:
        if name == self._damaged:
            raise BadInput("no such form")
        return await read(name)


class DamagedTests(SynchronousTestCase):
    """One that nobody can read keeps no other's streams open."""

    def cut(self, world: World, damaged: object) -> list[str]:
        """
        A turn over everybody's streams; that something cannot be read is told.

        @return: Whose are cut.
        """
        cut: list[str] = []
        streams = evolve(world.streams, doors=DamagedDoors(world.doors, damaged))
        for key, sandbox in PEOPLE:
            stream = OpenStream(wallet=key.address, sandbox=SandboxId(sandbox), metered=True)
            stream.cut = lambda why, sandbox=sandbox: cut.append(sandbox)
            streams.enter(stream)
        self.failureResultOf(Deferred.fromCoroutine(streams.turn()), BadInput)
        return sorted(cut)

    def test_session(self) -> None:
        """Streams of all other sandboxes end with them."""
        for damaged, other in ((SANDBOX, FOREIGN), (FOREIGN, SANDBOX)):
            world = World()
            world.doors.metered.clear()
            self.assertEqual(self.cut(world, damaged), [other])

    def test_account(self) -> None:
        """A stop ends a stream also where nobody can read what its wallet has."""
        for key, _ in PEOPLE:
            world = World()
            world.doors.stops.update({SANDBOX: "operator", FOREIGN: "operator"})
            self.assertEqual(self.cut(world, key.address), [SANDBOX, FOREIGN])
