"""
Tests of what the devnet's node signs by itself, and for whose pages:
C{sandbox_billing.devnet.chain.unlocked, server}.
"""

from __future__ import annotations

from typing import Any

from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils import to_checksum_address
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.test.requesthelper import DummyChannel

from sandbox_billing.devnet.chain.accounts import DEVELOPMENT_KEYS, address_of
from sandbox_billing.devnet.chain.errors import INVALID_PARAMS, RpcError
from sandbox_billing.devnet.chain.methods import perform
from sandbox_billing.devnet.chain.server import BoundedRequest, RpcResource

from .chain_probe import POOR, make_chain


ALICE = to_checksum_address(address_of(DEVELOPMENT_KEYS[3]))
PAGE = "http://127.0.0.1:8080"


class UnlockedTests(SynchronousTestCase):
    """
    Ten accounts, and no others.
    """

    def setUp(self) -> None:
        """A chain of its own."""
        self.chain = make_chain()

    def ask(self, method: str, *values: Any) -> Any:
        """What a method returns."""
        return perform(self.chain, method, list(values))

    def test_accounts(self) -> None:
        """In the order of their keys, while a node as such keeps none."""
        found = self.ask("devnet_accounts")
        self.assertEqual((len(found), found[3]), (10, ALICE))
        self.assertEqual(self.ask("eth_accounts"), [])

    def test_sign(self) -> None:
        """What is signed is EIP-191's, by the key of the account."""
        text = "0x" + b"anything".hex()
        signature = self.ask("devnet_personalSign", text, ALICE)
        message = encode_defunct(b"anything")
        self.assertEqual(Account.recover_message(message, signature=signature), ALICE)

    def test_send(self) -> None:
        """What is sent is mined, twice in a row, and moves money."""
        to = to_checksum_address(POOR)
        before = self.chain.balance(POOR)
        for _ in range(2):
            call = {"from": ALICE, "to": to, "value": "0x10"}
            hashed = self.ask("devnet_sendTransaction", call)
            self.chain.mine()
            self.assertEqual(self.ask("eth_getTransactionReceipt", hashed)["status"], "0x1")
        self.assertEqual(self.chain.balance(POOR) - before, 0x20)

    def test_stranger(self) -> None:
        """Nothing is signed for an account whose key is nobody's business here."""
        to = to_checksum_address(POOR)
        for method, values in (
            ("devnet_personalSign", ("0x00", to)),
            ("devnet_sendTransaction", ({"from": to, "to": ALICE},)),
        ):
            refused = self.assertRaises(RpcError, self.ask, method, *values)
            self.assertEqual(refused.code, INVALID_PARAMS)


class OriginsTests(SynchronousTestCase):
    """
    Which pages a browser lets ask.
    """

    def asked(self, method: bytes, origin: str | None) -> BoundedRequest:
        """A request of a page, answered."""
        request = BoundedRequest(DummyChannel())  # type: ignore[no-untyped-call]
        request.method = method
        if origin is not None:
            request.requestHeaders.setRawHeaders("Origin", [origin])
        request.gotLength(0)  # type: ignore[no-untyped-call]

        async def answer(body: bytes) -> bytes:
            return b"{}"

        request.requestHeaders.setRawHeaders("Content-Type", ["application/json"])
        RpcResource(answer, {PAGE}).render(request)
        return request

    def allowed(self, request: BoundedRequest) -> list[str] | None:
        """The origin that the reply names."""
        return request.responseHeaders.getRawHeaders("Access-Control-Allow-Origin")

    def test_ours(self) -> None:
        """The daemon's page may send JSON."""
        for method in (b"OPTIONS", b"POST"):
            self.assertEqual(self.allowed(self.asked(method, PAGE)), [PAGE])
        asked = self.asked(b"OPTIONS", PAGE)
        self.assertEqual(asked.code, 204)
        headers = asked.responseHeaders.getRawHeaders("Access-Control-Allow-Headers")
        self.assertEqual(headers, ["content-type"])

    def test_others(self) -> None:
        """No other page may, and is not told more by a preflight."""
        for origin in ("https://elsewhere.example", "null", None):
            for method in (b"OPTIONS", b"POST"):
                self.assertEqual(self.allowed(self.asked(method, origin)), None)
            self.assertEqual(self.asked(b"OPTIONS", origin).code, 403)
