"""Several endpoints, most of them bad: the result is that of the good one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import Faults, SimulatedNode
from tests.end_to_end.site import Site, Workshop, bare, expected, grow, in_sql


@pytest.fixture
def chain() -> SimulatedChain:
    made = SimulatedChain(seed=4)
    grow(made, Random(4), 120, users=60)
    made.finalize(90)
    return made


@pytest.fixture
def nodes(chain: SimulatedChain) -> Iterator[dict[str, SimulatedNode]]:
    """One that lags by 20 blocks, one on another chain, one throttled, and one that is well."""
    other = SimulatedChain(chain_id=5, seed=5)
    grow(other, Random(5), 130, users=60)
    made = {
        "lagging": SimulatedNode(chain, faults=Faults(lag=20)),
        "foreign": SimulatedNode(other),
        "throttled": SimulatedNode(chain, faults=Faults(throttled=0.05)),
        "good": SimulatedNode(chain),
    }
    with ExitStack() as stack:
        for node in made.values():
            stack.enter_context(node)
        yield made


@pytest.mark.parametrize(
    "order",
    [
        ("lagging", "foreign", "throttled", "good"),
        ("foreign", "throttled", "good", "lagging"),
        ("throttled", "lagging", "good", "foreign"),
    ],
    ids=" ".join,
)
def test_the_result_is_that_of_the_good_one_whatever_the_order(
    order: tuple[str, ...],
    chain: SimulatedChain,
    nodes: dict[str, SimulatedNode],
    tmp_path: Path,
    workshop: Workshop,
) -> None:
    site = Site(workshop, tmp_path / "site", rpc="")
    site.set("chains.main.rpc", [nodes[name].url for name in order])
    done = site.run("sync")
    assert done.code == 0, done.err
    assert bare(in_sql(site)) == expected(chain)
    assert nodes["foreign"].calls["eth_getLogs"] == 0


def test_with_one_that_lags_one_foreign_and_one_that_is_throttled_for_a_while_all_is_there_in_the_end(
    chain: SimulatedChain, nodes: dict[str, SimulatedNode], tmp_path: Path, workshop: Workshop
) -> None:
    site = Site(workshop, tmp_path / "site", rpc="")
    site.set("chains.main.rpc", [nodes[name].url for name in ("lagging", "foreign", "throttled")])
    assert site.run("sync").code == 0
    nodes["throttled"].faults.throttled = None
    done = site.run("sync")
    assert done.code == 0, done.err
    assert bare(in_sql(site)) == expected(chain)


def test_where_all_are_foreign_the_sentence_names_both_ids(
    nodes: dict[str, SimulatedNode], tmp_path: Path, workshop: Workshop
) -> None:
    site = Site(workshop, tmp_path / "site", rpc="")
    site.set("chains.main.rpc", [nodes["foreign"].url, nodes["foreign"].url + "/"])
    done = site.run("sync", "--tries", "1")
    assert done.code == 2
    assert "chain 5" in done.complaint
    assert "31337" in done.complaint


def test_one_that_dies_in_the_middle_is_replaced_by_the_next(
    chain: SimulatedChain, nodes: dict[str, SimulatedNode], tmp_path: Path, workshop: Workshop
) -> None:
    with SimulatedNode(chain) as first:
        first.at(8, lambda: setattr(first.faults, "down", True))
        site = Site(workshop, tmp_path / "site", rpc="")
        site.set("chains.main.rpc", [first.url, nodes["good"].url])
        done = site.run("sync")
    assert done.code == 0, done.err
    assert bare(in_sql(site)) == expected(chain)
    assert nodes["good"].calls["eth_getLogs"] > 0
