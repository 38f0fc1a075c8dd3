"""What a sandbox has been allotted: the quantities that are priced, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen
from attrs.validators import ge, instance_of

from sandbox_billing.errors import BadInput


def _count(default: int) -> int:
    value: int = field(default=default, validator=[instance_of(int), ge(0)])
    return value


@frozen(kw_only=True)
class Resources:
    """
    @ivar cpu: Cores.
    @ivar memory_gib: Memory in GiB (C{memory} of a sandbox, C{mem} of a snapshot).
    @ivar disk_gib: Disk in GiB.
    @ivar gpu: Graphics processors; refused until they have a price.
    """

    cpu: int = _count(1)
    memory_gib: int = _count(1)
    disk_gib: int = _count(3)
    gpu: int = _count(0)


DAYTONA_DEFAULT = Resources()
"""What Daytona allots when nothing is asked for (daytona.md, section 14)."""


def read_resources(document: Mapping[str, Any], default: Resources = DAYTONA_DEFAULT) -> Resources:
    """
    Read the four quantities from Daytona's JSON: a Sandbox, a snapshot, or a create body.

    @param document: Absent, null and 0 count as omitted for cpu, memory and disk, as
        they do for Daytona.
    @param default: What stands in for omitted ones.
    @raise BadInput: A quantity is no whole number, or negative.
    """

    def quantity(names: tuple[str, ...], fallback: int) -> int:
        for name in names:
            given = document.get(name)
            if given is None:
                continue
            if type(given) is float and given.is_integer():
                given = int(given)
            if type(given) is not int or given < 0:
                raise BadInput(f"{name} must be a whole number, not {given!r}")
            return given or fallback
        return fallback

    return Resources(
        cpu=quantity(("cpu",), default.cpu),
        memory_gib=quantity(("memory", "mem"), default.memory_gib),
        disk_gib=quantity(("disk",), default.disk_gib),
        gpu=quantity(("gpu",), default.gpu),
    )
