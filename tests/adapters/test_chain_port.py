"""
Tests of C{sandbox_billing.adapters.chain.adapter}: the port's suite, on the real contract.
"""

from __future__ import annotations

from tests.ports.chain import chain_suite


class Web3ChainTests(chain_suite(lambda case: case.adapter())):  # type: ignore[misc]
    """One node that takes batches and block hashes."""
