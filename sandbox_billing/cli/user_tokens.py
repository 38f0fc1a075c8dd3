"""
Session tokens on this machine: one file for each provider and wallet, for its owner's eyes only.

They lie in C{$XDG_STATE_HOME/sandbox-billing}, else C{~/.local/state/sandbox-billing}.

Tests: C{tests.cli.test_user_tokens}.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from attrs import asdict, field, frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address


SPARE_SECONDS = 30
"""A token that ends sooner is not begun with."""


@frozen(kw_only=True)
class Kept:
    """
    What a login gave.

    @ivar url: Of the provider, as the command line names it.
    @ivar wallet: C{0x} and lower case.
    @ivar id: The token's public name.
    @ivar scopes: What it may do.
    @ivar sandbox: The one that it is for; None for all.
    @ivar expires_at: unix seconds.
    """

    url: str
    wallet: str
    token: str = field(repr=False)
    id: str
    scopes: tuple[str, ...]
    sandbox: str | None
    expires_at: int

    def serves(self, scope: str, now: float) -> bool:
        """Whether a command that needs this scope may begin with it."""
        return scope in self.scopes and now + SPARE_SECONDS < self.expires_at


def state_folder(environment: Mapping[str, str]) -> Path:
    """
    Where programs keep what is no configuration (XDG Base Directory).

    @param environment: Of the process.
    """
    named = environment.get("XDG_STATE_HOME", "")
    # The specification: a path that is not absolute counts as none.
    base = Path(named) if os.path.isabs(named) else Path("~/.local/state").expanduser()
    return base / "sandbox-billing"


@frozen
class Tokens:
    """
    The files.

    @ivar folder: It is made when the first is kept.
    """

    folder: Path

    def _path(self, url: str, wallet: Address) -> Path:
        name = sha256(f"{url}\n{wallet}".encode()).hexdigest()[:32]
        return self.folder / f"session-{name}.json"

    def find(self, url: str, wallet: Address | None) -> Kept | None:
        """
        @param wallet: None: the only one that is kept for this provider, if it is one.
        """
        if wallet is not None:
            return _read(self._path(url, wallet))
        found = [one for one in self._all() if one.url == url]
        return found[0] if len(found) == 1 else None

    def _all(self) -> Iterator[Kept]:
        for path in sorted(self.folder.glob("session-*.json")):
            kept = _read(path)
            if kept is not None:
                yield kept

    def keep(self, kept: Kept) -> Path:
        """
        Put it in the place of an earlier one.

        @raise BadInput: It cannot be written.
        """
        path = self._path(kept.url, Address(kept.wallet))
        made = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Born with its mode: others never had a moment to read it.
            descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump({"version": 1, **asdict(kept)}, file)
            made.replace(path)
        except OSError as problem:
            with suppress(OSError):
                made.unlink()
            raise BadInput(f"the session cannot be kept in {path}: {problem.strerror}") from None
        return path

    def forget(self, url: str, wallet: Address) -> bool:
        """@return: Whether there was one."""
        try:
            self._path(url, wallet).unlink()
        except FileNotFoundError:
            return False
        except OSError as problem:
            raise BadInput(f"the session cannot be removed: {problem.strerror}") from None
        return True


def _read(path: Path) -> Kept | None:
    """None for what is not there, cannot be read, is of others too, or of another version."""
    try:
        if path.stat().st_mode & 0o077:
            return None
        stored = json.loads(path.read_text("utf-8"))
        if stored.pop("version") != 1:
            return None
        Address(stored["wallet"])
        return Kept(**{**stored, "scopes": tuple(stored["scopes"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError, BadInput):
        return None
