"""The rules of the state machine that settle vouchers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from attrs import evolve
from hypothesis import strategies as st

from tests.evm import claims
from tests.evm.actors import (
    ACME,
    ALICE,
    PROVIDERS,
    STRANGER,
)
from tests.evm.claims import FORMS, GENUINE, Place, Wish, pair, picks, senders, wishes
from tests.evm.model import PROVIDER_MISMATCH, preview
from tests.evm.model_state import Claim
from tests.evm.rules_base import Machine, does
from tests.evm.subject import ABI, Broken, calldata


forms = st.sampled_from((*(GENUINE,) * 40, *FORMS, "voucher"))


class Settling(Machine):
    """Vouchers and batches: good, odd, again, and by whom it may not be."""

    @property
    def place(self) -> Place:
        """Where vouchers are signed now."""
        return Place(self.state, self.book.subject.world.chain)

    def submitter(self, kind: str, provider: bytes, user: bytes) -> bytes:
        """Who sends a settlement."""
        signer = self.state.provider(provider).signer or STRANGER
        return {"provider": provider, "signer": signer, "user": user}.get(kind, STRANGER)

    def claims(self, wanted: Sequence[Wish], of: bytes | None = None) -> tuple[Claim, ...]:
        """
        Vouchers, each signed in its own form.

        @param of: Their provider; None for any.
        """
        before: Counter[tuple[bytes, bytes]] = Counter()
        found = []
        for wish in wanted:
            whose = pair(self.state, wish.pick, of)
            claim = claims.resolve(self.state, wish, whose, before[whose])
            before[whose] += 1
            found.append(claims.voucher(self.place, claim, wish.form))
        return tuple(found)

    def settle(self, vouchers: tuple[Claim, ...], by: bytes) -> None:
        """Ask for a preview, settle, and compare."""
        look = self.book.call("previewSettlementResults", vouchers)
        result = self.book.subject.world.ask(look.to, calldata(look), by)
        if not result.succeeded:
            raise Broken("a preview answers", ABI.say_error(result.output) + result.problem)
        (forecast,) = ABI.returned(look.name, result.output)
        foretold = preview(self.state, vouchers, self.place.chain)
        may = [
            by in (each.provider, self.state.provider(each.provider).signer) for each in vouchers
        ]
        step = self.do("settleFeesWithTEE", vouchers, by=by)
        (statuses,) = ABI.returned("settleFeesWithTEE", step.result.output)
        for allowed, said, status in zip(may, forecast, statuses, strict=True):
            if status != (said if allowed else PROVIDER_MISMATCH):
                raise Broken("K19: the preview agrees", f"it said {forecast}, it was {statuses}")
        if tuple(forecast) != foretold:
            raise Broken("a preview's statuses", f"are {foretold}, not {forecast}")
        self.vouchers = [*self.vouchers, *vouchers][-8:]

    def settle_by(self, vouchers: tuple[Claim, ...], sender: str) -> None:
        """Settle, as somebody."""
        first = vouchers[0] if vouchers else None
        provider, user = (first.provider, first.user) if first else (ACME, ALICE)
        self.settle(vouchers, self.submitter(sender, provider, user))

    @does(weight=6, wish=wishes())
    def claim(self, wish: Wish) -> None:
        """One voucher."""
        self.settle_by(self.claims([wish]), wish.sender)

    @does(
        weight=4,
        wanted=st.lists(wishes(), min_size=2, max_size=4),
        provider=st.sampled_from(PROVIDERS),
        sender=senders,
    )
    def settle_many(self, wanted: list[Wish], provider: bytes, sender: str) -> None:
        """Some vouchers of one provider, often of one wallet."""
        self.settle_by(self.claims(wanted, provider), sender)

    @does(weight=3, wanted=st.lists(wishes(), max_size=4), sender=senders)
    def settle_mixed(self, wanted: list[Wish], sender: str) -> None:
        """Vouchers of any providers, or none."""
        self.settle_by(self.claims(wanted), sender)

    @does(weight=4, wish=wishes(good=False))
    def settle_odd(self, wish: Wish) -> None:
        """A voucher with something wrong: its nonce, its fee, its signature."""
        self.settle_by(self.claims([wish]), wish.sender)

    @does(weight=2, picked=st.lists(picks, min_size=1, max_size=4), sender=senders)
    def settle_again(self, picked: list[int], sender: str) -> None:
        """Vouchers from before, twice or in another order."""
        old = self.vouchers and [self.vouchers[pick % len(self.vouchers)] for pick in picked]
        self.settle_by(tuple(old), sender)

    @does(
        weight=4,
        wanted=st.lists(wishes(), max_size=4),
        provider=st.sampled_from(PROVIDERS),
        form=forms,
        sender=senders,
    )
    def settle_batch(self, wanted: list[Wish], provider: bytes, form: str, sender: str) -> None:
        """Lines of one provider under one signature, or none."""
        lines = tuple(evolve(each, signature=None) for each in self.claims(wanted, provider))
        signature = claims.batch(self.place, provider, lines, form)
        by = self.submitter(sender, provider, lines[0].user if lines else ALICE)
        self.do("settleBatch", provider, lines, signature, by=by)
        self.batches = [*self.batches, (provider, lines, signature)][-4:]

    @does(weight=2, pick=picks, sender=senders)
    def settle_batch_again(self, pick: int, sender: str) -> None:
        """A batch from before."""
        if self.batches:
            provider, lines, signature = self.batches[pick % len(self.batches)]
            self.do(
                "settleBatch",
                provider,
                lines,
                signature,
                by=self.submitter(sender, provider, ALICE),
            )
