"""One log is one event for every reader: fold, audit, filters; an undecidable declaration is refused."""

from __future__ import annotations

import json
import tempfile
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from eth_abi.abi import encode
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from eventstore.journal.history import Learned
from eventstore.journal.kinds import LogKind
from eventstore.journal.reading import StoredBlock, StoredLog
from eventstore.records import Log
from projections.decoding.event import Event, parse
from projections.errors import DecodingError, SignatureError
from projections.projectors import Projector, handles
from projections.service.config.loader import load
from projections.service.config.settings import Config
from projections.service.export.columns import EventColumns
from projections.service.runtime.wiring import Plan
from projections.service.status.declared import Declared

ADDRESS, OTHER = b"\x51" * 20, b"\x52" * 20
ODD_TYPES = ["string", "bytes", "(uint8,string)[]", "uint8[2]", "address", "int128"]
ODD_NAMES = ["$", "class", "block", "__class__", "address", "Address", "_"]
ALPHA = parse("Alpha(uint256 p0, uint256 p1, uint256 p2, uint256 p3)")


HANDLED = ("p0", "p1", "p2", "p3")


class Seen(Struct, frozen=True):
    """Nothing: these tests only ask which event a log is."""

    key: str


class Both(Projector):
    """Handles every Alpha and every Beta, with any parameters."""

    document = Seen
    key = "key"

    @handles("Alpha(uint256 p0, uint256 p1, uint256 p2, uint256 p3)")
    def alpha(self, event: Any, documents: Any) -> None:
        """Not called."""

    @handles("Beta(uint256 p0, uint256 p1, uint256 p2, uint256 p3)")
    def beta(self, event: Any, documents: Any) -> None:
        """Not called."""


class Span(Struct, frozen=True):
    """A contract of the test: its blocks, and its events as they are written."""

    first: int
    last: int | None
    events: tuple[str, ...]
    topics: str

    def holds(self, block: int) -> bool:
        return self.first <= block and (self.last is None or block <= self.last)


@st.composite
def declarations(draw: st.DrawFn) -> str:
    """An event of up to four words, any of them indexed, or none; overloads and anonymous ones among them."""
    name = draw(st.sampled_from(["Alpha", "Beta", "Unheard"]))
    anonymous = draw(st.sampled_from([False, False, True]))
    indexed = draw(st.lists(st.booleans(), min_size=0, max_size=4))
    assume(sum(indexed) <= 3 + anonymous)
    parts = [f"uint256{' indexed' * flag} p{place}" for place, flag in enumerate(indexed)]
    more = draw(st.lists(st.sampled_from(ODD_TYPES), max_size=2))
    parts += [f"{kind} {draw(st.sampled_from(ODD_NAMES))}{place}" for place, kind in enumerate(more)]
    return f"{name}({', '.join(parts)}){' anonymous' * anonymous}"


@st.composite
def contracts(draw: st.DrawFn) -> Span:
    first = draw(st.sampled_from([0, 0, 3]))
    last = draw(st.sampled_from([None, None, first + 3]))
    events = draw(st.lists(declarations(), min_size=1, max_size=4, unique=True))
    return Span(first, last, tuple(events), draw(st.sampled_from(["all", "declared"])))


def configured(spans: list[Span]) -> Config:
    """All of them at one address, read by one projection."""
    lines = ['[store]\nurl = "sqlite:///store.db"\n[chains.main]\nrpc = "http://127.0.0.1:1"\nchain_id = 1\n']
    for place, span in enumerate(spans):
        end = "" if span.last is None else f"end_block = {span.last}\n"
        lines.append(
            f'[contracts.c{place}]\nchain = "main"\naddress = "0x{ADDRESS.hex()}"\n'
            f'start_block = {span.first}\n{end}topics = "{span.topics}"\n'
            f"events = {json.dumps(list(span.events))}\n"
        )
    sources = ", ".join(f'{{ contract = "c{place}" }}' for place in range(len(spans)))
    lines.append(f'[projections.p]\nprojector = "{__name__}:Both"\nfrom = [{sources}]\n')
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "chainfold.toml"
        path.write_text("".join(lines))
        return load(path)


def layout(event: Event) -> tuple[object, ...]:
    return event.canonical, [item.indexed for item in event.parameters], event.anonymous


