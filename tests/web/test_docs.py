"""
The page C{docs/http.rst} says what the table does.
"""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.signing import message
from sandbox_billing.signing.request import sign_message
from sandbox_billing.web import _denied, _router, _routes, idempotency, site
from sandbox_billing.web._routes import Who
from sandbox_billing.web.limits import Rates
from tests.web.test_spellings import table_of
from tests.web.world import OWNER, World


PAGE = Path(__file__).resolve().parents[2] / "docs" / "http.rst"

_ROW = re.compile(
    r"   \* - ``([A-Z]+) (/[^`]*)``\n     - (\w+)\n     -(?: ``([a-z-]+)``)?\n", re.MULTILINE
)


class PageTests(SynchronousTestCase):
    """
    Neither knows more than the other.
    """

    def setUp(self) -> None:
        """Read it, with its lines joined where words only wrap."""
        self.page = PAGE.read_text("utf-8")
        self.flowing = re.sub(r"\s+", " ", self.page)

    def test_routes(self) -> None:
        """Each route, for whom it is, and its verb."""
        said = {
            Who.NOBODY: "nobody",
            Who.PUBLIC: "everybody",
            Who.WALLET: "wallet",
            Who.OWNER: "owner",
            Who.OPERATOR: "operator",
        }
        served = {
            (route.method, route.pattern, said[route.who], route.verb or "")
            for route in table_of(World()).routes
        }
        self.assertEqual(set(_ROW.findall(self.page)), served)

    def test_named(self) -> None:
        """Whatever else the page says of a request, there is such a row."""
        rows = {(method, path) for method, path, *_ in _ROW.findall(self.page)}
        named = re.findall(r"``(GET|PUT|POST|DELETE|PATCH|ANY) (/[^`?]*)", self.flowing)
        self.assertEqual(set(named) - rows, set())

    def test_denials(self) -> None:
        """Each row for nobody, and why."""
        for route in table_of(World()).routes:
            if route.who is Who.NOBODY:
                row = f"``{route.method} {route.pattern}`` - nobody - - 403 ``{route.denial}``"
                self.assertIn(row, self.flowing)

    def test_texts(self) -> None:
        """Each fixed text of a refusal stands on the page."""
        for text in (
            message.MISSING_HEADERS,
            message.INVALID_ENCODING,
            message.INVALID_JSON,
            message.EXPIRED,
            message.TOO_FAR_AHEAD,
            message.INVALID_SIGNATURE,
            message.MISMATCH,
            message.NONCE_USED,
            _routes.NO_ROUTE,
            _routes.WRONG_METHOD,
            _router.TOO_LARGE,
            _router.NOT_JSON,
            site.HEADERS_TOO_LARGE,
            _denied.MANAGED,
            idempotency.OTHER_REQUEST,
            idempotency.UNDER_WAY,
        ):
            self.assertIn(f"``{text}``", self.flowing)

    def test_logins(self) -> None:
        """How often one may log in, from one address and from around it."""
        login, site = Rates().login, Rates().site
        self.assertIn(
            f"one address may log in {login.burst} times at once and then every"
            f" {1 / login.per_second:g} seconds, a /48 in IPv6 {site.burst} times at once and then"
            f" {site.per_second:g} times a second (429)",
            self.flowing,
        )

    def test_worked_example(self) -> None:
        """The bytes on the page give the headers on the page."""
        (raw,) = re.findall(r'^   (\{"action".*\})$', self.page, re.MULTILINE)
        for name, value in sign_message(OWNER, raw.encode()).items():
            self.assertIn(f"   {name}: {value}\n", self.page)
