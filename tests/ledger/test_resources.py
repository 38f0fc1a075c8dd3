"""What a sandbox is allotted, read from Daytona's JSON."""

from __future__ import annotations

from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.resources import DAYTONA_DEFAULT, Resources, read_resources
from tests.strategies import resources


class ReadResourcesTests(SynchronousTestCase):
    """Four quantities, or a refusal."""

    @given(resources(gpus=4))
    def test_both_spellings(self, size: Resources) -> None:
        """A sandbox says memory and a snapshot mem; both say the same."""
        document = {"cpu": size.cpu, "disk": size.disk_gib, "gpu": size.gpu}
        self.assertEqual(size, read_resources({**document, "memory": size.memory_gib}))
        self.assertEqual(size, read_resources({**document, "mem": size.memory_gib}))

    @given(resources(gpus=4))
    def test_whole_float(self, size: Resources) -> None:
        """JSON has one kind of number: 2.0 is 2."""
        document = {"cpu": 1.0 * size.cpu, "memory": 1.0 * size.memory_gib}
        document |= {"disk": 1.0 * size.disk_gib, "gpu": 1.0 * size.gpu}
        self.assertEqual(size, read_resources(document))

    def test_omitted(self) -> None:
        """Absent, null and 0 stand for the default, as they do for Daytona."""
        empty: list[dict[str, object]] = [{}, {"cpu": None, "mem": None}, {"cpu": 0, "disk": 0.0}]
        for document in empty:
            with self.subTest(document=document):
                self.assertEqual(DAYTONA_DEFAULT, read_resources(document))
        self.assertEqual(Resources(cpu=1, memory_gib=1, disk_gib=3), DAYTONA_DEFAULT)

    def test_default(self) -> None:
        """Another default, a snapshot's, stands in for each omitted one alone."""
        snapshot = Resources(cpu=4, memory_gib=8, disk_gib=9)
        self.assertEqual(
            Resources(cpu=2, memory_gib=8, disk_gib=9), read_resources({"cpu": 2}, snapshot)
        )

    def test_bad(self) -> None:
        """A quantity is a whole number and never negative (P9: no size without a price)."""
        for name in ("cpu", "memory", "mem", "disk", "gpu"):
            for bad in (-1, 1.5, "1", True, [1], float("nan"), float("inf")):
                with self.subTest(name=name, bad=bad):
                    self.assertRaises(BadInput, read_resources, {name: bad})

    def test_validators(self) -> None:
        """The value itself refuses what no size can be."""
        Resources(cpu=0, memory_gib=0, disk_gib=0, gpu=0)
        self.assertRaises(ValueError, Resources, cpu=-1)
        self.assertRaises(TypeError, Resources, memory_gib=1.0)
