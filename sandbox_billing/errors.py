"""
Every exception of the daemon, by who catches it.

What do I raise?  Ask who can do something about it:

  - L{BadInput}: the caller sent something wrong.  The web room answers 4xx with
    the text; nothing was changed; the caller may correct and send again.
  - L{Refused}: the input is fine and policy says no (no funds, not the owner).
    The web room answers with the text; nothing was changed.
  - L{Transient}: a part we depend on did not do it, and we know it did not.
    Periodic services log it and try again on their next turn; the web room
    answers 502, or 503 for our own store (L{StoreDown}).
  - L{UnknownOutcome}: a part may or may not have done it.  Never treated as
    "failed": whoever catches it must find out before acting again.  The web room
    answers 502, or 504 when nothing was answered in time (L{NoAnswerInTime}).
  - L{BrokenLaw}: a numbered law of C{ledger.laws} does not hold.  Quarantines
    what it concerns; only L10 ends the process.

A new exception belongs to one of these families, or the family is missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import field, frozen


@frozen(auto_exc=False)
class BadInput(Exception):
    """
    The caller sent something wrong; sending the same again is wrong again.

    @ivar text: What is wrong and what to do, for the caller's eyes.
    """

    text: str

    def __str__(self) -> str:
        return self.text


@frozen(auto_exc=False)
class ConfigurationError(BadInput):
    """
    Settings are missing or wrong; caught by C{tap}, which exits with 78 (EX_CONFIG).

    @ivar problems: One sentence for each wrong setting, all of them.
    """

    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, heading: str, problems: Iterable[str]) -> ConfigurationError:
        """One error for everything that is wrong, one problem to a line."""
        told = tuple(problems)
        return ConfigurationError(f"{heading}:\n" + "\n".join(f"  - {one}" for one in told), told)


@frozen(auto_exc=False)
class WrongEnvFile(ConfigurationError):
    """
    Some lines of an environment file are wrong.

    @ivar settings: What its other lines say, so that all that is wrong can be told at once.
    """

    settings: Mapping[str, str] = field(factory=dict, repr=False)


@frozen(auto_exc=False)
class Refused(Exception):
    """
    Policy says no; may be asked again when the reason has gone.

    @ivar text: The reason, for the caller's eyes.
    """

    text: str

    def __str__(self) -> str:
        return self.text


@frozen(auto_exc=False)
class Transient(Exception):
    """
    A dependency did not do it, and nothing was changed; safe to try again.

    @ivar text: What failed, without secrets.
    """

    text: str

    def __str__(self) -> str:
        return self.text


@frozen(auto_exc=False)
class StoreDown(Transient):
    """
    Our own store cannot be reached or refuses; without it nothing is decided.
    """


@frozen(auto_exc=False)
class UnknownOutcome(Exception):
    """
    A dependency may or may not have done it; find out before acting again.

    @ivar text: What was being attempted.
    """

    text: str

    def __str__(self) -> str:
        return self.text


@frozen(auto_exc=False)
class NoAnswerInTime(UnknownOutcome):
    """
    It was sent and the time is up; it may even be under way still.
    """


@frozen(auto_exc=False)
class BrokenLaw(Exception):
    """
    A law does not hold; what it concerns is quarantined.

    @ivar law: The law's number, C{"L5"}.
    @ivar text: What was found.
    """

    law: str
    text: str

    def __str__(self) -> str:
        return f"{self.law}: {self.text}"
