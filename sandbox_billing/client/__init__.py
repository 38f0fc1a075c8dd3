"""
For a user's own program: rent sandboxes, pay for them, and know what they cost (docs/client.rst).

Nothing here knows of the daemon's framework; only C{ChainAccount} and receipts reach for a
chain, when they are used.
"""

from sandbox_billing.client.accounts import (
    Account,
    Event,
    Notice,
    Receipt,
    Resumed,
    SandboxUsage,
    Settings,
    Sums,
    Usage,
    Webhook,
)
from sandbox_billing.client.async_operator import AsyncOperatorClient
from sandbox_billing.client.asynchronous import AsyncClient
from sandbox_billing.client.calls import Answer, Call, Upload
from sandbox_billing.client.chain import ChainAccount, Reverted, Standing, Transaction
from sandbox_billing.client.errors import (
    ApiError,
    BadRequest,
    CannotPay,
    Conflict,
    ConnectionLost,
    Garbled,
    NotConnected,
    NotFound,
    NotYours,
    TimedOut,
    TooMany,
    Unauthorized,
    Unavailable,
    Unclear,
)
from sandbox_billing.client.orders import AuditRow, DrainStanding, OpenSession, Order
from sandbox_billing.client.signer import KeySigner, Signer
from sandbox_billing.client.sync import Client
from sandbox_billing.client.sync_operator import OperatorClient
from sandbox_billing.client.values import (
    ExecResult,
    Info,
    Provider,
    Sandbox,
    Session,
    Snapshot,
    SshAccess,
)


__all__ = [
    "Account",
    "Answer",
    "ApiError",
    "AsyncClient",
    "AsyncOperatorClient",
    "AuditRow",
    "BadRequest",
    "Call",
    "CannotPay",
    "ChainAccount",
    "Client",
    "Conflict",
    "ConnectionLost",
    "DrainStanding",
    "Event",
    "ExecResult",
    "Garbled",
    "Info",
    "KeySigner",
    "NotConnected",
    "NotFound",
    "NotYours",
    "Notice",
    "OpenSession",
    "OperatorClient",
    "Order",
    "Provider",
    "Receipt",
    "Resumed",
    "Reverted",
    "Sandbox",
    "SandboxUsage",
    "Session",
    "Settings",
    "Signer",
    "Snapshot",
    "SshAccess",
    "Standing",
    "Sums",
    "TimedOut",
    "TooMany",
    "Transaction",
    "Unauthorized",
    "Unavailable",
    "Unclear",
    "Upload",
    "Usage",
    "Webhook",
]
