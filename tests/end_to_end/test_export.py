"""`chainfold export`: files that analysts read."""

from __future__ import annotations

from random import Random

import pyarrow.parquet
import pytest

from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from tests.end_to_end.site import Site, Workshop, grow


@pytest.fixture(scope="module")
def site(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Site:
    chain = SimulatedChain(seed=8)
    grow(chain, Random(8), 150, users=40)
    with SimulatedNode(chain) as node:
        made = Site(workshop, tmp_path_factory.mktemp("site") / "here", rpc=node.url)
        assert made.run("sync").code == 0
    return made


def test_raw_and_decoded_hold_what_events_shows(site: Site) -> None:
    shown = site.run("events", "--json").json()
    done = site.run("export", "all.parquet", "--json")
    assert done.code == 0, done.err
    [file] = done.json()["files"]
    assert (file["path"], file["rows"]) == ("all.parquet", len(shown))
    raw = pyarrow.parquet.read_table(site.folder / "all.parquet").to_pylist()
    assert [row["tx_hash"] for row in raw] == [item["tx_hash"] for item in shown]
    done = site.run("export", "tables", "--decoded", "--from-block", "5", "--contract", "referral")
    assert done.code == 0, done.err
    decoded = pyarrow.parquet.read_table(site.folder / "tables" / "referral.ReferralRegistered.parquet")
    assert [
        {name: row[name] for name in ("user", "referrer", "timestamp")} for row in decoded.to_pylist()
    ] == [item["args"] for item in shown if item["block"] >= 5]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("said",), 2, "said is a directory. Name a file in it, or say --decoded."),
        (("chainfold.toml",), 2, "chainfold.toml is there already."),
        (("nowhere/all.parquet",), 1, "nowhere/all.parquet cannot be written: "),
        (("x.parquet", "--contract", "moon"), 2, "There is no contract moon."),
        (("x.parquet", "--from-block", "2", "--to-block", "1"), 2, "--from-block 2 is above --to-block 1."),
    ],
    ids=str,
)
def test_what_cannot_be_exported_is_one_sentence(
    site: Site, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = site.run("export", *arguments)
    assert done.code == code
    assert said in done.complaint


def test_a_full_disk_is_said_and_leaves_nothing(site: Site) -> None:
    done = site.run("export", "big.parquet", largest_file=40_000)
    assert (done.code, "big.parquet cannot be written" in done.complaint) == (1, True)
    assert not list(site.folder.glob("big*"))
