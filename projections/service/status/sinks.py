"""The status of one sink or webhook: how far it is behind the served documents."""

from __future__ import annotations

from eventstore.errors import ChainfoldError
from eventstore.storage.sql import text
from eventstore.storage.store import Store
from projections.fold.generation import Generations
from projections.publish.publications import Publications, refusal
from projections.publish.set_aside import Aside
from projections.service.status.records import SetAsideStatus, SinkStatus
from projections.sinks import Sink
from projections.webhooks import Outbox, WebhookSink

NAMED = 20
"""Documents of a sink that are set aside and named in its status."""


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


def unpublished(store: Store, projection: str, revision: int) -> int:
    """How many documents changed, or were removed, above a revision: what a sink at it has not got."""
    with store.read() as tx:
        found = tx.execute(
            text("SELECT count(*) FROM changes WHERE projection = :name AND revision > :revision"),
            {"name": projection, "revision": revision},
        )
        return int(found.scalar_one())
