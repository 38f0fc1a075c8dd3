"""
What Daytona tells anybody, as far as it concerns our users: snapshots, regions, config.

Each is rebuilt from fields that are named here: Daytona's own name hosts, registries and
accounts of its inside, and every release has more of them.

Tests: C{tests.web.test_catalogue}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.web._inside import image_alone
from sandbox_billing.web._kept import Kept
from sandbox_billing.web._router import Asked
from sandbox_billing.web.answers import Answer, NotServed
from sandbox_billing.web.payloads import whole
from sandbox_billing.web.policy import NO_ORGANIZATION, is_offered, toolbox_url
from sandbox_billing.web.terms import Terms


NO_SNAPSHOT = "no such snapshot"

_MAX_PAGE = 200

_SNAPSHOT = (
    *("id", "organizationId", "general", "name", "imageName", "state", "size", "entrypoint"),
    *("cpu", "gpu", "gpuType", "mem", "disk", "createdAt", "updatedAt", "lastUsedAt"),
    *("regionIds", "sandboxClass"),
)
_REGION = ("id", "name", "regionType", "createdAt", "updatedAt")
_CONFIG = (
    *("version", "defaultSnapshot", "maxAutoArchiveInterval", "maintananceMode", "environment"),
    "rateLimit",
)
_DEFAULT_CONFIG: Mapping[str, Any] = {
    "version": "",
    "defaultSnapshot": "",
    "maxAutoArchiveInterval": 0,
    "maintananceMode": False,
    "environment": "",
}

_SORTS = frozenset({"name", "state", "lastUsedAt", "createdAt"})


def snapshot_shown(snapshot: Mapping[str, Any]) -> dict[str, Any]:
    """
    A snapshot without what built it; C{errorReason}, which SDKs insist on, without its text.
    """
    kept = {name: snapshot[name] for name in _SNAPSHOT if name in snapshot}
    if "organizationId" in kept:
        kept["organizationId"] = NO_ORGANIZATION
    if isinstance(kept.get("imageName"), str):
        kept["imageName"] = image_alone(kept["imageName"])
    return {**kept, "errorReason": None}


def config_shown(config: Mapping[str, Any], terms: Terms) -> dict[str, Any]:
    """
    Daytona's configuration with us in the place of every host of its own.

    There is nobody to log in to: C{oidc} names an issuer only because SDKs insist on one.
    """
    domain, gateway = terms.proxy_domain, terms.ssh_gateway_host
    ours = {
        "proxyToolboxUrl": toolbox_url(terms.public_url),
        "proxyTemplateUrl": f"https://{{{{PORT}}}}-{{{{sandboxId}}}}.{domain}" if domain else "",
        "dashboardUrl": terms.public_url,
        "linkedAccountsEnabled": False,
        "announcements": {},
        "oidc": {"issuer": terms.public_url, "clientId": "", "audience": "", "provider": ""},
    }
    if gateway:
        ours["sshGatewayCommand"] = f"ssh -p 2222 {{{{TOKEN}}}}@{gateway}"
    return {
        **_DEFAULT_CONFIG,
        **{name: config[name] for name in _CONFIG if name in config},
        **ours,
    }


@frozen(kw_only=True)
class Catalogue:
    """
    Public routes that speak of what Daytona has.

    @ivar snapshots_kept: All snapshots of the organization.
    @ivar regions_kept: The shared ones.
    @ivar config_kept: Daytona's own.
    """

    snapshots_kept: Kept[tuple[Mapping[str, Any], ...]] = field(repr=False)
    regions_kept: Kept[tuple[Mapping[str, Any], ...]] = field(repr=False)
    config_kept: Kept[Mapping[str, Any]] = field(repr=False)
    terms: Terms

    async def _offered(self) -> list[dict[str, Any]]:
        return [
            snapshot_shown(one)
            for one in await self.snapshots_kept.get()
            if is_offered(one, max_disk_gb=self.terms.max_disk_gb)
        ]

    async def snapshots(self, asked: Asked) -> Answer:
        """Those that may be started from, in Daytona's own shape of a page."""
        size = whole(asked.query, "limit", 100, least=1, most=_MAX_PAGE)
        page = whole(asked.query, "page", 1, least=1, most=10**9)
        sort, order = asked.query.get("sort"), asked.query.get("order", "desc")
        if (sort is not None and sort not in _SORTS) or order not in ("asc", "desc"):
            raise BadInput(f"sort must be one of {', '.join(sorted(_SORTS))}; order asc or desc")
        part = asked.query.get("name", "").lower()
        offered = [one for one in await self._offered() if part in str(one.get("name")).lower()]
        if sort is not None:
            offered.sort(key=lambda one: str(one.get(sort) or ""), reverse=order == "desc")
        document = {
            "items": offered[(page - 1) * size : page * size],
            "total": len(offered),
            "page": page,
            "totalPages": -(-len(offered) // size),
        }
        return Answer(document=document)

    async def snapshot(self, asked: Asked) -> Answer:
        """One of them, by id or else by name."""
        wanted, offered = asked.parts["snapshot"], await self._offered()
        for key in ("id", "name"):
            for one in offered:
                if one.get(key) == wanted:
                    return Answer(document=one)
        raise NotServed(NO_SNAPSHOT, status=404)

    async def regions(self, asked: Asked) -> Answer:
        """The shared ones, without their hosts."""
        document = [
            {name: one[name] for name in _REGION if name in one}
            for one in await self.regions_kept.get()
        ]
        return Answer(document=document)

    async def config(self, asked: Asked) -> Answer:
        """What an SDK asks before anything else."""
        return Answer(document=config_shown(await self.config_kept.get(), self.terms))
