"""Laws 1 to 9 of docs/laws.md, by a state machine: any events between and within two steps converge."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.properties.chaos import CLAUSES, search, without
from tests.properties.grounds import Databases, Files, Grounds
from tests.properties.machine import machine

SEED = 7
"""Of the schedules that must catch a clause that is left out."""


@pytest.fixture
def files(tmp_path: Path) -> Grounds:
    return Files(tmp_path)


@pytest.mark.long
def test_whatever_happens_all_that_caught_up_is_the_plain_fold_of_the_chain(files: Grounds) -> None:
    """Reorgs, crashes at any boundary, zombies, late contracts, rollbacks, rebuilds, wipes, old stores."""
    _run(files, schedules=150)


def test_it_is_so_on_postgresql_too(postgres_server: str) -> None:
    """A few schedules: the laws are the same code, the transactions and the locks are another engine's."""
    _run(Databases(postgres_server), schedules=10)


@pytest.mark.parametrize("clause", CLAUSES)
def test_the_words_of_each_law_are_where_they_can_be_left_out(clause: str) -> None:
    """Otherwise `--mutate` would silently try what is not there any more."""
    with without(CLAUSES[clause]):
        pass


@pytest.mark.parametrize("clause", ["subtract", "void", "promote", "fence", "marker"])
@pytest.mark.long
def test_a_law_that_is_left_out_is_missed(files: Grounds, clause: str) -> None:
    """Those that show soon; `python -m tests.properties.chaos --mutate all` tries every one."""
    with without(CLAUSES[clause]):
        _, _, error = search(SEED, 60, files)
    assert error is not None


def _run(grounds: Grounds, *, schedules: int) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine(grounds),
        settings=settings(
            max_examples=schedules,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )
