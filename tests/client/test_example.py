"""The program of docs/client.rst, run by a user against a daemon in a world."""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from sandbox_billing.devnet.world import ALICE
from tests.blackbox.process import Child
from tests.blackbox.scene import Scene


EXAMPLE = Path(__file__).with_name("example.py")


class ExampleTests(TestCase):
    """In a process of its own, with the wallet's key and two addresses."""

    timeout = 600

    async def test_program(self) -> None:
        """It pays, agrees, rents, works, looks at its money and leaves, all as the page shows."""
        scene = await Scene.open(self, allow_exec=True)
        scene.start()
        base = await scene.ready()
        program = Child.start(
            self,
            [sys.executable, str(EXAMPLE)],
            {
                "PROVIDER_URL": base,
                "RPC_URL": scene.world.chain.url,
                # A WELL-KNOWN DEVELOPMENT KEY: the number 4.
                "USER_KEY": "0x" + ALICE.hex(),
            },
        )
        await scene.until("the program to end", lambda: program.status is not None, seconds=300)
        said = program.out.decode()
        self.assertEqual(program.status, 0, said + program.err.decode()[-3000:])
        self.assertIn("exit code 3: hello from inside", said)
        self.assertIn("the same: True", said)
        self.assertIn("mine: [True]", said)
        self.assertRegex(said, r"[0-9.]+ s cost [1-9][0-9]* neuron")
        self.assertIn("notice refund_requested: {'amount': ", said)
        self.assertRegex(said, r"receipt [0-9a-f-]+:create: [1-9][0-9]* neuron, ")
        wallet = scene.world.wallet("alice", ALICE)
        balance, pending, _unlock = await deferToThread(wallet.balances)
        self.assertIn(f"asked back: {pending}", said)
        self.assertTrue(0 < balance < 10**18)
