"""What a sink counts by itself, against the documents: totals of fields, and broken invariants."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from eventstore.report import Findings
from eventstore.storage.store import Store
from projections.fold.generation import Generation, Generations
from projections.fold.state import GenerationState
from projections.projectors import Invariant
from projections.sinks import Marker, Sink
from projections.sinks.capabilities import Aggregating
from projections.values.fields import beside

BUSY = "Its own totals were not compared: it is being written to."


class OwnCounts:
    """Compares the totals and invariants of a sink that is `Aggregating` with one projection's documents."""

    def __init__(self, store: Store, sink: Sink, projection: str) -> None:
        self._store = store
        self._sink = sink
        self._projection = projection

    def compare(
        self,
        findings: Findings,
        known: Collection[str],
        fields: Sequence[str],
        invariants: Sequence[Invariant],
        *,
        limit: int,
    ) -> list[str]:
        """Adds what is wrong to `findings`, without the keys that are `known` to differ.

        Returns what could not be compared: a sink is compared only while nothing is on its way to it.
        """
        sink = self._sink
        if not isinstance(sink, Aggregating):
            return []
        served, marker = self._state()
        if served is None or marker is None or marker.revision < served.revision:
            return [BUSY]
        counted, broken = sink.totals(fields), sink.violations(invariants, limit=limit)
        right = self._totals(served, fields)
        if self._state() != (served, marker):
            return [BUSY]
        for name, value in right.items():
            if counted[name] != value:
                findings.add(f"the total of {name}", f"is {counted[name]:,} by its own count, not {value:,}")
        if isinstance(broken, str):
            return [broken]
        for key, detail in broken:
            if key not in known:
                findings.add(key, detail)
        return []

    def _state(self) -> tuple[Generation | None, Marker | None]:
        marker = self._sink.marker()
        with self._store.read() as tx:
            return Generations(tx, self._projection).served(), marker

    def _totals(self, served: Generation, fields: Sequence[str]) -> dict[str, int]:
        sums = {"count": 0, **{beside("count", name): 0 for name in fields}}
        with self._store.read() as tx:
            for _, body in GenerationState(tx, served.id).scan():
                document: Mapping[str, Any] = msgspec.json.decode(body)
                sums["count"] += 1
                for name in fields:
                    sums[beside("count", name)] += int(document[name] or 0)
        return sums
