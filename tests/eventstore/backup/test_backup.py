"""A restored store has the same history, for any events, from either engine to either."""

from __future__ import annotations

import fcntl
import gzip
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import text

from eventstore.backup import manifest
from eventstore.backup.dump import dump
from eventstore.backup.restoration import check
from eventstore.errors import BackupDamaged, BackupError
from eventstore.journal.integrity import check_journal
from eventstore.journal.journal import Journal
from eventstore.storage import schema
from eventstore.storage.store import Store
from projections.migrate import migrate
from projections.service.runtime.backup import TABLES, backup, restore
from tests.eventstore.backup.journals import CHAINS, Author, told
from tests.servers.postgres import database
from tests.stores import migrated

ENGINES = ("sqlite", "postgresql")


class Stores:
    """Empty stores, as many as one likes, until `close`."""

    def __init__(self, folder: Path, server: str) -> None:
        self._folder = folder
        self._server = server
        self._open = ExitStack()
        self.close = self._open.close
        self._count = 0

    def empty(self, engine: str) -> Store:
        self._count += 1
        if engine == "sqlite":
            return self._open.enter_context(closing(migrated(self._folder / f"{self._count}.db")))
        store = Store(self._open.enter_context(database(self._server)))
        self._open.callback(store.close)
        migrate(store)
        return store


@pytest.fixture
def stores(tmp_path: Path, postgres_server: str) -> Iterator[Stores]:
    made = Stores(tmp_path, postgres_server)
    yield made
    made.close()


@pytest.fixture
def taken(sqlite_store: Store, tmp_path: Path) -> Path:
    """A backup of a random journal, in several files."""
    Author(sqlite_store, 5).write(60)
    dump(sqlite_store, tmp_path / "backup", tables=TABLES, full=1_500)
    return tmp_path / "backup"


@pytest.mark.parametrize("source", ENGINES)
@pytest.mark.parametrize("target", ENGINES)
def test_what_is_restored_is_what_was_backed_up(
    stores: Stores, tmp_path: Path, source: str, target: str
) -> None:
    """With reorgs, orphans, late logs, coverage, finality, tail and decisions to skip, of two chains."""
    one, other = stores.empty(source), stores.empty(target)
    Author(one, 1).write(80)
    taken = backup(one, tmp_path / "backup")
    done = restore(other, tmp_path / "backup")
    assert told(other) == told(one)
    assert (done.chains, done.logs, done.of) == (taken.chains, taken.logs, one.identity())
    with other.read() as tx:
        for chain in CHAINS:
            assert check_journal(tx, chain).ok


@given(
    seed=st.integers(0, 2**32),
    turns=st.lists(st.integers(0, 25), min_size=1, max_size=4),
    engines=st.tuples(*[st.sampled_from(ENGINES)] * 2),
)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_many_small_backups_are_one_large_one(
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: str,
    seed: int,
    turns: list[int],
    engines: tuple[str, str],
) -> None:
    """For any events on the chains, and any sizes at which files are closed and carried over."""
    folder, random = tmp_path_factory.mktemp("backup"), Random(seed)
    stores = Stores(folder, postgres_server)
    one, other, third = stores.empty("sqlite"), *map(stores.empty, engines)
    author = Author(one, seed)
    for number in turns:
        author.write(number)
        full, small = random.choice((1, 2_000, 10**9)), random.choice((0, 3_000, 10**9))
        dump(one, folder / "often", tables=TABLES, full=full, small=small)
    dump(one, folder / "once", tables=TABLES)
    restore(other, folder / "often")
    restore(third, folder / "once")
    assert told(other) == told(one) == told(third)
    stores.close()


def test_a_store_that_knows_nothing_yet_is_backed_up_as_well(
    sqlite_store: Store, stores: Stores, tmp_path: Path
) -> None:
    done = backup(sqlite_store, tmp_path / "backup")
    assert (done.chains, done.logs) == ([], 0)
    assert [gzip.decompress(path.read_bytes()) for path in (tmp_path / "backup").glob("*.gz")] == [b""]
    other = stores.empty("sqlite")
    assert restore(other, tmp_path / "backup", keep_id=True).store == sqlite_store.identity()
    Author(sqlite_store, 1).write(10)
    assert backup(sqlite_store, tmp_path / "backup").entries > 0


