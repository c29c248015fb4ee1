"""What the commands show: status, totals and history as plain values, read in one snapshot each."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import text

from eventstore.errors import ChainfoldError
from eventstore.ingest.failed_ranges import Failures
from eventstore.journal import behind
from eventstore.journal.coverage import Coverage
from eventstore.journal.journal import Journal
from eventstore.journal.proofs import Disproof, Ledger
from eventstore.journal.tail import Tail
from eventstore.journal.totals import Tally
from eventstore.proof.proven import proven
from eventstore.records import Filter, Watch
from eventstore.storage.lease import Lease
from eventstore.storage.store import Store
from projections.decoding.meaning import Meaning
from projections.fold.backlog import distance
from projections.fold.fold import Projection
from projections.fold.generation import Generation, Generations, lease_of
from projections.fold.state import GenerationState
from projections.publish.publications import Publications, refusal
from projections.publish.set_aside import Aside
from projections.service.alerts.detection import kind_of
from projections.service.config.cron import Cron
from projections.service.records.calls import calls_of
from projections.service.records.incidents import Incidents
from projections.service.records.runs import Runs
from projections.service.runtime.scheduler import last_begun
from projections.service.status.lease_holders import Holder, of_other_code
from projections.sinks import Sink
from projections.values.fields import beside
from projections.webhooks import Outbox, WebhookSink

STALE = (
    "What is served is of blocks that left the chain below what can be undone; the build that replaces it is "
    "on the way."
)

NAMED = 20
"""Documents of a sink that are set aside and named in its status."""


class ChainStatus(Struct, frozen=True):
    """Where the journal of one chain stands. Times are seconds since 1970.

    Covered is from `covered_from`, where the first contract begins, to `covered_to`, where the first gap
    does. The blocks `proven_from` to `proven_to` are the highest of which it is proved that nothing is
    missing.
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
    `idle`: the processes that are at work with such other code. Who does the work is the measure: beside
    one of its code what is served is live, whatever code asks.
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
                f"for {' and '.join(self.idle)} is of other code than what is served: start it anew with "
                "that code, or rebuild with its own"
            )
        elif self.build is None:
            parts.append("for it was built by other code, of which no process is at work")
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
    """What is wrong since `since`, and what to do; `told` is whether somebody was told."""

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


def chain_status(
    store: Store,
    chain_id: int,
    watches: Iterable[Watch],
    *,
    emitters: Mapping[bytes, str] = MappingProxyType({}),
    meaning: Meaning = Meaning(()),  # noqa: B008 - it says nothing, and never will
    tally: Tally | None = None,
) -> ChainStatus:
    """The state of one chain's journal, in one snapshot; `emitters` are by address the name of a contract,
    `meaning` is what they declare. Who looks again and again keeps a `tally`."""
    with store.read() as tx:
        head, last_sync, error = tx.execute(
            text("SELECT head, last_sync_at, error FROM progress WHERE chain_id = :chain"),
            {"chain": chain_id},
        ).first() or (None, None, None)
        tail = Tail(tx, chain_id)
        known, finalized = tail.headers(), tail.finalized()
        coverage = Coverage(tx, chain_id)
        wanted = list(watches)
        standing = proven(tx, chain_id, wanted)
        disproofs = Ledger(tx, chain_id).disproofs()
        reached = [(watch, coverage.through(watch)) for watch in wanted]
        begun = all(last >= watch.first_block for watch, last in reached)
        through = [last for watch, last in reached if watch.last_block is None or last < watch.last_block]
        through = through or [last for _, last in reached]  # every contract has ended
        totals = (tally or Tally()).totals(tx, chain_id)
        late = behind.read(tx, chain_id)
        return ChainStatus(
            head=max([*(header.number for header in known[-1:]), head or 0]) or head,
            finalized=None if finalized < 0 else finalized,
            covered_to=min(through) if through and begun else None,
            proven_to=standing[-1].last if standing else None,
            proven_from=standing[-1].first if standing else None,
            entries=totals.entry,
            logs=totals.logs,
            reorgs=totals.reorgs,
            last_reorg=None if totals.last_reorg is None else totals.last_reorg // 1_000_000,
            last_sync_at=None if last_sync is None else last_sync / 1e6,
            error=error or (str(late) if late is not None and late.is_wrong else _disproved(disproofs)),
            gaps=[
                FailedStatus(
                    item.range.first,
                    item.range.last,
                    item.attempts,
                    item.since / 1e6,
                    item.retry_at / 1e6,
                    item.reason,
                )
                for item in Failures(tx, chain_id).all()
            ],
            calls=calls_of(tx, chain_id),
            unhandled=[
                UnhandledStatus(
                    emitters[kind.address],
                    "0x" + kind.address.hex(),
                    "0x" + kind.topic0.hex() if kind.topic0 else None,
                )
                for kind in Journal(tx, chain_id).kinds(Filter(address) for address in emitters).values()
                if not meaning.may_know(kind.address, kind.topic0)
            ],
            covered_from=min((watch.first_block for watch in wanted), default=None) if begun else None,
            behind=None if late is None else BehindStatus(late.shown, late.known, late.since / 1e6),
        )


