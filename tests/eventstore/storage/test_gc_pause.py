"""The collector of cycles rests while rows are made, and works again afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from eventstore.storage.gc_pause import acyclic


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    gc.enable()


def test_it_rests_until_the_last_of_overlapping_blocks_has_ended() -> None:
    first, second = acyclic(), acyclic()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()


def test_it_works_again_after_an_error() -> None:
    with pytest.raises(ValueError, match="no row"), acyclic():
        raise ValueError("no row")
    assert gc.isenabled()


def test_who_turned_it_off_finds_it_off() -> None:
    gc.disable()
    with acyclic():
        pass
    assert not gc.isenabled()
