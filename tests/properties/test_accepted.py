"""Law 4 of docs/laws.md for single documents: an accepted document is what its bytes say, on every path.

Documents of many types are put with all that Python can hold. Three ways fold the same events: all in
memory, committed after each event, and loaded from bytes before each. They must agree on every event, and
on every byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from datetime import UTC, datetime, timedelta, timezone
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct, field

from projections.errors import ProjectorError, ValueRefused
from projections.fold.document_type import Shape
from projections.fold.documents import TrackedDocuments
from projections.projectors import Projector, handles

SHARED: list[Any] = []
"""What a default factory should not give: one list for all."""


class Part(Struct, frozen=True):
    n: int
    of: list[Any] = []


class Loose(Struct):
    """A nested struct that can be changed in place."""

    n: Any = None


class Colour(StrEnum):
    RED = "red"


class Text(str):
    """A text that is more than one."""


class Plain(Struct, frozen=True):
    key: str
    text: str = ""
    perhaps: str | None = None
    number: int | None = 0
    rate: float = 0.0
    flag: bool | int = False
    at: int = 0


class Deep(Struct, frozen=True):
    key: str
    tags: list[str] = []
    pair: tuple[int, float] = (0, 0.0)
    named: dict[str, int] = {}
    numbers: dict[int, list[Part]] = {}
    anything: Any = None
    part: Part | None = None
    loose: Loose | None = None
    shared: list[Any] = field(default_factory=lambda: SHARED)
    when: datetime | None = None
    colour: Colour = Colour.RED
    word: Literal["a", "b"] = "a"
    small: Annotated[int, Meta(ge=0, le=9)] = 0
    at: int = 0


class Checked(Struct, frozen=True):
    """One whose own code looks at it, also when it is read back."""

    key: str
    low: int = 0
    high: int = 0
    some: frozenset[str] = frozenset()
    at: int = 0

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


def projector_of(kind: type[Struct], *indexed: str) -> type[Projector]:
    class Made(Projector):
        document = kind
        key = "key"
        index = indexed
        touched = "at"

        @handles("E(uint256 n)")
        def e(self, event: Any, documents: Any) -> None:
            """Nothing: the test puts."""

    Made.check()
    return Made


SHAPES = [
    Shape(projector_of(Plain, "perhaps", "number", "rate", "flag", "at")),
    Shape(projector_of(Deep, "at")),
    Shape(projector_of(Checked)),
]

texts = st.one_of(
    st.text(max_size=4),
    st.sampled_from(["", "\0", "a\0b", "\ud800", "x" * 1024, "x" * 1025, "é" * 512, "é" * 513, "é" * 3000]),
    st.text(st.characters(), max_size=3),  # surrogates among them
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 2**256]),
    st.floats(),
    texts,
    st.sampled_from([-0.0, 0.0, 1.0, 1, True, Text("t"), Colour.RED, b"x", datetime(2026, 1, 1, tzinfo=UTC)]),
    st.sampled_from(
        [datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2))), timedelta(1)]
    ),
)
nested = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(texts | st.integers(-3, 3), inner, max_size=3),
        st.builds(Loose, inner),
        st.builds(Part, st.integers() | inner, st.lists(inner, max_size=2)),
    ),
    max_leaves=4,
)
fitting: dict[str, st.SearchStrategy[Any]] = {
    "tags": st.lists(texts, max_size=3),
    "pair": st.tuples(st.integers(), st.floats()),
    "named": st.dictionaries(texts, st.integers(), max_size=3),
    "numbers": st.dictionaries(
        st.integers(-3, 3),
        st.lists(st.builds(Part, st.integers(), st.lists(scalars, max_size=1)), max_size=2),
    ),
    "some": st.frozensets(st.text(max_size=2), max_size=4),
    "part": st.none() | st.builds(Part, st.integers(0, 3)),
    "loose": st.none() | st.builds(Loose, scalars),
    "shared": st.lists(scalars, max_size=2),
    "small": st.integers(-1, 10),
    "word": st.sampled_from(["a", "b", "c"]),
}
keys = st.sampled_from(["", "a", "b"]) | texts | st.sampled_from([Text("a"), 7, None])


@st.composite
def puts(draw: Any, kind: type[Struct]) -> tuple[Any, dict[str, Any]]:
    """A key and the fields of one document; of its own key it sometimes says another."""
    key = draw(keys)
    names = draw(st.lists(st.sampled_from(kind.__struct_fields__[1:]), max_size=3, unique=True))
    fields = {name: draw(fitting.get(name, nested) | nested) for name in names}
    return key, {"key": draw(st.sampled_from([key, key, key, key, "other"])), **fields}


class Bytes:
    """A committed state that is bytes."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.bodies: dict[str, bytes] = {}

    def load(self, keys: Iterable[str]) -> dict[str, bytes]:
        for key in keys:
            assert key.__class__ is str and "\0" not in key and len(key.encode()) <= 1024
        return {key: self.bodies[key] for key in keys if key in self.bodies}

    def find(self, field: str, value: str) -> list[str]:
        value.encode()
        indexed = ((key, self.shape.indexed(self.shape.decode(body))) for key, body in self.bodies.items())
        return sorted(key for key, pairs in indexed if (field, value) in pairs)

    def find_all(self, field: str, values: Sequence[str], *, limit: int) -> dict[str, list[str]]:
        return {}


