"""
Whether this process lives, and whether it can work.

Tests: C{tests.web.test_info}.
"""

from __future__ import annotations

from typing import Any

from attrs import asdict, field, frozen

from sandbox_billing.interfaces import IReadiness
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web._router import Asked
from sandbox_billing.web.answers import Answer


def alive() -> Answer:
    """It answers."""
    return Answer(document={"ok": True})


def standing(readiness: IReadiness) -> Answer:
    """It works, or what does not (T6)."""
    reasons, notices = dict(readiness.reasons()), dict(readiness.notices())
    document: dict[str, Any] = {"ready": not reasons, "reasons": reasons}
    if notices:
        document["notices"] = notices
    document["services"] = {name: asdict(one) for name, one in readiness.services().items()}
    document["dependencies"] = {name: asdict(one) for name, one in readiness.dependencies().items()}
    return Answer(status=503 if reasons else 200, document=document)


@frozen(kw_only=True)
class Health:
    """
    The two probes.
    """

    readiness: IReadiness = field(validator=provides(IReadiness))

    async def alive(self, asked: Asked) -> Answer:
        """It answers."""
        return alive()

    async def ready(self, asked: Asked) -> Answer:
        """It works, or what does not (T6)."""
        return standing(self.readiness)