def alike(one: Event, other: Event) -> bool:
    """Could one log be of either, although they are laid out otherwise?"""
    same_topic = one.anonymous == other.anonymous and (one.anonymous or one.topic0 == other.topic0)
    counts = [sum(item.indexed for item in event.parameters) for event in (one, other)]
    return same_topic and counts[0] == counts[1] and layout(one) != layout(other)


def wanted(spans: list[Span], log: Log) -> Event | None:
    """What the log is, by the plain words of the documentation."""
    here = [parse(text) for span in spans if span.holds(log.block_number) for text in span.events]
    count = len(log.topics)
    for event in here:
        indexed = sum(item.indexed for item in event.parameters)
        if not event.anonymous and log.topics[:1] == (event.topic0,) and indexed == count - 1:
            return event
    unnamed = [e for e in here if e.anonymous and sum(item.indexed for item in e.parameters) == count]
    return unnamed[0] if len({str(layout(event)) for event in unnamed}) == 1 else None


def folded(plan: Plan, log: Log) -> tuple[str, dict[str, Any]] | str | None:
    """The event that a handler is given, as its name and values; a refusal; None if no handler is called."""
    kind = LogKind(log.address, log.topics[0] if log.topics else b"")
    ways = plan.projections["p"].routed({1: kind})
    if not ways or log.block_number < plan.projections["p"].first_block:
        return None
    one, two, three = (*log.topics[1:], None, None, None)[:3]
    stored = StoredLog(log.block_number, 0, 1, 1, b"\x01" * 32, one, two, three, log.data)
    try:
        event = ways[1].decode(stored, StoredBlock(log.block_number, b"\x05" * 32, 60))
    except DecodingError as error:
        return str(error)
    if event is None:
        return None
    given = {name: getattr(event, name) for name in HANDLED}
    return type(event).__name__, {name: str(value) for name, value in given.items() if value is not None}


words = st.integers(0, 2**256 - 1).map(lambda number: number.to_bytes(32, "big"))
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "uint256": st.integers(0, 2**256 - 1),
    "string": st.text(max_size=9),
    "bytes": st.binary(max_size=40),
    "(uint8,string)[]": st.lists(st.tuples(st.integers(0, 255), st.text(max_size=3)), max_size=2),
    "uint8[2]": st.tuples(st.integers(0, 255), st.integers(0, 255)),
    "address": st.binary(min_size=20, max_size=20).map(lambda word: "0x" + word.hex()),
    "int128": st.integers(-(2**127), 2**127 - 1),
}


@st.composite
def logs(draw: st.DrawFn, spans: list[Span]) -> Log:
    """A log that one of the declarations may be, or nearly; or any other."""
    event = parse(draw(st.sampled_from([text for span in spans for text in span.events])))
    block = draw(st.integers(0, 8))
    indexed = sum(item.indexed for item in event.parameters)
    count = max(0, indexed + draw(st.sampled_from([0, 0, 0, -1, 1])))
    more = [draw(words) for _ in range(min(4, count) if event.anonymous else min(3, count))]
    topics = more if event.anonymous else [event.topic0, *more]
    kinds = [item.type for item in event.parameters if not item.indexed]
    data = encode(kinds, [draw(VALUES[kind]) for kind in kinds])
    data = draw(st.sampled_from([data, data, data + bytes(32), data[:20]]))
    address = draw(st.sampled_from([ADDRESS] * 7 + [OTHER]))
    return Log(block, 0, address, tuple(topics), data, b"\x01" * 32, 0, b"\x05" * 32)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=st.data())
