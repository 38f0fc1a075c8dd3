"""
The control plane, as it answers whoever comes with the admin key: nothing is refused.

A request that should not have reached Daytona would succeed here as it would
there.  Volumes, storage and regions are real; of the rest only method, path,
status and the shape of the answer are Daytona's, taken from its public OpenAPI.
"""

from __future__ import annotations

from typing import Any

from sandbox_billing.devnet.daytona.dialect import ApiError, Dialect
from sandbox_billing.devnet.daytona.records import ORGANIZATION, iso
from sandbox_billing.devnet.daytona.routing import Call, Handler, Route
from sandbox_billing.devnet.daytona.snapshots import SNAPSHOTS


async def _volumes(call: Call) -> Any:
    return call.simulator.volumes.listed()


async def _create_volume(call: Call) -> Any:
    return call.simulator.volumes.create(call.json())


async def _volume(call: Call) -> Any:
    return call.simulator.volumes.find(call.parameters[0])


async def _delete_volume(call: Call) -> None:
    call.simulator.volumes.delete(call.parameters[0])


async def _push_access(call: Call) -> Any:
    """Keys to the storage of the whole organization; well-known ones, for development."""
    return {
        "accessKey": "devnet-access",
        "secret": "devnet-secret",
        "sessionToken": "devnet-session",
        "storageUrl": "http://localhost:9000",
        "organizationId": ORGANIZATION,
        "bucket": "daytona-volume-builds",
    }


async def _regions(call: Call) -> Any:
    return [
        {
            "id": "us",
            "name": "us",
            "organizationId": None,
            "regionType": "shared",
            "createdAt": iso(0),
            "updatedAt": iso(0),
            "proxyUrl": call.simulator.proxy_base,
            "sshGatewayUrl": None,
            "snapshotManagerUrl": None,
        }
    ]


async def _current_key(call: Call) -> Any:
    return {
        "name": "devnet",
        "value": "dtn_****",
        "createdAt": iso(0),
        "permissions": [],
        "lastUsedAt": None,
        "expiresAt": None,
        "userId": "daytona-admin",
    }


async def _not_with_this_key(call: Call) -> Any:
    """For runners, gateways and proxies, who have keys of their own."""
    raise ApiError(403, "Forbidden resource")


# Where a parameter of C{/sandbox/:} would swallow them.
FIXED = (
    Route("GET", "sandbox/for-runner", "for-runner", _not_with_this_key),
    Route("GET", "sandbox/ssh-access/validate", "validate-ssh", _not_with_this_key),
)

_REAL = (
    Route("GET", "api-keys/current", "api-key", _current_key),
    Route("GET", "shared-regions", "shared-regions", _regions),
    Route("GET", "regions", "regions", _regions),
    Route("GET", "object-storage/push-access", "push-access", _push_access),
    Route("GET", "volumes", "volumes", _volumes),
    Route("POST", "volumes", "create-volume", _create_volume),
    Route("GET", "volumes/:", "volume", _volume),
    Route("DELETE", "volumes/:", "delete-volume", _delete_volume),
    Route("GET", "volumes/by-name/:", "volume-by-name", _volume),
    *SNAPSHOTS,
)

