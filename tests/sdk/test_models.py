"""
What the simulated Daytona answers is what Daytona's own clients expect, release by release.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.devnet.daytona import Dialect
from sandbox_billing.web.catalogue import config_shown, snapshot_shown
from sandbox_billing.web.policy import shown
from tests.sdk.documents import Document, documents
from tests.sdk.test_sdk import interpreter
from tests.web.world import TERMS


PROGRAM = Path(__file__).resolve().with_name("validate_models.py")


def python_of(release: str) -> Path:
    """
    The interpreter that has the client of a release.

    C{SDK_ENVIRONMENTS} may name another folder of environments than C{bin/sdk}'s.
    """
    elsewhere = os.environ.get("SDK_ENVIRONMENTS")
    if elsewhere:
        return Path(elsewhere) / release / "bin" / "python"
    return interpreter(release)


def problems(release: str, found: Iterable[Document]) -> set[tuple[str, str]]:
    """
    @return: (model, problem), without repetitions.
    """
    lines = [json.dumps({"model": model, "document": document}) for model, document in found]
    ran = subprocess.run(
        [str(python_of(release)), str(PROGRAM)],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if ran.returncode:
        raise AssertionError(ran.stderr[-3000:])
    *told, end = [json.loads(line) for line in ran.stdout.splitlines()]
    if end["problem"] != "end":
        raise AssertionError("the validating program did not end")
    return {(each["model"], each["problem"]) for each in told}


_REWRITTEN: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "Sandbox": lambda document: shown(document, TERMS.public_url),
    "SandboxListItem": lambda document: shown(document, TERMS.public_url),
    "SnapshotDto": snapshot_shown,
    "DaytonaConfiguration": lambda document: config_shown(document, TERMS),
}


def served(found: Iterable[Document]) -> list[Document]:
    """
    The documents that our door rewrites, as it does.
    """
    return [(model, _REWRITTEN[model](each)) for model, each in found if model in _REWRITTEN]


class ModelTests(SynchronousTestCase):
    """Documents of the simulator against the models of the client."""

    def test_old(self) -> None:
        """The first dialect answers what 0.149 reads, and no field that it has not heard of."""
        self.assertEqual(problems("0.149.0", documents(Dialect.OLD)), set())

    def test_middle(self) -> None:
        """The second, too, is understood by the release after it, whose lists alone differ."""
        self.assertEqual(problems("0.190.0", documents(Dialect.MIDDLE)), set())

    def test_new(self) -> None:
        """The third answers what 0.190 reads, and no field that it has not heard of."""
        self.assertEqual(problems("0.190.0", documents(Dialect.NEW)), set())

    def test_current(self) -> None:
        """
        The current release misses in what 0.190 answers what our door adds, or does not serve.

        The first two are added to every sandbox; the third is told to nobody; the deprecated
        pages are a release's that is gone; who signs people in is not asked for by its SDK.
        """
        self.assertEqual(
            problems("0.226.1", documents(Dialect.NEW)),
            {
                ("Sandbox", "kvm: Input should be a valid boolean"),
                ("SandboxListItem", "network_block_all: Input should be a valid boolean"),
                ("ListSandboxesResponse", "network_block_all: Input should be a valid boolean"),
                ("StorageAccessDto", "region: Input should be a valid string"),
                ("PaginatedSandboxesDeprecated", "no such model"),
                ("DaytonaConfiguration", "provider: Input should be a valid string"),
            },
        )

    def test_through_our_door(self) -> None:
        """What a user gets of it through our door is read by every release, the current one too."""
        for release, dialect in (
            ("0.149.0", Dialect.OLD),
            ("0.190.0", Dialect.NEW),
            ("0.226.1", Dialect.NEW),
        ):
            found = problems(release, served(documents(dialect)))
            # What only the newest insists on is no harm to the others.
            refused = {each for each in found if not each[1].endswith("unknown field")}
            self.assertEqual(refused, set(), release)

    def test_the_test(self) -> None:
        """A document that lacks a field, has a strange one or a strange state is found out."""
        found = documents(Dialect.NEW)
        sandbox = next(document for model, document in found if model == "Sandbox")
        without = {key: value for key, value in sandbox.items() if key != "organizationId"}
        for broken in (without, {**sandbox, "colour": "red"}, {**sandbox, "state": "dancing"}):
            self.assertEqual(len(problems("0.190.0", [("Sandbox", broken)])), 1, broken)
