"""
Where a command's key comes from: the environment, a keystore file, or a hidden prompt.

Tests: L{tests.cli.test_keys}.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from enum import Enum
from functools import wraps
from pathlib import Path
from typing import Any

import click
from attrs import field, frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.signing.key import SigningKey


class Role(Enum):
    """
    Whose key it is; the value is its name in the environment (wire.md §8).
    """

    OWNER = "OWNER_KEY"
    PROVIDER = "PROVIDER_KEY"
    USER = "USER_KEY"


_MAX_KEYSTORE_BYTES = 64 * 1024


@frozen(kw_only=True)
class KeySource:
    """
    What was said about the key; nothing is read and nobody asked before L{load}.

    @ivar text: C{--key}.
    @ivar keystore: eth-account's JSON (Web3 Secret Storage, version 3).
    @ivar password_file: Its first line is the keystore's password.
    """

    role: Role
    text: str | None = field(default=None, repr=False)
    keystore: Path | None = None
    password_file: Path | None = None

    def load(self) -> SigningKey:
        """
        The key: C{--keystore} or C{--key} where given, else the environment's, else asked.

        @raise BadInput: There is none, or it is malformed.  The text never contains it.
        """
        if self.text is not None and self.keystore is not None:
            raise BadInput("give --key or --keystore, not both")
        if self.keystore is not None:
            # The password only for a file that is there and is a keystore.
            stored = _read(self.keystore)
            return _decrypt(self.keystore, stored, self._password(self.keystore))
        if self.password_file is not None:
            raise BadInput("--password-file belongs to --keystore, which is not given")
        if self.text is not None:
            key = _key(self.text, "--key")
            click.echo(
                "sandbox-billing: warning: --key is visible to others on this machine and stays in "
                f"the shell's history; set {self.role.value} or use --keystore",
                err=True,
            )
            return key
        found = os.environ.get(self.role.value)
        if found:
            return _key(found, self.role.value)
        if not sys.stdin.isatty():
            raise BadInput(f"no key: set {self.role.value}, or give --keystore FILE")
        asked = click.prompt(f"{self.role.name.lower()}'s private key", hide_input=True, err=True)
        return _key(asked, "what was typed")

    def _password(self, keystore: Path) -> str:
        if self.password_file is not None:
            try:
                lines = self.password_file.read_text("utf-8").splitlines()
            except (OSError, ValueError) as problem:
                raise BadInput(f"--password-file cannot be read: {_reason(problem)}") from None
            return lines[0] if lines else ""
        if not sys.stdin.isatty():
            raise BadInput(f"no password for {keystore.name}: give --password-file FILE")
        return str(
            click.prompt(
                f"password of {keystore.name}",
                hide_input=True,
                err=True,
                default="",
                show_default=False,
            )
        )


def _reason(problem: Exception) -> str:
    return problem.strerror or "" if isinstance(problem, OSError) else "it is not UTF-8"


def _key(text: str, where: str) -> SigningKey:
    try:
        return SigningKey.from_hex(text.strip())
    except BadInput as problem:
        raise BadInput(f"{where}: {problem}") from None


def _read(path: Path) -> Any:
    """
    @raise BadInput: It cannot be read, or is not JSON.
    """
    try:
        if path.stat().st_size > _MAX_KEYSTORE_BYTES:
            raise BadInput(f"{path.name} is too large for a keystore")
        return json.loads(path.read_text("utf-8"))
    except OSError as problem:
        raise BadInput(f"--keystore cannot be read: {problem.strerror}") from None
    except ValueError:
        raise BadInput(f"{path.name} is no keystore: it is not JSON") from None


def _decrypt(path: Path, stored: Any, password: str) -> SigningKey:
    # Half a second, paid only here.
    from eth_account import Account

    try:
        return SigningKey.from_bytes(bytes(Account.decrypt(stored, password)))
    except ValueError:
        # eth_keyfile says "MAC mismatch", which helps nobody.
        raise BadInput(f"{path.name} does not open: the password is wrong") from None
    except (KeyError, TypeError, AttributeError, NotImplementedError):
        raise BadInput(f"{path.name} is no keystore of version 3") from None


def key_options(role: Role) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """
    Adds C{--key}, C{--keystore} and C{--password-file}; passes C{key}, a L{KeySource}.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        file = click.Path(path_type=Path, dir_okay=False)

        @click.option(
            "--key",
            "key_text",
            metavar="HEX",
            help=f"Private key. Others can see it here: prefer {role.value} in the environment.",
        )
        @click.option(
            "--keystore",
            type=file,
            help="Keystore file (Ethereum's JSON); its password is asked for.",
        )
        @click.option("--password-file", type=file, help="The keystore's password, in a file.")
        @wraps(command)
        def wrapped(
            *args: Any,
            key_text: str | None,
            keystore: Path | None,
            password_file: Path | None,
            **kwargs: Any,
        ) -> None:
            source = KeySource(
                role=role, text=key_text, keystore=keystore, password_file=password_file
            )
            command(*args, key=source, **kwargs)

        return wrapped

    return decorate
