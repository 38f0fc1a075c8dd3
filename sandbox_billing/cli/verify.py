"""
C{sandbox-billing verify}: the sources of implementation, beacon and proxy on an explorer.

Tests: L{tests.cli.test_verify}.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import click
from attrs import define, field, frozen

from sandbox_billing.adapters.chain.node import octets
from sandbox_billing.cli.explorer import Explorer, RateLimited, Verdict, verdict
from sandbox_billing.cli.options import ADDRESS, ChainOptions, chain_options
from sandbox_billing.cli.output import Output, Progress, output_options
from sandbox_billing.cli.record import Record, RecordFile
from sandbox_billing.cli.session import Pace, Session, connect
from sandbox_billing.cli.stack import Part, same_code
from sandbox_billing.cli.upgrade import discover
from sandbox_billing.errors import BadInput, Refused, Transient, UnknownOutcome
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum


EXPLORERS: Mapping[int, str] = {16602: "https://chainscan-galileo.0g.ai/open/api"}
"""Of the chains we know (wire.md §3)."""

KEY = "EXPLORER_API_KEY"

LEFT_ALONE = "another build, left alone"

_POLL_SECONDS = 1.0

_LONGEST_SECONDS = 30.0
"""Between two questions to an explorer that wants to be asked less often."""

_T = TypeVar("_T")


@frozen(kw_only=True)
class Subject:
    """
    One contract to be verified.

    @ivar arguments: Its constructor's, as they stood behind the code in its creation.
    """

    part: Part
    address: Address
    arguments: bytes

    def fields(self) -> dict[str, str]:
        """What C{verifysourcecode} wants, in Etherscan's spelling."""
        artifact = self.part.artifact
        return {
            "contractaddress": checksum(self.address),
            "sourceCode": json.dumps(artifact.standard_input),
            "codeformat": "solidity-standard-json-input",
            "contractname": f"{artifact.source_name}:{artifact.name}",
            "compilerversion": artifact.compiler_version,
            # Misspelt by Etherscan, and so by everybody after it.
            "constructorArguements": self.arguments.hex(),
        }


@frozen(kw_only=True)
class Plan:
    """
    @ivar subjects: What is of this program's build.
    @ivar left_alone: What is not, as after an upgrade across two versions of the compiler.
    """

    subjects: tuple[Subject, ...]
    left_alone: Mapping[Part, Address]

    def document(self) -> dict[str, dict[str, str]]:
        """What is not posted, for C{--json}."""
        return {
            part.value: {"address": checksum(address), "status": LEFT_ALONE}
            for part, address in self.left_alone.items()
        }


@define
class Waits:
    """
    How long until the next question: longer each time that an explorer wants to be left alone.
    """

    pace: Pace
    _seconds: float = field(default=_POLL_SECONDS, init=False)

    def usual(self) -> None:
        """Between two answers."""
        self._seconds = _POLL_SECONDS
        self.pace.sleep(_POLL_SECONDS)

    def longer(self, asked: float | None) -> None:
        """
        @param asked: Seconds, where the explorer says how many.
        """
        self._seconds = min(self._seconds * 2, _LONGEST_SECONDS)
        self.pace.sleep(max(self._seconds, min(asked or 0.0, _LONGEST_SECONDS)))


@click.command()
@output_options
@chain_options(contract=False)
@click.option("--proxy", type=ADDRESS, help="The contract that users know. [default: the record's]")
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The deployment's record.  [default: deployment-<chain id>.json]",
)
@click.option(
    "--api",
    metavar="URL",
    envvar="EXPLORER_API",
    help="The explorer's API, Etherscan-compatible; 0G Galileo's is known. [env: EXPLORER_API]",
)
@click.option(
    "--timeout",
    "timeout_seconds",
    type=click.IntRange(min=1),
    default=300,
    show_default=True,
    help="Seconds for each contract.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be posted, without the sources.")
