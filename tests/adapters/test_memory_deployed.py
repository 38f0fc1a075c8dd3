"""
Tests of C{sandbox_billing.adapters.memory.deployed}: it does what the double does in the EVM,
and L{MemoryChain} is a chain on it.
"""

from __future__ import annotations

from random import Random
from typing import Any

from attrs import evolve
from eth_tester.exceptions import TransactionFailed
from web3.logs import DISCARD

from sandbox_billing.adapters.memory.contract import ContractState, Reverted
from sandbox_billing.adapters.memory.deployed import DeployedContract, contract_at
from sandbox_billing.interfaces import Line
from sandbox_billing.ledger.account import Behaviour
from sandbox_billing.ledger.identity import Address, Nonce
from sandbox_billing.ledger.money import neuron
from sandbox_billing.ledger.rating import Prices
from sandbox_billing.signing.eip712 import EIP712Domain
from tests.evm.flaws import deployed
from tests.evm.flaws.standing import deploy
from tests.evm.harness import CHAIN_ID, SOME_USAGE, STAKE, EvmCase


STORIES, STEPS = 5, 30


class Twins:
    """The same calls on the double and on its model; after each both say the same."""

    def __init__(self, case: EvmCase) -> None:
        self.case, self.evm = case, case.evm
        evm = self.evm
        deploy(evm, {"SandboxServing": deployed().bytecode})
        evm.serving = evm.w3.eth.contract(address=evm.deployment.proxy, abi=deployed().abi)
        self.functions = evm.serving.functions
        self.people = [evm.user, evm.other]
        self.signers = [evm.signer, evm.stranger]
        self.providers = [evm.provider, evm.owner]
        self.state = ContractState(behaviour=Behaviour.FLAWED)
        self.domain = EIP712Domain(CHAIN_ID, Address(evm.deployment.proxy))

    def call(self, call: Any, sender: Any, model: Any, value: int = 0) -> bool:
        """
        Make a call on both.

        @return: Whether it passed.
        """
        try:
            # As a read first: a revert is an error there and nothing is mined.
            call.call({"from": sender.address, "value": value})
        except TransactionFailed:
            passes = False
        else:
            passes = True
            receipt = self.evm.send(call, sender, value)
        state = self.state.copy()
        now = self.evm.now() if passes else self.evm.now() + 1
        contract = contract_at(self.domain, state, now)
        self.case.assertIsInstance(contract, DeployedContract)
        try:
            model(contract)
        except Reverted:
            self.case.assertFalse(passes, f"the model alone refuses {call}")
        else:
            self.case.assertTrue(passes, f"the double alone refuses {call}")
            self.state = state
            self._same_logs(receipt, contract.events)
        self._same_books()
        return passes

    def _same_logs(self, receipt: Any, events: Any) -> None:
        told = []
        for name in ("Deposited", "RefundRequested", "RefundWithdrawn", "VoucherSettled"):
            kind = getattr(self.evm.serving.events, name)()
            told += [
                (each["logIndex"], name, each["args"])
                for each in kind.process_receipt(receipt, errors=DISCARD)
            ]
        told = [(name, args) for _index, name, args in sorted(told, key=lambda one: one[0])]
        mine = [event for event in events if event.name in dict.fromkeys(n for n, _ in told)]
        self.case.assertEqual([name for name, _ in told], [event.name for event in mine])
        for (name, args), event in zip(told, mine, strict=True):
            if name != "VoucherSettled":
                self.case.assertEqual(args["amount"], event.fields["amount"])
                continue
            fields = event.fields
            said = (args["totalFee"], args["nonce"], args["status"])
            self.case.assertEqual(said, (fields["fee"], fields["nonce"], fields["status"]))
            # K3: it never says what moved, where that is not the fee.
            self.case.assertEqual("paid" in fields, args["status"] == 0)

    def _same_books(self) -> None:
        for provider in self.providers[:1]:
            whose = Address(provider.address)
            service = self.functions.services(provider.address).call()
            mine = self.state.services.get(whose)
            self.case.assertEqual(service[4], 0 if mine is None else mine.signer_version)
            earned = self.functions.getProviderEarnings(provider.address).call()
            self.case.assertEqual(earned, self.state.earnings.get(whose, 0))
            for person in self.people:
                who = Address(person.address)
                slot = self.state.slot(whose, who)
                ask = (person.address, provider.address)
                found = self.functions.getBalance(*ask).call()
                self.case.assertEqual(
                    tuple(found), (slot.balance, slot.pending, slot.unlock_at), (who, whose)
                )
                self.case.assertEqual(self.functions.getLastNonce(*ask).call(), slot.last_nonce)
                self.case.assertEqual(
                    self.functions.isTEEAcknowledged(*ask).call(),
                    self.state.acknowledged(whose, who),
                )
        self.case.assertEqual(self.evm.holdings(), self.state.native)
        self.case.assertEqual(self.state.native, self.state.owed() + self.state.nobodys)


