"""Running tests of the contract on another contract than ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any
from unittest import TestResult

from eth_abi import encode
from eth_utils import to_bytes
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.adapters.chain.artifacts import load
from sandbox_billing.devnet.contracts import Deployment
from tests.evm.flaws import Flaw
from tests.evm.harness import STAKE, Evm, EvmCase


def deploy(evm: Evm, codes: Mapping[str, str]) -> Deployment:
    """
    A stack of its own beside the one that L{Evm} made, and let the C{evm} speak of it.

    @param codes: Creation code, instead of the real, by the contract's name.
    """

    def create(name: str, kinds: list[str], *arguments: Any) -> Any:
        code = codes.get(name, load(name).bytecode)
        return evm.create(code + encode(kinds, arguments).hex()).address

    implementation = create("SandboxServing", [])
    beacon = create("UpgradeableBeacon", ["address", "address"], implementation, evm.owner.address)
    initialize = to_bytes(hexstr=evm.serving.encode_abi("initialize", args=[STAKE]))
    proxy = create("BeaconProxy", ["address", "bytes"], beacon, initialize)
    evm.deployment = Deployment(implementation=implementation, beacon=beacon, proxy=proxy)
    evm.serving = evm.contract("SandboxServing", proxy)
    evm.beacon = evm.contract("UpgradeableBeacon", beacon)
    return evm.deployment


class StandingCase(SynchronousTestCase):
    """Runs the ordinary tests where another contract stands."""

    _shared: tuple[Evm, Any] | None = None

    def ran(self, codes: Mapping[str, str], names: Iterable[str]) -> dict[str, TestResult]:
        """
        @param codes: As for L{deploy}.
        @param names: Tests, dotted.
        @return: What came of each.
        """
        if StandingCase._shared is None:
            fresh = Evm()
            StandingCase._shared = (fresh, fresh.snapshot())
        evm, bare = StandingCase._shared
        evm.restore(bare)
        deploy(evm, codes)
        patch = self.patch(EvmCase, "_shared", (evm, evm.snapshot()))
        results = {}
        for name in names:
            module, group, method = name.rsplit(".", 2)
            case = getattr(import_module(module), group)(method)
            results[name] = TestResult()
            case.run(results[name])
        patch.restore()
        return results

    def assert_noticed(self, flaws: Iterable[Flaw]) -> None:
        """Each flaw turns every test red that is said to notice it, by an assertion."""
        survived, odd, tried = [], [], 0
        for flaw in flaws:
            self.assertTrue(flaw.caught_by, flaw.id)
            results = self.ran({flaw.contract: flaw.bytecode}, flaw.caught_by)
            for name, result in results.items():
                tried += 1
                self.assertEqual(1, result.testsRun, name)
                if result.wasSuccessful():
                    survived.append(f"{flaw.id}: {name}")
                # The harness asserts plainly, which a result counts as an error.
                odd += [
                    f"{flaw.id}: {name}: {trouble}"
                    for _, trouble in result.errors
                    if "\nAssertionError" not in trouble
                ]
        self.assertTrue(tried)
        self.assertEqual([], survived)
        # Not a test that broke down, which would prove nothing.
        self.assertEqual([], odd)
