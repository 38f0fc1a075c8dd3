"""Tests for L{sandbox_billing.adapters.chain.layouts} and for the list it keeps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from copy import deepcopy
from functools import cache
from io import StringIO
from itertools import pairwise
from pathlib import Path
from runpy import run_path
from typing import Any
from unittest.mock import patch

from eth_utils import keccak
from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from web3.types import TxParams

from sandbox_billing.adapters.chain.artifacts import load, read
from sandbox_billing.adapters.chain.layouts import (
    PACKED,
    is_append,
    layout_of,
    layouts,
    with_packing,
)
from sandbox_billing.errors import BadInput
from tests.evm.genesis import contract_in_genesis, slot
from tests.evm.harness import STAKE, EvmCase


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
        self.assertEqual(with_packing(read("SandboxServing.json")["storageLayout"]), found.storage)

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


class PackingTests(EvmCase):
    """What C{PACKED} says of the contract, held against the contract."""

    def prepare(self) -> None:
        """A provider."""
        self.evm.register(value=STAKE)

    def test_written(self) -> None:
        """The slot that transactions wrote is made of these fields, and of nothing else."""
        evm = self.evm
        highest, left = 2**64 - 1, 10**23 + 1
        evm.deposit(left + 3)
        evm.acknowledge()
        evm.settle(evm.voucher(highest, 3))
        expected = {"balance": left, "lastNonce": highest, "acknowledgedVersion": 1}
        self.assertEqual((left, highest), (evm.books()[0], evm.last_nonce()))
        place = slot(evm.user.address, slot(evm.provider.address, 1))
        word = int.from_bytes(evm.w3.eth.get_storage_at(evm.deployment.proxy, place))
        fields = PACKED["Account"]
        found = {label: word >> start & 2**bits - 1 for label, start, bits in fields}
        self.assertEqual(expected, found)
        self.assertEqual(word, sum(expected[label] << start for label, start, _ in fields))

    def test_read(self) -> None:
        """With all bits of one field set, the contract reads that one at its most, no other."""
        evm = self.evm
        provider = evm.provider.address
        users = {
            label: evm.accounts[at].address for at, (label, _, _) in enumerate(PACKED["Account"])
        }
        # A signer whose version is the highest there can be.
        storage = {slot(provider, 3) + 1: 1 | 2**64 - 1 << 160}
        for label, start, bits in PACKED["Account"]:
            storage[slot(users[label], slot(provider, 1))] = 2**bits - 1 << start
        views = contract_in_genesis(provider, storage).functions
        rich: TxParams = {"from": provider}
        self.assertEqual(256, sum(bits for _, _, bits in PACKED["Account"]))
        for label, user in users.items():
            read_fields = (
                views.getBalance(user, provider).call(rich)[0],
                views.getLastNonce(user, provider).call(rich),
                views.isTEEAcknowledged(user, provider).call(rich),
            )
            expected = (
                2**128 - 1 if label == "balance" else 0,
                2**64 - 1 if label == "lastNonce" else 0,
                label == "acknowledgedVersion",
            )
            self.assertEqual(expected, read_fields, label)

    def test_every_type(self) -> None:
        """A type that the contract defines upon another is in the list, or the build refused."""
        compiled = deepcopy(read("SandboxServing.json")["storageLayout"])
        self.assertEqual({"Account"}, set(with_packing(compiled)["packed"]))
        added = {"label": "Price", "numberOfBytes": "32", "encoding": "inplace"}
        compiled["types"]["t_userDefinedValueType(Price)"] = added
        with self.assertRaisesRegex(BadInput, "does not say what is in Price"):
            with_packing(compiled)


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
        self.old = deepcopy(layouts()[-1].storage)
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

    def test_packed(self) -> None:
        """Fields of an account keep their bits: moved, narrowed, renamed or left out is told."""
        changes: list[tuple[list[tuple[str, int, int]], list[str]]] = [
            (
                [("lastNonce", 0, 64), ("balance", 64, 128), ("acknowledgedVersion", 192, 64)],
                [
                    "Account.balance had 128 bits from bit 0 on and has 128 from bit 64 on",
                    "Account.lastNonce had 64 bits from bit 128 on and has 64 from bit 0 on",
                ],
            ),
            (
                [("balance", 0, 96), ("lastNonce", 128, 64), ("acknowledgedVersion", 192, 64)],
                ["Account.balance had 128 bits from bit 0 on and has 96 from bit 0 on"],
            ),
            (
                [("balance", 0, 128), ("nonce", 128, 64), ("acknowledgedVersion", 192, 64)],
                [
                    "Account.lastNonce is gone",
                    "Account.nonce stands where something else was",
                ],
            ),
            ([], [f"Account.{label} is gone" for label, _, _ in PACKED["Account"]]),
        ]
        for fields, told in changes:
            self.setUp()
            self.new["packed"]["Account"] = [list(each) for each in fields]
            self.assertEqual(told, is_append(self.old, self.new))
        self.setUp()
        del self.new["packed"]
        self.assert_complains("what is in the bits of Account is no longer told")
        self.assertIn("what was in the bits", *is_append(self.new, self.old))

    def test_packed_grows(self) -> None:
        """A field may take bits that were nobody's; a number used whole has none such."""
        self.old["packed"]["Account"] = [["balance", 0, 128], ["acknowledgedVersion", 192, 64]]
        self.assertEqual([], is_append(self.old, self.new))
        self.old["packed"]["Account"] = []
        self.assert_complains("Account was one number and is taken apart")

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


