"""
A user's program, whole (docs/client.rst): money in, a sandbox, work, files, what it cost, the end.

Run with PROVIDER_URL, RPC_URL and USER_KEY, the wallet's private key, in the environment.
"""

# ruff: noqa: T201 (it talks to a terminal)

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from sandbox_billing.client import CannotPay, ChainAccount, Client, KeySigner


def main() -> None:
    """From nothing to nothing."""
    signer = KeySigner.from_env("USER_KEY")
    client = Client(os.environ["PROVIDER_URL"], signer)
    info = client.info()

    # On-chain, once: pay in, and agree to the provider's signer and prices.
    chain = ChainAccount.of(info, signer, rpc_url=os.environ["RPC_URL"])
    chain.deposit(10**18)
    chain.acknowledge()

    # The provider sees it with the next block.
    while True:
        try:
            box = client.create(labels={"project": "demo"})
            break
        except CannotPay as refused:
            print(f"not yet: {refused}")
            time.sleep(1)
    client.wait(box.id, "started")

    # One signature for an hour of requests.
    session = client.login(ttl=3600, scopes=["read", "manage", "toolbox"])
    with Client(os.environ["PROVIDER_URL"], token=session.token) as desk:
        work(desk, box.id)
        desk.stop(box.id)
        desk.wait(box.id, "stopped")
        desk.start(box.id)
        desk.delete(box.id)
        account = desk.account()
        print(f"balance {account.balance}, runs dry at {account.runs_dry_at}")
        used = desk.usage(group="sandbox")
        print(f"{used.totals.seconds} s cost {used.totals.charged} neuron")
        desk.logout()

    # What was not used goes back, two hours after it was asked for.
    chain.request_refund(chain.balance() // 2)
    print(f"asked back: {chain.standing().pending_refund}")

    # What the wallet was told, from the first notice on; it goes on for ever if you let it.
    for notice in client.notices(after="0"):
        print(f"notice {notice.kind}: {dict(notice.facts)}")
        if notice.kind == "refund_requested":
            break
    for receipt in client.receipts():
        print(f"receipt {receipt.id}: {receipt.fee} neuron, {receipt.status}")


def work(desk: Client, box: str) -> None:
    """A command, and a file in and out."""
    done = desk.exec(box, "echo hello from inside; exit 3")
    print(f"exit code {done.exit_code}: {done.output.strip()}")
    with tempfile.TemporaryDirectory() as folder:
        here, back = Path(folder, "data.bin"), Path(folder, "back.bin")
        here.write_bytes(os.urandom(3 * 1024 * 1024))
        desk.upload(box, here, "data.bin")
        desk.download(box, "data.bin", back)
        print(f"the same: {here.read_bytes() == back.read_bytes()}")
    print(f"mine: {[one.id == box for one in desk.list()]}")


main()
