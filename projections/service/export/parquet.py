"""Canonical logs as Parquet files for analysts: raw, or one file for each declared event."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Generator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from eventstore import private_files
from eventstore.extras import install
from eventstore.journal.history import Learned, Question, ask, count_ever
from eventstore.records import Filter
from eventstore.storage.store import Store
from projections.decoding.event import Event, Layout
from projections.errors import ConfigurationError
from projections.service.export.columns import EventColumns, raw, raw_schema
from projections.service.runtime.progress import Advance
from projections.service.status.declared import Declared

if TYPE_CHECKING:
    import pyarrow

GROUP = 50_000
"""Rows of a row group, and what is held in memory at most, unless their data is long."""

HELD = 64 << 20
"""Bytes of topics and data that are held in memory at most, over all files."""


class Written(Struct, frozen=True):
    """A file that was written."""

    path: str
    rows: int
    bytes: int


class Exported(Struct, frozen=True):
    """What was written; `undecoded` logs claim to be a declared event and are not of its shape."""

    files: list[Written]
    undecoded: int = 0


class ExportedChain(Struct, frozen=True):
    """A chain to export: its id, what its contracts declare, and which of their logs."""

    chain_id: int
    declared: Declared
    filters: tuple[Filter, ...] | None


def export_logs(
    store: Store, path: Path, sources: list[ExportedChain], asked: Question, *, progress: Advance
) -> Exported:
    """All canonical logs of these chains into one file, in chain order."""
    arrow = _arrow()
    with closing(_rows(store, sources, asked, progress)) as rows, _Files() as files:
        into = files.add(path, raw_schema(arrow))
        for source, row in rows:
            into.add(raw(source.chain_id, row), _weight(row))
        return Exported(files.finish())


def export_events(
    store: Store, directory: Path, sources: list[ExportedChain], asked: Question, *, progress: Advance
) -> Exported:
    """A file `contract.Event.parquet` for each declared event, empty where there is none yet."""
    arrow = _arrow()
    undecoded = 0
    with closing(_rows(store, sources, asked, progress)) as rows, _Files() as files:
        directory.mkdir(parents=True, exist_ok=True)
        shapes: dict[tuple[str, Layout], tuple[_File, EventColumns]] = {}
        for source in sources:
            for name, event, file in _named(source.declared.told_apart()):
                shape = EventColumns(arrow, event)
                into = files.add(directory / f"{file}.parquet", shape.schema)
                shapes[name, event.layout] = into, shape
        for source, row in rows:
            found = source.declared(row.log)
            if found is None:
                undecoded += source.declared.unread(row.log)
                continue
            into, shape = shapes[found.contract, found.event.layout]
            into.add(shape.row(source.chain_id, row, found.values, found.marks), _weight(row))
        return Exported(files.finish(), undecoded)


def _named(declared: list[tuple[str, Event]]) -> list[tuple[str, Event, str]]:
    """Contract, event, and the name of its file: `contract.Event`. Where several would have one name, in any
    case of its letters, the first eight digits of the topic follow, and then what else tells them apart."""
    named = Tally((contract, event.name.lower()) for contract, event in declared)
    signed = Tally((contract, event.canonical) for contract, event in declared)
    found = []
    for contract, event in declared:
        file = f"{contract}.{event.name}"
        if named[contract, event.name.lower()] > 1:
            file += f".{event.topic0.hex()[:8]}"
        if signed[contract, event.canonical] > 1:
            file += f".{'anonymous' if event.anonymous else 'indexed'}{event.indexed}"
        found.append((contract, event, file))
    return found


def _rows(
    store: Store, sources: list[ExportedChain], asked: Question, progress: Advance
) -> Generator[tuple[ExportedChain, Learned]]:
    """What was asked for of each chain, each in one snapshot."""
    done = 0
    for source in sources:
        with store.read() as tx:
            total = done + count_ever(tx, source.chain_id, first=asked.first, last=asked.last)
            question = Question(first=asked.first, last=asked.last, filters=source.filters)
            for row in ask(tx, source.chain_id, question):
                done += 1
                yield source, row
                if done % 1_000 == 0:
                    progress(done, total)
    progress(done, done)


def _weight(row: Learned) -> int:
    """About how many bytes a row holds that are not the same for all."""
    return 32 * len(row.log.topics) + len(row.log.data)


def _arrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigurationError(
            "Parquet files need pyarrow, which is not installed.",
            hint=install("parquet"),
        ) from error
    return pyarrow


class _Files:
    """Parquet files that are written beside their places, and moved there together at the end."""

    def __init__(self) -> None:
        self._files: list[_File] = []
        self._open = ExitStack()
        self._held = 0

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(self, path: Path, schema: pyarrow.Schema) -> _File:
        if path.exists():
            raise ConfigurationError(f"{path} is there already.", hint="Remove it, or name another place.")
        file = _File(path, schema, self)
        self._open.callback(file.abandon)
        self._files.append(file)
        return file

    def hold(self, bytes_: int) -> None:
        """Counts what is held in memory, and empties it where it is too much."""
        self._held += bytes_
        if self._held > HELD:
            for file in self._files:
                file.flush()
            self._held = 0

    def finish(self) -> list[Written]:
        return [file.finish() for file in self._files]


class _File:
    def __init__(self, path: Path, schema: pyarrow.Schema, files: _Files) -> None:
        import pyarrow.parquet

        self._path = path
        self._partial = path.with_name(path.name + ".partial")
        self._schema = schema
        self._files = files
        self._rows: list[list[Any]] = []
        self._count = 0
        private_files.make(self._partial)
        self._writer: Any = pyarrow.parquet.ParquetWriter(self._partial, schema, compression="zstd")

    def add(self, row: list[Any], weight: int) -> None:
        self._rows.append(row)
        self._files.hold(weight)
        if len(self._rows) >= GROUP:
            self.flush()

    def flush(self) -> None:
        """Writes what is held as one row group."""
        if not self._rows:
            return
        import pyarrow

        columns = zip(*self._rows, strict=True)
        typed = zip(columns, self._schema, strict=True)
        arrays = [pyarrow.array(column, type=field.type) for column, field in typed]
        self._writer.write_table(pyarrow.Table.from_arrays(arrays, schema=self._schema))
        self._count += len(self._rows)
        self._rows = []

    def finish(self) -> Written:
        self.flush()
        self._writer.close()
        self._partial.replace(self._path)
        return Written(str(self._path), self._count, self._path.stat().st_size)

    def abandon(self) -> None:
        """What was finished stays."""
        with suppress(OSError):  # a full disk is full still
            self._writer.close()
        self._partial.unlink(missing_ok=True)