class Road:
    """One way to the same documents: `committed` after each event, and `forgetful` of what was in memory."""

    def __init__(self, shape: Shape, *, committed: bool, forgetful: bool) -> None:
        self.state = Bytes(shape)
        self.documents = TrackedDocuments(shape, complete=not forgetful)
        self.documents.begin(self.state)
        self.committed, self.forgetful = committed, forgetful

    def event(self, happens: Callable[[TrackedDocuments], None], block: int) -> str:
        try:
            happens(self.documents)
            self.documents.end_event(block)
        except Exception as error:  # noqa: BLE001 - all that a handler may raise is its event's own fault
            self.documents.discard_event()
            said = type(error).__name__
        else:
            said = "taken"
        self.documents.end_block(block, keep_undo=True)
        if self.committed:
            self.commit()
        return said

    def commit(self) -> None:
        whole = self.documents.whole
        if whole is not None:
            self.state.bodies = {key: body for _, key, body in whole.documents(1)}
            list(whole.index(1))
        for delta in self.documents.take():
            for key, before, body in delta.changed:
                assert self.state.bodies.get(key) == before
                if body is None:
                    del self.state.bodies[key]
                else:
                    self.state.bodies[key] = body
        self.documents.committed()
        if self.forgetful:
            self.documents.forget()
            self.documents.begin(self.state)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.type.__name__)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_is_accepted_is_what_its_bytes_say_on_every_road(shape: Shape, data: Any) -> None:
    roads = [
        Road(shape, committed=False, forgetful=False),
        Road(shape, committed=True, forgetful=False),
        Road(shape, committed=True, forgetful=True),
    ]
    for block in range(1, data.draw(st.integers(1, 5)) + 1):
        happening = data.draw(
            st.lists(
                st.one_of(
                    st.tuples(st.just("put"), puts(shape.type)),
                    st.tuples(st.just("change"), keys, puts(shape.type)),
                    st.tuples(st.just("delete"), keys),
                    st.tuples(st.just("find"), st.sampled_from(shape.index or ("",)), texts | st.none()),
                ),
                max_size=3,
            )
        )

        def happens(documents: TrackedDocuments, steps: list[Any] = happening) -> None:
            for step in deepcopy(steps):  # each road has objects of its own
                match step:
                    case "put", (key, fields):
                        try:
                            document = shape.type(**fields)
                        except (ValueError, TypeError):
                            continue
                        documents.put(key, document)
                    case "change", key, (_, fields):
                        held = documents.get(key)
                        if held is not None:
                            for value in (getattr(held, name) for name in held.__struct_fields__):
                                if isinstance(value, list):
                                    value.append("in place")
                            documents.put(key, msgspec.structs.replace(held, **{**fields, "key": key}))
                    case "delete", key:
                        documents.delete(key)
                    case "find", name, value if name:
                        documents.find(name, value)

        outcomes = [road.event(happens, block) for road in roads]
        assert len(set(outcomes)) == 1, (happening, outcomes)
    roads[0].commit()
    for road in roads:
        assert road.state.bodies == roads[2].state.bodies
        for key, body in road.state.bodies.items():
            again = shape.decode(body)
            assert shape.encode(again) == body
            assert getattr(again, shape.key) == key


