"""Every fault of a node: exactly right in the end, or reported; never silently wrong where it shows."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest

from tests.eventstore.sources.faulty import FAULTS, MEANS, draw, run
from tests.places import DOCS

pytestmark = pytest.mark.long

PAGE = DOCS / "guarantees.md"
COMBINATIONS = 12
SEED = 11


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_alone_ends_as_the_guarantees_say(fault: str, tmp_path: Path) -> None:
    promised = re.search(rf"^\| {re.escape(fault)} \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    assert promised, f"docs/guarantees.md says nothing of: {fault}"
    assert promised.group(1) == MEANS[run([fault], tmp_path).ending]


@pytest.mark.parametrize("number", range(COMBINATIONS))
def test_three_faults_at_once_do_no_more_than_each_of_them(number: int, tmp_path: Path) -> None:
    """`python -m tests.eventstore.sources.faulty --seconds 600` tries other combinations."""
    run(draw(Random(f"{SEED} {number}")), tmp_path, seed=number)
