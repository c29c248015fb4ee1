"""A chain that you script: no node, no network, no chance.

    chain = SimulatedChain()
    chain.emit(address, [topic0, user], data)   # waits for the next block
    chain.mine(3)
    fork = chain.reorg(2)                       # its logs are gone; fork.orphaned names the blocks
    chain.switch(fork.orphaned[-1].hash)        # and back again

The same script with the same seed gives the same hashes, wherever it runs.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from hashlib import sha256
from threading import RLock

from msgspec import Struct

from eventstore.proof import bloom
from eventstore.records import Answer, BlockRange, Header, Log, Query
from eventstore.sources.simulated.block import Block
from eventstore.sources.simulated.seal import seal

BLOCK_TIME = 12
"""Seconds from one block to the next."""


class Emission(Struct, frozen=True, gc=False):
    """A log that is not yet in a block."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes = b""


class Fork(Struct, frozen=True):
    """What a reorg did: the newest shared block, what left the chain and what took its place."""

    common: Header
    orphaned: tuple[Header, ...]
    adopted: tuple[Header, ...]


class SimulatedChain:
    """Blocks 12 seconds apart, every one ever mined kept, one branch of them canonical.

    Safe to script from one thread while others read. Each log has a transaction of its own; a `Log`
    that is given to `mine` or `reorg` is emitted again by the same transaction. It begins with
    `genesis`, or with an empty block of this `timestamp`. `sealed` blocks have headers and receipts that
    prove themselves, and take some ten times as long to make.
    """

    def __init__(
        self,
        *,
        chain_id: int = 31_337,
        seed: int = 0,
        timestamp: int = 1_700_000_000,
        genesis: Block | None = None,
        sealed: bool = False,
    ) -> None:
        self.chain_id = chain_id
        self._sealed = sealed
        self._seed = sha256(f"chainfold {chain_id} {seed}".encode()).digest()
        self._lock = RLock()
        self._pending: list[Emission | Log] = []
        self._emitted = 0
        self._branch = 0
        self._finalized: int | None = None
        self._canonical: list[Block] = []
        self._filled: list[int] = []
        self._by_hash: dict[bytes, Block] = {}
        self._blooms: dict[bytes, bytes] = {}
        self._adopt(genesis or self._made(0, sha256(self._seed).digest(), bytes(32), timestamp, []))

    # --- the script ---

    def emit(self, address: bytes, topics: Sequence[bytes], data: bytes = b"") -> None:
        """Queues a log for the next block: an address of 20 bytes, up to four topics of 32."""
        if len(address) != 20 or len(topics) > 4 or any(len(topic) != 32 for topic in topics):
            raise ValueError("an address has 20 bytes, a log up to four topics of 32 bytes")
        with self._lock:
            self._pending.append(Emission(address, tuple(topics), data))

    def mine(self, n: int = 1, *, logs: Sequence[Emission | Log] = ()) -> None:
        """Adds `n` blocks. The first holds what was queued, then `logs`."""
        with self._lock:
            for _ in range(n):
                self._append([*self._pending, *logs])
                self._pending, logs = [], ()

    def adopt(self, block: Block) -> None:
        """Adds a block that was made elsewhere."""
        with self._lock:
            tip = self._canonical[-1]
            if (block.number, block.parent_hash) != (tip.number + 1, tip.hash):
                raise ValueError(
                    f"block {block.number} does not stand on block {tip.number} 0x{tip.hash.hex()}"
                )
            self._adopt(block)

    def reorg(self, depth: int = 1, *, logs: Sequence[Sequence[Emission | Log]] | None = None) -> Fork:
        """Replaces the last `depth` blocks by one for each item of `logs`, which is what it holds.

        Without `logs` by as many that are empty. Finality does not hinder it.
        """
        with self._lock:
            if not 0 < depth < len(self._canonical):
                raise ValueError(
                    f"the chain has {len(self._canonical) - 1} blocks to reorganise, not {depth}"
                )
            orphaned = self._cut(len(self._canonical) - depth)
            self._branch += 1
            for block in [()] * depth if logs is None else logs:
                self._append(block)
            return self._fork(orphaned)

    def switch(self, tip_hash: bytes) -> Fork:
        """Makes the branch that ends at `tip_hash` canonical again: any block that was mined."""
        with self._lock:
            branch = [self._by_hash[tip_hash]]
            while not self._is_canonical(branch[-1]):
                branch.append(self._by_hash[branch[-1].parent_hash])
            orphaned = self._cut(branch.pop().number + 1)
            for block in reversed(branch):
                self._adopt(block)
            return self._fork(orphaned)

    def finalize(self, number: int) -> None:
        """Calls block `number` and all below it final. It may also go back: some chains' does."""
        with self._lock:
            self._finalized = number

    # --- what there is ---

    def head(self) -> Header:
        with self._lock:
            return self._header(self._canonical[-1])

    def finalized(self) -> Header | None:
        """The finalized header, that of the head where finality is above it; None without any."""
        with self._lock:
            if self._finalized is None:
                return None
            return self.header(min(self._finalized, len(self._canonical) - 1))

    def header(self, number: int) -> Header | None:
        """The canonical header of this number."""
        with self._lock:
            if not 0 <= number < len(self._canonical):
                return None
            return self._header(self._canonical[number])

    def header_of(self, block_hash: bytes) -> Header | None:
        """The canonical header of this hash: like most nodes, it forgets an orphaned one."""
        with self._lock:
            block = self._by_hash.get(block_hash)
            return self._header(block) if block is not None and self._is_canonical(block) else None

    def logs_in(self, first: int, last: int) -> list[Log]:
        """All canonical logs of the blocks `first` to `last`, ascending by (block, index)."""
        with self._lock:
            start, end = bisect_left(self._filled, first), bisect_right(self._filled, last)
            filled = [self._canonical[number].logs for number in self._filled[start:end]]
        return [log for logs in filled for log in logs]

    def logs_of(self, block_hash: bytes) -> list[Log]:
        """The logs of a block, canonical or orphaned."""
        with self._lock:
            return list(self._by_hash[block_hash].logs)

    def block(self, block_hash: bytes) -> Block | None:
        """The block of this hash, canonical or orphaned."""
        return self._by_hash.get(block_hash)

    def block_with(self, tx_hash: bytes) -> Block | None:
        """The newest canonical block with this transaction."""
        with self._lock:
            return next(
                (block for block in reversed(self._canonical) if tx_hash in block.transactions()), None
            )

    def orphan(self, block_hash: bytes) -> Header | None:
        """The header of this hash that left the chain."""
        with self._lock:
            block = self._by_hash.get(block_hash)
            return None if block is None or self._is_canonical(block) else self._header(block)

    def orphans_in(self, first: int, last: int) -> list[Block]:
        """The blocks `first` to `last` that were mined, but are not canonical."""
        with self._lock:
            return [
                block
                for block in self._by_hash.values()
                if first <= block.number <= last and not self._is_canonical(block)
            ]

    def read(self, query: Query, where: BlockRange | Header) -> Answer | None:
        """The logs that match `query` as of one moment, or None where the (last) block is unknown."""
        with self._lock:
            match where:
                case BlockRange():
                    last = self.header(where.last)
                    found = self.logs_in(where.first, where.last) if last else []
                case Header():
                    last = self.header_of(where.hash)
                    found = self.logs_of(where.hash) if last else []
        if last is None:
            return None
        addresses, topics0 = frozenset(query.addresses), frozenset(query.topics0)
        return Answer(
            [
                log
                for log in found
                if log.address in addresses and (not topics0 or (log.topics and log.topics[0] in topics0))
            ],
            last,
        )

    # --- inside ---

    def _append(self, emissions: Sequence[Emission | Log]) -> None:
        parent = self._canonical[-1]
        number = parent.number + 1
        digest = sha256(parent.hash)
        digest.update(b"%d %d" % (self._branch, len(emissions)))
        for emission in emissions:
            digest.update(emission.address + b"".join(emission.topics) + emission.data)
        block_hash = digest.digest()
        logs = [
            Log(
                number,
                index,
                emission.address,
                emission.topics,
                emission.data,
                emission.tx_hash if isinstance(emission, Log) else self._new_tx_hash(),
                index,
                block_hash,
            )
            for index, emission in enumerate(emissions)
        ]
        self._adopt(self._made(number, block_hash, parent.hash, parent.timestamp + BLOCK_TIME, logs))

    def _made(
        self, number: int, block_hash: bytes, parent_hash: bytes, timestamp: int, logs: Sequence[Log]
    ) -> Block:
        """The block, whose hash is another than `block_hash` where it is sealed."""
        if not self._sealed:
            return Block(number, block_hash, parent_hash, timestamp, logs)
        made = seal(number, parent_hash, timestamp, logs, salt=block_hash)
        return Block(
            number, made.hash, parent_hash, timestamp, made.logs, made.bloom, made.fields, made.receipts
        )

    def _adopt(self, block: Block) -> None:
        self._canonical.append(block)
        self._by_hash[block.hash] = block
        if block.logs:
            self._filled.append(block.number)

    def _cut(self, number: int) -> list[Block]:
        """Takes the blocks from `number` on off the canonical chain, and returns them."""
        orphaned = self._canonical[number:]
        del self._canonical[number:]
        del self._filled[bisect_left(self._filled, number) :]
        return orphaned

    def _fork(self, orphaned: Sequence[Block]) -> Fork:
        first = orphaned[0].number if orphaned else len(self._canonical)
        return Fork(
            common=self._header(self._canonical[first - 1]),
            orphaned=tuple(self._header(block) for block in orphaned),
            adopted=tuple(self._header(block) for block in self._canonical[first:]),
        )

    def _is_canonical(self, block: Block) -> bool:
        return block.number < len(self._canonical) and self._canonical[block.number] is block

    def _new_tx_hash(self) -> bytes:
        self._emitted += 1
        return sha256(self._seed + b"%d" % self._emitted).digest()

    def _header(self, block: Block) -> Header:
        made = block.bloom or self._blooms.get(block.hash)
        if made is None:  # made when first asked for: most are not, and keccak is slow
            made = self._blooms[block.hash] = bloom.make(block.logs)
        return Header(block.number, block.hash, block.parent_hash, block.timestamp, made)
