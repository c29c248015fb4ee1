"""Rules: what a condition means, when it fires, and how a wrong one is refused."""

from __future__ import annotations

from typing import Any

import pytest

from projections.errors import ConfigurationError
from projections.projectors.referrals import User
from projections.webhooks.rule import Memory, Rule, decide, fitted, parse, unseen

HERE = "projections.p.webhook[0].when"


def rule(when: str) -> Rule:
    return fitted(Rule("r", parse(when, HERE)), User, HERE)


def fires(when: str, *seen: Any) -> list[bool]:
    """Whether the rule fires at each of these values of level1Count; `...` is the absence of a document."""
    made, memory, said = rule(when), unseen(rule(when)), []
    for value in seen:
        decision = decide(made, memory, None if value is ... else {"level1Count": value})
        memory = decision.memory
        said.append(decision.fires)
    assert memory.fired == sum(said)
    return said


@pytest.mark.parametrize(
    ("when", "seen", "expected"),
    [
        ("level1Count reached 10", [9, 10, 11], [False, True, False]),
        ("level1Count reached 10", [9, 12], [False, True]),  # crossed in one step
        ("level1Count reached 10", [12], [True]),  # a document that appears above
        ("level1Count reached 10", [12, 8, 12, ..., 12], [True, False, False, False, False]),
        ("level1Count reached 0", [0], [True]),  # nothing is below every number
        ("level1Count = 3", [1, 3, 3, 4, 3], [False, True, False, False, True]),
        ("level1Count = 3", [3, ..., 3], [True, False, True]),
        ("level1Count changed", [1, 1, 2, ...], [True, False, True, True]),
        ("appeared", [1, 2, ..., 3], [True, False, False, True]),
        ("removed", [..., 1, ..., ..., 2, ...], [False, False, True, False, False, True]),
    ],
)
def test_a_rule_fires(when: str, seen: list[Any], expected: list[bool]) -> None:
    assert fires(when, *seen) == expected


def test_null_is_what_a_document_that_is_not_there_has_in_every_field() -> None:
    made = rule("directReferrer = null")
    assert not decide(made, unseen(made), {"directReferrer": None}).fires
    assert decide(made, Memory(state=False), {"directReferrer": None}).fires


@pytest.mark.parametrize(
    ("written", "when"),
    [
        ("  level1Count   reached  10 ", "level1Count reached 10"),
        ('directReferrer = "0xa"', 'directReferrer = "0xa"'),
        ("level1Count = 3", "level1Count = 3"),
        ("directReferrer changed", "directReferrer changed"),
        ("level1Count reached 1.5", "level1Count reached 1.5"),
        ("removed", "removed"),
    ],
)
def test_a_condition_has_one_way_to_be_written(written: str, when: str) -> None:
    assert rule(written).when == when


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("", "is not a condition"),
        ("level1Count > 10", "is not a condition"),
        ("level1Count reached ten", "is not a condition"),
        ("level1Count reached 1e400", "is not a condition"),
        ("level1Count = three", "three is not a value"),
        ("level1Count = [1]", "is not a value"),
        ("level1Count changed; appeared", "is not a condition"),
        ("level3Count reached 10", "User has no field level3Count"),
        ("address reached 10", "address of User is not a number"),
        ("level1Count = null", "level1Count of User never is null"),
        ("directReferrer = 3", "directReferrer of User never is 3"),
        ("level1Count = true", "level1Count of User never is true"),
    ],
)
def test_a_wrong_condition_is_refused_by_its_path(when: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        rule(when)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{HERE}: ")
