"""Tests for L{sandbox_billing.adapters.chain.artifacts} and for the ABI others rely on."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping
from typing import Any

from eth_utils import keccak
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.chain.artifacts import CONTRACTS, load
from sandbox_billing.errors import BadInput


VOUCHERS = "(address,address,uint256,bytes32,uint256,bytes)[]"
FUNCTIONS = {
    # wire.md 3, as deployed
    "initialize(uint256)": "",
    "deposit(address,address)": "",
    "requestRefund(address,uint256)": "",
    "withdrawRefund(address)": "",
    "addOrUpdateService(string,address,uint256,uint256,uint256)": "",
    "acknowledgeTEESigner(address,bool)": "",
    f"settleFeesWithTEE({VOUCHERS})": "uint8[]",
    f"previewSettlementResults({VOUCHERS})": "uint8[]",
    "withdrawEarnings()": "",
    "setProviderStake(uint256)": "",
    "transferOwnership(address)": "",
    "getBalance(address,address)": "uint256,uint256,uint256",
    "balanceOfBatch(address[],address)": "uint256[]",
    "getLastNonce(address,address)": "uint256",
    "getProviderEarnings(address)": "uint256",
    "isTEEAcknowledged(address,address)": "bool",
    "domainSeparator()": "bytes32",
    "services(address)": "string,address,uint256,uint256,uint256,uint256",
    "serviceExists(address)": "bool",
    "providerEarnings(address)": "uint256",
    "providerStakes(address)": "uint256",
    "providerStake()": "uint256",
    "owner()": "address",
    "LOCK_TIME()": "uint256",
    # ours
    "acknowledgeTEESignerVersion(address,uint256)": "",
    "settleBatch(address,(address,uint256,bytes32,uint256)[],bytes)": "uint8[]",
    "withdrawRefundTo(address,address)": "",
    "withdrawEarningsTo(address)": "",
    "announceLeave()": "",
    "leave(address)": "",
    "leavingAt(address)": "uint256",
    "pendingOwner()": "address",
    "acceptOwnership()": "",
    # OpenZeppelin's
    "renounceOwnership()": "",
}
EVENTS = {
    "Deposited(address indexed recipient,address indexed provider,address indexed sender,"
    "uint256 amount)",
    "RefundRequested(address indexed user,address indexed provider,uint256 amount,"
    "uint256 unlockAt)",
    "RefundWithdrawn(address indexed user,address indexed provider,uint256 amount)",
    "VoucherSettled(address indexed user,address indexed provider,uint256 totalFee,"
    "bytes32 usageHash,uint256 nonce,uint8 status)",
    "EarningsWithdrawn(address indexed provider,uint256 amount)",
    "ServiceUpdated(address indexed provider,string url,address teeSignerAddress,"
    "uint256 signerVersion)",
    "TEESignerAcknowledged(address indexed user,address indexed provider,bool acknowledged)",
    "ProviderStakeUpdated(uint256 oldStake,uint256 newStake)",
    "OwnershipTransferred(address indexed previousOwner,address indexed newOwner)",
    "VoucherShortfall(address indexed user,address indexed provider,uint256 nonce,uint256 paid,"
    "uint256 owed)",
    "ProviderLeaving(address indexed provider,uint256 leaveAt)",
    "ProviderLeft(address indexed provider,uint256 stake)",
    "OwnershipTransferStarted(address indexed previousOwner,address indexed newOwner)",
    "Initialized(uint64 version)",
}
PAYABLE = {"deposit", "addOrUpdateService"}


def kinds(parameters: Iterable[Mapping[str, Any]]) -> str:
    """Parameters as a canonical list of types."""
    return ",".join(
        each["type"].replace("tuple", f"({kinds(each['components'])})")
        if "components" in each
        else each["type"]
        for each in parameters
    )


def declared(event: Mapping[str, Any]) -> str:
    """An event as Solidity declares it."""
    parameters = (
        f"{each['type']}{' indexed' if each['indexed'] else ''} {each['name']}"
        for each in event["inputs"]
    )
    return f"{event['name']}({','.join(parameters)})"


class ArtifactTests(SynchronousTestCase):
    """What the loader gives."""

    def test_all(self) -> None:
        """Each contract has an ABI, creation code, and the code that creation leaves behind."""
        for name in CONTRACTS:
            artifact = load(name)
            self.assertEqual(name, artifact.name)
            self.assertTrue(artifact.abi)
            for code in (artifact.bytecode, artifact.deployed_bytecode):
                self.assertRegex(code, r"\A0x([0-9a-f]{2})+\Z")
            self.assertIn(artifact.deployed_bytecode[-64:], artifact.bytecode)

    def test_once(self) -> None:
        """A file is read once."""
        self.assertIs(load("SandboxServing"), load("SandboxServing"))

    def test_unknown(self) -> None:
        """A name with no file behind it is bad input, whatever it would point at."""
        for name in ("Serving", "../abi/SandboxServing", ""):
            with self.assertRaises(BadInput):
                load(name)

    def test_compiler(self) -> None:
        """What an explorer asks for: full name, long version, and sources with no import open."""
        for name in CONTRACTS:
            artifact = load(name)
            self.assertRegex(artifact.compiler_version, r"\Av0\.8\.\d+\+commit\.[0-9a-f]{8}\Z")
            given = artifact.standard_input
            self.assertEqual({"language", "sources", "settings"}, set(given))
            self.assertIn(artifact.source_name, given["sources"])
            self.assertEqual("cancun", given["settings"]["evmVersion"])
            self.assertTrue(given["settings"]["optimizer"]["enabled"])
            for unit, source in given["sources"].items():
                imported = re.findall(r'^(?:import|\}) .*?"([^"]+)";', source["content"], re.M)
                for each in imported:
                    folder = posixpath.dirname(unit) if each.startswith(".") else ""
                    wanted = posixpath.normpath(posixpath.join(folder, each))
                    self.assertIn(wanted, given["sources"], unit)

    def test_immutables(self) -> None:
        """Only the proxy has a place that its constructor fills in, the beacon's; it is zero."""
        places = {name: load(name).immutables for name in CONTRACTS}
        self.assertEqual(
            {"SandboxServing", "UpgradeableBeacon"}, {n for n in places if not places[n]}
        )
        ((start, length),) = places["BeaconProxy"]
        code = bytes.fromhex(load("BeaconProxy").deployed_bytecode[2:])
        self.assertEqual((32, bytes(32)), (length, code[start : start + length]))

    def test_errors(self) -> None:
        """Every error of our own says when it is thrown, to users, and by which functions."""
        for name, unit in (
            ("SandboxServing", "src/interfaces/ISandboxServing.sol"),
            ("UpgradeableBeacon", "src/proxy/UpgradeableBeacon.sol"),
        ):
            artifact = load(name)
            source = artifact.standard_input["sources"][unit]["content"]
            told = {signature.split("(")[0]: each for signature, each in artifact.notices.items()}
            functions = {each["name"] for each in artifact.abi if each["type"] == "function"}
            found = re.findall(r"(.*)\n +error (\w+)\(", source)
            self.assertTrue(found)
            for line, error in found:
                self.assertRegex(told[error], r"\A[A-Z][^.]{15,}[.]\Z")
                thrown_by = line.removeprefix("    /// @dev ").split(", ")
                self.assertEqual(set(), set(thrown_by) - functions, error)

    def test_no_surprises(self) -> None:
        """Our own sources do nothing that an auditor would have to stop at."""
        surprises = r"\b(assembly|unchecked|delegatecall|selfdestruct|tx\.origin|blockhash)\b"
        own = {
            unit: source["content"]
            for name in CONTRACTS
            for unit, source in load(name).standard_input["sources"].items()
            if unit.startswith("src/")
        }
        self.assertEqual(7, len(own))
        for unit, content in own.items():
            code = re.sub(r"//.*", "", content)
            self.assertEqual([], re.findall(surprises, code), unit)
        calls = [re.findall(r"\.(?:call|send|transfer)\b", content) for content in own.values()]
        self.assertEqual(1, sum(map(len, calls)), "money leaves in one place")

    def test_fits_on_chain(self) -> None:
        """EIP-170: no contract is larger than 24,576 bytes."""
        for name in CONTRACTS:
            self.assertLess(len(load(name).deployed_bytecode) // 2 - 1, 24_576)


class ABITests(SynchronousTestCase):
    """The ABI of wire.md, no less and no more than is listed here."""

    def of_type(self, kind: str) -> list[Mapping[str, Any]]:
        """Entries of the serving contract's ABI."""
        return [each for each in load("SandboxServing").abi if each["type"] == kind]

    def test_functions(self) -> None:
        """Functions and what they return."""
        found = {
            f"{each['name']}({kinds(each['inputs'])})": kinds(each["outputs"])
            for each in self.of_type("function")
        }
        self.assertEqual(FUNCTIONS, found)

    def test_payable(self) -> None:
        """Only a deposit and a registration take money: anything else would lose it."""
        found = {
            each["name"]
            for each in self.of_type("function")
            if each["stateMutability"] == "payable"
        }
        self.assertEqual(PAYABLE, found)
        self.assertEqual([], self.of_type("receive") + self.of_type("fallback"))

    def test_events(self) -> None:
        """Events with the names and the indexing of their parameters."""
        self.assertEqual(EVENTS, {declared(each) for each in self.of_type("event")})

    def test_settled_topic(self) -> None:
        """The topic that indexers filter by."""
        (settled,) = (each for each in self.of_type("event") if each["name"] == "VoucherSettled")
        self.assertEqual(
            "9ba6f66abeb399b035d74320c147acb495122d939be51ee8d92c43dae6daa77b",
            keccak(text=f"VoucherSettled({kinds(settled['inputs'])})").hex(),
        )

    def test_no_overloads(self) -> None:
        """Clients that look functions up by name find one each."""
        for name in CONTRACTS:
            names = [each["name"] for each in load(name).abi if each["type"] == "function"]
            self.assertEqual(sorted(set(names)), sorted(names))
