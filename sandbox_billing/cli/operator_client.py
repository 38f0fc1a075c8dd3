"""
The library as operators' commands use it: opened for their wallet, orders followed to their end.

Tests: C{tests.cli.test_operator}.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import click
from attrs import field, frozen

from sandbox_billing.cli.exits import FAMILIES
from sandbox_billing.cli.keys import Role
from sandbox_billing.cli.output import Output, output_options, printable
from sandbox_billing.cli.reverts import moment
from sandbox_billing.cli.user_client import Desk, desk
from sandbox_billing.cli.user_once import key_option, once_only
from sandbox_billing.cli.user_place import Place, place_options
from sandbox_billing.cli.user_text import short
from sandbox_billing.errors import BadInput, Refused, UnknownOutcome
from sandbox_billing.ledger.order import LONGEST_REASON, order_named
from sandbox_billing.ledger.token import Scope
from sandbox_billing.signing.eip55 import checksum


if TYPE_CHECKING:
    from sandbox_billing.client import ApiError, DrainStanding, OperatorClient, Order

US = "sandbox-billing operator"

POLL_SECONDS = 1.0
_WAIT_SECONDS = 900
_DRAIN_LOOK_TURNS = 5


@contextmanager
def operator_desk(out: Output, place: Place, scope: Scope) -> Iterator[Desk]:
    """
    As L{desk<sandbox_billing.cli.user_client.desk>}, for an operator: refusals name his commands.
    """
    from sandbox_billing.client import ApiError, OperatorClient

    with desk(out, place, scope, of=OperatorClient) as at:
        try:
            yield at
        except ApiError as problem:
            text = next_step(problem, checksum(at.wallet))
            if text is None:
                raise
            family = next(one for one in FAMILIES if isinstance(problem, one))
            raise family(printable(text)) from None


def client_of(at: Desk) -> OperatorClient:
    """What L{operator_desk} opened."""
    from sandbox_billing.client import OperatorClient

    assert isinstance(at.client, OperatorClient), "opened for an operator"
    return at.client


def next_step(problem: ApiError, wallet: str) -> str | None:
    """
    What an operator does about a refusal; None where it is what users are told.

    @param wallet: Who asked.
    """
    text = str(problem.body.get("error") or f"HTTP {problem.status}")
    match problem.status:
        case 403 if text == "admin only":
            return (
                f"{text}: {wallet} is no operator here. The daemon's ADMIN_ADDRESSES has to name "
                "it; where that is not set, only the provider's own wallet is one. Set "
                "PROVIDER_KEY to an operator's key, or give --keystore FILE"
            )
        case 404 if text == "no such sandbox":
            return f"{text}: look which are metered: {US} sessions"
        case 404 if text == "no such order":
            return f"{text}: look which there are: {US} orders"
        case 409:
            return (
                f"{text}: leave --idempotency-key out for an order of its own, or look: {US} orders"
            )
        case 429 if "order" in text:
            return f"{text}: look what does not end: {US} orders"
        case 403 if "has not the scope" in text:
            return f"{text}: log out, so that the key signs: sandbox-billing user logout"
        case status if status >= 500 and problem.retry_after is None:
            return f"{text}: it may or may not have been ordered; look with '{US} orders'"
    return None


def order_options(*, reason: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """
    Options of what orders something; passes C{wish}, a L{Wish}.

    @param reason: Whether one has to be given.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        said = "it is kept in the audit" if not reason else "users feel it, and the audit keeps it"

        @output_options
        @place_options(role=Role.PROVIDER)
        @click.option(
            "--reason",
            required=reason,
            metavar="TEXT",
            help=f"Why: one line of at most {LONGEST_REASON} characters; {said}.",
        )
        @click.option("--no-wait", is_flag=True, help="Leave it going, and say its id.")
        @click.option(
            "--wait-seconds",
            type=click.IntRange(min=1),
            default=_WAIT_SECONDS,
            show_default=True,
            help="How long to wait for its end.",
        )
        @key_option
        @wraps(command)
        def wrapped(
            out: Output,
            place: Place,
            reason: str | None,
            no_wait: bool,
            wait_seconds: int,
            once: str,
            **kwargs: Any,
        ) -> None:
            if reason is not None and not reason.strip():
                raise BadInput("--reason is empty: say why, in one line")
            wish = Wish(
                out=out,
                place=place,
                reason=reason,
                once=once,
                wait_seconds=None if no_wait else wait_seconds,
            )
            command(wish=wish, **kwargs)

        return wrapped

    return decorate


