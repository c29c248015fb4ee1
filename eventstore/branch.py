"""The branch of the chain that is followed: what the source shows of it now, and the way back from another.

Law: nothing is written for a step whose journal moved meanwhile. A reorg, however deep, is one `Orphaned`
entry and one cut of the tail, in one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct
from sqlalchemy import Connection

from eventstore.errors import BlockUnknown, ChainfoldError, Fenced, HistoryConflict
from eventstore.failures import Failures
from eventstore.journal import Journal
from eventstore.lease import Lease
from eventstore.lookout import Lookout
from eventstore.records import BlockRange, Header
from eventstore.reorg import Rewind, Wait
from eventstore.sources import Source
from eventstore.store import Store
from eventstore.tail import Tail

Follow = Literal["latest", "finalized"]


class Ingested(Struct, frozen=True):
    """What one step did. `idle`: the journal holds all that the source shows and would give.

    `appended` and `orphaned` count logs; `fetched` are the blocks that were asked for, `refused` those
    that the source found too many (the next step asks for fewer), `failed` those that it does not give,
    and `reason` why: they are a gap, and asked for again later. `rewound_to` is the block that a reorg
    left standing, `depth` how many blocks above it were known.
    """

    head: int
    finalized: int
    fetched: BlockRange | None = None
    refused: BlockRange | None = None
    failed: BlockRange | None = None
    reason: str = ""
    appended: int = 0
    orphaned: int = 0
    rewound_to: int | None = None
    depth: int = 0
    below_finality: bool = False

    @property
    def idle(self) -> bool:
        return not (self.fetched or self.refused or self.failed) and self.rewound_to is None


class View(Struct, frozen=True):
    """The source's head and finality, as of one moment."""

    head: Header
    finalized: int


class Branch:
    """Takes views of a source, and moves the journal and its tail back to where a source's chain is."""

    def __init__(
        self, store: Store, source: Source, lease: Lease, *, chain_id: int, follow: Follow = "latest"
    ) -> None:
        self.lookout = Lookout(store, source, chain_id)
        self._store = store
        self._source = source
        self._lease = lease
        self._chain = chain_id
        self._follow = follow

    def look(self) -> Ingested | View:
        """What the source shows now; a reorg among it is followed at once, and returned instead."""
        head = self._source.head() if self._follow == "latest" else self._source.finalized()
        with self._store.read() as tx:
            tail = Tail(tx, self._chain)
            known, finalized = tail.headers(), tail.finalized()
            entry = Journal(tx, self._chain).head()
        if head is None:
            raise BlockUnknown(
                "The node calls no block final yet, and only final blocks are to be read.",
                hint='It is asked again; or set follow = "latest" for this chain.',
            )
        decision = self.lookout.compare(known, head) if known else Wait()
        if isinstance(decision, Rewind):
            return self.rewind(View(head, finalized), decision.to, entry=entry, known=known)
        final = self._source.finalized() if self._follow == "latest" else head
        final = self.lookout.final(final, head, known, finalized)
        if final is not None:
            with self._lease.commit() as tx:
                self.unmoved(tx, entry)
                Tail(tx, self._chain).finalize(final)
        return View(head, max(finalized, final.number if final else -1))

    def rewind(self, view: View, to: int, *, entry: int, known: Sequence[Header]) -> Ingested:
        with self._lease.commit() as tx:
            self.unmoved(tx, entry)
            journal, tail = Journal(tx, self._chain), Tail(tx, self._chain)
            orphaned = journal.orphan(to + 1)
            tail.cut_above(to)
            if not tail.headers():  # what stays below is held to the chain by the newest of it
                tail.extend(journal.canonical_blocks_below(to + 1, 1))
        return Ingested(
            view.head.number,
            view.finalized,
            orphaned=orphaned.log_count if orphaned else 0,
            rewound_to=to,
            depth=known[-1].number - to if known else 0,
            below_finality=to < view.finalized,
        )

    def reach(self, view: View, known: Sequence[Header]) -> int:
        """Up to where blocks may be asked for by range: they are final, and the tail stands above them."""
        return min(view.finalized, view.head.number, known[-1].number if known else view.head.number)

    def resolve(self, view: View, conflict: HistoryConflict, asked: BlockRange, *, entry: int) -> Ingested:
        """A finalised block has another hash than history says: a reorg below finality. Where the node's
        own headers agree with history and only its logs do not, one of the two lied: the range is a gap
        until somebody fetches it again by force."""
        to = self.lookout.deep_ancestor(asked.last + 1)
        with self._store.read() as tx:
            above = Journal(tx, self._chain).canonical_blocks_below(asked.last + 1, 1)
        if to >= asked.last or not above or above[0].number <= to:
            return self.write_down(view, asked, conflict)
        return self.rewind(view, to, entry=entry, known=above)

    def write_down(self, view: View, asked: BlockRange, error: ChainfoldError) -> Ingested:
        with self._lease.commit() as tx:
            Failures(tx, self._chain).add(asked, str(error))
        return Ingested(view.head.number, view.finalized, failed=asked, reason=str(error))

    def unmoved(self, tx: Connection, entry: int) -> None:
        """Compares the cursor: what was read before this transaction must still be the newest entry."""
        if Journal(tx, self._chain).head() != entry:
            raise Fenced("The journal moved under this step; nothing was written.")
