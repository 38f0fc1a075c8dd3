"""
The one vocabulary of the log: what a field is called, what form it has, what it means.

Every call of a logger in this package names its values by these words and no others, so
that one search by a wallet, a sandbox or a request finds everything about it.  The table of
C{docs/logs.rst} is made from this one; C{tests.test_log_fields} holds every call to it.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen


TEXT = "text"
WHOLE = "whole number"
ADDRESS = "address"
NEURON = "neuron"
TIME = "unix seconds"
HASH = "hash"

FORMS: Final = {
    TEXT: "text",
    WHOLE: "a whole number",
    ADDRESS: "text: ``0x`` and 40 digits",
    NEURON: "text: neuron, a whole number",
    TIME: "unix seconds",
    HASH: "text: ``0x`` and 64 digits",
}


@frozen
class Field:
    """
    @ivar form: One of L{FORMS}.
    @ivar meaning: The only one.
    """

    name: str
    form: str
    meaning: str


FIELDS: Final = (
    # what it was done for
    Field("request_id", TEXT, "the HTTP request that caused it; its ``X-Request-Id``"),
    Field("asker", ADDRESS, "the wallet that has proven in that request who it is"),
    Field("wallet", ADDRESS, "whose sandbox, charge, voucher or notice it is"),
    Field("sandbox", TEXT, "the sandbox, by Daytona's id"),
    Field("token", TEXT, "a session token, by its public id"),
    Field("webhook", TEXT, "a webhook, by its id"),
    Field("reference", TEXT, "an intent: what a create, start or resize was reserved under"),
    Field("order", TEXT, "what an operator asked for, by its id"),
    # money on its way
    Field("charge", TEXT, "a charge, by its id"),
    Field("batch", TEXT, "a batch of vouchers, by its id"),
    Field("nonce", WHOLE, "of a voucher, in the contract"),
    Field("transaction", HASH, "a transaction on the chain"),
    Field("account_nonce", WHOLE, "of a transaction of the gas account"),
    Field("block", WHOLE, "a block's number"),
    Field("amount", NEURON, "what a charge comes to"),
    Field("rate", NEURON, "what a minute costs"),
    Field("fee", NEURON, "what a create costs"),
    Field("fees", NEURON, "all that was settled so far"),
    Field("spent", NEURON, "all that was spent for gas so far"),
    Field("lost", NEURON, "what a wallet lost by a flaw of the contract"),
    Field("credit", NEURON, "what was taken of a wallet too much, by a flaw of the contract"),
    Field("gas", WHOLE, "units of gas that a transaction used"),
    Field("state", TEXT, "what state a charge is in now"),
    # who and what takes part
    Field("provider", ADDRESS, "a provider of the contract"),
    Field("signer", ADDRESS, "whose signature is on vouchers: the enclave's key"),
    Field("sender", ADDRESS, "the gas account, which sends transactions"),
    Field("implementation", ADDRESS, "the contract's code behind its proxy"),
    Field("service", TEXT, "a service of the worker, by its name"),
    Field("task", TEXT, "work that outlives its request, by its name"),
    Field("settings", TEXT, "settings, by their names"),
    Field("dependency", TEXT, "what the daemon waits for: redis, chain, daytona, key service"),
    Field("node", TEXT, "a chain node, by its host and port"),
    Field("host", TEXT, "another machine: where a webhook is, or a stream goes"),
    Field("measure", TEXT, "a metric, by its name"),
    Field("endpoint", TEXT, "where the daemon listens"),
    # HTTP
    Field("method", TEXT, "of an HTTP request"),
    Field("path", TEXT, "of an HTTP request, without its query and without what opens something"),
    Field("status", WHOLE, "of an HTTP answer, ours or Daytona's"),
    Field("peer", TEXT, "the address that a request came from, through trusted proxies"),
    Field("call", TEXT, "what Daytona, or the devnet's chain, was asked"),
    Field("milliseconds", WHOLE, "how long it took"),
    # what happened
    Field("why", TEXT, "what is wrong, or why it is so, in words"),
    Field("reason", TEXT, "as it is stored with a stop order, a debt or a dead letter"),
    Field("how", TEXT, "in what way"),
    Field("notice", TEXT, "what a wallet was told, by its kind"),
    Field("change", TEXT, "what a sweep found to be done, by its kind"),
    Field("write", TEXT, "a write to the store, in words"),
    Field("kind", TEXT, "of something stored that cannot be read"),
    Field("name", TEXT, "of something stored that cannot be read"),
    Field("count", WHOLE, "how many of what the message names"),
    Field("wallets", WHOLE, "how many wallets"),
    Field("attempt", WHOLE, "how many times it was tried"),
    Field("seconds", WHOLE, "how long: what was charged, was waited, or is left"),
    Field("at", TIME, "from when it counts"),
    Field("until", TIME, "up to when it counts"),
)

OF_CONTEXT: Final = frozenset({"request_id", "asker"})
"""Those that the observer puts on whatever a request causes."""

DECLARED: Final = {field.name: field for field in FIELDS}
