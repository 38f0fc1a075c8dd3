"""
A wallet's receipts, over HTTP.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from attrs import evolve
from twisted.internet.defer import Deferred

from sandbox_billing.adapters.redis.commit import Commit, Write
from sandbox_billing.adapters.redis.draft import stored_form
from sandbox_billing.ledger.identity import Address, BatchId, ChargeId, Nonce, SandboxId
from sandbox_billing.ledger.merging import merged, merged_into
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.ledger.receipt import BatchProof
from sandbox_billing.ledger.receipt_form import read_receipt
from sandbox_billing.ledger.voucher import Charge, ChargeKind, ChargeRecord, Paid, Seal, Signed
from sandbox_billing.signing.eip55 import checksum
from sandbox_billing.signing.eip712 import EIP712Domain, VoucherFields, digest, usage_hash
from sandbox_billing.signing.key import SigningKey
from sandbox_billing.web import receipts as receipts_module
from tests.web.asking import AskingTestCase, Reply
from tests.web.world import (
    CHAIN_ID,
    CONTRACT,
    FOREIGN,
    NOW,
    OWNER,
    PROVIDER,
    SANDBOX,
    STRANGER,
    token_for,
)


SIGNER = SigningKey.from_bytes(b"\x33" * 32)
"""A published key, for tests only."""

DOMAIN = EIP712Domain(CHAIN_ID, CONTRACT)
TX = "0x" + "77" * 32


def charge(start: int, sandbox: str = SANDBOX, owner: Address = OWNER.address) -> Charge:
    """A minute."""
    return Charge(
        id=ChargeId(f"{sandbox}:{start}"),
        sandbox=SandboxId(sandbox),
        owner=owner,
        provider=PROVIDER,
        kind=ChargeKind.COMPUTE,
        period_start=UnixSeconds(start),
        period_end=UnixSeconds(start + 60),
        units=60,
        amount=Neuron(930),
        rate=930,
        created_at=UnixSeconds(start + 61),
    )


def fields(of: Charge, nonce: int) -> VoucherFields:
    """What is signed for it."""
    return VoucherFields(
        user=of.owner,
        provider=of.provider,
        usage_hash=usage_hash(of.sandbox, of.period_start, of.period_end, of.units),
        nonce=nonce,
        total_fee=of.amount,
    )


def seal(of: Charge, nonce: int) -> Seal:
    """As the settler makes it."""
    voucher = fields(of, nonce)
    return Seal(
        nonce=Nonce(nonce),
        fee=of.amount,
        usage_hash="0x" + voucher.usage_hash.hex(),
        signature="0x" + SIGNER.sign_digest(digest(DOMAIN, voucher)).hex(),
    )


def paid(of: Charge, nonce: int) -> ChargeRecord:
    """All of it moved."""
    return ChargeRecord(of, Paid(seal=seal(of, nonce), transaction=TX, block=70))


class ReceiptsTests(AskingTestCase):
    """
    C{/api/receipts}.
    """

    def keep(self, *records: ChargeRecord) -> None:
        """As the journal has them."""
        keys, writes = self.world.journal.store.keys, []
        for record in records:
            of = record.charge
            writes.append(Write("SET", keys.charge(of.id), (stored_form(record),)))
            writes.append(Write("ZADD", keys.usage(of.owner), (of.created_at, of.id)))
        self._write(*writes)

    def _write(self, *writes: Write) -> None:
        commit = Commit(name="meddle", fence="unused", writes=writes)
        self.successResultOf(Deferred.fromCoroutine(self.world.keyspace.commit(commit)))

    def get(self, target: str, **more: Any) -> Reply:
        """Signed by path."""
        return self.ask_by_path("GET", target, **more)

    def ids(self, query: str = "") -> list[str]:
        """Of one page."""
        return [one["id"] for one in self.get(f"/api/receipts{query}").json["receipts"]]

    def test_one(self) -> None:
        """All that was signed, its preimage, who signed it and where it was settled."""
        of = charge(NOW)
        self.keep(paid(of, 42))
        reply = self.get(f"/api/receipts/{quote(of.id)}")
        self.assertEqual(reply.status, 200)
        told = reply.json
        self.assertEqual(
            (told["user"], told["signer"], told["contract"], told["chain_id"]),
            (checksum(OWNER.address), checksum(SIGNER.address), checksum(CONTRACT), CHAIN_ID),
        )
        sealed = seal(of, 42)
        self.assertEqual(
            {name: told[name] for name in ("usage_hash", "signature", "nonce", "fee", "status")},
            {
                "usage_hash": sealed.usage_hash,
                "signature": sealed.signature,
                "nonce": "42",
                "fee": "930",
                "status": "paid",
            },
        )
        self.assertEqual((told["transaction"], told["block"], told["batch"]), (TX, 70, None))
        self.assertEqual(read_receipt(told).period_end, NOW + 60)

    def test_batch(self) -> None:
        """Of a batch: its lines, its signature, and where among them this voucher stood."""
        of = charge(NOW)
        line = "0x" + fields(of, 42).struct_hash().hex()
        proof = BatchProof(
            batch=BatchId("b7"), lines=("0x" + "01" * 32, line), signature="0x" + "02" * 65
        )
        self.keep(paid(of, 42))
        key = self.world.journal.store.keys.batch_proof(TX)
        self._write(Write("SET", key, (stored_form(proof),)))
        (told,) = self.get("/api/receipts").json["receipts"]
        self.assertEqual(
            told["batch"],
            {"id": "b7", "index": 1, "lines": list(proof.lines), "signature": proof.signature},
        )

    def test_unsigned(self) -> None:
        """What was not signed yet is told, too, with nothing where there is nothing."""
        self.keep(ChargeRecord(charge(NOW)))
        (told,) = self.get("/api/receipts").json["receipts"]
        nothing = ("signer", "nonce", "usage_hash", "signature", "transaction", "block")
        self.assertEqual({told[name] for name in nothing}, {None})
        self.assertEqual((told["status"], told["paid"], told["owed"]), ("open", "0", "930"))

    def test_a_seal_of_nobody(self) -> None:
        """A signature that cannot be one is shown as it is, without a signer."""
        of = charge(NOW)
        broken = evolve(seal(of, 1), signature="0x" + "00" * 65)
        self.keep(ChargeRecord(of, Signed(broken)))
        (told,) = self.get("/api/receipts").json["receipts"]
        self.assertEqual((told["signer"], told["signature"]), (None, broken.signature))

    def test_merged(self) -> None:
        """The whole shows its parts and stands in the list for them; each can be asked for."""
        parts = [charge(NOW), charge(NOW + 60)]
        whole = merged([ChargeRecord(part) for part in parts])
        self.keep(*(merged_into(ChargeRecord(p), whole) for p in parts), paid(whole, 3))
        (told,) = self.get("/api/receipts").json["receipts"]
        self.assertEqual(told["id"], whole.id)
        self.assertEqual(
            [(part["id"], part["amount"]) for part in told["collects"]],
            [(part.id, "930") for part in parts],
        )
        part = self.get(f"/api/receipts/{quote(parts[0].id)}").json
        self.assertEqual((part["status"], part["paid"], part["owed"]), ("merged", "0", "0"))

    def test_pages(self) -> None:
        """By cursor, newest first, each once."""
        records = [paid(charge(NOW + 60 * n), n + 1) for n in range(5)]
        self.keep(*records)
        found: list[str] = []
        query = "?limit=2"
        for _ in range(9):
            page = self.get(f"/api/receipts{query}").json
            found += [one["id"] for one in page["receipts"]]
            if page["next"] is None:
                break
            query = f"?limit=2&cursor={quote(page['next'])}"
        self.assertEqual(found, [record.charge.id for record in reversed(records)])

    def walked(self, query: str) -> list[list[str]]:
        """The ids of every page."""
        pages: list[list[str]] = []
        cursor = ""
        for _ in range(99):
            page = self.get(f"/api/receipts?{query}{cursor}").json
            pages.append([one["id"] for one in page["receipts"]])
            if page["next"] is None:
                break
            cursor = f"&cursor={quote(page['next'])}"
        return pages

    def test_pages_of_large_batches(self) -> None:
        """A page ends when there are many lines on it, and the next goes on behind it."""
        records = [paid(charge(NOW + 60 * n), n + 1) for n in range(5)]
        self.keep(*records)
        lines = [
            "0x" + fields(one.charge, n + 1).struct_hash().hex() for n, one in enumerate(records)
        ]
        proof = BatchProof(batch=BatchId("b7"), lines=tuple(lines), signature="0x" + "02" * 65)
        key = self.world.journal.store.keys.batch_proof(TX)
        self._write(Write("SET", key, (stored_form(proof),)))
        ids = [record.charge.id for record in reversed(records)]
        self.assertEqual(self.walked("limit=200"), [ids])
        self.patch(receipts_module, "_AT_ONCE", 3)
        for pieces, sizes in ((14, [2, 2, 1]), (20, [4, 1]), (25, [5]), (1, [1] * 5)):
            self.patch(receipts_module, "_PIECES", pieces)
            pages = self.walked("limit=200")
            self.assertEqual([len(page) for page in pages], sizes)
            self.assertEqual([id for page in pages for id in page], ids)

    def test_pages_of_many_parts(self) -> None:
        """So it does of parts; what is left when it is cut at the end of all is not lost."""
        self.patch(receipts_module, "_PIECES", 3)
        wholes = []
        for number in range(3):
            parts = [charge(NOW + 600 * number + 60 * n) for n in range(2)]
            whole = merged([ChargeRecord(part) for part in parts])
            self.keep(*(merged_into(ChargeRecord(p), whole) for p in parts), paid(whole, number))
            wholes.append(whole.id)
        self.assertEqual(self.walked("limit=200"), [[id] for id in reversed(wholes)])

    def test_many_that_are_not_asked_for(self) -> None:
        """A page looks at so many at most, and says where to go on."""
        old = paid(charge(NOW, "other"), 1)
        self.keep(old, *(ChargeRecord(charge(NOW + 60 * n)) for n in range(1, 1002)))
        page = self.get("/api/receipts?sandbox=other").json
        self.assertEqual(page["receipts"], [])
        page = self.get(f"/api/receipts?sandbox=other&cursor={quote(page['next'])}").json
        self.assertEqual([one["id"] for one in page["receipts"]], [old.charge.id])
        self.assertIsNone(page["next"])

    def test_filters(self) -> None:
        """Of a time that a period touches, and of a sandbox."""
        create = evolve(
            charge(NOW), id=ChargeId("sb:create"), kind=ChargeKind.CREATE, units=0, rate=0
        )
        create = evolve(create, period_end=create.period_start)
        self.keep(ChargeRecord(create), *(ChargeRecord(charge(NOW + 60 * n)) for n in range(3)))
        self.assertEqual(self.ids(f"?to={NOW + 60}"), ["sb:create", f"{SANDBOX}:{NOW}"])
        self.assertEqual(self.ids(f"?from={NOW + 1}&to={NOW + 60}"), [f"{SANDBOX}:{NOW}"])
        self.assertEqual(self.ids(f"?from={NOW + 120}"), [f"{SANDBOX}:{NOW + 120}"])
        self.assertEqual(self.ids("?sandbox=none"), [])

    def test_others(self) -> None:
        """Another wallet's are not in the list, and by their ids as if there were none."""
        self.keep(paid(charge(NOW, FOREIGN, STRANGER.address), 1))
        self.assertEqual(self.ids(), [])
        for id in (f"{FOREIGN}:{NOW}", "nothing:1"):
            self.assertEqual(self.get(f"/api/receipts/{quote(id)}").error, (404, "no such receipt"))

    def test_a_token_for_one_sandbox(self) -> None:
        """It sees that one's alone."""
        self.keep(paid(charge(NOW), 1), paid(charge(NOW, "sb-2"), 2))
        headers = token_for(self.world, OWNER.address, expires_at=NOW + 60, only=SANDBOX)
        page = self.ask("GET", "/api/receipts", headers).json
        self.assertEqual([one["sandbox"] for one in page["receipts"]], [SANDBOX])
        self.assertEqual(
            self.ask("GET", "/api/receipts?sandbox=sb-2", headers).json["receipts"], []
        )
        mine = self.ask("GET", f"/api/receipts/{SANDBOX}:{NOW}", headers)
        theirs = self.ask("GET", f"/api/receipts/sb-2:{NOW}", headers)
        self.assertEqual((mine.status, theirs.status), (200, 404))

    def test_nonsense(self) -> None:
        """What is no cursor, no moment and no limit is refused."""
        for query, text in (
            ("cursor=x", "cursor must be what the page before called next"),
            ("limit=201", "limit must be a whole number from 1 to 200"),
            ("from=yesterday", "from must be a whole number from 0 to 100000000000"),
        ):
            self.assertEqual(self.get(f"/api/receipts?{query}").error, (400, text))
