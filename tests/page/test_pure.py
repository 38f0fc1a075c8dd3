"""
What the page computes: hashes, amounts, events in pieces, and verdicts, in the browser itself.
"""

from __future__ import annotations

import json
from typing import Any

from eth_utils import keccak, to_checksum_address

from tests.page.world import BrowserTestCase, devnet


CONTRACT = "0xd7e0CD227e602FedBb93c36B1F5bf415398508a4"
SIGNER = "0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
VECTOR = {
    "chain_id": 16602,
    "contract": CONTRACT,
    "user": "0x" + "11" * 20,
    "provider": "0x" + "22" * 20,
    "signer": SIGNER,
    "sandbox": "sb-0001",
    "kind": "compute",
    "period_start": 1700000000,
    "period_end": 1700000060,
    "units": 60,
    "rate_per_minute": "1000020",
    "fee": "1000020",
    "nonce": "42",
    "usage_hash": "0x479468908be0de1b1a995dfe7761e1a2cec727edbefff256e895a3bad84b45aa",
    "signature": "0x43511a396585f3500b5ed5bb7ed08b8149d4b63ac79337acc116eaaca18c3f26"
    "41e7585e1ac66365ceec914e9d782513316875a762166d28d6d993043ce2660b1b",
    "status": "signed",
    "paid": "0",
    "owed": "0",
    "transaction": None,
    "block": None,
    "collects": [],
    "batch": None,
}
"""The voucher of wire.md §2, signed with the published key 0x11...11."""

PLACE = {
    "chain_id": 16602,
    "contract": CONTRACT,
    "provider": "0x" + "22" * 20,
    "user": "0x" + "11" * 20,
}

FAKE_CHAIN = """{
  read: async (to, data, block) => {
    if (/^0x0+1$/.test(to)) return '0x' + recovered;
    if (data.length > 80) return '0x' + String(acknowledged).padStart(64, '0');
    if (block !== 'latest') throw new Error('missing trie node');
    return '0x' + [192, BigInt('0x' + named), ...prices]
      .map(one => BigInt(one).toString(16).padStart(64, '0')).join('');
  },
  request: async (method) => method === 'eth_getLogs' ? Array(changes_since) : mined,
}"""
"""A node that recovers, knows a service and whether it was acknowledged, and forgets states."""


def part(start: int, end: int, amount: int) -> dict[str, Any]:
    """What a merged receipt may be made of."""
    return {
        "id": f"c{start}",
        "period_start": start,
        "period_end": end,
        "units": end - start,
        "amount": str(amount),
        "rate_per_minute": "1000020",
    }


