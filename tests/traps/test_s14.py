"""S14: each attempt takes a fresh nonce, and the user pays twice."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from sandbox_billing.ledger.settlement import Line
from sandbox_billing.ledger.voucher import Open, Signed
from tests.simulation.faults import FaultKind
from tests.traps.trap import Death, Patch, Patches, TrapCase, noticed_by


SETTLER = "tests.services.test_settler.SettlerTests."
QUEUE = "sandbox_billing.adapters.redis.queue."


class DaemonTests(TrapCase):
    """A voucher and its promise."""

    @noticed_by(
        SETTLER + "test_not_acknowledged",
        "tests.services.test_flawed.OrdinaryTests.test_acknowledgement",
    )
    def test_fresh_nonce(self) -> Patches:
        """What is offered again is signed under a new nonce."""

        def renumbered(original: Any) -> Any:
            def plan(queues: Any, batch_max: int) -> Any:
                lines = original(queues, batch_max)
                most = max((line.nonce for line in lines), default=0)
                return tuple(
                    Line(line.record, most + place, fresh=True, fee=line.fee)
                    for place, line in enumerate(lines, 1 if lines and not lines[0].fresh else 0)
                )

            return plan

        def anew(original: Any) -> Any:
            def _seal(domain: Any, signer: Any, record: Any, nonce: Any) -> Any:
                return original(domain, signer, evolve(record, state=Open()), nonce)

            return _seal

        return [
            Patch("sandbox_billing.services.settler.plan", renumbered),
            Patch("sandbox_billing.services.sealing._seal", anew),
            Patch(
                QUEUE + "sealed",
                lambda _: lambda record, seal, rest=None: evolve(record, state=Signed(seal)),
            ),
        ]

    @noticed_by(
        SETTLER + "test_stored_before_sent",
        Death("create-tick-stop", FaultKind.CRASH_AFTER, ("IChain.broadcast",)),
    )
    def test_sent_before_it_is_stored(self) -> Patches:
        """A transaction is sent, and then recorded."""

        def hasty(original: Any) -> Any:
            async def _attempt(sender: Any, batch: Any, replacing: Any, **how: Any) -> Any:
                chain, prepare = sender.chain, sender.chain.prepare

                class Sending:
                    """Sends what it prepares."""

                    def __getattr__(self, name: str) -> Any:
                        return getattr(chain, name)

                    async def prepare(self, *about: Any, **how: Any) -> Any:
                        attempt = await prepare(*about, **how)
                        await chain.broadcast(attempt)
                        return attempt

                return await original(evolve(sender, chain=Sending()), batch, replacing, **how)

            return _attempt

        return Patch("sandbox_billing.services.sending.Sender._attempt", hasty)

    @noticed_by(
        SETTLER + "test_no_disk",
        SETTLER + "test_bump_not_on_disk",
        Death(
            "create-tick-stop", FaultKind.ROLLBACK, ("IChain.broadcast", "IKeyspace.commit"), 1_000
        ),
    )
    def test_not_on_disk(self) -> Patches:
        """It is sent before the store could not forget it any more."""

        async def on_disk(queue: Any, batch: Any) -> None:
            """Nothing."""

        return Patch(QUEUE + "RedisVoucherQueue.on_disk", lambda _: on_disk)
