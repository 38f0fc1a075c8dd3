"""
Volumes: of the whole organization, without labels, to be mounted by whoever may create.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field

from sandbox_billing.devnet.daytona.dialect import ApiError
from sandbox_billing.devnet.daytona.records import ORGANIZATION, iso


@define
class Volumes:
    """
    All of them.

    @ivar wall: Unix seconds.
    @ivar new_id: For their ids.
    """

    wall: Callable[[], float]
    new_id: Callable[[], str]
    _kept: dict[str, dict[str, Any]] = field(factory=dict)

    def find(self, id_or_name: str) -> dict[str, Any]:
        """@raise ApiError: 404."""
        for volume in self._kept.values():
            if id_or_name in (volume["id"], volume["name"]):
                return volume
        raise ApiError(404, f"Volume with ID or name {id_or_name} not found")

    def listed(self) -> list[dict[str, Any]]:
        """VolumeDtos."""
        return list(self._kept.values())

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """@raise ApiError: 400, or 409 for a name that is taken."""
        id = self.new_id()
        name = body.get("name") or id
        if not isinstance(name, str):
            raise ApiError(400, "name must be a string")
        if any(name == volume["name"] for volume in self._kept.values()):
            raise ApiError(409, f"Volume with name {name} already exists")
        now = iso(self.wall())
        self._kept[id] = {
            "id": id,
            "name": name,
            "organizationId": ORGANIZATION,
            "state": "ready",
            "createdAt": now,
            "updatedAt": now,
            "lastUsedAt": None,
            "errorReason": None,
        }
        return self._kept[id]

    def delete(self, id: str) -> None:
        """@raise ApiError: 404."""
        del self._kept[self.find(id)["id"]]