def test_a_second_backup_writes_only_what_is_new(sqlite_store: Store, tmp_path: Path) -> None:
    author = Author(sqlite_store, 2)
    author.write(40)
    dump(sqlite_store, tmp_path / "backup", full=1_500, small=0)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "backup").glob("chain-*")}
    author.write(10)
    second = dump(sqlite_store, tmp_path / "backup", full=1_500, small=0)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "backup").glob("chain-*")}
    assert before.items() < after.items()
    assert 0 < second.entries <= 10
    again = dump(sqlite_store, tmp_path / "backup", full=1_500, small=0)
    assert (again.entries, again.logs, again.files) == (0, 0, second.files)


def test_many_backups_do_not_make_many_files(sqlite_store: Store, tmp_path: Path) -> None:
    author = Author(sqlite_store, 3)
    for _ in range(20):
        author.write(3)
        done = backup(sqlite_store, tmp_path / "backup")
    assert done.files == len(CHAINS) + 1
    named = [file.name for file in manifest.read(tmp_path / "backup").files]
    here = {path.name for path in (tmp_path / "backup").iterdir()}
    assert here == {".lock", "manifest.json", *named}


# --- what is refused ---


def test_one_byte_that_was_changed_in_any_file_is_refused_and_the_file_is_named(
    taken: Path, stores: Stores, tmp_path: Path
) -> None:
    random, empty = Random(1), stores.empty("sqlite")
    names = ["manifest.json", *(file.name for file in manifest.read(taken).files)]
    assert len(names) > 4
    for name in names:
        whole = (taken / name).read_bytes()
        for place in {0, len(whole) - 1, *(random.randrange(len(whole)) for _ in range(20))}:
            changed = bytearray(whole)
            changed[place] ^= 1 << random.randrange(8)
            (taken / name).write_bytes(changed)
            with pytest.raises(BackupError) as refused:
                check(taken)
            assert name in refused.value.message, (name, place)
            with pytest.raises(BackupError):
                restore(empty, taken)
        (taken / name).write_bytes(whole)
    assert told(empty)["history"] == {chain: [] for chain in CHAINS}
    restore(empty, taken)


@pytest.mark.parametrize("how", ["missing", "truncated", "longer"])
def test_a_file_that_is_missing_or_of_another_length_is_refused(taken: Path, how: str) -> None:
    for file in manifest.read(taken).files:
        path, whole = taken / file.name, (taken / file.name).read_bytes()
        match how:
            case "missing":
                path.unlink()
            case "truncated":
                path.write_bytes(whole[: len(whole) // 2])
            case _:
                path.write_bytes(whole + b"\0")
        with pytest.raises(BackupDamaged, match=file.name):
            check(taken)
        path.write_bytes(whole)
    check(taken)


def forged(directory: Path, turn: Any) -> None:
    """Turns the text of the first file of entries, and writes a manifest that speaks for it."""
    whole = manifest.read(directory)
    first = whole.segments[0]
    path = directory / first.file.name
    data = gzip.compress(turn(gzip.decompress(path.read_bytes())))
    path.write_bytes(data)
    file = replace(first.file, bytes=len(data), sha256=sha256(data).hexdigest())
    manifest.write(directory, replace(whole, segments=[replace(first, file=file), *whole.segments[1:]]))


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        (lambda text: text.replace(b'"log",', b'"log",1', 1), "is not what its digest says"),
        (lambda text: text.replace(b'"appended"', b'"orphaned"', 1), "is not what its digest says"),
        (lambda text: text.replace(b'"block"', b'"bluck"', 1), "a malformed line"),
        (lambda text: text.split(b"\n", 1)[1], "before the first entry"),
        (lambda text: text[:-10], "a malformed line"),
        (lambda text: text[: text.rindex(b'["entry"')], "it ends at entry"),
        (lambda text: text.replace(b'["entry",2,', b'["entry",3,', 1), "entry 2 is missing"),
    ],
)
def test_history_that_its_digests_do_not_bear_out_is_refused_whoever_sealed_it(
    taken: Path, stores: Stores, turn: Any, said: str
) -> None:
    forged(taken, turn)
    empty = stores.empty("sqlite")
    with pytest.raises(BackupDamaged, match=said):
        restore(empty, taken)
    assert told(empty)["entries"] == []


