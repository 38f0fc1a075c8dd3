"""P3: whose a sandbox is stands in a label, and labels are the user's to write."""

from __future__ import annotations

from typing import Any

from sandbox_billing.interfaces import NotYours
from sandbox_billing.ledger.reconciliation import OWNER_LABEL
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


INTAKE = "tests.services.test_intake.EndTests."


class WebTests(TrapCase):
    """Bodies of C{PUT /labels}."""

    @noticed_by(
        "tests.web.test_sandboxes.LifecycleTests.test_labels",
        "tests.web.test_sandboxes.LifecycleTests.test_label_bodies_of_another_shape",
    )
    def test_one_level_too_high(self) -> Patches:
        """Reserved names are looked for beside C{labels}, not in it."""

        def shallow(original: Any) -> Any:
            def read(body: Any) -> Any:
                body.pop(OWNER_LABEL, None)
                return body.get("labels") or {}

            return read

        return Patch("sandbox_billing.web.sandboxes.read_labels", shallow)


class DaemonTests(TrapCase):
    """Whose it is."""

    @noticed_by(INTAKE + "test_owner_by_our_record")
    def test_by_its_label(self) -> Patches:
        """Whoever stands in the label owns it, whatever our own record says."""

        async def owned(lifecycle: Any, owner: Any, id_or_name: str) -> Any:
            shown = await lifecycle.runtime.get(id_or_name)
            if shown.labels.get(OWNER_LABEL, "").lower() != owner.hex:
                raise NotYours("this sandbox belongs to another wallet")
            return shown

        return Patch("sandbox_billing.services.lifecycle.Lifecycle.owned", lambda _: owned)

    @noticed_by(INTAKE + "test_labels")
    def test_replaced(self) -> Patches:
        """New labels replace all of them, ours too."""

        async def replace(intake: Any, owner: Any, id_or_name: str, labels: Any) -> Any:
            shown = await intake.owned(owner, id_or_name)
            return await intake.runtime.replace_labels(shown.id, labels)

        return Patch("sandbox_billing.services.intake.Intake._labels", lambda _: replace)
