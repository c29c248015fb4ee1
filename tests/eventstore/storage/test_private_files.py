"""A store that is made by the library alone is its owner's as well, with what SQLite puts beside it."""

from __future__ import annotations

import os
import stat
from contextlib import closing
from pathlib import Path

from eventstore.storage.store import Store
from projections.migrate import migrate


def test_the_file_of_a_store_and_those_beside_it_are_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with closing(Store(f"sqlite:///{tmp_path / 'store.db'}")) as store:
            migrate(store)
            with store.write() as tx:
                tx.exec_driver_sql("UPDATE store SET created_at = 1")
                modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        assert {"store.db", "store.db-wal", "store.db-shm"} <= modes.keys()
        assert set(modes.values()) == {0o600}
    finally:
        os.umask(before)


def test_a_store_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch()
    path.chmod(0o640)
    with closing(Store(f"sqlite:///{path}")) as store:
        migrate(store)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