def test_a_backup_of_another_version_is_refused(taken: Path) -> None:
    path = taken / "manifest.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(BackupError, match="version 2; this chainfold reads chainfold-backup, version 1"):
        check(taken)


def test_a_column_that_this_store_does_not_have_is_refused(
    sqlite_store: Store, stores: Stores, tmp_path: Path
) -> None:
    Author(sqlite_store, 1).write(10)
    with sqlite_store.write() as tx:
        tx.execute(text("ALTER TABLE coverage ADD COLUMN colour TEXT"))
    backup(sqlite_store, tmp_path / "backup")
    empty = stores.empty("sqlite")
    with pytest.raises(BackupError, match=r"coverage\.colour, which this chainfold does not know"):
        restore(empty, tmp_path / "backup")
    assert told(empty)["entries"] == []


@pytest.mark.parametrize("engine", ENGINES)
def test_a_store_that_is_not_empty_is_refused(taken: Path, stores: Stores, engine: str) -> None:
    store = stores.empty(engine)
    restore(store, taken)
    before = told(store)
    with pytest.raises(BackupError, match="is not empty: there are rows in entries"):
        restore(store, taken)
    assert told(store) == before


def test_a_directory_without_a_backup_is_refused(tmp_path: Path, sqlite_store: Store) -> None:
    with pytest.raises(BackupError, match="holds no backup"):
        check(tmp_path)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "thesis.tex").touch()
    with pytest.raises(BackupError, match=r"is not empty and holds no backup: there is thesis\.tex"):
        backup(sqlite_store, tmp_path / "letters")
    with pytest.raises(BackupError, match=r"cannot be written into .*thesis\.tex"):
        backup(sqlite_store, tmp_path / "letters" / "thesis.tex")


# --- whose backup it is ---


def test_a_directory_of_another_store_is_refused_and_kept(
    taken: Path, stores: Stores, sqlite_store: Store
) -> None:
    other = stores.empty("sqlite")
    Author(other, 5).write(70)
    with pytest.raises(BackupError, match="holds a backup of another event store"):
        backup(other, taken)
    assert check(taken).of == sqlite_store.identity()


def test_a_restored_store_has_an_id_of_its_own_unless_it_takes_the_old_ones_place(
    taken: Path, stores: Stores, sqlite_store: Store
) -> None:
    """With the id it goes on in the same directory."""
    other, same = stores.empty("sqlite"), stores.empty("postgresql")
    assert restore(other, taken).store == other.identity() != sqlite_store.identity()
    assert restore(same, taken, keep_id=True).store == same.identity() == sqlite_store.identity()
    with pytest.raises(BackupError, match="another event store"):
        backup(other, taken)
    assert backup(same, taken).entries == 0


def test_a_store_that_was_put_back_or_went_another_way_is_refused(
    taken: Path, stores: Stores, sqlite_store: Store, tmp_path: Path
) -> None:
    """It keeps its id, and its history is not what the directory holds."""
    old = stores.empty("sqlite")
    restore(old, taken, keep_id=True)
    with sqlite_store.write() as tx:
        Journal(tx, CHAINS[0]).orphan(1)
    backup(sqlite_store, taken)
    with pytest.raises(BackupError, match="this store"):
        backup(old, taken)
    with old.write() as tx:
        Journal(tx, CHAINS[0]).orphan(2)
    with pytest.raises(BackupError, match="is another one here"):
        backup(old, taken)


