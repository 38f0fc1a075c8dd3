"""
C{sandbox-billing deploy}: implementation, beacon and proxy, once.

Tests: L{tests.cli.test_deploy}.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from sandbox_billing.cli.amounts import both
from sandbox_billing.cli.creating import Creator, begin, require_same
from sandbox_billing.cli.keys import KeySource, Role, key_options
from sandbox_billing.cli.options import (
    AMOUNT,
    ChainOptions,
    SendingOptions,
    chain_options,
    sending_options,
)
from sandbox_billing.cli.output import Output, output_options
from sandbox_billing.cli.record import Record, RecordFile
from sandbox_billing.cli.sending import Sender
from sandbox_billing.cli.session import Session, connect
from sandbox_billing.cli.stack import (
    BEACON_SLOT,
    PART_GAS,
    ROUGH_GAS,
    Part,
    Stack,
    build_id,
    created_address,
)
from sandbox_billing.cli.transaction import Call, Done
from sandbox_billing.errors import Refused
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum


@click.command()
@output_options
@chain_options(contract=False)
@key_options(Role.OWNER)
@sending_options
@click.option("--stake", type=AMOUNT, required=True, help="What a new provider has to stake.")
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to keep the record.  [default: deployment-<chain id>.json]",
)
@click.option(
    "--resume/--fresh",
    "resume",
    default=None,
    help="Go on with an unfinished record, or put it aside and begin anew.",
)
def deploy(
    out: Output,
    chain: ChainOptions,
    key: KeySource,
    sending: SendingOptions,
    stake: int,
    record: Path | None,
    resume: bool | None,
) -> None:
    """
    Deploy implementation, beacon and proxy.

    The key's account comes to own beacon and contract. Each transaction is written into the
    record before it is sent: killed anywhere, the same command goes on from there.
    """
    session = connect(chain)
    sender = Sender(session, key.load(), sending, out)
    stack = Stack(owner=sender.address, stake=stake)
    file = RecordFile(Path(record or f"deployment-{chain.chain_id}.json").absolute())
    wanted = Record(
        purpose="deploy",
        chain_id=chain.chain_id,
        sender=sender.address,
        about={"stake": str(stake)},
        build=build_id(),
    )
    if sending.dry_run:
        rehearse(session, sender, stack, wanted, file, fresh=resume is False, out=out)
        return
    with file.locked():
        work = begin(file.read(), wanted, file=file, resume=resume, yes=sending.yes, out=out)
        if work.complete:
            require_there(session, work, file)
            report(out, work, file, [])
            return
        creator = Creator(session=session, sender=sender, out=out, file=file, record=work)
        if not work.creations:
            ask(session, sender, sending, out)
        done = carry_out(creator, stack)
        report(out, creator.record, file, done)


def rehearse(
    session: Session,
    sender: Sender,
    stack: Stack,
    wanted: Record,
    file: RecordFile,
    *,
    fresh: bool,
    out: Output,
) -> None:
    """C{--dry-run}: what the same command would do without it; the record stays as it is."""
    found = None if fresh else file.read()
    if found is not None:
        require_same(found, wanted, file)
        if found.complete:
            require_there(session, found, file)
            report(out, found, file, [])
            return
        out.note(f"{file.path.name} is unfinished: what it has mined would not be sent again")
    sender.show(planned(stack, sender.nonce("pending")))


def planned(stack: Stack, nonce: int) -> list[Call]:
    """What would be sent by an account with this nonce."""
    calls = []
    for step, part in enumerate(Part):
        data, bound = stack.creation(part), PART_GAS[part]
        calls.append(Call(label=part.value, to=None, data=data, bound=bound))
        stack = stack.placed(part, created_address(stack.owner, nonce + step))
    return calls


def ask(session: Session, sender: Sender, sending: SendingOptions, out: Output) -> None:
    """
    Before the first transaction: is there money for all of them, and is it wanted?

    @raise Refused: There is not, or it is not.
    """
    cost = ROUGH_GAS * sender.fees().cap
    funds = session.balance(sender.address)
    who = checksum(sender.address)
    if funds < cost:
        raise Refused(
            f"deploying costs up to {both(cost)}, and {who} has {both(funds)}: send it some"
        )
    out.ask(
        f"Deploy three contracts on chain {session.chain_id} from {who}, for at most {both(cost)}?",
        yes=sending.yes,
    )


def carry_out(creator: Creator, stack: Stack) -> list[Done]:
    """All three, confirmed and checked."""
    for part in Part:
        stack = stack.placed(part, creator.create(part, stack.creation(part)))
    done = [creator.confirm(part, stack.creation(part)) for part in Part]
    check(creator.session, creator.record, stack)
    creator.complete()
    return done


def check(session: Session, record: Record, stack: Stack) -> None:
    """
    What stands on chain is wired as it was meant.

    @raise Refused: It is not.
    """
    implementation, beacon, proxy = (record.creations[part.value].address for part in Part)
    session.require_serving(proxy)
    slot = Address.from_bytes(session.storage(proxy, BEACON_SLOT)[12:])
    (named,) = session.view("UpgradeableBeacon", beacon, "implementation")
    (beacon_owner,) = session.view("UpgradeableBeacon", beacon, "owner")
    (owner,) = session.serving(proxy, "owner")
    (stake,) = session.serving(proxy, "providerStake")
    for what, found, meant in (
        ("the proxy's beacon", slot, beacon),
        ("the beacon's implementation", Address(named), implementation),
        ("the beacon's owner", Address(beacon_owner), stack.owner),
        ("the contract's owner", Address(owner), stack.owner),
        ("the stake", stake, stack.stake),
    ):
        if found != meant:
            raise Refused(f"{what} is {found} on chain and should be {meant}: do not use it")


def require_there(session: Session, record: Record, file: RecordFile) -> None:
    """
    @raise Refused: What the record says was deployed is not on this chain.
    """
    for part in Part:
        address = record.creations[part.value].address
        if not session.code(address):
            raise Refused(
                f"{file.path.name} says that {part.value} stands at {checksum(address)}, and this "
                "chain has nothing there: it is the record of another chain with the same id; "
                "begin anew with --fresh"
            )


def report(out: Output, record: Record, file: RecordFile, done: Sequence[Done]) -> None:
    """The three addresses, and what they cost."""
    addresses = {part.value: checksum(record.creations[part.value].address) for part in Part}
    cost = sum(one.cost for one in done)
    rows = [*addresses.items(), ("owner", checksum(record.sender))]
    rows.append(("stake", both(int(record.about["stake"]))))
    if done:
        rows.append(("gas", f"{sum(one.gas_used for one in done)}, {both(cost)}"))
    rows.append(("record", str(file.path.name)))
    out.finish(
        {
            "chain_id": record.chain_id,
            **addresses,
            "owner": checksum(record.sender),
            "stake": record.about["stake"],
            "record": str(file.path),
            "nothing_to_do": not done,
            "transactions": [one.document() for one in done],
        },
        title="Deployed" if done else "Nothing to do: deployed already",
        rows=rows,
    )
