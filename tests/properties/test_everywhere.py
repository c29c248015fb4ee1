"""One journal, one set of documents: on both databases, live and rebuilt, and in every sink that holds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from eventstore.storage.store import Store
from projections.fold.fold import Projection
from projections.fold.state import GenerationState
from tests.properties.everywhere import (
    Story,
    World,
    held_by,
    named,
    opened,
    projection_of,
    same_on_all,
    sinks_of,
    stories,
)
from tests.servers.mongo import Mongo


@pytest.fixture
def bound(tmp_path: Path) -> Callable[[], Projection]:
    """Gives the projection, whose own text would be too long for what hypothesis prints."""
    found = projection_of(tmp_path)
    return lambda: found


FEW = settings(
    max_examples=8,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # an example takes a second: shrinking would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FEW
@given(story=stories())
def test_both_databases_make_the_same_documents_live_and_rebuilt(
    story: Story, sqlite_store: Store, postgres_store: Store, bound: Callable[[], Projection]
) -> None:
    same_on_all([World(store, bound()) for store in (sqlite_store, postgres_store)], story)


@FEW
@given(story=stories())
def test_every_sink_holds_what_it_can_and_names_the_rest(
    story: Story, sqlite_store: Store, bound: Callable[[], Projection], mongo: Mongo, redis_url: str
) -> None:
    world = World(sqlite_store, bound())
    world.play(story)
    held_by(world, sinks_of(world.projection.name, mongo, redis_url), batch=1 + len(story.blocks) % 3)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_document_under_the_empty_key_is_paged_published_and_repaired(
    batch: int, store: Store, bound: Callable[[], Projection], mongo: Mongo, redis_url: str
) -> None:
    world = World(store, bound())
    world.play(named(b"b", b"", b"a"))
    assert list(world.outcome().documents) == ["", "a", "b"]
    with store.read() as tx:
        state = GenerationState(tx, world.served(tx).id)
        assert [key for key, _ in state.page(None, limit=1)] == [""]
        assert [key for key, _ in state.page(None, after="", limit=9)] == ["a", "b"]
        assert [key for key, _ in state.page(("text", ""), limit=1)] == [""]
        assert state.page(("text", ""), after="", limit=1) == []
    sinks = sinks_of(world.projection.name, mongo, redis_url)
    with opened(*sinks):
        for sink in sinks:
            world.publish(sink, batch=batch)
            assert sorted(sink.read(["", "a", "b"])) == ["", "a", "b"], sink.name
            assert world.check(sink) == []
        world.mend([""])
        for sink in sinks:
            world.publish(sink, batch=batch)
            revisions = {key: change.revision for key, change in sink.read(["", "a"]).items()}
            assert revisions[""] > revisions["a"], sink.name
            assert world.check(sink) == []


def test_a_document_that_one_sink_cannot_hold_is_named_there_and_keeps_nothing_from_arriving(
    store: Store, bound: Callable[[], Projection], mongo: Mongo, redis_url: str
) -> None:
    """MongoDB's names of fields hold no NUL, which a dict of this document has among its keys."""
    world = World(store, bound())
    world.play(named(b"z", b"a", b"m", tags=[b"\0"]))
    for sink in sinks_of(world.projection.name, mongo, redis_url):
        held_by(world, [sink], batch=2)
        assert list(world.set_aside(sink)) == (["m"] if sink.name == "mongo" else []), sink.name
