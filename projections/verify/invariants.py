"""What a projector says is always so of its documents, asked of the documents themselves, in SQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection

from eventstore.storage.planner import by_pass
from eventstore.storage.sql import text
from projections.projectors import Counts, Follows, Invariant


def violations(tx: Connection, generation: int, invariants: Sequence[Invariant]) -> Iterator[tuple[str, str]]:
    """The key of each document of a generation that breaks one, and how. All bodies must be readable."""
    for item in invariants:
        by_pass(tx)
        match item:
            case Counts():
                yield from _miscounted(tx, generation, item)
            case Follows():
                yield from _unfollowed(tx, generation, item)


def _miscounted(tx: Connection, generation: int, item: Counts) -> Iterator[tuple[str, str]]:
    """Counted once; each count is held to the document by its key, and what is not counted must be 0."""
    held, counted = f"CAST({_field(tx, 'd', item.field)} AS BIGINT)", _field(tx, "o", item.of)
    named = (
        f"SELECT {counted} AS named, count(*) AS n FROM documents o WHERE o.generation = :generation "
        f"AND {counted} IS NOT NULL GROUP BY {counted}"
    )
    queries = (
        f"SELECT d.key, {held} AS held, c.n FROM ({named}) c JOIN documents d "
        f"ON d.generation = :generation AND d.key = c.named WHERE {held} <> c.n",
        f"SELECT d.key, {held} AS held, 0 AS n FROM documents d LEFT JOIN ({named}) c ON c.named = d.key "
        f"WHERE d.generation = :generation AND {held} <> 0 AND c.named IS NULL",
    )
    for query in queries:
        for key, said, right in tx.execute(text(query), {"generation": generation}):
            yield key, f"{item.field} is {said}, and {right} documents have it as {item.of}"


def _unfollowed(tx: Connection, generation: int, item: Follows) -> Iterator[tuple[str, str]]:
    held, link, takes = _field(tx, "d", item.field), _field(tx, "d", item.link), _field(tx, "o", item.takes)
    differs = "IS NOT" if tx.dialect.name == "sqlite" else "IS DISTINCT FROM"
    rows = tx.execute(
        text(
            f"SELECT d.key, {held} AS held, {takes} AS wanted FROM documents d LEFT JOIN documents o "
            f"ON o.generation = d.generation AND o.key = {link} "
            f"WHERE d.generation = :generation AND {held} {differs} {takes} ORDER BY d.key"
        ),
        {"generation": generation},
    )
    for key, said, right in rows:
        yield (
            key,
            f"{item.field} is {said or 'null'}, and {item.takes} of its {item.link} is {right or 'null'}",
        )


def _field(tx: Connection, table: str, name: str) -> str:
    """A field of a document's body, as SQL; the names of fields are those of a Python class. PostgreSQL reads
    no body in which any text holds a NUL: it is shown another, and so is what that is compared with."""
    if tx.dialect.name == "sqlite":
        return f"json_extract(CAST({table}.body AS TEXT), '$.{name}')"
    return f"(replace(convert_from({table}.body, 'UTF8'), '\\u0000', '\\ufffd')::json ->> '{name}')"
