"""Sign-In with Ethereum, by the grammar of EIP-4361."""

from __future__ import annotations

import re
from string import ascii_letters, digits

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput
from sandbox_billing.signing.key import SigningKey
from sandbox_billing.signing.request import is_signed_by
from sandbox_billing.signing.siwe import (
    MAX_LINE,
    MAX_MESSAGE_BYTES,
    RULES,
    SiweMessage,
    moment,
    parse_siwe,
    sign_login,
)
from tests.signing.siwe_grammar import parts
from tests.signing.strategies import addresses


# A published test key, for tests only.
KEY = SigningKey.from_bytes(bytes([0x11]) * 32)

FULL = """https://sandboxes.example wants you to sign in with your Ethereum account:
0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A

Let a program rent sandboxes (in my name), for an hour.

URI: https://sandboxes.example/login?from=cli#top
Version: 1
Chain ID: 16602
Nonce: 32891756abcDEF
Issued At: 2026-11-23T00:21:46.123Z
Expiration Time: 2026-11-23T01:21:46+01:00
Not Before: 2026-11-23T00:21:46Z
Request ID: some-id_1%20x
Resources:
- urn:sandbox-billing:scope:read
- https://sandboxes.example/terms.html"""
"""Every field there is."""

LEAST = """sandboxes.example:8443 wants you to sign in with your Ethereum account:
0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A


URI: urn:x:1
Version: 1
Chain ID: 1
Nonce: abcdefgh
Issued At: 2026-11-23T00:21:46Z"""
"""No field that may be left out."""


def labels() -> st.SearchStrategy[str]:
    """Names that stand in any URI."""
    return st.text(ascii_letters + digits, min_size=1, max_size=12)


def moments() -> st.SearchStrategy[str]:
    """Moments as clients spell them."""
    return st.datetimes().map(lambda found: found.isoformat(timespec="milliseconds") + "Z")


def uris() -> st.SearchStrategy[str]:
    """Addresses, and names of what has none."""
    return st.one_of(
        st.builds(
            "https://{}.example:{}/{}?a={}#{}".format,
            *[labels()] * 1,
            st.integers(0, 65535),
            labels(),
            labels(),
            labels(),
        ),
        st.builds("urn:{}:{}".format, labels(), labels()),
    )


def messages() -> st.SearchStrategy[SiweMessage]:
    """With and without each field that may be left out."""
    statement = ascii_letters + digits + " -._~:/?#[]@!$&'()*+,;="
    return st.builds(
        SiweMessage,
        scheme=st.none() | st.sampled_from(["https", "http", "a+b-1.x"]),
        domain=st.one_of(
            st.builds("{}.example".format, labels()),
            st.builds("{}.example:{}".format, labels(), st.integers(0, 65535)),
            st.sampled_from(["127.0.0.1:8080", "[::1]:80"]),
        ),
        address=addresses(),
        statement=st.none() | st.text(statement, min_size=1, max_size=80),
        uri=uris(),
        chain_id=st.integers(0, 10**18 - 1),
        nonce=st.text(ascii_letters + digits, min_size=8, max_size=64),
        issued_at=moments(),
        expiration_time=st.none() | moments(),
        not_before=st.none() | moments(),
        request_id=st.none() | st.text(ascii_letters + "-._~:@!$&'()*+,;=", max_size=30),
        resources=st.none() | st.lists(uris(), max_size=5).map(tuple),
    )


