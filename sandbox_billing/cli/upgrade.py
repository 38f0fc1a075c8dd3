"""
C{sandbox-billing upgrade}: this version's contract behind a proxy that stands.

Everything is checked before gas is spent, for what goes wrong here costs every balance
(K15 of failures.md): whose code it is, where its storage is, who owns the beacon.

Tests: L{tests.cli.test_upgrade}.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from attrs import frozen
from eth_utils.crypto import keccak

from sandbox_billing.adapters.chain.codec import Codec
from sandbox_billing.adapters.chain.layouts import Layout, is_append, layout_of
from sandbox_billing.adapters.chain.node import NodeFailure
from sandbox_billing.cli.amounts import both
from sandbox_billing.cli.creating import Creator, begin
from sandbox_billing.cli.exits import WrongChain
from sandbox_billing.cli.keys import KeySource, Role, key_options
from sandbox_billing.cli.options import (
    ADDRESS,
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
    ROUGH_GAS,
    UPGRADE_GAS,
    Part,
    build_id,
    created_address,
)
from sandbox_billing.cli.transaction import Call, Done
from sandbox_billing.errors import BadInput, Refused, Transient
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum


BEACON = "UpgradeableBeacon"

FOREIGN = (
    "the implementation at {address} (code hash {hash}) is none of this project's: what its "
    "storage holds is not known, and another layout behind a live proxy would zero every balance. "
    "Moving from the Go contract means a new deployment: run 'deploy', and let users withdraw "
    "there and deposit here"
)


@frozen(kw_only=True)
class Found:
    """
    What stands on chain.

    @ivar proxy: None when only the beacon was named.
    """

    proxy: Address | None
    beacon: Address
    owner: Address
    implementation: Address
    code: bytes


@click.command()
@output_options
@chain_options(contract=False)
@key_options(Role.OWNER)
@sending_options
@click.option("--proxy", type=ADDRESS, help="The contract that users know.")
@click.option("--beacon", type=ADDRESS, help="Its beacon, instead of --proxy.")
@click.option(
    "--prepare",
    is_flag=True,
    help="Only deploy the implementation, with any key, and show the call for the beacon's owner.",
)
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to keep the record.  [default: upgrade-<chain id>.json]",
)
@click.option(
    "--resume/--fresh",
    "resume",
    default=None,
    help="Go on with an unfinished record, or put it aside and begin anew.",
)
def upgrade(
    out: Output,
    chain: ChainOptions,
    key: KeySource,
    sending: SendingOptions,
    proxy: Address | None,
    beacon: Address | None,
    prepare: bool,
    record: Path | None,
    resume: bool | None,
) -> None:
    """
    Put this version's contract behind a proxy; balances, nonces and registrations stay.

    Needs the key of the beacon's owner; where that is a contract, --prepare. Refuses code that is
    not this project's.
    """
    if (proxy is None) == (beacon is None):
        raise BadInput("name the contract by --proxy or by --beacon, one of them")
    session = connect(chain)
    found = discover(session, proxy, beacon)
    old = known_layout(found)
    if is_current(found):
        report(out, session, found, found.implementation, [])
        return
    require_append(old)
    sender = Sender(session, key.load(), sending, out)
    if not prepare:
        require_owner(found, sender.address)
    if sending.dry_run:
        predicted = created_address(sender.address, sender.nonce("pending"))
        calls = [creation(), upgrade_call(found, predicted)]
        sender.show(calls[:1] if prepare else calls)
        return
    file = RecordFile(Path(record or f"upgrade-{chain.chain_id}.json").absolute())
    with file.locked():
        wanted = Record(
            purpose="upgrade",
            chain_id=chain.chain_id,
            sender=sender.address,
            about={"beacon": checksum(found.beacon)},
            build=build_id(),
        )
        earlier = file.read()
        if earlier is not None and earlier.complete:
            # That upgrade is over; this is the next one.
            resume = False
        work = begin(earlier, wanted, file=file, resume=resume, yes=sending.yes, out=out)
        creator = Creator(session=session, sender=sender, out=out, file=file, record=work)
        if not work.creations:
            ask(session, sender, sending, out, found)
        implementation = creator.create(Part.IMPLEMENTATION, creation().data)
        done = [creator.confirm(Part.IMPLEMENTATION, creation().data)]
        if prepare:
            creator.complete()
            report_prepared(out, session, found, implementation, done)
            return
        done.append(sender.send(upgrade_call(found, implementation)))
        read_back(session, found, implementation)
        creator.complete()
        report(out, session, found, implementation, done)


def discover(session: Session, proxy: Address | None, beacon: Address | None) -> Found:
    """
    @raise WrongChain: There is no beacon.
    """
    if beacon is None:
        assert proxy is not None, "one of them is named"
        session.require_serving(proxy)
        beacon = Address.from_bytes(session.storage(proxy, BEACON_SLOT)[12:])
    try:
        (implementation,) = session.view(BEACON, beacon, "implementation")
        (owner,) = session.view(BEACON, beacon, "owner")
    except (Refused, Transient) as problem:
        if isinstance(problem, NodeFailure):
            raise
        raise WrongChain(f"what stands at {checksum(beacon)} is no beacon") from None
    there = Address(implementation)
    return Found(
        proxy=proxy,
        beacon=beacon,
        owner=Address(owner),
        implementation=there,
        code=session.code(there),
    )


def known_layout(found: Found) -> Layout:
    """
    @raise Refused: The code is not in the committed list of layouts.
    """
    hashed = keccak(found.code)
    layout = layout_of(hashed)
    if layout is None:
        text = FOREIGN.format(address=checksum(found.implementation), hash="0x" + hashed.hex())
        raise Refused(text)
    return layout


def _new_code() -> bytes:
    return bytes.fromhex(Part.IMPLEMENTATION.artifact.deployed_bytecode[2:])


def is_current(found: Found) -> bool:
    """Whether this version's code is behind the beacon already."""
    return found.code == _new_code()


