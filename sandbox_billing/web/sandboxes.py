"""
Sandboxes: what their owner may do with them.

Money work and the owner check are intake's; here a request becomes a call and a
Sandbox becomes a reply.  A client that hangs up ends its own waiting, nothing else.

Tests: C{tests.web.test_sandboxes}.
"""

from __future__ import annotations

from attrs import field, frozen

from sandbox_billing.errors import BadInput
from sandbox_billing.interfaces import IIntake, Sandbox
from sandbox_billing.web._attrs_zope import provides
from sandbox_billing.web._router import Asked
from sandbox_billing.web.access import check_signed
from sandbox_billing.web.answers import Answer
from sandbox_billing.web.payloads import read_create, read_labels, read_sizes
from sandbox_billing.web.policy import seen_by, shown
from sandbox_billing.web.terms import Terms


IGNORED_HEADER = "X-Billing-Ignored"


@frozen(kw_only=True)
class Sandboxes:
    """
    The routes below C{/api/sandbox}.
    """

    intake: IIntake = field(validator=provides(IIntake))
    terms: Terms

    def _shown(self, sandbox: Sandbox) -> Answer:
        document = shown(sandbox.document, self.terms.public_url)
        return Answer(document=document, as_found=sandbox.as_found)

    async def create(self, asked: Asked) -> Answer:
        """Admitted, created, metered: all of it intake's."""
        wish = read_create(asked.body, max_disk_gb=self.terms.max_disk_gb)
        if wish.body.get("public"):
            check_signed(asked)
        sandbox = await self.intake.create(
            asked.wallet,
            wish.body,
            auto_stop_minutes=wish.auto_stop_minutes,
            reference=asked.reference,
            allowance=asked.known.allowance,
        )
        headers = {IGNORED_HEADER: ", ".join(wish.ignored)} if wish.ignored else {}
        return Answer(document=self._shown(sandbox).document, headers=headers)

    async def show(self, asked: Asked) -> Answer:
        """One of them."""
        document = self._shown(await self.intake.owned(asked.wallet, asked.id)).document
        return Answer(document=seen_by(asked.known.scopes, document))

    async def start(self, asked: Asked) -> Answer:
        """Admitted again, like a create."""
        return self._shown(
            await self.intake.start(
                asked.wallet,
                asked.id,
                reference=asked.reference,
                allowance=asked.known.allowance,
            )
        )

    async def recover(self, asked: Asked) -> Answer:
        """Admitted like a start; C{skipStart} leaves it stopped."""
        wish = asked.query.get("skipStart", "false")
        if wish not in ("true", "false"):
            raise BadInput("skipStart must be true or false")
        return self._shown(
            await self.intake.recover(
                asked.wallet,
                asked.id,
                skip_start=wish == "true",
                reference=asked.reference,
                allowance=asked.known.allowance,
            )
        )

    async def resize(self, asked: Asked) -> Answer:
        """Where the provider offers it: charged by the new size from when that is seen."""
        sizes = read_sizes(asked.body)
        return self._shown(
            await self.intake.resize(asked.wallet, asked.id, sizes, allowance=asked.known.allowance)
        )

    async def stop(self, asked: Asked) -> Answer:
        """SDKs always say C{force=false}; a forced stop is not offered."""
        if asked.query.get("force", "false") != "false":
            raise BadInput("force is not offered")
        return self._shown(await self.intake.stop(asked.wallet, asked.id))

    async def archive(self, asked: Asked) -> Answer:
        """Only from stopped."""
        return self._shown(await self.intake.archive(asked.wallet, asked.id))

    async def delete(self, asked: Asked) -> Answer:
        """The sandbox at acceptance."""
        return self._shown(await self.intake.delete(asked.wallet, asked.id))

    async def replace_labels(self, asked: Asked) -> Answer:
        """The user's labels; ours stay (P3)."""
        labels = read_labels(asked.body)
        return self._shown(await self.intake.replace_labels(asked.wallet, asked.id, labels))

    async def ensure_billing(self, asked: Asked) -> Answer:
        """One reconcile of this sandbox, now (B21: it opens nothing by itself)."""
        await self.intake.reconcile(asked.wallet, asked.id)
        return Answer(document={"ok": True})
