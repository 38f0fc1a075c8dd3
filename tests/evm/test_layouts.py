"""Tests for L{sandbox_billing.adapters.chain.layouts} and for the list it keeps."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from typing import Any

from eth_utils import keccak
from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.chain.artifacts import load, read
from sandbox_billing.adapters.chain.layouts import is_append, layout_of, layouts
from tests.evm.harness import EvmCase


SIZES = {"uint256": 32, "uint128": 16, "address": 20, "uint64": 8, "bool": 1}
SLOTS = 50
"""That a contract and its gap take together."""


def packed(variables: Sequence[tuple[str, str]], slots: int = SLOTS) -> dict[str, Any]:
    """
    The layout of (label, type) each, as Solidity packs them, with a gap up to C{slots}.
    """
    storage: list[dict[str, Any]] = []
    slot, offset = 0, 0
    for label, kind in variables:
        if offset + SIZES[kind] > 32:
            slot, offset = slot + 1, 0
        storage.append({"label": label, "slot": str(slot), "offset": offset, "type": f"t_{kind}"})
        offset += SIZES[kind]
    slot += offset > 0
    types = {
        f"t_{kind}": {"label": kind, "numberOfBytes": str(size), "encoding": "inplace"}
        for kind, size in SIZES.items()
    }
    if slot < slots:
        left = slots - slot
        storage.append({"label": "__gap", "slot": str(slot), "offset": 0, "type": "t_gap"})
        types["t_gap"] = {
            "label": f"uint256[{left}]",
            "numberOfBytes": str(32 * left),
            "encoding": "inplace",
            "base": "t_uint256",
        }
    return {"storage": storage, "namespaces": {}, "types": types}


def variables() -> st.SearchStrategy[list[tuple[str, str]]]:
    """Up to eight, each with a name of its own."""
    kinds = st.lists(st.sampled_from(sorted(SIZES)), max_size=8)
    return kinds.map(lambda chosen: [(f"_{at}", kind) for at, kind in enumerate(chosen)])


class ListTests(EvmCase):
    """The committed list."""

    def test_this_build(self) -> None:
        """The code on chain is found by its hash, with the layout that the compiler gave it."""
        code = self.evm.w3.eth.get_code(self.evm.deployment.implementation)
        found = layout_of(keccak(code))
        assert found is not None
        self.assertEqual(layouts()[-1], found)
        self.assertEqual(read("SandboxServing.json")["storageLayout"], found.storage)

    def test_strangers(self) -> None:
        """Code that is not ours has no layout: a proxy, nothing at all, ours with a byte more."""
        ours = bytes.fromhex(load("SandboxServing").deployed_bytecode[2:])
        proxy = self.evm.w3.eth.get_code(self.evm.deployment.proxy)
        for code in (bytes(proxy), b"", ours + b"\0"):
            self.assertIsNone(layout_of(keccak(code)))

    def test_order(self) -> None:
        """Each layout of the list grew out of the one before, and no build is in two."""
        for old, new in pairwise(layouts()):
            self.assertEqual([], is_append(old.storage, new.storage))
        every = [code_hash for each in layouts() for code_hash in each.code_hashes]
        self.assertEqual(len(set(every)), len(every))
        self.assertEqual(list(range(len(layouts()))), [each.number for each in layouts()])


class AppendTests(SynchronousTestCase):
    """Made-up contracts."""

    @given(variables(), variables())
    def test_grown(self, old: list[tuple[str, str]], added: list[tuple[str, str]]) -> None:
        """Whatever is added at the end, out of the gap, is an append; and so is nothing."""
        new = [*old, *((f"_more{label}", kind) for label, kind in added)]
        self.assertEqual([], is_append(packed(old), packed(new)))

    @given(variables(), variables())
    def test_not_backwards(self, old: list[tuple[str, str]], added: list[tuple[str, str]]) -> None:
        """What was added cannot be taken away again."""
        assume(added)
        new = [*old, *((f"_more{label}", kind) for label, kind in added)]
        self.assertTrue(is_append(packed(new), packed(old)))

    @given(variables(), st.data())
    def test_tampered(self, old: list[tuple[str, str]], data: st.DataObject) -> None:
        """A variable renamed, retyped, removed or pushed aside is told, wherever it is."""
        assume(old)
        at = data.draw(st.integers(0, len(old) - 1))
        label, kind = old[at]
        other = data.draw(st.sampled_from(sorted(set(SIZES) - {kind})))
        changes = {
            "renamed": [*old[:at], ("_other", kind), *old[at + 1 :]],
            "retyped": [*old[:at], (label, other), *old[at + 1 :]],
            "removed": [*old[:at], *old[at + 1 :]],
            "pushed aside": [*old[:at], ("_other", "uint256"), *old[at:]],
        }
        for what, new in changes.items():
            self.assertTrue(is_append(packed(old), packed(new)), what)

    @given(variables(), st.integers(1, 60))
    def test_gap(self, old: list[tuple[str, str]], slots: int) -> None:
        """A gap that ends elsewhere moves whatever inherits from the contract."""
        assume(slots != SLOTS and slots > len(old))
        new = [*old, ("_more", "uint256")]
        self.assertTrue(is_append(packed(old), packed(new, slots)))

    def test_gap_used_up(self) -> None:
        """The last slot of a gap may be taken; a gap may not end early."""
        old = packed([("_0", "uint256")], 3)
        full = [("_0", "uint256"), ("_1", "uint256"), ("_2", "address")]
        self.assertEqual([], is_append(old, packed(full, 3)))
        self.assertTrue(is_append(old, packed(full[:2], 2)))


class StructTests(SynchronousTestCase):
    """The contract's own layout, with something done to it."""

    def setUp(self) -> None:
        """A copy to spoil."""
        self.old = read("SandboxServing.json")["storageLayout"]
        self.new = deepcopy(self.old)
        self.types = self.new["types"]

    def struct(self, name: str) -> Any:
        """A struct in the copy."""
        return self.types[f"t_struct({name})_storage"]

    def grow(self, name: str) -> None:
        """Give a struct one more member, at its end."""
        struct = self.struct(name)
        end = -(-int(struct["numberOfBytes"]) // 32)
        added = {"label": "more", "slot": str(end), "offset": 0, "type": "t_uint256"}
        struct["members"].append(added)
        struct["numberOfBytes"] = str(32 * (end + 1))

    def assert_complains(self, about: str) -> None:
        """One complaint, with these words in it."""
        (told,) = is_append(self.old, self.new)
        self.assertIn(about, told)

    def test_untouched(self) -> None:
        """The same layout is an append."""
        self.assertEqual([], is_append(self.old, self.new))

    def test_grows_in_a_mapping(self) -> None:
        """A struct that only mappings lead to may grow at its end, and one with its own name."""
        self.grow("Service")
        self.grow("Refund")
        self.grow("OwnableStorage")
        self.assertEqual([], is_append(self.old, self.new))

    def test_does_not_grow_inline(self) -> None:
        """A struct with something behind it may not: in an array, or as a variable of its own."""
        array = {
            "label": "struct Refund[]",
            "numberOfBytes": "32",
            "encoding": "dynamic_array",
            "base": "t_struct(Refund)_storage",
        }
        for kind in ("t_array(refunds)", "t_struct(Refund)_storage"):
            self.setUp()
            for layout in (self.old, self.new):
                layout["types"]["t_array(refunds)"] = array
                layout["storage"][6]["type"] = kind
            self.grow("Refund")
            self.assert_complains("more is new, where a struct cannot grow")

    def test_members(self) -> None:
        """Members are renamed, swapped, retyped, moved or removed no more than variables are."""

        def rename(members: list[Any]) -> None:
            members[1]["label"] = "signer"

        def swap(members: list[Any]) -> None:
            members[3]["label"], members[4]["label"] = members[4]["label"], members[3]["label"]

        def retype(members: list[Any]) -> None:
            members[3]["type"] = "t_uint128"

        def move(members: list[Any]) -> None:
            members[2]["offset"] = 24

        def remove(members: list[Any]) -> None:
            del members[-1]

        changes: list[tuple[Callable[[list[Any]], None], str]] = [
            (rename, "_services[].teeSignerAddress is gone, or no longer in its place"),
            (swap, "_services[].pricePerCPUPerMin is gone, or no longer in its place"),
            (retype, "_services[].pricePerCPUPerMin was uint256 and is uint128"),
            (move, "_services[].signerVersion moved from slot 1+20 to slot 1+24"),
            (remove, "_services[].pricePerMemGBPerMin is gone"),
        ]
        for change, told in changes:
            self.setUp()
            change(self.struct("Service")["members"])
            self.assert_complains(told)

    def test_mappings(self) -> None:
        """K15: a number that becomes a mapping, another key, another value."""
        stake, accounts = self.new["storage"][:2]
        stake["type"] = self.new["storage"][4]["type"]
        self.assert_complains("_providerStake was uint256 and is mapping(address => uint256)")
        self.setUp()
        accounts = self.types[self.new["storage"][1]["type"]]
        self.types[accounts["value"]]["key"] = "t_uint256"
        self.assert_complains("_accounts[][] was address and is uint256")
        self.setUp()
        wider = self.types["t_userDefinedValueType(Account)"]
        wider["numberOfBytes"] = "16"
        self.assert_complains("_accounts[][] had 32 bytes and has 16")

    def test_namespaces(self) -> None:
        """OpenZeppelin's structs stay where their names put them, with what is in them."""
        del self.new["namespaces"]["openzeppelin.storage.Ownable2Step"]
        self.assert_complains("openzeppelin.storage.Ownable2Step is gone")
        self.setUp()
        self.struct("OwnableStorage")["members"][0]["type"] = "t_uint256"
        self.assert_complains("openzeppelin.storage.Ownable._owner was address and is uint256")
        self.setUp()
        self.new["namespaces"]["ours.storage.More"] = "t_struct(Refund)_storage"
        self.assertEqual([], is_append(self.old, self.new))


class RecordTests(SynchronousTestCase):
    """C{bin/_layouts.py}, which C{bin/build-contracts} runs."""

    def setUp(self) -> None:
        """A build, and a list that does not know it."""
        folder = Path(self.mktemp())
        folder.mkdir()
        self.list, self.artifact = folder / "layouts.json", folder / "SandboxServing.json"
        self.build(read("SandboxServing.json"))

    def build(self, artifact: Any) -> None:
        """Put a compiled contract where the command finds it."""
        wanted = ("deployedBytecode", "storageLayout")
        self.artifact.write_text(json.dumps({name: artifact[name] for name in wanted}))

    def run_command(self, mode: str) -> tuple[int, str]:
        """(exit code, complaints)."""
        script = Path(__file__).resolve().parents[2] / "bin" / "_layouts.py"
        done = subprocess.run(
            [sys.executable, str(script), mode, str(self.list), str(self.artifact)],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr

    def test_recorded(self) -> None:
        """A build is noted once, another with the same storage beside it, and then both pass."""
        code, told = self.run_command("check")
        self.assertEqual(1, code)
        self.assertIn("the newest layout in the list is not this build's", told)
        for _ in range(2):
            self.assertEqual((0, ""), self.run_command("record"))
        self.assertEqual(layouts()[-1].storage, json.loads(self.list.read_text())[0]["layout"])

        self.build({**read("SandboxServing.json"), "deployedBytecode": "0x00"})
        code, told = self.run_command("check")
        self.assertEqual(1, code)
        self.assertIn("the list does not have this build's code hash", told)
        self.assertEqual((0, ""), self.run_command("record"))
        self.assertEqual((0, ""), self.run_command("check"))
        (entry,) = json.loads(self.list.read_text())
        self.assertEqual(2, len(entry["codeHashes"]))
        self.assertEqual("0x" + keccak(b"\0").hex(), entry["codeHashes"][1])

    def test_refused(self) -> None:
        """A build whose storage is no append is not noted; noted by hand, it is found out."""
        self.run_command("record")
        before = self.list.read_text()
        spoilt = deepcopy(read("SandboxServing.json"))
        spoilt["storageLayout"]["storage"][0]["label"] = "_stake"
        self.build(spoilt)
        for mode in ("record", "check"):
            code, told = self.run_command(mode)
            self.assertEqual(1, code)
        self.assertEqual(before, self.list.read_text())
        entries = [*json.loads(before), {"layout": spoilt["storageLayout"], "codeHashes": []}]
        self.list.write_text(json.dumps(entries))
        code, told = self.run_command("check")
        self.assertEqual(1, code)
        self.assertIn("_providerStake is gone", told)
