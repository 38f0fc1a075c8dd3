"""
Filters, what is shown, and the table of exceptions.
"""

from __future__ import annotations

import json
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BrokenLaw, Refused
from sandbox_billing.interfaces import DaytonaRefused, NoSuchSandbox
from sandbox_billing.ledger.identity import Address
from sandbox_billing.web.answers import dump, refusal
from sandbox_billing.web.policy import (
    NO_ORGANIZATION,
    checked_name,
    is_of,
    owner_filter,
    shown,
    spellings,
    ssh_shown,
    wanted_labels,
)
from tests.signing.strategies import addresses
from tests.web.world import FOREIGN, OWNER, SANDBOX, STRANGER, sandbox


class PolicyTests(SynchronousTestCase):
    """
    Nobody sees another's.
    """

    @given(addresses(), st.dictionaries(st.text(), st.text()))
    def test_filter_always_names_the_owner(self, wallet: Address, labels: dict[str, str]) -> None:
        """Whatever a user filters by, his wallet is in it as it is stored on sandboxes."""
        wanted = wanted_labels(json.dumps(labels))
        for spelt in spellings(wallet):
            merged = json.loads(owner_filter(wanted, spelt))
            self.assertEqual(merged, {**labels, "daytona-owner": spelt})
        self.assertEqual(spellings(wallet)[0], wallet.hex)

    def test_one_spelling(self) -> None:
        """A wallet that reads the same in both cases is asked for once."""
        self.assertEqual(len(spellings(Address("0x" + "12" * 20))), 1)
        self.assertEqual(len(spellings(OWNER.address)), 2)

    def test_owner_in_another_spelling(self) -> None:
        """An owner label that somebody wrote in another case is still his."""
        own = sandbox(SANDBOX, OWNER.address, labels={"daytona-owner": OWNER.address.hex.upper()})
        self.assertTrue(is_of(own.document, OWNER.address))

    def test_items_without_a_readable_owner(self) -> None:
        """Are nobody's."""
        items = [{}, {"labels": None}, {"labels": {}}, {"labels": {"daytona-owner": 5}}, "x", None]
        for item in (*items, sandbox(FOREIGN, STRANGER.address).document):
            self.assertFalse(is_of(item, OWNER.address))

    def test_shown_in_the_types_that_sdks_read(self) -> None:
        """Integers for sizes, strings for labels, flags for flags, and our own door."""
        odd = {
            "cpu": 2.0,
            "gpu": Decimal("0.0"),
            "memory": 1.5,
            "disk": "3",
            "kvm": None,
            "labels": {"a": 1, "b": True, "c": None, "d": "x", "e": {"f": []}},
            "toolboxProxyUrl": None,
            "authToken": "secret",
            "runnerDomain": "10.0.0.1",
        }
        self.assertEqual(
            shown(odd, "https://u"),
            {
                "cpu": 2,
                "gpu": 0,
                "memory": 1.5,
                "disk": "3",
                "kvm": False,
                "networkBlockAll": False,
                "labels": {"a": "1", "b": "true", "c": "null", "d": "x", "e": '{"f": []}'},
                "toolboxProxyUrl": "https://u/toolbox",
                "organizationId": NO_ORGANIZATION,
            },
        )
        self.assertEqual(shown({"labels": None}, "u")["labels"], {})
        self.assertIs(shown({"networkBlockAll": True}, "u")["networkBlockAll"], True)

    def test_shown_without_the_inside(self) -> None:
        """
        Fields that are not known to be a user's stay behind, and so do hosts in the others.

        Whoever knows where registries and runners are may ask them without us.
        """
        inside = "pull registry.internal:6000/daytona/d:1: runner http://10.0.0.7:3003"
        document = {
            "id": "a",
            "snapshot": "ubuntu:22.04",
            "organizationId": "3b6c",
            "runnerId": "runner-7",
            "warmPoolId": "pool-7",
            "region": {"proxyUrl": "http://10.0.0.7"},
            "whatNextYearBrings": "http://10.0.0.7",
            "errorReason": inside,
            "buildInfo": {
                "dockerfileContent": "FROM registry.example:5000/x",
                "contextHashes": ["h"],
                "snapshotRef": "registry.internal:6000/daytona/d:1",
                "createdAt": "2026",
                "updatedAt": "2026",
                "runner": "10.0.0.7",
            },
        }
        told = shown(document, "https://u")
        self.assertEqual(told["errorReason"], "pull (hidden)/daytona/d:1: runner (hidden)")
        self.assertEqual(
            told["buildInfo"],
            {
                # His own.
                "dockerfileContent": "FROM registry.example:5000/x",
                "contextHashes": ["h"],
                "snapshotRef": "daytona/d:1",
                "createdAt": "2026",
                "updatedAt": "2026",
            },
        )
        self.assertEqual(told["snapshot"], "ubuntu:22.04")
        self.assertEqual(told["organizationId"], NO_ORGANIZATION)
        self.assertEqual(
            told.keys() - {"kvm", "networkBlockAll", "labels", "toolboxProxyUrl"},
            {"id", "snapshot", "organizationId", "errorReason", "buildInfo"},
        )
        self.assertNotIn("buildInfo", shown({"buildInfo": "x"}, "u"))
        self.assertIsNone(shown({"errorReason": {"a": "http://10.0.0.7"}}, "u")["errorReason"])

    @given(
        st.dictionaries(
            st.sampled_from(["cpu", "gpu", "memory", "disk", "kvm", "networkBlockAll", "labels"]),
            st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
        )
    )
    def test_shown_whatever_comes(self, document: dict[str, object]) -> None:
        """No server can make us fail on what it answers."""
        self.assertEqual(shown(document, "u")["toolboxProxyUrl"], "u/toolbox")

    def test_ssh_without_a_gateway(self) -> None:
        """Without SSH_GATEWAY_HOST Daytona's own stays; no command, no change."""
        access = {"sshCommand": "ssh a@b", "token": "a"}
        self.assertEqual(ssh_shown(access, ""), access)
        self.assertEqual(ssh_shown({"token": "a"}, "g"), {"token": "a"})
        self.assertEqual(ssh_shown(access, r"g\1")["sshCommand"], r"ssh a@g\1")

    def test_names(self) -> None:
        """What could not be one segment, meaning itself, is nobody's name."""
        for name in ("a", "my box", "ü", "x" * 128):
            self.assertEqual(checked_name(name), name)
        for name in ("", ".", "..", "a/b", "a\x00", "PAGINATED", "x" * 129, "a?b"):
            self.assertRaises(NoSuchSandbox, checked_name, name)