class ReadTests(SynchronousTestCase):
    """
    What is well formed is read, field by field.
    """

    def test_full(self) -> None:
        """Each field of a message that has them all."""
        message = parse_siwe(FULL)
        self.assertEqual(
            message,
            SiweMessage(
                scheme="https",
                domain="sandboxes.example",
                address=KEY.address,
                statement="Let a program rent sandboxes (in my name), for an hour.",
                uri="https://sandboxes.example/login?from=cli#top",
                chain_id=16602,
                nonce="32891756abcDEF",
                issued_at="2026-11-23T00:21:46.123Z",
                expiration_time="2026-11-23T01:21:46+01:00",
                not_before="2026-11-23T00:21:46Z",
                request_id="some-id_1%20x",
                resources=(
                    "urn:sandbox-billing:scope:read",
                    "https://sandboxes.example/terms.html",
                ),
            ),
        )

    def test_least(self) -> None:
        """What may be left out is None, not empty."""
        message = parse_siwe(LEAST)
        self.assertEqual(
            (message.scheme, message.statement, message.expiration_time, message.not_before),
            (None, None, None, None),
        )
        self.assertEqual((message.request_id, message.resources), (None, None))
        self.assertEqual(message.domain, "sandboxes.example:8443")

    def test_empty_but_there(self) -> None:
        """The grammar lets a request id and a list be empty."""
        message = parse_siwe(LEAST + "\nRequest ID: \nResources:")
        self.assertEqual((message.request_id, message.resources), ("", ()))

    @given(messages())
    def test_there_and_back(self, message: SiweMessage) -> None:
        """What a message says is what is read of it, and nothing else is."""
        text = str(message)
        self.assertEqual(parse_siwe(text), message)

    @given(messages(), st.data())
    def test_one_spelling(self, message: SiweMessage, data: st.DataObject) -> None:
        """A text with a character put in is refused, or says something else."""
        text = str(message)
        place = data.draw(st.integers(0, len(text)))
        spoilt = text[:place] + data.draw(st.sampled_from("\n \r\t\x00aZ0:-/é")) + text[place:]
        try:
            read = parse_siwe(spoilt)
        except BadInput:
            return
        self.assertEqual(str(read), spoilt)

    def test_moments(self) -> None:
        """Offsets count, parts of a second do not."""
        for text in ("2023-11-14T22:13:20Z", "2023-11-14t23:13:20.999+01:00"):
            self.assertEqual(moment(text), 1_700_000_000)
        self.assertEqual(moment("1969-12-31T23:59:59.5Z"), -1)
        for text in ("2023-13-01T00:00:00Z", "2023-02-30T00:00:00Z", "2023-01-01T00:00:61Z"):
            self.assertRaises(BadInput, moment, text)

    def test_signed_login(self) -> None:
        """What our own client signs is read back, and is its key's."""
        body = sign_login(
            KEY,
            url="https://sandboxes.example/x",
            chain_id=5,
            resources=("urn:a:b",),
            nonce="n" * 8,
            issued_at=1_700_000_000,
        )
        message = parse_siwe(body["message"])
        self.assertEqual((message.domain, message.chain_id), ("sandboxes.example", 5))
        self.assertEqual(moment(message.issued_at), 1_700_000_000)
        raw = body["message"].encode()
        self.assertTrue(is_signed_by(KEY.address, raw, body["signature"]))
        self.assertFalse(is_signed_by(KEY.address, raw + b"\n", body["signature"]))