def verify(
    out: Output,
    chain: ChainOptions,
    proxy: Address | None,
    record: Path | None,
    api: str | None,
    timeout_seconds: int,
    dry_run: bool,
) -> None:
    """
    Publish the sources of implementation, beacon and proxy.

    What is of another build than this program's is left alone: the version that deployed it can
    verify it. An explorer that wants an API key gets the one in EXPLORER_API_KEY.
    """
    url = api or EXPLORERS.get(chain.chain_id)
    if url is None:
        raise BadInput(f"no explorer of chain {chain.chain_id} is known: name its API with --api")
    session = connect(chain)
    explorer = Explorer(
        url=url, key=os.environ.get(KEY), chain_id=chain.chain_id, pace=session.pace
    )
    file = RecordFile(Path(record or f"deployment-{chain.chain_id}.json").absolute())
    found = file.read()
    if record is not None and found is None:
        raise BadInput(f"--record: there is no {record.name}")
    with out.progress() as progress:
        plan = discover_plan(session, explorer, proxy, found, timeout_seconds, progress)
    if dry_run:
        show(out, explorer, plan)
        return
    verdicts: dict[Part, Verdict] = {}
    with out.progress() as progress:
        for subject in plan.subjects:
            verdicts[subject.part] = carry_out(explorer, subject, timeout_seconds, progress)
    report(out, explorer, plan, verdicts)


# -- what there is


def discover_plan(
    session: Session,
    explorer: Explorer,
    proxy: Address | None,
    record: Record | None,
    timeout_seconds: int,
    progress: Progress,
) -> Plan:
    """
    The three contracts as they stand now, each with its constructor's arguments.

    @raise Refused: None is this build's, or nobody knows how one was created.
    """
    if proxy is None:
        if record is None or Part.PROXY.value not in record.creations:
            raise BadInput("name the contract by --proxy, or its deployment by --record")
        proxy = record.creations[Part.PROXY.value].address
    stack = discover(session, proxy, None)
    subjects: list[Subject] = []
    left_alone: dict[Part, Address] = {}
    for part, address in (
        (Part.IMPLEMENTATION, stack.implementation),
        (Part.BEACON, stack.beacon),
        (Part.PROXY, proxy),
    ):
        arguments: bytes | None = None
        if same_code(part.artifact, session.code(address)):
            # The implementation's constructor has none.
            arguments = b""
            if part is not Part.IMPLEMENTATION:
                hashes = creation_hashes(explorer, record, part, address, timeout_seconds, progress)
                arguments = creation_arguments(session, hashes, part, address)
        if arguments is None:
            left_alone[part] = address
        else:
            subjects.append(Subject(part=part, address=address, arguments=arguments))
    if not subjects:
        raise Refused(
            f"what stands at {checksum(proxy)} is in all parts another build than this program's: "
            "verify it with the version that deployed it"
        )
    return Plan(subjects=tuple(subjects), left_alone=left_alone)


def creation_arguments(
    session: Session, hashes: list[str], part: Part, address: Address
) -> bytes | None:
    """
    What stood behind the code in the transaction that created a contract.

    @param hashes: Of the transactions that may have.
    @return: None if it was created by other code.
    @raise Refused: None of them is found.
    """
    for hashed in hashes:
        found = session.call("eth_getTransactionByHash", hashed)
        if found is None:
            continue
        data = octets(found["input"], "input")
        code = bytes.fromhex(part.artifact.bytecode[2:])
        return data[len(code) :] if data.startswith(code) else None
    raise Refused(
        f"nobody knows which transaction created the {part.value} {checksum(address)}: name the "
        "deployment's record with --record"
    )


def creation_hashes(
    explorer: Explorer,
    record: Record | None,
    part: Part,
    address: Address,
    timeout_seconds: int,
    progress: Progress,
) -> list[str]:
    """Of the transactions that may have created a contract: the record's, else the explorer's."""
    creation = None if record is None else record.creations.get(part.value)
    if creation is not None and creation.address == address:
        return [attempt.hash for attempt in creation.attempts]
    told = patiently(
        explorer.pace,
        lambda: explorer.creation(checksum(address)),
        timeout_seconds,
        lambda problem: progress.say(f"{part.value}: {problem}; asking less often"),
    )
    return [] if told is None else [told]


