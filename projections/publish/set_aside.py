"""Documents that a sink does not take, by name and reason: set aside, tried again, and never forgotten.

Law: below its marker a sink holds every document as it is, or that document stands here. So what a sink
refuses is written down before the marker passes it, and stays until the sink took it. Of what arrived since,
the number of the send is kept: a sink that is put back to before it lacks the document again, and its marker
tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from sqlalchemy import Connection, bindparam

from eventstore import clock
from eventstore.backoff import Backoff
from eventstore.storage.batches import batches
from eventstore.storage.legible import legible
from eventstore.storage.sql import text

BACKOFF = Backoff(10.0, 600.0)
"""Seconds until a document is tried again: at first, and at most; each time twice as long."""

KEPT = 90 * 86_400
"""Seconds for which it is known when a document arrived: no older state of a sink is taken for ours."""

_CHUNK = 500
_COLUMNS = "key, revision, reason, attempts, first_at, tried_at, next_at"


class SetAside(Struct, frozen=True):
    """A document that a sink did not take at `revision`, and why. Times are microseconds since 1970."""

    key: str
    revision: int
    reason: str
    attempts: int
    first_at: int
    tried_at: int
    next_at: int


def sinks_with(tx: Connection, projection: str) -> list[str]:
    """The sinks of a projection for which documents are set aside."""
    rows = tx.execute(
        text("SELECT DISTINCT sink FROM set_aside WHERE projection = :projection AND arrived IS NULL"),
        {"projection": projection},
    )
    return sorted(sink for (sink,) in rows)


class Aside:
    """What stands aside of one sink of one projection, within the caller's transaction or snapshot."""

    def __init__(self, tx: Connection, projection: str, sink: str) -> None:
        self._tx = tx
        self._own = {"projection": projection, "sink": sink}

    def listed(self, *, keys: Sequence[str] | None = None, limit: int | None = None) -> list[SetAside]:
        """What stands aside, of these keys or in all, ascending by key."""
        if keys is None:
            return self._where("" if limit is None else "LIMIT :limit", limit=limit)
        found: list[SetAside] = []
        for some in batches(keys, _CHUNK):
            found += self._where("", keys=some)
        return found

    def count(self) -> int:
        """How many documents stand aside."""
        return int(self._scalar("SELECT count(*) FROM set_aside WHERE {own} AND arrived IS NULL"))

    def known(self) -> bool:
        """Is anything written here, be it of documents that arrived since?"""
        return self._scalar("SELECT count(*) FROM (SELECT 1 FROM set_aside WHERE {own} LIMIT 1) one") > 0

    def due(self, *, through: int, began: int, limit: int) -> list[str]:
        """The keys to try now: those whose time has come, or that were not tried since `began`. What
        changed above the revision `through` is sent in its turn."""
        rows = self._tx.execute(
            text(
                "SELECT s.key FROM set_aside s "
                "JOIN changes c ON c.projection = s.projection AND c.key = s.key "
                "WHERE s.projection = :projection AND s.sink = :sink AND s.arrived IS NULL "
                "AND (s.next_at <= :now OR s.tried_at < :began) AND c.revision <= :through "
                "ORDER BY s.key LIMIT :limit"
            ),
            {**self._own, "now": clock.now(), "began": began, "through": through, "limit": limit},
        )
        return [key for (key,) in rows]

    def refused(self, revisions: Mapping[str, int], reasons: Mapping[str, str]) -> None:
        """Sets documents aside, or further back: the more often one was tried, the longer it waits."""
        before = {item.key: item for item in self.listed(keys=list(reasons))}
        at = clock.now()
        rows = []
        for key, reason in reasons.items():
            known = before.get(key)
            attempts = 1 if known is None else known.attempts + 1
            rows.append(
                {
                    **self._own,
                    "key": key,
                    "revision": revisions[key],
                    "reason": legible(reason),
                    "attempts": attempts,
                    "first": at if known is None else known.first_at,
                    "at": at,
                    "next": at + round(BACKOFF.seconds(attempts) * 1e6),
                }
            )
        if rows:
            self._tx.execute(
                text(
                    "INSERT INTO set_aside (projection, sink, key, revision, reason, attempts, first_at, "
                    "tried_at, next_at) VALUES (:projection, :sink, :key, :revision, :reason, :attempts, "
                    ":first, :at, :next) ON CONFLICT (projection, sink, key) DO UPDATE SET "
                    "revision = excluded.revision, reason = excluded.reason, attempts = excluded.attempts, "
                    "first_at = excluded.first_at, tried_at = excluded.tried_at, next_at = excluded.next_at, "
                    "arrived = NULL"
                ),
                rows,
            )

    def arrived(self, keys: Iterable[str], *, send: int) -> int:
        """Writes down that the sink took these documents by the send of this number; returns how many of them
        stood aside."""
        done = 0
        for some in batches(keys, _CHUNK):
            done += self._change("arrived = :send, tried_at = :now", some, send=send, now=clock.now())
        self._tx.execute(
            text(f"DELETE FROM set_aside WHERE {_OWN} AND arrived IS NOT NULL AND tried_at < :old"),
            {**self._own, "old": clock.now() - KEPT * 1_000_000},
        )
        return done

    def lost(self, send: int) -> bool:
        """Did any document arrive after this send? A sink whose marker tells of it lacks that document."""
        query = text(f"SELECT count(*) FROM set_aside WHERE {_OWN} AND arrived > :send")
        return bool(self._tx.execute(query, {**self._own, "send": send}).scalar_one())

    def put_back(self, send: int) -> int:
        """Sets aside again what arrived after this send: the sink was put back to before it."""
        return int(
            self._tx.execute(
                text(f"UPDATE set_aside SET arrived = NULL, next_at = 0 WHERE {_OWN} AND arrived > :send"),
                {**self._own, "send": send},
            ).rowcount
        )

    def again(self) -> int:
        """Makes all of them due now; how many."""
        query = text(f"UPDATE set_aside SET next_at = 0 WHERE {_OWN} AND arrived IS NULL")
        return int(self._tx.execute(query, self._own).rowcount)

    def forget(self) -> None:
        """For a sink that is empty, and begins again."""
        self._tx.execute(text(f"DELETE FROM set_aside WHERE {_OWN}"), self._own)

    def _change(self, change: str, keys: Sequence[str], **values: int) -> int:
        query = text(f"UPDATE set_aside SET {change} WHERE {_OWN} AND arrived IS NULL AND key IN :keys")
        done = self._tx.execute(
            query.bindparams(bindparam("keys", expanding=True)), {**self._own, **values, "keys": list(keys)}
        )
        return int(done.rowcount)

    def _scalar(self, query: str) -> int:
        return int(self._tx.execute(text(query.format(own=_OWN)), self._own).scalar_one())

    def _where(
        self, end: str, *, keys: Sequence[str] | None = None, limit: int | None = None
    ) -> list[SetAside]:
        among = "" if keys is None else " AND key IN :keys"
        query = text(
            f"SELECT {_COLUMNS} FROM set_aside WHERE {_OWN} AND arrived IS NULL{among} ORDER BY key {end}"
        )
        values: dict[str, object] = dict(self._own)
        if keys is not None:
            query = query.bindparams(bindparam("keys", expanding=True))
            values["keys"] = list(keys)
        if limit is not None:
            values["limit"] = limit
        return [SetAside(*row) for row in self._tx.execute(query, values)]


_OWN = "projection = :projection AND sink = :sink"