class AnswerTests(SynchronousTestCase):
    """
    From exception to HTTP.
    """

    def test_daytonas_refusals(self) -> None:
        """Passed on where they speak of the user, not where they speak of our key (P15)."""
        for status, seen in (
            (400, 400),
            (401, 502),
            (402, 502),
            (403, 502),
            (404, 404),
            (407, 502),
            (409, 409),
            (422, 422),
            (429, 429),
            (500, 502),
            (302, 502),
        ):
            answer = refusal(DaytonaRefused("text", status=status))
            self.assertEqual(answer.status, seen)
            self.assertEqual(answer.document["error"] == "text", status == seen)

    def test_refusals_without_the_inside(self) -> None:
        """What Daytona says names no runner and no registry of its own."""
        for text, told in (
            ("no runner: http://10.0.0.7:3003/v1", "no runner: (hidden)"),
            ("registry.internal:6000/a:1 not found", "(hidden)/a:1 not found"),
            ("x" * 990 + " 10.0.0.7 10.0.0.8", "x" * 990 + " (hidden) "),
        ):
            answer = refusal(DaytonaRefused(text, status=400))
            self.assertEqual(answer.document["error"], told[:1000])

    def test_transitions(self) -> None:
        """What passes says when to try again; what speaks of our key says nothing."""
        for status, wait, header in ((409, 2, "2"), (409, 0, None), (403, 2, None)):
            answer = refusal(DaytonaRefused("x", status=status, retry_after=wait))
            self.assertEqual(answer.headers.get("Retry-After"), header)

    def test_plain_refusals(self) -> None:
        """Policy that says no is 403; a law that is broken is nobody's fault outside."""
        self.assertEqual(refusal(Refused("no")).status, 403)
        self.assertIsNone(refusal(BrokenLaw("L1", "sum")))
        self.assertIsNone(refusal(ValueError("x")))

    def test_long_texts(self) -> None:
        """What Daytona says is not repeated without end."""
        answer = refusal(DaytonaRefused("x" * 10_000, status=400))
        self.assertEqual(len(answer.document["error"]), 1000)

    def test_numbers(self) -> None:
        """Exact integers stay integers: SDKs refuse 1.0."""
        self.assertEqual(
            dump({"a": Decimal("1.0"), "b": Decimal("1.5"), "c": 2**70}),
            b'{"a":1,"b":1.5,"c":1180591620717411303424}',
        )
        self.assertRaises(TypeError, dump, object())
        self.assertRaises(ValueError, dump, float("nan"))
