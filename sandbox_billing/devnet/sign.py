"""
Send one signed request with a development key: C{python -m sandbox_billing.devnet.sign}.

For playing with the devnet; C{/info} of the proxy tells provider and chain.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import time
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from sandbox_billing.devnet.chain.accounts import DEVELOPMENT_KEYS
from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import Address
from sandbox_billing.signing.key import SigningKey
from sandbox_billing.signing.request import sign_request


ALICE = DEVELOPMENT_KEYS[3]
"""As in C{devnet.world}, which takes a second to import."""

NO_PROXY = (
    "no billing proxy answers there: its address is http://HOST:PORT, as the devnet's banner"
    " prints it, without /api"
)


def asked_of(base: str) -> tuple[Address, int]:
    """
    @param base: Of the proxy, without a trailing slash.
    @return: Provider and chain, as C{/info} tells them.
    @raise BadInput: Something else answers, or this is no address.
    """
    if not base.startswith(("http://", "https://")):
        raise BadInput(NO_PROXY)
    try:
        with urlopen(f"{base}/info", timeout=10) as answer:
            info = json.load(answer)
        return Address(info["provider_address"]), int(info["chain_id"])
    except HTTPError as refused:
        if refused.code >= 500:
            raise
        raise BadInput(NO_PROXY) from None
    except URLError:
        raise
    except (BadInput, HTTPException, LookupError, TypeError, ValueError):
        raise BadInput(NO_PROXY) from None


def call(base: str, method: str, path: str, body: bytes, key: str) -> tuple[int, str]:
    """
    @param base: Of the proxy, without a trailing slash.
    @return: Status and text of the answer.
    """
    provider, chain_id = asked_of(base)
    headers = sign_request(
        SigningKey.from_hex(key),
        action=f"{method}:{path}",
        body=body,
        expires_at=int(time.time()) + 300,
        nonce=secrets.token_hex(16),
        audience=provider,
        chain_id=chain_id,
    )
    if body:
        headers["Content-Type"] = "application/json"
    request = Request(base + path, data=body or None, headers=headers, method=method)
    try:
        with urlopen(request, timeout=90) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as refused:
        return refused.code, refused.read().decode()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m sandbox_billing.devnet.sign",
        description="Send one request to a billing proxy, signed with a development key.",
    )
    parser.add_argument("base", help="the proxy's address, as the devnet's banner prints it")
    parser.add_argument("method", choices=("GET", "POST", "PUT", "DELETE"))
    parser.add_argument("path", help="for example /api/sandbox")
    parser.add_argument("body", nargs="?", default="", help="a JSON object")
    parser.add_argument(
        "--key", default="0x" + ALICE.hex(), help="default: alice, a well-known development key"
    )
    given = parser.parse_args()
    base, body = given.base.rstrip("/"), given.body.encode()
    try:
        status, text = call(base, given.method, given.path, body, given.key)
    except (BadInput, URLError) as why:
        sys.stderr.write(f"{given.base}: {why}\n")
        return 2
    try:
        text = json.dumps(json.loads(text), indent=2)
    except ValueError:
        sys.stderr.write("(not JSON)\n")
    print(f"{status}\n{text}")
    return 0 if status < 400 else 1


if __name__ == "__main__":
    raise SystemExit(main())
