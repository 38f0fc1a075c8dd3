"""
The record of a deployment: written before each transaction is sent, so that a killed one
goes on where it was.  Nothing in it is secret: signed transactions are public once sent.

Tests: L{tests.cli.test_record}.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from sandbox_billing.cli.transaction import Signed
from sandbox_billing.errors import BadInput, Refused
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum


VERSION = 1


@frozen(kw_only=True)
class Creation:
    """
    One contract's.

    @ivar address: Where it will stand, by sender and nonce.
    @ivar attempts: With one nonce; at most one of them is ever mined.
    """

    address: Address
    attempts: tuple[Signed, ...]


@frozen(kw_only=True)
class Record:
    """
    What was meant, and how far it came.

    @ivar purpose: C{deploy} or C{upgrade}.
    @ivar about: What makes this undertaking this one: the stake, or the beacon.
    @ivar build: The code's, of L{stack.build_id}.
    @ivar creations: By the part's name.
    @ivar complete: All of it is confirmed and was checked.
    """

    purpose: str
    chain_id: int
    sender: Address
    about: Mapping[str, str]
    build: str
    creations: Mapping[str, Creation] = field(factory=dict)
    complete: bool = False

    def with_attempt(self, part: str, signed: Signed, address: Address) -> Record:
        """With one more attempt at a contract; another nonce replaces what was there."""
        earlier = self.creations.get(part)
        attempts: tuple[Signed, ...] = (signed,)
        if earlier is not None and earlier.address == address:
            attempts = (*earlier.attempts, signed)
        creation = Creation(address=address, attempts=attempts)
        return evolve(self, creations={**self.creations, part: creation})


def encode_record(record: Record) -> str:
    """As it is stored."""
    document = {
        "version": VERSION,
        "purpose": record.purpose,
        "chain_id": record.chain_id,
        "sender": checksum(record.sender),
        **record.about,
        "build": record.build,
        "complete": record.complete,
        "contracts": {
            part: {
                "address": checksum(creation.address),
                "transactions": [
                    {
                        "hash": one.hash,
                        "nonce": one.nonce,
                        "gas": one.gas,
                        "fee_per_gas": str(one.cap),
                        "tip_per_gas": None if one.tip is None else str(one.tip),
                        "raw": one.raw,
                    }
                    for one in creation.attempts
                ],
            }
            for part, creation in record.creations.items()
        },
    }
    return json.dumps(document, indent=2) + "\n"


_OWN = {"version", "purpose", "chain_id", "sender", "build", "complete", "contracts"}


def decode_record(text: str, name: str) -> Record:
    """
    @param name: The file's, for the error.
    @raise BadInput: It is no record, or of a version that we do not know.
    """
    try:
        stored = json.loads(text)
        if stored["version"] != VERSION:
            raise BadInput(
                f"{name} is a record of version {stored['version']!r}; this program knows "
                f"{VERSION}: use the program that wrote it, or name another file with --record"
            )
        return Record(
            purpose=_text(stored["purpose"]),
            chain_id=int(stored["chain_id"]),
            sender=Address(stored["sender"]),
            about={key: _text(value) for key, value in stored.items() if key not in _OWN},
            build=_text(stored["build"]),
            complete=stored["complete"] is True,
            creations={part: _creation(one) for part, one in stored["contracts"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadInput(
            f"{name} is no record of this program: name another file with --record"
        ) from None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def _creation(stored: Any) -> Creation:
    attempts = tuple(
        Signed(
            raw=_text(one["raw"]),
            hash=_text(one["hash"]),
            nonce=int(one["nonce"]),
            gas=int(one["gas"]),
            cap=int(one["fee_per_gas"]),
            tip=None if one["tip_per_gas"] is None else int(one["tip_per_gas"]),
        )
        for one in stored["transactions"]
    )
    if not attempts:
        raise ValueError("a contract without transactions")
    return Creation(address=Address(stored["address"]), attempts=attempts)


@frozen
class RecordFile:
    """
    Where a record is kept.
    """

    path: Path

    def read(self) -> Record | None:
        """
        @return: None when there is none yet.
        @raise BadInput: What is there is no record, or cannot be read.
        """
        try:
            text = self.path.read_text("utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as problem:
            raise BadInput(f"{self.path.name} cannot be read: {problem}") from None
        return decode_record(text, self.path.name)

    def write(self, record: Record) -> None:
        """
        On disk when this returns, whole or not at all.

        @raise BadInput: It cannot be written.
        """
        half = self.path.with_name(self.path.name + ".new")
        try:
            with half.open("w", encoding="utf-8") as file:
                file.write(encode_record(record))
                file.flush()
                os.fsync(file.fileno())
            half.replace(self.path)
            self._sync_folder()
        except OSError as problem:
            raise BadInput(
                f"the record {self.path.name} cannot be written ({problem.strerror}): nothing "
                "more was sent; name another place with --record"
            ) from None

    def _sync_folder(self) -> None:
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def set_aside(self) -> Path | None:
        """
        Make room for a new record; the old one is kept under a name with a number.

        @return: That name; None if there was nothing.
        """
        if not self.path.exists():
            return None
        number = 1
        while (aside := self.path.with_suffix(f".{number}{self.path.suffix}")).exists():
            number += 1
        self.path.rename(aside)
        return aside

    @contextmanager
    def locked(self) -> Iterator[None]:
        """
        Hold off another command that keeps records in the same folder.

        @raise Refused: One is running.
        """
        try:
            folder = os.open(self.path.parent, os.O_RDONLY)
        except OSError as problem:
            raise BadInput(f"--record: {problem.strerror}: {self.path.parent}") from None
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refused(
                    "another deploy or upgrade runs in this folder: wait for it"
                ) from None
            yield
        finally:
            os.close(folder)
