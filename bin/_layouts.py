"""
Keeps the list of storage layouts for bin/build-contracts.

    _layouts.py record LIST ARTIFACT   note the build in the list; refuse one that is no append
    _layouts.py check LIST ARTIFACT    fail unless the build is noted and the list is in order
"""

import json
import sys
from itertools import pairwise
from pathlib import Path

from eth_utils import keccak

from sandbox_billing.adapters.chain.layouts import is_append


def record(known, layout, code_hash):
    """Complaints; without any, the build is in the list."""
    if not known or known[-1]["layout"] != layout:
        complaints = is_append(known[-1]["layout"], layout) if known else []
        if complaints:
            return complaints
        known.append({"layout": layout, "codeHashes": []})
    hashes = known[-1]["codeHashes"]
    if code_hash not in hashes:
        hashes.append(code_hash)
    return []


def check(known, layout, code_hash):
    """Complaints about the list, or about a build that it does not end with."""
    found = [
        complaint
        for old, new in pairwise(known)
        for complaint in is_append(old["layout"], new["layout"])
    ]
    if not known or known[-1]["layout"] != layout:
        found.append("the newest layout in the list is not this build's")
    elif code_hash not in known[-1]["codeHashes"]:
        found.append(f"the list does not have this build's code hash, {code_hash}")
    return found


def main(mode, list_path, artifact_path):
    """The command."""
    place = Path(list_path)
    known = json.loads(place.read_text()) if place.exists() else []
    artifact = json.loads(Path(artifact_path).read_text())
    code_hash = "0x" + keccak(hexstr=artifact["deployedBytecode"]).hex()
    complaints = {"record": record, "check": check}[mode](
        known, artifact["storageLayout"], code_hash
    )
    for each in complaints:
        sys.stderr.write(f"{place.name}: {each}\n")
    if complaints:
        return 1
    if mode == "record":
        place.write_text(json.dumps(known, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
