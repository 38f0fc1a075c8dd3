"""
For whoever receives webhooks: was this sent by the provider, and now?

Nothing but the standard library is needed; docs/webhooks.rst tells what is signed.

Tests: C{tests.client.test_webhooks}.
"""

from __future__ import annotations

import hmac
import re
from hashlib import sha256


TOLERANCE_SECONDS = 300
"""How old what is believed may be, and how far two clocks may differ."""

_MOMENT = re.compile(r"[0-9]{1,12}\Z")


class WrongSignature(ValueError):
    """This was not sent by who knows the secret, or not now."""


def verify_signature(
    secret: str, header: str, body: bytes, now: float, tolerance: float = TOLERANCE_SECONDS
) -> None:
    """
    @param secret: As the registration told it, C{whsec_} included.
    @param header: C{X-Sandbox-Billing-Signature}, as it came.
    @param body: Its bytes as they came: what was parsed and written again is something else.
    @param now: Unix seconds.
    @param tolerance: Seconds that the moment of sending may lie before or after now.
    @raise WrongSignature: Do not believe it.
    """
    moments, signatures = [], []
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name == "t":
            moments.append(value)
        elif name == "v1":
            signatures.append(value)
    if len(moments) != 1 or not _MOMENT.match(moments[0]) or not signatures:
        raise WrongSignature("the signature is not t=<unix seconds>,v1=<hex>")
    signed = moments[0].encode("ascii") + b"." + body
    expected = hmac.new(secret.encode(), signed, sha256).hexdigest().encode("ascii")
    # All of them are compared, and each to its end: how long it takes tells nothing.
    good = [hmac.compare_digest(expected, one.encode("utf-8", "replace")) for one in signatures]
    if not any(good):
        raise WrongSignature("the signature is not by this secret, or not of this body")
    if not abs(now - int(moments[0])) <= tolerance:
        raise WrongSignature(f"this was not sent within {tolerance:.0f} s of now")
