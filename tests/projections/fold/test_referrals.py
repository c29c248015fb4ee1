"""The referral projector, event by event, against the plain definition."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from eventstore.journal.reading import StoredBlock
from projections.fold.document_type import Shape
from projections.fold.documents import TrackedDocuments
from projections.projectors.referrals import Referrals
from tests.folding import Registered, address
from tests.oracle import folded


class Graph:
    """The documents after some events; each event in a block of its own, twelve seconds apart."""

    def __init__(self) -> None:
        self._projector = Referrals()
        self._documents = TrackedDocuments(Shape(Referrals), complete=True)
        self._block = 0
        self._keys: set[str] = set()

    def register(self, user: int, referrer: int, *, timestamp: int | None = 7) -> Graph:
        return self._apply(self._projector.registered, user, referrer, timestamp)

    def leave(self, user: int) -> Graph:
        return self._apply(self._projector.left, user, None, None)

    def _apply(self, handle: Any, user: int, referrer: int | None, timestamp: int | None) -> Graph:
        self._block += 1
        block = StoredBlock(self._block, bytes(32), 12 * self._block)
        named = None if referrer is None else address(referrer)
        handle(Registered(address(user), named, timestamp, block), self._documents)
        self._documents.end_event(block.timestamp)
        self._documents.end_block(self._block, keep_undo=False)
        return self

    def __getitem__(self, user: int) -> Any:
        return self._documents.get(address(user))

    def all(self) -> dict[str, dict[str, Any]]:
        return {key: msgspec.to_builtins(document) for key, document in self._documents.held()}


def test_a_registration_names_both_and_counts_one() -> None:
    graph = Graph().register(1, 2)
    assert (graph[1].directReferrer, graph[1].indirectReferrer) == (address(2), None)
    assert (graph[2].level1Count, graph[2].level2Count, graph[2].directReferrer) == (1, 0, None)


def test_the_second_level_follows_the_first() -> None:
    graph = Graph().register(1, 2).register(3, 1)
    assert graph[3].indirectReferrer == address(2)
    assert (graph[2].level1Count, graph[2].level2Count) == (1, 1)


def test_registering_again_moves_the_user_and_all_who_depend_on_it() -> None:
    graph = Graph().register(1, 2).register(3, 1).register(1, 4)
    assert graph[3].indirectReferrer == address(4)
    assert (graph[2].level1Count, graph[2].level2Count) == (0, 0)
    assert (graph[4].level1Count, graph[4].level2Count) == (1, 1)


def test_a_referrer_who_registers_late_becomes_the_second_link_of_those_before() -> None:
    graph = Graph().register(3, 1).register(5, 1).register(1, 2)
    assert graph[3].indirectReferrer == graph[5].indirectReferrer == address(2)
    assert graph[2].level2Count == 2


def test_registering_with_the_same_referrer_changes_nothing() -> None:
    graph = Graph().register(1, 2, timestamp=7)
    before = graph[1], graph[2]
    graph.register(1, 2, timestamp=99)
    assert (graph[1], graph[2]) == before


def test_the_zero_address_is_no_referrer_and_gets_no_document() -> None:
    graph = Graph().register(1, 2).register(1, 0)
    assert graph[0] is None
    assert (graph[1].directReferrer, graph[1].referralTimestamp) == (None, None)
    assert graph[2].level1Count == 0


def test_the_zero_address_as_a_user_is_nobody() -> None:
    assert Graph().register(0, 2).all() == {}


def test_oneself_is_no_referrer() -> None:
    graph = Graph().register(1, 1)
    assert (graph[1].directReferrer, graph[1].level1Count) == (None, 0)


def test_leaving_removes_the_edge() -> None:
    graph = Graph().register(1, 2).register(3, 1).leave(1)
    assert (graph[1].directReferrer, graph[3].indirectReferrer) == (None, None)
    assert (graph[2].level1Count, graph[2].level2Count) == (0, 0)


def test_a_cycle_follows_the_definition() -> None:
    graph = Graph().register(1, 2).register(2, 1)
    assert (graph[1].indirectReferrer, graph[2].indirectReferrer) == (address(1), address(2))
    assert (graph[1].level1Count, graph[1].level2Count) == (1, 1)


def test_the_time_is_the_events_own_where_it_carries_one() -> None:
    assert Graph().register(1, 2, timestamp=7)[1].referralTimestamp == 7


def test_the_time_is_the_blocks_where_the_event_carries_none_that_fits() -> None:
    assert Graph().register(1, 2, timestamp=None)[1].referralTimestamp == 12
    assert Graph().register(1, 2, timestamp=2**255)[1].referralTimestamp == 12


def test_updated_at_moves_only_where_something_else_changed() -> None:
    graph = Graph().register(1, 2).register(3, 4)
    assert (graph[1].updatedAt, graph[3].updatedAt) == (12, 24)


@given(st.lists(st.tuples(st.integers(0, 5), st.one_of(st.none(), st.integers(0, 5))), max_size=30))
def test_any_events_give_the_plain_definition(events: list[tuple[int, int | None]]) -> None:
    graph = Graph()
    told: list[tuple[str, str | None, int, int]] = []
    for place, (user, referrer) in enumerate(events, start=1):
        if referrer is None:
            graph.leave(user)
            told.append((address(user), None, 0, 12 * place))
        else:
            graph.register(user, referrer)
            told.append((address(user), address(referrer), 7, 12 * place))
    assert graph.all() == folded(told)
