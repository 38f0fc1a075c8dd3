"""
What anybody may know of this provider: prices, and who else there is.

Tests: C{tests.web.test_info}.
"""

from __future__ import annotations

from typing import Any

from attrs import field, frozen

from sandbox_billing.errors import Refused
from sandbox_billing.interfaces import IDoors, IHistory, NotReady
from sandbox_billing.ledger.account import ServiceRecord
from sandbox_billing.ledger.hold import hold_for
from sandbox_billing.ledger.rating import Prices, card_in_force, rate_of
from sandbox_billing.ledger.resources import Resources
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web._router import Asked
from sandbox_billing.web.account import NO_MIRROR
from sandbox_billing.web.answers import Answer
from sandbox_billing.web.terms import Terms


NO_PRICE = "this provider has no price yet"

_SMALLEST = Resources(cpu=1, memory_gib=1)


def _provider(record: ServiceRecord) -> dict[str, Any]:
    prices = record.prices
    return {
        "address": checksum(record.provider),
        "url": record.url,
        "tee_signer": checksum(record.signer),
        "price_per_cpu_per_min": str(prices.per_cpu_per_minute),
        # Rounded down, for display: charges are rated by the minute (B19).
        "price_per_cpu_per_sec": str(prices.per_cpu_per_minute // 60),
        "price_per_mem_gb_per_min": str(prices.per_memory_gib_per_minute),
        "price_per_mem_gb_per_sec": str(prices.per_memory_gib_per_minute // 60),
        "create_fee": str(prices.create_fee),
        "signer_version": record.signer_version,
    }


@frozen(kw_only=True)
class Info:
    """
    Prices and providers.
    """

    doors: IDoors = field(validator=provides(IDoors))
    history: IHistory = field(validator=provides(IHistory))
    terms: Terms

    async def info(self, asked: Asked) -> Answer:
        """The prices in force, and where to reach contract and chain."""
        mirror = await self.doors.mirror()
        if mirror is None:
            raise NotReady(NO_MIRROR)
        service, terms = mirror.value.service, self.terms
        card = card_in_force(
            Prices() if service is None else service.prices,
            terms.environment,
            0 if service is None else service.signer_version,
        )
        prices = card.prices
        try:
            rate = rate_of(card, _SMALLEST)
        except Refused as problem:
            raise NotReady(NO_PRICE) from problem
        least = hold_for(
            rate,
            prices.create_fee,
            interval=terms.voucher_interval_seconds,
            stop_delay=terms.stop_delay_seconds,
        )
        document = {
            "contract_address": checksum(terms.contract),
            "provider_address": checksum(terms.provider),
            "chain_id": terms.chain_id,
            "rpc_url": terms.public_rpc_url,
            "create_fee": str(prices.create_fee),
            "compute_price_per_sec": str(prices.flat_per_second),
            "price_per_cpu_per_min": str(prices.per_cpu_per_minute),
            "price_per_mem_gb_per_min": str(prices.per_memory_gib_per_minute),
            "voucher_interval_sec": terms.voucher_interval_seconds,
            "min_balance": str(least),
            "ssh_gateway_host": terms.ssh_gateway_host,
        }
        return Answer(document=document)

    async def providers(self, asked: Asked) -> Answer:
        """Everybody who ever registered with this contract."""
        return Answer(document=[_provider(one) for one in await self.history.providers()])
