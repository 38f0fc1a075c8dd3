"""Session tokens through the front desk: made by a login, used everywhere, ended."""

from __future__ import annotations

import json
from typing import Any

from attrs import evolve
from treq.testing import RequestTraversalAgent

from sandbox_billing.errors import BadInput, Transient, UnknownOutcome
from sandbox_billing.interfaces import SpendLimitReached
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.money import Neuron
from sandbox_billing.ledger.spending import Spending
from sandbox_billing.ledger.token import Allowance, Grant, Scope, TokenId
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.eip191 import personal_digest
from sandbox_billing.signing.key import SigningKey
from sandbox_billing.signing.siwe import sign_login
from sandbox_billing.web.limits import Rate, Rates
from sandbox_billing.web.root import make_root
from tests.web.asking import AskingTestCase, Reply
from tests.web.world import (
    CHAIN_ID,
    FOREIGN,
    NOW,
    OWNER,
    PROVIDER,
    SANDBOX,
    STRANGER,
    TERMS,
    World,
    sandbox,
)


PATH = "/api/auth/session"
URL = "https://sandboxes.example"
INVALID = (401, "invalid or expired token")
_WIDE = {name: Rate(1.0, 10**6) for name in ("peer", "wallet", "forged")}
ONLY = (403, f"this token is for one sandbox only: {SANDBOX}")


def resigned(body: dict[str, str], old: str, new: str, key: SigningKey = OWNER) -> dict[str, str]:
    """A login with another word in its text, properly signed."""
    text = body["message"].replace(old, new)
    assert text != body["message"], old
    signature = key.sign_digest(personal_digest(text.encode()))
    return {"message": text, "signature": "0x" + signature.hex()}


class SessionCase(AskingTestCase):
    """
    A test that logs in.
    """

    def login(self, *, key: SigningKey = OWNER, **changes: Any) -> dict[str, str]:
        """The body of a login: of everything, where nothing else is said."""
        grant = {"provider": PROVIDER, "scopes": tuple(Scope), **changes}
        return sign_login(
            key,
            url=URL + "/",
            chain_id=CHAIN_ID,
            resources=Grant(**grant).resources(),
            nonce=self.world.nonce(),
            issued_at=self.world.wall.moment,
        )

    def opened(self, body: Any, world: World | None = None) -> Reply:
        """Ask for a token."""
        return self.ask("POST", PATH, {}, json.dumps(body).encode(), world=world)

    def token(self, **changes: Any) -> dict[str, Any]:
        """A token, with what is told of it."""
        reply = self.opened(self.login(**changes))
        self.assertEqual(reply.status, 200, reply.json)
        return dict(reply.json)

    def bearing(
        self, token: dict[str, Any] | str, method: str, target: str, body: bytes = b""
    ) -> Reply:
        """Ask with a token."""
        secret = token if isinstance(token, str) else token["token"]
        return self.ask(method, target, {"Authorization": f"Bearer {secret}"}, body)


