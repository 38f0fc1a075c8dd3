"""
A key from the environment, for development and tests only.

Tests: C{tests.adapters.test_enclave}.
"""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen
from twisted.logger import Logger
from zope.interface import classImplements, implementer

from sandbox_billing.errors import BadInput, ConfigurationError
from sandbox_billing.interfaces import IEnclave, ISigner
from sandbox_billing.signing.key import SigningKey


# The signing room knows no interfaces.
classImplements(SigningKey, ISigner)


@implementer(IEnclave)
@frozen
class MockEnclave:
    """
    No enclave at all: whoever reads the environment has the key.

    Chosen only by C{MOCK_TEE}, and never by default.

    @ivar key: C{MOCK_APP_PRIVATE_KEY}'s.
    """

    log: ClassVar[Logger] = Logger()

    key: SigningKey

    @classmethod
    def from_hex(cls, text: str) -> MockEnclave:
        """
        @param text: C{MOCK_APP_PRIVATE_KEY}.
        @raise ConfigurationError: It is no key.  The text does not repeat it.
        """
        try:
            return cls(SigningKey.from_hex(text))
        except BadInput as problem:
            raise ConfigurationError(f"MOCK_APP_PRIVATE_KEY: {problem.text}") from None

    async def fetch_key(self) -> ISigner:
        self.log.warn(
            "The signing key {signer} comes from MOCK_APP_PRIVATE_KEY and not from an enclave: "
            "nobody should trust its vouchers",
            signer=self.key.address.hex,
        )
        return self.key
