"""
Sign in and print a session token: C{python -m sandbox_billing.devnet.login}.

For programs that cannot sign, as those written with Daytona's SDKs; C{/info} of the proxy
tells provider and chain.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import time
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from sandbox_billing.devnet.chain.accounts import DEVELOPMENT_KEYS
from sandbox_billing.devnet.sign import asked_of
from sandbox_billing.errors import BadInput
from sandbox_billing.ledger.identity import sandbox_id
from sandbox_billing.ledger.money import parse_neuron
from sandbox_billing.ledger.token import DEFAULT_LIFE_SECONDS, Grant, Scope
from sandbox_billing.signing.key import SigningKey
from sandbox_billing.signing.siwe import sign_login


ALICE = DEVELOPMENT_KEYS[3]
"""As in C{devnet.world}, which takes a second to import."""


def log_in(base: str, given: argparse.Namespace) -> tuple[int, Any]:
    """
    @param base: Of the proxy, as users reach it, without a trailing slash.
    @return: Status and parsed JSON of the answer.
    """
    provider, chain_id = asked_of(base)
    grant = Grant(
        provider=provider,
        scopes=tuple(scope for scope in Scope if scope.value in given.scope),
        life_seconds=given.ttl,
        spend_limit=None if given.spend_limit is None else parse_neuron(given.spend_limit),
        only=None if given.sandbox is None else sandbox_id(given.sandbox),
    )
    body = sign_login(
        SigningKey.from_hex(given.key),
        url=given.public_url or base,
        chain_id=chain_id,
        resources=grant.resources(),
        nonce=secrets.token_hex(16),
        issued_at=int(time.time()),
    )
    request = Request(
        f"{base}/api/auth/session",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    try:
        with urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except HTTPError as refused:
        return refused.code, json.load(refused)


def parser() -> argparse.ArgumentParser:
    """What may be asked for."""
    scopes = [scope.value for scope in Scope]
    made = argparse.ArgumentParser(
        prog="python -m sandbox_billing.devnet.login",
        description="Sign in at a billing proxy with a development key and print a token.",
    )
    made.add_argument("base", help="the proxy's address, as the devnet's banner prints it")
    made.add_argument("--scope", action="append", choices=scopes, help="default: all of them")
    made.add_argument("--ttl", type=int, default=DEFAULT_LIFE_SECONDS, help="seconds, to 86400")
    made.add_argument("--spend-limit", help="neuron, the most to spend with it")
    made.add_argument("--sandbox", help="the id of the one sandbox it is for")
    made.add_argument("--public-url", help="the proxy's PUBLIC_URL, where that is not the address")
    made.add_argument("--json", action="store_true", help="print all that is told of the token")
    made.add_argument(
        "--key", default="0x" + ALICE.hex(), help="default: alice, a well-known development key"
    )
    return made


def main() -> int:
    """The command."""
    given = parser().parse_args()
    given.scope = given.scope or [scope.value for scope in Scope]
    try:
        status, answer = log_in(given.base.rstrip("/"), given)
    except (BadInput, URLError) as why:
        sys.stderr.write(f"{given.base}: {why}\n")
        return 2
    if status != 200:
        sys.stderr.write(f"{status}: {answer.get('error')}\n")
        return 1
    print(json.dumps(answer, indent=2) if given.json else answer["token"])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
