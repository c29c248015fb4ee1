"""Does every endpoint serve the chain that is meant, and give what is asked of it?"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from eventstore.errors import BlockUnknown, SourceError, StoreError
from eventstore.ingest.creation import absent
from eventstore.journal.chains import genesis_of
from eventstore.journal.coverage import Coverage
from eventstore.proof.profile import profile_of
from eventstore.records import BlockRange, Header, Query
from eventstore.redaction import public
from eventstore.sources import Node
from eventstore.sources.chain_id import refusal
from eventstore.sources.rpc.heads import announcing
from eventstore.sources.rpc.source import RpcSource
from projections.service.checkup import Trial
from projections.service.config.settings import ConfiguredChain
from projections.service.runtime.wiring import Plan


def trials(plan: Plan) -> Iterator[Trial]:
    """Every endpoint and websocket of every chain, each by itself."""
    for name, chain in plan.config.chains.items():
        for url in chain.rpc:
            yield Trial(f"chain {name} {public(url)}", partial(_endpoint, plan, name, url))
        if chain.source is not None:
            yield Trial(f"chain {name} {chain.source}", partial(_adapted, plan, name))
        if chain.websocket is not None:
            yield Trial(f"chain {name} {public(chain.websocket)}", partial(_websocket, chain))


def _endpoint(plan: Plan, name: str, url: str) -> list[str]:
    chain = plan.config.chains[name]
    source = RpcSource(
        url, finality=chain.finality, max_requests_per_second=chain.rate, max_answer=chain.max_answer
    )
    return _tried(plan, name, source)


def _adapted(plan: Plan, name: str) -> list[str]:
    return _tried(plan, name, plan.source(name))


def _tried(plan: Plan, name: str, source: Node) -> list[str]:
    """Asks a source for everything that a sync asks it for, and closes it."""
    chain = plan.config.chains[name]
    try:
        wrong = refusal(source.identity(), chain_id=chain.chain_id, genesis=_genesis(plan, chain.chain_id))
        if wrong is not None:
            raise wrong
        head, final = source.head(), source.finalized()
        notes = [] if final is not None else ["it calls no block final yet"]
        notes += _contracts(plan, name, source, head)
        notes += _logs(plan, name, source, final or head)
        if chain.prove:
            notes += _receipts(chain, source, final or head)
        return notes
    finally:
        source.close()


def _genesis(plan: Plan, chain_id: int) -> bytes | None:
    """What the store knows; a store that is away or not set up has a trial of its own."""
    try:
        with plan.store.read() as tx:
            return genesis_of(tx, chain_id)
    except StoreError:
        return None


def _contracts(plan: Plan, name: str, source: Node, head: Header) -> list[str]:
    """Addresses that have no code, and first blocks above the head. Where the first block must be looked for,
    the start is refused without code."""
    notes = []
    for title, contract in plan.config.contracts.items():
        if contract.chain != name:
            continue
        if contract.start_block is not None and contract.start_block > head.number:
            notes.append(
                f"contracts.{title}.start_block {contract.start_block:,} is above the head, {head.number:,}"
            )
        for address in contract.addresses:
            try:
                there = source.has_code(address, head.number)
            except SourceError as error:
                if contract.start_block is None:
                    raise
                notes.append(f"whether contracts.{title} is there cannot be seen: {error.message}")
                break
            if there:
                continue
            if contract.start_block is None:
                raise absent(address, head=head.number)
            notes.append(
                f"contracts.{title}: there is no contract at 0x{address.hex()} as of block {head.number:,}: "
                "mend the address or the chain, if it is not to be created yet"
            )
    return notes


def _logs(plan: Plan, name: str, source: Node, last: Header) -> list[str]:
    """The logs of one block, as a sync asks for them; and of the first that is missing, which it may have
    pruned: a fault where no other endpoint could give it."""
    watches = plan.watches(name)
    if not watches:
        return []
    query = Query(tuple(sorted({watch.filter.address for watch in watches}))[:1])
    try:
        source.logs(query, BlockRange(last.number, last.number))
    except BlockUnknown:  # behind a balancer it may be known elsewhere only
        return []
    first = _missing(plan, name)
    if first is None or first >= last.number:
        return []
    try:
        source.logs(query, BlockRange(first, first))
    except SourceError as error:
        if len(plan.config.chains[name].rpc) <= 1:
            raise
        return [f"it does not give block {first:,}, the first that is missing: {error.message}"]
    return []


def _missing(plan: Plan, name: str) -> int | None:
    """The first block that a sync would ask for; of a store that is not set up the first of all."""
    watches = plan.watches(name)
    try:
        with plan.store.read() as tx:
            coverage = Coverage(tx, plan.config.chains[name].chain_id)
            first = [coverage.through(watch) + 1 for watch in watches]
    except StoreError:
        first = [watch.first_block for watch in watches]
    open_ = [at for at, watch in zip(first, watches, strict=True) if at <= (watch.last_block or at)]
    return min(open_, default=None)


def _receipts(chain: ConfiguredChain, source: Node, block: Header) -> list[str]:
    """Why nothing would be proved, where `prove` is set."""
    reason = profile_of(chain.chain_id).reason
    if reason is not None:
        return [f"prove = true, and nothing can be proved on this chain: {reason}"]
    try:
        [sealed] = source.linked(BlockRange(block.number, block.number), block.hash)
        source.rooted(sealed)
    except SourceError as error:
        return [f"prove = true, and it cannot prove block {block.number:,}: {error}"]
    return []


def _websocket(chain: ConfiguredChain) -> list[str]:
    assert chain.websocket is not None
    served = announcing(chain.websocket)
    if served != chain.chain_id:
        raise SourceError(
            f"The websocket announces heads of chain {served}, the configuration says {chain.chain_id}.",
            hint="Mend websocket or chain_id; without it the service polls.",
        )
    return []
