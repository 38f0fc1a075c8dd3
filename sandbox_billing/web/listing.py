"""
Lists of a wallet's own sandboxes, in both dialects and in bounded memory (daytona.md §8).

Daytona filters: what it pages are own rows only, so that pages are full and totals are
right, and each row is looked at again before it is shown.  Its filter is exact, and other
systems wrote owner labels in checksum case; so every list is two of Daytona's, the second
one after the first.

A server that answers C{GET /sandbox} with one array would send all rows at once: there the
array is made of pages and written one by one.

Tests: C{tests.web.test_listing}.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, ClassVar, TypeAlias

from attrs import evolve, field, frozen
from twisted.logger import Logger

from sandbox_billing.errors import Transient
from sandbox_billing.interfaces import IRuntime
from sandbox_billing.ledger.identity import Address, SandboxId
from sandbox_billing.ledger.token import Scope
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web._kept import Kept
from sandbox_billing.web._router import Asked
from sandbox_billing.web.answers import Answer, dump
from sandbox_billing.web.payloads import whole
from sandbox_billing.web.policy import (
    is_of,
    owner_filter,
    seen_by,
    shown,
    spellings,
    wanted_labels,
)
from sandbox_billing.web.terms import Terms


Query: TypeAlias = Mapping[str, str | tuple[str, ...]]
Rows: TypeAlias = list[dict[str, Any]]

ODD_SHAPE = "Daytona answered a list in a shape that is not known"

_MAX_PAGE = 200
_USUAL_PAGE = 100
_MAX_PAGES = 10_000

_SECOND = "~"
"""Before a cursor of the second list; Daytona's are base64, which has no such sign."""

_PAGED_NAMES = {"regionIds": "regions"}
_NOT_OF_ARRAYS = frozenset(
    {"cursor", "limit", "page", "sort", "order", "sandboxClasses", "isPublic", "isRecoverable"}
    | {"createdAtAfter", "createdAtBefore"}
)


@frozen(kw_only=True)
class _Wish:
    """
    What is asked for, before Daytona is.

    @ivar filters: Of the query, but for the labels and what says which page.
    @ivar only: The one sandbox that may be shown; None for every own one.
    """

    wallet: Address
    scopes: frozenset[Scope]
    labels: Mapping[str, str]
    filters: Query
    only: SandboxId | None

    def query(self, spelt: str, **page: str) -> Query:
        """@param spelt: Of L{spellings}."""
        own = {"labels": owner_filter(self.labels, spelt)}
        # Daytona's filter by id is by the beginning of one; a whole one is one row.
        one = {} if self.only is None else {"id": str(self.only)}
        return {**self.filters, **page, **own, **one}


def _wish(asked: Asked) -> _Wish:
    given: dict[str, str | tuple[str, ...]] = {**asked.query, **asked.several}
    filters = {
        name: value
        for name, value in given.items()
        if name not in ("verbose", "labels", "limit", "page", "cursor")
    }
    return _Wish(
        wallet=asked.wallet,
        scopes=asked.known.scopes,
        labels=wanted_labels(asked.query.get("labels")),
        filters=filters,
        only=asked.known.only,
    )


def _size(asked: Asked) -> int:
    return whole(asked.query, "limit", _USUAL_PAGE, least=1, most=_MAX_PAGE)