MALFORMED = (
    ("", "head is missing or malformed"),
    (FULL + "\n", "resource is missing or malformed"),
    (LEAST + "\n", "more stands where it should end"),
    ("\n" + FULL, "head is missing or malformed"),
    (FULL.replace("\n", "\r\n"), "head is missing or malformed"),
    (FULL.replace("wants you", "Wants you"), "head is missing or malformed"),
    (FULL.replace("account:\n", "account: \n"), "head is missing or malformed"),
    (FULL.replace("https://sandboxes.example wants", "a b wants"), "head is missing"),
    (FULL.replace("0x19E7", "19E7"), "address is missing or malformed"),
    (FULL.replace("0x19E7", "0X19E7"), "address is missing or malformed"),
    (FULL.replace("0x19E7", "0x19e7"), "the address is not spelt as EIP-55 wants"),
    (FULL.replace("ff2A\n", "ff2A0\n"), "address is missing or malformed"),
    (FULL.replace("hour.\n", 'hour".\n'), "statement is missing or malformed"),
    (FULL.replace("hour.\n", "hour.\nmore\n"), "an empty line is missing"),
    (LEAST.replace("2A\n\n\n", "2A\n\n"), "an empty line is missing"),
    (LEAST.replace("2A\n\n\n", "2A\n\n\n\n"), "uri is missing or malformed"),
    (LEAST.replace("2A\n\n\n", "2A\n"), "an empty line is missing"),
    (FULL.replace("URI: https", "uri: https"), "uri is missing or malformed"),
    (FULL.replace("URI: https:", "URI: "), "uri is missing or malformed"),
    (FULL.replace("#top", "#t[p"), "uri is missing or malformed"),
    (FULL.replace("#top", "%4"), "uri is missing or malformed"),
    (FULL.replace("Version: 1", "Version: 2"), "version is missing or malformed"),
    (FULL.replace("Version: 1", "Version: 11"), "version is missing or malformed"),
    (FULL.replace("Version: 1\n", ""), "version is missing or malformed"),
    (FULL.replace("Chain ID: 16602", "Chain ID: "), "chain id is missing or malformed"),
    (FULL.replace("Chain ID: 16602", "Chain ID: -1"), "chain id is missing or malformed"),
    (FULL.replace("Chain ID: 16602", "Chain ID: 0x1"), "chain id is missing or malformed"),
    (FULL.replace("Chain ID: 16602", "Chain ID: 016602"), "chain id is malformed"),
    (FULL.replace("Chain ID: 16602", "Chain ID: " + "9" * 19), "chain id is malformed"),
    (FULL.replace("32891756abcDEF", "abcdefg"), "nonce is missing or malformed"),
    (FULL.replace("32891756abcDEF", "abcdefg-1"), "nonce is missing or malformed"),
    (FULL.replace("32891756abcDEF", "a" * 65), "the nonce is longer than 64"),
    (FULL.replace("2026-11-23T00:21:46.123Z", "today"), "issued at is missing or malformed"),
    (FULL.replace("46.123Z", "46.123"), "issued at is missing or malformed"),
    (FULL.replace("46.123Z", "46.123Z "), "issued at is missing or malformed"),
    (FULL.replace("46+01:00", "46+0100"), "expiration time is missing or malformed"),
    (FULL.replace("Not Before: 2026", "Not Before: 26"), "not before is missing or malformed"),
    (FULL.replace("some-id_1", "some/id"), "request id is missing or malformed"),
    (FULL.replace("Resources:\n", "Resources: \n"), "resources is missing or malformed"),
    (FULL.replace("- urn", "-urn"), "resource is missing or malformed"),
    (FULL.replace("- urn:sandbox-billing:scope:read", "- nothing"), "resource is missing"),
    (
        LEAST + "\nNot Before: 2026-11-23T00:21:46Z\nExpiration Time: 2026-11-23T00:21:46Z",
        "more stands where it should end",
    ),
    (LEAST + "\nRequest ID: a\nRequest ID: b", "more stands where it should end"),
    (FULL.replace("program", "prográm"), "it is not ASCII"),
    (FULL + "\n- a:" + "x" * MAX_LINE, f"a line is longer than {MAX_LINE} characters"),
    (FULL + "\n- a:b" * MAX_MESSAGE_BYTES, f"it is longer than {MAX_MESSAGE_BYTES} bytes"),
)


class RefusedTests(SynchronousTestCase):
    """
    What is not well formed is refused, and why is told.
    """

    def test_malformed(self) -> None:
        """One fault each."""
        for text, why in MALFORMED:
            refused = self.assertRaises(BadInput, parse_siwe, text)
            self.assertIn(why, str(refused), text)

    def test_cut_short(self) -> None:
        """A message that ends before its last field that must be there is none."""
        lines = LEAST.split("\n")
        for count in range(len(lines)):
            self.assertRaises(BadInput, parse_siwe, "\n".join(lines[:count]))

    @given(st.text(max_size=200))
    def test_anything(self, text: str) -> None:
        """Nothing that is sent is more than bad input."""
        try:
            parse_siwe(text)
        except BadInput:
            return
        self.fail(f"{text!r} was taken")

    def test_bounds(self) -> None:
        """A message at its bounds is read."""
        message = parse_siwe(LEAST)
        longest = evolve(message, statement="x" * MAX_LINE)
        self.assertEqual(parse_siwe(str(longest)), longest)


