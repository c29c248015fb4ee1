"""What a backup may make its reader do: each cap is named, and only regular files are read."""

from __future__ import annotations

import gzip
import os
import stat
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from eventstore.backup import file, manifest
from eventstore.backup.dump import dump
from eventstore.errors import BackupDamaged, BackupError
from eventstore.storage.store import Store
from projections.service.runtime.backup import TABLES, check, restore
from tests.eventstore.backup.journals import Author


@pytest.fixture
def taken(sqlite_store: Store, tmp_path: Path) -> Path:
    Author(sqlite_store, 5).write(20)
    dump(sqlite_store, tmp_path / "backup", tables=TABLES)
    return tmp_path / "backup"


@pytest.fixture
def empty(postgres_store: Store) -> Store:
    return postgres_store


def refused(directory: Path, store: Store) -> str:
    """What `restore --check` and `restore` say: the same."""
    said = []
    for restores in (False, True):
        with pytest.raises(BackupError) as caught:
            if restores:
                restore(store, directory)
            else:
                check(directory)
        said.append(str(caught.value))
    assert said[0] == said[1]
    return said[0]


def rewritten(directory: Path, change: Callable[[list[bytes]], list[bytes]], *, state: bool = True) -> Path:
    """The same backup with other lines in one of its files, sealed as if it had been written so."""
    found = manifest.read(directory)
    assert found.state is not None
    old = found.state if state else found.segments[0].file
    path = directory / old.name
    lines = change(gzip.decompress(path.read_bytes()).splitlines(keepends=True))
    raw = gzip.compress(b"".join(lines))
    path.write_bytes(raw)
    new = replace(old, bytes=len(raw), sha256=sha256(raw).hexdigest(), lines=len(lines))
    if state:
        found = replace(found, state=new)
    else:
        found = replace(found, segments=[replace(found.segments[0], file=new), *found.segments[1:]])
    manifest.write(directory, found)
    return path


def row(table: str, **values: Any) -> Callable[[list[bytes]], list[bytes]]:
    def change(lines: list[bytes]) -> list[bytes]:
        return [*lines, msgspec.json.encode((table, values)) + b"\n"]

    return change


FINALITY: dict[str, Any] = {"chain_id": 99, "number": 1, "hash": "0x00"}


SKIP = {"projection": "p" * 101, "block_hash": "0x00", "log_index": 1, "reason": "", "created_at": 1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (row("finality", **FINALITY | {"number": "one"}), "finality.number is not an integer"),
        (row("finality", **FINALITY | {"number": True}), "finality.number is not an integer"),
        (row("finality", **FINALITY | {"number": 2**63}), "which no column holds"),
        (row("finality", **FINALITY | {"number": None}), "finality.number is null"),
        (row("finality", **FINALITY | {"hash": "00"}), "is not hex with 0x"),
        (row("finality", **FINALITY | {"hash": "0x0g"}), "a malformed line"),
        (row("finality", chain_id=99, number=1), "a row of finality has no hash"),
        (row("finality", **FINALITY | {"colour": 1}), "finality.colour, which this chainfold does not know"),
        (row("weather", sun=1), "weather.sun, which this chainfold does not know"),
        (row("skips", **SKIP), "has more than 100 characters"),
        (lambda lines: [*lines, b"{}\n"], "a malformed line"),
        (lambda lines: [*lines, b"["], "a malformed line"),
    ],
)  # fmt: skip
def test_a_check_reads_the_state_with_the_reader_that_restores(
    taken: Path, empty: Store, change: Callable[[list[bytes]], list[bytes]], said: str
) -> None:
    rewritten(taken, change)
    assert said in refused(taken, empty)


def test_a_line_just_above_the_cap_is_not_read(
    taken: Path, empty: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = max(
        len(line)
        for path in taken.glob("*.gz")
        for line in gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    )
    monkeypatch.setattr(file, "LONGEST_LINE", longest)
    check(taken)
    monkeypatch.setattr(file, "LONGEST_LINE", longest - 1)
    assert f"has more than {longest - 1:,} bytes" in refused(taken, empty)


def test_a_dump_writes_no_line_that_no_restore_reads(
    sqlite_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Author(sqlite_store, 5).write(5)
    monkeypatch.setattr(file, "LONGEST_LINE", 100)
    with pytest.raises(BackupError, match="more than 100 bytes"):
        dump(sqlite_store, tmp_path / "backup", tables=TABLES)


def test_more_lines_than_are_said_are_not_read(taken: Path, empty: Store) -> None:
    path = rewritten(taken, lambda lines: lines, state=False)
    found = manifest.read(taken)
    fewer = replace(found.segments[0].file, lines=found.segments[0].file.lines - 1)
    first = replace(found.segments[0], file=fewer)
    manifest.write(taken, replace(found, segments=[first, *found.segments[1:]]))
    said = refused(taken, empty)
    assert "more than the" in said
    assert path.name in said


def test_a_manifest_just_above_the_cap_is_not_read(taken: Path, empty: Store) -> None:
    path = taken / manifest.NAME
    path.write_bytes(path.read_bytes() + b" " * (manifest.LONGEST + 1 - path.stat().st_size))
    assert f"more than {manifest.LONGEST:,} bytes" in refused(taken, empty)


def test_a_file_that_is_said_to_be_larger_than_one_may_be_is_refused(taken: Path, empty: Store) -> None:
    found = manifest.read(taken)
    assert found.state is not None
    large = replace(found.state, bytes=manifest.LARGEST_FILE + 1)
    manifest.write(taken, replace(found, state=large))
    assert f"{manifest.LARGEST_FILE:,}" in refused(taken, empty)


def test_a_file_is_read_no_further_than_it_is_said_to_be(taken: Path, empty: Store) -> None:
    [path] = taken.glob("state-*")
    with path.open("ab") as grown:
        grown.truncate(path.stat().st_size + 8 * 2**20)
    assert "or more and should have" in refused(taken, empty)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


def linked(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to(path.with_name("pipe"))


@pytest.mark.parametrize("made", [fifo, device, folder, linked])
@pytest.mark.parametrize("which", [manifest.NAME, "state", "chain"])
def test_what_is_no_regular_file_is_named_and_not_waited_for(
    taken: Path, empty: Store, made: Callable[[Path], None], which: str
) -> None:
    path = taken / manifest.NAME if which == manifest.NAME else next(taken.glob(f"{which}-*"))
    path.unlink()
    made(path)
    said = refused(taken, empty)
    assert "it is not a regular file" in said
    assert path.name in said


def test_a_link_to_a_file_is_a_file(taken: Path) -> None:
    [path] = taken.glob("state-*")
    path.rename(taken.parent / "elsewhere")
    path.symlink_to(taken.parent / "elsewhere")
    check(taken)


def test_every_file_of_a_backup_is_its_owners_alone(taken: Path) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in taken.iterdir()}
    assert set(modes.values()) == {0o600}, modes


def test_a_damaged_state_is_damage(taken: Path) -> None:
    rewritten(taken, row("finality", **FINALITY | {"number": "one"}))
    with pytest.raises(BackupDamaged, match="state-"):
        check(taken)
