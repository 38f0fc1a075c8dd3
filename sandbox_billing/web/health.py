"""
Whether this process lives, and whether it can work.

Tests: C{tests.web.test_info}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from attrs import asdict, evolve, field, frozen

from sandbox_billing.interfaces import IReadiness
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web._inside import without_inside
from sandbox_billing.web._router import Asked
from sandbox_billing.web.answers import Answer


Tell: TypeAlias = Callable[[str], str]


def alive() -> Answer:
    """It answers."""
    return Answer(document={"ok": True})


def standing(readiness: IReadiness, tell: Tell = str) -> Answer:
    """
    It works, or what does not (T6).

    @param tell: What becomes of each text; on the port for users L{without_inside}: anybody
        may ask there, and the addresses of our parts are in the log.
    """
    reasons = {part: tell(why) for part, why in readiness.reasons().items()}
    notices = {part: tell(notice) for part, notice in readiness.notices().items()}
    document: dict[str, Any] = {"ready": not reasons, "reasons": reasons}
    if notices:
        document["notices"] = notices
    document["services"] = {
        name: asdict(evolve(one, trouble=None if one.trouble is None else tell(one.trouble)))
        for name, one in readiness.services().items()
    }
    document["dependencies"] = {
        name: asdict(evolve(one, reason=None if one.reason is None else tell(one.reason)))
        for name, one in readiness.dependencies().items()
    }
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
        return standing(self.readiness, without_inside)
