"""Laws 1 to 9, by a state machine: whatever happens between and within any two steps, all converges."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.properties.chaos import CLAUSES, search, without
from tests.properties.machine import machine

SEED = 7
"""Of the schedules that must catch a clause that is left out."""


def test_whatever_happens_all_that_caught_up_is_the_plain_fold_of_the_chain(tmp_path: Path) -> None:
    """Reorgs, crashes at any boundary, zombies, late contracts, rollbacks, rebuilds, wipes, old stores."""
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine(tmp_path),
        settings=settings(
            max_examples=150,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("clause", ["subtract", "void", "promote", "fence", "marker"])
def test_a_law_that_is_left_out_is_missed(tmp_path: Path, clause: str) -> None:
    """Those that show soon; `python -m tests.properties.chaos --mutate all` tries every one."""
    with without(CLAUSES[clause]):
        _, _, error = search(SEED, 60, tmp_path)
    assert error is not None