HOSTS = (
    *("[::]", "[1::]", "[::1]", "[1:2:3:4:5:6:7:8]", "[1:2:3:4:5:6:7::]", "[::1.2.3.4]"),
    *("[1:2:3:4:5:6:7:8:9]", "[1::2::3]", "[12345::]", "[::1.2.3.256]", "[::01.2.3.4]", "[:]"),
    *("[1:2:3:4:5:6:1.2.3.4]", "[1:2:3:4:5::1.2.3.4]", "[1:2:3:4:5:6::1.2.3.4]", "[]", "[::"),
    *("[1:2:3:4:5:6::8]", "[1:2:3:4:5:6:7::8]", "[v1.a:b]", "[vF.]", "[v.a]", "[V1f.~]", "a]"),
    *("", "@", "a@", "a:b@c:1", "a@b@c", ":", ":1", "a:", "a:1:2", "a:x", "%41", "%4", "1.2.3.4.5"),
    *("a/b", "a?", "a#", "a b", "a%20b", "!$&'()*+,;=", "https:", "http:a", "a[::1]", "[::1]a"),
)
URIS = (
    *(
        "a:",
        "a:/",
        "a://",
        "a:///",
        "a:////",
        "a:b",
        "a:b//c",
        "a:/b//",
        "a:/b/c?d#e",
        "a:?",
        "a:#",
    ),
    *("a:?#", "a:#?", "a:##", "a:??", "a:b?c#d#e", "1a:b", "a+-.1:b", "a b:", ":a", "", "a", "a:%"),
    *(
        "a:%zz",
        "a:%4A?%4a#%aF",
        "a://b/c//d",
        "a:[",
        'a:"',
        "a:b:c@d",
        "a:/?/?#/?",
        "a:b^",
        "a:b\n",
    ),
)


class GrammarTests(SynchronousTestCase):
    """
    Our rules are those of the EIP.
    """

    def agree(self, rule: str, line: str) -> None:
        """Ours and the published grammar's read the same of a line, or both nothing."""
        found = RULES[rule].fullmatch(line)
        ours = found and {
            name.replace("_", "-"): text
            for name, text in found.groupdict().items()
            if text is not None
        }
        theirs = parts(rule, line)
        if theirs is not None:
            # Parts of parts: of a URI, only the whole is read.
            wanted = {name.replace("_", "-") for name in RULES[rule].groupindex}
            theirs = {name: text for name, text in theirs.items() if name in wanted}
        self.assertEqual(ours, theirs, (rule, line))

    def test_hosts(self) -> None:
        """Where the grammar of hosts branches, we branch alike."""
        for host in HOSTS:
            for scheme in ("", "https://", "1a://", "a+-.1://"):
                self.agree("head", f"{scheme}{host} {' '.join(FULL.split(chr(10))[0].split()[1:])}")
            self.agree("resource-line", f"- a://{host}")

    def test_uris(self) -> None:
        """Where the grammar of URIs branches, we branch alike."""
        for uri in URIS:
            self.agree("uri-line", f"URI: {uri}")
            self.agree("resource-line", f"- {uri}")

    def test_lines(self) -> None:
        """Each line of a message is its own rule's, and no other's."""
        for line in (*FULL.split("\n"), *LEAST.split("\n")):
            for rule in RULES:
                self.agree(rule, line)

    @settings(max_examples=60, deadline=None)
    @given(st.sampled_from(sorted(RULES)), messages(), st.data())
    def test_changed(self, rule: str, message: SiweMessage, data: st.DataObject) -> None:
        """With a character put in, taken out or changed, both still say the same."""
        lines = [line[:90] for line in str(message).split("\n")]
        line = data.draw(st.sampled_from(lines))
        place = data.draw(st.integers(0, len(line)))
        cut = data.draw(st.integers(0, 2))
        put = data.draw(st.text('\n []@:/?#%aZ09-+."é\x00', max_size=2))
        self.agree(rule, line[:place] + put + line[place + cut :])
        for own in RULES:
            self.agree(own, line)

    def test_nothing_is_tried_again(self) -> None:
        """No rule repeats what may be repeated otherwise: time grows with the line alone."""
        for rule, pattern in RULES.items():
            bare = re.sub(r"\[[^\]]*\]", "s", re.sub(r"\\.", "c", pattern.pattern))
            # Counted repetitions are bounded, by the eight groups of an address for one.
            self.assertNotRegex(bare, r"(?<![*+?}])[*+](?!\+)|[*+?}]\?", rule)
