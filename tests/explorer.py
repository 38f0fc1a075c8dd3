"""
A stand-in for an explorer, on 127.0.0.1: recompiles what it was sent, with the pinned npm
solc, and compares with the chain.

It speaks Etherscan's form of C{verifysourcecode}, C{checkverifystatus} and
C{getcontractcreation}, in its words, and is pending before it has an opinion.

Tests: L{tests.cli.test_verify}.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Mapping
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from hexbytes import HexBytes
from web3 import HTTPProvider, Web3


CONTRACTS = Path(__file__).resolve().parents[1] / "contracts"
SOLC = CONTRACTS / "tools" / "solc.js"
COMPILE_SECONDS = 120

PENDING_TIMES = 1
"""How often it is pending before it tells."""


def skip_reason() -> str | None:
    """
    Why tests that need Node and solc cannot run; None when they can or, in CI, have to.
    """
    if os.environ.get("REQUIRE_NODE"):
        return None
    if shutil.which("node") is None or not (CONTRACTS / "node_modules" / "solc").exists():
        return "no npm solc: run `npm ci --ignore-scripts` in contracts/"
    return None


class Explorer:
    """
    @ivar posts: What was submitted, the fields as they came.
    @ivar verified: Addresses in lower case.
    @ivar verdicts: By guid.
    """

    def __init__(self, rpc: str) -> None:
        self._w3 = Web3(HTTPProvider(rpc, exception_retry_configuration=None))
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._compiled: dict[str, Any] = {}
        self._known_version = ""
        self._asked: dict[str, int] = {}
        self._judging: list[threading.Thread] = []
        self.posts: list[dict[str, str]] = []
        self.verified: set[str] = set()
        self.verdicts: dict[str, str] = {}
        self.unindexed = 0
        """So many submissions are told that the contract is not there yet."""
        self.busy = 0
        """So many requests are told to come less often: by HTTP, then in words, in turn."""
        self.asked = 0

    @property
    def url(self) -> str:
        """Where it listens, once it is started."""
        assert self._server is not None, "not started"
        return f"http://127.0.0.1:{self._server.server_port}/open/api"

    def start(self) -> None:
        """Listen, in a thread."""
        explorer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply(dict(self._query()))

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                body = self.rfile.read(length).decode("ascii")
                form = {k: v[0] for k, v in parse_qs(body, keep_blank_values=True).items()}
                self._reply({**self._query(), **form})

            def _query(self) -> dict[str, str]:
                return {k: v[0] for k, v in parse_qs(urlsplit(self.path).query).items()}

            def _reply(self, fields: dict[str, str]) -> None:
                explorer.asked += 1
                if explorer.busy % 2 == 1:
                    explorer.busy -= 1
                    self.send_response(429)
                    self.send_header("Retry-After", "1")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                ok, result = explorer.answer(fields)
                reply = {"status": "1" if ok else "0", "message": "OK" if ok else "NOTOK"}
                text = json.dumps({**reply, "result": result}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="explorer")
        self._thread.start()

    def stop(self) -> None:
        """End it and wait for its end."""
        assert self._server is not None and self._thread is not None
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for judging in self._judging:
            judging.join()

    # -- the API

    def answer(self, fields: Mapping[str, str]) -> tuple[bool, Any]:
        """Status and result of one request."""
        if self.busy > 0:
            self.busy -= 1
            return False, "Max calls per sec rate limit reached (5/sec)"
        if fields.get("module") != "contract":
            return False, "Error! Missing Or invalid Module name"
        match fields.get("action"):
            case "verifysourcecode":
                return self._submit(dict(fields))
            case "checkverifystatus":
                return self._status(fields.get("guid", ""))
            case "getcontractcreation":
                return self._creation(fields.get("contractaddresses", ""))
        return False, "Error! Missing Or invalid Action name"

    def _submit(self, fields: dict[str, str]) -> tuple[bool, str]:
        self.posts.append(fields)
        address = fields["contractaddress"].lower()
        if self.unindexed > 0:
            self.unindexed -= 1
            return False, f"Unable to locate ContractCode at {fields['contractaddress']}"
        if address in self.verified:
            return False, "Contract source code already verified"
        guid = sha256(f"{address}{len(self.posts)}".encode()).hexdigest()[:32]
        self._asked[guid] = 0
        # Who has submitted is answered at once: a compiler takes as long as the machine lets it.
        judging = threading.Thread(target=self._form_opinion, args=(guid, fields), name="judging")
        self._judging.append(judging)
        judging.start()
        return True, guid

    def _form_opinion(self, guid: str, fields: dict[str, str]) -> None:
        found = self.judge(fields)
        if found.startswith("Pass"):
            self.verified.add(fields["contractaddress"].lower())
        self.verdicts[guid] = found

    def _status(self, guid: str) -> tuple[bool, str]:
        if guid not in self._asked:
            return False, "Error! Invalid GUID"
        self._asked[guid] += 1
        found = self.verdicts.get(guid)
        if found is None or self._asked[guid] <= PENDING_TIMES:
            return False, "Pending in queue"
        return found.startswith("Pass"), found

    def _creation(self, address: str) -> tuple[bool, Any]:
        found = self._creating(address)
        if found is None:
            return False, "No data found"
        return True, [{"contractAddress": address, "txHash": found["hash"].to_0x_hex()}]

    def _creating(self, address: str) -> Any:
        for number in range(self._w3.eth.block_number + 1):
            for transaction in self._w3.eth.get_block(number, full_transactions=True)[
                "transactions"
            ]:
                if transaction.get("to") is None:  # type: ignore[union-attr]
                    receipt = self._w3.eth.get_transaction_receipt(transaction["hash"])  # type: ignore[index]
                    if str(receipt["contractAddress"]).lower() == address.lower():
                        return transaction
        return None

    # -- its opinion

    def judge(self, fields: Mapping[str, str]) -> str:
        """
        Recompile and compare: code on chain, and creation with constructor arguments.

        @return: In Etherscan's words.
        """
        if fields.get("codeformat") != "solidity-standard-json-input":
            return "Fail - Unable to verify: codeformat"
        if fields["compilerversion"] != "v" + self._version():
            return "Fail - Unable to verify: compilerversion"
        unit, _, name = fields["contractname"].rpartition(":")
        output = self._compile(fields["sourceCode"], unit, name)
        contract = output.get("contracts", {}).get(unit, {}).get(name)
        if contract is None:
            return "Fail - Unable to verify: no such contract in the sources"
        deployed = contract["evm"]["deployedBytecode"]
        address = Web3.to_checksum_address(fields["contractaddress"])
        there = bytearray(self._w3.eth.get_code(address))
        for places in deployed.get("immutableReferences", {}).values():
            for place in places:
                start, end = place["start"], place["start"] + place["length"]
                there[start:end] = bytes(place["length"])
        if bytes(there) != bytes.fromhex(deployed["object"]):
            return "Fail - Unable to verify: the code on chain is another"
        arguments = fields.get("constructorArguements", "")
        creating = self._creating(address)
        if HexBytes(creating["input"]).hex() != contract["evm"]["bytecode"]["object"] + arguments:
            return "Fail - Unable to verify: constructor arguments"
        return "Pass - Verified"

    def _compile(self, source: str, unit: str, name: str) -> Any:
        asked = json.loads(source)
        # Of the others nothing is wanted, and they take three times as long.
        asked["settings"]["outputSelection"] = {
            unit: {name: ["evm.bytecode", "evm.deployedBytecode"]}
        }
        known = json.dumps(asked)
        if known not in self._compiled:
            self._compiled[known] = json.loads(self._solc("--standard-json", known))
        return self._compiled[known]

    def _version(self) -> str:
        if not self._known_version:
            told = self._solc("--version", "").split("Version: ")[1].strip()
            self._known_version = told.removesuffix(".Linux.g++")
        return self._known_version

    def _solc(self, option: str, given: str) -> str:
        done = subprocess.run(
            ["node", str(SOLC), option],
            input=given,
            capture_output=True,
            text=True,
            check=True,
            timeout=COMPILE_SECONDS,
        )
        return done.stdout