def _disproved(found: list[Disproof]) -> str | None:
    """What the newest proof says against the journal, if anything."""
    wrong = [item for item in found if item.kind == "wrong"]
    if not wrong:
        return None
    return (
        f"{len(wrong):,} blocks are not what the chain committed to, the first is {wrong[0].number}: "
        f"{wrong[0].reason} Run `chainfold verify events --repair`."
    )


def projection_status(store: Store, own: Projection, *, head: int | None) -> ProjectionStatus:
    """The state of one projection, each part in its own snapshot; `head` is its chain's."""
    with store.read() as tx:
        generations = Generations(tx, own.name)
        served, building = generations.served(), generations.building()
    build = None if building is None else _build_status(store, own, building)
    if served is None:
        if building is None or build is None:
            return ProjectionStatus("empty", None, None, 0, None, None, 0, None, None, None)
        return _projection_status(building, "halted" if building.error else "building", head, build=build)
    followed = Lease(store, lease_of(own.name, served.fingerprint)).is_held()
    idle = [] if followed else of_other_code(store, own.name, served.fingerprint)
    other = served.fingerprint != own.fingerprint and not followed
    state: str = served.state
    if served.error:
        state = "halted"
    elif served.hold is not None:
        state = "held"
    elif state == "live" and other:
        state = "outdated"
    replaced = other or idle or (building is not None and building.fingerprint != served.fingerprint)
    still = bool(replaced) and not followed
    return _projection_status(served, state, head, build=build, stands_still=still, idle=map(str, idle))


def _projection_status(
    shown: Generation,
    state: str,
    head: int | None,
    *,
    build: BuildStatus | None,
    stands_still: bool = False,
    idle: Iterable[str] = (),
) -> ProjectionStatus:
    told = shown.timestamp > 0  # 0 before the first event: no time to count from
    return ProjectionStatus(
        state=state,
        block=shown.block,
        entry=shown.entry,
        revision=shown.revision,
        lag_blocks=None if head is None else max(0, head - shown.block),
        lag_seconds=max(0.0, time.time() - shown.timestamp)
        if head is not None and told and head > shown.block
        else 0.0,
        documents=shown.documents,
        digest=shown.digest.hex(),
        generation=shown.id,
        error=shown.error
        or (build.error if build is not None else None)
        or (STALE if state == "stale" else None),
        stands_still=stands_still,
        build=build,
        idle=list(idle),
    )


def _build_status(store: Store, own: Projection, building: Generation) -> BuildStatus:
    far = distance(store, own, building)
    finished = far.events == far.of and not building.promote
    return BuildStatus(
        generation=building.id,
        state="halted" if building.error else "ready" if finished else "building",
        block=building.block,
        to_block=far.to_block,
        events=far.events,
        of=far.of,
        percent=far.percent,
        error=building.error,
    )


