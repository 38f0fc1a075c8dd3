"""Daytona over HTTP."""

from __future__ import annotations

from sandbox_billing.adapters.daytona.connection import daytona_client, daytona_pool
from sandbox_billing.adapters.daytona.exchange import api_base
from sandbox_billing.adapters.daytona.runtime import CallSeconds, DaytonaRuntime


__all__ = ["CallSeconds", "DaytonaRuntime", "api_base", "daytona_client", "daytona_pool"]
