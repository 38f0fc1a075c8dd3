"""
The settlement contract over JSON-RPC: blocking calls in threads of their own.

Reads take any thread of one pool; what prepares or sends a transaction takes the only
thread of another.  web3 itself is imported at the first call.

Tests: L{tests.adapters.test_chain_port} and its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, ParamSpec, Self, TypeVar

from attrs import field, frozen
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from sandbox_billing.adapters.chain.behaviour import BehaviourProbe
from sandbox_billing.adapters.chain.capabilities import Capabilities
from sandbox_billing.adapters.chain.codec import Codec
from sandbox_billing.adapters.chain.contract import CONTRACT, ContractReader
from sandbox_billing.adapters.chain.logs import LogReader
from sandbox_billing.adapters.chain.node import Node
from sandbox_billing.adapters.chain.nodes import Headers, Nodes
from sandbox_billing.adapters.chain.reads import ChainReads
from sandbox_billing.adapters.chain.transactions import GasPolicy, Transactions
from sandbox_billing.errors import Refused, UnknownOutcome
from sandbox_billing.interfaces import (
    UNMEASURED,
    AccountNonces,
    ContractFacts,
    Happenings,
    IChain,
    IMeasures,
    ISigner,
    IWallClock,
    Line,
    Moves,
    Receipt,
)
from sandbox_billing.ledger.account import Account, Behaviour, BlockRef, ServiceRecord
from sandbox_billing.ledger.batch import Attempt
from sandbox_billing.ledger.identity import Address, Nonce
from sandbox_billing.ledger.money import Neuron, UnixSeconds
from sandbox_billing.log_context import carried
from sandbox_billing.measures import CHAIN_SECONDS
from sandbox_billing.signing.eip712 import EIP712Domain


P = ParamSpec("P")
T = TypeVar("T")


@frozen(kw_only=True)
class ChainSettings:
    """
    @ivar urls: C{RPC_URL}, in the order of preference; may carry credentials.
    @ivar contract: The proxy's address.
    @ivar log_range: C{LOG_RANGE}, blocks.
    @ivar behaviour: C{CONTRACT_BEHAVIOUR}; None for auto.
    @ivar confirmations: C{CONFIRMATIONS}, blocks.
    @ivar connect_seconds: Per connection.
    @ivar read_seconds: Per call.
    """

    urls: tuple[str, ...] = field(repr=False)
    chain_id: int
    contract: Address
    provider: Address
    gas: GasPolicy
    log_range: int = 5000
    behaviour: Behaviour | None = None
    confirmations: int = 0
    connect_seconds: float = 3.0
    read_seconds: float = 10.0


class IThreadedReactor(IReactorTime, IReactorFromThreads):
    """What the adapter needs of a reactor."""


@implementer(IChain)
class Web3Chain:
    """
    L{IChain} over several nodes.
    """

    _log: ClassVar[Logger] = Logger()

    def __init__(
        self,
        *,
        reactor: IThreadedReactor,
        read_pool: ThreadPool,
        submission_pool: ThreadPool,
        reads: ChainReads,
        logs: LogReader,
        transactions: Transactions,
        probe: BehaviourProbe,
        measures: IMeasures = UNMEASURED,
    ) -> None:
        """
        @param read_pool: Several threads; started and stopped by the caller.
        @param submission_pool: One thread; likewise.
        """
        self._reactor = reactor
        self._read_pool = read_pool
        self._submission_pool = submission_pool
        self._reads = reads
        self._logs = logs
        self._transactions = transactions
        self._probe = probe
        self._measures = measures

    @classmethod
    def of(
        cls,
        settings: ChainSettings,
        *,
        reactor: IThreadedReactor,
        read_pool: ThreadPool,
        submission_pool: ThreadPool,
        signer: ISigner,
        clock: IWallClock,
        measures: IMeasures = UNMEASURED,
        moved: Callable[[], None] = lambda: None,
    ) -> Self:
        """
        Put the parts together; nothing is called yet.

        @param measures: Told of every call.
        @param moved: Called after each call of a node, in the context of whoever reads.
        @raise ConfigurationError: A URL is none.
        """
        codec = Codec(CONTRACT)
        each = [
            Node(
                url,
                seconds=reactor.seconds,
                connect_seconds=settings.connect_seconds,
                read_seconds=settings.read_seconds,
                moved=moved,
            )
            for url in settings.urls
        ]
        nodes = Nodes(each, chain_id=settings.chain_id, seconds=reactor.seconds)
        headers = Headers()
        reader = ContractReader(nodes, settings.contract, codec)
        return cls(
            reactor=reactor,
            read_pool=read_pool,
            submission_pool=submission_pool,
            reads=ChainReads(
                nodes,
                headers,
                reader,
                codec,
                provider=settings.provider,
                sender=signer.address,
                confirmations=settings.confirmations,
            ),
            logs=LogReader(
                nodes,
                headers,
                contract=settings.contract,
                provider=settings.provider,
                codec=codec,
                log_range=settings.log_range,
            ),
            transactions=Transactions(
                nodes,
                contract=settings.contract,
                provider=settings.provider,
                codec=codec,
                capabilities=Capabilities(
                    reader,
                    codec,
                    provider=settings.provider,
                    domain=EIP712Domain(settings.chain_id, settings.contract),
                    signer=signer,
                ),
                signer=signer,
                policy=settings.gas,
                now=clock.now,
            ),
            probe=BehaviourProbe(
                nodes,
                codec,
                domain=EIP712Domain(settings.chain_id, settings.contract),
                sender=signer.address,
                told=settings.behaviour,
            ),
            measures=measures,
        )

    # --- blocks ---------------------------------------------------------------------

    async def facts(self) -> ContractFacts:
        return await self._in_reader(self._reads.facts)

    async def head(self) -> BlockRef:
        return await self._in_reader(self._reads.head)

    async def block(self, number: int) -> BlockRef:
        return await self._in_reader(self._reads.block, hex(number))

    async def first_block(self) -> int:
        return await self._in_reader(self._reads.first_block)

    async def happenings(self, first: int, last: int) -> Happenings:
        return await self._in_reader(self._logs.happenings, first, last)

    async def moves(self, wallet: Address, first: int, last: int) -> Moves:
        return await self._in_reader(self._logs.moves, wallet, first, last)

    # --- the contract at a block ----------------------------------------------------

    async def service(self, provider: Address, at: BlockRef) -> ServiceRecord | None:
        return await self._in_reader(self._reads.service, provider, at)

    async def behaviour(self, at: BlockRef) -> Behaviour:
        return await self._in_reader(self._probe.behaviour, at)

    async def domain_separator(self, at: BlockRef) -> str | None:
        return await self._in_reader(self._reads.domain_separator, at)

    async def leaving_at(self, at: BlockRef) -> UnixSeconds | None:
        return await self._in_reader(self._reads.leaving_at, at)

    async def accounts(self, wallets: Sequence[Address], at: BlockRef) -> tuple[Account, ...]:
        return await self._in_reader(self._reads.accounts, wallets, at)

    async def last_nonces(self, wallets: Sequence[Address], at: BlockRef) -> tuple[Nonce, ...]:
        return await self._in_reader(self._reads.last_nonces, wallets, at)

    async def refusals(self, lines: Sequence[Line], at: BlockRef) -> tuple[int | None, ...]:
        return await self._in_reader(self._reads.refusals, lines, at)

    # --- transactions ---------------------------------------------------------------

    def adopt_attempts(self, attempts: Iterable[Attempt]) -> None:
        self._transactions.book.adopt(attempts)

    def abandon(self, attempt: Attempt) -> None:
        self._transactions.book.abandon(attempt)

    async def account_nonce(self, at: BlockRef) -> int:
        return await self._in_reader(self._reads.account_nonce, at)

    async def account_nonces(self) -> AccountNonces:
        return await self._in_submitter(self._transactions.nonces)

    async def prepare(
        self,
        lines: Sequence[Line],
        replacing: Attempt | None,
        *,
        account_nonce: int | None = None,
        whole: bool = False,
    ) -> Attempt:
        prepare = self._transactions.prepare
        return await self._in_submitter(prepare, lines, replacing, account_nonce, whole=whole)

    async def broadcast(self, attempt: Attempt) -> None:
        await self._in_submitter(self._transactions.broadcast, attempt)

    async def receipt(self, transaction: str) -> Receipt | None:
        return await self._in_reader(self._reads.receipt, transaction)

    async def gas_balance(self) -> Neuron:
        return await self._in_reader(self._reads.gas_balance)

    async def gas_price(self) -> Neuron:
        return await self._in_reader(self._reads.gas_price)

    # --- in threads -----------------------------------------------------------------

    async def _in_reader(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._measured(self._read_pool, work, *args, **kwargs)

    async def _in_submitter(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._measured(self._submission_pool, work, *args, **kwargs)

    async def _measured(
        self, pool: ThreadPool, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        # With the wait for a thread: whoever asks waits for that, too.
        began, outcome = self._reactor.seconds(), "failed"
        try:
            answer = await deferToThreadPool(self._reactor, pool, carried(work), *args, **kwargs)
            outcome = "ok"
            return answer
        except Refused:
            outcome = "refused"
            raise
        except UnknownOutcome:
            outcome = "unknown"
            raise
        finally:
            seconds = self._reactor.seconds() - began
            self._measures.observe(CHAIN_SECONDS, seconds, call=work.__name__, outcome=outcome)
