"""Two generations side by side, in SQL: the body under each key in the one (`was`) and in the other (`now`).

Law: all of them are read in the order of their keys, each once; of those that were touched each is looked up.
The values are `:old` and `:new`, the generations, and for `touched` `:projection` and `:since`.
"""

from __future__ import annotations

from sqlalchemy import Connection

from eventstore.storage.planner import key_by_key

ONLY_OLD, ONLY_NEW, CHANGED = "now IS NULL", "was IS NULL", "now <> was"
DIFFERENT = f"{ONLY_OLD} OR {ONLY_NEW} OR {CHANGED}"
"""What may be asked of a pair that has at least one side."""


class Pairs:
    """The queries as this database knows them; they are to run within `planning.merging`."""

    def __init__(self, tx: Connection) -> None:
        self._tx = tx

    def all(self) -> str:
        """Every key of either."""
        if self._tx.dialect.name == "postgresql":
            return (
                "SELECT key, o.body AS was, n.body AS now FROM "
                "(SELECT key, body FROM documents WHERE generation = :old) o FULL JOIN "
                "(SELECT key, body FROM documents WHERE generation = :new) n USING (key)"
            )
        return (
            "SELECT n.key AS key, o.body AS was, n.body AS now FROM documents n LEFT JOIN documents o "
            "ON o.generation = :old AND o.key = n.key WHERE n.generation = :new "
            "UNION ALL SELECT o.key, o.body, n.body FROM documents o LEFT JOIN documents n "
            "ON n.generation = :new AND n.key = o.key WHERE o.generation = :old AND n.key IS NULL"
        )

    def touched(self, *, undone: bool = False) -> str:
        """The keys of either that were published since revision `:since`; with `undone` those too that the
        new one changed since then, which its before-images name."""
        keys = (
            "SELECT key FROM (SELECT key FROM changes WHERE projection = :projection AND revision > :since "
            "ORDER BY revision, key) published"
        )
        if undone:
            keys += " UNION SELECT key FROM undo WHERE generation = :new"
        of = "{0}.generation = :{1} AND {0}.key = c.key"
        old = key_by_key(self._tx, "body", "documents", "o", of.format("o", "old"), left=True)
        new = key_by_key(self._tx, "body", "documents", "n", of.format("n", "new"), left=True)
        return (
            f"SELECT c.key AS key, o.body AS was, n.body AS now FROM ({keys}) c {old} {new} "
            "WHERE o.body IS NOT NULL OR n.body IS NOT NULL"
        )