class LoginTests(SessionCase):
    """
    What a wallet signed, and nothing else, becomes a token.
    """

    def test_given(self) -> None:
        """The secret is told once; the rest says what it may do and until when."""
        made = self.token(
            scopes=(Scope.READ, Scope.TOOLBOX),
            life_seconds=600,
            spend_limit=Neuron(10**19),
            only=SandboxId(SANDBOX),
        )
        secret, id = made.pop("token"), made.pop("id")
        self.assertRegex(secret, r"\Asbt_[A-Za-z0-9_-]{43}\Z")
        self.assertEqual(
            made,
            {
                "wallet": checksum(OWNER.address),
                "scopes": ["read", "toolbox"],
                "spend_limit": str(10**19),
                "spent": "0",
                "sandbox": SANDBOX,
                "issued_at": NOW,
                "expires_at": NOW + 600,
            },
        )
        (kept,) = self.world.tokens.kept.values()
        self.assertEqual((kept.id, kept.wallet), (id, OWNER.address))
        self.assertNotIn(secret, repr(kept) + kept.digest)

    def test_ends_with_the_message(self) -> None:
        """A message that expires sooner ends its token sooner."""
        body = self.login(life_seconds=600)
        lines = body["message"].replace("\nResources:", "\nExpiration Time: {}\nResources:")
        for moment, ends in (("2023-11-14T22:15:00Z", NOW + 100), ("2024-01-01T00:00:00Z", 600)):
            text = lines.format(moment).replace("0001", "0002" if ends == 600 else "0003")
            reply = self.opened(resigned({"message": text}, "Let a", "Let one"))
            self.assertEqual(reply.json["expires_at"], NOW + 600 if ends == 600 else ends)

    def test_body(self) -> None:
        """Two strings, and nothing beside them: what is not signed says nothing."""
        good = self.login()
        text = 'the body is {"message": ..., "signature": "0x..."}, both strings'
        for body in (
            {},
            {"message": good["message"]},
            {**good, "scopes": ["read"]},
            {**good, "signature": None},
            {**good, "message": {}},
        ):
            self.assertEqual(self.opened(body).error, (400, text))
        self.assertEqual(self.opened({**good, "message": "x"}).status, 400)
        self.assertEqual(self.opened(good).status, 200)

    def test_author(self) -> None:
        """The wallet that is named must have signed exactly these bytes."""
        good = self.login()
        other = self.login(key=STRANGER)
        for body in (
            {**good, "signature": other["signature"]},
            {**good, "message": good["message"].replace("a program", "no program")},
            {**good, "signature": "0x00"},
            {**good, "signature": good["signature"][2:]},
            {**good, "signature": ""},
            resigned(good, "Let a", "Let one", key=STRANGER),
        ):
            self.assertEqual(self.opened(body).error, (401, "invalid signature"))
        self.assertEqual(self.world.tokens.kept, {})

    def test_purpose(self) -> None:
        """What was signed for somebody else opens nothing here, whatever the Host says."""
        address = (401, f"this message is for another address than {URL}")
        chain = (401, f"this message is for another chain than {CHAIN_ID}")
        provider = (401, f"this message is for another provider than {checksum(PROVIDER)}")
        good = self.login()
        for old, new, error in (
            ("sandboxes.example wants", "evil.example wants", address),
            ("sandboxes.example wants", "sandboxes.example:8443 wants", address),
            ("sandboxes.example wants", "x@sandboxes.example wants", address),
            ("sandboxes.example wants", "http://sandboxes.example wants", address),
            ("URI: https://sandboxes", "URI: http://sandboxes", address),
            ("URI: https://sandboxes.example", "URI: https://sandboxes.example.evil", address),
            ("URI: https://sandboxes.example/", "URI: urn:x:y", address),
            (f"Chain ID: {CHAIN_ID}", "Chain ID: 1", chain),
            (f"provider:{PROVIDER}", "provider:0x" + "99" * 20, provider),
        ):
            body = json.dumps(resigned(good, old, new)).encode()
            reply = self.ask("POST", PATH, {"Host": "evil.example"}, body)
            self.assertEqual(reply.error, error, new)
        # None of them used the nonce up.
        self.assertEqual(self.opened(good).status, 200)

    def test_scheme_may_be_named(self) -> None:
        """EIP-4361 lets the origin be named with its scheme, and hosts know no case."""
        good = self.login()
        named = resigned(good, "sandboxes.example wants", "https://Sandboxes.Example wants")
        self.assertEqual(self.opened(named).status, 200)

    def test_port_that_goes_without_saying(self) -> None:
        """Browsers leave it out, operators and programs may not; either is the same address."""
        for url, spelt in (
            ("https://Sandboxes.Example:443/", "sandboxes.example"),
            ("https://sandboxes.example", "sandboxes.example:443"),
            ("https://sandboxes.example:", "Sandboxes.example"),
            ("https://[::1]:443", "[::1]"),
        ):
            world = self.world.with_terms(sign_in_url=url, public_url=url)
            good = self.login()
            text = good["message"].replace("sandboxes.example", spelt)
            made = resigned({"message": text}, "Let a", "Let one")
            self.assertEqual(self.opened(made, world).status, 200, url)
        for other in ("sandboxes.example:80", "sandboxes.example:4443", "sandboxes.example:0"):
            made = resigned(self.login(), "sandboxes.example", other)
            self.assertEqual(self.opened(made).status, 401, other)
        world = self.world.with_terms(public_url="https://Sandboxes.Example:443/")
        self.assertEqual(
            self.ask("GET", "/api/config", world=world).json["proxyToolboxUrl"],
            "https://sandboxes.example/toolbox",
        )

    def test_age(self) -> None:
        """Signed now, give or take what clocks differ by."""
        body = self.login()
        for moved, status in ((330, 401), (-31, 401), (329, 200)):
            self.world.wall.moment = NOW + moved
            reply = self.opened(body)
            self.assertEqual(reply.status, status, moved)
            if status == 401:
                text = "this message was not issued now: sign a new one"
                self.assertEqual(reply.error, (401, text))

    def test_own_moments(self) -> None:
        """Before its beginning and after its end a message is worth nothing."""
        for line, text in (
            ("Not Before: 2023-11-14T22:13:21Z", "this message is not valid yet"),
            ("Expiration Time: 2023-11-14T22:13:20Z", "this message has expired"),
            ("Expiration Time: 2023-02-30T00:00:00Z", None),
        ):
            body = resigned(self.login(), "\nResources:", f"\n{line}\nResources:")
            reply = self.opened(body)
            self.assertEqual(reply.status, 400 if text is None else 401)
            if text is not None:
                self.assertEqual(reply.error, (401, text))

    def test_once(self) -> None:
        """A login that went by is of no use to whoever saw it."""
        body = self.login()
        self.assertEqual(self.opened(body).status, 200)
        self.assertEqual(self.opened(body).error, (401, "nonce already used"))
        self.assertEqual(len(self.world.tokens.kept), 1)

    def test_nonce_is_kept_long_enough(self) -> None:
        """Until nothing that was issued then is taken any more."""
        self.token()
        name, wallet, _nonce, until = self.world.guard.calls.asked[-1]
        self.assertEqual((name, wallet, until), ("first_use", OWNER.address, NOW + 330))

    def test_grant_must_be_understood(self) -> None:
        """Of a limit that we do not know nothing is granted."""
        for new, text in (
            ("urn:sandbox-billing:budget:5", "unknown resource: urn:sandbox-billing:budget:5"),
            ("urn:sandbox-billing:ttl:86401", "a ttl is 1 to 86400 seconds, not 86401"),
        ):
            body = resigned(self.login(), "urn:sandbox-billing:ttl:3600", new)
            self.assertEqual(self.opened(body).error, (400, text))
        text, _, _ = self.login()["message"].partition("\nResources:")
        reply = self.opened(resigned({"message": text}, "Let a", "Let one"))
        self.assertEqual(
            reply.error, (400, "a resource is missing: urn:sandbox-billing:provider:...")
        )

    def test_where_nobody_said_how_users_reach_us(self) -> None:
        """Without PUBLIC_URL there is nothing that a login could be bound to."""
        world = self.world.with_terms(sign_in_url="")
        self.assertEqual(
            self.opened(self.login(), world).error,
            (503, "this provider takes no logins: its operator has to set PUBLIC_URL"),
        )

    def test_so_many(self) -> None:
        """A wallet has at most fifty tokens."""
        for _ in range(50):
            self.token()
            self.world.clock.advance(2)
        reply = self.opened(self.login())
        self.assertEqual(reply.error, (429, "this wallet has 50 tokens: revoke some"))
        self.assertEqual(reply.header("Retry-After"), "7")
        self.token(key=STRANGER)

    def test_how_often(self) -> None:
        """Of one address so many at once, and then one each two seconds: reading is dear."""
        for _ in range(20):
            self.assertEqual(self.opened({"message": "x", "signature": "y"}).status, 400)
        reply = self.opened(self.login())
        self.assertEqual(reply.error, (429, "too many logins from this address"))
        self.assertEqual(reply.header("Retry-After"), "2")
        self.world.clock.advance(2)
        self.token()

    def test_token_makes_no_token(self) -> None:
        """A token beside a login changes nothing: only what is signed is granted."""
        made = self.token(scopes=(Scope.READ,))
        for body in (b"", b"{}", b'{"message":"x","signature":"0x"}'):
            self.assertEqual(self.bearing(made, "POST", PATH, body).status, 400)
        self.assertEqual(len(self.world.tokens.kept), 1)

    def test_store_unavailable(self) -> None:
        """No token is told that may not be kept."""
        self.world.tokens.calls.failing["issue"] = UnknownOutcome("no reply")
        self.assertEqual(self.opened(self.login()).status, 502)


