"""
Another release of this project, for what happens between two.

A copy of the package in which the contract's code differs by the hash of its metadata, as
a comment in the sources would make it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from eth_utils.crypto import keccak

import sandbox_billing


_METADATA = re.compile(r"(a2646970667358221220)([0-9a-f]{64})")
"""CBOR before and of the IPFS hash at the end of a contract's code."""


STACK = ("SandboxServing", "UpgradeableBeacon", "BeaconProxy")
"""All that is deployed: a release that was built by another compiler differs in all of it."""


def copy_release(
    folder: Path,
    *,
    relayout: Callable[[Any], None] | None = None,
    listed: bool = True,
    rebuilt: Sequence[str] = STACK[:1],
) -> Path:
    """
    Make a release that comes after this one.

    @param folder: Where; to be put on C{PYTHONPATH}.
    @param rebuilt: The contracts whose code is another.
    @param relayout: Changes its storage layout in place, which makes it a new entry.
    @param listed: Whether its build is in its own list of layouts.
    """
    shutil.copytree(
        Path(sandbox_billing.__file__).parent,
        folder / "sandbox_billing",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    abi = folder / "sandbox_billing" / "adapters" / "chain" / "abi"
    for contract in rebuilt:
        path = abi / f"{contract}.json"
        artifact = json.loads(path.read_text())
        for name in ("bytecode", "deployedBytecode"):
            artifact[name], count = _METADATA.subn(lambda m: m[1] + "5a" * 32, artifact[name])
            assert count == 1, "the metadata's hash was not found"
        path.write_text(json.dumps(artifact))
    layouts = json.loads((abi / "layouts.json").read_text())
    hashed = _code_hash(folder)
    if relayout is not None:
        layout = json.loads(json.dumps(layouts[-1]["layout"]))
        relayout(layout)
        layouts.append({"layout": layout, "codeHashes": [hashed]})
    elif listed and hashed not in layouts[-1]["codeHashes"]:
        layouts[-1]["codeHashes"].append(hashed)
    (abi / "layouts.json").write_text(json.dumps(layouts))
    return folder


def list_build(folder: Path, earlier: Path) -> None:
    """Have a release know the build of an earlier one, as its list of layouts would."""
    path = folder / "sandbox_billing" / "adapters" / "chain" / "abi" / "layouts.json"
    layouts = json.loads(path.read_text())
    layouts[-1]["codeHashes"].append(_code_hash(earlier))
    path.write_text(json.dumps(layouts))


def _code_hash(folder: Path) -> str:
    abi = folder / "sandbox_billing" / "adapters" / "chain" / "abi"
    artifact = json.loads((abi / "SandboxServing.json").read_text())
    return "0x" + keccak(hexstr=artifact["deployedBytecode"]).hex()
