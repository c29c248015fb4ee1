"""Our own stages, made from a configuration file as the service makes them, and run to their end."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from msgspec.structs import replace
from sqlalchemy import text

import eventstore.sources.rpc.source  # noqa: F401 - or it would be imported on the clock
from bench.outcome import Outcome, Stopwatch, User, fingerprint
from bench.scenario import CHAIN, CONTRACT, EVENT
from eventstore.storage.store import Store
from projections.fold.generation import Generations
from projections.fold.state import GenerationState
from projections.service.application.sync import synchronise
from projections.service.config.loader import load
from projections.service.runtime.fetch_process import at_hand
from projections.service.runtime.fetch_worker import FetchTask, Span
from projections.service.runtime.leases import held
from projections.service.runtime.loops import TRIES, Failed, Stepped, to_end
from projections.service.runtime.wiring import Plan

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


def both(node: str, store: str) -> Outcome:
    """From the node to documents that are served, as `chainfold sync` does it: in two processes if that pays.

    `cpu` is that of both, and by process in `parts`; the peak of the second is a part too, in bytes.
    """
    peak = 0

    def observe(event: Stepped | Failed) -> None:
        nonlocal peak
        peak = max(peak, _peak_beside())
        _observe(event)

    with _planned(node, store) as plan:
        with Stopwatch() as watch, at_hand(FetchTask(plan.config, Span(), TRIES), plan.store) as fetcher:
            synchronise(plan, publishing=False, shown=lambda: nullcontext(observe), fetcher=fetcher)
        outcome = _served(plan.store, next(iter(plan.projections)), watch)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    beside = used.ru_utime + used.ru_stime
    parts = {"cpu here": watch.cpu, "cpu beside": beside, "peak beside": float(peak)}
    return replace(outcome, cpu=watch.cpu + beside, parts=parts)


def _peak_beside() -> int:
    """The most memory that the processes which this one started have had, where Linux tells."""
    started: list[str] = []
    for path in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # that thread has ended
            started += path.read_text().split()
    peak = 0
    for pid in started:
        with suppress(OSError):  # it has ended
            found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
            peak += int(found.group(1)) * 1024 if found else 0
    return peak


def rebuild(node: str, store: str) -> Outcome:
    """A second build from the first block, while the first is served, and its promotion."""
    with _planned(node, store) as plan:
        stage = plan.fold()[0]
        with held([stage.lease]), Stopwatch() as watch:
            stage.operations.rebuild()
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
