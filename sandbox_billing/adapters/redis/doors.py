"""Door facts: what a request may change, in any process."""

from __future__ import annotations

import json
from collections.abc import Mapping

from attrs import evolve, frozen
from zope.interface import implementer

from sandbox_billing.adapters.redis.commit import Read, absent, field_is, holds
from sandbox_billing.adapters.redis.controls import read_controls, read_outlay
from sandbox_billing.adapters.redis.costs import leave
from sandbox_billing.adapters.redis.draft import stored_form
from sandbox_billing.adapters.redis.records import (
    WISHED,
    end_intent,
    outlive,
    ripen_create,
    start_over,
    wish_end,
)
from sandbox_billing.adapters.redis.sessions import Sessions
from sandbox_billing.adapters.redis.spending import read_spending
from sandbox_billing.adapters.redis.store import (
    Store,
    exposure,
    mapping,
    moment,
    sandbox_record,
    stored,
    text,
    texts,
)
from sandbox_billing.interfaces import DoorState, IDoors, SandboxRecord, Stored, WalletFunds
from sandbox_billing.ledger.account import Account, Mirror
from sandbox_billing.ledger.backlog import Pause
from sandbox_billing.ledger.controls import Outlay
from sandbox_billing.ledger.hold import UNDO, Exposure, Intent, hold_field
from sandbox_billing.ledger.identity import Address, Reference, SandboxId
from sandbox_billing.ledger.metering import Session, Tick
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.spending import Spending
from sandbox_billing.ledger.token import TokenId
from sandbox_billing.ledger.voucher import Charge


