"""
Creating contracts under a record: never twice what is mined, never without being written down.

Tests: L{tests.cli.test_deploy}.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, evolve

from sandbox_billing.cli.output import Output
from sandbox_billing.cli.record import Creation, Record, RecordFile
from sandbox_billing.cli.sending import Sender
from sandbox_billing.cli.session import Session
from sandbox_billing.cli.stack import Part, created_address, same_code
from sandbox_billing.cli.transaction import Call, Done, Signed
from sandbox_billing.errors import Refused
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum


@define(kw_only=True)
class Creator:
    """
    @ivar record: As it is on disk.
    """

    session: Session
    sender: Sender
    out: Output
    file: RecordFile
    record: Record

    def create(self, part: Part, data: bytes) -> Address:
        """
        Have a contract mined: the one that the record has begun, or a new one.

        @param data: Its creation, with arguments.
        @return: Where it stands; not confirmed yet.
        """
        call = Call(label=part.value, to=None, data=data)
        begun = self.record.creations.get(part.value)
        if begun is not None and self._still_counts(part, begun):
            self.sender.follow(call, begun.attempts, store=self._store(part), confirmations=0)
            return begun.address
        done = self.sender.send(call, store=self._store(part), confirmations=0)
        address = self.record.creations[part.value].address
        if done.contract != address:
            raise Refused(f"{part.value}: {done.hash} did not create {checksum(address)}")
        return address

    def _store(self, part: Part) -> Callable[[Signed], None]:
        def store(signed: Signed) -> None:
            address = created_address(self.sender.address, signed.nonce)
            self._write(self.record.with_attempt(part.value, signed, address))

        return store

    def _still_counts(self, part: Part, begun: Creation) -> bool:
        """
        Whether what was begun is mined or can still be.

        @raise Refused: It is of another chain with the same id.
        """
        nonce = begun.attempts[0].nonce
        # In this order: a nonce that is used up with no receipt after it was used by another.
        used = self.sender.nonce("latest") > nonce
        for attempt in begun.attempts:
            receipt = self.session.call("eth_getTransactionReceipt", attempt.hash)
            if receipt is not None:
                if receipt["status"] == "0x1":
                    return True
                self.out.note(f"{part.value}: {attempt.hash} was mined and failed; once more")
                return False
        if used:
            self.out.note(f"{part.value}: another transaction took its nonce {nonce}; once more")
            return False
        if nonce > self.sender.nonce("pending"):
            raise Refused(
                f"{self.file.path.name} has this account's transaction {nonce}, and this chain "
                f"expects {self.sender.nonce('pending')}: it is the record of another chain with "
                "the same id; begin anew with --fresh"
            )
        return True

    def confirm(self, part: Part, data: bytes) -> Done:
        """
        Wait for the blocks upon a contract's own, and look at what stands there.

        @param data: Its creation: should a reorganisation take its block, it is sent again.
        @raise Refused: It is not the code that was sent.
        """
        creation = self.record.creations[part.value]
        call = Call(label=part.value, to=None, data=data)
        done = self.sender.follow(call, creation.attempts, store=self._store(part))
        if not same_code(part.artifact, self.session.code(creation.address)):
            raise Refused(
                f"{part.value}: at {checksum(creation.address)} stands other code than was sent"
            )
        return done

    def complete(self) -> None:
        """All is confirmed and checked."""
        self._write(evolve(self.record, complete=True))

    def _write(self, record: Record) -> None:
        self.file.write(record)
        self.record = record


def begin(
    found: Record | None,
    wanted: Record,
    *,
    file: RecordFile,
    resume: bool | None,
    yes: bool,
    out: Output,
) -> Record:
    """
    The record to work by: the one that was found, or a new one.

    @param found: What the file holds.
    @param resume: C{--resume}, C{--fresh}, or neither: then a person is asked.
    @param yes: C{--yes}: nobody is asked, and it is resumed.
    @raise Refused: What was found is another undertaking, or nobody is there to decide.
    """
    if resume is False:
        aside = file.set_aside()
        if aside is not None:
            out.note(f"the earlier record is kept as {aside.name}")
        return wanted
    if found is None:
        if resume is True:
            raise Refused(f"there is no record {file.path.name} to resume from")
        return wanted
    require_same(found, wanted, file)
    if found.complete:
        return found
    if found.build != wanted.build:
        raise Refused(
            f"{file.path.name} was begun with another build of the contracts: finish it with that "
            "version, or begin anew with --fresh"
        )
    if resume is None:
        out.ask(
            f"{file.path.name} is of {wanted.purpose} that was not finished. Resume it?",
            yes=yes,
            hint="say --resume to go on with it, or --fresh to begin anew",
        )
    return found


def require_same(found: Record, wanted: Record, file: RecordFile) -> None:
    """
    @raise Refused: A record is of another undertaking than the one that is wanted.
    """
    name = file.path.name
    for what, here, asked in (
        ("purpose", found.purpose, wanted.purpose),
        ("chain", str(found.chain_id), str(wanted.chain_id)),
        ("account", checksum(found.sender), checksum(wanted.sender)),
        *((key, found.about.get(key, "none"), value) for key, value in wanted.about.items()),
    ):
        if here != asked:
            raise Refused(
                f"{name} has the {what} {here}, and {asked} was asked for: name another file with "
                "--record, or begin anew with --fresh"
            )