def test_a_journal_that_was_tampered_with_is_not_backed_up(sqlite_store: Store, tmp_path: Path) -> None:
    author = Author(sqlite_store, 4)
    author.write(30)
    first = backup(sqlite_store, tmp_path / "backup")
    author.write(10)
    with sqlite_store.write() as tx:
        for table in schema.HISTORY:
            tx.execute(text(f"DROP TRIGGER {table}_refuse_update"))
        newest = tx.execute(text("SELECT max(entry) FROM logs WHERE chain_id = 1")).scalar()
        change = "UPDATE logs SET data = x'77' WHERE chain_id = 1 AND entry = :newest"
        tx.execute(text(change), {"newest": newest})
    with pytest.raises(BackupError, match="is not what it was when it was written"):
        backup(sqlite_store, tmp_path / "backup")
    assert check(tmp_path / "backup").chains == first.chains


# --- interruptions ---


class Interrupted(Exception):
    """What ends a dump in these tests."""


def test_an_interrupted_backup_leaves_the_former_one_and_is_gone_on_with(
    sqlite_store: Store, stores: Stores, tmp_path: Path
) -> None:
    """After any number of files."""
    directory, author = tmp_path / "backup", Author(sqlite_store, 6)
    author.write(20)
    former = dump(sqlite_store, directory, tables=TABLES, full=700)
    for files in (1, 2, 3):
        author.write(20)
        enough = len(list(directory.glob("chain-*.gz"))) + files

        def interrupt(done: int, of: int, enough: int = enough) -> None:
            if len(list(directory.glob("chain-*.gz"))) >= enough:
                raise Interrupted

        with pytest.raises(Interrupted):
            dump(sqlite_store, directory, tables=TABLES, full=700, progress=interrupt)
        assert check(directory).chains == former.chains
        assert (directory / manifest.UNFINISHED).exists()
    done = dump(sqlite_store, directory, tables=TABLES, full=700)
    assert done.entries < sum(chain.entries for chain in done.chains) - sum(
        chain.entries for chain in former.chains
    ), "what had been written was written again"
    other = stores.empty("sqlite")
    restore(other, directory)
    assert told(other) == told(sqlite_store)
    assert not (directory / manifest.UNFINISHED).exists()


def test_a_full_disk_leaves_the_former_backup_and_is_gone_on_from(
    sqlite_store: Store, stores: Stores, tmp_path: Path
) -> None:
    """The system refuses to let a file grow, as a full disk does."""
    author, directory = Author(sqlite_store, 8), tmp_path / "backup"
    author.write(20)
    former = backup(sqlite_store, directory)
    author.write(60)
    before = told(sqlite_store)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (5_000, 3_000, 500):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(BackupError, match=r"cannot be written into .* Make room and run it again"):
                backup(sqlite_store, directory)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert check(directory).chains == former.chains
        assert not list(directory.glob("*.partial"))
    backup(sqlite_store, directory)
    other = stores.empty("sqlite")
    restore(other, directory)
    assert told(other) == before


def test_two_backups_into_one_directory_do_not_meet(sqlite_store: Store, tmp_path: Path) -> None:
    directory = tmp_path / "backup"
    backup(sqlite_store, directory)
    with (directory / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BackupError, match="Another process is writing a backup"):
            backup(sqlite_store, directory)


def test_a_backup_is_of_one_moment(store: Store, stores: Stores, tmp_path: Path) -> None:
    """What is written while it runs is not in it, coverage included."""
    author = Author(store, 7)
    author.write(40)
    before = told(store)
    dump(store, tmp_path / "backup", tables=TABLES, full=700, progress=lambda done, of: author.write(2))
    assert told(store) != before
    other = stores.empty("sqlite")
    restore(other, tmp_path / "backup")
    assert told(other) == before


def test_a_copy_of_the_directory_is_the_same_backup(taken: Path, tmp_path: Path) -> None:
    shutil.copytree(taken, tmp_path / "elsewhere")
    os.remove(tmp_path / "elsewhere" / ".lock")
    assert check(tmp_path / "elsewhere").chains == check(taken).chains
