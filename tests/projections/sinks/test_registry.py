"""Kinds of sinks that installed packages add: configured like the shipped ones, refused by name and cause."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from projections.errors import ConfigurationError
from projections.service.config.loader import load
from projections.service.config.settings import Config
from projections.service.runtime.wiring import Plan
from projections.sinks.memory import MemorySink

SHELF = """
from projections.sinks.kinds import SinkKind, SinkTable
from projections.sinks.memory import MemorySink

class Settings(SinkTable, frozen=True):
    url: str = "shelf://user:a-secret-key@here"

class Table(SinkTable, frozen=True):
    label: str

class Kind(SinkKind):
    name = "shelf"
    table = Table
    server = Settings

    def place(self, settings):
        return "label", settings.label

    def make(self, settings, request):
        sink = MemorySink(f"{request.server.url} {settings.label} {request.key}")
        sink.name = self.name if settings.label != "misnamed" else "other"
        sink.about = request
        return sink
"""
BASE = """
[chains.main]
rpc = "http://127.0.0.1:1"
chain_id = 1

[contracts.r]
chain = "main"
address = "0x5151515151515151515151515151515151515151"
events = ["ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)"]
"""


class Shop:
    """A folder with a configuration, and on the path of Python a package that adds `shelf`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, source: str = SHELF, *, named: str = "shelf", object_: str = "Kind") -> None:
        about = self.folder / "shop-2.1.dist-info"
        about.mkdir(exist_ok=True)
        (about / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 2.1\n")
        (about / "entry_points.txt").write_text(f"[chainfold.sinks]\n{named} = shop_shelf:{object_}\n")
        (self.folder / "shop_shelf.py").write_text(source)
        sys.modules.pop("shop_shelf", None)

    def load(self, top: str = "", **sinks: str) -> Config:
        tables = "\n".join(
            f'[projections.{name}]\nprojector = "referrals"\ncontract = "r"\n{sink}'
            for name, sink in sinks.items()
        )
        (self.folder / "chainfold.toml").write_text(f"{BASE}\n{top}\n{tables}\n")
        return load(self.folder / "chainfold.toml")

    def refusal(self, top: str = "", **sinks: str) -> str:
        with pytest.raises(ConfigurationError) as refused:
            self.load(top, **sinks)
        return str(refused.value)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.syspath_prepend(str(tmp_path))
    return Shop(tmp_path)


def test_the_sink_of_an_installed_package_is_made_of_its_tables(shop: Shop) -> None:
    shop.install()
    config = shop.load('[shelf]\nurl = "shelf://there"', users='shelf = { label = "top" }')
    plan = Plan(config)
    [sink] = plan.sinks("users")
    assert isinstance(sink, MemorySink)
    made: Any = sink
    assert made.about.server.url == "shelf://there"
    assert (made.about.key, made.about.folder) == ("address", shop.folder)
    assert plan.sink_kinds("users") == ["shelf"]
    assert plan.described("shelf") == "shelf://there"
    plan.close()


def test_the_table_of_its_server_has_defaults_and_hides_its_secrets(shop: Shop) -> None:
    shop.install()
    config = shop.load(users='shelf = { label = "top" }')
    assert config.servers["shelf"].url == "shelf://user:a-secret-key@here"
    assert "a-secret-key" in config.secrets


def test_shipped_sinks_come_first_and_in_their_order(shop: Shop) -> None:
    shop.install()
    sinks = 'shelf = { label = "top" }\nredis = { key = "u:{address}" }\nmongo = { collection = "users" }'
    assert list(shop.load(users=sinks).projections["users"].sinks) == ["mongo", "redis", "shelf"]


def test_an_unknown_sink_is_an_unknown_key_and_the_known_ones_are_named(shop: Shop) -> None:
    shop.install()
    said = shop.refusal(users='zzz = { label = "top" }')
    assert "projections.users.zzz" in said
    assert said.endswith("mongo, redis, shelf.")
    assert shop.refusal(users='shelv = { label = "top" }').endswith("Did you mean shelf?")


def test_the_tables_of_an_installed_sink_are_as_strict_as_ours(shop: Shop) -> None:
    shop.install()
    assert shop.refusal(users="shelf = {}") == "projections.users.shelf.label is missing."
    misspelt = shop.refusal(users='shelf = { lable = "x" }')
    assert "projections.users.shelf.lable" in misspelt
    assert misspelt.endswith("Did you mean label?")
    assert shop.refusal('[shelf]\nulr = "x"', users='shelf = { label = "x" }').endswith("Did you mean url?")


def test_two_projections_may_not_publish_to_one_place_of_it(shop: Shop) -> None:
    shop.install()
    said = shop.refusal(a='shelf = { label = "top" }', b='shelf = { label = "top" }')
    assert said == "projections.b.shelf.label: top is what projections.a publishes to."


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "import nothing_like_it",
            "shelf of shop 2.1 cannot be loaded from shop_shelf:Kind: ModuleNotFoundError",
        ),
        ("Kind = 7", "what a package adds as the sink shelf is not a SinkKind"),
        (SHELF.replace('"shelf"', '"shlef"', 1), "is named 'shlef', and its entry point 'shelf'"),
        (SHELF.replace("    table = Table\n", ""), "needs tables that are subclasses of SinkTable"),
    ],
    ids=["an import", "no kind", "another name", "no table"],
)
def test_a_package_that_cannot_be_used_is_refused_with_the_cause(shop: Shop, source: str, said: str) -> None:
    shop.install(source)
    refused = shop.refusal(users='shelf = { label = "top" }')
    assert refused.startswith("projections.users.shelf: ")
    assert said in refused


def test_a_sink_that_bears_another_name_than_its_kind_is_refused(shop: Shop) -> None:
    shop.install()
    plan = Plan(shop.load(users='shelf = { label = "misnamed" }'))
    with pytest.raises(ConfigurationError, match=r"projections\.users\.shelf: .* is named other"):
        plan.sinks("users")
    plan.close()
