"""
A copy of the audit, outside of the daemon: read, checked, compared with an older copy.

Nothing here asks anybody anything.

Tests: C{tests.cli.test_audit}.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from sandbox_billing.errors import BadInput, Refused, UnknownOutcome
from sandbox_billing.ledger._codec import decode
from sandbox_billing.ledger.audit import FIRST, AuditEntry, broken_at, entry_hash


_HASH = re.compile(r"[0-9a-f]{64}\Z")
_LINE_END = b"\n"


@frozen(kw_only=True)
class Checked:
    """
    A log that holds together.

    @ivar count: Entries.
    @ivar old: Of these, from before there was a chain: the first hash proves only the last one.
    @ivar last: The hash of the last entry, which stands for all before it; L{FIRST} for none.
    """

    count: int
    old: int
    last: str


def written(forms: Sequence[bytes]) -> bytes:
    """A copy: each stored form a line, the oldest first."""
    return b"".join(form + _LINE_END for form in forms)


def read_log(path: Path) -> tuple[bytes, ...]:
    """
    The stored forms of a copy.

    @raise BadInput: It cannot be read, or its end is missing.
    """
    try:
        found = path.read_bytes()
    except OSError as problem:
        raise BadInput(f"{path.name} cannot be read: {problem.strerror}") from None
    if not found:
        return ()
    if not found.endswith(_LINE_END):
        raise BadInput(f"{path.name} ends in the middle of a line: it was not written to its end")
    return tuple(found[:-1].split(_LINE_END))


def keep(path: Path, forms: Sequence[bytes]) -> None:
    """
    Write a copy, which is there only when it is whole; nothing is written over.

    @raise BadInput: Something stands there, or nothing can.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            file.write(written(forms))
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename it fails where something stands.
        os.link(part, path)
    except FileExistsError:
        raise BadInput(
            f"{path.name} is there already: give another name, and compare both with "
            "'sandbox-billing audit verify NEW --against OLD'"
        ) from None
    except OSError as problem:
        raise BadInput(f"{path.name} cannot be written: {problem.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


def told_broken(forms: Sequence[bytes], place: int) -> str:
    """
    What is wrong with an entry that L{broken_at} found, in words.

    @param place: From 0; people count from 1.
    """
    number = place + 1
    try:
        entry = decode(AuditEntry, forms[place])
    except BadInput as problem:
        return f"entry {number} cannot be read: {problem}"
    if entry.previous is None:
        return f"entry {number} carries no hash, though an older one does"
    if place == 0:
        return (
            "entry 1 follows one that is not here: the beginning was left out, or entry 1 was "
            "changed"
        )
    return (
        f"entry {number} does not follow entry {place}: one of them was changed, or one was left "
        "out, put in or moved between them"
    )


def checked(forms: Sequence[bytes], name: str) -> Checked:
    """
    @param name: Of the log, for the error.
    @raise Refused: An entry does not follow from the one before it.
    """
    place = broken_at(forms)
    if place is not None:
        raise Refused(f"{name} is broken: {told_broken(forms, place)}")
    old = sum(decode(AuditEntry, form).previous is None for form in forms)
    return Checked(count=len(forms), old=old, last=entry_hash(forms[-1]) if forms else FIRST)


def extends(newer: Sequence[bytes], older: Sequence[bytes], name: str) -> None:
    """
    @param name: Of the older one.
    @raise Refused: C{newer} is not all of C{older} with or without something after it.
    """
    for number, (one, other) in enumerate(zip(newer, older, strict=False), 1):
        if one != other:
            raise Refused(
                f"entry {number} is not the one that {name} has: one of the two logs was changed "
                "from there on"
            )
    if len(newer) < len(older):
        raise Refused(
            f"entry {len(newer) + 1} is missing: {name} has {len(older)} entries, and this one "
            f"{len(newer)}"
        )


def read_anchor(text: str) -> str:
    """
    A hash that was kept.

    @raise BadInput: It is none.
    """
    found = text.strip().lower().removeprefix("0x")
    if not _HASH.match(found):
        raise BadInput("--anchor: 64 hex digits, as 'audit verify' prints them")
    return found


def anchored(forms: Sequence[bytes], anchor: str) -> int:
    """
    The number of the entry that has this hash, from 1; 0 for what stands for no entry at all.

    @raise Refused: None has it.
    """
    if anchor == FIRST:
        return 0
    for number, form in enumerate(forms, 1):
        if entry_hash(form) == anchor:
            return number
    raise Refused(
        f"none of the {len(forms)} entries has the hash {anchor}: that entry was changed or left "
        "out, with all that was built on it"
    )


def in_order(numbered: Sequence[tuple[int, bytes]]) -> tuple[bytes, ...]:
    """
    The forms as they came by HTTP, the newest first, turned round.

    @param numbered: Each with its number, from 1.
    @raise UnknownOutcome: One is missing or twice there: the provider's pages do not fit.
    """
    turned = numbered[::-1]
    for place, (number, _) in enumerate(turned, 1):
        if number != place:
            raise UnknownOutcome(
                f"the provider's pages do not fit together at entry {place}: nothing was written; "
                "try again"
            )
    return tuple(form for _, form in turned)
