"""What is folded from a restored store: the documents of the store that was backed up, skips included."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import text

from eventstore.storage.store import Store
from projections.migrate import migrate
from projections.service.runtime.backup import backup, restore
from projections.service.status.projections import served_documents, served_generation
from tests.blocks import hash_
from tests.folding import Bench, registration


@pytest.fixture
def other(store: Store, tmp_path: Path, request: pytest.FixtureRequest) -> Store:
    """An empty store of the other kind."""
    url = request.getfixturevalue("postgres_url") if store.sqlite else f"sqlite:///{tmp_path / 'other.db'}"
    made = Store(url)
    request.addfinalizer(made.close)
    migrate(made)
    return made


@pytest.mark.server
def test_documents_fold_anew_from_a_restored_store_and_a_skip_is_kept(
    store: Store, other: Store, tmp_path: Path
) -> None:
    bench = Bench(store)
    bench.append([registration(block, 0, block, block + 1) for block in range(1, 30)], to=30, finalized=20)
    bench.fold()
    bench.orphan(27)
    bench.append([registration(28, 0, 9, 2, branch="b")], to=31, branch="b")
    bench.append([registration(5, 1, 77, 3)], to=31)  # late
    with store.write() as tx:
        row = {"hash": hash_(12), "reason": "sold twice"}
        tx.execute(text("INSERT INTO skips VALUES ('referrals', :hash, 0, :reason, 1)"), row)
    bench.fold()
    bench.operations.rebuild()
    bench.fold()
    backup(store, tmp_path / "backup")
    restore(other, tmp_path / "backup")
    there = Bench(other)
    there.fold()
    one, same = (served_generation(place, "referrals") for place in (store, other))
    assert one is not None and same is not None
    assert (one.digest, one.block, one.documents) == (same.digest, same.block, same.documents)
    found = served_documents(other, "referrals")
    assert found == served_documents(store, "referrals")
    assert f"0x{12:040x}" not in [item["address"] for item in found if item["directReferrer"]]
    assert f"0x{77:040x}" in [item["address"] for item in found if item["directReferrer"]]