REFUSED: list[tuple[type[Struct], dict[str, Any], str]] = [
    (Plain, {"rate": float("nan")}, "rate = nan"),
    (Plain, {"rate": float("inf")}, "rate = inf"),
    (Plain, {"rate": 1}, "rate = 1 "),
    (Plain, {"text": "\ud800"}, "text = "),
    (Plain, {"text": Text("x")}, "text = 'x' does not fit"),
    (Plain, {"number": 2**63}, "63 bits"),
    (Plain, {"perhaps": "a\0"}, "The indexed perhaps, .*NUL"),
    (Plain, {"perhaps": "x" * 1025}, "The indexed perhaps, .*has 1,025 bytes; it may have 1,024"),
    (Plain, {"text": "é" * 34_000_000}, r"has 68,000,\d+ bytes; it may have 67,108,864"),
    (Deep, {"tags": ("a",)}, "tags = .*read back it would be"),
    (Deep, {"tags": ["\ud800"]}, "tags = .*surrogates"),
    (Deep, {"tags": [Colour.RED]}, "tags = .*read back it would be"),
    (Deep, {"pair": [1, 2.0]}, "pair = .*read back it would be"),
    (Deep, {"pair": (1, float("nan"))}, "pair does not fit its field: nan"),
    (Deep, {"pair": (2**63, 1.0)}, "pair does not fit its field: .*63 bits"),
    (Deep, {"pair": (1, 2)}, "pair = .*read back it would be"),
    (Deep, {"anything": {1: 2}}, "anything = .*read back it would be"),
    (Deep, {"anything": {"deep": [{"er": 2**64}]}}, "anything does not fit its field: .*63 bits"),
    (Deep, {"anything": datetime(2026, 1, 1)}, "anything = .*read back it would be"),
    (Deep, {"anything": object()}, "anything = .*does not fit its field"),
    (Deep, {"part": Part(1, [(1,)])}, "part = .*read back it would be"),
    (Deep, {"small": 10}, "small = 10 does not fit its field"),
    (Deep, {"word": "c"}, "word = 'c' does not fit its field"),
]


@pytest.mark.parametrize(("kind", "fields", "said"), REFUSED)
def test_what_its_bytes_would_not_say_is_refused_by_the_fields_name(
    kind: type[Struct], fields: dict[str, Any], said: str
) -> None:
    shape = next(item for item in SHAPES if item.type is kind)
    documents = TrackedDocuments(shape, complete=True)
    documents.put("k", kind(key="k", **fields))
    with pytest.raises(ValueRefused, match=said):
        documents.end_event(1)


def nested_list(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_nesting_has_a_bound() -> None:
    documents = TrackedDocuments(SHAPES[1], complete=True)
    documents.put("k", Deep("k", anything=nested_list(64)))
    documents.end_event(1)
    documents.put("k", Deep("k", anything=nested_list(65)))
    with pytest.raises(
        ValueRefused, match="anything does not fit its field: it lies more than 64 levels deep"
    ):
        documents.end_event(1)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("a\0", "The key, .*NUL"),
        ("\udfff", "The key, .*half of a surrogate pair"),
        ("x" * 1025, "The key, .*has 1,025 bytes; it may have 1,024"),
        ("é" * 513, "The key, .*has 1,026 bytes"),
        (7, "The key is a int"),
        (Text("a"), "The key is a Text"),
    ],
)
def test_what_cannot_be_a_key_everywhere_is_one_nowhere(key: Any, said: str) -> None:
    documents = TrackedDocuments(SHAPES[0], complete=True)
    assert documents.get(key) is None
    documents.put(key, Plain(key))
    with pytest.raises(ValueRefused, match=said) as refused:
        documents.end_event(1)
    assert refused.value.hint
    documents.discard_event()
    assert documents.get(key) is None


