"""What a projector says that its events will want: asked for together, and never more than a hint."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from msgspec.structs import replace

from eventstore.storage.store import Store
from projections.errors import ProjectorError
from projections.fold.delta import Delta
from projections.fold.runner import Runner
from projections.fold.state import GenerationState
from projections.projectors.referrals import Referrals
from tests.folding import Bench, registration
from tests.projections.fold.test_by_hand import documents
from tests.projections.fold.test_reorg import graph

GENERATION = 7
HELD = {"ann": 1, "bob": 3, "cid": 0, "dan": 5}
"""How many keys each value has, twelve with those of another field."""


def filled(store: Store) -> None:
    rows = [("boss", value, f"{value}{n}") for value, count in HELD.items() for n in range(count)]
    with store.write() as tx:
        GenerationState(tx, GENERATION).apply(Delta([], [], [*rows, ("at", "dan", "x")], [], 0, 0))
        GenerationState(tx, GENERATION + 1).apply(Delta([], [], [("boss", "cid", "y")], [], 0, 0))


def test_many_values_are_answered_as_each_alone(store: Store) -> None:
    filled(store)
    with store.read() as tx:
        state = GenerationState(tx, GENERATION)
        alone = {value: state.find("boss", value) for value in (*HELD, "nobody")}
        assert state.find_all("boss", list(alone), limit=100) == alone
        assert state.find_all("boss", [], limit=100) == {}


@pytest.mark.parametrize("limit", range(1, 11))
def test_of_more_keys_than_may_be_the_answers_that_are_given_are_whole(store: Store, limit: int) -> None:
    filled(store)
    with store.read() as tx:
        state = GenerationState(tx, GENERATION)
        found = state.find_all("boss", sorted(HELD), limit=limit)
        assert found == {value: state.find("boss", value) for value in found}
        assert sum(map(len, found.values())) <= limit
        if limit > sum(HELD.values()):
            assert found.keys() == HELD.keys()


def moves(users: int) -> list[tuple[int, int]]:
    """Each of these users brings three, and is then moved below the first one."""
    brought = [(100 + 3 * user + n, user) for user in range(2, users + 2) for n in range(3)]
    return [*brought, *((user, 1) for user in range(2, users + 2))]


def restarted(store: Store, pairs: list[tuple[int, int]], folded: int, **options: Any) -> Bench:
    """A process that has nothing in memory, over what another folded; the rest is still to come."""
    bench = Bench(store, **options)
    logs = [registration(number, 0, *pair) for number, pair in enumerate(pairs, start=1)]
    bench.append(logs[:folded], to=folded)
    bench.fold()
    bench.append(logs[folded:], to=len(pairs))
    bench.runner = Runner(store, bench.lease, bench.projection)
    return bench


def test_what_a_page_will_look_for_is_asked_for_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for name in ("find", "find_all", "load"):
        of = getattr(GenerationState, name)

        def counted(state: Any, *args: Any, name: str = name, of: Any = of, **options: Any) -> Any:
            asked.append(name)
            return of(state, *args, **options)

        monkeypatch.setattr(GenerationState, name, counted)
    pairs = moves(20)
    bench = restarted(store, pairs, folded=60)
    asked.clear()
    bench.fold()
    assert documents(store) == graph(pairs)
    assert asked.count("find_all") == 1
    assert asked.count("find") == 0
    assert asked.count("load") <= 4  # the keys, what they link to, what was found


class Wrong(Referrals):
    """Hints keys of a wrong type, and looks for what does not exist."""

    def keys(self, event: Any) -> Iterable[Any]:
        return [None, event, 7, event.referrer]

    def finds(self, event: Any, get: Any) -> Iterable[Any]:
        return [("level1Count", "1"), ("nothing", event.user), ("directReferrer", None)]


def test_wrong_hints_cost_time_and_change_nothing(store: Store) -> None:
    pairs = moves(4)
    bench = restarted(store, pairs, folded=12)
    bench.runner = Runner(store, bench.lease, replace(bench.projection, projector=Wrong()))
    bench.fold()
    assert documents(store) == graph(pairs)


def test_a_hint_of_the_wrong_shape_is_the_projectors_fault(store: Store) -> None:
    bench = restarted(store, moves(4), folded=12)
    broken = type("Broken", (Referrals,), {"finds": lambda *_: ["directReferrer"]})
    bench.runner = Runner(store, bench.lease, replace(bench.projection, projector=broken()))
    with pytest.raises(ProjectorError, match=r"finds failed for block 13, log 0, .* too many values"):
        bench.fold()


@pytest.mark.parametrize("method", ["keys", "finds"])
def test_a_hint_that_fails_is_a_sentence_that_names_the_event_and_loses_nothing(
    store: Store, method: str
) -> None:
    def fails(*_: Any) -> Iterable[Any]:
        raise KeyError("referer")

    pairs = moves(4)
    bench = restarted(store, pairs, folded=12)
    mended = bench.projection
    broken = type("Broken", (Referrals,), {method: fails})
    bench.runner = Runner(store, bench.lease, replace(mended, projector=broken()))
    with pytest.raises(ProjectorError, match=rf"{method} failed for block 13, log 0, .* KeyError: 'referer'"):
        bench.fold()
    assert documents(store) == graph(pairs[:12])
    bench.runner = Runner(store, bench.lease, mended)
    bench.fold()
    assert documents(store) == graph(pairs)
