"""The records that `status` shows and `/status` answers: plain values."""

from __future__ import annotations

from msgspec import Struct

from projections.service.status.lease_holders import Holder

STALE = (
    "What is served is of blocks that left the chain below what can be undone; the build that replaces it is "
    "on the way."
)


class ChainStatus(Struct, frozen=True):
    """Where the journal of one chain stands. Times are seconds since 1970.

    Covered is from `covered_from`, where the first contract begins, to `covered_to`, where the first gap
    does. The blocks `proven_from` to `proven_to` are the highest range that is proved to be
    complete.
    """

    head: int | None
    finalized: int | None
    covered_to: int | None
    proven_to: int | None
    proven_from: int | None
    entries: int
    logs: int
    reorgs: int
    last_reorg: int | None
    last_sync_at: float | None
    error: str | None
    gaps: list[FailedStatus] = []
    calls: dict[str, int] = {}
    unhandled: list[UnhandledStatus] = []
    covered_from: int | None = None
    behind: BehindStatus | None = None


class BehindStatus(Struct, frozen=True):
    """The node's newest block `node_head` is below `head`, which we know, since `since` in seconds."""

    node_head: int
    head: int
    since: float


class FailedStatus(Struct, frozen=True):
    """Blocks that no endpoint gave; they are asked for again at `retry_at`, seconds since 1970."""

    first_block: int
    last_block: int
    attempts: int
    since: float
    retry_at: float
    reason: str


class UnhandledStatus(Struct, frozen=True):
    """A kind of log that a contract emits and no declared event fits; without topics topic0 is None."""

    contract: str
    address: str
    topic0: str | None


class BuildStatus(Struct, frozen=True):
    """A build, and how far: `events` of `of` up to block `to_block`. `state` is building, ready or halted."""

    generation: int
    state: str
    block: int
    to_block: int
    events: int
    of: int
    percent: float
    error: str | None


class ProjectionStatus(Struct, frozen=True):
    """Where one projection stands. `state` is live, held, building, stale, outdated, halted or empty.

    `stands_still`: what is served is of other code than what is asked for, being built or at work, and no
    process of its own code is at work, so that it does not follow the chain. It is served all the same.
    `idle`: the processes that run such other code. The process that does the work decides: next to one that
    runs the code of the served build, what is served is live.
    """

    state: str
    block: int | None
    entry: int | None
    revision: int
    lag_blocks: int | None
    lag_seconds: float | None
    documents: int
    digest: str | None
    generation: int | None
    error: str | None
    stands_still: bool = False
    build: BuildStatus | None = None
    idle: list[str] = []

    @property
    def standing(self) -> str | None:
        """Who is served, what is being built beside it and how far it is, as one sentence; None where
        there is nothing to tell."""
        if self.build is None and not self.stands_still:
            return None
        parts = []
        if self.build is None or self.build.generation != self.generation:
            still = f" as it is and stands still at block {self.block:,}" if self.stands_still else ""
            parts.append(f"generation {self.generation} is served{still}")
        if self.build is None and self.idle:
            parts.append(
                f"for {' and '.join(self.idle)} is of other code than what is served: restart it with "
                "that code, or rebuild with its own"
            )
        elif self.build is None:
            parts.append("for it was built by other code, and no process runs that code")
        elif self.build.state == "ready":
            parts.append(f"generation {self.build.generation} is built and waits to be promoted")
        else:
            verb = "is being built" if self.build.state == "building" else "does not get on"
            parts.append(
                f"generation {self.build.generation} {verb}: {self.build.percent}% "
                f"({self.build.events:,} of {self.build.of:,} events)"
            )
        return ", ".join(parts)


class SetAsideStatus(Struct, frozen=True):
    """A document that a sink does not take, and why; it is sent again at `retry_at`. Times are seconds since
    1970."""

    key: str
    revision: int
    reason: str
    attempts: int
    since: float
    retry_at: float


class SinkStatus(Struct, frozen=True):
    """Where one sink of one projection stands. It does not take `set_aside` documents; `aside` has some."""

    revision: int
    lag_revisions: int | None
    state: str
    error: str | None
    set_aside: int = 0
    aside: list[SetAsideStatus] = []


class IncidentStatus(Struct, frozen=True):
    """What is wrong since `since`, and what to do; `told` is whether an alert was sent."""

    id: int
    kind: str
    subject: str
    title: str
    since: float
    told: bool
    detail: str
    todo: str


class UndeliveredStatus(Struct, frozen=True):
    """An address of `[alerts]` that takes no alerts since `since`, and why."""

    target: str
    since: float
    attempts: int
    reason: str


class JobStatus(Struct, frozen=True):
    """A job of the schedule: when it runs next (in the past: as soon as a service runs), and how its last
    run ended. Times are seconds since 1970."""

    next: float
    last: float | None = None
    state: str | None = None
    seconds: float | None = None
    detail: str = ""


class Status(Struct, frozen=True):
    """Everything `chainfold status` shows."""

    chains: dict[str, ChainStatus]
    projections: dict[str, ProjectionStatus]
    sinks: dict[str, SinkStatus]
    incidents: list[IncidentStatus] = []
    undelivered: list[UndeliveredStatus] = []
    schedule: dict[str, JobStatus] = {}
    holders: dict[str, Holder] = {}

    @property
    def healthy(self) -> bool:
        """Nothing is in error or stands still, and no incident is open."""
        if self.incidents or any(item.stands_still for item in self.projections.values()):
            return False
        every = (self.chains, self.projections, self.sinks)
        return not any(item.error for group in every for item in group.values())
