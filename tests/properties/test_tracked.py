"""What handlers see against a plain dictionary, for all that events put, delete, find and fail in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from projections.errors import ValueRefused
from projections.fold.document_type import Shape
from projections.fold.documents import TrackedDocuments
from projections.projectors import Projector, handles

NAMES = ("ann", "bob", "cid", "dan")


class Person(Struct, frozen=True):
    name: str
    boss: str | None = None
    count: int = 0
    at: int = 0


class People(Projector):
    """People and whom they work for; the time of the last change is indexed too."""

    document = Person
    key = "name"
    index = ("boss", "at")
    touched = "at"

    @handles("Hired(address indexed who)")
    def hired(self, event: Any, people: Any) -> None:
        """Nothing: the tests speak to the documents themselves."""


class Committed:
    """A committed state of two people."""

    def __init__(self, people: Iterable[Person]) -> None:
        self.people = {item.name: item for item in people}

    def load(self, keys: Iterable[str]) -> dict[str, bytes]:
        return {key: msgspec.json.encode(self.people[key]) for key in keys if key in self.people}

    def find(self, field: str, value: str) -> list[str]:
        return found_in(self.people, field, value)

    def find_all(self, field: str, values: Sequence[str], *, limit: int) -> dict[str, list[str]]:
        return {value: found_in(self.people, field, value) for value in values[:2]}


names = st.sampled_from(NAMES)
fields, values = st.sampled_from(("boss", "at")), st.sampled_from((*NAMES, "0", "1", "2", "3"))
people = st.builds(Person, names, st.none() | names, st.integers(0, 2))
wrong: Any = 7
unfit = st.sampled_from(
    [
        Person("ann", count=2**63),
        Person("bob", boss=wrong),
        Person("cid", count=True),
        "no person",
        Person("nobody"),
    ]
)
steps = st.one_of(
    st.tuples(st.just("put"), people),
    st.tuples(st.just("unfit"), unfit),
    st.tuples(st.just("odd key"), st.sampled_from([7, None, ("ann",)])),
    st.tuples(st.just("delete"), names),
    st.tuples(st.just("get"), names),
    st.tuples(st.just("find"), fields, values),
    st.tuples(st.just("hint"), st.lists(names | st.just(7)), st.lists(st.tuples(fields, values | st.none()))),
)
events = st.lists(st.tuples(st.lists(steps, max_size=6), st.booleans()), max_size=8)


def found_in(people: dict[str, Person], field: str, value: str) -> list[str]:
    return sorted(key for key, item in people.items() if str(getattr(item, field)) == value != "None")


def play(documents: TrackedDocuments, model: dict[str, Person], event: list[Any]) -> None:
    """Both get the same calls, and answer the same as long as nothing unfit was put."""
    sound = True
    for step in event:
        match step:
            case "put", person:
                fresh = msgspec.structs.replace(person)  # stamping one must not stamp the other
                documents.put(person.name, fresh)
                model[person.name] = msgspec.structs.replace(person)
            case "unfit", thing:
                documents.put("ann" if isinstance(thing, str) else min(thing.name, "dan"), thing)
                sound = False
            case "odd key", key:
                documents.put(key, Person("ann"))
                sound = False
            case "delete", key:
                documents.delete(key)
                model.pop(key, None)
            case "get", key if sound:
                assert documents.get(key) == model.get(key)
            case "find", field, value:
                found = documents.find(field, value)
                assert found == found_in(model, field, value)
            case "hint", keys, wanted:  # for any hint
                documents.prefetch(keys)
                documents.look_up(wanted)


def settled(before: dict[str, Person], after: dict[str, Person], timestamp: int) -> dict[str, Person]:
    """`after` with the stamps that it gets."""
    stamped = {}
    for key, item in after.items():
        was = before.get(key)
        same = was is not None and msgspec.structs.replace(item, at=was.at) == was
        stamped[key] = msgspec.structs.replace(item, at=was.at if was is not None and same else timestamp)
    return stamped


@given(events, st.none() | st.lists(people, max_size=2, unique_by=lambda item: item.name))
def test_they_are_a_dictionary_and_a_failed_event_leaves_no_trace(
    story: list[tuple[list[Any], bool]], committed: list[Person] | None
) -> None:
    state = Committed(committed or ())
    documents = TrackedDocuments(Shape(People), complete=committed is None)
    documents.begin(state)
    block = dict(state.people)  # as it was when the block began
    model = dict(block)
    for number, (event, block_ends) in enumerate(story):
        after, raises = dict(model), any(step[0] in ("unfit", "odd key") for step in event)
        try:
            play(documents, after, event)
            documents.end_event(number % 4)
        except ValueRefused:
            assert raises
            documents.discard_event()
        else:
            unfit_again = [step for step in event if step[0] in ("unfit", "odd key")]
            assert not unfit_again or overwritten(event)
            model = settled(model, after, number % 4)
        if block_ends:
            documents.end_block(number, keep_undo=False)
            block = dict(model)
    for key in NAMES:
        assert documents.get(key) == model.get(key)
    for field, values in (("boss", NAMES), ("at", "0123")):
        for value in values:
            assert documents.find(field, value) == found_in(model, field, value)
    documents.discard_block()
    for key in NAMES:
        assert documents.get(key) == block.get(key)
        assert documents.find("boss", key) == found_in(block, "boss", key)


def overwritten(event: list[Any]) -> bool:
    """Was every unfit document replaced by one that fits, or deleted, before the event ended?"""
    bad: set[Any] = set()
    for step in event:
        match step:
            case "unfit", thing:
                bad.add("ann" if isinstance(thing, str) else min(thing.name, "dan"))
            case "odd key", key:
                bad.add(key)
            case "put", person:
                bad.discard(person.name)
            case "delete", key:
                bad.discard(key)
    return not bad


@pytest.mark.parametrize("complete", [True, False])
def test_an_unfit_document_is_refused_when_an_index_is_asked(complete: bool) -> None:
    documents = TrackedDocuments(Shape(People), complete=complete)
    documents.begin(Committed([Person("ann", "bob")] if not complete else []))
    documents.put("cid", Person("cid", boss=wrong))
    with pytest.raises(ValueRefused, match="boss = 7 does not fit"):
        documents.find("boss", "bob")
    documents.discard_event()
    assert documents.find("boss", "7") == []
    assert documents.get("cid") is None


def test_what_a_commit_writes_comes_in_parts_of_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database bounds what it takes in one statement, however few documents that is."""
    monkeypatch.setattr("projections.fold.delta.PART_BYTES", 80)
    documents = TrackedDocuments(Shape(People))
    documents.begin(Committed([]))
    for name in NAMES:
        documents.put(name, Person(name, boss=NAMES[0]))
    documents.end_event(3)
    documents.end_block(1, keep_undo=False)
    parts = list(documents.take())
    assert [[key for key, _, _ in part.changed] for part in parts] == [["ann", "bob"], ["cid", "dan"]]
    assert [part.count for part in parts] == [2, 2]
    assert sorted(key for part in parts for _, _, key in part.index_new) == sorted(NAMES * 2)
