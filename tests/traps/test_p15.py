"""P15: an outage looks like theft."""

from __future__ import annotations

from typing import Any

from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import NotYours
from sandbox_billing.web.answers import Answer
from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


class DaemonTests(TrapCase):
    """The owner check."""

    @noticed_by("tests.services.test_intake.EndTests.test_upstream_trouble")
    def test_any_error(self) -> Patches:
        """Where Daytona does not answer, it is another's."""

        def rash(original: Any) -> Any:
            async def owned(lifecycle: Any, owner: Any, id_or_name: str) -> Any:
                try:
                    return await original(lifecycle, owner, id_or_name)
                except Transient:
                    raise NotYours("this sandbox belongs to another wallet") from None

            return owned

        return Patch("sandbox_billing.services.lifecycle.Lifecycle.owned", rash)


class WebTests(TrapCase):
    """What a client is told."""

    @noticed_by("tests.web.test_sandboxes.FailureTests.test_each_family")
    def test_told(self) -> Patches:
        """Daytona's trouble is the client's fault."""

        def rash(original: Any) -> Any:
            def refusal(error: Exception) -> Any:
                answer = original(error)
                if answer is None or answer.status != 502:
                    return answer
                return Answer(status=403, document=answer.document)

            return refusal

        return Patch("sandbox_billing.web._router.refusal", rash)
