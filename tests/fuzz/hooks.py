"""
What schemathesis has to know of us: which sandboxes there are, and what must never be seen.

Runs in its own environment, which has nothing of ours.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from zlib import crc32

import schemathesis


OWN = os.environ["FUZZ_OWN"].split(",")
"""Ids and names that the asking wallet may use; what it creates is added."""

FOREIGN = os.environ["FUZZ_FOREIGN"].split(",")
SECRET = os.environ["FUZZ_SECRET"]
"""Stands in everything that another wallet has."""

TOLD = Path(os.environ["FUZZ_TOLD"])
"""Gets a line for each answer: method, pattern, status."""

INSIDE = (
    *("version", "work-dir", "files", "files/info", "files/search", "files/download"),
    *("process/execute", "process/session", "process/pty", "git/status", "lsp/start"),
)
"""Of the toolbox."""

SHAPE = ("error", "statusCode", "message", "path", "timestamp")


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Let most ids be somebody's: those that are made up are nobody's."""
    number = crc32(repr((case.path_parameters, case.query, case.body)).encode())
    # Each from an address of its own: who guesses wrong is not asked to wait.
    address = ".".join(str(number >> shift & 255) for shift in (16, 8, 0))
    case.headers["X-Forwarded-For"] = f"10.{address}"
    asked = f"{case.method} {case.operation.path}"
    if asked == "POST /api/sandbox" and isinstance(case.body, dict) and number % 3:
        # There are few short names, and each is taken soon.
        case.body.pop("name", None)
    if "id" not in (case.path_parameters or {}) or number % 8 == 0:
        return
    if case.meta is not None and any(
        part.mode.is_negative
        for place, part in case.meta.components.items()
        if place.value.startswith("path")
    ):
        return
    if "path" in case.path_parameters and number % 3:
        case.path_parameters["path"] = INSIDE[(number >> 6) % len(INSIDE)]
    kept = 3 if asked == "DELETE /api/sandbox/{id}" else 0
    pool = [*OWN[kept:][:4], *OWN[kept:][-4:], FOREIGN[number % len(FOREIGN)]]
    case.path_parameters["id"] = pool[(number >> 3) % len(pool)]


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    """Keep what was made, and what was answered."""
    asked = f"{case.method} {case.operation.path}"
    if asked == "POST /api/sandbox" and response.status_code == 200:
        OWN.append(response.json()["id"])
    with TOLD.open("a") as told:
        told.write(f"{asked} {response.status_code}\n")


@schemathesis.check
def our_laws(context: Any, response: Any, case: Any) -> None:
    """Nothing of another wallet's, no failure without a reason, one shape of errors."""
    assert SECRET not in response.text, "another wallet's sandbox was shown"
    if not any(spelt in response.request.url for spelt in FOREIGN):
        shown = [spelt for spelt in FOREIGN if spelt in response.text]
        assert not shown, "another wallet's sandbox was named"
    assert response.headers.get("x-request-id"), "an answer without X-Request-Id"
    if response.status_code < 400 or response.request.method == "HEAD":
        return
    document = json.loads(response.content)
    if case.operation.path.startswith("/readyz"):
        return
    is_streamed = "{path}" in case.operation.path
    if not is_streamed or "error" in document:
        missing = [name for name in SHAPE if name not in document]
        assert not missing, f"an error without {missing}"
        assert document["statusCode"] == response.status_code
    if response.status_code >= 500:
        assert response.status_code in (502, 503, 504), "a failure that nobody chose"
        assert document["error"], "a failure without a reason"