@pytest.mark.parametrize("key", ["", "x" * 1024, "é" * 512, "\x01", "￿", "\U0010ffff", "a/b", " "])
def test_any_other_text_can_be_a_key(key: str) -> None:
    documents = TrackedDocuments(SHAPES[0], complete=True)
    documents.put(key, Plain(key, perhaps=key))
    documents.end_event(1)
    assert documents.find("perhaps", key) == [key]


def test_what_a_handler_keeps_of_a_document_changes_none() -> None:
    shape = SHAPES[1]
    documents = TrackedDocuments(shape, complete=True)
    mine = ["a"]
    documents.put("k", Deep("k", tags=mine))
    documents.put("l", Deep("l", tags=mine))
    documents.end_event(1)
    mine.append("b")
    documents.get("k").tags.append("c")
    assert [documents.get(key).tags for key in "kl"] == [["a"], ["a"]]


def test_a_constant_that_is_put_again_does_not_change_what_stood_before() -> None:
    """The stamp of a later block must not show in the state of an earlier one."""
    shape = SHAPES[0]
    documents = TrackedDocuments(shape, complete=False)
    state = Bytes(shape)
    documents.begin(state)
    constant = Plain("k", "constant")
    undo = []
    for block, document in ((1, constant), (2, Plain("k", "other")), (3, constant)):
        documents.put("k", document)
        documents.end_event(block)
        documents.end_block(block, keep_undo=True)
        for delta in documents.take():
            undo += delta.undo
        documents.committed()
    assert [before and shape.decode(before).at for _, _, before in undo] == [None, 1, 2]
    assert constant.at == 0


class Odd(Struct, frozen=True):
    key: str
    number: int = 0
    tags: list[str] = []


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"key": "number"}, "key names number, which must be str"),
        ({"touched": "tags"}, "touched names tags, which must be int"),
        ({"dates": ("key",)}, "dates names key, which must be int"),
        ({"links": ("number",)}, "links names number, which must be str"),
        ({"index": ("tags",)}, "index names tags, which is not plain text"),
    ],
)
def test_a_field_in_a_role_that_it_cannot_play_is_refused(attributes: dict[str, Any], said: str) -> None:
    """A stamp in a text field, say, would be written and never read back."""
    handler = handles("E(uint256 n)")(lambda self, event, documents: None)
    made = type("Wrong", (Projector,), {"document": Odd, "key": "key", "e": handler, **attributes})
    with pytest.raises(ProjectorError, match=said):
        made.check()


@pytest.mark.parametrize(
    ("options", "hint", "said"),
    [
        ({"array_like": True}, int, "array_like"),
        ({"omit_defaults": True}, int, "omit_defaults"),
        ({"tag": True}, int, "tag"),
        ({"rename": "camel"}, int, "renames"),
        ({}, dict[str, list[bytes]], "bytes"),
        ({}, Callable[[], None], "JSON does not have"),
    ],
)
def test_a_document_type_that_json_would_tell_otherwise_is_refused(
    options: dict[str, Any], hint: Any, said: str
) -> None:
    document = msgspec.defstruct("Doc", [("key", str), ("my_field", hint)], frozen=True, **options)
    handler = handles("E(uint256 n)")(lambda self, event, documents: None)
    made = type("Wrong", (Projector,), {"document": document, "key": "key", "e": handler})
    with pytest.raises(ProjectorError, match=said):
        made.check()
