"""The catalogue of incidents: which kinds exist, what opens and closes each, and what to do about it."""

from __future__ import annotations

from msgspec import Struct


class IncidentKind(Struct, frozen=True):
    """A kind of incident: its sentence, when it opens and is over, and what to do about it."""

    title: str
    opens: str
    over: str
    todo: str


KINDS: dict[str, IncidentKind] = {
    "reorg-below-finality": IncidentKind(
        "{subject} reorganised below finality",
        "blocks that the node had called final were replaced",
        "every projection of the chain has followed",
        "The documents follow by themselves. Find out whether the chain or your node was wrong: "
        "`chainfold events --orphaned` shows what left, `chainfold sync --from-block A --to-block B --force` "
        "asks again, `chainfold verify` compares.",
    ),
    "source-failing": IncidentKind(
        "the source of {subject} fails",
        "no endpoint of the chain gave an answer for `failing_for`",
        "a step of the chain's ingester ended well",
        "Run `chainfold check`, and mend or add an endpoint in chains.{subject}.rpc; nothing is lost "
        "meanwhile.",
    ),
    "head-stalled": IncidentKind(
        "the head of {subject} does not move",
        "the endpoints answer, with the same newest block for `head_stalled`",
        "a newer block is seen",
        "Compare with another node; if yours stands still, name another one first in chains.{subject}.rpc.",
    ),
    "head-behind": IncidentKind(
        "the head of {subject} is below ours",
        "the newest block of the endpoints is below the block that was followed: below finality at once, "
        "otherwise for `failing_for`",
        "they show that block or a newer one, or the journal followed the chain back",
        "Run `chainfold heads`: it compares every endpoint. Where one shows our block, name it first in "
        "chains.{subject}.rpc; where the chain itself moved back, `chainfold heads {subject} --follow` goes "
        "back with it.",
    ),
    "step-stuck": IncidentKind(
        "a step of {subject} does not end",
        "one step has taken longer than `step_longer_than`, and still does",
        "a step of the same stage ended",
        "Look at what it waits for: the database, the node, the sink's server, the disk; `chainfold status` "
        "shows who works at it. Another process takes over where this one is stopped; nothing is lost.",
    ),
    "gap-old": IncidentKind(
        "{subject} has a gap",
        "blocks that no endpoint gives have been missing for `gap_older_than`",
        "no gap is as old as that",
        "Look at `chainfold failures list`, add an endpoint that has these blocks, then run "
        "`chainfold failures retry`.",
    ),
    "projection-halted": IncidentKind(
        "the projection {subject} is halted",
        "an event cannot be folded, a build is refused, or the fold fails for `failing_for`",
        "it goes on",
        "Look at `chainfold failures list`; mend the projector, start the service again and run `chainfold "
        "rebuild {subject}`, or pass the event over with `chainfold failures skip {subject} --block N "
        "--log-index I --reason ...`.",
    ),
    "projection-quarantining": IncidentKind(
        "the projection {subject} put events aside",
        "it has dead letters",
        "it has no dead letters",
        "Look at `chainfold failures list`; mend the projector, start the service again and run `chainfold "
        "rebuild {subject}` (where the cause was not in its code, `chainfold failures retry {subject}`), or "
        "pass each event over with `chainfold failures skip {subject} --block N --log-index I --reason ...`.",
    ),
    "sink-down": IncidentKind(
        "the sink {subject} is down",
        "it could not be reached or written to for `failing_for`, or writing into it is not permitted",
        "it took what was sent",
        "Run `chainfold check` and bring the server back; the sink catches up by itself, nothing is lost.",
    ),
    "documents-set-aside": IncidentKind(
        "the sink {subject} does not take some documents",
        "documents are set aside because the sink refuses them",
        "it took all of them",
        "Look at `chainfold failures list` and remove what stands in their way; they are sent again by "
        "themselves, or at once by `chainfold failures retry`. All others arrive.",
    ),
    "sink-foreign": IncidentKind(
        "the sink {subject} holds the documents of another store",
        "its marker names another store, chain or projection, or a later state than ours",
        "its marker is ours",
        "Point the sink elsewhere, or run `chainfold sync --take-over` to make it ours.",
    ),
    "webhook-failing": IncidentKind(
        "the webhook {subject} takes no notifications",
        "it refused or did not answer all that was sent to it for `failing_for`",
        "it took one",
        "Mend the receiver, or its url in the configuration; what waits is sent again by itself.",
    ),
    "history-disproved": IncidentKind(
        "the history of {subject} is not what the chain committed to",
        "a proof found blocks that are wrong in the journal",
        "no such block is left",
        "Run `chainfold verify events --repair`; the endpoint that served these blocks lied or was broken: "
        "name another one first in chains.{subject}.rpc.",
    ),
    "history-unproven": IncidentKind(
        "the history of {subject} cannot be proved",
        "a header does not hash to its block, or `prove` is set for a chain that cannot be proved; never "
        "where `accept_unproven` is set",
        "that header hashes to its block",
        "Run `chainfold verify events`, which says why and tries again; name another endpoint first in "
        "chains.{subject}.rpc, or set chains.{subject}.accept_unproven where nothing can be proved.",
    ),
    "verify-difference": IncidentKind(
        "{subject} found a difference",
        "a verification ended with a difference that was not repaired",
        "the same verification finds none",
        "Run `chainfold verify` to see what differs, `chainfold verify --repair` to put it right; "
        "`chainfold runs` shows what the verification found.",
    ),
    "store-failing": IncidentKind(
        "the event store fails",
        "it does not answer, or takes nothing (no room, say), for `failing_for`",
        "it answers",
        "Look at the database and at the room on its disk; nothing was lost, and the work goes on by itself.",
    ),
    "run-failed": IncidentKind(
        "{subject} failed",
        "a run of the schedule ended with an error",
        "a later run of the same job ended well",
        "Look at `chainfold runs`; the next time of the schedule runs normally.",
    ),
}
"""Every kind, by the name that the table of incidents knows it by."""


def kind_of(name: str) -> IncidentKind:
    """The kind of that name. A name that only a newer version knows gets a kind that shows the name."""
    return KINDS.get(name) or IncidentKind(
        f"{name} {{subject}}", "", "it is over", "Run `chainfold alerts list`."
    )
