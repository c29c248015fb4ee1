"""The glossary has one meaning for each term; the classes it names and the laws that code cites exist."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

PAGE = Path("docs/glossary.md")
ROWS = re.findall(r"^\| ([^|]+) \| ([^|]+) \|([^|]*)\|$", PAGE.read_text(), re.MULTILINE)
TERMS = [(term, names) for term, _, names in ROWS if term not in ("term", "---")]
NAMED = sorted({name for _, names in TERMS for name in re.findall(r"`(\w+)`", names)})


def _declared() -> Counter[str]:
    """How many modules of the packages declare a public name at their top: a class, or an alias of a type."""
    found: Counter[str] = Counter()
    for package in ("eventstore", "projections"):
        for path in Path(package).rglob("*.py"):
            for node in ast.parse(path.read_text()).body:
                match node:
                    case ast.ClassDef(name=name):
                        found[name] += 1
                    case ast.Assign(targets=[ast.Name(id=name)], value=ast.BinOp(op=ast.BitOr())):
                        found[name] += 1
    return found


DECLARED = _declared()


@pytest.mark.parametrize("name", NAMED)
def test_a_class_that_the_glossary_names_exists_once(name: str) -> None:
    assert DECLARED[name] == 1, (name, DECLARED[name])


def test_the_glossary_has_each_term_once() -> None:
    terms = Counter(term for term, _ in TERMS)
    assert len(TERMS) > 50
    assert max(terms.values()) == 1, terms


def test_every_law_that_the_code_cites_is_on_its_page() -> None:
    laws = set(re.findall(r"^## Law (\d+):", Path("docs/laws.md").read_text(), re.MULTILINE))
    assert laws == {str(number) for number in range(1, 12)}
    cited = set()
    for folder in ("eventstore", "projections", "tests", "bench"):
        for path in Path(folder).rglob("*.py"):
            for numbers in re.findall(r"\b[Ll]aws? (\d+(?:(?:, | and | to )\d+)*)", path.read_text()):
                cited.update(re.findall(r"\d+", numbers))
    assert cited
    assert cited <= laws
