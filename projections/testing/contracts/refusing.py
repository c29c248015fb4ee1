"""The contract of sinks that may refuse single documents, because of what else lies there or of a rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from projections.errors import DocumentsRefused
from projections.sinks import ReadableSink
from projections.testing.contracts.marker import Factory
from projections.testing.contracts.sink import SinkContract
from projections.testing.contracts.users import gone, held, scanned, user

Refusing = Callable[[Sequence[str]], None]


class RefusingSinkContract(SinkContract):
    """Besides: a sink that may refuse single documents takes all others.

    A subclass overrides the fixture `refusing` as well.
    """

    @pytest.fixture
    def refusing(self, make: Factory) -> Refusing:
        """A function that makes the place refuse documents with these keys from now on, and no others."""
        raise NotImplementedError(f"{type(self).__name__} must override the fixture `refusing`.")

    @pytest.mark.parametrize("again", ["first", "later"])
    @pytest.mark.parametrize(
        "bad",
        [{0}, {299}, {5, 77, 78, 150}, set(range(0, 300, 2)), set(range(300))],
        ids=lambda bad: str(len(bad)),
    )
    def test_a_document_that_is_refused_keeps_no_other_out(
        self, sink: ReadableSink, refusing: Refusing, bad: set[int], again: str
    ) -> None:
        """Wherever in the batch it stands, alone or among many, in a first write and in a later one."""
        if again == "later":
            sink.write([user("before", 1)])
            sink.write([user("before", 2), *(user(f"k{n}", 2) for n in range(1, 300, 3))])
        changes = [user(f"k{n}", 5) if n % 7 else gone(f"k{n}", 5) for n in range(300)]
        refused = [changes[n].key for n in sorted(bad)]
        refusing(refused)
        with pytest.raises(DocumentsRefused) as raised:
            sink.write(changes)
        assert sorted(raised.value.reasons) == sorted(refused)
        assert all(raised.value.reasons.values())
        assert raised.value.written == 300 - len(bad)
        taken = [change for change in changes if change.key not in refused]
        found = sink.read([change.key for change in changes])
        assert {key: item for key, item in found.items() if key not in refused} == held(sink, taken)
        assert all(item.revision < 5 for key, item in found.items() if key in refused)

    def test_a_document_that_was_refused_is_taken_when_the_obstacle_is_gone(
        self, sink: ReadableSink, refusing: Refusing
    ) -> None:
        changes = [user("a", 1), user("b", 1), gone("c", 1)]
        refusing(["b", "c"])
        with pytest.raises(DocumentsRefused):
            sink.write(changes)
        refusing([])
        assert sink.write(changes) == 2
        assert scanned(sink) == held(sink, changes)
