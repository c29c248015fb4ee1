"""May each sink be written into, and are its documents ours?"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from projections.publish.publications import refusal
from projections.service.checkup import Trial
from projections.service.runtime.wiring import Plan
from projections.sinks import Sink
from projections.sinks.capabilities import HasTrial
from projections.sinks.memory import MemorySink


def trials(plan: Plan) -> Iterator[Trial]:
    """Every sink of every projection, each by itself, and every webhook's cursor."""
    for name in plan.projections:
        for kind in plan.sink_kinds(name):
            yield Trial(f"sink {name}.{kind}", partial(_made, plan, name, kind))
        for hook in plan.webhooks(name):
            yield Trial(f"sink {name}.{hook.name}", partial(_tried, plan, name, hook))


def _made(plan: Plan, projection: str, kind: str) -> list[str]:
    [sink] = plan.sinks(projection, only=kind)
    return _tried(plan, projection, sink)


def _tried(plan: Plan, projection: str, sink: Sink) -> list[str]:
    """Opens the sink as the publisher does, compares its marker with the store, and tries to write there."""
    notes = []
    if isinstance(sink, MemorySink):
        notes.append("in memory: no redis-server is available, and what it holds ends with the process")
    try:
        sink.open()
        marker = sink.marker()
        if marker is not None:
            chain_id = plan.projections[projection].chain_id
            with plan.store.read() as tx:
                foreign = refusal(tx, marker, sink.name, chain_id=chain_id, projection=projection)
            if foreign is not None:
                raise foreign
        if isinstance(sink, HasTrial):
            notes += sink.trial()
        return notes
    finally:
        sink.close()