class UseTests(SessionCase):
    """
    A token opens what its wallet would, within its limits.
    """

    def test_opens(self) -> None:
        """As its wallet, without any signature."""
        made = self.token()
        self.assertEqual(self.bearing(made, "GET", f"/api/sandbox/{SANDBOX}").status, 200)
        self.assertEqual(self.bearing(made, "GET", f"/api/sandbox/{FOREIGN}").status, 403)
        reply = self.bearing(made, "POST", "/api/sandbox", b"{}")
        self.assertEqual(reply.status, 200)
        self.assertEqual(self.world.calls.asked[-1][:2], ("create", OWNER.address))
        again = self.bearing(made, "POST", f"/api/sandbox/{SANDBOX}/stop")
        self.assertEqual(again.status, 200)

    def test_invalid(self) -> None:
        """Unknown, malformed, ended: it is not told which, and how to do better is."""
        made = self.token(life_seconds=60)
        secret = made["token"]
        for wrong in ("x", "", secret[:-1], secret + "A", "sbt_" + "A" * 43, secret.upper(), "é"):
            reply = self.bearing(wrong, "GET", "/api/sandbox")
            self.assertEqual(reply.error, INVALID, wrong)
            self.assertEqual(reply.header("WWW-Authenticate"), "Bearer")
        self.world.wall.moment = NOW + 59
        self.assertEqual(self.bearing(made, "GET", f"/api/sandbox/{SANDBOX}").status, 200)
        self.world.wall.moment = NOW + 60
        # However often its program still asks, others at its address are served.
        for _ in range(40):
            reply = self.bearing(made, "GET", f"/api/sandbox/{SANDBOX}")
            self.assertEqual(reply.error, INVALID)

    def test_id_is_no_token(self) -> None:
        """What is listed opens nothing, nor does a secret whose name begins alike."""
        made = self.token()
        self.assertEqual(self.bearing(made["id"], "GET", "/api/sandbox").error, INVALID)
        (kept,) = self.world.tokens.kept.values()
        self.assertEqual(self.bearing(f"sbt_{kept.digest[:43]}", "GET", PATH).error, INVALID)
        other = self.token()
        # Whoever could write the store's names, but not find a secret for a hash.
        self.world.tokens.kept[TokenId(other["id"])] = kept
        self.assertEqual(self.bearing(other, "GET", PATH).error, INVALID)

    def test_spellings(self) -> None:
        """The word is written in any case; which of two headers was meant is not guessed."""
        secret = self.token()["token"]
        path = f"/api/sandbox/{SANDBOX}"
        for value, status in ((f"bearer {secret}", 200), (f"BEARER  {secret} ", 200)):
            self.assertEqual(self.ask("GET", path, {"Authorization": value}).status, status)
        for value in (secret, f"Basic {secret}", f"Token {secret}"):
            reply = self.ask("GET", path, {"Authorization": value})
            self.assertEqual(reply.error, (401, "missing auth headers"))
        twice: Any = {"Authorization": [f"Bearer {secret}"] * 2}
        self.assertEqual(self.ask("GET", path, twice).error, (400, "Authorization stands twice"))

    def test_beside_a_signature(self) -> None:
        """One or the other."""
        secret = self.token()["token"]
        headers = {**self.world.signed("list"), "Authorization": f"Bearer {secret}"}
        reply = self.ask("GET", "/api/sandbox", headers)
        self.assertEqual(reply.error, (400, "either a token or a signature, not both"))

    def test_harmless_where_nobody_is_asked(self) -> None:
        """On public routes a token is not looked at."""
        before = len(self.world.tokens.calls.asked)
        self.assertEqual(self.bearing("nonsense", "GET", "/info").status, 200)
        self.assertEqual(len(self.world.tokens.calls.asked), before)

    def test_scopes(self) -> None:
        """Each opens its own routes; a refusal names what is needed."""
        routes = (
            (Scope.READ, "GET", f"/api/sandbox/{SANDBOX}"),
            (Scope.READ, "HEAD", f"/api/sandbox/{SANDBOX}"),
            (Scope.READ, "GET", "/api/sandbox"),
            (Scope.READ, "GET", "/api/events"),
            (Scope.READ, "GET", PATH),
            (Scope.MANAGE, "POST", "/api/sandbox"),
            (Scope.MANAGE, "POST", f"/api/sandbox/{SANDBOX}/start"),
            (Scope.MANAGE, "POST", f"/api/sandbox/{SANDBOX}/stop"),
            (Scope.MANAGE, "DELETE", f"/api/sandbox/{SANDBOX}"),
            (Scope.MANAGE, "PUT", f"/api/sandbox/{SANDBOX}/labels"),
            (Scope.TOOLBOX, "POST", f"/api/sandbox/{SANDBOX}/ssh-access"),
        )
        for scope in Scope:
            made = self.token(scopes=(scope,))
            for needed, method, target in routes:
                body = b'{"labels":{}}' if method == "PUT" else b""
                reply = self.bearing(made, method, target, body)
                if needed is scope:
                    self.assertEqual(reply.status, 200, (scope, method, target))
                elif method == "HEAD":
                    self.assertEqual(reply.status, 403)
                else:
                    text = f"this token has not the scope {needed.value}"
                    self.assertEqual(reply.error, (403, text), (scope, method, target))

    def test_one_sandbox(self) -> None:
        """A token for one sandbox reaches no other, by whatever name, and makes none."""
        made = self.token(only=SandboxId(SANDBOX))
        own = f"/api/sandbox/{SANDBOX}"
        self.world.intake.sandboxes["other-1"] = self.world.intake.sandboxes[SANDBOX]
        self.world.calls.asked.clear()
        for method, target in (
            ("GET", "/api/sandbox/other-1"),
            ("GET", f"/api/sandbox/{SANDBOX.upper()}"),
            ("GET", f"/api/sandbox/{FOREIGN}"),
            ("DELETE", "/api/sandbox/other-1"),
            ("POST", "/api/sandbox/other-1/start"),
            ("POST", "/api/sandbox"),
            ("GET", "/api/events"),
        ):
            self.assertEqual(self.bearing(made, method, target).error, ONLY, (method, target))
        self.assertEqual(self.world.calls.asked, [])
        self.assertEqual(self.bearing(made, "GET", own).status, 200)
        self.assertEqual(self.bearing(made, "POST", f"{own}/stop").status, 200)

    def test_one_sandbox_by_its_name(self) -> None:
        """The token keeps the id: a name may be another's tomorrow."""
        sandboxes = self.world.intake.sandboxes
        for name in ("my-box", SANDBOX.upper()):
            sandboxes[name] = sandboxes[SANDBOX]
            made = self.token(only=SandboxId(name))
            self.assertEqual(made["sandbox"], SANDBOX)
            self.assertEqual(self.bearing(made, "GET", f"/api/sandbox/{SANDBOX}").status, 200)
            sandboxes[name] = (OWNER.address, sandbox("other-1", OWNER.address))
            self.assertEqual(self.bearing(made, "GET", f"/api/sandbox/{name}").error, ONLY)

    def test_one_sandbox_of_ones_own(self) -> None:
        """Nobody is given a token for what he has not."""
        for name, status in (("nobodys", 404), (FOREIGN, 403)):
            reply = self.opened(self.login(only=SandboxId(name)))
            self.assertEqual(reply.status, status, name)
        self.assertEqual(self.world.tokens.kept, {})

    def test_lists_show_the_one(self) -> None:
        """Of the wallet's sandboxes only that one is listed."""
        made = self.token(only=SandboxId(SANDBOX))
        for id in (SANDBOX, "other-1", SANDBOX + "0"):
            self.world.runtime.rows.append(dict(sandbox(id, OWNER.address).document))
        for target in ("/api/sandbox", "/api/sandbox/paginated"):
            for token, shown in ((made, 1), (self.token(), 3)):
                listed = self.bearing(token, "GET", target)
                self.assertEqual(listed.json["items"][0]["id"], SANDBOX)
                self.assertEqual(len(listed.json["items"]), shown)

    def test_spend_limit(self) -> None:
        """Whatever may make something run is asked for within the token's allowance."""
        limited, free = self.token(spend_limit=Neuron(10**18)), self.token()
        own, id = f"/api/sandbox/{SANDBOX}", TokenId(limited["id"])
        allowance = Allowance(id, Neuron(10**18))
        asked = (
            ("/api/sandbox", b"{}"),
            (f"{own}/start", b""),
            (f"{own}/recover", b""),
            (f"{own}/resize", b'{"cpu": 2}'),
        )
        for made, told in ((limited, allowance), (free, None)):
            for target, body in asked:
                reply = self.bearing(made, "POST", target, body)
                self.assertEqual(reply.status, 200, (target, reply.json))
                self.assertEqual(self.world.calls.allowances.pop(), told, target)
        self.assertEqual(self.world.calls.allowances, [])

    def test_spend_limit_reached(self) -> None:
        """402, with what there is of it and a code for programs."""
        made = self.token(spend_limit=Neuron(100))
        self.world.calls.failing["create"] = SpendLimitReached(
            limit=Neuron(100), spent=Neuron(30), reserved=Neuron(20), required=Neuron(70)
        )
        reply = self.bearing(made, "POST", "/api/sandbox", b"{}")
        self.assertEqual(reply.error, (402, "spend limit of this token reached"))
        told = {name: reply.json[name] for name in ("code", "limit", "spent", "reserved")}
        self.assertEqual(
            told, {"code": "spend_limit", "limit": "100", "spent": "30", "reserved": "20"}
        )
        self.assertEqual(reply.json["required"], "70")

    def test_spent(self) -> None:
        """The list says what each token with a limit has caused so far."""
        made = self.token(spend_limit=Neuron(10**18))
        self.token()
        self.world.doors.spendings[made["id"]] = Spending(
            {"fee:a": "5", "run:r": "7", "hold:s": "100", "session:b": f"3:50:60:{NOW - 10}"}
        )
        listed = self.bearing(made, "GET", "/api/auth/session").json["tokens"]
        spent = {token["spend_limit"]: token["spent"] for token in listed}
        self.assertEqual(spent, {str(10**18): "25", None: None})
        self.world.doors.spendings[made["id"]] = Spending({"fee:a": "coffee"})
        listed = self.bearing(made, "GET", "/api/auth/session").json["tokens"]
        self.assertEqual([token["spent"] for token in listed], [None, None])

    def test_store_unavailable(self) -> None:
        """Whether a token is good is not guessed; what is damaged is none."""
        made = self.token()
        for problem in (Transient("redis is gone"), UnknownOutcome("no reply")):
            self.world.tokens.calls.failing["find"] = problem
            reply = self.bearing(made, "GET", f"/api/sandbox/{SANDBOX}")
            self.assertEqual(reply.error, (503, "the token could not be checked; try again"))
        self.world.tokens.calls.failing["find"] = BadInput("of version 2")
        self.assertEqual(self.bearing(made, "GET", "/api/sandbox").error, INVALID)


