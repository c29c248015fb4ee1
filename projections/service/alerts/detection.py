"""Detection of incidents. Pure: records of stages and looks at the store in, incidents to open and close out.

Law: only evidence changes anything. An incident opens when something was seen to be wrong (for as long
as its kind asks for), and closes when the same thing was seen to be right; silence does neither. A process
that loses a stage to another forgets what it saw of that stage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from eventstore.errors import ChainfoldError, Fenced, LeaseHeld, SourceError, StoreUnavailable
from eventstore.ingest.branch import Ingested
from eventstore.journal import behind
from projections.errors import ForeignMarker, SinkUnavailable
from projections.fold.runner import Folded
from projections.service.config.alerts import Limits
from projections.service.records.incidents import Key
from projections.service.runtime.loops import Failed, Stepped
from projections.webhooks.courier import Delivered

STAGES = ("ingest", "project", "publish", "deliver")
"""Whose records tell of incidents, by the first word of their names; of proofs the store tells."""


class Bad(Struct, frozen=True):
    """It is wrong, and this is how."""

    detail: str


class Good(Struct, frozen=True):
    """It is right."""


HealthCondition = Bad | Good


def worst(*seen: Mapping[Key, HealthCondition]) -> dict[Key, HealthCondition]:
    """All that was seen together: where one saw it wrong and another right, it is wrong."""
    found: dict[Key, HealthCondition] = {}
    for each in seen:
        for key, standing in each.items():
            if not isinstance(found.get(key), Bad):
                found[key] = standing
    return found


class IncidentChanges(Struct, frozen=True):
    """What is to be written down: incidents that open, with their detail, and incidents that are over."""

    opened: dict[Key, str]
    closed: list[Key]


def incident_changes(open_now: Iterable[Key], standing: Mapping[Key, HealthCondition]) -> IncidentChanges:
    """What the standing of things makes of the incidents that are open."""
    known = set(open_now)
    return IncidentChanges(
        {key: seen.detail for key, seen in standing.items() if isinstance(seen, Bad) and key not in known},
        [key for key in sorted(known) if isinstance(standing.get(key), Good)],
    )


class _Stage(Struct):
    """What was seen of one stage."""

    failing_since: float | None = None
    failed_at: float = 0.0
    error: ChainfoldError | None = None
    head: int | None = None
    head_since: float = 0.0
    head_seen_at: float = 0.0
    head_rose: bool = False
    answered: bool = False
    halted: str | None = None
    reorg: str | None = None
    behind: Ingested | None = None
    behind_since: float = 0.0
    level: bool = False

    def look(self, record: Ingested, now: float) -> None:
        """Takes in whether the source shows the newest block that we know; a step in the middle of work does
        not tell."""
        if record.behind is not None:
            self.behind_since = self.behind_since if self.behind is not None else now
            self.behind, self.level = record, False
        elif record.idle or record.rewound_to is not None:
            self.behind, self.level = None, True


class Board:
    """The standing of all that can go wrong in the stages of one process, by the records of their steps.

    `now` is in seconds of one monotonic clock. Time alone makes nothing wrong: what lasts, lasts from the
    first to the last record that says so, since there may have been no look in between.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._stages: dict[str, _Stage] = {}
        self._store: dict[str, tuple[float, float, ChainfoldError]] = {}
        self._at_work: dict[str, float | None] = {}

    def observe(self, event: Stepped | Failed, now: float) -> None:
        """Takes in what one step did."""
        if event.stage.partition(" ")[0] not in STAGES:
            return
        if isinstance(event, Failed):
            self._failed(event, now)
            return
        self.store_answered(event.stage)
        if isinstance(event.record, Delivered) and not event.record.delivered:
            if event.record.failed:  # else nothing was to be sent
                self._failed(Failed(event.stage, SinkUnavailable(event.record.reason), None), now)
            return
        seen = self._stages.setdefault(event.stage, _Stage())
        seen.failing_since = seen.error = None
        seen.answered = True
        match event.record:
            case Ingested() as record:
                if record.rewound_to is not None and record.head < (seen.head or 0):
                    seen.head, seen.head_since = record.head, now  # the height of a branch that was left
                    seen.head_rose = True
                elif seen.head is None or record.head > seen.head:
                    seen.head_rose = seen.head is not None
                    seen.head, seen.head_since = record.head, now
                seen.head_seen_at = now
                seen.look(record, now)
                if record.below_finality:
                    seen.reorg = (
                        f"{record.depth} blocks were replaced, block {record.rewound_to} stands, "
                        f"{record.orphaned} logs left the chain."
                    )
            case Folded() as record:
                seen.halted = record.error

    def at_work(self, stage: str, since: float | None, now: float) -> None:
        """Since when this process is at one step of a stage, None: at none. That it has not ended is seen
        from outside: the step itself says nothing."""
        self._at_work[stage] = None if since is None else now - since

    def store_failed(self, who: str, error: ChainfoldError, now: float) -> None:
        """The store did not take or give what `who` asked of it."""
        since, _, _ = self._store.get(who, (now, now, error))
        self._store[who] = since, now, error

    def store_answered(self, who: str) -> None:
        """It did."""
        self._store.pop(who, None)

    def store(self) -> HealthCondition | None:
        """The incident of the store itself, which cannot be recorded in it; None while it is reachable."""
        if not self._store:
            return Good()
        since, last, error = max(self._store.values(), key=lambda item: item[1] - item[0])
        return Bad(str(error)) if _lasts(last - since, self._limits.failing_for) else None

    def standing(self) -> dict[Key, HealthCondition]:
        """What is known to be wrong or right; of what is missing here, nothing is known."""
        found: dict[Key, HealthCondition] = {}
        for stage, seen in self._stages.items():
            verb, _, subject = stage.partition(" ")
            if seen.error is not None and seen.failing_since is not None:
                lasted = seen.failed_at - seen.failing_since
                if _lasts(lasted, self._limits.failing_for) or not seen.error.retry:
                    found[Key(_kind(verb, seen.error), subject)] = Bad(str(seen.error))
            elif seen.answered:
                found |= self._well(verb, subject, seen)
            if stage in self._at_work:
                found[Key("step-stuck", stage)] = Good()
        for stage, spent in self._at_work.items():
            if spent is None or stage.partition(" ")[0] not in STAGES:
                continue
            if _lasts(spent, self._limits.step_longer_than):
                found[Key("step-stuck", stage)] = Bad(f"It has not ended for {spent / 60:.0f} minutes.")
        return found

    def reorgs(self) -> dict[Key, str]:
        """The reorgs below finality that were seen and not yet written down."""
        return {
            Key("reorg-below-finality", stage.partition(" ")[2]): seen.reorg
            for stage, seen in self._stages.items()
            if seen.reorg is not None
        }

    def written(self, key: Key) -> None:
        """That reorg is written down."""
        seen = self._stages.get(f"ingest {key.subject}")
        if seen is not None:
            seen.reorg = None

    def _failed(self, event: Failed, now: float) -> None:
        if isinstance(event.error, LeaseHeld | Fenced):
            self.store_answered(event.stage)
            self._stages.pop(event.stage, None)  # another process sees to it now, and knows better
            return
        if isinstance(event.error, StoreUnavailable):
            self.store_failed(event.stage, event.error, now)
            return  # it says nothing of the node, the fold or the sink
        seen = self._stages.setdefault(event.stage, _Stage())
        seen.failing_since = now if seen.failing_since is None else seen.failing_since
        seen.error, seen.answered, seen.failed_at = event.error, False, now

    def _behind(self, subject: str, seen: _Stage) -> dict[Key, HealthCondition]:
        key, record = Key("head-behind", subject), seen.behind
        if record is None or record.behind is None:
            return {key: Good()} if seen.level else {}
        lasted = seen.head_seen_at - seen.behind_since
        if record.head < record.finalized or _lasts(lasted, self._limits.failing_for):
            return {key: Bad(behind.said(record.head, record.behind))}
        return {}

    def _well(self, verb: str, subject: str, seen: _Stage) -> dict[Key, HealthCondition]:
        match verb:
            case "ingest":
                found: dict[Key, HealthCondition] = {Key("source-failing", subject): Good()}
                found |= self._behind(subject, seen)
                stood = seen.head_seen_at - seen.head_since
                if _lasts(stood, self._limits.head_stalled) and seen.head is not None:
                    for_ = f"{stood / 60:.0f} minutes"
                    found[Key("head-stalled", subject)] = Bad(
                        f"Block {seen.head:,} is the newest since {for_}."
                    )
                elif seen.head_rose:
                    found[Key("head-stalled", subject)] = Good()
                return found
            case "project":
                return {Key("projection-halted", subject): Bad(seen.halted) if seen.halted else Good()}
            case "deliver":
                return {Key("webhook-failing", subject): Good()}
            case _:
                return {Key("sink-down", subject): Good(), Key("sink-foreign", subject): Good()}


def _kind(verb: str, error: ChainfoldError) -> str:
    if verb == "project":
        return "projection-halted"
    if verb == "deliver":
        return "webhook-failing"
    if verb == "ingest" or isinstance(error, SourceError):
        return "source-failing"
    return "sink-foreign" if isinstance(error, ForeignMarker) else "sink-down"


def _lasts(seconds: float, limit: float | None) -> bool:
    return limit is not None and seconds >= limit
