"""The storm, small: `make storm` lets it last as long as one likes."""

from __future__ import annotations

from pathlib import Path

from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from tests.end_to_end.site import Site, Workshop
from tests.end_to_end.storm import rage
from tests.end_to_end.verdict import judge
from tests.servers.mongo import Mongo

KILLS = 12
STOPS = 1


def test_two_services_killed_and_stopped_under_load_lose_nothing_and_double_nothing(
    postgres_url: str, mongo: Mongo, redis_url: str, tmp_path: Path, workshop: Workshop
) -> None:
    """What a stopped one held is taken over; continued, it is refused, says so, and stands by."""
    chain = SimulatedChain(seed=1)
    with SimulatedNode(chain) as node:
        site = Site(workshop, tmp_path / "storm", rpc=node.url, store={"url": postgres_url})
        site.publish(mongo=(mongo.url, mongo.database), redis_url=redis_url)
        toll = rage(site, chain, kills=KILLS, stops=STOPS, seed=1)
        fresh = Site(workshop, tmp_path / "undisturbed", rpc=node.url)
        found = judge(chain, site, fresh=fresh, mongo=mongo, redis_url=redis_url)
    assert (toll.kills, toll.stops) == (KILLS, STOPS)
    assert toll.refused >= STOPS, toll
    assert toll.busy > 0, toll  # how many fall into work is a matter of the machine; `make storm` prints it
    assert found.orphaned > 0, toll
