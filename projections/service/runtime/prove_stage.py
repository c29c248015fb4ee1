"""The prover of a chain as the loops turn it, beside the river: what it does moves no other stage."""

from __future__ import annotations

from collections.abc import Sequence

from eventstore.errors import BlockUnknown
from eventstore.journal.chains import genesis_of
from eventstore.journal.proofs import Ledger
from eventstore.proof.prover import Proved, Prover
from eventstore.records import BlockRange, Watch
from eventstore.sources import Node
from eventstore.sources.chain_id import refusal
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.service.records.requests import Prove, Request, Requests
from projections.service.records.results import ProvenBlocks, Result
from projections.service.runtime.asking import unknown
from projections.service.runtime.loops import persist
from projections.service.runtime.stages import silent


class ProveStage:
    """The prover of one chain."""

    def __init__(
        self,
        store: Store,
        source: Node,
        *,
        chain: str,
        chain_id: int,
        watches: Sequence[Watch],
    ) -> None:
        self.name = f"prove {chain}"
        self.chain = chain
        self.lease = Lease(store, f"prove:{chain_id}")
        self._source = source
        self._chain_id = chain_id
        self._watches = watches
        self._requests = Requests(store)
        self._prover = self._make(watches, None)

    def _make(self, watches: Sequence[Watch], within: BlockRange | None) -> Prover:
        return Prover(
            self.lease.store,
            self._source,
            self.lease,
            chain=self.chain,
            chain_id=self._chain_id,
            watches=watches,
            within=within,
        )

    def open(self) -> None:
        """Refuses (`WrongChain`) a node of another chain than the journal's."""
        with self.lease.store.read() as tx:
            known = genesis_of(tx, self._chain_id)
        wrong = refusal(self._source.identity(), chain_id=self._chain_id, genesis=known)
        if wrong is not None:
            raise wrong

    def step(self) -> Proved:
        return self._prover.step()

    def execute(self, request: Request) -> Result:
        """Does what a command asked for."""
        match request.operation:
            case Prove(first, last, addresses):
                return ProvenBlocks(self._prove(request, BlockRange(first, last), addresses))
            case other:
                raise unknown(self, other)

    def _prove(self, request: Request, within: BlockRange, addresses: Sequence[str] | None) -> str:
        """Proves blocks to the end, also those that failed before; why some are left all the same."""
        chosen = [w for w in self._watches if addresses is None or w.filter.address.hex() in addresses]
        prover, done = self._make(chosen, within), 0
        try:
            persist(self, self.open, silent)
            with self.lease.commit() as tx:
                Ledger(tx, self._chain_id).forget_disproofs(within)
            while not (record := persist(self, prover.step, silent)).idle:
                done += len(record.blocks or ())
                self._requests.advance(request, done=done, total=done + record.left, detail="")
        except BlockUnknown as error:  # no node has what a proof takes
            return str(error)
        finally:
            prover.close()
        return record.reason or ""

    def close(self) -> None:
        self._prover.close()
        self._source.close()
