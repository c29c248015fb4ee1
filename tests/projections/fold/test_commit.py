"""What a commit costs PostgreSQL: that of the rows it changes, however many there are."""

from __future__ import annotations

from sqlalchemy import text

from eventstore.storage.store import Store
from projections.fold.delta import Delta
from projections.fold.state import GenerationState

ROWS, CHANGED = 40_000, 4_000


def test_a_commit_reads_the_rows_that_it_changes_and_no_others(postgres_store: Store) -> None:
    """Nothing was analysed yet, as in a build: PostgreSQL would read all of a generation."""
    keys = [f"0x{number:040x}" for number in range(ROWS)]
    made = Delta(
        [(key, None, b"{}") for key in keys],
        [],
        [("boss", keys[place // 3], key) for place, key in enumerate(keys)],
        [],
        0,
        0,
    )
    some = range(0, ROWS, ROWS // CHANGED)
    changed = Delta(
        [(keys[place], b"{}", b'{"boss":null}') for place in some],
        [("boss", keys[place // 3], keys[place]) for place in some],
        [],
        [],
        0,
        0,
    )
    with postgres_store.write() as tx:
        tx.execute(text("ALTER TABLE documents SET (autovacuum_enabled = off)"))
        tx.execute(text("ALTER TABLE document_index SET (autovacuum_enabled = off)"))
        GenerationState(tx, 1).apply(made)
    with postgres_store.write() as tx:
        GenerationState(tx, 1).apply(changed)
        read = tx.execute(
            text(
                "SELECT relname, seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables "
                "WHERE relname IN ('documents', 'document_index')"
            )
        )
        assert {name: rows <= 2 * CHANGED for name, rows in read} == {
            "documents": True,
            "document_index": True,
        }
