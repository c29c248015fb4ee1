"""The kit for people who write projectors: it finds the projectors that are not pure folds, and says how."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import random
from typing import Any

import pytest
from msgspec import Struct

from projections.errors import ProjectorError
from projections.projectors import Documents, Projector, handles
from projections.projectors.referrals import Referrals
from projections.testing.kit import Kit, address


class Tally(Struct, frozen=True):
    """How often something was said, and by whom."""

    word: str
    count: int = 0
    voices: list[str] = []


class Tallies(Projector):
    """A pure fold; the projectors below fall short of it."""

    document = Tally
    key = "word"

    @handles("Said(string word, address indexed by)")
    def said(self, event: Any, tallies: Documents[Tally]) -> None:
        tally = tallies.get(event.word) or Tally(event.word)
        tallies.put(event.word, Tally(event.word, tally.count + 1, [*tally.voices, event.by]))


class Remembers(Tallies):
    """Counts on itself."""

    def __init__(self) -> None:
        self.count = 0

    @handles("Said(string word, address indexed by)")
    def said(self, event: Any, tallies: Documents[Tally]) -> None:
        self.count += 1
        tallies.put(event.word, Tally(event.word, self.count))


class Draws(Tallies):
    """Draws a random number."""

    @handles("Said(string word, address indexed by)")
    def said(self, event: Any, tallies: Documents[Tally]) -> None:
        tallies.put(event.word, Tally(event.word, int(random() * 2**50)))


class InPlace(Tallies):
    """Changes the list within a document."""

    @handles("Said(string word, address indexed by)")
    def said(self, event: Any, tallies: Documents[Tally]) -> None:
        tally = tallies.get(event.word) or Tally(event.word)
        tally.voices.append(event.by)
        tallies.put(event.word, Tally(event.word, tally.count + 1, tally.voices))


def spoken(projector: type[Projector]) -> Kit:
    """Three blocks, the same word in each."""
    kit = Kit(projector)
    for speaker in (1, 2, 3):
        kit.emit("Said", word="tea", by=address(speaker))
        kit.mine()
    return kit


@pytest.mark.long
def test_a_pure_fold_passes_every_check() -> None:
    with spoken(Tallies) as kit:
        kit.check()
        assert kit.documents() == {"tea": Tally("tea", 3, [address(1), address(2), address(3)])}


CHECKS: list[Callable[[Kit], None]] = [
    Kit.check_twice,
    Kit.check_rebuilt,
    Kit.check_reorgs,
    Kit.check_crashes,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_check_finds_a_projector_that_remembers(check: Callable[[Kit], None]) -> None:
    with spoken(Remembers) as kit, pytest.raises(AssertionError, match=r"tea has count = \d; .* gives 3"):
        check(kit)


def test_a_projector_that_draws_a_random_number_is_found() -> None:
    with spoken(Draws) as kit, pytest.raises(AssertionError, match=r"tea has count = .* clock or a random"):
        kit.check_rebuilt()


@pytest.mark.long
def test_a_list_changed_in_place_is_the_handlers_own_until_it_is_put() -> None:
    """What `get` gives is a copy: no document of an earlier block changes with it, on any road."""
    with spoken(InPlace) as kit:
        kit.check()
        assert kit.documents() == {"tea": Tally("tea", 3, [address(1), address(2), address(3)])}


def test_a_projection_that_comes_out_empty_passes_every_check() -> None:
    class Deletes(Tallies):
        @handles("Said(string word, address indexed by)")
        def said(self, event: Any, tallies: Documents[Tally]) -> None:
            tallies.delete(event.word)

    with spoken(Deletes) as kit:
        assert kit.documents() == {}
        kit.check()


class Refuses(Tallies):
    """Raises on the second speaker."""

    @handles("Said(string word, address indexed by)")
    def said(self, event: Any, tallies: Documents[Tally]) -> None:
        super().said(event, tallies)
        if event.by == address(2):
            raise ValueError("two is too many")


def test_a_projection_that_halts_halts_the_same_on_every_road() -> None:
    with spoken(Refuses) as kit:
        assert "ValueError: two is too many" in kit.problems()[0]
        with pytest.raises(AssertionError, match="Refuses halted: block 2, log 0"):
            kit.documents()
        kit.check()


@pytest.mark.long
def test_a_quarantine_passes_over_the_same_events_on_every_road() -> None:
    with Kit(Refuses, poison="quarantine") as kit:
        for speaker in (1, 2, 3):
            kit.emit("Said", word="tea", by=address(speaker))
            kit.mine()
        assert kit.documents()["tea"].count == 2
        [problem] = kit.problems()
        said = "block 2, log 0: ValueError: two is too many"
        assert re.fullmatch(rf"{said} \({re.escape(__file__)}, line \d+\)", problem)
        kit.check()


def test_roles_and_the_contracts_own_names_are_as_in_the_configuration() -> None:
    events = ["Invited(address indexed inviter, address indexed guest)"]
    with Kit(Referrals, events=events, roles={"user": "guest", "referrer": "inviter"}) as kit:
        kit.emit("Invited", inviter=address(1), guest=address(2))
        assert kit.documents()[address(2)].directReferrer == address(1)


def test_what_is_emitted_wrongly_is_said() -> None:
    with Kit(Tallies) as kit:
        with pytest.raises(ProjectorError, match=r"No event Sung is declared\. Declared: Said"):
            kit.emit("Sung")
        with pytest.raises(ProjectorError, match=r"without by\. Its parameters are word, by"):
            kit.emit("Said", word="tea")
        with pytest.raises(ProjectorError, match="with loudly"):
            kit.emit("Said", word="tea", by=address(1), loudly=True)
        with pytest.raises(ProjectorError, match=r"Said.by = 7 cannot be encoded as address"):
            kit.emit("Said", word="tea", by=7)


def test_events_that_fit_no_handler_are_refused() -> None:
    with pytest.raises(ProjectorError, match="fits a handler of Tallies"):
        Kit(Tallies, events=["Sung(string word)"])


def test_indexed_texts_are_their_hashes() -> None:
    class Hashes(Tallies):
        @handles("Said(string indexed word, address by, uint8[] indexed rest)")
        def said(self, event: Any, tallies: Documents[Tally]) -> None:
            tallies.put(event.word.hex(), Tally(event.word.hex(), event.rest[0]))

    with Kit(Hashes) as kit:
        kit.emit("Said", word="tea", by=address(1), rest=b"\7" * 32)
        ((key, tally),) = kit.documents().items()
        assert (len(key), tally.count) == (64, 7)
