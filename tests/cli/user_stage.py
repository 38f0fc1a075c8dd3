"""
A user or an operator at the command line, in this process: it costs no second start of Python.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attrs import frozen
from click.testing import CliRunner

from sandbox_billing.cli.main import cli
from tests.cli.stage import Told


@frozen(kw_only=True)
class Shell:
    """
    Where somebody types.

    @ivar environment: What is set; of this process's own nothing that is ours counts.
    @ivar group: Of whose commands.
    """

    environment: Mapping[str, str]
    group: str = "user"

    def run(self, *arguments: str, **more: str) -> Told:
        """A command; blocking."""
        unset = dict.fromkeys(_OURS)
        environment = {**unset, **self.environment, **more}
        done = CliRunner().invoke(cli, [self.group, *arguments], env=environment)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Told(status=done.exit_code, out=done.stdout, err=done.stderr)

    def ok(self, *arguments: str, **more: str) -> Any:
        """The document of a command that must succeed."""
        # Before what belongs to the command inside.
        at = arguments.index("--") if "--" in arguments else len(arguments)
        told = self.run(*arguments[:at], "--json", *arguments[at:], **more)
        assert told.status == 0, f"{arguments}: {told.status}\n{told.out}\n{told.err}"
        return json.loads(told.out)


_OURS = (
    "SANDBOX_BILLING_URL",
    "USER_KEY",
    "PROVIDER_KEY",
    "RPC_URL",
    "CHAIN_ID",
    "SETTLEMENT_CONTRACT",
    "PROVIDER_ADDRESS",
    "XDG_STATE_HOME",
)