def patiently(
    pace: Pace,
    ask: Callable[[], _T],
    timeout_seconds: int,
    say: Callable[[RateLimited], None],
) -> _T:
    """
    Ask one question until the explorer does not mind.

    @raise RateLimited: It minds for too long.
    """
    deadline = pace.seconds() + timeout_seconds
    waits = Waits(pace)
    while True:
        try:
            return ask()
        except RateLimited as problem:
            if pace.seconds() > deadline:
                raise
            say(problem)
            waits.longer(problem.seconds)


# -- what is done


def carry_out(
    explorer: Explorer, subject: Subject, timeout_seconds: int, progress: Progress
) -> Verdict:
    """
    Submit one contract and wait for the verdict.

    @return: Verified, or already verified.
    @raise Refused: It failed; with the explorer's words.
    @raise UnknownOutcome: The explorer did not come to an end in time.
    """
    pace = explorer.pace
    deadline = pace.seconds() + timeout_seconds
    waits = Waits(pace)
    guid: str | None = None
    name = subject.part.value
    while True:
        minded: RateLimited | None = None
        try:
            reply = explorer.submit(subject.fields()) if guid is None else explorer.status(guid)
        except RateLimited as problem:
            minded = problem
            progress.say(f"{name}: {problem}; asking less often")
        except Transient as problem:
            if guid is None:
                raise
            progress.say(f"{name}: {problem}; still asking")
        else:
            if guid is None and reply.ok:
                guid = reply.words
                progress.say(f"{name}: submitted")
                continue
            match verdict(reply.words):
                case (Verdict.VERIFIED | Verdict.ALREADY) as end:
                    progress.say(f"{name}: {end.value}")
                    return end
                case Verdict.FAILED:
                    raise Refused(
                        f"{name} {checksum(subject.address)}: {explorer.label} says: {reply.words}"
                    )
                case waiting:
                    progress.say(f"{name}: {waiting.value}")
        if pace.seconds() > deadline:
            raise UnknownOutcome(
                f"{name}: {explorer.label} has not come to an end in {timeout_seconds} s: run this "
                "again later, what is verified then is left alone"
            )
        if minded is None:
            waits.usual()
        else:
            waits.longer(minded.seconds)


def show(out: Output, explorer: Explorer, plan: Plan) -> None:
    """What would be posted."""
    posts = []
    rows: list[tuple[str, str]] = []
    for subject in plan.subjects:
        fields = subject.fields()
        fields["sourceCode"] = f"({len(fields['sourceCode'])} characters)"
        posts.append(fields)
        rows.append((subject.part.value, fields["contractaddress"]))
        rows += [(f"  {name}", text) for name, text in fields.items() if name != "contractaddress"]
    left = plan.document()
    rows += [(name, f"{one['address']}: {one['status']}") for name, one in left.items()]
    out.finish(
        {"dry_run": True, "explorer": explorer.label, "posts": posts, "left_alone": left},
        title=f"Dry run: nothing was posted to {explorer.label}",
        rows=rows,
    )


def report(out: Output, explorer: Explorer, plan: Plan, verdicts: Mapping[Part, Verdict]) -> None:
    """Each contract's verdict."""
    contracts = {
        subject.part.value: {
            "address": checksum(subject.address),
            "status": verdicts[subject.part].value,
            "constructor_arguments": "0x" + subject.arguments.hex(),
        }
        for subject in plan.subjects
    } | plan.document()
    out.finish_table(
        {"explorer": explorer.label, "contracts": contracts},
        title=f"Verified on {explorer.label}",
        columns=("contract", "address", "status"),
        rows=[(name, one["address"], one["status"]) for name, one in contracts.items()],
    )
