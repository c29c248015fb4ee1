"""Compares what a source shows now with the known end: a reorg, a higher finality, or nothing new.

`reorg.decide` decides, but for two cases that need more headers and are decided here: a lower head that is on
our chain, and a fork below the known tail.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from sqlalchemy import Connection

from eventstore.errors import AnswerRefused, BlockUnknown, SourceError
from eventstore.ingest.reorg import Extend, Halt, Older, Rewind, Wait, decide
from eventstore.journal.journal import Journal
from eventstore.journal.waymarks import Waymarks
from eventstore.records import Header
from eventstore.sources import Source
from eventstore.storage.store import Store


class HeadTracker:
    """Asks the source for headers until `reorg.decide` can say what they mean. Writes nothing."""

    def __init__(self, store: Store, source: Source, chain_id: int) -> None:
        self._store = store
        self._source = source
        self._chain = chain_id

    def compare(self, known: Sequence[Header], head: Header) -> Rewind | Extend | Wait:
        """What `head` and its ancestors mean for the known end, which is not empty."""
        if head.number < known[0].number and self._is_ours(head):
            return Wait()
        tip = known[-1]
        start = head if head.number <= tip.number + 1 else self.header(tip.number + 1)
        branch = [start]
        while True:
            match decide(known, branch):
                case Older(number):
                    if number < known[0].number:
                        return Rewind(self.deep_ancestor(min(known[0].number, head.number + 1)))
                    low = max(number - len(branch), known[0].number)
                    branch = [*self.headers(range(low, number + 1)), *branch]
                case Halt(reason):
                    raise AnswerRefused(
                        f"The node's headers do not form a chain: {reason}.",
                        hint="It was reorganising or is several nodes; it will be asked again.",
                    )
                case decided:
                    return decided

    def _is_ours(self, head: Header) -> bool:
        """Is this head, below all that is known of the tail, on the chain that the journal follows? Then the
        node lags, or its chain became shorter and nothing competes with ours: no header shows which."""
        with self._store.read() as tx:
            newest = self.newest(tx, head.number)
        if newest is None:
            return True
        theirs = head if newest.number == head.number else self.header(newest.number)
        return theirs.hash == newest.hash

    def newest(self, tx: Connection, block: int) -> Header | None:
        """The newest block up to `block` under the tail that is known: one that holds logs, or a waymark."""
        known = self._known_below(tx, block + 1, 1)
        return known[0] if known else None

    def _known_below(self, tx: Connection, block: int, limit: int) -> list[Header]:
        """The `limit` newest blocks below `block` that are known, descending."""
        found = {
            header.number: header
            for header in (
                *Waymarks(tx, self._chain).below(block, limit),
                *Journal(tx, self._chain).canonical_blocks_below(block, limit),
            )
        }
        return [found[number] for number in sorted(found, reverse=True)][:limit]

    def deep_ancestor(self, below: int) -> int:
        """The newest known block under `below` that the source still shares; -1 where it shares none."""
        while True:
            with self._store.read() as tx:
                known = self._known_below(tx, below, 64)
            if not known:
                return -1
            theirs = self._source.headers([header.number for header in known])
            for ours, other in zip(known, theirs, strict=True):
                if other is not None and other.hash == ours.hash:
                    return ours.number
            below = known[-1].number

    def ancestors(self, final: Header, missing: range) -> list[Header]:
        """The headers of these blocks, which end right below `final`, ascending; empty where the node does
        not give them all, or they are not its ancestors."""
        try:
            found = self._source.headers(list(missing))
        except SourceError as error:
            if error.retry:
                raise
            return []
        headers = [header for header in found if header is not None]
        linked = len(headers) == len(missing) and all(
            above.number == below.number + 1 and above.parent_hash == below.hash
            for below, above in pairwise([*headers, final])
        )
        return headers if linked else []

    def final(
        self, final: Header | None, head: Header, known: Sequence[Header], finalized: int
    ) -> Header | None:
        """What the source calls final, if it is news, after the known end was found to be on its chain."""
        if final is None or final.number > head.number:
            return None  # no tag, or two nodes behind one name: it is from the one ahead
        if known and final.number <= min(finalized, known[-1].number):
            return None
        shown = [header for header in (*known, head) if header.number == final.number]
        if (shown[0] if shown else self.header(final.number)).hash != final.hash:
            raise AnswerRefused(
                f"The node calls block {final.number} 0x{final.hash.hex()} final, and shows another "
                "chain at the same height.",
                hint="Trying again may reach a node that agrees with itself.",
            )
        return final

    def header(self, number: int) -> Header:
        return self.headers(range(number, number + 1))[0]

    def headers(self, numbers: range) -> list[Header]:
        """The headers of these blocks, every one; `BlockUnknown` where the source lacks any."""
        found = []
        for number, header in zip(numbers, self._source.headers(list(numbers)), strict=True):
            if header is None:
                raise BlockUnknown(
                    f"The node does not give block {number}, though it shows a head above it.",
                    hint="It lags or is several nodes; it will be asked again.",
                )
            if header.number != number:
                raise AnswerRefused(f"Asked for block {number}, the node gave {header.number}.")
            found.append(header)
        return found
