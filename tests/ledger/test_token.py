"""What a wallet signs that a token may do."""

from __future__ import annotations

from random import Random

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger._codec import decode, encode
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.token import (
    DEFAULT_LIFE_SECONDS,
    MAX_LIFE_SECONDS,
    Grant,
    Scope,
    Token,
    read_grant,
    token_id,
)
from tests.strategies import addresses, amounts, moments, sandbox_ids


PROVIDER = "urn:sandbox-billing:provider:0x" + "2b" * 20
READ = "urn:sandbox-billing:scope:read"


def scopes() -> st.SearchStrategy[tuple[Scope, ...]]:
    """Some of them, in their order."""
    return st.sets(st.sampled_from(Scope), min_size=1).map(
        lambda some: tuple(scope for scope in Scope if scope in some)
    )


def grants() -> st.SearchStrategy[Grant]:
    """Whatever may be granted."""
    return st.builds(
        Grant,
        provider=addresses(),
        scopes=scopes(),
        life_seconds=st.integers(1, MAX_LIFE_SECONDS),
        spend_limit=st.none() | amounts(),
        only=st.none() | sandbox_ids(),
    )


def tokens() -> st.SearchStrategy[Token]:
    """Tokens as they are stored."""
    return st.builds(
        Token,
        id=st.from_regex(r"[0-9a-f]{32}", fullmatch=True).map(token_id),
        digest=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
        wallet=addresses(),
        scopes=scopes(),
        only=st.none() | sandbox_ids(),
        spend_limit=st.none() | amounts(),
        issued_at=moments(),
        expires_at=moments(),
    )


class GrantTests(SynchronousTestCase):
    """
    Of a limit that is not understood, nothing is granted.
    """

    @given(grants(), st.randoms())
    def test_there_and_back(self, grant: Grant, random: Random) -> None:
        """What is signed is what is read, in whatever order it was signed."""
        resources = list(grant.resources())
        random.shuffle(resources)
        self.assertEqual(read_grant(resources), grant)

    def test_least(self) -> None:
        """Whom it is for and what it may do must be said; it lives an hour by itself."""
        grant = read_grant((PROVIDER, READ))
        self.assertEqual(
            grant,
            Grant(
                provider=Address("0x" + "2b" * 20),
                scopes=(Scope.READ,),
                life_seconds=DEFAULT_LIFE_SECONDS,
            ),
        )
        for resources, missing in (((READ,), "provider"), ((PROVIDER,), "scope"), ((), "provider")):
            refused = self.assertRaises(BadInput, read_grant, resources)
            self.assertEqual(
                str(refused), f"a resource is missing: urn:sandbox-billing:{missing}:..."
            )

    def test_refused(self) -> None:
        """One fault each."""
        for resource, why in (
            ("https://sandboxes.example", "unknown resource: https://sandboxes.example"),
            ("urn:sandbox-billing:budget:5", "unknown resource: urn:sandbox-billing:budget:5"),
            ("urn:sandbox-billing:sandbox", "unknown resource: urn:sandbox-billing:sandbox"),
            ("URN:sandbox-billing:ttl:5", "unknown resource: URN:sandbox-billing:ttl:5"),
            ("ttl:5", "unknown resource: ttl:5"),
            (READ, "resource stands twice: urn:sandbox-billing:scope"),
            (PROVIDER, "resource stands twice: urn:sandbox-billing:provider"),
            ("urn:sandbox-billing:scope:admin", "no such scope: admin"),
            ("urn:sandbox-billing:scope:READ", "no such scope: READ"),
            ("urn:sandbox-billing:scope:", "no such scope: "),
            ("urn:sandbox-billing:ttl:0", "a ttl is 1 to 86400 seconds, not 0"),
            ("urn:sandbox-billing:ttl:86401", "a ttl is 1 to 86400 seconds, not 86401"),
            ("urn:sandbox-billing:ttl:060", "a ttl is 1 to 86400 seconds, not 060"),
            ("urn:sandbox-billing:ttl:1e3", "a ttl is 1 to 86400 seconds, not 1e3"),
            ("urn:sandbox-billing:spend-limit:-1", "an amount is a decimal string"),
            ("urn:sandbox-billing:spend-limit:1.5", "an amount is a decimal string"),
            ("urn:sandbox-billing:sandbox:a/b", "not a sandbox id"),
        ):
            refused = self.assertRaises(BadInput, read_grant, (PROVIDER, READ, resource))
            self.assertIn(why, str(refused))

    def test_other_providers_address(self) -> None:
        """What is no address is refused before it is compared."""
        self.assertRaises(BadInput, read_grant, (READ, "urn:sandbox-billing:provider:0x12"))

    def test_limits_twice(self) -> None:
        """Which of two limits was meant is not guessed."""
        for one, two in (("ttl:5", "ttl:6"), ("sandbox:a", "sandbox:b"), ("spend-limit:1",) * 2):
            limits = (f"urn:sandbox-billing:{text}" for text in (one, two))
            self.assertRaises(BadInput, read_grant, (PROVIDER, READ, *limits))


class TokenTests(SynchronousTestCase):
    """
    What is kept of a token.
    """

    @given(tokens())
    def test_stored_form(self, token: Token) -> None:
        """One value, one form."""
        self.assertEqual(decode(Token, encode(token)), token)

    def test_golden_form(self) -> None:
        """The form that stands in Redis today is read tomorrow."""
        token = Token(
            id=token_id("ab" * 16),
            digest="ab" * 32,
            wallet=Address("0x" + "1a" * 20),
            scopes=(Scope.READ, Scope.TOOLBOX),
            only=SandboxId("sb-1"),
            spend_limit=Neuron(10**19),
            issued_at=UnixSeconds(5),
            expires_at=UnixSeconds(9),
        )
        form = (
            '{"digest":"' + "ab" * 32 + '","expires_at":9,"id":"' + "ab" * 16 + '","issued_at":5,'
            '"only":"sb-1","scopes":["read","toolbox"],"spend_limit":"10000000000000000000","v":1,'
            '"wallet":"0x' + "1a" * 20 + '"}'
        )
        self.assertEqual(encode(token), form)
        self.assertNotIn("abab" * 16, repr(token))
        self.assertEqual(
            [token.is_live(UnixSeconds(now)) for now in (4, 8, 9, 10)], [True, True, False, False]
        )
        self.assertEqual(decode(Token, encode(evolve(token, only=None))).only, None)

    def test_ids(self) -> None:
        """Only what could be one is looked for."""
        for text in ("", "ab" * 15, "AB" * 16, "ab" * 16 + "\n", "../" + "a" * 29):
            self.assertRaises(BadInput, token_id, text)