@frozen(kw_only=True)
class Wish:
    """
    What is ordered, but for the order itself.

    @ivar once: The request's key: sent twice, it is one order.
    @ivar wait_seconds: For its end; None for not at all.
    """

    out: Output
    place: Place
    reason: str | None
    once: str = field(repr=False)
    wait_seconds: int | None

    @property
    def said(self) -> str:
        """The reason, where one has to be given."""
        assert self.reason is not None, "the option is required"
        return self.reason

    def order(
        self,
        ask: Callable[[OperatorClient], Order],
        *,
        question: str | None = None,
        yes: bool = False,
    ) -> None:
        """
        Ask for it, follow it, and tell what came of it.

        @param ask: With L{once} as its key.
        @param question: For whoever sits at the terminal, before it is asked for.
        """
        with operator_desk(self.out, self.place, Scope.MANAGE) as at:
            if question is not None:
                self.out.ask(question, yes=yes)
            # Its id is known before the answer, which may take ten seconds.
            with once_only(self.once, f"{US} orders {order_named(at.wallet, self.once)}"):
                found = ask(client_of(at))
            if self.wait_seconds is not None:
                found = followed(at, found, self.wait_seconds)
            tell(self.out, found)


def followed(at: Desk, order: Order, seconds: float) -> Order:
    """
    Look until it has ended.

    @raise UnknownOutcome: Nobody saw its end; it goes on.
    """
    from sandbox_billing.client import ApiError, Unauthorized

    client, look = client_of(at), f"{US} orders {order.id}"
    waited, turn = 0.0, 0
    try:
        with at.out.progress() as progress:
            while not order.has_ended:
                if waited >= seconds:
                    raise UnknownOutcome(
                        f"{_named(order)} is {order.state.replace('_', ' ')} still, and goes on: "
                        f"look with '{look}', or wait with '{look} --wait'"
                    )
                if order.kind == "drain" and turn % _DRAIN_LOOK_TURNS == 0:
                    progress.say(_left(client.drain_standing()))
                elif order.kind != "drain":
                    progress.say(f"{_named(order)} is {order.state.replace('_', ' ')}")
                at.pace.sleep(POLL_SECONDS)
                waited, turn = waited + POLL_SECONDS, turn + 1
                order = client.order(order.id)
    except Unauthorized:
        raise
    except (KeyboardInterrupt, ApiError) as problem:
        why = "stopped waiting" if isinstance(problem, KeyboardInterrupt) else str(problem)
        raise UnknownOutcome(
            f"{printable(why)}. {_named(order)} was taken and goes on: look with '{look}', or wait "
            f"with '{look} --wait'"
        ) from None
    return order


def _named(order: Order) -> str:
    return (
        f"the order {order.id} ({printable(' '.join(filter(None, (order.kind, order.subject))))})"
    )


def _left(standing: DrainStanding) -> str:
    left = standing.left
    if standing.is_drained:
        return "everything is settled; the worker looks once more"
    return (
        f"left: {left.get('sessions', '?')} sessions to charge, {left.get('charges', '?')} charges "
        f"of {left.get('wallets', '?')} wallets to settle ({short(left.get('amount'))}), "
        f"{left.get('intents', '?')} calls under way"
    )


def tell(out: Output, order: Order) -> None:
    """
    The result: the order as it is.

    @raise Refused: It failed.
    """
    if order.has_ended and not order.is_done:
        raise Refused(printable(f"{_named(order)} failed: {order.error}{_after(order)}"))
    rows = order_rows(order)
    if not order.has_ended:
        rows.append(("look", f"{US} orders {order.id}"))
    title = _done(order) if order.is_done else "Taken; it goes on by itself"
    out.finish(dict(order.raw), title=title, rows=rows)


def _done(order: Order) -> str:
    # A daemon that tells nothing of a pause has not told that there was none.
    if order.kind == "resume" and order.result.get("lifted", order) is None:
        return "Done: nothing was paused"
    return "Done"


def _after(order: Order) -> str:
    """What an operator can do about an order that came to nothing."""
    match order.kind:
        case "pause" | "resume" | "drain":
            return f". See what stands: {US} summary"
        case "stop" | "force-delete" | "archive-all":
            return f". See what is metered: {US} sessions"
    return ""


def order_rows(order: Order) -> list[tuple[str, str]]:
    """For people."""
    raw = order.raw
    rows = [("order", order.id), ("kind", order.kind)]
    rows += [(name, str(raw[name])) for name in ("subject", "reason") if raw.get(name)]
    rows += [("by", str(raw.get("by", "?"))), ("state", order.state.replace("_", " "))]
    rows += [
        (name.replace("_", " "), moment(raw[name]))
        for name in ("asked_at", "ended_at")
        if isinstance(raw.get(name), int)
    ]
    if order.error is not None:
        rows.append(("error", order.error))
    return [*rows, *_result_rows(order.result)]


def _result_rows(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What came of it; C{state} is the sandbox's or snapshot's, not the order's."""
    return [
        ("is now" if name == "state" else name.replace("_", " "), _plain(value))
        for name, value in result.items()
        if value not in (None, {}, [])
    ]


def _plain(value: Any) -> str:
    match value:
        case str():
            return value
        case {"by": str(by), "since": int(since), "reason": str(reason)}:
            return f"by {by} since {moment(since)}: {reason}"
    return json.dumps(value, ensure_ascii=False)
