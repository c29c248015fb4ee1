"""Adapters in packages of their own: installed, they are found by name, pass the suites and a whole sync."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from chainfold.sinks import SinkUnavailable
from chainfold.testing import Kit, SinkContract, address, sink_request
from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from examples.adapters.projector.chainfold_invitations import Invitations, Inviter
from examples.adapters.sink.chainfold_sqlite import SqliteKind, SqliteSink, SqliteTable
from projections.testing.contracts.marker import Factory
from tests.end_to_end.site import CONTRACT, SIGNATURE, register

ADAPTERS = Path(__file__).parents[2] / "examples" / "adapters"


class TestSqliteSink(SinkContract):
    @pytest.fixture
    def make(self, tmp_path: Path) -> Factory:
        def made() -> SqliteSink:
            sink = SqliteKind().make(SqliteTable(table="users"), sink_request(tmp_path))
            assert isinstance(sink, SqliteSink)
            return sink

        return made


def test_the_trial_of_the_sink_leaves_nothing_and_names_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    sink = SqliteSink(tmp_path / "published.db", "users", ["address"])
    assert sink.trial() == []
    assert sink.marker() is None
    with pytest.raises(SinkUnavailable, match="unable to open database file"):
        SqliteSink(tmp_path / "nowhere" / "published.db", "users", ["address"]).trial()


def test_the_projector_counts_invitations() -> None:
    with Kit(Invitations) as kit:
        a, b, c = address(1), address(2), address(3)
        for at, user in enumerate((b, c)):
            kit.emit("ReferralRegistered", user=user, referrer=a, timestamp=at)
            kit.mine()
        assert kit.documents() == {a: Inviter(a, 2, c)}
        kit.check()


@pytest.mark.process
def test_installed_they_are_found_by_name_and_a_whole_sync_fills_the_table(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation"]
    folders = [str(ADAPTERS / name) for name in ("sink", "projector")]
    subprocess.run([*pip, "--target", str(packages), *folders], check=True, timeout=120)

    chain = SimulatedChain()
    for user in range(1, 8):
        chain.mine(logs=[register(user, user // 3)])
    with SimulatedNode(chain) as node:
        (tmp_path / "chainfold.toml").write_text(configuration(node.url))
        done = run(tmp_path, packages, "sync")
        assert done.returncode == 0, done.stderr
        assert "invitations" in run(tmp_path, packages, "status").stdout
        assert run(tmp_path, packages, "verify", "sinks").returncode == 0
        lost = run(tmp_path, tmp_path / "none", "sync")
    assert lost.returncode != 0
    assert "projections.invitations.sqlite" in lost.stderr + lost.stdout

    with sqlite3.connect(tmp_path / "published.db") as db:
        rows = db.execute("SELECT key, fields FROM invitations WHERE fields IS NOT NULL").fetchall()
    found = {key: json.loads(fields)["invited"] for key, fields in rows}
    assert sorted(found.values()) == sorted(Counter(user // 3 for user in range(1, 8)).values())


def configuration(url: str) -> str:
    return f"""
[chains.main]
rpc = "{url}"
chain_id = 31337

[contracts.referral]
chain = "main"
address = "0x{CONTRACT.hex()}"
events = ["{SIGNATURE}"]

[projections.invitations]
projector = "invitations"
contract = "referral"
sqlite = {{ table = "invitations" }}
"""


def run(folder: Path, packages: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of chainfold in this folder, with the packages of another installed."""
    path = os.pathsep.join([str(packages), str(ADAPTERS.parents[1])])
    return subprocess.run(
        [sys.executable, "-m", "chainfold", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
