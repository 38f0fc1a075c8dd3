"""
Foundry's anvil, a node that mines by the clock: for what must work with a node of others.

The binary comes from C{contracts/}, where C{npm ci --ignore-scripts} puts it, or is one on
PATH.  Without it the tests that want it are skipped; with C{REQUIRE_NODE} set, as in CI,
they fail.

Tests: L{tests.devnet.test_anvil}.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import define, field
from web3 import HTTPProvider, Web3

from sandbox_billing.devnet.chain.accounts import DEVELOPMENT_BALANCES, address_of


CHAIN_ID = 16602
START_SECONDS = 60.0
"""It is up in 0.3 s; a busy machine takes longer."""
END_SECONDS = 30.0
CALL_SECONDS = 60.0

_INSTALLED = Path(__file__).resolve().parents[1] / "contracts" / "node_modules" / ".bin" / "anvil"
_MISSING = "no anvil: run `npm ci --ignore-scripts` in contracts/, on Linux x64"
_LISTENING = re.compile(rb"^Listening on 127\.0\.0\.1:(\d+)$", re.MULTILINE)


def find_executable() -> str | None:
    """The binary, if there is one."""
    return str(_INSTALLED) if _INSTALLED.exists() else shutil.which("anvil")


EXECUTABLE = find_executable()


def skip_reason(
    executable: str | None = EXECUTABLE, environment: Mapping[str, str] = os.environ
) -> str | None:
    """
    Why tests that need anvil cannot run, for C{skip}; None when they can or have to.
    """
    if executable is not None or environment.get("REQUIRE_NODE"):
        return None
    return _MISSING


@define(eq=False, kw_only=True)
class Anvil:
    """
    A node started and ended by blocking calls: chain id 16602, Cancun, 127.0.0.1 only.

    The devnet's development keys are rich on it (L{DEVELOPMENT_BALANCES}).

    @ivar block_seconds: A block comes so often; None for one with each transaction.
    @ivar executable: The binary; None if there is none.
    @ivar more: Further arguments, such as C{--gas-limit 60000000}.
    """

    block_seconds: int | None = 1
    executable: str | None = EXECUTABLE
    more: tuple[str, ...] = ()
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _directory: Path | None = field(default=None, init=False)
    _port: int = field(default=0, init=False)

    @property
    def url(self) -> str:
        """Where it listens, once it is started."""
        assert self._port, "not started"
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """
        Start it and wait until it answers.

        @raise RuntimeError: There is none, it ended, or it did not answer in time.
        """
        if self.executable is None:
            raise RuntimeError(_MISSING)
        command = [self.executable, "--host", "127.0.0.1", "--port", "0"]
        command += ["--chain-id", str(CHAIN_ID), "--hardfork", "cancun"]
        if self.block_seconds is not None:
            command += ["--block-time", str(self.block_seconds)]
        self._directory = Path(tempfile.mkdtemp(prefix="anvil-"))
        output = self._directory / "output"
        with output.open("wb") as sink:
            self._process = subprocess.Popen(
                [*command, *self.more],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                # It keeps files below its home.
                env={"HOME": str(self._directory)},
            )
        try:
            self._await(output)
            for key, amount in DEVELOPMENT_BALANCES.items():
                self.fund("0x" + address_of(key).hex(), amount)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it and wait for its end; harmless when it is not running."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
        self._port = 0

    def rpc(self, method: str, *params: Any) -> Any:
        """
        One call, blocking.

        @raise RuntimeError: The node answered with an error.
        """
        asked = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        request = urllib.request.Request(
            self.url, asked.encode(), {"Content-Type": "application/json"}
        )
        # No proxy, whatever the environment says: it is on this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=CALL_SECONDS) as response:
            reply = json.load(response)
        if "error" in reply:
            raise RuntimeError(f"{method}: {reply['error']}")
        return reply["result"]

    def w3(self) -> Web3:
        """web3 on it, blocking."""
        return Web3(HTTPProvider(self.url, request_kwargs={"timeout": CALL_SECONDS}))

    def fund(self, address: str, neuron: int) -> None:
        """Give an address a balance."""
        self.rpc("anvil_setBalance", address, hex(neuron))

    def pass_time(self, seconds: int) -> None:
        """Let time pass, to the next block."""
        self.rpc("evm_increaseTime", hex(seconds))
        self.rpc("evm_mine")

    def _await(self, output: Path) -> None:
        process = self._process
        assert process is not None
        deadline = time.monotonic() + START_SECONDS
        while (found := _LISTENING.search(output.read_bytes())) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                last = output.read_text(errors="replace")[-400:]
                raise RuntimeError(f"anvil did not come up, status {process.returncode}: {last}")
            time.sleep(0.01)
        self._port = int(found[1])
        answered = int(self.rpc("eth_chainId"), 16)
        if answered != CHAIN_ID:
            raise RuntimeError(f"anvil has the chain id {answered}")
