"""
What we believe of py-evm and lean on in C{sandbox_billing.devnet.chain}.

When an upgrade of py-evm turns one of these red, the module named in the test has
to be looked at before the pin is moved.
"""

from __future__ import annotations

import subprocess
import sys

from eth.exceptions import OutOfGas, Revert
from eth_keys.datatypes import PrivateKey
from eth_utils.exceptions import ValidationError
from twisted.trial.unittest import SynchronousTestCase

from sandbox_billing.devnet.chain.evm import RECURSION_LIMIT, CallRequest, Evm
from sandbox_billing.devnet.chain.transactions import decode_transaction
from tests.devnet.chain_probe import ADDRESS, GWEI, POOR, make_chain, signed


RICH = 10**24


class StateTransitionTests(SynchronousTestCase):
    """
    The virtual machine without py-evm's chain classes.
    """

    def setUp(self) -> None:
        self.evm = Evm(chain_id=16602, gas_limit=30_000_000)
        self.genesis = self.evm.genesis({ADDRESS: RICH}, timestamp=1000, base_fee=GWEI)

    def test_chain_id_is_the_context_s(self) -> None:
        """
        The CHAINID opcode answers what the chain context says, without a chain class.
        """
        # CHAINID PUSH0 MSTORE PUSH1 32 PUSH0 RETURN, run as init code.
        request = CallRequest(sender=ADDRESS, data=bytes.fromhex("465f5260205ff3"))
        state = self.evm.free_state(self.genesis.header)
        computation = self.evm.run(state, request, 100_000).computation
        assert computation is not None
        self.assertEqual(int.from_bytes(computation.output, "big"), 16602)

    def test_nothing_lasts_without_persist(self) -> None:
        """
        A state that was changed and dropped leaves the database as it was.
        """
        state = self.evm.vm(self.genesis.header).state
        state.set_balance(ADDRESS, 1)
        again = self.evm.vm(self.genesis.header).state
        self.assertEqual(again.get_balance(ADDRESS), RICH)

    def test_old_roots_stay_readable(self) -> None:
        """
        No state is ever pruned: every header's root can be read for ever.
        """
        blocks = [self.genesis]
        for nonce in range(5):
            draft = self.evm.draft(
                blocks[-1], timestamp=2000 + nonce, base_fee=GWEI, randomness=bytes(32)
            )
            draft.apply(decode_transaction(signed(nonce), 16602))
            blocks.append(draft.seal())
        found = [self.evm.vm(b.header).state.get_balance(POOR) for b in blocks]
        self.assertEqual(found, [0, 1, 2, 3, 4, 5])

    def test_refused_transaction_changes_nothing(self) -> None:
        """
        A transaction that cannot be in a block raises before it touches the state.
        """
        draft = self.evm.draft(self.genesis, timestamp=2000, base_fee=GWEI, randomness=bytes(32))
        for raw in (signed(5), signed(0, value=RICH), signed(0, fee=GWEI - 1)):
            transaction = decode_transaction(raw, 16602)
            self.assertRaises(ValidationError, draft.apply, transaction)
        self.assertEqual(draft.state.get_balance(ADDRESS), RICH)
        self.assertEqual((draft.receipts, draft.gas_left), ((), 30_000_000))
        draft.apply(decode_transaction(signed(0), 16602))

    def test_equal_timestamps_run(self) -> None:
        """
        The machine itself does not mind a timestamp equal to the parent's.
        """
        draft = self.evm.draft(self.genesis, timestamp=1000, base_fee=GWEI, randomness=bytes(32))
        self.assertEqual(draft.seal().timestamp, 1000)

    def test_errors_of_computations(self) -> None:
        """
        A revert and a lack of gas are told apart by type, and a revert keeps its output.
        """
        state = self.evm.free_state(self.genesis.header)
        # PUSH1 0xab PUSH0 MSTORE PUSH1 32 PUSH0 REVERT; and an endless loop.
        for code, kind in (("60ab5f5260205ffd", Revert), ("5b5f56", OutOfGas)):
            request = CallRequest(sender=ADDRESS, data=bytes.fromhex(code))
            computation = self.evm.run(state, request, 60_000).computation
            assert computation is not None
            self.assertIsInstance(computation.error, kind)
            if kind is Revert:
                self.assertEqual(computation.output[-1], 0xAB)


class RecursionTests(SynchronousTestCase):
    """
    py-evm and the interpreter's recursion limit.
    """

    def run_apart(self, program: str) -> subprocess.CompletedProcess[str]:
        """
        Run a program in an interpreter of its own.
        """
        return subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
        )

    def test_importing_it_makes_json_dangerous(self) -> None:
        """
        py-evm's own limit lets a nested document kill the process; ours does not.
        """
        attack = "import json\ntry: json.loads('[' * 10**6)\nexcept RecursionError: print('ok')"
        theirs = self.run_apart("import eth, sys; print(sys.getrecursionlimit())")
        self.assertGreater(int(theirs.stdout), RECURSION_LIMIT)
        ours = self.run_apart("import sandbox_billing.devnet.chain.evm\n" + attack)
        self.assertEqual((ours.returncode, ours.stdout), (0, "ok\n"), ours.stderr[-300:])

    def test_deepest_calls_fit(self) -> None:
        """
        A contract that calls itself until it may not is run within our limit.
        """
        # Gas enough for the 1,024 calls that the EVM allows.
        chain = make_chain(gas_limit=10**13)
        # PUSH0 five times, ADDRESS, GAS, CALL; the init code returns those 8 bytes.
        runtime = "5f5f5f5f5f305af1"
        code = bytes.fromhex("67" + runtime + "5f5260086018f3")
        chain.send_raw(signed(0, to=b"", value=0, gas=10**6, data=code))
        deployed = chain.mine().receipts[0].contract_address
        assert deployed is not None
        self.assertEqual(chain.call(CallRequest(to=deployed)), b"")


class SignatureTests(SynchronousTestCase):
    """
    The cryptography py-evm picks.
    """

    def test_native(self) -> None:
        """
        Senders are recovered by coincurve, not by pure Python (a hundredth of its speed).
        """
        from eth_keys import KeyAPI
        from eth_keys.backends import CoinCurveECCBackend

        self.assertIsInstance(KeyAPI().backend, CoinCurveECCBackend)
        key = PrivateKey(bytes(31) + b"\x01")
        self.assertEqual(key.public_key.to_canonical_address(), ADDRESS)