@implementer(IDoors)
@frozen
class RedisDoors:
    """Holds no lease and asks for none."""

    store: Store
    _sessions: Sessions

    async def funds(self, wallet: Address) -> WalletFunds:
        return await self.store.funds(wallet)

    async def door_state(self) -> DoorState:
        keys = self.store.keys
        pause, settled_until, swept_at, crowded = await self.store.read(
            Read("GET", keys.paused()),
            Read("GET", keys.settled_until()),
            Read("GET", keys.swept_at()),
            Read("SMEMBERS", keys.crowded()),
        )
        return DoorState(
            pause=stored(Pause, pause),
            settled_until=moment(settled_until),
            swept_at=moment(swept_at),
            crowded=frozenset(texts(crowded)),
        )

    async def reserve(
        self, intent: Intent, funds: WalletFunds, *, while_paused: bool = False
    ) -> Exposure:
        keys, form = self.store.keys, stored_form(intent)
        key = keys.intent(intent.reference)
        draft = self.store.draft(f"reserve for {intent.reference}")
        # The second: whoever asked for it again was told that nothing came of it (A5).
        draft.expect(absent(key), absent(keys.spent(intent.reference)))
        account = funds.account
        draft.expect_stored(keys.account(intent.owner), None if account is None else account.raw)
        blocked = None if funds.blocked is None else funds.blocked.encode()
        draft.expect_stored(keys.blocked(intent.owner), blocked)
        since = None if funds.dry_since is None else str(funds.dry_since).encode()
        draft.expect_stored(keys.dry_since(intent.owner), since)
        if not while_paused:
            # Here, not only where it is asked: whoever sees the pause stand sees every
            # intent that was let in before it.
            draft.expect(absent(keys.paused()))
        draft.write("SET", key, form)
        draft.write("ZADD", keys.intents(), intent.created_at, intent.reference)
        if intent.sandbox is not None:
            draft.write("SADD", keys.intents_of(intent.sandbox), intent.reference)
        draft.expose(intent.owner, hold_field(intent.reference), str(intent.hold))
        draft.spend(intent.allowance, hold_field(intent.reference), str(intent.hold))
        draft.recount(intent.owner)
        done = await self.store.carry_out(
            draft.commit(
                witness=holds(key, form), reads=[Read("HGETALL", keys.exposure(intent.owner))]
            )
        )
        return exposure(mapping(done.reads[0]))

    async def release(self, intent: Intent) -> None:
        draft = self.store.draft(f"release {intent.reference}")
        end_intent(draft, intent)
        await self.store.carry_out(draft.commit())

    async def spending(self, token: TokenId) -> Spending:
        return (await read_spending(self.store, token)).spending

    async def outlay(self, wallet: Address) -> Outlay | None:
        controls = await read_controls(self.store, wallet)
        if controls is None or not controls.value.limited:
            return None
        return (await read_outlay(self.store, wallet)).outlay

    async def not_resumable(self, wallet: Address, sandbox: SandboxId) -> None:
        draft = self.store.draft(f"leave {sandbox} as it is")
        leave(draft, wallet, sandbox)
        await self.store.carry_out(draft.commit())

    async def wish_ended(self, wallet: Address, sandbox: SandboxId) -> None:
        draft = self.store.draft(f"keep that the end of {sandbox} is wished")
        # Without a record nothing was ever metered, and nothing can be remembered.
        draft.expect(field_is(self.store.keys.sandbox(sandbox), "v", 1))
        wish_end(draft, sandbox)
        leave(draft, wallet, sandbox)
        await self.store.attempt(draft.commit())

    async def wish_running(self, wallet: Address, sandbox: SandboxId) -> None:
        key = self.store.keys.sandbox(sandbox)
        draft = self.store.draft(f"keep that {sandbox} is wished to run")
        draft.expect(field_is(key, "owner", wallet.hex), field_is(key, WISHED, 1))
        start_over(draft, sandbox)
        await self.store.attempt(draft.commit())

    async def undo(self, intent: Intent, sandbox: SandboxId) -> None:
        keys = self.store.keys
        order = evolve(intent, action=UNDO, sandbox=sandbox, hold=Neuron(0))
        draft = self.store.draft(f"undo {intent.reference}")
        draft.write("SET", keys.intent(order.reference), stored_form(order))
        draft.write("ZADD", keys.intents(), order.created_at, order.reference)
        draft.write("SADD", keys.intents_of(sandbox), order.reference)
        draft.conceal(order.owner, hold_field(order.reference))
        draft.spend(order.allowance, hold_field(order.reference), None)
        await self.store.carry_out(draft.commit())

    async def intents_of(self, sandbox: SandboxId) -> tuple[Intent, ...]:
        keys = self.store.keys
        (members,) = await self.store.read(Read("SMEMBERS", keys.intents_of(sandbox)))
        named = [keys.intent(Reference(reference)) for reference in sorted(texts(members))]
        return tuple(found.value for found in await self.store.present(Intent, named))

    async def intent(self, reference: Reference) -> Intent | None:
        (form,) = await self.store.read(Read("GET", self.store.keys.intent(reference)))
        found = stored(Intent, form)
        return None if found is None else found.value

    async def open_session(
        self, intent: Intent, session: Session, create_charge: Charge | None
    ) -> Session:
        return await self._sessions.open(
            session, intent=intent, create_charge=create_charge, stop_reason=None, token=None
        )

    async def begin_session(self, session: Stored[Session], begun: Session) -> None:
        await self._sessions.begin(session, begun, None)

    async def close_session(
        self, session: Stored[Session], closing: Tick, *, destroyed: bool, forgive_create: bool
    ) -> None:
        await self._sessions.close(
            session, closing, destroyed=destroyed, forgive_create=forgive_create, token=None
        )

    async def destroyed(self, sandbox: SandboxId) -> None:
        record = await self.record(sandbox)
        if record is None:
            return
        keys = self.store.keys
        draft = self.store.draft(f"keep the record of {sandbox}")
        draft.expect(absent(keys.session(sandbox)), field_is(keys.sandbox(sandbox), "v", 1))
        now = self.store.wall.now()
        outlive(draft, sandbox, now)
        ripen_create(draft, record.owner, sandbox, now)
        leave(draft, record.owner, sandbox)
        await self.store.carry_out(draft.commit())

    async def label(self, sandbox: SandboxId, labels: Mapping[str, str]) -> None:
        key = self.store.keys.sandbox(sandbox)
        draft = self.store.draft(f"label {sandbox}")
        draft.expect(field_is(key, "v", 1))
        draft.write("HSET", key, "labels", json.dumps(dict(labels), sort_keys=True))
        # Where there is no record, nothing was ever charged.
        await self.store.attempt(draft.commit())

    async def session(self, sandbox: SandboxId) -> Stored[Session] | None:
        (reply,) = await self.store.read(Read("GET", self.store.keys.session(sandbox)))
        return stored(Session, reply)

    async def record(self, sandbox: SandboxId) -> SandboxRecord | None:
        (reply,) = await self.store.read(Read("HGETALL", self.store.keys.sandbox(sandbox)))
        return sandbox_record(sandbox, mapping(reply))

    async def seen_at(self, sandbox: SandboxId) -> UnixSeconds | None:
        (reply,) = await self.store.read(Read("HGET", self.store.keys.seen(), (sandbox,)))
        return moment(reply)

    async def stop_reason(self, sandbox: SandboxId) -> str | None:
        # A bare key set by hand is no order (wire.md, section 6): it has no index.
        keys = self.store.keys
        reason, score = await self.store.read(
            Read("GET", keys.stop_reason(sandbox)), Read("ZSCORE", keys.stops(), (sandbox,))
        )
        return None if reason is None or score is None else text(reason)

    async def mirror(self) -> Stored[Mirror] | None:
        (reply,) = await self.store.read(Read("GET", self.store.keys.mirror()))
        return stored(Mirror, reply)

    async def add_account(self, mirror: Stored[Mirror], account: Account) -> None:
        keys = self.store.keys
        key = keys.account(account.wallet)
        draft = self.store.draft(f"mirror {account.wallet}")
        draft.expect(holds(keys.mirror(), mirror.raw), absent(key))
        draft.write_accounts([account])
        nonce = keys.nonce(account.wallet)
        (given,) = await self.store.read(Read("GET", nonce))
        if given is None:
            # Seeded from the chain (wire.md, section 6): a wallet that settled before it was
            # known here is told apart from one whose nonces were lost.
            draft.expect(absent(nonce))
            draft.write("SET", nonce, account.last_nonce)
        draft.offer_again([account.wallet], self.store.wall.now())
        await self.store.carry_out(draft.commit(witness=holds(key, stored_form(account))))

    async def request_reconcile(self, sandbox: SandboxId) -> None:
        draft = self.store.draft(f"ask for {sandbox}")
        draft.write("SADD", self.store.keys.reconcile_asked(), sandbox)
        await self.store.carry_out(draft.commit())

    async def reconcile_requested(self, sandbox: SandboxId) -> bool:
        (found,) = await self.store.read(
            Read("SISMEMBER", self.store.keys.reconcile_asked(), (sandbox,))
        )
        return found == b"1"