def sink_status(store: Store, name: str, chain_id: int, sink: Sink) -> SinkStatus:
    """The state of one sink, asked of the sink itself; an unreachable one is shown, not raised."""
    with store.read() as tx:
        served = Generations(tx, name).served()
        failing = Publications(tx, name, sink.name).known().error
        documents = Aside(tx, name, sink.name)
        first, count = documents.listed(limit=NAMED), documents.count()
    wanted = served.revision if served else 0
    try:
        marker = sink.marker()
    except ChainfoldError as error:
        return SinkStatus(0, None, "down", str(error))
    if marker is None:
        return SinkStatus(0, wanted, "empty", failing)
    with store.read() as tx:
        foreign = refusal(tx, marker, sink.name, chain_id=chain_id, projection=name)
    if foreign is not None:
        return SinkStatus(marker.revision, None, "foreign", str(foreign))
    lag = wanted - marker.revision
    if failing is None and first:
        failing = (
            f"{count:,} documents are set aside, e.g. {first[0].key}: {first[0].reason} "
            "`chainfold failures list` names them; they are sent again by themselves."
        )
    aside = [
        SetAsideStatus(
            item.key, item.revision, item.reason, item.attempts, item.first_at / 1e6, item.next_at / 1e6
        )
        for item in first
    ]
    return SinkStatus(marker.revision, lag, "behind" if lag else "current", failing, count, aside)


def webhook_status(store: Store, name: str, chain_id: int, hook: WebhookSink) -> SinkStatus:
    """The state of one webhook: how far it has decided, and what it could not deliver."""
    found = sink_status(store, name, chain_id, hook)
    with store.read() as tx:
        counts = Outbox(tx, name, hook.rule.name).counts()
    state, error = found.state, found.error
    if counts.get("pending"):
        state = "delivering"
    if dead := counts.get("dead"):
        error = (
            f"{dead:,} notifications could not be delivered: "
            f"`chainfold notifications list --state dead --webhook {hook.rule.name}` says why."
        )
    return SinkStatus(found.revision, found.lag_revisions, state, error)


def incident_status(store: Store) -> tuple[list[IncidentStatus], list[UndeliveredStatus]]:
    """The incidents that are not over, and the addresses that take no alerts."""
    with store.read() as tx:
        incidents = Incidents(tx)
        found, failing = incidents.opened(), incidents.failing()
    return [
        IncidentStatus(
            item.id,
            item.kind,
            item.subject,
            kind_of(item.kind).title.format(subject=item.subject),
            item.opened_at / 1e6,
            item.told_at is not None,
            item.detail,
            kind_of(item.kind).todo.format(subject=item.subject),
        )
        for item in found
    ], [
        UndeliveredStatus(post.target, post.failing_since / 1e6, post.attempts, post.reason)
        for post in failing
    ]


def job_status(store: Store, job: str, cron: Cron) -> JobStatus:
    """When a job of the schedule ran last, how that ended, and when it runs next."""
    with store.read() as tx:
        run = next(iter(Runs(tx).listed(limit=1, command=job, origin="schedule")), None)
    begun = last_begun(run)
    coming = cron.after(begun or datetime.now(UTC)).timestamp()
    if run is None:
        return JobStatus(coming)
    return JobStatus(coming, run.started_at / 1e6, run.state, run.seconds, run.detail)


def served(store: Store, projection: str) -> Generation | None:
    """The generation that readers see, None before the first build."""
    with store.read() as tx:
        return Generations(tx, projection).served()


def waiting(store: Store, projection: str, revision: int) -> int:
    """How many documents changed, or were removed, above a revision: what a sink at it has not got."""
    with store.read() as tx:
        found = tx.execute(
            text("SELECT count(*) FROM changes WHERE projection = :name AND revision > :revision"),
            {"name": projection, "revision": revision},
        )
        return int(found.scalar_one())


def documents(store: Store, projection: str) -> list[dict[str, Any]]:
    """All served documents, ascending by key; none before the first build."""
    with store.read() as tx:
        served = Generations(tx, projection).served()
        if served is None:
            return []
        return [msgspec.json.decode(body) for _, body in GenerationState(tx, served.id).scan()]


def totals(store: Store, projection: str, fields: Iterable[str]) -> dict[str, int] | None:
    """How many documents the fold holds, and the sums of these fields; None before the first build."""
    wanted = list(fields)
    with store.read() as tx:
        served = Generations(tx, projection).served()
        if served is None:
            return None
        sums = {"documents": 0} | {beside("documents", field): 0 for field in wanted}
        for _, body in GenerationState(tx, served.id).scan():
            sums["documents"] += 1
            fields_of: Mapping[str, Any] = msgspec.json.decode(body)
            for field in wanted:
                sums[beside("documents", field)] += int(fields_of[field] or 0)
    return sums