def test_fold_audit_and_filters_take_one_log_for_one_event(data: Any) -> None:
    spans = data.draw(st.lists(contracts(), min_size=1, max_size=3))
    listed = [(span, parse(text)) for span in spans for text in span.events]
    meeting = [
        (one, other)
        for (left, one), (right, other) in combinations(listed, 2)
        if (left.last is None or right.first <= left.last)
        and (right.last is None or left.first <= right.last)
    ]
    if any(alike(*pair) and not pair[0].anonymous for pair in meeting):
        with pytest.raises(SignatureError, match="no log can tell"):
            configured(spans)
        return
    config = configured(spans)
    hopeless = any(alike(*pair) and any(event.name != "Unheard" for event in pair) for pair in meeting)
    if hopeless:
        with pytest.raises(SignatureError, match="nothing in a log says which"):
            Plan(config)
        return
    assume(any(event.name != "Unheard" for _, event in listed))
    plan, declared = Plan(config), Declared(config, "main")
    try:
        for log in data.draw(st.lists(logs(spans), min_size=1, max_size=8)):
            event = wanted(spans, log) if log.address == ADDRESS else None
            shown, found = declared(log), folded(plan, log)
            if shown is not None:
                assert layout(shown.event) == layout(event or ALPHA), "the audit shows another event"
            if event is None:
                assert shown is None
                assert found is None or "topics" in found, "the fold takes a log of another event"
                continue
            watches = plan.watches("main")
            assert any(
                watch.filter.matches(log)
                and watch.first_block <= log.block_number <= (watch.last_block or log.block_number)
                for watch in watches
            ), "what is fetched leaves it out"
            if event.name == "Unheard":
                assert found is None
                continue
            if shown is None:
                assert isinstance(found, str) and "bytes of data" in found
                continue
            mine = {name: value for name, value in shown.arguments.items() if name in HANDLED}
            assert found == (event.name, mine)
            tables = [item for item in declared.told_apart() if item == (shown.contract, shown.event)]
            assert len(tables) == 1, "the export has no file of its own for it"
            row = EventColumns(pyarrow, shown.event).row(
                1, Learned(log, 60, 1, 0, None, None), shown.values, {}
            )
            cells = row[-1 - len(event.parameters) : -1]
            named = zip(event.parameters, cells, strict=True)
            assert {item.name: str(cell) for item, cell in named if item.name in HANDLED} == mine
            own = plan.projections["p"].watches
            assert any(watch.filter.matches(log) for watch in own), "it is folded before it is fetched"
    finally:
        plan.close()


ERC20 = "Transfer(address indexed from, address indexed to, uint256 value)"
ERC721 = "Transfer(address indexed from, address indexed to, uint256 indexed tokenId)"
FIRST = "Moved(address indexed who, address to)"
SECOND = "Moved(address who, address indexed to)"


@pytest.mark.parametrize(
    ("spans", "both"),
    [
        ([Span(0, None, (FIRST, SECOND), "all")], "contracts.c0 declares both"),
        ([Span(0, None, (FIRST,), "all"), Span(9, None, (SECOND,), "all")], "contracts.c0 and contracts.c1"),
        ([Span(5, 9, (FIRST,), "all"), Span(0, 5, (SECOND,), "all")], "contracts.c0 and contracts.c1"),
    ],
)
def test_two_layouts_that_no_log_can_tell_apart_are_refused_by_name(spans: list[Span], both: str) -> None:
    with pytest.raises(SignatureError) as refused:
        configured(spans)
    assert refused.value.message == (
        f"{both} {'declare ' if 'and' in both else ''}{parse(FIRST)} and {parse(SECOND)} at "
        f"0x{ADDRESS.hex()}: logs of both have the same first topic and 2 topics, so that no log can tell "
        "which of the two it is."
    )
    assert "end_block" in (refused.value.hint or "")


@pytest.mark.parametrize(
    "spans",
    [
        [Span(0, None, (ERC20, ERC721), "all")],
        [Span(0, None, (ERC20,), "all"), Span(0, None, (ERC721,), "all")],
        [Span(0, 4, (FIRST,), "all"), Span(5, None, (SECOND,), "all")],
        [Span(0, None, (FIRST,), "all"), Span(3, None, (FIRST,), "all")],
    ],
)
def test_layouts_that_topics_or_blocks_tell_apart_stand_beside_each_other(spans: list[Span]) -> None:
    assert configured(spans).contracts.keys() == {f"c{place}" for place in range(len(spans))}


def test_of_two_contracts_at_one_address_one_can_be_fetched_alone() -> None:
    plan = Plan(configured([Span(0, 4, (FIRST, "Beta()"), "all"), Span(5, None, (SECOND, "Beta()"), "all")]))
    spans = {only: plan.watches("main", only=only) for only in ("c0", "c1")}
    assert [(item.first_block, item.last_block) for item in spans["c0"]] == [(0, 4)]
    assert [(item.first_block, item.last_block) for item in spans["c1"]] == [(5, None)]
    plan.close()