# Method, path, status and shape; "old" where v0.190 has it no more.
_REST = """
GET api-keys 200 list
POST api-keys 201 object
DELETE api-keys/: 204 none
GET api-keys/: 200 object
DELETE api-keys/:/: 204 none
GET organizations/invitations 200 list
GET organizations/invitations/count 200 zero
POST organizations/invitations/:/accept 200 object
POST organizations/invitations/:/decline 200 none
GET organizations 200 list
POST organizations 201 object
PATCH organizations/:/default-region 204 none
DELETE organizations/: 204 none
GET organizations/: 200 object
GET organizations/:/usage 200 object
PATCH organizations/:/quota 204 none
PATCH organizations/:/quota/: 204 none
POST organizations/:/leave 204 none
POST organizations/:/suspend 204 none
POST organizations/:/unsuspend 204 none
GET organizations/otel-config/by-sandbox-auth-token/: 200 object
DELETE organizations/:/otel-config 204 none
GET organizations/:/otel-config 200 object
PUT organizations/:/otel-config 204 none
POST organizations/:/sandbox-default-limited-network-egress 204 none
PUT organizations/:/experimental-config 200 none
GET organizations/:/roles 200 list
POST organizations/:/roles 201 object
DELETE organizations/:/roles/: 204 none
PUT organizations/:/roles/: 200 object
GET organizations/:/users 200 list
POST organizations/:/users/:/access 200 object
DELETE organizations/:/users/: 204 none
GET organizations/:/invitations 200 list
POST organizations/:/invitations 201 object
PUT organizations/:/invitations/: 200 object
POST organizations/:/invitations/:/cancel 204 none
GET regions 200 list
POST regions 201 object
DELETE regions/: 204 none
GET regions/: 200 object
PATCH regions/: 200 none
POST regions/:/regenerate-proxy-api-key 200 object
POST regions/:/regenerate-ssh-gateway-api-key 200 object
POST regions/:/regenerate-snapshot-manager-credentials 200 object
GET users/me 200 object
GET users/account-providers 200 list
POST users/linked-accounts 204 none
DELETE users/linked-accounts/:/: 204 none
POST users/mfa/sms/enroll 200 text
GET runners 200 list
POST runners 201 object
GET runners/me 200 object
GET runners/by-sandbox/: 200 object
GET runners/by-snapshot-ref 200 list
DELETE runners/: 204 none
GET runners/: 200 object
GET runners/:/full 200 object
PATCH runners/:/scheduling 200 object
PATCH runners/:/draining 200 object
POST runners/healthcheck 200 none
GET preview/:/public 200 true
GET preview/:/validate/: 200 true
GET preview/:/access 200 true
GET jobs 200 pages
GET jobs/poll 200 object
GET jobs/: 200 object
POST jobs/:/status 200 object
GET docker-registry 200 list
POST docker-registry 201 object
GET docker-registry/registry-push-access 200 object
DELETE docker-registry/: 204 none
GET docker-registry/: 200 object
PATCH docker-registry/: 200 object
GET admin/runners 200 list
POST admin/runners 201 object
DELETE admin/runners/: 204 none
GET admin/runners/: 200 object
PATCH admin/runners/:/scheduling 204 none
POST admin/sandbox/:/recover 200 object
GET admin/users 200 none
POST admin/users 201 none
POST admin/users/:/regenerate-key-pair 201 none
GET admin/users/: 200 object
POST admin/webhooks/organizations/:/send 200 none
GET admin/webhooks/organizations/:/messages/:/attempts 200 list
GET admin/webhooks/status 200 object
POST admin/webhooks/organizations/:/initialize 201 none
POST admin/docker-registry/:/set-default 200 object
GET admin/snapshots/can-cleanup-image 200 true
GET admin/audit 200 pages
PATCH admin/organizations/:/quota/: 204 none
POST admin/organizations/:/quota/: 201 object
DELETE admin/organizations/:/quota/:/: 204 none
GET admin/organizations/:/quota/:/: 200 object
POST webhooks/organizations/:/app-portal-access 200 object
GET webhooks/organizations/:/initialization-status 200 object
POST webhooks/organizations/:/initialize 201 object
POST webhooks/organizations/:/refresh-endpoints 204 none
GET audit/organizations/: 200 pages
GET health 200 none
GET health/ready 200 object
GET organizations/by-sandbox-id/: 200 object old
GET organizations/region-quota/by-sandbox-id/: 200 object old
GET users 200 none old
POST users 201 none old
POST users/:/regenerate-key-pair 201 none old
GET users/: 200 object old
GET workspace 200 list old
POST workspace 200 object old
DELETE workspace/: 200 none old
GET workspace/: 200 object old
POST workspace/:/start 200 none old
POST workspace/:/stop 200 none old
PUT workspace/:/labels 200 object old
POST workspace/:/backup 200 object old
POST workspace/:/public/: 201 none old
POST workspace/:/autostop/: 200 none old
POST workspace/:/autoarchive/: 200 none old
POST workspace/:/archive 200 none old
GET workspace/:/ports/:/preview-url 200 object old
GET workspace/:/build-logs 200 none old
POST docker-registry/:/set-default 200 object old
POST webhooks/organizations/:/send 200 none old
GET webhooks/organizations/:/messages/:/attempts 200 list old
GET webhooks/status 200 object old
GET audit 200 pages old
"""

_SHAPES: dict[str, Any] = {
    "list": [],
    "object": {},
    "pages": {"items": [], "total": 0, "page": 1, "totalPages": 0},
    "true": True,
    "zero": 0,
    "text": "devnet",
    "none": None,
}


def _shaped(shape: str) -> Handler:
    async def handle(call: Call) -> Any:
        return _SHAPES[shape]

    return handle


def _rest() -> tuple[Route, ...]:
    routes = []
    for line in _REST.split("\n")[1:-1]:
        method, pattern, status, shape, *old = line.split()
        routes.append(
            Route(
                method,
                pattern,
                "control",
                _shaped(shape),
                int(status),
                anonymous=pattern.startswith("health"),
                until=Dialect.OLD if old else Dialect.NEW,
            )
        )
    return tuple(routes)


CONTROL = (*_REAL, *_rest())
