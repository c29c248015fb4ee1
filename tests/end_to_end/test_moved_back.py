"""A real chain that moves back below finality and is shorter: all that is served follows within one sync."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from click.testing import Result
from typer.testing import CliRunner

from projections.service.cli import app
from projections.service.config.loader import load
from projections.service.http.server import Server
from projections.service.runtime.wiring import planned
from projections.service.status.metrics import Meters
from tests.end_to_end.test_anvil import Network, Site, assert_served
from tests.servers.anvil import Anvil
from tests.servers.mongo import Mongo
from tests.stores import ENGINES

Pairs = list[tuple[str, str]]


class Rolled(Network):
    """A network whose blocks can be played again after it was rolled back."""

    def play(self, blocks: list[Pairs]) -> None:
        """Mines these blocks, each with the registrations of its pairs."""
        for pairs in blocks:
            if pairs:
                self.contract.register_many(pairs)
            self.node.mine()


@pytest.fixture
def network(anvil: Anvil) -> Iterator[Rolled]:
    made = Rolled(anvil.url, seed=12)
    yield made
    made.node.close()


@pytest.fixture(params=ENGINES)
def site(
    request: pytest.FixtureRequest, tmp_path: Path, mongo: Mongo, redis_url: str, network: Rolled
) -> Site:
    store = f"sqlite:///{tmp_path / 'store.db'}"
    if request.param == "postgresql":
        store = str(request.getfixturevalue("postgres_url"))
    made = Site(
        tmp_path,
        store=store,
        mongo=mongo,
        redis_url=redis_url,
        rpc=network.node.url,
        address=network.contract.address,
    )
    made.path.write_text(made.path.read_text() + '[http]\nlisten = "127.0.0.1:0"\n')
    return made


def ready(site: Site) -> int:
    """What /readyz answers."""
    with planned(load(site.path)) as plan:
        assert plan.config.http is not None
        settings = msgspec.structs.replace(plan.config.http, port=0)
        with Server(plan, settings, Meters("test"), documents=True) as server:
            return httpx.get(f"{server.url}/readyz", timeout=30).status_code


def command(site: Site, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["--config", str(site.path), *arguments])


def assert_well(site: Site, network: Rolled) -> None:
    """Documents and sinks are the chain's, and every light is green for a reason."""
    assert_served(site, network.definition())
    done = command(site, "status", "--check", "--json")
    assert done.exit_code == 0, done.stdout
    found: dict[str, Any] = msgspec.json.decode(done.stdout)
    head = int(network.node.rpc("eth_blockNumber"), 16)
    assert (found["chains"]["local"]["head"], found["projections"]["referrals"]["block"]) == (head, head)
    assert found["projections"]["referrals"]["state"] == "live"
    assert found["chains"]["local"]["finalized"] <= head
    assert ready(site) == 200


@pytest.mark.parametrize("branch", ["the same", "fewer", "none", "others"])
def test_a_shorter_branch_is_served_within_one_sync_whatever_it_holds(
    site: Site, network: Rolled, branch: str
) -> None:
    """Rolled back by eleven blocks, seven of them final; six others take their place."""
    network.play([network.pairs(2) for _ in range(5)])
    kept = network.node.rpc("evm_snapshot")
    blocks = [network.pairs(2) if number % 2 else [] for number in range(11)]
    network.play(blocks)
    site.sync()
    assert_well(site, network)
    assert network.node.rpc("evm_revert", kept)
    network.node.rpc("evm_increaseTime", 60)
    match branch:
        case "the same":
            network.play(blocks[:6])
        case "fewer":
            network.play([*blocks[:2], *[[]] * 4])
        case "none":
            network.play([[]] * 6)
        case _:
            network.play([network.pairs(3) for _ in range(6)])
    summary = site.sync()
    assert "BELOW FINALITY" in summary.reorgs[0]
    assert_well(site, network)
    network.play([network.pairs(2) for _ in range(3)])
    site.sync()
    assert_well(site, network)


def test_a_head_that_is_only_lower_is_said_and_followed_back_at_the_operators_word(
    site: Site, network: Rolled
) -> None:
    """Nothing competes with what is served: that may be a node that lags, so nothing goes back by itself."""
    network.play([network.pairs(2) for _ in range(5)])
    kept = network.node.rpc("evm_snapshot")
    low = int(network.node.rpc("eth_blockNumber"), 16)
    network.play([network.pairs(2) for _ in range(10)])
    site.sync()
    before = network.definition()
    same = command(site, "heads", "local", "--follow")
    assert (same.exit_code, "which we know" in same.stdout) == (1, True), same.stdout
    assert network.node.rpc("evm_revert", kept)
    told = command(site, "sync")
    assert told.exit_code == 1
    assert f"is {low}, below block {low + 10}" in told.stdout
    assert_served(site, before)
    assert command(site, "status", "--check").exit_code == 1
    assert ready(site) == 503
    compared = msgspec.json.decode(command(site, "heads", "--json").stdout)["local"]
    assert [item["standing"] for item in compared["endpoints"]] == ["behind"]
    assert "chainfold heads local --follow" in compared["verdict"]
    done = command(site, "heads", "local", "--follow")
    assert done.exit_code == 0, done.output
    assert f"went back from block {low + 10} to {low}" in done.stdout
    site.sync()
    assert_well(site, network)
