"""The ways a chain fails, a class for each; a L{MemoryChain} has one of them at a time."""

from __future__ import annotations

from attrs import define

from sandbox_billing.adapters.memory.contract import Event
from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import Line
from sandbox_billing.ledger.identity import Address


@define
class GoodDay:
    """Nothing fails; the others say what does."""

    def read(self) -> None:
        """Before every read."""

    def lag(self) -> int:
        """How many blocks behind the node is."""
        return 0

    def arrives(self) -> bool:
        """Whether a broadcast reaches the pool."""
        return True

    def answers(self) -> bool:
        """Whether a broadcast is answered."""
        return True

    def poisons(self, line: Line) -> bool:
        """Whether no call can be made that a voucher is in."""
        return False

    def says_revert(self) -> bool:
        """Whether nodes say of such a call that it reverts."""
        return True

    def hides(self, event: Event) -> bool:
        """Whether a node leaves an event out of its logs."""
        return False

    def garbles(self, provider: Address) -> bool:
        """Whether a registration cannot be read."""
        return False


@define
class ReadsFail(GoodDay):
    """No read is answered."""

    def read(self) -> None:
        raise Transient("no node answers")


@define
class NodeLags(GoodDay):
    """The node stays behind; what it does not have is L{NodeBehind}."""

    blocks: int

    def lag(self) -> int:
        return self.blocks


@define
class RequestLost(GoodDay):
    """A broadcast never arrives and is never answered: unknown, and it did not happen."""

    def arrives(self) -> bool:
        return False

    def answers(self) -> bool:
        return False


@define
class ReplyLost(GoodDay):
    """A broadcast arrives and is never answered: unknown, and it did happen."""

    def answers(self) -> bool:
        return False


@define
class Swallowed(GoodDay):
    """A broadcast is answered, and the node forgets it: it is never mined."""

    def arrives(self) -> bool:
        return False


@define
class Poisoned(GoodDay):
    """
    A voucher makes the whole settle call revert.

    @ivar user: Whose.
    @ivar nonce: Which.
    @ivar reverts: Whether nodes say so, or only that they cannot estimate it.
    """

    user: Address
    nonce: int
    reverts: bool = True

    def poisons(self, line: Line) -> bool:
        return (line.user, line.nonce) == (self.user, self.nonce)

    def says_revert(self) -> bool:
        return self.reverts


@define
class LogGap(GoodDay):
    """
    Nodes have lost some logs, and answer without them.

    @ivar name: Of the events.
    """

    name: str

    def hides(self, event: Event) -> bool:
        return event.name == self.name


@define
class Garbled(GoodDay):
    """
    A registration cannot be read.

    @ivar provider: Whose.
    """

    provider: Address

    def garbles(self, provider: Address) -> bool:
        return provider == self.provider


@define
class Once(GoodDay):
    """
    Another fault, for the next broadcast alone.

    @ivar fault: What befalls it.
    """

    fault: GoodDay
    _left: int = 1

    def arrives(self) -> bool:
        return self._left <= 0 or self.fault.arrives()

    def answers(self) -> bool:
        self._left -= 1
        return self._left < 0 or self.fault.answers()
