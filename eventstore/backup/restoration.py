"""Directory -> store: a backup looked at, and put into an empty store.

Law: all or nothing. Every file is held against the manifest before the first row is written, every digest is
computed again from the rows as they are read, and one transaction holds it all: a store that was being filled
when the process died is empty.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from msgspec import Struct
from sqlalchemy import Connection

from eventstore.backup import file, line, manifest, state
from eventstore.backup.manifest import BackedUpChain, Manifest, Segment
from eventstore.errors import BackupError
from eventstore.journal import chains, digest
from eventstore.journal.entries import EntryRecord
from eventstore.journal.refill import Refill
from eventstore.redaction import public
from eventstore.report import OnProgress
from eventstore.storage import identity, schema
from eventstore.storage.sql import text
from eventstore.storage.store import Store


class Restored(Struct, frozen=True):
    """What a backup holds, or a restore put into the store whose id is `store`; `of` is the id of the store
    that was backed up, `taken_at` when, in seconds since 1970."""

    store: str
    of: str
    taken_at: int
    chains: list[BackedUpChain]
    entries: int
    logs: int
    seconds: float


def check(
    directory: Path, *, kept: state.Kept | None = None, progress: OnProgress = lambda done, of: None
) -> Restored:
    """Looks at all of a backup, as a restore would. Raises `BackupDamaged` naming the file, `BackupError`
    where it is of another version, or holds of its tables what is not `kept` (None: any table).
    `progress` is called with the logs read, and how many there are."""
    began = time.monotonic()
    found = _whole(directory)
    done = 0
    for chain in found.chains:
        for told in _told(directory, found, chain):
            done += len(told.logs)
            progress(done, found.logs)
    for _ in _state(directory, found, lambda lines: state.rows(lines, kept)):
        pass
    return _restored(found, found.store, began)


def restore(
    store: Store,
    directory: Path,
    *,
    keep_id: bool = False,
    tables: Iterable[str] = state.TABLES,
    after: Callable[[Connection], None] = lambda _: None,
    progress: OnProgress = lambda done, of: None,
) -> Restored:
    """Puts a backup into a store that is set up and empty.

    `after` does what these tables want once they are filled, in the same transaction.

    The store keeps its own id, so that no sink takes it for the store that was backed up, unless `keep_id`
    says that it takes that one's place. Raises as `check` does, and `BackupError` where the store is not
    empty; then nothing was written.
    """
    began = time.monotonic()
    found = _whole(directory)
    wanted = list(tables)
    with store.write() as tx:
        _refuse_filled(tx, store, wanted)
        filling, done = Refill(tx), 0
        for chain in found.chains:
            for told in _told(directory, found, chain):
                filling.add(chain.chain_id, told)
                done += len(told.logs)
                progress(done, found.logs)
            filling.finish(chain.chain_id)
            if chain.genesis is not None:
                chains.remember(tx, chain.chain_id, line.unhex(chain.genesis))
        for _ in _state(directory, found, lambda lines: state.restore(tx, lines, wanted)):
            pass
        if keep_id:
            identity.replace(tx, found.store)
        after(tx)
        if not store.sqlite:  # it would plan for the empty tables that it knows
            for table in schema.HISTORY:
                tx.execute(text(f"ANALYZE {table}"))
    return _restored(found, store.identity(), began)


def _whole(directory: Path) -> Manifest:
    """The manifest, once every file that it names was held against it."""
    found = manifest.read(directory)
    for item in found.files:
        for _ in file.pieces(directory, item):
            pass
    return found


def _told(directory: Path, found: Manifest, chain: BackedUpChain) -> Iterator[EntryRecord]:
    """The entries of one chain, each held against its own digest, the last against the manifest's."""
    previous, last, logs = digest.START, 0, 0
    for segment in found.of(chain.chain_id):
        path = directory / segment.file.name
        for told in _read(directory, segment):
            if told.entry.entry != last + 1:
                raise manifest.damaged(path, f"entry {last + 1} is missing")
            if told.previous_digest != previous or told.recomputed(chain.chain_id) != told.digest:
                raise manifest.damaged(path, f"entry {last + 1} is not what its digest says")
            previous, last, logs = told.digest, told.entry.entry, logs + len(told.logs)
            yield told
        if last != segment.last_entry:
            raise manifest.damaged(path, f"it ends at entry {last}, and should at {segment.last_entry}")
    if line.hexed(previous) != chain.digest or logs != chain.logs:
        raise manifest.damaged(
            directory / manifest.NAME, f"it speaks of another history of chain {chain.chain_id}"
        )


def _read(directory: Path, segment: Segment) -> Iterator[EntryRecord]:
    try:
        yield from line.read(file.lines(directory, segment.file))
    except ValueError as error:  # msgspec's are ValueErrors
        path = directory / segment.file.name
        raise manifest.damaged(path, f"it holds a malformed line: {error}") from error


def _refuse_filled(tx: Connection, store: Store, tables: list[str]) -> None:
    every = [*schema.HISTORY, "chains", *tables]
    if not store.sqlite:  # on SQLite no other process writes
        tx.execute(text(f"LOCK TABLE {', '.join(state.there(tx, every))} IN SHARE ROW EXCLUSIVE MODE"))
    filled = state.filled(tx, every)
    if filled is not None:
        raise BackupError(
            f"The event store {public(store.url)} is not empty: there are rows in {filled}.",
            hint="Restore into a new one: name another file or database in store.url.",
        )


def _state(
    directory: Path, found: Manifest, read: Callable[[Iterable[bytes]], Iterable[object] | None]
) -> Iterator[object]:
    """What `read` makes of the lines of the state file."""
    if found.state is None:
        return
    path = directory / found.state.name
    try:
        yield from read(file.lines(directory, found.state)) or ()
    except ValueError as error:  # msgspec's are ValueErrors
        raise manifest.damaged(path, f"it holds a malformed line: {error}") from error


def _restored(found: Manifest, store: str, began: float) -> Restored:
    entries = sum(chain.entries for chain in found.chains)
    return Restored(
        store, found.store, found.taken_at, found.chains, entries, found.logs, time.monotonic() - began
    )
