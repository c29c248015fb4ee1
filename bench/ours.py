"""Our own stages, made from a configuration file as the service makes them, and run to their end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from sqlalchemy import text

from bench.outcome import Outcome, Stopwatch, User, fingerprint
from bench.scenario import CHAIN, CONTRACT, EVENT
from eventstore.store import Store
from projections.generation import Generations
from projections.service.config import load
from projections.service.loops import Failed, Stepped, held, to_end
from projections.service.wiring import Plan
from projections.state import GenerationState

_CONFIG = """
[store]
url = "{store}"
[chains.loopback]
rpc = "{node}"
chain_id = {chain}
[contracts.referral]
chain = "loopback"
address = "{contract}"
start_block = 1
events = ["{event}"]
[projections.referrals]
projector = "referrals"
contract = "referral"
"""


def ingest(node: str, store: str) -> Outcome:
    """From the node to the journal."""
    with _planned(node, store) as plan:
        stage = plan.ingest()[0]
        with held([stage.lease]), Stopwatch() as watch:
            stage.open()
            to_end(stage, _observe)
        stage.close()
        with plan.store.read() as tx:
            count = tx.execute(text("SELECT count(*) FROM logs")).scalar_one()
    return Outcome(watch.seconds, watch.cpu, count)


def fold(node: str, store: str) -> Outcome:
    """From the journal to documents that are served: the first build, its promotion included."""
    with _planned(node, store) as plan:
        stage = plan.fold()[0]
        with held([stage.lease]), Stopwatch() as watch:
            to_end(stage, _observe)
        return _served(plan.store, stage.projection.name, watch)


def rebuild(node: str, store: str) -> Outcome:
    """A second build from the first block, while the first is served, and its promotion."""
    with _planned(node, store) as plan:
        stage = plan.fold()[0]
        with held([stage.lease]), Stopwatch() as watch:
            stage.runner.rebuild()
            to_end(stage, _observe)
        return _served(plan.store, stage.projection.name, watch)


@contextmanager
def _planned(node: str, store: str) -> Iterator[Plan]:
    with TemporaryDirectory(prefix="bench") as folder:
        path = Path(folder) / "chainfold.toml"
        path.write_text(
            _CONFIG.format(store=store, node=node, chain=CHAIN, contract=CONTRACT, event=EVENT),
            encoding="utf-8",
        )
        plan = Plan(load(path))
        try:
            yield plan
        finally:
            plan.close()


def _observe(done: Stepped | Failed) -> None:
    """A benchmark in which a step failed measures something else."""
    error = done.error if isinstance(done, Failed) else getattr(done.record, "error", None)
    if error is not None:
        raise RuntimeError(f"{done.stage}: {error}")


def _served(store: Store, projection: str, watch: Stopwatch) -> Outcome:
    with store.read() as tx:
        live = Generations(tx, projection).served()
        if live is None:
            raise RuntimeError("Nothing is served after the build.")
        bodies = dict(GenerationState(tx, live.id).scan())
        count = tx.execute(text("SELECT count(*) FROM logs")).scalar_one()
    users = {key: _user(msgspec.json.decode(body)) for key, body in bodies.items()}
    return Outcome(watch.seconds, watch.cpu, count, documents=len(users), digest=fingerprint(users))


def _user(body: Any) -> User:
    return User(body["directReferrer"], body["indirectReferrer"], body["level1Count"], body["level2Count"])
