"""
The electrician's work on webhooks: who sends them, and who looks what is to be sent.

Tests: C{tests.services.test_courier}, C{tests.adapters.test_webhook_sender}.
"""

from __future__ import annotations

from random import random
from typing import Any

from twisted.python.threadpool import ThreadPool
from twisted.web.client import BrowserLikePolicyForHTTPS

from sandbox_billing.adapters.redis.journal import Journal
from sandbox_billing.adapters.webhooks.names import (
    ASKING,
    SENDING,
    TESTING,
    TESTING_EACH,
    SystemNames,
)
from sandbox_billing.adapters.webhooks.sender import WebhookSender
from sandbox_billing.configuration import Configuration
from sandbox_billing.interfaces import IWallClock, IWebhookSender
from sandbox_billing.ledger.target import read_allowed
from sandbox_billing.services.courier import Courier


def make_sender(settings: Configuration, reactor: Any, pool: ThreadPool) -> IWebhookSender:
    """
    HTTP to where users say.

    @param pool: For names of hosts, and nothing else.
    """
    return WebhookSender(
        reactor=reactor,
        names=SystemNames(reactor, pool, SENDING).addresses,
        asked_names=SystemNames(reactor, pool, ASKING).addresses,
        tested_names=SystemNames(reactor, pool, TESTING, TESTING_EACH).addresses,
        allowed=read_allowed(settings.webhook_private_targets),
        trust=BrowserLikePolicyForHTTPS(),
    )


def make_courier(
    journal: Journal, sender: IWebhookSender | None, chain_id: int, wall: IWallClock
) -> Courier | None:
    """@return: None where nobody sends."""
    if sender is None:
        return None
    return Courier(
        notices=journal.notices,
        webhooks=journal.webhooks,
        sender=sender,
        wall=wall,
        provider=journal.store.keys.provider,
        chain_id=chain_id,
        chance=random,
    )
