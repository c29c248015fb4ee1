"""The fold itself: a page of canonical logs, through decoding and a projector, into tracked documents.

Law: pure. Same logs, same documents, for every caller: the runner, a replay to some past block, a test.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar

from msgspec import Struct
from sqlalchemy.exc import SQLAlchemyError

from eventstore.errors import ChainfoldError
from eventstore.journal.kinds import LogKind
from eventstore.journal.reading import LogPage, StoredBlock, StoredLog
from eventstore.records import Log, Watch
from eventstore.storage.legible import LONG, legible
from eventstore.storage.refused_values import refuses_data
from projections.errors import DecodingError, HistoryOutOfOrder, ProjectorError, ValueRefused
from projections.faults import told, written_in
from projections.fold.documents import TrackedDocuments
from projections.fold.generation import Generation, Generations
from projections.fold.state import DeadLetter
from projections.projectors import Projector
from projections.routing.routes import Route
from projections.routing.ways import LogFork, Way, way_of

Hint = TypeVar("Hint")

Skips = Mapping[tuple[bytes, int], str]
"""Events that somebody decided to pass over: (block hash, log index) to the reason."""


class Projection(Struct, frozen=True):
    """A projector bound to contracts, as configured; `routes` come from `projections.routing.ways`.

    `fingerprint` is a hash of all that decides what its documents mean. `former` are other forms
    of the same hash, from earlier code: what was built under one of them is of this code too.
    """

    name: str
    chain_id: int
    projector: Projector
    routes: Mapping[LogKind, Route | LogFork]
    watches: tuple[Watch, ...]
    fingerprint: str
    follow: Literal["latest", "finalized"] = "latest"
    poison: Literal["halt", "quarantine"] = "halt"
    rebuild: Literal["ask", "auto"] = "ask"
    undo: int | Literal["finality", "forever"] = "finality"
    former: tuple[str, ...] = ()

    def build(self, generations: Generations, *, promote: bool = True, hold: int | None = None) -> Generation:
        """Starts a build from the first block. An unfinished older build is dropped."""
        return generations.create(
            chain_id=self.chain_id,
            fingerprint=self.fingerprint,
            before=self.first_block - 1,
            promote=promote,
            hold=hold,
        )

    def built(self, generation: Generation) -> bool:
        """Is the generation of this code?"""
        return generation.fingerprint == self.fingerprint or generation.fingerprint in self.former

    @property
    def first_block(self) -> int:
        """The lowest block that may hold an event of it."""
        return min(watch.first_block for watch in self.watches)

    def routed(self, kinds: Mapping[int, LogKind]) -> dict[int, Way]:
        """The ways of the interned kinds whose logs may belong to this projection."""
        found = {kind: way_of(self.routes, named) for kind, named in kinds.items()}
        return {kind: way for kind, way in found.items() if way is not None}

    def may_take(self, log: Log) -> bool:
        """Is a log of an event that is handled, or claims to be?"""
        kind = LogKind(log.address, log.topics[0] if log.topics else b"")
        way = way_of(self.routes, kind)
        if way is None or isinstance(way, Route):
            return way is not None
        one, two, three = (*log.topics[1:], None, None, None)[:3]
        stored = StoredLog(log.block_number, log.log_index, 0, 0, log.tx_hash, one, two, three, log.data)
        try:
            return way.decode(stored, StoredBlock(log.block_number, log.block_hash, 0)) is not None
        except DecodingError:
            return True


class Batch(Struct, frozen=True):
    """What a page came to: folded through block `through`, whose last event was at `timestamp`.

    `error` says why it ended before the page did; `dead` are the events that a quarantine passed over.
    """

    through: int
    timestamp: int
    events: int
    dead: list[DeadLetter]
    error: str | None


class Fold:
    """Applies pages to documents by one projection's rules."""

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self._file = written_in(type(projection.projector))

    def page(
        self,
        documents: TrackedDocuments,
        page: LogPage,
        routes: Mapping[int, Way],
        *,
        after: int,
        timestamp: int,
        keep_undo_above: int,
        skips: Skips,
        observe: Callable[[StoredLog], None] | None = None,
    ) -> Batch:
        """Folds a page that begins above block `after`; `documents` hold a begun batch.

        Events that fail follow the projection's policy. `observe` is called with each log whose event
        was applied. Raises `HistoryOutOfOrder` where logs do not rise.
        """
        events = events_of(routes, page)
        self._fetch(documents, page.logs, events)
        handlers = {kind: route.handle for kind, route in routes.items()}
        at, last, entry = after, -1, -1
        block: StoredBlock | None = None
        dead: list[DeadLetter] = []
        for count, (log, event) in enumerate(zip(page.logs, events, strict=True)):
            if log.block_number != at or log.entry != entry:
                if log.block_number < at:
                    raise _out_of_order(log, at, last)
                if log.block_number != at:
                    documents.end_block(at, keep_undo=at > keep_undo_above)
                    last = -1
                at, entry = log.block_number, log.entry
                block = page.blocks[at, entry]
            if log.log_index <= last:
                raise _out_of_order(log, at, last)
            last = log.log_index
            assert block is not None
            if event is None or (skips and (block.hash, last) in skips):
                continue
            error: BaseException | None = event if isinstance(event, Exception) else None
            if error is None:
                try:
                    handlers[log.kind](event, documents)
                except (Exception, SystemExit) as raised:  # noqa: BLE001 - anything; the policy decides
                    error = _own_fault(raised)
                else:
                    try:
                        documents.end_event(block.timestamp)
                        timestamp = block.timestamp
                    except ValueRefused as refused:
                        error = refused
            if error is None:
                if observe is not None:
                    observe(log)
            elif self._projection.poison == "quarantine":
                documents.discard_event()
                dead.append(self._dead_letter(log, error))
            else:
                documents.discard_block()
                reason = f"{where(log)}: {self._dead_letter(log, error).reason}"
                dead = [letter for letter in dead if letter.block < at]
                return Batch(at - 1, timestamp, count, dead, reason)
        documents.end_block(at, keep_undo=at > keep_undo_above)
        return Batch(page.through, timestamp, len(events) - events.count(None), dead, None)

    def _dead_letter(self, log: StoredLog, error: BaseException) -> DeadLetter:
        """Both texts may hold text from the event: they are escaped and cut here, so that the stored text and
        the reported one are the same."""
        stack = "".join(traceback.format_exception(error))
        ours = isinstance(error, ChainfoldError)
        reason = f"{type(error).__name__}: {error}" if ours else told(error, self._file)
        return DeadLetter(
            log.block_number, log.log_index, log.entry, legible(reason), legible(stack, 5 * LONG)
        )

    def _fetch(self, documents: TrackedDocuments, logs: Sequence[StoredLog], events: Sequence[Any]) -> None:
        """Brings what the projector says its events will want, of all of them in one go: it is not asked
        where all is in memory."""
        projector, get = self._projection.projector, documents.get
        documents.prefetch(_hints("keys", projector.keys, logs, events))
        if type(projector).finds is not Projector.finds:

            def pairs(event: Any) -> list[tuple[str, str]]:
                return [(field, value) for field, value in projector.finds(event, get)]

            documents.look_up(_hints("finds", pairs, logs, events))


