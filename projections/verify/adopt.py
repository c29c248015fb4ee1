"""A collection that an application's own script filled, against the fold: who differs, and most likely why.

Law: this file writes nothing. What a script leaves behind differs in few ways: events counted twice (it
ran twice), events missed (a provider answered nothing), events of blocks that left the chain, addresses in
mixed case.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct
from sqlalchemy import Connection

from eventstore.journal.reorgs import was_orphaned
from eventstore.storage.batches import batches
from eventstore.storage.store import Store
from projections.fold.fold import Projection
from projections.fold.generation import Generations
from projections.fold.state import GenerationState
from projections.sinks.capabilities import ForeignDocument, ForeignSurvey

Cause = Literal["counted twice", "missed", "from reorged blocks", "not on the chain", "different otherwise"]

BATCH = 1_000
EXAMPLES = 20
"""Documents that the report names for each cause."""


class Differing(Struct, frozen=True):
    """One document that differs, and how: by field what it holds and what is right."""

    key: str
    cause: Cause
    fields: dict[str, tuple[Any, Any]]


class Report(Struct, frozen=True):
    """What was found: `users` documents of the collection, `known` ones of the fold, and how many of these
    the collection lacks (`absent`); `mixed` keys are not in lower case, and `twins` of these exist so too."""

    users: int
    known: int
    absent: int
    mixed: int
    twins: int
    causes: dict[str, int]
    examples: list[Differing]

    @property
    def differing(self) -> int:
        return sum(self.causes.values())

    def __str__(self) -> str:
        """In a line: `312 of 41,208 users differ: 290 counted twice, 22 from reorged blocks; ...`."""
        parts = [f"{self.differing:,} of {self.users:,} users differ"]
        if self.causes:
            parts[0] += ": " + ", ".join(f"{count:,} {cause}" for cause, count in self.causes.items())
        if self.absent:
            parts.append(f"{self.absent:,} users are not in the collection")
        if self.mixed:
            parts.append(f"{self.mixed:,} addresses in mixed case")
        if self.twins:
            parts.append(f"{self.twins:,} of them exist in lower case as well")
        return "; ".join(parts)


def compare(
    store: Store,
    projection: Projection,
    collection: ForeignSurvey,
    *,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Report | None:
    """Compares every document of the collection with the served documents; None before the first build.

    The field that says when a document changed last is left out: a script has a clock, a fold has not.
    """
    causes: Counter[str] = Counter()
    examples: dict[str, list[Differing]] = {}
    mixed: dict[str, bool] = {}  # in lower case, and whether the fold knows it
    users = known = 0
    with store.read() as tx:
        served = Generations(tx, projection.name).served()
        if served is None:
            return None
        state = GenerationState(tx, served.id)
        for some in batches(collection.survey(), BATCH):
            right = state.load([item.key.lower() for item in some])
            for item in some:
                body = right.get(item.key.lower())
                if item.key != item.key.lower():
                    mixed[item.key.lower()] = body is not None
                else:
                    known += body is not None
                wanted = None if body is None else msgspec.json.decode(body)
                fields = _differing(projection, item, wanted)
                if wanted is not None and not fields:
                    continue
                cause = _cause(tx, projection, item, wanted, fields)
                causes[cause] += 1
                if len(named := examples.setdefault(cause, [])) < EXAMPLES:
                    named.append(Differing(item.key, cause, fields))
            users += len(some)
            progress(users, max(users, served.documents))
    twins = collection.holding(list(mixed))
    known += sum(there for key, there in mixed.items() if key not in twins)
    return Report(
        users,
        served.documents,
        served.documents - known,
        len(mixed),
        len(twins),
        dict(causes.most_common()),
        [item for named in examples.values() for item in named],
    )


def _differing(
    projection: Projection, item: ForeignDocument, wanted: Mapping[str, Any] | None
) -> dict[str, tuple[Any, Any]]:
    if wanted is None:
        return {}
    projector = projection.projector
    leave = {projector.key, projector.touched}
    return {
        name: (item.fields.get(name), value)
        for name, value in wanted.items()
        if name not in leave and not _same(item.fields.get(name), value)
    }


def _same(held: Any, right: Any) -> bool:
    """Is a value what it must be? Addresses may be in any case; what is null may be absent or empty."""
    if isinstance(held, str) and isinstance(right, str):
        return held.lower() == right.lower()
    if right is None:
        return held in (None, "", "0x" + "00" * 20)
    return bool(held == right)


def _cause(
    tx: Connection,
    projection: Projection,
    item: ForeignDocument,
    wanted: Mapping[str, Any] | None,
    fields: Mapping[str, tuple[Any, Any]],
) -> Cause:
    """The likeliest reason why a document differs."""
    if _left_the_chain(tx, projection, item.key):
        return "from reorged blocks"
    if wanted is None:
        return "not on the chain"
    counts = [pair for pair in fields.values() if all(type(value) in (int, float) for value in pair)]
    if len(counts) == len(fields):
        if all(held > right for held, right in counts):
            return "counted twice"
        if all(held < right for held, right in counts):
            return "missed"
    if all(held is None for held, _ in fields.values()):
        return "missed"
    return "different otherwise"


def _left_the_chain(tx: Connection, projection: Projection, key: str) -> bool:
    """Does a log that was orphaned name this key as an indexed parameter?"""
    try:
        topic = bytes.fromhex(key.lower().removeprefix("0x")).rjust(32, b"\0")
    except ValueError:
        return False
    return was_orphaned(tx, projection.chain_id, topic)
