"""What status shows to people: tables of chains, projections, sinks and work, and what needs a look."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct
from rich.console import RenderableType

from projections.service.status.records import BuildStatus, ChainStatus, ProjectionStatus, Status
from projections.service.terminal.bars import span
from projections.service.terminal.output import table
from projections.values.moment import moment


class ChainRate(Struct, frozen=True):
    """A second: blocks and logs fetched, calls made to the node."""

    blocks: float
    logs: float
    calls: float


class ProjectionRate(Struct, frozen=True):
    """A second: blocks that what is served moved on, revisions; in `eta` seconds it has caught up. A build
    beside it folds `events` a second."""

    blocks: float
    revisions: float
    eta: float | None
    events: float | None = None


class Rates(Struct, frozen=True):
    """How fast everything moved between two looks; of sinks revisions a second."""

    chains: dict[str, ChainRate] = {}
    projections: dict[str, ProjectionRate] = {}
    sinks: dict[str, float] = {}


def rates(before: Status, now: Status, seconds: float) -> Rates:
    """What moved from one look to another, so many seconds later. What was not there at both has no rate."""
    chains = {
        name: _chain_rate(before.chains[name], item, seconds)
        for name, item in now.chains.items()
        if name in before.chains
    }
    projections = {
        name: _projection_rate(before.projections[name], item, seconds)
        for name, item in now.projections.items()
        if name in before.projections
    }
    sinks = {
        name: (item.revision - before.sinks[name].revision) / seconds
        for name, item in now.sinks.items()
        if name in before.sinks and None not in (item.lag_revisions, before.sinks[name].lag_revisions)
    }
    return Rates(chains, projections, sinks)


def _chain_rate(old: ChainStatus, item: ChainStatus, seconds: float) -> ChainRate:
    return ChainRate(
        ((item.covered_to or 0) - (old.covered_to or 0)) / seconds,
        (item.logs - old.logs) / seconds,
        (sum(item.calls.values()) - sum(old.calls.values())) / seconds,
    )


def _projection_rate(old: ProjectionStatus, item: ProjectionStatus, seconds: float) -> ProjectionRate:
    """It catches up as fast as what lies before it becomes less."""
    left = item.lag_blocks or 0
    nearer = ((old.lag_blocks or 0) - left) / seconds
    return ProjectionRate(
        ((item.block or 0) - (old.block or 0)) / seconds,
        (item.revision - old.revision) / seconds,
        0.0 if left == 0 else left / nearer if nearer > 0 else None,
        (item.build.events - old.build.events) / seconds
        if item.build and old.build and item.build.generation == old.build.generation
        else None,
    )


def board(found: Status) -> Iterator[RenderableType]:
    """All of it, in the order of the river."""
    yield table(
        "",
        ["chain", "head", "final", "covered to", "proven", "logs", "entries", "reorgs", "last synced"],
        [
            [
                name,
                item.head,
                item.finalized,
                item.covered_to,
                _proven(item),
                item.logs,
                item.entries,
                item.reorgs,
                when(item.last_sync_at),
            ]
            for name, item in found.chains.items()
        ],
    )
    yield from gaps(found)
    yield from asked(found)
    yield table(
        "",
        ["projection", "state", "block", "blocks behind", "documents", "revision", "digest"],
        [
            [
                name,
                item.state,
                item.block,
                item.lag_blocks,
                item.documents,
                item.revision,
                _short(item.digest),
            ]
            for name, item in found.projections.items()
        ],
    )
    yield from standing(found)
    yield table(
        "",
        ["sink", "state", "revision", "revisions behind"],
        [[name, item.state, item.revision, item.lag_revisions] for name, item in found.sinks.items()],
    )
    yield from errors(found)
    yield from work(found)
    yield from incidents(found)


def moving(found: Status, rates: Rates) -> Iterator[RenderableType]:
    """The tables of what moves, with its rates: narrow enough for eighty columns."""
    rows: list[list[Any]] = []
    for name, chain in found.chains.items():
        speed = rates.chains.get(name)
        rows.append(
            [name, chain.head, chain.finalized, chain.covered_to, chain.proven_to, chain.logs, chain.reorgs]
            + ([None] * 3 if speed is None else [speed.blocks, speed.logs, speed.calls])
        )
    columns = ["chain", "head", "final", "covered", "proven", "logs", "reorgs"]
    yield table("", [*columns, "blocks/s", "logs/s", "calls/s"], rows)
    rows = []
    for name, item in found.projections.items():
        pace = rates.projections.get(name)
        rows.append(
            [name, item.state, item.block, item.lag_blocks, item.documents, item.revision]
            + ([None] * 2 if pace is None else [pace.blocks, span(pace.eta)])
        )
    columns = ["projection", "state", "block", "behind", "documents", "revision"]
    yield table("", [*columns, "blocks/s", "there in"], rows)
    if found.sinks:
        rows = [
            [name, sink.state, sink.revision, sink.lag_revisions, rates.sinks.get(name)]
            for name, sink in found.sinks.items()
        ]
        yield table("", ["sink", "state", "revision", "behind", "revisions/s"], rows)


def work(found: Status) -> Iterator[RenderableType]:
    """Which process works at what, and the schedule; nothing where there is neither."""
    if found.holders:
        rows: list[list[Any]] = [
            [name, item.host, str(item.pid), item.epoch] for name, item in found.holders.items()
        ]
        yield table("", ["work", "on", "process", "times taken"], rows)
    if found.schedule:
        rows = [
            [job, when(item.last), item.state, when(item.next), item.detail]
            for job, item in found.schedule.items()
        ]
        yield table("", ["job", "last run", "ended", "next run", "what it did"], rows)


def gaps(found: Status) -> Iterator[str]:
    for name, chain in found.chains.items():
        for gap in chain.gaps:
            yield f"{name}: blocks {gap.first_block:,} to {gap.last_block:,} are a gap: {gap.reason}"


def asked(found: Status) -> Iterator[str]:
    """The calls that were made, and the kinds of logs that no contract declares."""
    for name, chain in found.chains.items():
        if chain.calls:
            made = ", ".join(f"{method} {count:,}" for method, count in chain.calls.items())
            yield f"{name}: {sum(chain.calls.values()):,} calls so far ({made})"
        for kind in chain.unhandled:
            topic = f"topic {kind.topic0}" if kind.topic0 else "no topic"
            yield f"{name}: {kind.contract} {kind.address} emits {topic}, which no event declares"


def standing(found: Status, rates: Rates = Rates()) -> Iterator[str]:  # noqa: B008 - it is frozen
    for name, item in found.projections.items():
        if item.standing is not None:
            pace = rates.projections.get(name)
            yield f"{name}: {item.standing}{_left(item.build, None if pace is None else pace.events)}"


def _left(build: BuildStatus | None, events: float | None) -> str:
    """The rate of a build, and the time until it is done; nothing where it does not move."""
    if build is None or not events or events < 0:
        return ""
    return f", {events:,.0f} events/s, {span((build.of - build.events) / events)} left"


def errors(found: Status) -> Iterator[str]:
    for group in (found.chains, found.projections, found.sinks):
        for name, item in group.items():
            if item.error:
                yield f"{name}: {item.error}"


def incidents(found: Status) -> Iterator[str]:
    for incident in found.incidents:
        told = "" if incident.told else ", not told"
        yield f"incident {incident.id} since {when(incident.since)}{told}: {incident.title}"
    for post in found.undelivered:
        yield f"{post.target} takes no alerts since {when(post.since)}: {post.reason}"


def when(seconds: float | None) -> str | None:
    return None if seconds is None else moment(seconds)


def _proven(item: ChainStatus) -> str | None:
    """The highest blocks that are proven without a hole: `0 to 19,000,000`."""
    if item.proven_from is None or item.proven_to is None:
        return None
    return f"{item.proven_from:,} to {item.proven_to:,}"


def _short(digest: str | None) -> str | None:
    return None if digest is None else digest[:12]
