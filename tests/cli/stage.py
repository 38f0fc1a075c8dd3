"""
Where the command line is tried: a chain of this process, and the command as another process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from attrs import frozen
from eth_account import Account
from eth_account.signers.local import LocalAccount
from twisted.internet import reactor as global_reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from web3 import HTTPProvider, Web3

from sandbox_billing.devnet.chain.devchain import make_dev_chain
from sandbox_billing.devnet.chain.service import DevChainService
from sandbox_billing.signing.key import SigningKey


_T = TypeVar("_T")

CHAIN_ID = 16602
SECONDS = 300.0
"""A deadline that only a broken program meets."""

OWNER = SigningKey.from_bytes((1).to_bytes(32, "big"))
OWNER_KEY = "0x" + (1).to_bytes(32, "big").hex()
"""A WELL-KNOWN DEVELOPMENT KEY: the number 1; rich on the devnet and, by tests.anvil, on anvil."""

OWNER_ACCOUNT: LocalAccount = Account.from_key(OWNER_KEY)

STRANGER_KEY = "0x" + (2).to_bytes(32, "big").hex()
"""A WELL-KNOWN DEVELOPMENT KEY: the number 2."""

COMMAND = [sys.executable, "-m", "sandbox_billing.cli.main"]


@frozen(kw_only=True)
class Told:
    """
    How a command ended.
    """

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """stdout, as a script reads it: one JSON document and nothing else."""
        return json.loads(self.out)


def soon(what: str, check: Callable[[], _T], *, pause: float = 0.02) -> _T:
    """
    Ask until the answer is true; in a thread, where asking may block.

    @param pause: Seconds between two questions.
    """
    deadline = time.monotonic() + SECONDS
    while not (found := check()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(pause)
    return found


@frozen(kw_only=True)
class Desk:
    """
    Where somebody works at a chain.

    @ivar url: The node's.
    @ivar folder: Where he works: records go there.
    """

    url: str
    folder: Path

    def environment(self, **more: str) -> dict[str, str]:
        """What the command finds set."""
        return {
            "PATH": os.environ["PATH"],
            "RPC_URL": self.url,
            "CHAIN_ID": str(CHAIN_ID),
            "OWNER_KEY": OWNER_KEY,
            "CONFIRMATIONS": "1",
            **more,
        }

    def start(self, *arguments: str, **more: str) -> subprocess.Popen[str]:
        """Start a command and do not wait for it."""
        return subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **more: str) -> Told:
        """Carry out a command."""
        process = self.start(*arguments, **more)
        try:
            out, err = process.communicate(timeout=SECONDS)
        except BaseException:
            process.kill()
            process.wait()
            raise
        return Told(status=process.returncode, out=out, err=err)

    def w3(self) -> Web3:
        """web3 on the chain."""
        return Web3(HTTPProvider(self.url, exception_retry_configuration=None))

    def rpc(self, method: str, *params: Any) -> Any:
        """Any method of the node."""
        reply = self.w3().provider.make_request(method, list(params))  # type: ignore[arg-type]
        assert "error" not in reply, reply
        return reply["result"]

    def nonce(self, address: str = OWNER.address.hex) -> int:
        """How many transactions of an account are mined."""
        return int(self.rpc("eth_getTransactionCount", address, "latest"), 16)


class DevnetCase(TestCase):
    """
    With the devnet's chain, which mines by a timer or on demand.
    """

    timeout = 1800
    block_seconds: float | None = 0.1
    automine = False

    def setUp(self) -> None:
        """Serve a chain and have a folder."""
        chain = make_dev_chain(now=time.time, automine=self.automine)
        self.service = DevChainService(
            reactor=global_reactor,  # type: ignore[arg-type]
            chain=chain,
            block_seconds=self.block_seconds,
        )
        self.service.startService()
        self.addCleanup(self.service.stopService)
        folder = Path(self.mktemp()).absolute()
        folder.mkdir(parents=True)
        self.desk = Desk(url=self.service.url, folder=folder)

    async def at_work(self, work: Callable[[], _T]) -> _T:
        """Run blocking work in a thread, while the chain is served from this one."""
        found: _T = await deferToThread(work)
        return found

    def assert_ended(self, told: Told, status: int) -> None:
        """It ended so; if not, show all that it said."""
        self.assertEqual(status, told.status, f"{told.out}\n{told.err}")


def send(w3: Web3, call: Any, *, value: int = 0, account: LocalAccount = OWNER_ACCOUNT) -> Any:
    """
    Send a call of web3's without the command line, and wait for its receipt.
    """
    price = w3.eth.get_block("latest")["baseFeePerGas"] * 2 + 10**9
    made = call.build_transaction(
        {
            "chainId": CHAIN_ID,
            "from": account.address,
            "nonce": w3.eth.get_transaction_count(account.address),
            "value": value,
            "maxFeePerGas": price,
            "maxPriorityFeePerGas": 10**9,
        }
    )
    signed = account.sign_transaction(made)
    sent = w3.eth.send_raw_transaction(signed.raw_transaction)
    receipt = w3.eth.wait_for_transaction_receipt(sent, poll_latency=0.02)
    assert receipt["status"] == 1, "it reverted"
    return receipt