def require_append(old: Layout) -> None:
    """
    @raise Refused: This version would not find again what the old one has stored.
    """
    new = layout_of(keccak(_new_code()))
    if new is None:
        raise Refused("this build of the contract is not in its own list of layouts: do not use it")
    if new.number < old.number:
        raise Refused(
            "the contract there is of a newer layout than this program's: use the newer program"
        )
    wrong = is_append(old.storage, new.storage)
    if wrong:
        raise Refused(
            f"this version's storage does not go on where the old one's ended: {'; '.join(wrong)}"
        )


def require_owner(found: Found, account: Address) -> None:
    """
    @raise Refused: The key is another account's.
    """
    if account != found.owner:
        raise Refused(
            f"the beacon {checksum(found.beacon)} belongs to {checksum(found.owner)}, and the key "
            f"is of {checksum(account)}: use the owner's (an offer counts once it is accepted), or "
            "--prepare what he has to send"
        )


def creation() -> Call:
    """The new implementation."""
    part = Part.IMPLEMENTATION
    return Call(label=part.value, to=None, data=bytes.fromhex(part.artifact.bytecode[2:]))


def upgrade_call(found: Found, implementation: Address) -> Call:
    """The one call that changes anything."""
    data = Codec(BEACON).calldata("upgradeTo", implementation.hex)
    return Call(label="upgradeTo", to=found.beacon, data=data, bound=UPGRADE_GAS)


def ask(
    session: Session, sender: Sender, sending: SendingOptions, out: Output, found: Found
) -> None:
    """
    @raise Refused: There is no money for it, or it is not wanted.
    """
    cost = ROUGH_GAS * sender.fees().cap
    funds = session.balance(sender.address)
    if funds < cost:
        raise Refused(
            f"upgrading costs up to {both(cost)}, and {checksum(sender.address)} has "
            f"{both(funds)}: send it some"
        )
    out.ask(
        f"Replace the code behind beacon {checksum(found.beacon)} on chain {session.chain_id}, "
        f"for at most {both(cost)}?",
        yes=sending.yes,
    )


def read_back(session: Session, found: Found, implementation: Address) -> None:
    """
    @raise Refused: The beacon names something else.
    """
    (named,) = session.view(BEACON, found.beacon, "implementation")
    if Address(named) != implementation:
        raise Refused(
            f"the beacon names {checksum(Address(named))} after the upgrade, and "
            f"{checksum(implementation)} was meant: look who else has the owner's key"
        )
    if found.proxy is not None:
        session.require_serving(found.proxy)


def report_prepared(
    out: Output, session: Session, found: Found, implementation: Address, done: list[Done]
) -> None:
    """What the owner has to send."""
    call = upgrade_call(found, implementation)
    document = {
        "chain_id": session.chain_id,
        "beacon": checksum(found.beacon),
        "owner": checksum(found.owner),
        "implementation": checksum(implementation),
        "to": checksum(found.beacon),
        "data": "0x" + call.data.hex(),
        "transactions": [one.document() for one in done],
    }
    rows = [(name, str(document[name])) for name in ("implementation", "owner", "to", "data")]
    out.finish(document, title="Prepared: the owner has yet to send this to the beacon", rows=rows)


def report(
    out: Output, session: Session, found: Found, implementation: Address, done: list[Done]
) -> None:
    """Before, after, and what it cost."""
    document: dict[str, Any] = {
        "chain_id": session.chain_id,
        "proxy": None if found.proxy is None else checksum(found.proxy),
        "beacon": checksum(found.beacon),
        "owner": checksum(found.owner),
        "old_implementation": checksum(found.implementation),
        "implementation": checksum(implementation),
        "nothing_to_do": not done,
        "transactions": [one.document() for one in done],
    }
    shown = ["proxy", "beacon", "owner", "implementation"]
    if done:
        shown.insert(3, "old_implementation")
    rows = [(name.replace("_", " "), document[name]) for name in shown if document[name]]
    if done:
        spent = sum(one.cost for one in done)
        rows.append(("gas", f"{sum(one.gas_used for one in done)}, {both(spent)}"))
    title = "Upgraded" if done else "Nothing to do: this version's code is there already"
    out.finish(document, title=title, rows=rows)