@frozen(kw_only=True)
class Lists:
    """
    The routes that show several sandboxes.

    @ivar pages_kept: Whether Daytona's C{GET /sandbox} has pages.
    """

    _log: ClassVar[Logger] = Logger()

    runtime: IRuntime = field(validator=provides(IRuntime))
    pages_kept: Kept[bool]
    terms: Terms

    def _own(self, wish: _Wish, items: Any) -> Rows:
        """
        What may be shown of a page.

        @raise Transient: It is no list.
        """
        if not isinstance(items, list | tuple):
            raise Transient(ODD_SHAPE)
        mine = [item for item in items if is_of(item, wish.wallet)]
        if len(mine) < len(items):
            self._log.error(
                "Daytona's label filter let {count} foreign sandboxes through",
                count=len(items) - len(mine),
            )
        return [
            seen_by(wish.scopes, shown(item, self.terms.public_url))
            for item in mine
            if wish.only is None or item.get("id") == wish.only
        ]

    # -- v0.180 and later -----------------------------------------------------------

    async def _at_cursor(
        self, wish: _Wish, spelt: str, size: int, cursor: str | None
    ) -> tuple[Rows, int, str | None]:
        """
        @return: Own rows, how many there were in all, and Daytona's next cursor.
        """
        at = {} if cursor is None else {"cursor": cursor}
        query = wish.query(spelt, limit=str(size), **at)
        page = await self.runtime.page(query, paginated=False)
        following = page.get("nextCursor", 0) if isinstance(page, Mapping) else 0
        if not isinstance(following, str | None):
            raise Transient(ODD_SHAPE)
        rows = self._own(wish, page.get("items"))
        # An empty one is none, too.
        return rows, len(page["items"]), following if following else None

    async def _by_cursor(self, asked: Asked) -> Answer:
        wish, size = _wish(asked), _size(asked)
        names, cursor = spellings(wish.wallet), asked.query.get("cursor")
        rows: Rows = []
        left, after = size, None
        if cursor is not None and cursor.startswith(_SECOND):
            after = cursor[len(_SECOND) :] or None
        else:
            rows, count, following = await self._at_cursor(wish, names[0], size, cursor)
            left = size - count
            if following is not None:
                return Answer(document={"items": rows, "nextCursor": following})
        following = None
        if len(names) > 1:
            # Where the page is full already, one row tells whether there is another page.
            more, count, following = await self._at_cursor(wish, names[1], max(left, 1), after)
            if left > 0:
                rows += more
                following = None if following is None else f"{_SECOND}{following}"
            else:
                following = _SECOND if count else None
        return Answer(document={"items": rows, "nextCursor": following})

    # -- pages by number ------------------------------------------------------------

    async def _numbered(
        self, wish: _Wish, spelt: str, number: int, size: int, **order: str
    ) -> tuple[Rows, int]:
        """
        @return: Own rows of a page, and how many rows there are in all.
        """
        query = wish.query(spelt, page=str(number), limit=str(size), **order)
        page = await self.runtime.page(query, paginated=True)
        total = page.get("total") if isinstance(page, Mapping) else None
        if not isinstance(total, int | float) or total < 0:
            raise Transient(ODD_SHAPE)
        return self._own(wish, page.get("items")), int(total)

    async def _second_rows(self, wish: _Wish, first: int, last: int, size: int) -> tuple[Rows, int]:
        """
        @return: Rows C{[first, last)} of the second list, and how many it has.
        """
        names = spellings(wish.wallet)
        if len(names) == 1:
            return [], 0
        if last <= first:
            _, total = await self._numbered(wish, names[1], 1, 1)
            return [], total
        number, skipped = first // size + 1, first % size
        rows, total = await self._numbered(wish, names[1], number, size)
        rows = rows[skipped : skipped + last - first]
        if skipped + last - first > size and total > number * size:
            more, total = await self._numbered(wish, names[1], number + 1, size)
            rows += more[: last - first - len(rows)]
        return rows, total

    async def list_paginated(self, asked: Asked) -> Answer:
        """Own ones, C{{items, total, page, totalPages}}."""
        wish, size = _wish(asked), _size(asked)
        number = whole(asked.query, "page", 1, least=1, most=10**9)
        rows, total = await self._numbered(wish, spellings(wish.wallet)[0], number, size)
        begin, end = (number - 1) * size, number * size
        more, others = await self._second_rows(
            wish, max(0, begin - total), max(0, end - total), size
        )
        document = {
            "items": [*rows, *more],
            "total": total + others,
            "page": number,
            "totalPages": -(-(total + others) // size),
        }
        return Answer(document=document)

    # -- before v0.180 --------------------------------------------------------------

    async def _pages(self, wish: _Wish) -> AsyncGenerator[Rows, None]:
        """
        Every own row once, page by page.

        Rows are counted from the oldest, so that new ones come last; where one was deleted
        meanwhile another slips by unseen: then all are gone through again.
        """
        seen: set[str] = set()
        for spelt in spellings(wish.wallet):
            for _ in range(3):
                first_total, total = 0, 0
                for number in range(1, _MAX_PAGES):
                    rows, total = await self._numbered(
                        wish, spelt, number, _USUAL_PAGE, sort="createdAt", order="asc"
                    )
                    first_total = max(first_total, total)
                    fresh = [row for row in rows if row.get("id") not in seen]
                    seen.update(str(row.get("id")) for row in fresh)
                    if fresh:
                        yield fresh
                    if number * _USUAL_PAGE >= total:
                        break
                if total == first_total:
                    break

    async def _array(self, asked: Asked) -> Answer:
        wish = _wish(asked)
        filters = {
            _PAGED_NAMES.get(name, name): value
            for name, value in wish.filters.items()
            if name not in _NOT_OF_ARRAYS
        }
        pages = self._pages(evolve(wish, filters=filters))
        # Whatever is wrong with the question shows here, while it can still be said.
        first: Rows = await anext(pages, [])
        return Answer(document=None, chunks=_as_array(first, pages))

    async def list(self, asked: Asked) -> Answer:
        """Own ones, in the shape of the Daytona behind."""
        if await self.pages_kept.get():
            return await self._by_cursor(asked)
        return await self._array(asked)


async def _as_array(first: Rows, pages: AsyncGenerator[Rows, None]) -> AsyncGenerator[bytes, None]:
    """The JSON of an array, a page at a time."""
    async with aclosing(pages):
        yield b"[" + dump(first)[1:-1]
        is_empty = not first
        del first
        async for rows in pages:
            yield (b"" if is_empty else b",") + dump(rows)[1:-1]
            is_empty = False
        yield b"]"
