"""
Keeps the list of storage layouts for bin/build-contracts.

    _layouts.py record LIST ARTIFACT   note the build in the list; refuse one that is no append
    _layouts.py check LIST ARTIFACT    fail unless the build is noted, the list is in order and
                                       nothing is missing that git has of it
"""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from eth_utils import keccak

from sandbox_billing.adapters.chain.layouts import is_append, with_packing
from sandbox_billing.errors import BadInput


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


def lost(earlier, known):
    """What an earlier list says and this one does not: complaints."""
    for number, old in enumerate(earlier):
        if number >= len(known):
            yield f"layout {number} is gone"
            continue
        new = known[number]
        # The first lists did not tell of packed numbers.
        untold = {"packed"} - set(old["layout"])
        if old["layout"] != {k: v for k, v in new["layout"].items() if k not in untold}:
            yield f"layout {number} is another one"
        for code_hash in old["codeHashes"]:
            if code_hash not in new["codeHashes"]:
                yield f"layout {number} has lost the code hash {code_hash}"


def git(folder, *arguments):
    """
    What a git command says of a folder; of no other repository that a hook's environment names.

    @raise BadInput: It failed, with its complaint.
    """
    elsewhere = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"}
    environment = {name: text for name, text in os.environ.items() if name not in elsewhere}
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        env={**environment, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BadInput(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def history(place):
    """
    ((commit, list) of each version of the list that git has, the oldest first; what there is to
    say of an incomplete history).

    @raise BadInput: There is a repository, and it cannot be read: that is not to pass for none.
    """
    folder = place.resolve().parent
    try:
        shallow = git(folder, "rev-parse", "--is-shallow-repository").strip() == "true"
    except FileNotFoundError:
        return [], "no git here"
    except BadInput as problem:
        if "not a git repository" in str(problem):
            return [], "no git history here"
        raise
    if not git(folder, "rev-list", "--all", "--max-count=1"):
        return [], "no git history here"
    found = []
    revisions = git(folder, "rev-list", "--reverse", "--full-history", "HEAD", "--", place.name)
    for commit in revisions.split():
        # Nothing in a commit that deleted it.
        if git(folder, "ls-tree", "--name-only", commit, "--", place.name):
            found.append((commit, json.loads(git(folder, "show", f"{commit}:./{place.name}"))))
    if shallow:
        return found, "this clone is shallow, and older lists are not here"
    return found, "" if found else "git has no earlier list"


def check_history(place, known):
    """(Complaints, what it was compared with)."""
    versions, remark = history(place)
    complaints = {}
    for commit, earlier in versions:
        for told in lost(earlier, known):
            complaints.setdefault(told, f"{told}; commit {commit[:10]} has it otherwise")
    compared = f"compared with {len(versions) or 'no'} committed lists"
    return list(complaints.values()), f"{compared}: {remark}" if remark else compared


def main(mode, list_path, artifact_path):
    """The command."""
    place = Path(list_path)
    known = json.loads(place.read_text()) if place.exists() else []
    artifact = json.loads(Path(artifact_path).read_text())
    code_hash = "0x" + keccak(hexstr=artifact["deployedBytecode"]).hex()
    try:
        layout = with_packing(artifact["storageLayout"])
        complaints = {"record": record, "check": check}[mode](known, layout, code_hash)
        if mode == "check":
            missing, compared = check_history(place, known)
            complaints += missing
            sys.stdout.write(f"{place.name}: {compared}\n")
    except BadInput as problem:
        complaints = [str(problem)]
    for each in complaints:
        sys.stderr.write(f"{place.name}: {each}\n")
    if complaints:
        return 1
    if mode == "record":
        place.write_text(json.dumps(known, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
