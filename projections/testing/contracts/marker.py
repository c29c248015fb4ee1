"""The contract of markers: a sink keeps the publisher's cursor, and changes it by compare-and-set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from projections.errors import MarkerLost
from projections.sinks import Marker, ReadableSink

Factory = Callable[[], ReadableSink]

MARKER = Marker(store="s1", chain_id=1, projection="referrals", revision=0, nonce="n1")


class MarkerContract:
    """What a sink promises of its marker. Part of `SinkContract`.

    A subclass overrides the fixture `make`.
    """

    @pytest.fixture
    def make(self) -> Factory:
        """A function that makes sinks, all for one place, which is empty."""
        raise NotImplementedError(f"{type(self).__name__} must override the fixture `make`.")

    @pytest.fixture
    def sink(self, make: Factory) -> Iterator[ReadableSink]:
        """An empty sink, open."""
        with closing(make()) as made:
            made.open()
            yield made

    def test_an_empty_sink_has_no_marker(self, sink: ReadableSink) -> None:
        assert sink.marker() is None

    def test_a_claim_is_read_back(self, sink: ReadableSink) -> None:
        sink.mark(MARKER, old=None)
        assert sink.marker() == MARKER

    def test_a_marker_advances_from_what_it_was(self, sink: ReadableSink) -> None:
        ahead = Marker(store="s1", chain_id=1, projection="referrals", revision=9, nonce="n1", key="0xé")
        sink.mark(MARKER, old=None)
        sink.mark(ahead, old=MARKER)
        assert sink.marker() == ahead

    def test_a_sink_is_claimed_once(self, sink: ReadableSink) -> None:
        sink.mark(MARKER, old=None)
        with pytest.raises(MarkerLost):
            sink.mark(Marker("s2", 1, "referrals", 0, "n2"), old=None)
        assert sink.marker() == MARKER

    @pytest.mark.parametrize(
        "other",
        [
            Marker("s2", 1, "referrals", 0, "n1"),
            Marker("s1", 2, "referrals", 0, "n1"),
            Marker("s1", 1, "orders", 0, "n1"),
            Marker("s1", 1, "referrals", 1, "n1"),
            Marker("s1", 1, "referrals", 0, "n2"),
            Marker("s1", 1, "referrals", 0, "n1", "k"),
            Marker("s1", 1, "referrals", 0, "n1", sends=1),
        ],
        ids=["store", "chain", "projection", "revision", "nonce", "key", "sends"],
    )
    def test_a_marker_that_differs_anywhere_is_not_advanced(self, sink: ReadableSink, other: Marker) -> None:
        sink.mark(other, old=None)
        with pytest.raises(MarkerLost):
            sink.mark(Marker("s1", 1, "referrals", 2, "n1"), old=MARKER)
        assert sink.marker() == other

    def test_a_marker_of_a_wiped_sink_is_not_advanced(self, sink: ReadableSink) -> None:
        with pytest.raises(MarkerLost):
            sink.mark(Marker("s1", 1, "referrals", 2, "n1"), old=MARKER)
        assert sink.marker() is None
