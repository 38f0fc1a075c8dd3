"""A3: a nonce of any form, kept for everybody under one name, and as many as anybody sends."""

from __future__ import annotations

from typing import Any

from tests.traps.trap import Patch, Patches, TrapCase, noticed_by


class WebTests(TrapCase):
    """Nonces of signed requests."""

    @noticed_by("tests.web.test_signing.FormTests.test_message")
    def test_any_form(self) -> Patches:
        """A nonce may be empty, or as long as a header line."""

        def lenient(original: Any) -> Any:
            def read(raw: bytes) -> Any:
                fields = original(raw)
                return {**fields, "nonce": "0" * 32} if "nonce" in fields else fields

            return read

        return Patch("sandbox_billing.signing.message._read_fields", lenient)

    @noticed_by("tests.adapters.test_redis_keys.KeysTests.test_names_others_know")
    def test_one_name_for_all(self) -> Patches:
        """What one wallet has used, no other may use any more."""
        return Patch(
            "sandbox_billing.adapters.redis.keys.Keys.request_nonce",
            lambda _: lambda keys, wallet, nonce: f"auth:nonce:{nonce}",
        )

    @noticed_by("tests.web.test_contract_wallets.DoorTests.test_once_for_all")
    def test_each_wallet(self) -> Patches:
        """What a key signed for its contract wallet is done again for the key's own."""
        return Patch("sandbox_billing.web.caller.signer_of", lambda _: lambda raw, signature: None)

    @noticed_by("tests.web.test_limits.FrontDeskTests.test_forger")
    def test_no_end_of_tries(self) -> Patches:
        """Whoever proves nothing is looked at again and again."""
        return Patch(
            "sandbox_billing.web.limits.RequestLimits.may_prove",
            lambda _: lambda limits, peer: None,
        )

    @noticed_by("tests.web.test_streams.SignedBodyTests.test_expired_meanwhile")
    def test_outlived(self) -> Patches:
        """A signature whose body comes late is taken when its nonce may be forgotten."""
        return Patch("sandbox_billing.web.caller.check_expiry", lambda _: lambda message, now: None)
