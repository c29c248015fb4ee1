"""The contract of sinks as a suite of tests: every sink of this package passes it, and so must yours.

    from chainfold.testing import SinkContract, sink_request

    class TestMySink(SinkContract):
        @pytest.fixture
        def make(self, tmp_path):
            return lambda: MyKind().make(MyTable(path="users"), sink_request(tmp_path))

Law of the suite: `make` returns a function, and all sinks that this function returns publish to one and the
same place, which is empty when a test begins. pytest is required; the package itself does not need it.
"""

from __future__ import annotations

import random
from contextlib import closing
from itertools import pairwise
from uuid import uuid4

import pytest

from projections.sinks import Change, ReadableSink, Value
from projections.testing.contracts.marker import MARKER, Factory, MarkerContract
from projections.testing.contracts.users import gone, held, scanned, user

NEVER = (2**48 - 1, 2**62, 2**63 - 1, -(2**63), -1, -62_135_596_800, -62_135_596_801, 253_402_300_800, 2**53)
"""Times in seconds that no calendar has, or that common types of dates cannot hold."""


class SinkContract(MarkerContract):
    """What every sink promises that can be read back: it converges, keeps its marker, and loses nothing.

    A subclass overrides the fixture `make`.
    """

    def test_what_was_written_is_read(self, sink: ReadableSink) -> None:
        sink.write([user("a", 1), user("b", 2)])
        assert sink.read(["a", "b"]) == held(sink, [user("a", 1), user("b", 2)])

    def test_what_was_never_written_is_absent(self, sink: ReadableSink) -> None:
        sink.write([user("a", 1)])
        assert sink.read(["b"]) == {}

    def test_nothing_to_write_is_nothing_written(self, sink: ReadableSink) -> None:
        assert sink.write([]) == 0

    def test_nothing_to_read_is_nothing_read(self, sink: ReadableSink) -> None:
        assert sink.read([]) == {}

    def test_a_newer_revision_replaces_the_older(self, sink: ReadableSink) -> None:
        sink.write([user("a", 1)])
        assert sink.write([user("a", 2)]) == 1
        assert sink.read(["a"]) == held(sink, [user("a", 2)])

    def test_an_older_revision_changes_nothing(self, sink: ReadableSink) -> None:
        sink.write([user("a", 5)])
        assert sink.write([user("a", 4)]) == 0
        assert sink.read(["a"]) == held(sink, [user("a", 5)])

    def test_the_same_revision_again_changes_nothing(self, sink: ReadableSink) -> None:
        sink.write([user("a", 5)])
        assert sink.write([user("a", 5, level1Count=99)]) == 0
        assert sink.read(["a"]) == held(sink, [user("a", 5)])

    def test_write_counts_those_that_applied(self, sink: ReadableSink) -> None:
        sink.write([user("a", 5), user("b", 1)])
        assert sink.write([user("a", 4), user("b", 2), user("c", 3), gone("d", 4)]) == 3

    def test_a_removal_leaves_its_revision(self, sink: ReadableSink) -> None:
        sink.write([user("a", 1)])
        sink.write([gone("a", 2)])
        assert sink.read(["a"]) == {"a": gone("a", 2)}

    def test_an_older_write_does_not_bring_a_removed_document_back(self, sink: ReadableSink) -> None:
        sink.write([user("a", 1), gone("a", 3)])
        assert sink.write([user("a", 2)]) == 0
        assert sink.read(["a"]) == {"a": gone("a", 3)}

    def test_the_removal_of_what_never_was_leaves_its_revision_too(self, sink: ReadableSink) -> None:
        sink.write([gone("a", 3)])
        assert sink.write([user("a", 2)]) == 0
        assert sink.read(["a"]) == {"a": gone("a", 3)}

    def test_an_older_removal_removes_nothing(self, sink: ReadableSink) -> None:
        sink.write([user("a", 3)])
        assert sink.write([gone("a", 2)]) == 0
        assert sink.read(["a"]) == held(sink, [user("a", 3)])

    def test_a_newer_write_brings_a_removed_document_back(self, sink: ReadableSink) -> None:
        sink.write([gone("a", 3)])
        sink.write([user("a", 4)])
        assert sink.read(["a"]) == held(sink, [user("a", 4)])

    @pytest.mark.parametrize("seed", range(4))
    def test_the_newest_wins_in_whatever_order_and_repetition(self, sink: ReadableSink, seed: int) -> None:
        chance = random.Random(seed)
        keys = [f"0x{n:040x}" for n in range(12)]
        newest: dict[str, Change] = {}
        history: list[Change] = []
        for revision in range(1, 60):
            key = chance.choice(keys)
            newest[key] = gone(key, revision) if chance.random() < 0.3 else user(key, revision)
            history.append(newest[key])
        sent = chance.sample(history, len(history)) + chance.choices(history, k=40)
        cuts = sorted({0, len(sent), *chance.sample(range(len(sent)), 8)})
        for start, end in pairwise(cuts):
            sink.write(sent[start:end])
        assert scanned(sink) == held(sink, list(newest.values()))

    def test_a_null_is_read_as_what_the_sink_holds_for_null(self, sink: ReadableSink) -> None:
        sink.write([user("a", 1, directReferrer="b")])
        sink.write([user("a", 2, directReferrer=None)])
        assert sink.read(["a"]) == held(sink, [user("a", 2, directReferrer=None)])

    def test_a_field_that_a_document_no_longer_has_is_gone(self, sink: ReadableSink) -> None:
        sink.write([user("a", 1)])
        fewer = Change("a", 2, 20, {"address": "a", "level1Count": 7})
        sink.write([fewer])
        assert sink.read(["a"]) == held(sink, [fewer])

    def test_text_of_every_script_survives(self, sink: ReadableSink) -> None:
        texts = ["日本語", "𝔘𝔫𝔦", "a\x00b", "عربى", "", "{address}*?[x]", "é"]
        changes = [user(f"k{n}", 1, directReferrer=text) for n, text in enumerate(texts)]
        sink.write(changes)
        assert scanned(sink) == held(sink, changes)

    def test_keys_of_every_script_survive(self, sink: ReadableSink) -> None:
        changes = [user(key, 1) for key in ("日本", "a b", "x:y", "*", "{a}", "0xAB")]
        sink.write(changes)
        assert scanned(sink) == held(sink, changes)

    @pytest.mark.parametrize("number", [0, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63)])
    def test_integers_within_63_bits_are_exact(self, sink: ReadableSink, number: int) -> None:
        sink.write([user("a", 1, level1Count=number)])
        assert sink.read(["a"]) == held(sink, [user("a", 1, level1Count=number)])

    def test_revisions_beyond_32_bits_are_compared_as_numbers(self, sink: ReadableSink) -> None:
        sink.write([user("a", 10_000_000_000, level1Count=1, updatedAt=1)])
        assert sink.write([user("a", 9_999_999_999, level1Count=2, updatedAt=2)]) == 0

    def test_scan_shows_documents_and_removals(self, sink: ReadableSink) -> None:
        sink.write([user("a", 1), gone("b", 2)])
        assert scanned(sink) == held(sink, [user("a", 1), gone("b", 2)])

    def test_many_documents_are_written_read_and_scanned_alike(self, sink: ReadableSink) -> None:
        changes = [user(f"0x{n:040x}", n + 1) for n in range(1_200)]
        assert sink.write(changes) == 1_200
        assert sink.read([change.key for change in changes]) == scanned(sink) == held(sink, changes)

    def test_what_another_process_wrote_is_not_written_again(self, sink: ReadableSink, make: Factory) -> None:
        changes = [user("a", 1), gone("b", 2)]
        sink.write(changes)
        with closing(make()) as again:
            again.open()
            assert again.write(changes) == 0
        assert scanned(sink) == held(sink, changes)

    def test_a_first_write_of_which_another_process_did_half_is_finished(
        self, sink: ReadableSink, make: Factory
    ) -> None:
        changes = [user(f"k{n}", 7) if n % 3 else gone(f"k{n}", 7) for n in range(100)]
        sink.write(changes[::2])
        with closing(make()) as again:
            again.open()
            assert again.write(changes) == 50
        assert scanned(sink) == held(sink, changes)

    def test_a_first_write_is_guarded_key_by_key(self, sink: ReadableSink, make: Factory) -> None:
        """Whether another process left a document or a removal, older or newer than what is sent."""
        sink.write([user("a", 1), user("b", 9), gone("c", 1), gone("d", 9), user("e", 1), user("f", 9)])
        with closing(make()) as again:
            again.open()
            sent = [*(user(key, 5) for key in "abcdg"), *(gone(key, 5) for key in "efh")]
            assert again.write(sent) == 5
        kept = [user("a", 5), user("b", 9), user("c", 5), gone("d", 9), gone("e", 5), user("f", 9)]
        assert scanned(sink) == held(sink, [*kept, user("g", 5), gone("h", 5)])

    def test_many_new_documents_after_many_old_ones_and_the_reverse(self, sink: ReadableSink) -> None:
        waves = [(range(100), 1), (range(100), 2), (range(50, 200), 3), (range(200, 300), 4), (range(300), 5)]
        for keys, revision in waves:
            assert sink.write([user(f"k{n}", revision) for n in keys]) == len(keys)
        assert scanned(sink) == held(sink, [user(f"k{n}", 5) for n in range(300)])

    def test_opening_again_keeps_everything(self, sink: ReadableSink, make: Factory) -> None:
        sink.write([user("a", 1), gone("b", 2)])
        sink.mark(MARKER, old=None)
        with closing(make()) as again:
            again.open()
            again.open()
            assert scanned(again) == held(again, [user("a", 1), gone("b", 2)])
            assert again.marker() == MARKER

    def test_the_marker_is_no_document(self, sink: ReadableSink) -> None:
        sink.mark(MARKER, old=None)
        assert scanned(sink) == {}

    def test_what_was_given_may_be_changed_afterwards(self, sink: ReadableSink) -> None:
        change = user("a", 1, directReferrer=uuid4().hex)
        expected = held(sink, [user("a", 1, directReferrer=(change.fields or {})["directReferrer"])])
        sink.write([change])
        (change.fields or {})["directReferrer"] = "other"
        assert sink.read(["a"]) == expected

    def test_a_list_that_was_given_may_be_changed_afterwards(self, sink: ReadableSink) -> None:
        names: list[Value] = ["b"]
        sink.write([user("a", 1, directReferrer=names)])
        names.append("c")
        assert sink.read(["a"]) == held(sink, [user("a", 1, directReferrer=["b"])])

    def test_a_time_that_no_calendar_has_is_written_and_read_back(self, sink: ReadableSink) -> None:
        """A field in `dates` has 63 bits: no time keeps its document or another out."""
        times: list[int | None] = [None, 0, *NEVER]
        changes = [user(f"k{n}", 1, updatedAt=at) for n, at in enumerate(times)]
        assert sink.write(changes) == len(changes)
        found = sink.read([change.key for change in changes])
        assert found == held(sink, changes)
