"""The builds of a projection: their cursors, and the one way by which a build becomes the live one.

A generation is `building`, then `live` (served and published), then `retired`; `stale` is one that is
still served, but can only be replaced: a reorg went below what it can undo.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection, Row

from eventstore import clock
from eventstore.errors import Fenced
from eventstore.journal.journal import Journal
from eventstore.storage.planner import merging
from eventstore.storage.sql import text
from projections.errors import GenerationRefused
from projections.fold.changes import Changes
from projections.fold.pairs import CHANGED, ONLY_NEW, ONLY_OLD, Pairs
from projections.fold.state import GenerationState

Standing = Literal["building", "live", "stale", "retired"]

_COLUMNS = (
    "id, projection, chain_id, state, fingerprint, entry, block, timestamp, documents, digest, "
    "floor, revision, error, promote, hold"
)


def lease_of(projection: str, fingerprint: str) -> str:
    """The name of the lease that a process needs to run this code of a projection."""
    return f"project:{projection}:{fingerprint[:12]}"


class Generation(Struct, frozen=True):
    """One row: `(entry, block)` is the cursor, `digest` 32 bytes, `revision` the newest one taken."""

    id: int
    projection: str
    chain_id: int
    state: Standing
    fingerprint: str
    entry: int
    block: int
    timestamp: int
    documents: int
    digest: bytes
    floor: int
    revision: int
    error: str | None
    promote: bool  # a build that is finished replaces what is served by itself
    hold: int | None  # folding waits at this block


class Comparison(Struct, frozen=True):
    """How two generations differ: counts, and the first few keys of each sort."""

    equal: bool
    only_old: int
    only_new: int
    different: int
    examples: list[str]


class Promoted(Struct, frozen=True):
    """What a promotion changed for readers: how many keys differ from what was served before."""

    generation: int
    replaced: int | None
    differing: int
    revision: int


class Generations:
    """The generations of one projection, within the caller's transaction or snapshot."""

    def __init__(self, tx: Connection, projection: str) -> None:
        self._tx = tx
        self._projection = projection

    def served(self) -> Generation | None:
        """The generation that readers see: live, or stale until it is replaced."""
        return self._one("state IN ('live', 'stale')")

    def building(self) -> Generation | None:
        return self._one("state = 'building'")

    def get(self, generation: int) -> Generation | None:
        return self._one("id = :id", generation)

    def create(
        self,
        *,
        chain_id: int,
        fingerprint: str,
        before: int,
        promote: bool = True,
        hold: int | None = None,
    ) -> Generation:
        """Starts a build whose first block is `before` + 1. An unfinished older build is dropped."""
        unfinished = self.building()
        if unfinished is not None:
            self.discard(unfinished)
        self._tx.execute(
            text(
                "INSERT INTO generations (projection, chain_id, state, fingerprint, entry, block, "
                "timestamp, documents, digest, floor, revision, created_at, promote, hold) "
                "VALUES (:projection, :chain, 'building', :fingerprint, 0, :before, 0, 0, :digest, "
                ":before, 0, :now, :promote, :hold)"
            ),
            {
                "projection": self._projection,
                "chain": chain_id,
                "fingerprint": fingerprint,
                "before": before,
                "digest": bytes(32),
                "now": clock.now(),
                "promote": int(promote),
                "hold": hold,
            },
        )
        made = self.building()
        assert made is not None
        return made

    def rename(self, fingerprint: str, *, former: Sequence[str]) -> None:
        """Gives the generations of the `former` fingerprints this one: what it hashes is the same."""
        for old in former:
            self._tx.execute(
                text(
                    "UPDATE generations SET fingerprint = :new "
                    "WHERE projection = :projection AND fingerprint = :old"
                ),
                {"projection": self._projection, "old": old, "new": fingerprint},
            )

    def revive(self, fingerprint: str, *, former: Sequence[str] = ()) -> Generation | None:
        """Takes the last retired build of this fingerprint up again, None when there is none.

        It catches up from where it stood: going back to old code costs what has changed since. Its
        revision says from when on what is served may differ from it; a rewind makes it 0: in all.
        """
        self.rename(fingerprint, former=former)
        retired = self._one("state = 'retired' AND fingerprint = :fingerprint", fingerprint=fingerprint)
        if retired is None:
            return None
        unfinished = self.building()
        if unfinished is not None:
            self.discard(unfinished)
        self._set_state(retired, "building")
        revived = replace(retired, state="building", promote=True, hold=None, error=None)
        self.advance(replace(retired, state="building"), revived)
        return revived

    def advance(self, old: Generation, new: Generation) -> None:
        """Compares and sets the row: `Fenced` if it is no longer exactly where `old` saw it."""
        moved = self._tx.execute(
            text(
                "UPDATE generations SET state = :state, entry = :entry, block = :block, "
                "timestamp = :timestamp, documents = :documents, digest = :digest, floor = :floor, "
                "revision = :revision, error = :error, promote = :promote, hold = :hold "
                "WHERE id = :id AND fingerprint = :fingerprint AND state = :old_state "
                "AND entry = :old_entry AND block = :old_block AND revision = :old_revision"
            ),
            {
                "id": old.id,
                "fingerprint": old.fingerprint,  # SQLite gives the number of a dropped build again
                "state": new.state,
                "entry": new.entry,
                "block": new.block,
                "timestamp": new.timestamp,
                "documents": new.documents,
                "digest": new.digest,
                "floor": new.floor,
                "revision": new.revision,
                "error": new.error,
                "promote": int(new.promote),
                "hold": new.hold,
                "old_state": old.state,
                "old_entry": old.entry,
                "old_block": old.block,
                "old_revision": old.revision,
            },
        )
        if moved.rowcount != 1:
            raise Fenced(f"The cursor of {self._projection} moved under this step; nothing was written.")

    def promote(self, build: Generation, kinds: list[int]) -> Promoted:
        """Makes a finished build the served one and adds the keys that differ to `changes`.

        Raises `GenerationRefused` for an empty build although canonical logs of its filters exist.
        """
        if build.documents == 0:
            logs = Journal(self._tx, build.chain_id).read(kinds, after=-1, to=build.block, limit=1)
            if logs.logs:
                raise GenerationRefused(
                    f"The rebuild of {self._projection} came out empty, although the journal holds "
                    "logs of its events.",
                    hint="The live documents stay. Check the projector and its roles.",
                )
        served = self.served()
        revision = 1
        if served is not None:
            # First: a process that advances it under other code waits for this row, then finds it retired.
            retired = self._tx.execute(
                text("UPDATE generations SET state = 'retired' WHERE id = :id RETURNING revision"),
                {"id": served.id},
            )
            revision = int(retired.scalar_one()) + 1
        differing = Changes(self._tx, self._projection).mark_differing(
            served.id if served else None, build.id, revision, since=build.revision
        )
        self._tx.execute(
            text(
                "UPDATE generations SET state = 'live', revision = :revision, promoted_at = :now "
                "WHERE id = :id AND state = 'building'"
            ),
            {"id": build.id, "revision": revision, "now": clock.now()},
        )
        self._drop_retired(keep=served.id if served else -1)
        return Promoted(build.id, served.id if served else None, differing, revision)

    def compare(self, old: Generation, new: Generation, *, examples: int = 20) -> Comparison:
        """What differs between two generations, by count and by the first keys.

        Where `new` replaced `old` only what was published since is looked at; else every document is.
        """
        values = {"projection": self._projection, "old": old.id, "new": new.id, "since": old.revision}
        standing, served = self.get(old.id), self.served()
        replaced = standing is not None and standing.state == "retired"
        is_successor = replaced and served is not None and served.id == new.id
        pairs = Pairs(self._tx)
        among = f"FROM ({pairs.touched() if is_successor else pairs.all()}) pairs"
        sorts = (ONLY_OLD, ONLY_NEW, CHANGED)
        counted = ", ".join(f"coalesce(sum(CASE WHEN {sort} THEN 1 ELSE 0 END), 0)" for sort in sorts)
        found: list[str] = []
        with merging(self._tx):
            counts = [
                int(count) for count in self._tx.execute(text(f"SELECT {counted} {among}"), values).one()
            ]
            for sort, count in zip(sorts, counts, strict=True):
                if count:
                    query = text(f"SELECT key {among} WHERE {sort} ORDER BY key LIMIT :limit")
                    rows = self._tx.execute(query, {**values, "limit": min(count, examples)})
                    found.extend(key for (key,) in rows)
        return Comparison(
            equal=not any(counts),
            only_old=counts[0],
            only_new=counts[1],
            different=counts[2],
            examples=found[:examples],
        )

    def mark_stale(self, generation: Generation) -> None:
        """It cannot be rewound as far as it must: it stays served until a build replaces it."""
        self._set_state(generation, "stale")

    def discard(self, generation: Generation) -> None:
        GenerationState(self._tx, generation.id).drop()
        self._tx.execute(text("DELETE FROM generations WHERE id = :id"), {"id": generation.id})

    def _drop_retired(self, *, keep: int) -> None:
        rows = self._tx.execute(
            text(
                f"SELECT {_COLUMNS} FROM generations "
                "WHERE projection = :projection AND state = 'retired' AND id <> :keep"
            ),
            {"projection": self._projection, "keep": keep},
        ).all()
        for row in rows:
            self.discard(_of(row))

    def _set_state(self, generation: Generation, state: Standing) -> None:
        self._tx.execute(
            text("UPDATE generations SET state = :state WHERE id = :id"),
            {"state": state, "id": generation.id},
        )

    def _one(self, condition: str, generation: int = 0, fingerprint: str = "") -> Generation | None:
        row = self._tx.execute(
            text(
                f"SELECT {_COLUMNS} FROM generations "
                f"WHERE projection = :projection AND {condition} ORDER BY id DESC LIMIT 1"
            ),
            {"projection": self._projection, "id": generation, "fingerprint": fingerprint},
        ).first()
        return None if row is None else _of(row)


def _of(row: Row[Any]) -> Generation:
    values = row._asdict()
    return Generation(**{**values, "promote": bool(values["promote"])})
