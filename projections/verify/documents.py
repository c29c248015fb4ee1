"""Are the committed documents what the fold of the journal is? Compared in one snapshot; nothing is changed.

Four questions, each of which the others may miss: do the bodies give the digest that stands beside the
cursor; does the index say what the bodies say; do the documents keep the projector's invariants; and does
folding the journal again, from the first block, give the same documents?
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from msgspec.structs import replace
from sqlalchemy import Connection

from eventstore.errors import StoreUnavailable
from eventstore.journal.journal import Journal
from eventstore.report import Check, Findings
from eventstore.storage.planner import by_index, key_by_key
from eventstore.storage.sql import text
from eventstore.storage.store import Store
from projections.fold.document_type import Shape, weight
from projections.fold.fold import Projection
from projections.fold.generation import Generation, Generations
from projections.fold.replay import Replay
from projections.fold.state import GenerationState
from projections.verify.invariants import violations

PAGE = 5_000
TRIES = 60
"""How often, half a second apart, one waits for the runner to follow a reorg that the journal knows."""

OTHER = "They were built by other code or configuration, so they could not be folded again."
UNBUILT = "Nothing was built yet: run `chainfold sync`."

ADVICE = "`chainfold verify documents --repair` folds the projection again, and publishes what differs."


def check_documents(
    store: Store,
    projection: Projection,
    *,
    replay: bool = True,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Check:
    """All of one projection's served documents. With `replay` the journal is folded again in memory, which
    takes as much of it as the documents do. `progress` is called with documents and events, and how many."""
    for _ in range(TRIES):
        with store.read() as tx:
            served = Generations(tx, projection.name).served()
            if served is None:
                return Check(f"documents {projection.name}", 0, 0, [], error=UNBUILT)
            if not projection.built(served):
                replay = False
            if not replay or _is_folded(tx, projection, served):
                return _checked(tx, store, projection, served, replay=replay, progress=progress)
        time.sleep(0.5)
    raise StoreUnavailable(
        f"{projection.name} has not followed the journal's last reorg, so it cannot be compared.",
        hint="Look at `chainfold status`, and try again.",
    )


def _is_folded(tx: Connection, projection: Projection, served: Generation) -> bool:
    """Is everything up to the generation's block folded that the journal holds now?"""
    journal = Journal(tx, projection.chain_id)
    routes = projection.routed(journal.kinds(watch.filter for watch in projection.watches))
    low = journal.lowest_change(served.entry, routes)
    return low is None or low > served.block


def _checked(
    tx: Connection,
    store: Store,
    projection: Projection,
    served: Generation,
    *,
    replay: bool,
    progress: Callable[[int, int], None],
) -> Check:
    findings = Findings(f"documents {projection.name}")
    unlike = not projection.built(served)
    shape = Shape(type(projection.projector))
    state = GenerationState(tx, served.id)
    events = _events(tx, projection, served) if replay else 0
    of = served.documents + events
    right = None
    if replay:
        documents, _ = Replay(store, projection).within(
            tx, served.block, progress=lambda done: progress(done, of)
        )
        right = {key: shape.encode(document) for key, document in documents.held()}
    digest = pairs = unreadable = 0
    for key, body in state.scan(PAGE):
        findings.checked += 1
        digest += weight(key, body)
        indexed = _indexed(shape, body)
        pairs += len(indexed or ())
        unreadable += indexed is None
        if right is not None and (wanted := right.pop(key, None)) != body:
            findings.add(key, _difference(wanted, body, shape))
        elif indexed is None:
            findings.add(key, "cannot be read")
        if findings.checked % PAGE == 0:
            progress(events + findings.checked, of)
    for key in sorted(right or ()):
        findings.add(key, "is missing: folding the journal gives it")
    named = findings.found
    for what, detail in _index(tx, served.id, shape, pairs):
        findings.add(what, detail)
    if not unreadable:  # the database itself reads the bodies
        for key, detail in violations(tx, served.id, projection.projector.invariants):
            findings.add(key, detail)
    if (digest % 2**256).to_bytes(32, "big") != served.digest and not named:
        findings.add("the digest", "is not that of the documents: some were changed behind its back")
    if findings.checked != served.documents and not named:
        findings.add("the count", f"is {served.documents:,}, and {findings.checked:,} documents are there")
    note = ADVICE if findings.found else "" if replay or unlike else "They were not folded again."
    if not findings.found and not findings.checked:
        note = "No event so far has made a document."
    return replace(findings.check(note=note), error=OTHER if unlike else "")


def _events(tx: Connection, projection: Projection, served: Generation) -> int:
    journal = Journal(tx, projection.chain_id)
    routes = projection.routed(journal.kinds(watch.filter for watch in projection.watches))
    first = min(watch.first_block for watch in projection.watches)
    return journal.count(routes, after=first - 1, to=served.block)


def _difference(wanted: bytes | None, held: bytes, shape: Shape) -> str:
    if wanted is None:
        return "is there, and folding the journal does not give it"
    try:
        found = shape.decode(held)
    except ValueError as error:
        return f"cannot be read: {error}"
    right = shape.decode(wanted)
    differing = [
        name for name in shape.type.__struct_fields__ if getattr(found, name) != getattr(right, name)
    ]
    return "; ".join(
        f"{name} is {getattr(found, name)}, folding the journal gives {getattr(right, name)}"
        for name in differing
    )


def _indexed(shape: Shape, body: bytes) -> list[tuple[str, str]] | None:
    """What of a document belongs into the index; None when the body is not a document."""
    try:
        return shape.indexed(shape.decode(body))
    except ValueError:
        return None


def _index(tx: Connection, generation: int, shape: Shape, pairs: int) -> Iterator[tuple[str, str]]:
    """What the index says otherwise than the documents, which hold `pairs` values that belong into it."""
    after, true = ("", "", ""), 0
    documents = key_by_key(
        tx, "body", "documents", "d", "d.generation = i.generation AND d.key = i.key", left=True
    )
    while True:
        by_index(tx)
        rows = tx.execute(
            text(
                f"SELECT i.name, i.value, i.key, d.body FROM document_index i {documents} "
                "WHERE i.generation = :generation AND (i.name, i.value, i.key) > (:name, :value, :key) "
                "ORDER BY i.name, i.value, i.key LIMIT :page"
            ),
            {
                "generation": generation,
                **dict(zip(("name", "value", "key"), after, strict=True)),
                "page": PAGE,
            },
        ).all()
        for name, value, key, body in rows:
            if body is not None and (name, value) in (_indexed(shape, body) or ()):
                true += 1
            else:
                yield key, f"stands in the index under {name} = {value}, and does not say so"
        if len(rows) < PAGE:
            break
        after = rows[-1][:3]
    if true < pairs:
        yield "the index", f"lacks {pairs - true:,} values of documents"