class Story:
    """Random steps, by seed."""

    def __init__(self, twins: Twins, seed: int) -> None:
        self.twins, self.chance = twins, Random(seed)

    def step(self) -> None:
        """Anything."""
        kinds = [self.register, self.deposit, self.deposit, self.refund, self.refund]
        kinds += [self.withdraw, self.acknowledge, self.acknowledge, self.travel]
        kinds += [self.settle] * 6
        self.chance.choice(kinds)()

    def register(self) -> None:
        """Or update, now and then with another signer or price."""
        twins, chance = self.twins, self.chance
        who, signer = chance.choice(twins.providers), chance.choice(twins.signers)
        cpu, value = chance.choice((60, 60, 70)), chance.choice((STAKE, STAKE, 0, STAKE + 7))
        if value < STAKE and Address(who.address) not in twins.state.services:
            # The model asks for no stake.
            value = STAKE
        prices = Prices(
            per_cpu_per_minute=neuron(cpu),
            per_memory_gib_per_minute=neuron(30),
            create_fee=neuron(5),
        )
        whose, key = Address(who.address), Address(signer.address)
        call = twins.functions.addOrUpdateService("https://p", signer.address, cpu, 5, 30)
        twins.call(call, who, lambda c: c.register(whose, key, prices, value, "https://p"), value)

    def _pair(self) -> tuple[Any, Any, Address, Address]:
        user = self.chance.choice(self.twins.people)
        provider = self.twins.providers[0 if self.chance.random() < 0.8 else 1]
        return user, provider, Address(user.address), Address(provider.address)

    def deposit(self) -> None:
        """Small sums, and nothing."""
        user, provider, who, whose = self._pair()
        amount = self.chance.choice((0, 1, 40, 100))
        call = self.twins.functions.deposit(user.address, provider.address)
        self.twins.call(call, user, lambda c: c.deposit(who, whose, amount), amount)

    def refund(self) -> None:
        """All, a part, nothing, or too much."""
        user, provider, who, whose = self._pair()
        slot = self.twins.state.slot(whose, who)
        everything = slot.balance + slot.pending
        amount = self.chance.choice((0, 1, everything // 2, everything, everything + 1))
        call = self.twins.functions.requestRefund(provider.address, amount)
        self.twins.call(call, user, lambda c: c.request_refund(who, whose, amount))

    def withdraw(self) -> None:
        """Perhaps too early."""
        user, provider, who, whose = self._pair()
        call = self.twins.functions.withdrawRefund(provider.address)
        self.twins.call(call, user, lambda c: c.withdraw_refund(who, whose))

    def acknowledge(self) -> None:
        """Mostly yes."""
        user, provider, who, whose = self._pair()
        yes = self.chance.random() < 0.8
        call = self.twins.functions.acknowledgeTEESigner(provider.address, yes)
        self.twins.call(call, user, lambda c: c.acknowledge(who, whose, yes))

    def travel(self) -> None:
        """A refund's lock passes."""
        self.twins.evm.travel(7200)

    def settle(self) -> None:
        """Up to three vouchers, submitted by anybody."""
        twins, chance, evm = self.twins, self.chance, self.twins.evm
        sender = chance.choice((evm.provider, evm.stranger, evm.signer))
        provider = twins.providers[0]
        whose = Address(provider.address)
        vouchers, lines = [], []
        for _ in range(chance.randint(1, 3)):
            user = chance.choice(twins.people)
            nonce = twins.state.slot(whose, Address(user.address)).last_nonce
            nonce = max(1, nonce + chance.choice((-1, 1, 1, 2, 3)))
            fee = chance.choice((0, 1, 10, 60, 150))
            signer = chance.choice((evm.signer, evm.signer, evm.stranger))
            voucher = evm.voucher(nonce, fee, user=user, signer=signer)
            vouchers.append(voucher)
            lines.append(
                Line(
                    user=Address(user.address),
                    fee=neuron(fee),
                    usage_hash="0x" + SOME_USAGE.hex(),
                    nonce=Nonce(nonce),
                    signature="0x" + bytes(voucher[-1]).hex(),
                )
            )
        call = twins.functions.settleFeesWithTEE(vouchers)
        statuses = call.call({"from": sender.address})
        mine = contract_at(twins.domain, twins.state.copy(), evm.now())
        from_ = Address(sender.address)
        twins.case.assertEqual(tuple(statuses), mine.settle(from_, whose, lines))
        twins.call(call, sender, lambda c: c.settle(from_, whose, lines))


class DifferentialTests(EvmCase):
    """Random stories, told to both."""

    def setUp(self) -> None:
        """The chain is shared with other tests, and speaks of ours again."""
        super().setUp()
        evm = self.evm
        ours = evm.deployment, evm.serving, evm.beacon
        self.addCleanup(self._back, *ours)

    def _back(self, deployment: Any, serving: Any, beacon: Any) -> None:
        self.evm.deployment, self.evm.serving, self.evm.beacon = deployment, serving, beacon

    def test_stories(self) -> None:
        """State, statuses, events and refusals are the same after every step."""
        twins = Twins(self)
        bare, state = self.evm.snapshot(), twins.state
        for seed in range(STORIES):
            self.evm.restore(bare)
            twins.state = state.copy()
            story = Story(twins, seed)
            story.register()
            for _ in range(STEPS):
                story.step()

    def test_notices(self) -> None:
        """A model that forgot a flaw would be noticed."""
        twins = Twins(self)
        story = Story(twins, 1)
        story.register()
        evm = self.evm
        who, whose = Address(evm.user.address), Address(evm.provider.address)
        yes = twins.functions.acknowledgeTEESigner(evm.provider.address, True)
        twins.call(yes, evm.user, lambda c: c.acknowledge(who, whose, True))
        put = twins.functions.deposit(evm.user.address, evm.provider.address)
        twins.call(put, evm.user, lambda c: c.deposit(who, whose, 100), 100)
        twins.state = evolve(twins.state, behaviour=Behaviour.FIXED)
        ask = twins.functions.requestRefund(evm.provider.address, 0)
        with self.assertRaises(AssertionError):
            twins.call(ask, evm.user, lambda c: c.request_refund(who, whose, 0))
