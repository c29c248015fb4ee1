"""Projectors that users write: errors in one are reported with file and line, before it is run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from projections.errors import ConfigurationError, ProjectorError
from projections.service.runtime.projectors import loaded
from projections.testing.kit import Kit
from tests.end_to_end.site import Site, Workshop, register

HEAD = """from typing import Any
from msgspec import Struct
from projections.projectors import Projector, handles

class Doc(Struct, frozen=True):
    key: str

class Own(Projector):
    document = Doc
    key = "key"
"""
SIGNATURE = "ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)"
HANDLER = f"""
    @handles("{SIGNATURE}")
    def registered(self, event, documents):
"""


def written(folder: Path, name: str, code: str) -> str:
    (folder / f"{name}.py").write_text(code)
    sys.modules.pop(name, None)
    return f"{name}:Own"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.mark.parametrize(
    ("code", "line", "said"),
    [
        (HEAD + HANDLER + "        if True\n            pass\n", 14, "SyntaxError: expected ':'"),
        ("import msgspec\nx = undefined_name\n", 2, "NameError: name 'undefined_name' is not defined"),
        (
            "\n\nimport no_such_module_at_all\n",
            3,
            "ModuleNotFoundError: No module named 'no_such_module_at_all'",
        ),
        ("from json import nothing_like_it\n", 1, "ImportError: cannot import name 'nothing_like_it'"),
        ("\nraise SystemExit(3)\n", 2, "SystemExit: 3"),
        ("1 / 0\n", 1, "ZeroDivisionError: division by zero"),
        (HEAD + "    x = 1 / 0\n", 11, "ZeroDivisionError: division by zero"),
        (
            HEAD + "    def __init__(self):\n        self.x = {}['x']\n" + HANDLER + "        pass\n",
            12,
            "KeyError: 'x'",
        ),
    ],
)
def test_what_is_wrong_with_the_code_is_told_with_its_file_and_line(
    folder: Path, code: str, line: int, said: str
) -> None:
    named = written(folder, "own_code", code)
    with pytest.raises(ProjectorError) as refused:
        loaded(named, "projections.p.projector", folder=folder)
    assert refused.value.message.startswith("projections.p.projector: ")
    assert said in refused.value.message
    assert f"({folder / 'own_code.py'}, line {line})" in refused.value.message


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (
            "def registered(self, event): ...",
            "Own.registered(self, event) cannot be called with event and documents",
        ),
        ("def registered(self): ...", "cannot be called with event and documents"),
        ("def registered(self, event, documents, more): ...", "missing a required argument: 'more'"),
        ("def registered(self, *, event, documents): ...", "cannot be called"),
        ("def registered(event, documents): ...", "cannot be called"),
        ("async def registered(self, event, documents): ...", "is asynchronous, and nothing awaits it"),
        ("def registered(self, event, documents):\n        yield", "is a generator"),
    ],
)
def test_a_handler_that_cannot_be_called_is_refused_at_the_start(
    folder: Path, method: str, said: str
) -> None:
    named = written(folder, "own_arity", f'{HEAD}\n    @handles("{SIGNATURE}")\n    {method}\n')
    with pytest.raises(ProjectorError) as refused:
        loaded(named, "here", folder=folder)
    assert said in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        ("Sold(addres who)", "Own.sold: In the event 'Sold(addres who)' the parameter who has no known type"),
        ("Sold(IERC20 token)", "IERC20"),
        ("Sold(address $who)", "the parameter $who cannot be an attribute"),
        ("Sold(address __class__)", "the parameter __class__ cannot be an attribute"),
        ("Sold(address a, uint8 a)", "two parameters are called a"),
    ],
)
def test_a_handler_of_an_event_that_cannot_be_is_refused_with_its_name(
    folder: Path, signature: str, said: str
) -> None:
    code = f'{HEAD}\n    @handles("{signature}")\n    def sold(self, event, documents): ...\n'
    with pytest.raises(ProjectorError) as refused:
        loaded(written(folder, "own_event", code), "here", folder=folder)
    assert said in refused.value.message


@pytest.mark.parametrize(
    "hint", ["def keys(self): ...", "def finds(self, event): ...", "async def keys(self, e): ..."]
)
def test_a_hint_that_cannot_be_called_is_refused_at_the_start(folder: Path, hint: str) -> None:
    code = f"{HEAD}\n    {hint}\n{HANDLER}        pass\n"
    with pytest.raises(ProjectorError, match=r"Own\.(keys|finds)"):
        loaded(written(folder, "own_hint", code), "here", folder=folder)


@pytest.mark.parametrize(
    ("signature", "names"),
    [
        ("E(address from, address from_)", ("from__", "from_")),
        ("E(address block, address block_, bool log_index)", ("block__", "block_", "log_index_")),
        ("E(bool class_, bool class, bool def)", ("class_", "class__", "def_")),
    ],
)
def test_parameters_that_would_share_an_attribute_do_not(signature: str, names: tuple[str, ...]) -> None:
    from projections.decoding.event import parse
    from projections.decoding.handlers import attributes

    assert tuple(attributes(parse(signature))) == names


def test_a_module_that_is_not_there_is_no_fault_of_one_that_is(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="there is no projector nowhere_at_all"):
        loaded("nowhere_at_all:Own", "here", folder=folder)
    with pytest.raises(ConfigurationError, match=r"has no projector Onw\.\s.*It has Own"):
        written(folder, "own_name", HEAD + HANDLER + "        pass\n")
        loaded("own_name:Onw", "here", folder=folder)


def test_a_handler_that_raises_names_its_file_and_line(folder: Path) -> None:
    code = (
        HEAD
        + HANDLER
        + "        self.helped({})\n\n    def helped(self, found):\n        return found['gone']\n"
    )
    projector = loaded(written(folder, "own_raise", code), "here", folder=folder)
    with Kit(type(projector)) as kit:
        kit.emit("ReferralRegistered", user="0x" + "1" * 40, referrer="0x" + "2" * 40, timestamp=1)
        [problem] = kit.problems()
    assert problem.endswith(f"KeyError: 'gone' ({folder / 'own_raise.py'}, line 17)")


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("        undefined_name\n", 1, "NameError: name 'undefined_name' is not defined"),
        ("        exit(4)\n", 1, "SystemExit: 4"),
        ("        if True\n", 2, "SyntaxError: expected ':'"),
    ],
)
def test_sync_names_the_users_own_line_and_never_takes_the_fault_upon_itself(
    workshop: Workshop, tmp_path: Path, body: str, code: int, said: str
) -> None:
    chain = SimulatedChain()
    chain.mine(logs=[register(1, 2)])
    with SimulatedNode(chain) as node:
        site = Site(workshop, tmp_path / "site", rpc=node.url)
        (site.folder / "own.py").write_text(HEAD + HANDLER + body)
        site.set("projections.referrals.projector", "own:Own")
        done = site.run("sync")
    assert done.code == code
    assert said in done.out + done.err
    assert f"{site.folder / 'own.py'}, line 14" in done.out + done.err
    assert "fault of chainfold" not in done.out + done.err
