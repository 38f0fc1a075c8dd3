"""B4: a tick works on a snapshot while a stop runs, and revives what was closed."""

from __future__ import annotations

from typing import Any

from sandbox_billing.ledger.metering import Session
from tests.traps.shared import fresh_ids, unguarded, unseen
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


METER = "tests.adapters.test_memory_ports.MemoryMeterTests."
DOORS = "tests.adapters.test_memory_ports.MemoryDoorsTests."


class DaemonTests(TrapCase):
    """Writes to one session."""

    @noticed_by(
        METER + "test_charge_what_has_changed",
        DOORS + "test_close_what_has_changed",
    )
    def test_no_version_check(self) -> Patches:
        """No write looks whether its session is still as it was read."""
        return unguarded()

    @noticed_by("tests.services.test_meter_races.RaceTests.test_stop_and_delete")
    def test_charged_twice(self) -> Patches:
        """The same, and no charge has a name of its own: a stop and a delete both charge."""
        return [unguarded(), fresh_ids()]

    @noticed_by("tests.services.test_meter_races.RaceTests.test_stop_during_a_tick")
    def test_revived(self) -> Patches:
        """The same, and a tick of what was just stopped brings the closed meter back."""
        return [unguarded(), fresh_ids(), *unseen()]

    @noticed_by("tests.ledger.test_codec.RefusalTests.test_no_owner")
    def test_ghost(self) -> Patches:
        """A meter that lacks its owner is read as one of wallet 0x0."""

        def lenient(original: Any) -> Any:
            def reader(hint: Any) -> Any:
                if hint is not Session:
                    return original(hint)
                return lambda form: original(hint)({"owner": "0x" + "00" * 20, **form})

            return reader

        return Patch("sandbox_billing.ledger._codec._reader", lenient)