def _hints(
    name: str, ask: Callable[[Any], Iterable[Hint]], logs: Sequence[StoredLog], events: Sequence[Any]
) -> Iterator[Hint]:
    """What the projector's method `name` says of each event that is one.

    It must not fail: whether it is asked at all depends on what is in memory, and documents must not.
    """
    for log, event in zip(logs, events, strict=True):
        if event is None or isinstance(event, Exception):
            continue
        try:
            yield from ask(event)
        except DecodingError:
            continue  # a parameter that cannot be read: its handler learns so if it wants it
        except Exception as raised:
            fault = _own_fault(raised)
            raise ProjectorError(
                f"The projector's {name} failed for {where(log)}: {told(fault)}.",
                hint="It only says what an event will want: let it say nothing where it does not know.",
            ) from raised


def events_of(routes: Mapping[int, Way], page: LogPage) -> list[Any]:
    """For each log its event, None if its event is not handled, or the `ChainfoldError` that says why the log
    does not fit its event."""
    blocks, decoders = page.blocks, {kind: route.decode for kind, route in routes.items()}
    events: list[Any] = []
    for log in page.logs:
        try:
            events.append(decoders[log.kind](log, blocks[log.block_number, log.entry]))
        except ChainfoldError as error:
            events.append(error)
    return events


def _own_fault(raised: BaseException) -> BaseException:
    """An error that a handler raised belongs to its event and is returned.

    But a store that failed under a handler is not: that goes up to the loop.
    """
    driver = type(raised).__module__.partition(".")[0] in ("psycopg", "sqlite3")
    if (driver or isinstance(raised, SQLAlchemyError)) and not refuses_data(getattr(raised, "orig", raised)):
        raise raised  # no projector speaks SQL: it is the documents that could not be read
    if isinstance(raised, ChainfoldError) and raised.retry:
        raise raised
    return raised


def where(log: StoredLog) -> str:
    """A log's place, for a sentence."""
    return f"block {log.block_number}, log {log.log_index}, transaction 0x{log.tx_hash.hex()}"


def _out_of_order(log: StoredLog, block: int, index: int) -> HistoryOutOfOrder:
    return HistoryOutOfOrder(
        f"After block {block}, log {index} the journal gave {where(log)}: history does not rise.",
        hint="The projection stands where it was; the journal must be looked at.",
    )
