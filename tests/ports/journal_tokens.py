"""What every L{ITokens} must do."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from attrs import evolve
from zope.interface.verify import verifyObject

from sandbox_billing.adapters.redis.commit import Write
from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import ITokens, TooMany
from sandbox_billing.ledger.identity import SandboxId
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.token import Scope, Token, TokenId
from tests.ports.journal import OWNER, STRANGER, T0, JournalCase, MakeWorld, World, meddle


MOST = 3


def token(number: int = 1, **changes: Any) -> Token:
    """A token for an hour."""
    digest = sha256(b"%d" % number).hexdigest()
    made = Token(
        id=TokenId(digest[:32]),
        digest=digest,
        wallet=OWNER,
        scopes=(Scope.READ, Scope.MANAGE),
        issued_at=UnixSeconds(T0),
        expires_at=UnixSeconds(T0 + 3600),
    )
    return evolve(made, **changes)


def gone(one: Token) -> Token:
    """What stays of one that was revoked."""
    return evolve(one, expires_at=one.issued_at)


class TokensCase(JournalCase):
    """Tokens, by their names and by their wallets."""

    async def test_interface(self) -> None:
        """The port is provided as declared."""
        verifyObject(ITokens, self.world.journal.tokens)

    async def test_life(self) -> None:
        """Issued, found by every process, revoked; all may be repeated after a lost reply."""
        one = token(only=SandboxId("sb-1"), spend_limit=Neuron(10**19))

        async def scenario(world: World, sure: Any) -> None:
            port, other = world.journal.tokens, world.other.tokens
            self.assertIsNone(await port.find(one.id))
            await sure(lambda: port.issue(one, most=MOST))
            self.assertEqual(await other.find(one.id), one)
            self.assertEqual(await other.of(OWNER), (one,))
            await sure(lambda: port.revoke(OWNER, one.id))
            self.assertEqual(await other.find(one.id), gone(one))
            self.assertEqual(await other.of(OWNER), ())
            await sure(lambda: port.issue(token(2), most=MOST))
            await sure(lambda: port.revoke_all(OWNER))
            self.assertEqual(await other.find(token(2).id), gone(token(2)))

        await self.same_books(scenario)

    async def test_revoked_once(self) -> None:
        """What is gone, was never there, or is another wallet's, is not revoked."""
        port, theirs = self.world.journal.tokens, token(2, wallet=STRANGER)
        await port.issue(token(), most=MOST)
        await port.issue(theirs, most=MOST)
        self.assertTrue(await port.revoke(OWNER, token().id))
        for id in (token().id, token(3).id, theirs.id):
            self.assertFalse(await port.revoke(OWNER, id))
        self.assertEqual(await port.find(theirs.id), theirs)

    async def test_all_of_one_wallet(self) -> None:
        """A wallet's are all ended, another's are not; those that had ended do not count."""
        port, theirs = self.world.journal.tokens, token(9, wallet=STRANGER)
        await port.issue(token(1, expires_at=UnixSeconds(T0 + 10)), most=MOST)
        for one in (token(2), token(3), theirs):
            await port.issue(one, most=MOST)
        self.world.wall.moment = T0 + 11
        self.assertEqual(await port.revoke_all(OWNER), 2)
        self.assertEqual(await port.revoke_all(OWNER), 0)
        self.assertEqual(await port.of(OWNER), ())
        self.assertEqual(await port.of(STRANGER), (theirs,))

    async def test_oldest_first(self) -> None:
        """A wallet's live tokens, by age."""
        port = self.world.journal.tokens
        ones = [
            token(n, issued_at=UnixSeconds(T0 + at), expires_at=UnixSeconds(T0 + end))
            for n, at, end in ((1, 5, 3600), (2, 1, 3600), (3, 0, 20))
        ]
        for one in ones:
            await port.issue(one, most=MOST)
        self.assertEqual(await port.of(OWNER), (ones[2], ones[1], ones[0]))
        self.world.wall.moment = T0 + 20
        self.assertEqual(await port.of(OWNER), (ones[1], ones[0]))

    async def test_ended(self) -> None:
        """One that has ended is found, so as not to be taken for a guess, and is in no list."""
        port = self.world.journal.tokens
        await port.issue(token(), most=MOST)
        self.world.wall.moment = T0 + 3600
        self.assertEqual(await port.find(token().id), token())
        self.assertEqual(await port.of(OWNER), ())
        self.assertFalse(await port.revoke(OWNER, token().id))

    async def test_so_many(self) -> None:
        """Only so many live at once; it is told when the first of them ends."""
        port = self.world.journal.tokens
        for number, life in ((1, 100), (2, 50), (3, 300)):
            one = token(number, expires_at=UnixSeconds(T0 + life))
            await port.issue(one, most=MOST)
        refused = await self.refused(TooMany, port.issue(token(4), most=MOST))
        assert isinstance(refused, TooMany)
        self.assertEqual(refused.retry_after, 50)
        await port.issue(token(5, wallet=STRANGER), most=MOST)
        self.world.wall.moment = T0 + 50
        await port.issue(token(4), most=MOST)
        self.assertNotIn(token(2).id, await self.raw("HGETALL", self.index))
        await port.revoke(OWNER, token(1).id)
        await port.issue(token(6), most=MOST)

    @property
    def index(self) -> str:
        """Where a wallet's are named."""
        return self.world.journal.store.keys.tokens(OWNER)

    async def test_expires_by_itself(self) -> None:
        """Nothing of a token outlives it for more than a day."""
        port, keys = self.world.journal.tokens, self.world.journal.store.keys
        await port.issue(token(), most=MOST)
        left = int(await self.raw("PTTL", keys.token(token().id)))
        day = 86_400_000
        self.assertTrue(day + 3_500_000 < left <= day + 3_600_000, left)
        self.assertTrue(0 < int(await self.raw("PTTL", self.index)) <= 86_400_000)
        await port.revoke(OWNER, token().id)
        self.assertTrue(0 < int(await self.raw("PTTL", self.index)) <= 86_400_000)
        left = int(await self.raw("PTTL", keys.token(token().id)))
        self.assertTrue(day - 100_000 < left <= day, left)

    async def test_no_secret(self) -> None:
        """What is stored is the hash alone, under a name that is a part of it."""
        await self.world.journal.tokens.issue(token(7), most=MOST)
        stored = repr(await self.world.dump())
        self.assertIn(token(7).digest, stored)
        self.assertNotIn(repr(b"7"), stored)

    async def test_logins_that_meet(self) -> None:
        """Of two at once, both are given, and both count."""
        port, other = self.world.journal.tokens, self.world.other.tokens
        self.overtaken(lambda: other.issue(token(2), most=2))
        await port.issue(token(1), most=2)
        self.assertEqual(len(await port.of(OWNER)), 2)
        await self.unchanged(TooMany, lambda: port.issue(token(3), most=2))

    async def test_more_than_fit_meet(self) -> None:
        """Two at once do not get past the bound together."""
        port, other = self.world.journal.tokens, self.world.other.tokens
        await port.issue(token(1), most=2)
        self.overtaken(lambda: other.issue(token(2), most=2))
        await self.refused(TooMany, port.issue(token(3), most=2))

    async def test_login_while_all_are_ended(self) -> None:
        """A token that came between is ended too: it is in nobody's index otherwise."""
        port, other = self.world.journal.tokens, self.world.other.tokens
        await port.issue(token(1), most=MOST)
        self.overtaken(lambda: other.issue(token(2), most=MOST))
        self.assertEqual(await port.revoke_all(OWNER), 2)
        self.assertEqual(await port.find(token(2).id), gone(token(2)))

    async def test_ended_and_begun_while_all_are_ended(self) -> None:
        """Nor is one missed when the index meanwhile was emptied and filled again."""
        port, other = self.world.journal.tokens, self.world.other.tokens
        await port.issue(token(1), most=MOST)

        async def quicker() -> None:
            await other.revoke_all(OWNER)
            await other.issue(token(2), most=MOST)

        self.overtaken(quicker)
        await port.revoke_all(OWNER)
        self.assertEqual(await port.of(OWNER), ())
        self.assertEqual(await port.find(token(2).id), gone(token(2)))

    async def test_other_versions(self) -> None:
        """A form of another version opens nothing, and is no token."""
        keys = self.world.journal.store.keys
        await meddle(self.world.keyspace, Write("SET", keys.token(token().id), ('{"v":2}',)))
        await self.refused(BadInput, self.world.journal.tokens.find(token().id))

    async def test_all_end_whatever_is_stored(self) -> None:
        """One that cannot be read keeps no other alive."""
        port, keys = self.world.journal.tokens, self.world.journal.store.keys
        for number in (1, 2):
            await port.issue(token(number), most=MOST)
        await meddle(self.world.keyspace, Write("SET", keys.token(token().id), ('{"v":2}',)))
        self.assertEqual(await port.revoke_all(OWNER), 2)
        self.assertIsNone(await port.find(token().id))
        self.assertEqual(await port.find(token(2).id), gone(token(2)))


def tokens_suite(name: str, make: MakeWorld) -> type[TokensCase]:
    """The suite for one adapter."""
    return type(f"{name}TokensTests", (TokensCase,), {"make_world": staticmethod(make)})
