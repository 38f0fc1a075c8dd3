"""Tests for what L{user_account} and L{user_settings} make of a provider's answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.cli.user_account import account_rows, advice, day
from sandbox_billing.cli.user_create import pairs
from sandbox_billing.cli.user_inside import status_of
from sandbox_billing.cli.user_sandboxes import row_of
from sandbox_billing.cli.user_settings import UNSAID, changed, limit, settings_rows
from sandbox_billing.errors import BadInput


NOW = 1_700_000_000
ACCOUNT: dict[str, Any] = {
    "wallet": "0x" + "11" * 20,
    "provider": "0x" + "22" * 20,
    "balance": "1000",
    "available": "400",
    "pending_refund": "0",
    "refund_unlock_at": None,
    "acknowledged": True,
    "signer_version": 2,
    "exposure": {"total": "600", "holds": "600", "accrued": "0", "charges": "0", "debts": "0"},
    "burn_rate_per_minute": "10",
    "runs_dry_at": NOW + 3600,
    "blocked": None,
    "running": 1,
    "provider_leaving_at": None,
}
SETTINGS = {
    "auto_resume": False,
    "limits": {"per_day": "5", "total": None, "sandboxes": {"a": {"limit": "7", "spent": "1"}}},
}


class AccountTests(SynchronousTestCase):
    """What is left."""

    def test_rows(self) -> None:
        """Money always, parts that are nothing never."""
        rows = dict(account_rows(ACCOUNT, NOW))
        self.assertTrue(rows["the balance lasts"].startswith("1 h, until "))
        self.assertIn("1000 neuron", rows["balance"])
        self.assertIn("  holds", rows)
        for absent in ("  debts", "pending refund", "blocked", "the provider leaves"):
            self.assertNotIn(absent, rows)
        more = {
            "pending_refund": "5",
            "refund_unlock_at": NOW,
            "blocked": "debt",
            "provider_leaving_at": NOW,
            "runs_dry_at": None,
            "waiting_to_resume": ["a", "b"],
            "limits": {"per_day": str(10**18), "spent_today": "0", "total": None},
        }
        rows = dict(account_rows({**ACCOUNT, **more}, NOW))
        self.assertIn("locked until", rows["pending refund"])
        self.assertEqual(
            (rows["blocked"], rows["the balance lasts"], rows["waiting to resume"]),
            ("debt", "nothing runs", "a, b"),
        )
        self.assertIn("the provider leaves", rows)
        self.assertEqual(rows["limit, today"], "0 0G of 1 0G")
        self.assertNotIn("limit, all", rows)

    def test_advice(self) -> None:
        """The next command, in the order in which it is to be done."""
        self.assertEqual(advice(ACCOUNT), [])
        owing = {**ACCOUNT["exposure"], "debts": "1500"}
        told = advice({**ACCOUNT, "acknowledged": False, "exposure": owing})
        self.assertEqual(
            told,
            [
                "Next: sandbox-billing user acknowledge --version 2",
                "Next: sandbox-billing user deposit 500",
            ],
        )
        self.assertIn("user resume", advice({**ACCOUNT, "waiting_to_resume": ["a"]})[0])

    def test_day(self) -> None:
        """A day, a moment, seconds; UTC unless it says otherwise."""
        self.assertIsNone(day(None, "--from"))
        for text in ("1700000000", "2023-11-14T22:13:20", "2023-11-14T23:13:20+01:00"):
            self.assertEqual(day(text, "--from"), NOW)
        self.assertEqual(day("2023-11-14", "--from"), NOW - NOW % 86_400)
        self.assertRaises(BadInput, day, "yesterday", "--from")


class ListTests(SynchronousTestCase):
    """What is told of each sandbox."""

    def test_cost(self) -> None:
        """All that it cost, and of one that is older than what was asked for, that it is not."""
        month = 30 * 86_400
        usage = {"from": NOW - month, "to": NOW}
        for created, told in (
            (NOW - month, "0.5 0G"),
            (NOW - month - 1, "0.5 0G in 30 days"),
            (None, "0.5 0G in 30 days"),
        ):
            at = None if created is None else datetime.fromtimestamp(created, UTC).isoformat()
            one = {"id": "a", "createdAt": at}
            self.assertEqual(row_of(one, {"a": str(5 * 10**17)}, usage)[-1], told)
            self.assertEqual(row_of(one, {}, usage)[-1], "-")


class SettingsTests(SynchronousTestCase):
    """What shall be."""

    def test_kept(self) -> None:
        """What is not named is not written: somebody else may have changed it since it was read."""
        said = {"per_day": UNSAID, "total": UNSAID}
        self.assertEqual(changed(SETTINGS, None, said, {}), {})
        self.assertEqual(changed(SETTINGS, False, said, {}), {"auto_resume": False})
        one = changed(SETTINGS, None, {**said, "total": None}, {})
        self.assertEqual(one, {"limits": {"total": None}})

    def test_sandboxes_together(self) -> None:
        """Of the others' limits each stays, whether it stands alone or beside what was spent."""
        said = {"per_day": UNSAID, "total": UNSAID}
        bare = {"limits": {"sandboxes": {"a": "7"}}}
        for found in (SETTINGS, bare):
            told = changed(found, None, said, {"b": 3})
            self.assertEqual(told, {"limits": {"sandboxes": {"a": "7", "b": "3"}}})

    def test_changed(self) -> None:
        """What is named is set, and 'none' takes a limit away."""
        found = changed(SETTINGS, True, {"per_day": None, "total": 9}, {"a": None, "b": 3})
        limits = {"per_day": None, "total": "9", "sandboxes": {"b": "3"}}
        self.assertEqual(found, {"auto_resume": True, "limits": limits})

    def test_limit(self) -> None:
        """An amount, none, or nothing said."""
        self.assertIs(limit(None, "--total"), UNSAID)
        self.assertIsNone(limit("none", "--total"))
        self.assertEqual(limit("0.5 0G", "--total"), 5 * 10**17)
        why = self.assertRaises(BadInput, limit, "much", "--total")
        self.assertIn("--total", str(why))

    def test_rows(self) -> None:
        """Each limit, and that there is none."""
        rows = dict(settings_rows(SETTINGS))
        self.assertEqual((rows["resumes by itself"], rows["at most in all"]), ("no", "no limit"))
        self.assertIn("7 neuron", rows["at most for a"])


class WordsTests(SynchronousTestCase):
    """What was typed."""

    def test_pairs(self) -> None:
        """NAME=VALUE; the value may have an equals sign and may be empty."""
        self.assertEqual(pairs(("a=b=c", "d="), "--env"), {"a": "b=c", "d": ""})
        for wrong in (("a",), ("=b",), ("a=1", "a=2")):
            self.assertRaises(BadInput, pairs, wrong, "--env")

    def test_status(self) -> None:
        """What a process can end with stays; anything else is 255."""
        found = [status_of(code) for code in (0, 3, 125, 255, 256, -1)]
        self.assertEqual(found, [0, 3, 125, 255, 255, 255])
