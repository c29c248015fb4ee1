"""What an incident is, when it opens, when it is over. Pure: records and looks in, openings and endings out.

Law: only evidence changes anything. An incident opens when something was seen to be wrong (for as long
as its kind asks for), and is over when the same thing was seen to be right; silence is neither. Whoever
loses a stage to another process forgets what it saw of it.
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


class Kind(Struct, frozen=True):
    """A kind of incident: its sentence, when it opens and is over, and what to do about it."""

    title: str
    opens: str
    over: str
    todo: str


KINDS: dict[str, Kind] = {
    "reorg-below-finality": Kind(
        "{subject} reorganised below finality",
        "blocks that the node had called final were replaced",
        "every projection of the chain has followed",
        "The documents follow by themselves. Find out whether the chain or your node was wrong: "
        "`chainfold events --orphaned` shows what left, `chainfold sync --from-block A --to-block B --force` "
        "asks again, `chainfold verify` compares.",
    ),
    "source-failing": Kind(
        "the source of {subject} fails",
        "no endpoint of the chain gave an answer for `failing_for`",
        "a step of the chain's ingester ended well",
        "Run `chainfold check`, and mend or add an endpoint in chains.{subject}.rpc; nothing is lost "
        "meanwhile.",
    ),
    "head-stalled": Kind(
        "the head of {subject} does not move",
        "the endpoints answer, with the same newest block for `head_stalled`",
        "a newer block is seen",
        "Compare with another node; if yours stands still, name another one first in chains.{subject}.rpc.",
    ),
    "head-behind": Kind(
        "the head of {subject} is below ours",
        "the endpoints show a newest block below the one that was followed: below finality at once, else for "
        "`failing_for`",
        "they show that block or a newer one, or the journal followed the chain back",
        "Run `chainfold heads`: it compares every endpoint. Where one shows our block, name it first in "
        "chains.{subject}.rpc; where the chain itself moved back, `chainfold heads {subject} --follow` goes "
        "back with it.",
    ),
    "step-stuck": Kind(
        "a step of {subject} does not end",
        "one step has taken longer than `step_longer_than`, and still does",
        "a step of the same stage ended",
        "Look at what it waits for: the database, the node, the sink's server, the disk; `chainfold status` "
        "shows who works at it. Another process takes over where this one is stopped; nothing is lost.",
    ),
    "gap-old": Kind(
        "{subject} has a gap",
        "blocks that no endpoint gives have been missing for `gap_older_than`",
        "no gap is as old as that",
        "Look at `chainfold failures list`, add an endpoint that has these blocks, then run "
        "`chainfold failures retry`.",
    ),
    "projection-halted": Kind(
        "the projection {subject} is halted",
        "an event cannot be folded, a build is refused, or the fold fails for `failing_for`",
        "it goes on",
        "Look at `chainfold failures list`; mend the projector and start the service again, or pass the "
        "event over with `chainfold failures skip {subject} --block N --log-index I --reason ...`.",
    ),
    "projection-quarantining": Kind(
        "the projection {subject} put events aside",
        "its dead letters are not empty",
        "its dead letters are empty",
        "Look at `chainfold failures list`; mend the projector and run `chainfold failures retry {subject}`, "
        "or pass them over with `chainfold failures skip {subject} --block N --log-index I --reason ...`.",
    ),
    "sink-down": Kind(
        "the sink {subject} is down",
        "it could not be reached or written to for `failing_for`, or nobody may write into it",
        "it took what was sent",
        "Run `chainfold check` and bring the server back; the sink catches up by itself, nothing is lost.",
    ),
    "documents-set-aside": Kind(
        "the sink {subject} does not take some documents",
        "documents are set aside because the sink refuses them",
        "it took all of them",
        "Look at `chainfold failures list` and remove what stands in their way; they are sent again by "
        "themselves, or at once by `chainfold failures retry`. All others arrive.",
    ),
    "sink-foreign": Kind(
        "the sink {subject} holds the documents of another store",
        "its marker names another store, chain or projection, or a later state than ours",
        "its marker is ours",
        "Point the sink elsewhere, or run `chainfold sync --take-over` to make it ours.",
    ),
    "webhook-failing": Kind(
        "the webhook {subject} takes no notifications",
        "it refused or did not answer all that was sent to it for `failing_for`",
        "it took one",
        "Mend the receiver, or its url in the configuration; what waits is sent again by itself.",
    ),
    "history-disproved": Kind(
        "the history of {subject} is not what the chain committed to",
        "a proof found blocks of which the journal is wrong",
        "no such block is left",
        "Run `chainfold verify events --repair`; the endpoint that served these blocks lied or was broken: "
        "name another one first in chains.{subject}.rpc.",
    ),
    "history-unproven": Kind(
        "the history of {subject} cannot be proved",
        "a header does not come out, or `prove` is set for a chain of which nothing can be proved; never "
        "where `accept_unproven` is",
        "that header comes out",
        "Run `chainfold verify events`, which says why and tries again; name another endpoint first in "
        "chains.{subject}.rpc, or set chains.{subject}.accept_unproven where nothing can be proved.",
    ),
    "verify-difference": Kind(
        "{subject} found a difference",
        "a verification ended with a difference that was not repaired",
        "the same verification finds none",
        "Run `chainfold verify` to see what differs, `chainfold verify --repair` to put it right; "
        "`chainfold runs` shows what the verification found.",
    ),
    "store-failing": Kind(
        "the event store fails",
        "it does not answer, or takes nothing (no room, say), for `failing_for`",
        "it answers",
        "Look at the database and at the room on its disk; nothing was lost, and the work goes on by itself.",
    ),
    "run-failed": Kind(
        "{subject} failed",
        "a run of the schedule ended with an error",
        "a later run of the same job ended well",
        "Look at `chainfold runs`; the next time of the schedule runs normally.",
    ),
}
"""Every kind, by the name that the table of incidents knows it by."""


def kind_of(name: str) -> Kind:
    """The kind of that name; one that a newer version wrote down is told by its name."""
    return KINDS.get(name) or Kind(f"{name} {{subject}}", "", "it is over", "Run `chainfold alerts list`.")


STAGES = ("ingest", "project", "publish", "deliver")
"""Whose records tell of incidents, by the first word of their names; of proofs the store tells."""


class Bad(Struct, frozen=True):
    """It is wrong, and this is how."""

    detail: str


class Good(Struct, frozen=True):
    """It is right."""


Standing = Bad | Good


def worst(*seen: Mapping[Key, Standing]) -> dict[Key, Standing]:
    """All that was seen together: where one saw it wrong and another right, it is wrong."""
    found: dict[Key, Standing] = {}
    for each in seen:
        for key, standing in each.items():
            if not isinstance(found.get(key), Bad):
                found[key] = standing
    return found


class Changes(Struct, frozen=True):
    """What is to be written down: incidents that open, with their detail, and incidents that are over."""

    opened: dict[Key, str]
    closed: list[Key]


def changes(open_now: Iterable[Key], standing: Mapping[Key, Standing]) -> Changes:
    """What the standing of things makes of the incidents that are open."""
    known = set(open_now)
    return Changes(
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
    first to the last record that says so, since nobody may have looked in between.
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

    def store(self) -> Standing | None:
        """Of the store itself, of which nothing can be written down in it; None while that is open."""
        if not self._store:
            return Good()
        since, last, error = max(self._store.values(), key=lambda item: item[1] - item[0])
        return Bad(str(error)) if _lasts(last - since, self._limits.failing_for) else None

    def standing(self) -> dict[Key, Standing]:
        """What is known to be wrong or right; of what is missing here, nothing is known."""
        found: dict[Key, Standing] = {}
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

    def _behind(self, subject: str, seen: _Stage) -> dict[Key, Standing]:
        key, record = Key("head-behind", subject), seen.behind
        if record is None or record.behind is None:
            return {key: Good()} if seen.level else {}
        lasted = seen.head_seen_at - seen.behind_since
        if record.head < record.finalized or _lasts(lasted, self._limits.failing_for):
            return {key: Bad(behind.said(record.head, record.behind))}
        return {}

    def _well(self, verb: str, subject: str, seen: _Stage) -> dict[Key, Standing]:
        match verb:
            case "ingest":
                found: dict[Key, Standing] = {Key("source-failing", subject): Good()}
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
