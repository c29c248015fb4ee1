"""The fingerprint of a projection: which changes of a projector's module ask for a rebuild."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from textwrap import dedent

import pytest

from projections.fold.fold import Projection
from projections.fold.syntax import reached_syntax
from projections.projectors.referrals import Referrals
from projections.service.config.loader import load
from projections.service.runtime.wiring import Plan

CONFIG = """
[store]
url = "sqlite:///chainfold.db"

[chains.main]
chain_id = 1
rpc = "http://127.0.0.1:8545"

[contracts.referral]
chain = "main"
address = "0x00000000000000000000000000000000000000aa"
start_block = 7
events = ["ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)"]

[projections.users]
projector = "PROJECTOR"
contract = "referral"
"""

MODULE = dedent('''
    """Two projectors."""

    from __future__ import annotations

    import math
    from typing import Any

    from msgspec import Struct

    from chainfold import Documents, Projector, handles

    SIGNATURE = "ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)"
    STEP = 1
    WEIGHTS = {"a": 1}
    WEIGHTS["b"] = 2
    UNUSED = 5


    def marked(kind: type) -> type:
        return kind


    def stepped(number: int) -> int:
        return number + STEP


    def unused() -> int:
        return UNUSED


    class Person(Struct, frozen=True):
        """A user."""

        address: str
        count: int = 0


    class Base(Projector):
        limit = 10


    @marked
    class People(Base):
        """Counts."""

        document = Person
        key = "address"

        @handles(SIGNATURE)
        def registered(self, event: Any, people: Documents[Person]) -> None:
            """One more."""
            found = people.get(event.user) or Person(event.user)
            # the next count
            people.put(event.user, Person(event.user, stepped(found.count) * WEIGHTS["a"]))


    class Other(Projector):
        document = Person
        key = "address"

        @handles(SIGNATURE)
        def registered(self, event: Any, people: Documents[Person]) -> None:
            people.put(event.user, Person(event.user, unused()))


    if __name__ == "__main__":
        print(People, math.pi)
''')

SAME = {
    "an import line": ("import math\n", "import math as mathematics\nimport json\n"),
    "where a name is imported from": ("from chainfold import", "from projections.projectors import"),
    "a comment": ("# the next count", "# the count after it"),
    "the docstring of the module": ('"""Two projectors."""', '"""Some projectors."""'),
    "the docstring of the class": ('"""Counts."""', '"""Counts users."""'),
    "the docstring of a handler": ('"""One more."""', '"""And one more."""'),
    "the docstring of the document": ('"""A user."""', '"""One user."""'),
    "no docstring of the document": ('    """A user."""\n\n', ""),
    "another projector": ("Person(event.user, unused())", "Person(event.user, 9)"),
    "no other projector": (MODULE[MODULE.index("class Other") : MODULE.index("if __name__")], ""),
    "a function that another projector reaches": ("return UNUSED", "return UNUSED + 1"),
    "a constant that another projector reaches": ("UNUSED = 5", "UNUSED = 6"),
    "what runs as a script": ("print(People, math.pi)", "print(People)"),
    "the layout of the text": ("    limit = 10\n", "    limit = (\n        10\n    )\n"),
}
OUTDATED = {
    "the class": ("class People(Base):\n", "class People(Base):\n    version = 2\n"),
    "a handler": ("people.get(event.user)", "people.get(event.referrer)"),
    "a function": ("return number + STEP", "return number - STEP"),
    "a constant that a function reaches": ("STEP = 1", "STEP = 2"),
    "a constant of the decorator's arguments": ('timestamp)"\n', 'timestamp )"\n'),
    "a statement that changes a constant": ('WEIGHTS["b"] = 2', 'WEIGHTS["b"] = 3'),
    "one more statement that changes a constant": ("UNUSED = 5", "UNUSED = 5\nWEIGHTS.clear()"),
    "a base class": ("limit = 10", "limit = 11"),
    "the decorator": ("    return kind\n", "    kind.limit = 3\n    return kind\n"),
    "no decorator": ("@marked\n", ""),
    "the document's type": ("count: int = 0", "count: int = 1"),
}


@pytest.fixture
def bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Projection]:
    """The projection of a projector that is named in the configuration."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def make(projector: str) -> Projection:
        (tmp_path / "chainfold.toml").write_text(CONFIG.replace("PROJECTOR", projector))
        plan = Plan(load(tmp_path / "chainfold.toml"))
        try:
            return plan.projections["users"]
        finally:
            plan.close()

    return make


@pytest.fixture
def people(tmp_path: Path, bound: Callable[[str], Projection]) -> Callable[[str], Projection]:
    """The projection of `People` in a module of this text."""

    def make(source: str) -> Projection:
        name = f"people_{sha256(source.encode()).hexdigest()[:12]}"
        (tmp_path / f"{name}.py").write_text(source)
        importlib.invalidate_caches()
        try:
            return bound(f"{name}:People")
        finally:
            sys.modules.pop(name, None)

    return make


@pytest.mark.parametrize(("old", "new"), SAME.values(), ids=SAME)
def test_what_does_not_change_the_documents_does_not_outdate_them(
    people: Callable[[str], Projection], old: str, new: str
) -> None:
    assert MODULE.count(old) >= 1
    assert people(MODULE.replace(old, new)).fingerprint == people(MODULE).fingerprint


@pytest.mark.parametrize(("old", "new"), OUTDATED.values(), ids=OUTDATED)
def test_what_may_change_the_documents_outdates_them(
    people: Callable[[str], Projection], old: str, new: str
) -> None:
    assert MODULE.count(old) == 1
    assert people(MODULE.replace(old, new)).fingerprint != people(MODULE).fingerprint


def test_two_projectors_of_one_module_have_two_fingerprints(
    tmp_path: Path, bound: Callable[[str], Projection]
) -> None:
    (tmp_path / "both_of_them.py").write_text(MODULE)
    try:
        assert bound("both_of_them:People").fingerprint != bound("both_of_them:Other").fingerprint
    finally:
        sys.modules.pop("both_of_them", None)


FIRST_FORM = {
    (3, 11): "a8eebbfd1a5658e22a301f3e5c83f455933d4defeca5762ae4d41df13830449b",
    (3, 12): "d57c5ebe36c8003a81b91ffd4c5633308c9fc516deb9a289378d90f224aee855",
    (3, 13): "7e371bec3bad78fa81dd319cbf05d2d82a9f8eb2655c41e6e61a1d96acc449a4",
}
"""The first form for `CONFIG` with `referrals`, by version of Python: `ast.dump` differs. Stores hold it."""


def test_what_was_built_under_the_first_form_is_of_this_code(bound: Callable[[str], Projection]) -> None:
    projection = bound("referrals")
    assert projection.former == (FIRST_FORM[sys.version_info[:2]],)
    assert projection.fingerprint not in projection.former


def test_the_syntax_is_the_same_under_every_version_of_python() -> None:
    digest = sha256(reached_syntax(Referrals).encode()).hexdigest()
    assert digest == "032c3ac20f1008ffa366f475ed84ac2e931b1fe09cfdfe390b02dcc905345591"