class PureTests(BrowserTestCase):
    """
    Modules without a page around them.
    """

    def setUp(self) -> None:
        """From where they are served."""
        super().setUp()
        self.tab.go(devnet().url + "/page/icon.svg")

    def run_in(self, module: str, expression: str, **given: Any) -> Any:
        """What an expression is, C{m} being the module."""
        names = "".join(f"const {name} = {json.dumps(value)};" for name, value in given.items())
        return self.tab.js(
            f"(async () => {{ const m = await import('./{module}.js'); {names}"
            f" return {expression}; }})()"
        )

    def test_hashes(self) -> None:
        """Keccak at every length around its blocks, EIP-55, and the vectors of wire.md."""
        lengths = [0, 1, 31, 32, 33, 135, 136, 137, 271, 272, 273, 500]
        messages = [bytes((7 * at + length) % 256 for at in range(length)) for length in lengths]
        told = self.run_in(
            "keccak",
            "texts.map(text => m.hex(m.keccak256(m.bytesOf(text))))",
            texts=["0x" + message.hex() for message in messages],
        )
        self.assertEqual(told, ["0x" + keccak(message).hex() for message in messages])
        addresses = [to_checksum_address(keccak(message)[:20]) for message in messages]
        told = self.run_in(
            "keccak", "texts.map(m.checksummed)", texts=[one.lower() for one in addresses]
        )
        self.assertEqual(told, addresses)
        told = self.run_in(
            "verify",
            "[m.usageHash(r.sandbox, r.period_start, r.period_end, r.units),"
            " ...[m.domainSeparator(r.chain_id, r.contract), m.structHash(r), m.digest(r)]"
            ".map(one => Array.from(one, b => b.toString(16).padStart(2, '0')).join(''))]",
            r=VECTOR,
        )
        self.assertEqual(
            told,
            [
                VECTOR["usage_hash"],
                "c882146594b1c87dd95b9c94c69bc0c6d4aa62a52e23a64e61cb25ec4d0193f9",
                "329c534942e9478a44be64d3396fe7b35dbdfae5aa0aa9e9db3a871e973d3860",
                "152788fd47ad45b2fba16660ae34f1efbaef7a74062e367e7ab174af6c597750",
            ],
        )

    def verdicts(self, **changes: Any) -> dict[str, str]:
        """
        Of the vector with changes, by what is checked; the chain is L{FAKE_CHAIN}, which knows
        the signer, or another one where C{chain} says so.
        """
        chain = changes.pop("chain", "")
        given = {
            "prices": changes.pop("prices", [1000000, 5000, 1, 20]),
            "acknowledged": changes.pop("acknowledged", 1),
            "mined": changes.pop("mined", None),
            "changes_since": changes.pop("changes_since", 0),
        }
        signer = SIGNER[2:].lower().rjust(64, "0")
        named = "00" * 32 if chain == "other" else signer
        told = self.run_in(
            "verify",
            f"(await m.verify({{...r, ...changes}}, {FAKE_CHAIN}, place))"
            ".checks.map(one => [one.what, one.verdict])",
            r=VECTOR,
            changes=changes,
            place=PLACE,
            recovered=signer,
            named=named,
            **given,
        )
        return dict(told)

    def test_verdicts(self) -> None:
        """What proves, what refutes, and what leaves it open."""
        sound = {
            "What was charged for": "proven",
            "The price": "proven",
            "The payment": "not proven",
            "The signature": "proven",
        }
        self.assertEqual(self.verdicts(), sound)
        unknown = self.verdicts(chain="other")
        self.assertEqual(unknown["The signature"], "not proven", "a receipt may name anybody")
        self.assertEqual(self.verdicts(signature=None)["The signature"], "not proven")
        self.assertEqual(self.verdicts(signature="0x12")["The signature"], "refuted")
        self.assertEqual(self.verdicts(signature="junk")["The signature"], "refuted")
        self.assertEqual(self.verdicts(fee="1000099")["The price"], "refuted")
        self.assertEqual(self.verdicts(period_end=1700000030)["The price"], "refuted")
        start = 1700000000
        for halves, verdict in (
            ([part(start, start + 30, 500010), part(start + 30, start + 60, 500010)], "proven"),
            ([part(start, start + 30, 500010), part(start + 20, start + 50, 500010)], "refuted"),
            ([part(start, start + 30, 500010), part(start + 30, start + 60, 500000)], "refuted"),
            ([part(start, start + 30, 500010)], "refuted"),
            ([part(start, start + 30, 500010), part(start + 30, start + 60, 500011)], "refuted"),
            ([part(start - 30, start, 500010), part(start, start + 30, 500010)], "refuted"),
        ):
            self.assertEqual(self.verdicts(collects=halves)["What it is made of"], verdict)
        halves = [part(start, start + 30, 500010), part(start + 30, start + 60, 500010)]
        rest = self.verdicts(collects=halves, fee="700000")
        self.assertEqual(rest["What it is made of"], "proven", "some of it was paid before")

    def test_place(self) -> None:
        """A receipt of another provider is not this one's, whatever else is right."""
        told = self.verdicts(provider="0x" + "33" * 20)
        self.assertEqual(told["Whose it is"], "refuted")

    def imported(self) -> None:
        """Carried over is not proven; and refuted where its name is an excuse."""
        honest: dict[str, Any] = {
            "id": "sb-0001:imported:" + "77" * 8 + ":0",
            "kind": "imported",
            "usage_hash": "0x" + "77" * 32,
            "period_end": 1700000000,
            "units": 0,
            "rate_per_minute": "0",
        }
        told = self.verdicts(**honest)
        self.assertEqual(told["What was charged for"], "not proven")
        self.assertEqual(told["The price"], "not proven")
        for wrong in (
            {"kind": "compute"},
            {"sandbox": "sb-2"},
            {"usage_hash": "0x" + "78" * 32},
            {"id": "sb-0001:imported:"},
            {"period_end": 1700000060},
        ):
            told = self.verdicts(**{**honest, **wrong})
            self.assertEqual(told["What was charged for"], "refuted", wrong)

    def test_prices(self) -> None:
        """Proven is only what the contract's prices, acknowledged, come to; shapes are checked."""

        def price(**changes: Any) -> str:
            return self.verdicts(**changes)["The price"]

        twice = {"rate_per_minute": "2000041", "fee": "2000041"}
        self.assertEqual(price(**twice), "not proven", "the daemon's rate proves nothing")
        self.assertEqual(price(rate_per_minute="2000040", fee="2000040"), "proven")
        self.assertEqual(price(rate_per_minute="1000000", fee="1000000"), "not proven")
        self.assertEqual(price(prices=[0, 0, 1, 0]), "not proven")
        self.assertEqual(price(acknowledged=0), "not proven")
        rounded = {"rate_per_minute": "999960", "fee": "999960"}
        self.assertEqual(price(**rounded), "proven", "by the second, as the Go system rounded")
        self.imported()
        self.assertEqual(price(rate_per_minute=None), "refuted")
        moment = {"period_end": 1700000000, "units": 0, "rate_per_minute": "0"}
        for kind in ("create", "debt"):
            self.assertEqual(price(kind=kind, fee="5000", **moment), "proven")
            self.assertEqual(price(kind=kind, fee="5001", **moment), "not proven")
            self.assertEqual(price(kind=kind), "refuted", "units")
        self.assertEqual(price(kind="create", units=0), "refuted", "a time")
        self.assertEqual(price(kind="debt", units=0, fee="900000"), "proven")
        self.assertEqual(price(kind="debt", units=0, fee="1000021"), "refuted")
        odd = {"kind": "debt", "units": 0, "fee": "900000000", "period_start": "1700000060"}
        self.assertEqual(price(**odd), "refuted", "neither a moment nor a time")
        self.assertEqual(price(kind="gift"), "refuted")
        self.assertEqual(price(paid="1"), "refuted")

    def test_prices_of_then(self) -> None:
        """What a node has forgotten holds only where nothing has changed since."""
        data = "".join(
            one.removeprefix("0x").rjust(64, "0")
            for one in (f"{1000020:x}", str(VECTOR["usage_hash"]), f"{42:x}", "0")
        )
        settled = keccak(b"VoucherSettled(address,address,uint256,bytes32,uint256,uint8)").hex()
        log = {
            "address": CONTRACT,
            "topics": ["0x" + settled, VECTOR["user"], VECTOR["provider"]],
            "data": "0x" + data,
        }
        paid = {
            "status": "paid",
            "paid": "1000020",
            "transaction": "0x" + "77" * 32,
            "mined": {"status": "0x1", "blockNumber": "0x5", "logs": [log]},
        }
        told = self.verdicts(**paid)
        self.assertEqual((told["The payment"], told["The price"]), ("proven", "proven"))
        self.assertEqual(self.verdicts(changes_since=1, **paid)["The price"], "not proven")
        overcharged = {**paid, "rate_per_minute": "1000021"}
        self.assertEqual(self.verdicts(**overcharged)["The price"], "not proven")

    def test_sessions(self) -> None:
        """A token goes to the provider that gave it, and to no other below the same origin."""
        told = self.run_in(
            "api",
            "(() => { const at = (provider, path) => { m.keepSessionsAs('s', provider, path);"
            " return m.restoreSession()?.token ?? null; };"
            " at('0xA', '/proxy/A/'); m.keepSession({token: 't', expires_at: m.now() + 900});"
            " return [at('0xB', '/proxy/B/'), at('0xA', '/proxy/A/'), at('0xC', '/proxy/A/'),"
            " at('0xA', '/proxy/A/'), sessionStorage.length]; })()",
        )
        self.assertEqual(told, [None, "t", None, None, 0])

    def test_words(self) -> None:
        """Amounts to the neuron both ways, and events however they are cut."""
        told = self.run_in(
            "money",
            "[['1', '0,5', '12.000000000000000001', '', 'x', '-1', '1e3', '0.1234567890123456789']"
            ".map(one => String(m.neuronOf(one))), m.in0G(1234567890123456789012n, 4),"
            " m.in0G(1n, 6), m.in0G(0n, 6), m.in0G(1999999999999999999n, 2),"
            " String(m.costOf(90000000000000000n, 90)), m.duration(3661), m.duration(59.9)]",
        )
        parsed = ["1" + "0" * 18, "5" + "0" * 17, "12" + "0" * 17 + "1", *["null"] * 5]
        amounts = ["1\u202f234.5678", "<\u200a0.000001", "0", "1.99", "135000000000000000"]
        self.assertEqual(told, [parsed, *amounts, "1 h 01 min", "59 s"])
        stream = "id: 7\nevent: stopped\ndata: {\ndata: }\n\n: alive\n\nid:8\r\ndata:x\r\n\r\n"
        for size in (1, 3, 1000):
            told = self.run_in(
                "notices",
                "(() => { const heard = []; const r = new m.EventReader(e => heard.push(e));"
                " for (let at = 0; at < stream.length; at += size)"
                " r.take(stream.slice(at, at + size)); return heard; })()",
                stream=stream,
                size=size,
            )
            self.assertEqual(
                [(one["id"], one["data"]) for one in told], [("7", "{\n}"), ("8", "x")]
            )
