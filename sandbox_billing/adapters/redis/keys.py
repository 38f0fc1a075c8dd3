"""
Every name under which the journal keeps something, and what is there.

wire.md, section 6, fixes those that others read.  A method's docstring begins
with the type of the key; C{names} lists them all for the documentation.
"""

from __future__ import annotations

import inspect

from attrs import frozen

from sandbox_billing.ledger.identity import Address, BatchId, ChargeId, Reference, SandboxId
from sandbox_billing.ledger.order import OrderId
from sandbox_billing.ledger.token import TokenId


@frozen
class Keys:
    """
    @ivar provider: Whose journal it is: lower case in our names.
    @ivar spelled: The same address with its checksum, for names that operators know.
    """

    provider: Address
    spelled: str

    # sandboxes and sessions

    def session(self, sandbox: SandboxId) -> str:
        """string: the open session, JSON."""
        return f"billing:compute:{sandbox}"

    def sandbox(self, sandbox: SandboxId) -> str:
        """hash: what outlives sessions: v, owner, reference, create_charged, create_forgiven (its
        fee was dropped, since it failed before it ran), charged_until, ended (which session was
        closed last), allowance (the token with a spend limit that it counted for last, JSON),
        labels (what its owner labelled it last, JSON), destroyed_at, end_wished (its owner asked
        for its end and got no answer: not for auto-resume; until its next start); expires 30
        days after the sandbox's end."""
        return f"billing:sandbox:{sandbox}"

    def runs(self, sandbox: SandboxId) -> str:
        """list: what a sandbox ran, one entry for each size and rate, oldest first, JSON, the
        newest 5,000; the one that goes on is the session's; expires with billing:sandbox."""
        return f"billing:runs:{sandbox}"

    def sessions(self) -> str:
        """set: sandboxes with an open session."""
        return f"billing:sessions:{self.provider}"

    def due(self) -> str:
        """zset: running sandboxes by the time their next period is full."""
        return f"billing:due:{self.provider}"

    def seen(self) -> str:
        """hash: sandbox to the newest observation of started, unix seconds."""
        return f"billing:seen:{self.provider}"

    def reconcile_asked(self) -> str:
        """set: sandboxes somebody wants looked at now."""
        return f"billing:reconcile-asked:{self.provider}"

    # intents

    def intent(self, reference: Reference) -> str:
        """string: an intent under way, JSON."""
        return f"billing:intent:{reference}"

    def intents(self) -> str:
        """zset: references of intents under way by age."""
        return f"billing:intents:{self.provider}"

    def intents_of(self, sandbox: SandboxId) -> str:
        """set: references of intents that name this sandbox."""
        return f"billing:intents-of:{sandbox}"

    def spent(self, reference: Reference) -> str:
        """string: what came of a reference, a sandbox or nothing (-), under which therefore
        nothing more may be reserved; expires."""
        return f"billing:spent:{reference}"

    # charges

    def charge(self, charge: ChargeId) -> str:
        """string: a charge and its state, JSON; kept, also when it is final."""
        return f"billing:charge:{charge}"

    def pending(self) -> str:
        """list: ids of charges that are not final, in arrival order."""
        return f"voucher:{self.spelled}"

    def charges(self, wallet: Address) -> str:
        """zset: a wallet's unsigned charges by the time they are ripe."""
        return f"billing:charges:{wallet}"

    def first(self, wallet: Address) -> str:
        """zset: what goes out before them: sealed charges in no batch (score 0) and debts
        (by the time they are ripe: after a second look at what left them)."""
        return f"billing:first:{wallet}"

    def usage(self, wallet: Address) -> str:
        """zset: all charges of a wallet by age."""
        return f"billing:usage:{wallet}"

    def wallets(self) -> str:
        """set: wallets that were ever charged."""
        return f"billing:wallets:{self.provider}"

    def ready(self) -> str:
        """zset: wallets with charges to settle by the time to look at them."""
        return f"billing:ready:{self.provider}"

    def dead(self) -> str:
        """zset: dead-lettered charges by the time they were."""
        return f"billing:dead:{self.provider}"

    def letters(self) -> str:
        """hash: what a human must look at beside dead-lettered charges: kind and name to what
        is wrong, JSON."""
        return f"billing:letters:{self.provider}"

    def races(self) -> str:
        """hash: charge to what a flaw of the deployed contract did to its wallet, JSON."""
        return f"billing:races:{self.provider}"

    def nonce(self, wallet: Address) -> str:
        """string: the last voucher nonce given."""
        return f"billing:nonce:{wallet}:{self.provider}"

    # batches

    def batch(self, batch: BatchId) -> str:
        """string: an unresolved batch with its attempts, JSON."""
        return f"billing:batch:{batch}"

    def batches(self) -> str:
        """zset: unresolved batches by age."""
        return f"billing:batches:{self.provider}"

    def in_flight(self) -> str:
        """hash: wallet to the batch that holds it."""
        return f"billing:inflight:{self.provider}"

    def outcome(self, batch: BatchId) -> str:
        """string: a resolved batch and the block it was resolved at, JSON; kept until it was
        looked at again, and 24 hours more."""
        return f"billing:outcome:{batch}"

    def batch_proof(self, transaction: str) -> str:
        """string: what the one signature of a settled batch was made of, JSON; kept, as its
        charges are: receipts tell it."""
        return f"billing:batch-proof:{transaction}"

    def resolved(self) -> str:
        """zset: resolved batches by the time they were, for 24 hours."""
        return f"billing:resolved:{self.provider}"

    def unchecked(self) -> str:
        """zset: resolved batches that were not looked at again yet by the block they were
        resolved at."""
        return f"billing:unchecked:{self.provider}"

    def totals(self) -> str:
        """string: how much was settled so far and what that cost, JSON."""
        return f"billing:totals:{self.provider}"

    # what operators look at

    def hours(self) -> str:
        """zset: what was settled by the hour, JSON, by when the hour began; of seven days."""
        return f"billing:hours:{self.provider}"

    def purse(self) -> str:
        """string: what the gas account held when the worker looked, JSON."""
        return f"billing:purse:{self.provider}"

    def differences(self) -> str:
        """list: in what sweeps found Daytona and the books to differ, oldest first, JSON, the
        newest 200."""
        return f"billing:differences:{self.provider}"

    # funds

    def exposure(self, wallet: Address) -> str:
        """hash: what a wallet owes that the chain does not know yet; #rev counts writes."""
        return f"billing:exposure:{wallet}"

    def account(self, wallet: Address) -> str:
        """string: the wallet's mirrored account, JSON."""
        return f"billing:account:{wallet}"

    def accounts(self) -> str:
        """set: mirrored wallets."""
        return f"billing:accounts:{self.provider}"

    def mirror(self) -> str:
        """string: the head of the chain mirror, JSON."""
        return f"billing:mirror:{self.provider}"

    def dry(self) -> str:
        """zset: wallets by the time to check their funds; 0 is now."""
        return f"billing:dry:{self.provider}"

    def blocked(self, wallet: Address) -> str:
        """string: why the wallet may not run anything."""
        return f"billing:blocked:{wallet}"

    def dry_since(self, wallet: Address) -> str:
        """string: since when the wallet's own money has ended and it is in its grace, unix
        seconds."""
        return f"billing:dry-since:{wallet}"

    def blocked_wallets(self) -> str:
        """set: blocked wallets."""
        return f"billing:blocked-wallets:{self.provider}"

    # what closes the door to everybody

    def paused(self) -> str:
        """string: why nothing new is let in, since when, and who set it, JSON."""
        return "billing:paused"

    def settled_until(self) -> str:
        """string: everything charged before, unix seconds, that could be settled is."""
        return f"billing:settled-until:{self.provider}"

    def swept_at(self) -> str:
        """string: when the last complete sweep of Daytona's list began, unix seconds."""
        return f"billing:swept-at:{self.provider}"

    def crowded(self) -> str:
        """set: wallets with too many sandboxes at Daytona, by the last complete sweep."""
        return f"billing:crowded:{self.provider}"

    # stop orders

    def stop_reason(self, sandbox: SandboxId) -> str:
        """string: why a sandbox is to be stopped."""
        return f"stop:sandbox:{sandbox}"

    def stop(self, sandbox: SandboxId) -> str:
        """hash: ordered_at, attempts; an order is this together with its reason."""
        return f"billing:stop:{sandbox}"

    def stops(self) -> str:
        """zset: sandboxes to be stopped by the time of the next attempt."""
        return f"billing:stops:{self.provider}"

    # what tokens with a spend limit cause

    def spending(self, token: TokenId) -> str:
        """hash: what a token with a spend limit has caused, and its limit; #rev counts writes;
        expires 24 hours after the last run that was started with it has ended."""
        return f"billing:spend:{token}"

    def spend_due(self) -> str:
        """zset: tokens with a spend limit by the time to look at what they cause; 0 is now."""
        return f"billing:spend-due:{self.provider}"

    # what wallets are told

    def notices(self, wallet: Address) -> str:
        """zset: what a wallet was told by number, JSON; expires 30 days after the last."""
        return f"billing:notices:{wallet}"

    def notices_told(self, wallet: Address) -> str:
        """hash: for what that was, to its number; #last is the highest; expires with it."""
        return f"billing:notices-told:{wallet}"

    def news(self) -> str:
        """zset: wallets that were told something by the time to pass it on."""
        return f"billing:news:{self.provider}"

    def webhooks(self, wallet: Address) -> str:
        """hash: a wallet's webhooks by id, JSON, secrets included, and beside each, as
        <id>:standing, how far it got; #rev counts changes."""
        return f"billing:webhooks:{wallet}"

    # what wallets decide about their own money

    def controls(self, wallet: Address) -> str:
        """string: a wallet's settings and limits, JSON."""
        return f"billing:controls:{wallet}"

    def limited(self) -> str:
        """zset: wallets with limits by the time to look at what they spend; 0 is now."""
        return f"billing:limited:{self.provider}"

    def costs(self, wallet: Address) -> str:
        """hash: sandbox to what its ended runs and its creation cost, neuron; #gone is the sum
        of deleted ones that were added up, which is done beyond 500 sandboxes."""
        return f"billing:costs:{wallet}"

    def costs_of_day(self, wallet: Address, day: str) -> str:
        """hash: what runs that have ended, or went on after midnight, and create fees cost on a
        UTC day (whole days since 1970), neuron; expires three days later."""
        return f"billing:costs-of-day:{wallet}:{day}"

    def resumable(self, wallet: Address) -> str:
        """hash: sandbox that was stopped for want of money to why and when, JSON; expires 30
        days after the last stop."""
        return f"billing:resumable:{wallet}"

    def resume_due(self) -> str:
        """zset: wallets with such sandboxes by the time to look whether they can run again."""
        return f"billing:resume-due:{self.provider}"

    def warn(self) -> str:
        """zset: wallets by the time to look whether they are to be told something; 0 is now."""
        return f"billing:warn:{self.provider}"

    def warned(self, wallet: Address) -> str:
        """string: what a wallet was told of last, JSON."""
        return f"billing:warned:{wallet}"

    def ordered(self, wallet: Address) -> str:
        """hash: sandbox to why a stop of it was ordered, until its wallet was told what became
        of that; #blocked is why the wallet was blocked, until it was told."""
        return f"billing:ordered:{wallet}"

    def leaving_told(self) -> str:
        """string: when the provider may leave, as everybody was last told, unix seconds."""
        return f"billing:leaving-told:{self.provider}"

    # history

    def events(self, wallet: Address) -> str:
        """zset: settled vouchers of a wallet by block timestamp: block, log index, JSON."""
        return f"billing:events:{wallet}"

    def providers(self) -> str:
        """hash: provider to its service record, JSON."""
        return "billing:providers"

    def audit(self) -> str:
        """list: what operators decided about money, oldest first, JSON."""
        return f"billing:audit:{self.provider}"

    def order(self, order: OrderId) -> str:
        """string: what an operator has ordered and what came of it, JSON; kept."""
        return f"billing:order:{order}"

    def orders(self) -> str:
        """list: ids of all orders of operators, oldest first."""
        return f"billing:orders:{self.provider}"

    def open_orders(self) -> str:
        """set: ids of those that have not ended."""
        return f"billing:orders-open:{self.provider}"

    def order_pieces(self, order: OrderId) -> str:
        """hash: sandbox to how far it is, JSON, of an order about many, until that ends."""
        return f"billing:order-pieces:{order}"

    # what was there before us

    def imported(self, key: str) -> str:
        """list: what the Go implementation kept under a key that was imported: entries, a hash's
        names and values by turns, or one string; kept, and deleted by hand."""
        return f"go:imported:{key}"

    # requests, lease, disk

    def request_nonce(self, wallet: Address, nonce: str) -> str:
        """string: this signed request was seen; expires."""
        return f"auth:nonce:{wallet}:{nonce}"

    def token(self, token: TokenId) -> str:
        """string: a session token without its secret, JSON; expires a day after it ends."""
        return f"auth:token:{token}"

    def tokens(self, wallet: Address) -> str:
        """hash: a wallet's session tokens and when each ends, unix seconds; #rev names the
        newest change; expires when all have ended."""
        return f"auth:tokens:{wallet}"

    def idempotency(self, wallet: Address, slot: str) -> str:
        """string: a request with an Idempotency-Key and its answer, JSON; expires a day after
        it was first asked."""
        return f"billing:idempotency:{wallet}:{slot}"

    def idempotency_slots(self, wallet: Address) -> str:
        """zset: which requests of a wallet are remembered, by when each is forgotten; expires."""
        return f"billing:idempotency:{wallet}"

    def lifecycle(self, wallet: Address) -> str:
        """zset: a wallet's creates, starts and recovers of the last hour by their time; expires."""
        return f"billing:lifecycle:{wallet}"

    def lease(self) -> str:
        """string: who is the worker; expires."""
        return f"billing:lease:{self.provider}"

    def fence(self) -> str:
        """string: the newest fencing token."""
        return f"billing:fence:{self.provider}"

    def on_disk(self) -> str:
        """string: a mark written before waiting for the disk."""
        return f"billing:on-disk:{self.provider}"

    @classmethod
    def names(cls) -> tuple[tuple[str, str, str], ...]:
        """Name with its variable parts in angle brackets, type, and what is there."""
        keys = cls(Address("0x" + "0" * 40), "<provider>")
        rows = []
        for name, method in inspect.getmembers(cls, inspect.isfunction):
            if name.startswith("_"):
                continue
            parts = list(inspect.signature(method).parameters)[1:]
            spelled = method(keys, *(f"<{part}>" for part in parts))
            kind, _, holds = " ".join((method.__doc__ or "").split()).partition(": ")
            rows.append((spelled.replace(keys.provider.hex, "<provider>"), kind, holds))
        return tuple(sorted(rows))
