"""
A wallet's own history.

Tests: C{tests.web.test_account}.
"""

from __future__ import annotations

from typing import Any

from attrs import field, frozen

from sandbox_billing.interfaces import IDoors, IHistory, NotReady
from sandbox_billing.ledger.account import Settlement
from sandbox_billing.ledger.money import UnixSeconds
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web._router import Asked
from sandbox_billing.web.answers import Answer
from sandbox_billing.web.payloads import whole


NO_MIRROR = "the chain has not been read yet"

_PAGE_SIZE = 50
_MAX_PAGE_SIZE = 200


def _event(settled: Settlement) -> dict[str, Any]:
    return {
        "user": checksum(settled.user),
        "provider": checksum(settled.provider),
        "total_fee": str(settled.fee),
        "nonce": str(settled.nonce),
        "status": settled.status,
        "tx_hash": settled.transaction,
        "block": settled.block,
        "timestamp": settled.timestamp,
    }


@frozen(kw_only=True)
class Account:
    """
    What was settled; nobody sees another wallet's.
    """

    history: IHistory = field(validator=provides(IHistory))
    doors: IDoors = field(validator=provides(IDoors))

    async def events(self, asked: Asked) -> Answer:
        """From a local index: no question of a user's becomes a scan of blocks (V2)."""
        since = whole(asked.query, "since", 0, least=0, most=10**11)
        page = whole(asked.query, "page", 0, least=0, most=10**9)
        size = whole(asked.query, "page_size", _PAGE_SIZE, least=1, most=_MAX_PAGE_SIZE)
        mirror = await self.doors.mirror()
        if mirror is None:
            raise NotReady(NO_MIRROR)
        total, settled = await self.history.settlements(
            asked.wallet, since=UnixSeconds(since), page=page, page_size=size
        )
        document = {
            "current_block": mirror.value.block.number,
            "since": since,
            "total": total,
            "page": page,
            "page_size": size,
            "events": [_event(one) for one in settled],
        }
        return Answer(document=document)
