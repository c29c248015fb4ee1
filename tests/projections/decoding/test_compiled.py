"""The written out decoder against the plan that it was written from: the same event, or the same refusal."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from eventstore.journal.reading import StoredBlock, StoredLog
from projections.decoding.compiled import Decode, compile_decoder
from projections.decoding.decoder import Decoder
from projections.decoding.event import Event, Parameter
from projections.errors import DecodingError

BLOCK = StoredBlock(5, b"\x05" * 32, 60)
KINDS = ("address", "bool", "uint8", "uint63", "uint256", "int8", "int256", "bytes1", "bytes32", "function")

words = st.one_of(
    st.binary(min_size=32, max_size=32),
    st.sampled_from([bytes(32), b"\xff" * 32, bytes(31) + b"\x01", bytes(24) + b"\x80" + bytes(7)]),
    st.binary(min_size=20, max_size=20).map(lambda tail: bytes(12) + tail),
    st.binary(min_size=1, max_size=1).map(lambda tail: bytes(31) + tail),
    st.binary(min_size=1, max_size=24).map(lambda head: head.ljust(32, b"\x00")),
)


def outcome(decode: Decode, log: StoredLog) -> Any:
    try:
        return decode(log, BLOCK)
    except DecodingError as error:
        return str(error)


@given(data=st.data())
def test_it_gives_what_the_plan_gives_and_refuses_what_it_refuses(data: Any) -> None:
    kinds = data.draw(st.lists(st.tuples(st.sampled_from(KINDS), st.booleans()), max_size=6))
    indexed, parameters = 0, []
    for place, (kind, topic) in enumerate(kinds):
        indexed += (is_topic := topic and indexed < 3)
        parameters.append(Parameter(f"p{place}", kind, is_topic))
    event = Event("E", tuple(parameters))
    places: list[int | None] = [*range(len(parameters)), None]
    fewer = data.draw(st.sampled_from([0, 0, 0, -1, 1]))
    topics = [data.draw(words) for _ in range(min(3, max(0, indexed + fewer)))]
    body = b"".join(data.draw(words) for item in parameters if not item.indexed)
    body = data.draw(st.sampled_from([body, body, body, body[:-1], body + b"more"]))
    one, two, three = (*topics, None, None, None)[:3]
    log = StoredLog(5, 3, 1, 1, b"\x01" * 32, one, two, three, body)
    decoder = Decoder(event)

    def slow(log: StoredLog, block: StoredBlock) -> Any:
        topics = [item for item in (log.topic1, log.topic2, log.topic3) if item is not None]
        values = decoder((event.topic0, *topics), log.data)
        return [*values, None, block, log.log_index, log.tx_hash, "0xc"]

    bound = compile_decoder(event, places, lambda *given: list(given))
    assert bound is not None
    assert outcome(bound("0xc", slow), log) == outcome(slow, log)


def test_the_slow_road_is_asked_only_where_something_is_wrong() -> None:
    event = Event("E", (Parameter("user", "address", indexed=True), Parameter("at", "uint256")))
    bound = compile_decoder(event, [0, 1], lambda *given: given)
    assert bound is not None

    def refused(log: StoredLog, block: StoredBlock) -> Any:
        raise DecodingError("asked")

    decode = bound("0xc", refused)
    topic, data = bytes(12) + b"\x01" * 20, (7).to_bytes(32, "big")
    good = StoredLog(5, 3, 1, 1, b"\x01" * 32, topic, None, None, data)
    assert decode(good, BLOCK) == ("0x" + "01" * 20, 7, BLOCK, 3, b"\x01" * 32, "0xc")
    assert outcome(decode, StoredLog(5, 3, 1, 1, b"\x01" * 32, b"\x01" * 32, None, None, data)) == "asked"


def test_an_event_with_a_dynamic_parameter_is_not_written_out() -> None:
    event = Event("E", (Parameter("user", "address", indexed=True), Parameter("said", "string")))
    assert compile_decoder(event, [0, 1], lambda *given: given) is None
