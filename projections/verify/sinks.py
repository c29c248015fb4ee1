"""Does a sink hold what the fold holds? Looked at while the pipeline runs, without crying wolf.

Law: what is on its way is not a difference. A key whose newest revision is above the sink's marker is left to
the publisher; anything else that looks wrong is read again, first the sink and then the state, and counts
only if it still is. A document that the sink does not take is one that it lacks: it is named with the reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from msgspec import Struct
from msgspec.structs import replace

from eventstore.report import Check, Findings
from eventstore.storage.batches import batches
from eventstore.storage.sql import text
from eventstore.storage.store import Store
from projections.fold.generation import Generation, Generations
from projections.fold.state import GenerationState
from projections.projectors import Invariant
from projections.publish.publications import refusal
from projections.publish.set_aside import Aside
from projections.sinks import Change, Marker, ReadableSink
from projections.values.moment import moment
from projections.verify.documents import UNBUILT
from projections.verify.expected import Expected, expected
from projections.verify.own_counts import OwnCounts

BATCH = 1_000
LOOKS = 4
PAUSE = 0.3
"""How often what looks wrong is looked at again, and the seconds between."""

MOST = 100_000
"""Keys that look wrong and are looked at again; where there are more, the check says so."""

UNSEEN = "None of the documents was seen: the sample drew none, or the sink has let go of all."

ADVICE = "`chainfold verify sinks --repair` gives what differs a new revision, and has it sent again."


class SinkComparison(Struct, frozen=True):
    """A check, and the keys that differ, with the highest revision that the sink holds."""

    check: Check
    keys: list[str]
    top: int


class Sample(Struct, frozen=True):
    """A share of all keys, drawn by their hash: the same `seed` draws the same ones."""

    share: float
    seed: int = 0

    def takes(self, key: str) -> bool:
        drawn = sha256(f"{self.seed} {key}".encode()).digest()
        return int.from_bytes(drawn[:8], "big") < self.share * 2**64


class SinkCheck:
    """Compares one sink with one projection's served documents.

    With `expires` a missing document is not a difference: it may have been evicted. A
    `sample` is read by key; without one the sink is read from end to end.
    """

    def __init__(
        self,
        store: Store,
        sink: ReadableSink,
        *,
        projection: str,
        chain_id: int,
        expires: bool,
        sample: Sample | None = None,
        progress: Callable[[int, int], None] = lambda done, of: None,
    ) -> None:
        self._store = store
        self._sink = sink
        self._projection = projection
        self._chain = chain_id
        self._expires = expires
        self._sample = sample
        self._progress = progress
        self._top = 0

    def run(self, *, fields: Sequence[str] = (), invariants: Sequence[Invariant] = ()) -> SinkComparison:
        """Everything: marker, documents one by one, and what the sink itself counts of `fields` and of
        `invariants`. Raises `SinkError` where the sink cannot be read."""
        findings = Findings(f"sinks {self._projection}.{self._sink.name}")
        served, marker = self._standing()
        if served is None:
            return SinkComparison(replace(findings.check(), error=UNBUILT), [], 0)
        if (said := self._refused(marker)) is not None:
            findings.add("the marker", said)
            return SinkComparison(findings.check(), [], 0)
        if marker is None:
            findings.add("the marker", "is missing: the sink was emptied, or never filled")
            return SinkComparison(findings.check(note=ADVICE), [], 0)
        suspects = self._sampled(findings) if self._sample else self._all(findings, served)
        aside = self._set_aside()
        found = self._again(suspects) | aside
        for key in sorted(found):
            findings.add(key, found[key])
        notes = [] if self._sample is None else [f"A sample of {self._sample.share:.2%}."]
        if marker.revision < served.revision:
            notes.append(f"{served.revision - marker.revision:,} revisions are still on their way.")
        if len(suspects) >= MOST:
            notes.append(f"More may differ: after {MOST:,} that look wrong it was not looked further.")
        if aside:
            notes.append("Its own totals were not compared: documents are set aside.")
        else:
            counts = OwnCounts(self._store, self._sink, self._projection)
            notes += counts.compare(findings, found, fields, invariants, limit=MOST)
        if findings.found:
            notes.append(ADVICE)
        checked = findings.check(note=" ".join(notes))
        if not findings.checked and not findings.found:
            if served.documents:
                checked = replace(checked, error=UNSEEN)
            else:
                checked = replace(checked, note="No event so far has made a document.")
        return SinkComparison(checked, sorted(found), self._top)

    # --- what looks wrong ---

    def _all(self, findings: Findings, served: Generation) -> set[str]:
        """Reads the sink from end to end, then looks for what it lacks."""
        suspects: set[str] = set()
        matched = 0
        for held in batches(self._sink.scan(), BATCH):
            self._top = max(self._top, *(change.revision for change in held))
            with self._store.read() as tx:
                wanted = expected(tx, self._projection, [change.key for change in held])
            for change in held:
                self._suspect(suspects, change.key, wanted.get(change.key), change)
                matched += (
                    change.fields is not None
                    and (at := wanted.get(change.key)) is not None
                    and at.fields is not None
                    and at.revision
                    <= served.revision  # one that came since must not stand in for one that lacks
                )
            findings.checked += len(held)
            self._progress(findings.checked, max(served.documents, findings.checked))
        if not self._expires and matched < served.documents:
            suspects |= self._missing()
        return suspects

    def _missing(self) -> set[str]:
        """The keys of documents that the sink does not hold."""
        found: set[str] = set()
        with self._store.read() as tx:
            served = Generations(tx, self._projection).served()
            keys = [] if served is None else GenerationState(tx, served.id).scan()
            for some in batches((key for key, _ in keys), BATCH):
                there = self._sink.read(some)
                found.update(key for key in some if key not in there)
                if len(found) > MOST:
                    break
        return found

    def _sampled(self, findings: Findings) -> set[str]:
        assert self._sample is not None
        suspects: set[str] = set()
        with self._store.read() as tx:
            every = tx.execute(
                text("SELECT key FROM changes WHERE projection = :projection ORDER BY key"),
                {"projection": self._projection},
            )
            chosen = [key for (key,) in every if self._sample.takes(key)]
            for some in batches(chosen, BATCH):
                held = self._sink.read(some)
                self._top = max(self._top, *(change.revision for change in held.values()), 0)
                wanted = expected(tx, self._projection, some)
                for key in some:
                    self._suspect(suspects, key, wanted.get(key), held.get(key))
                findings.checked += len(some)
                self._progress(findings.checked, len(chosen))
        return suspects

    def _set_aside(self) -> dict[str, str]:
        """The documents, of the sample if there is one, that the sink does not take, and why."""
        with self._store.read() as tx:
            listed = Aside(tx, self._projection, self._sink.name).listed()
        return {
            item.key: f"is set aside since {moment(item.first_at / 1e6)}: {item.reason}"
            for item in listed
            if self._sample is None or self._sample.takes(item.key)
        }

    def _suspect(self, suspects: set[str], key: str, wanted: Expected | None, held: Change | None) -> None:
        if len(suspects) < MOST and self._differs(wanted, held, marker=None) is not None:
            suspects.add(key)

    def _again(self, suspects: Iterable[str]) -> dict[str, str]:
        """What still differs when it is looked at again: the sink first, then the state."""
        left = dict.fromkeys(suspects, "")
        for look in range(LOOKS):
            if not left:
                break
            if look:
                time.sleep(PAUSE)
            still: dict[str, str] = {}
            for some in batches(left, BATCH):
                marker = self._sink.marker()
                held = self._sink.read(some)
                with self._store.read() as tx:
                    wanted = expected(tx, self._projection, some)
                for key in some:
                    said = self._differs(wanted.get(key), held.get(key), marker=marker)
                    if said is not None:
                        still[key] = said
            left = still
        return left

    def _differs(self, wanted: Expected | None, held: Change | None, *, marker: Marker | None) -> str | None:
        """How what is held differs from what is wanted; None where it does not, or is on its way."""
        if wanted is not None and marker is not None and wanted.revision > marker.revision:
            return None
        if held is None:
            lacking = wanted is not None and wanted.fields is not None and not self._expires
            return "is missing" if lacking else None
        if wanted is None or wanted.fields is None:
            return None if held.fields is None else "is there, and no document of the projection is"
        if held.fields is None:
            return "is marked as removed, and is a document of the projection"
        right = self._sink.as_held(Change(held.key, wanted.revision, held.block, wanted.fields)).fields or {}
        differing = [
            f"{name} is {_shown(held.fields.get(name))}, not {_shown(value)}"
            for name, value in right.items()
            if held.fields.get(name, _ABSENT) != value
        ]
        if differing:
            return "; ".join(differing)
        if held.revision != wanted.revision:
            return f"carries revision {held.revision}, not {wanted.revision}"
        return None

    # --- what it is held to ---

    def _standing(self) -> tuple[Generation | None, Marker | None]:
        marker = self._sink.marker()
        with self._store.read() as tx:
            return Generations(tx, self._projection).served(), marker

    def _refused(self, marker: Marker | None) -> str | None:
        if marker is None:
            return None
        with self._store.read() as tx:
            foreign = refusal(tx, marker, self._sink.name, chain_id=self._chain, projection=self._projection)
        return None if foreign is None else str(foreign)


_ABSENT = object()


def _shown(value: object) -> str:
    return "null" if value is None else '""' if value == "" else str(value)