class EndTests(SessionCase):
    """
    A wallet sees and ends its tokens; a token ends itself.
    """

    def test_listed(self) -> None:
        """All of the wallet's, no other's, no secret."""
        made, other = self.token(), self.token(scopes=(Scope.READ,))
        self.token(key=STRANGER)
        listed = self.ask_by_path("GET", PATH)
        for one in (made, other):
            del one["token"]
        self.assertEqual(listed.json, {"tokens": [made, other]})

    def test_listed_to_a_limited_one(self) -> None:
        """A token for one sandbox sees itself."""
        self.token()
        made = self.token(only=SandboxId(SANDBOX))
        listed = self.bearing(made, "GET", PATH)
        self.assertEqual([one["id"] for one in listed.json["tokens"]], [made["id"]])

    def test_revoked(self) -> None:
        """By its id, with a signature for that; from then on it opens nothing."""
        made, other = self.token(), self.token()
        path = f"{PATH}/{made['id']}"
        self.assertEqual(self.ask_by_path("DELETE", path).json, {"revoked": 1})
        self.assertEqual(self.bearing(made, "GET", PATH).error, INVALID)
        self.assertEqual(self.bearing(other, "GET", PATH).status, 200)
        self.assertEqual(self.ask_by_path("DELETE", path).error, (404, "no such token"))

    def test_revoked_is_no_guess(self) -> None:
        """However often its program still asks, others at its address are served."""
        rates = Rates(**{**_WIDE, "guessed": Rate(0.1, 1)})
        self.world = World(evolve(TERMS, rates=rates))
        one, two = self.token(), self.token()
        self.assertEqual(self.ask_by_path("DELETE", f"{PATH}/{one['id']}").status, 200)
        self.assertEqual(self.ask_by_path("DELETE", PATH).json, {"revoked": 1})
        for made in (one, two) * 20:
            self.assertEqual(self.bearing(made, "GET", PATH).error, INVALID)
        self.assertEqual(self.bearing(self.token(), "GET", PATH).status, 200)

    def test_not_another_wallets(self) -> None:
        """Nobody ends, or finds, what is another's."""
        made = self.token()
        for name in (made["id"], "ab" * 16, "nonsense"):
            reply = self.ask_by_path("DELETE", f"{PATH}/{name}", key=STRANGER)
            self.assertEqual(reply.error, (404, "no such token"))
        self.assertEqual(self.bearing(made, "GET", PATH).status, 200)

    def test_all(self) -> None:
        """All of a wallet's at once."""
        mine, theirs = [self.token(), self.token()], self.token(key=STRANGER)
        self.assertEqual(self.ask_by_path("DELETE", PATH).json, {"revoked": 2})
        for made in mine:
            self.assertEqual(self.bearing(made, "GET", PATH).error, INVALID)
        self.assertEqual(self.bearing(theirs, "GET", PATH).status, 200)

    def test_log_out(self) -> None:
        """A token of whatever scope ends itself, and nothing else."""
        other = self.token()
        for changes in ({"scopes": (Scope.TOOLBOX,)}, {"only": SandboxId(SANDBOX)}):
            made = self.token(**changes)
            for path in (PATH, f"{PATH}/{other['id']}", f"{PATH}/nonsense"):
                self.assertEqual(
                    self.bearing(made, "DELETE", path).error,
                    (403, "a token ends no other token: sign this request"),
                )
            self.assertEqual(self.bearing(made, "DELETE", f"{PATH}/{made['id']}").status, 200)
            self.assertEqual(self.bearing(made, "DELETE", f"{PATH}/{made['id']}").error, INVALID)
        self.assertEqual(self.bearing(other, "GET", PATH).status, 200)


class ContractTests(SessionCase):
    """
    Where ECDSA does not match, another proof may be taken.
    """

    def test_lives_an_hour(self) -> None:
        """A token on a contract's word lives an hour at most; the proof is asked once."""
        asked: list[tuple[Address, str]] = []

        async def vouches(wallet: Address, raw: bytes, signature: str, peer: str) -> bool:
            asked.append((wallet, signature))
            return True

        desk = evolve(self.world.desk, otherwise=vouches)
        self.world.agent = RequestTraversalAgent(make_root(desk))
        body = {**self.login(life_seconds=86400), "signature": "0xc0de"}
        reply = self.opened(body)
        self.assertEqual(reply.status, 200, reply.json)
        self.assertEqual(reply.json["expires_at"], NOW + 3600)
        self.assertEqual(asked, [(OWNER.address, "0xc0de")])
        longer = self.opened(self.login(life_seconds=86400))
        self.assertEqual((longer.json["expires_at"], len(asked)), (NOW + 86400, 1))