SCRIPT = Path(__file__).resolve().parents[2] / "bin" / "_layouts.py"


@cache
def the_command() -> Callable[[str, str, str], int]:
    """What the script does: imported once, for as a process it mostly imports."""
    found: Callable[[str, str, str], int] = run_path(str(SCRIPT))["main"]
    return found


class ListCase(SynchronousTestCase):
    """
    C{bin/_layouts.py}, which C{bin/build-contracts} runs.

    @ivar told: What it last said on its standard output.
    """

    def setUp(self) -> None:
        """A build, and a list that does not know it."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        self.folder = folder
        self.list, self.artifact = folder / "layouts.json", folder / "SandboxServing.json"
        self.build(read("SandboxServing.json"))

    def build(self, artifact: Any) -> None:
        """Put a compiled contract where the command finds it."""
        wanted = ("deployedBytecode", "storageLayout")
        self.artifact.write_text(json.dumps({name: artifact[name] for name in wanted}))

    def run_command(self, mode: str, **environment: str) -> tuple[int, str]:
        """(exit code, complaints), of the command within this process."""
        said, complained = StringIO(), StringIO()
        with ExitStack() as stack:
            stack.enter_context(redirect_stdout(said))
            stack.enter_context(redirect_stderr(complained))
            stack.enter_context(patch.dict(os.environ, environment))
            code = the_command()(mode, str(self.list), str(self.artifact))
        self.told = said.getvalue()
        return code, complained.getvalue()


class RecordTests(ListCase):
    """One list and one build."""

    def test_process(self) -> None:
        """As a process it says and ends the same: here at a list that is not there yet."""
        done = subprocess.run(
            [sys.executable, str(SCRIPT), "check", str(self.list), str(self.artifact)],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(self.run_command("check"), (done.returncode, done.stderr))
        self.assertEqual((self.told, 1), (done.stdout, done.returncode))

    def test_recorded(self) -> None:
        """A build is noted once, another with the same storage beside it, and then both pass."""
        code, told = self.run_command("check")
        self.assertEqual(1, code)
        self.assertIn("the newest layout in the list is not this build's", told)
        for _ in range(2):
            self.assertEqual((0, ""), self.run_command("record"))
        self.assertEqual((0, ""), self.run_command("check"))
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

    def test_repacked(self) -> None:
        """A build whose accounts' bits are others than the last one's is not noted either."""
        self.run_command("record")
        entries = json.loads(self.list.read_text())
        fields = entries[0]["layout"]["packed"]["Account"]
        fields[0][1:], fields[1][1:] = [64, 128], [0, 64]
        self.list.write_text(json.dumps(entries))
        code, told = self.run_command("record")
        self.assertEqual(1, code)
        self.assertIn("Account.balance had 128 bits from bit 64 on and has 128 from bit 0", told)
        self.assertEqual(entries, json.loads(self.list.read_text()))


class HistoryTests(ListCase):
    """The list against what git has of it: a repository of its own for each test."""

    def setUp(self) -> None:
        """Two builds with one layout were committed, one after the other."""
        super().setUp()
        self.assertTrue(self.git("init", "--quiet"))
        self.run_command("record")
        self.commit()
        self.build({**read("SandboxServing.json"), "deployedBytecode": "0x00"})
        self.run_command("record")
        self.commit()
        self.assertEqual((0, ""), self.run_command("check"))
        self.assertIn("compared with 2 committed lists\n", self.told)

    def git(self, *arguments: str, folder: Path | None = None) -> bool:
        """Whether a git command succeeded, with nobody's configuration but its own."""
        nobody = ("-c", "user.name=nobody", "-c", "user.email=nobody@example.org")
        command = ["git", "-C", str(folder or self.folder), *nobody, *arguments]
        apart = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        return not subprocess.run(command, env={**os.environ, **apart}, check=False).returncode

    def commit(self) -> None:
        """The folder as it is."""
        self.assertTrue(self.git("add", "--all"))
        self.assertTrue(self.git("commit", "--quiet", "--allow-empty", "-m", "as it is"))

    def entries(self) -> Any:
        """What the list says."""
        return json.loads(self.list.read_text())

    def assert_lost(self, *about: str) -> None:
        """Check fails with these words, before the commit that did it and after."""
        for _ in range(2):
            code, told = self.run_command("check")
            self.assertEqual(1, code, told)
            for each in about:
                self.assertIn(each, told)
            self.commit()

    def rewrite(self, change: Callable[[Any], None]) -> None:
        """Edit the list by hand."""
        entries = self.entries()
        change(entries)
        self.list.write_text(json.dumps(entries))

    def test_append(self) -> None:
        """Another build, another layout at the end: both pass, committed or not."""
        self.build({**read("SandboxServing.json"), "deployedBytecode": "0x01"})
        self.assertEqual((0, ""), self.run_command("record"))
        self.assertEqual((0, ""), self.run_command("check"))
        self.commit()
        longer = deepcopy(read("SandboxServing.json"))
        longer["storageLayout"]["namespaces"]["ours.storage.More"] = "t_struct(Refund)_storage"
        self.build(longer)
        self.assertEqual((0, ""), self.run_command("record"))
        self.assertEqual((0, ""), self.run_command("check"))
        self.assertEqual(2, len(self.entries()))
        self.commit()
        self.assertEqual((0, ""), self.run_command("check"))
        self.assertIn("compared with 4 committed lists\n", self.told)

    def test_hash_removed(self) -> None:
        """The build before this one is forgotten, as had happened here."""
        gone = self.entries()[0]["codeHashes"][0]
        self.rewrite(lambda entries: entries[0]["codeHashes"].pop(0))
        self.assert_lost(f"layout 0 has lost the code hash {gone}; commit ")

    def test_reordered(self) -> None:
        """Layouts that changed places have other numbers, which upgrades go by."""

        def swap(entries: Any) -> None:
            entries.insert(0, {"layout": deepcopy(entries[0]["layout"]), "codeHashes": []})
            entries[0]["layout"]["storage"].pop()

        self.rewrite(swap)
        self.assert_lost("layout 0 is another one", "layout 0 has lost the code hash")

    def test_rewritten(self) -> None:
        """A committed layout is edited in place, its packing too."""
        fields = self.entries()[0]["layout"]["packed"]["Account"]
        self.rewrite(lambda entries: entries[0]["layout"]["storage"][0].update(label="_stake"))
        self.assert_lost("layout 0 is another one")
        self.rewrite(lambda entries: entries[0]["layout"]["packed"].update(Account=fields[::-1]))
        self.assert_lost("layout 0 is another one")

    def test_deleted(self) -> None:
        """The list is gone; made anew, it is still shorter than it was."""
        self.list.unlink()
        self.assert_lost("layout 0 is gone")
        self.assertEqual((0, ""), self.run_command("record"))
        self.assert_lost("layout 0 has lost the code hash")

    def test_before_packing(self) -> None:
        """A list of the time before packing was told goes on in one that tells it, not back."""
        plain = read("SandboxServing.json")["storageLayout"]
        self.rewrite(lambda entries: entries[0].update(layout=plain))
        self.assert_lost("layout 0 is another one")
        self.assertTrue(self.git("update-ref", "-d", "HEAD"))
        self.commit()
        self.rewrite(lambda entries: entries[0].update(layout=with_packing(plain)))
        self.assertEqual((0, ""), self.run_command("check"))
        self.assertIn("compared with 1 committed lists", self.told)

    def test_side_branch(self) -> None:
        """A build that came by a merge is not lost in the merge."""
        before = self.list.read_text()
        self.assertTrue(self.git("checkout", "--quiet", "-b", "side"))
        self.build({**read("SandboxServing.json"), "deployedBytecode": "0x02"})
        self.run_command("record")
        came = self.entries()[0]["codeHashes"][-1]
        self.commit()
        self.assertTrue(self.git("checkout", "--quiet", "-"))
        (self.folder / "other").write_text("")
        self.commit()
        self.assertTrue(self.git("merge", "--quiet", "--no-commit", "--no-ff", "side"))
        self.list.write_text(before)
        self.assert_lost(came)

    def test_without_history(self) -> None:
        """An unpacked archive is compared with itself, a shallow clone with what it has."""
        whole = self.list
        self.rewrite(lambda entries: entries[0]["codeHashes"].pop(0))
        self.commit()
        shallow = self.folder.with_name("shallow")
        source = f"file://{self.folder}"
        cloned = self.git("clone", "--quiet", "--depth=1", source, str(shallow))
        self.assertTrue(cloned)
        self.list = shallow / whole.name
        self.assertEqual((0, ""), self.run_command("check"))
        self.assertIn("compared with 1 committed lists: this clone is shallow", self.told)

        ceiling = str(self.folder.parent)
        archive = self.folder.with_name("archive")
        archive.mkdir()
        self.list = archive / whole.name
        self.list.write_text(whole.read_text())
        found = self.run_command("check", GIT_CEILING_DIRECTORIES=ceiling)
        self.assertEqual((0, ""), found)
        self.assertIn("compared with no committed lists: no git history here", self.told)
        self.assertTrue(self.git("init", "--quiet", folder=archive))
        self.assertEqual((0, ""), self.run_command("check"))
        self.assertIn("compared with no committed lists: no git history here", self.told)

    def test_unreadable(self) -> None:
        """A repository that git cannot read is no missing history: it fails."""
        (self.folder / ".git" / "config").write_text("[core")
        code, told = self.run_command("check")
        self.assertEqual(1, code)
        self.assertIn("git rev-parse: fatal: bad config", told)
