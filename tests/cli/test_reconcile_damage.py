"""
Tests of C{sandbox-billing reconcile} on values that cannot be read, and without Daytona.
"""

from __future__ import annotations

from tests.cli.test_reconcile import ReconcileCase


class DamageTests(ReconcileCase):
    """One bad value is named, and keeps nothing else from being put right."""

    async def test_junk(self) -> None:
        """Junk in every kind of place: named, stepped over, and the rest is repaired."""
        scene, alice, sandbox, _base = await self.opened()
        assert scene.daemon is not None
        self.assertEqual(await scene.daemon.terminate(), 0)
        wallet, provider = alice.address.hex, scene.world.provider.hex
        nonce, events = f"billing:nonce:{wallet}:{provider}", f"billing:events:{wallet}"
        audit, session = f"billing:audit:{provider}", f"billing:compute:{sandbox}"
        junk = b"\xff\xfejunk"
        saved = self.redis(scene, "GET", session)
        for command in (
            ("SET", nonce, "x"),
            ("ZADD", events, "5", "junk"),
            ("ZADD", events, "6", junk),
            ("SET", "billing:account:junk", "x"),
            ("SET", f"billing:blocked:{'0x' + '77' * 20}", junk),
            ("LPUSH", audit, "junk"),
            ("SET", session, "junk"),
            ("HSET", f"billing:exposure:{wallet}", "charge:nobody:1", "5"),
            ("DEL", f"billing:totals:{provider}"),
        ):
            self.redis(scene, *command)
        document = await self.run_it(scene, "--rebuild", "--yes", status=6)
        self.assertGreaterEqual(document["repaired"], 3)
        left = {one["subject"] for one in document["differences"]}
        self.assertEqual(self.kinds(document), {"damaged"}, document)
        expected = {"key billing:account:junk", "audit entry 1", f"compute {sandbox}"}
        self.assertLessEqual(expected, left)
        self.assertIn(f"event of {wallet}: junk", left)
        self.assertGreater(int(self.redis(scene, "GET", nonce)), 0)
        # What a human does then.
        for command in (
            ("ZREM", events, "junk", junk),
            ("DEL", "billing:account:junk", f"billing:blocked:{'0x' + '77' * 20}"),
            ("LREM", audit, "1", "junk"),
            ("SET", session, saved),
        ):
            self.redis(scene, *command)
        await self.go_on(scene, alice, sandbox)

    async def test_without_daytona(self) -> None:
        """While Daytona is away, what needs no list is put right all the same."""
        scene, alice, sandbox, _base = await self.opened()
        assert scene.daemon is not None
        self.assertEqual(await scene.daemon.terminate(), 0)
        wallet, provider = alice.address.hex, scene.world.provider.hex
        self.redis(scene, "DEL", f"billing:nonce:{wallet}:{provider}")
        self.redis(scene, "DEL", f"billing:compute:{sandbox}")
        url = scene.settings.get("DAYTONA_API_URL")
        scene.settings["DAYTONA_API_URL"] = "http://127.0.0.1:9"
        document = await self.run_it(scene, "--rebuild", "--yes", status=6)
        self.assertEqual(self.kinds(document), {"daytona"})
        self.assertGreater(document["repaired"], 0)
        self.assertGreater(int(self.redis(scene, "GET", f"billing:nonce:{wallet}:{provider}")), 0)
        if url is None:
            del scene.settings["DAYTONA_API_URL"]
        else:
            scene.settings["DAYTONA_API_URL"] = url
        await self.repaired(scene)
        await self.go_on(scene, alice, sandbox)
