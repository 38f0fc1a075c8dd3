"""
The checksummed spelling of an address.
"""

from __future__ import annotations

from eth_utils import to_checksum_address
from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.eip55 import checksum
from tests.signing.strategies import addresses


class ChecksumTests(SynchronousTestCase):
    """L{checksum}."""

    def test_eip_vectors(self) -> None:
        """The examples in EIP-55 come out as they stand there."""
        for spelt in (
            "0x52908400098527886E0F7030069857D2E4169EE7",
            "0xde709f2102306220921060314715629080e2fb77",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        ):
            self.assertEqual(checksum(Address(spelt)), spelt)

    @given(addresses())
    def test_agrees_with_eth_utils(self, address: Address) -> None:
        """Two implementations spell every address alike."""
        self.assertEqual(checksum(address), to_checksum_address(address.hex))
