"""Store -> directory: the journal up to this moment. Only what is new is written.

Law: the directory holds a whole backup at every moment, the former one until the new manifest is in its
place. What an interrupted dump had finished is kept, and the next one goes on from there.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Generator, Iterable
from contextlib import closing
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection

from eventstore.backup import line, manifest, state
from eventstore.backup.directory import alone, written
from eventstore.backup.file import Writing
from eventstore.backup.manifest import BackedUpChain, BackupFile, Manifest, Segment
from eventstore.errors import BackupError
from eventstore.journal.chains import geneses
from eventstore.journal.entries import EntryRecord, chronicle, digest_at
from eventstore.journal.totals import Extent, extents
from eventstore.report import OnProgress
from eventstore.storage.store import Store

FULL = 32 << 20
"""Bytes at which a file is closed, after the entry that reached it."""

SMALL = 8 << 20
"""The newest file of a chain is carried over into the next one while it is smaller than this: so the number
of files grows with the journal and not with the number of backups, for at most as many bytes copied."""


class Dumped(Struct, frozen=True):
    """What one dump did: `entries` and `logs` are those that were new, `bytes` all that the backup takes."""

    store: str
    chains: list[BackedUpChain]
    entries: int
    logs: int
    files: int
    bytes: int
    seconds: float


def dump(
    store: Store,
    directory: Path,
    *,
    tables: Iterable[str] = state.TABLES,
    progress: OnProgress = lambda done, of: None,
    full: int = FULL,
    small: int = SMALL,
) -> Dumped:
    """Brings the backup in `directory` up to what the store holds now, in one snapshot.

    It runs while other processes write. `tables` are kept as they are, beside history. `progress` is called
    with the logs that were written and how many there are to write. Raises `BackupError` where the
    directory cannot hold it, or has no room, or where the journal is not what its digests say; what was
    there before stands.
    """
    began = time.monotonic()
    identity = store.identity()
    with written(directory), alone(directory), store.read() as tx:
        goal = _chains(tx)
        base = _base(tx, directory, identity, goal)
        total = sum(chain.logs for chain in goal) - base.logs
        grown, done = base, 0
        for chain in goal:
            with closing(_grown(tx, directory, grown, chain, full=full, small=small)) as steps:
                for step in steps:
                    if isinstance(step, EntryRecord):
                        done += len(step.logs)
                        progress(done, total)
                        continue
                    grown = step
                    manifest.settle(directory)
                    manifest.write(directory, grown, manifest.UNFINISHED)
        taken = time.time_ns()
        kept = _state(tx, directory, f"state-{taken}.jsonl.gz", tables)
        whole = replace(grown, taken_at=taken // 10**9, chains=goal, state=kept)
        manifest.settle(directory)
        manifest.write(directory, whole)
        _tidy(directory, whole)
    return Dumped(
        identity,
        whole.chains,
        entries=_entries(whole) - _entries(base),
        logs=whole.logs - base.logs,
        files=len(whole.files),
        bytes=sum(file.bytes for file in whole.files),
        seconds=time.monotonic() - began,
    )


def refuse(store: Store, directory: Path) -> None:
    """Raises what `dump` would refuse this directory for, and writes nothing."""
    with written(directory):
        place = next(path for path in (directory, *directory.absolute().parents) if path.exists())
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if place == directory:
            with store.read() as tx:
                _base(tx, directory, store.identity(), _chains(tx))


def _chains(tx: Connection) -> list[BackedUpChain]:
    """Every chain of the store, as it stands."""
    genesis = geneses(tx)
    reached = extents(tx)
    found = []
    for chain_id in sorted(genesis.keys() | reached.keys()):
        seen = genesis.get(chain_id)
        extent = reached.get(chain_id, Extent(0, 0))
        found.append(
            BackedUpChain(
                chain_id,
                None if seen is None else line.hexed(seen),
                extent.entry,
                extent.logs,
                line.hexed(digest_at(tx, chain_id, extent.entry)),
            )
        )
    return found


# --- what is there already ---


def _base(tx: Connection, directory: Path, identity: str, goal: list[BackedUpChain]) -> Manifest:
    """What this dump goes on from: an interrupted one, else the last whole one, else nothing."""
    whole = manifest.read(directory) if (directory / manifest.NAME).exists() else None
    if whole is None:
        strange = sorted(path.name for path in directory.iterdir() if not manifest.is_ours(path.name))
        if strange:
            raise BackupError(
                f"{directory} is not empty and holds no backup: there is {strange[0]}.",
                hint="Name an empty directory, or one that is not there yet.",
            )
        whole = Manifest(store=identity, taken_at=0, chains=[], segments=[], state=None)
    if whole.store != identity:
        raise BackupError(
            f"{directory} holds a backup of another event store ({whole.store}); this one is {identity}.",
            hint="Name another directory. A restored store goes on in the old one if it keeps its id "
            "(`chainfold restore --keep-id`).",
        )
    other = _other_history(tx, whole, goal)
    if other is not None:
        raise BackupError(
            f"{directory} holds another history than this store: {other}.",
            hint="Name another directory; this one is kept as it is. `chainfold verify journal` says whether "
            "the store is whole.",
        )
    begun = _interrupted(directory)
    if begun is None or begun.store != identity or begun.logs < whole.logs:
        return whole
    return whole if _other_history(tx, begun, goal) else begun


def _interrupted(directory: Path) -> Manifest | None:
    """What an unfinished dump left behind; None if it cannot be used: nothing of it was promised."""
    if not (directory / manifest.UNFINISHED).exists():
        return None
    try:
        begun = manifest.read(directory, manifest.UNFINISHED)
    except BackupError:
        return None
    return begun if all((directory / file.name).exists() for file in begun.files) else None


def _other_history(tx: Connection, base: Manifest, goal: list[BackedUpChain]) -> str | None:
    """Why what is there is not the beginning of what is to be written; None where it is."""
    now = {chain.chain_id: chain.entries for chain in goal}
    for chain in base.chains:
        entries = now.get(chain.chain_id, 0)
        if entries < chain.entries:
            return f"of chain {chain.chain_id} it has {chain.entries:,} entries, this store {entries:,}"
        at = digest_at(tx, chain.chain_id, chain.entries)
        if line.hexed(at) != chain.digest:
            return f"entry {chain.entries:,} of chain {chain.chain_id} is another one here"
    return None


# --- writing ---


def _grown(
    tx: Connection, directory: Path, base: Manifest, chain: BackedUpChain, *, full: int, small: int
) -> Generator[EntryRecord | Manifest]:
    """Writes what is new of one chain: each entry that is written, and after each file what the backup is
    then."""
    there = base.of(chain.chain_id)
    last = there[-1] if there else None
    since = 0 if last is None else last.last_entry
    previous = digest_at(tx, chain.chain_id, since)
    carried = last if last is not None and last.file.bytes < small else None
    writing: _Segment | None = None
    try:
        for told in chronicle(tx, chain.chain_id, since=since) if since < chain.entries else ():
            entry = told.entry.entry
            if (
                entry != since + 1
                or told.previous_digest != previous
                or told.recomputed(chain.chain_id) != told.digest
            ):
                raise BackupError(
                    f"Entry {since + 1} of chain {chain.chain_id} is not what it was when it was written: a "
                    "backup of it could not be restored.",
                    hint="Run `chainfold verify journal`. The backup is as it was before.",
                )
            since, previous = entry, told.digest
            if writing is None:
                writing = _Segment(directory, chain.chain_id, entry, carried)
            writing.add(told)
            yield told
            if writing.bytes >= full:
                base, writing, carried = writing.finish(base, chain), None, None
                yield base
        if writing is not None:
            base, writing = writing.finish(base, chain), None
            yield base
    finally:
        if writing is not None:
            writing.abandon()


class _Segment:
    """One file of entries that is being written; it begins with what `carried` holds, if there is one."""

    def __init__(self, directory: Path, chain_id: int, entry: int, carried: Segment | None) -> None:
        self._carried = carried
        self._chain = chain_id
        self._first = entry if carried is None else carried.first_entry
        self._logs = 0 if carried is None else carried.logs
        self._last: EntryRecord | None = None
        self._writing = Writing(directory, f"chain-{chain_id}-entries-{self._first}-to-{entry}.jsonl.gz")
        if carried is not None:
            try:
                self._writing.carry(carried.file)
            except BaseException:
                self._writing.abandon()
                raise

    @property
    def bytes(self) -> int:
        return self._writing.bytes

    def add(self, told: EntryRecord) -> None:
        self._writing.add(*line.written(told))
        self._logs += len(told.logs)
        self._last = told

    def finish(self, base: Manifest, chain: BackedUpChain) -> Manifest:
        """What the backup is with this file in it."""
        assert self._last is not None
        end = self._last.entry.entry
        file = self._writing.finish(f"chain-{self._chain}-entries-{self._first}-to-{end}.jsonl.gz")
        segments = [item for item in base.segments if item is not self._carried]
        segments.append(Segment(self._chain, self._first, end, self._logs, file))
        logs = sum(item.logs for item in segments if item.chain_id == self._chain)
        head = replace(chain, entries=end, logs=logs, digest=line.hexed(self._last.digest))
        others = [item for item in base.chains if item.chain_id != self._chain]
        return replace(base, segments=segments, chains=[*others, head])

    def abandon(self) -> None:
        self._writing.abandon()


def _state(tx: Connection, directory: Path, name: str, tables: Iterable[str]) -> BackupFile:
    writing = Writing(directory, name)
    try:
        for row in state.written(tx, tables):
            writing.add(row, 1)
        return writing.finish(name)
    except BaseException:
        writing.abandon()
        raise


def _tidy(directory: Path, whole: Manifest) -> None:
    """Removes what belongs to no manifest any more."""
    named = {manifest.NAME, ".lock", *(file.name for file in whole.files)}
    for path in directory.iterdir():
        if manifest.is_ours(path.name) and path.name not in named:
            path.unlink()


def _entries(of: Manifest) -> int:
    return sum(chain.entries for chain in of.chains)
