"""The deciding half: changes come in as to every sink, and what a rule makes of them goes into the outbox.

Every transaction begins with the publisher's lease, so a process that lost it can decide nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from eventstore.storage.lease import Lease
from eventstore.storage.sql import text
from projections.errors import ConfigurationError, MarkerLost
from projections.fold.generation import Generations
from projections.sinks import Change, Marker
from projections.webhooks.outbox import Begun, Fired, Outbox, idempotency_key
from projections.webhooks.rule import ChangedCondition, Fields, Memory, Reached, Rule, decide, unseen

CHUNK = 2_000
"""Documents that are looked at in one transaction when a rule begins."""


class WebhookSink:
    """One rule of one projection, which must be a finalised one: what it decides is never taken back.

    When the rule begins it looks at what is there and remembers it; with `backfill` it does not, so that
    all of history is news. A rule goes on under the condition it began with (`ConfigurationError` else).
    """

    def __init__(
        self, lease: Lease, rule: Rule, *, projection: str, chain_id: int, backfill: bool = False
    ) -> None:
        self.name = f"webhook-{rule.name}"
        self.lease = lease
        self.rule = rule
        self._projection = projection
        self._chain = chain_id
        self._backfill = backfill

    def open(self) -> None:
        """Refuses a rule whose condition is not the one its memory was made for."""
        with self.lease.store.read() as tx:
            begun = self._outbox(tx).begun()
        if begun is not None and begun.condition != self.rule.when:
            raise ConfigurationError(
                f"The webhook {self.rule.name} of {self._projection} began as `{begun.condition}` and is now "
                f"`{self.rule.when}`.",
                hint="Give the new condition a name of its own: what was sent under a name is remembered.",
            )

    def close(self) -> None:
        """Nothing is held."""

    def marker(self) -> Marker | None:
        with self.lease.store.read() as tx:
            begun = self._outbox(tx).begun()
        return None if begun is None else begun.marker

    def mark(self, new: Marker, *, old: Marker | None) -> None:
        if old is None and not self._backfill:
            self._begin()
        with self.lease.commit() as tx:
            outbox = self._outbox(tx)
            begun = outbox.begun()
            if (None if begun is None else begun.marker) != old:
                raise MarkerLost(
                    f"The marker of the webhook {self.rule.name} is not the one this publisher left there.",
                    hint="It reads the marker again.",
                )
            outbox.set_marker(new, condition=self.rule.when)

    def write(self, changes: Sequence[Change]) -> int:
        """Decides on each change; memory and outbox in one transaction. Returns for how many the rule fired.

        What was decided before comes to nothing: it is what the rule remembers.
        """
        with self.lease.commit() as tx:
            outbox = self._outbox(tx)
            begun = outbox.begun()
            known = outbox.memory([change.key for change in changes])
            learnt: dict[str, Memory] = {}
            fired: list[Fired] = []
            for change in sorted(changes, key=lambda item: item.revision):
                before = learnt.get(change.key) or known.get(change.key) or unseen(self.rule)
                decision = decide(self.rule, before, change.fields)
                if decision.memory != before:
                    learnt[change.key] = decision.memory
                if decision.fires:
                    fired.append(self._fired(change, before, decision.memory.fired, begun))
            outbox.remember(learnt)
            outbox.put(fired)
        return len(fired)

    def _begin(self) -> None:
        """Remembers what is there, piece by piece; what was remembered before, by who died at it, stays."""
        after: str | None = None
        more = True
        while more:
            beyond = ">=" if after is None else ">"  # the first key may be the empty one
            with self.lease.commit() as tx:
                served = Generations(tx, self._projection).served()
                rows = tx.execute(
                    text(
                        "SELECT key, body FROM documents WHERE generation = :generation "
                        f"AND key {beyond} :after ORDER BY key LIMIT :limit"
                    ),
                    {"generation": served.id if served else -1, "after": after or "", "limit": CHUNK},
                ).all()
                nothing = unseen(self.rule)
                seen: dict[str, Memory] = {}
                for key, body in rows:
                    fields: Fields = msgspec.json.decode(body)
                    memory = Memory(decide(self.rule, nothing, fields).memory.state)
                    if memory != nothing:
                        seen[key] = memory
                self._outbox(tx).remember(seen, keep=True)
            more = len(rows) == CHUNK
            after = rows[-1].key if more else None

    def _fired(self, change: Change, before: Memory, occurrence: int, begun: Begun | None) -> Fired:
        own, rule = self._projection, self.rule
        facts: list[str | int] = [self._chain, own, rule.name, rule.when, change.key, occurrence]
        if not isinstance(rule.condition, Reached):  # which fires once for ever
            facts.append(0 if begun is None else begun.began_at)
        key = idempotency_key(*facts)
        fields = change.fields or {}
        body = Body(
            key,
            self._chain,
            own,
            rule.name,
            rule.when,
            change.key,
            occurrence,
            change.block,
            None if rule.field is None else fields.get(rule.field),
            before.state if isinstance(rule.condition, ChangedCondition) else None,
            change.fields,
        )
        return Fired(change.key, occurrence, key, msgspec.json.encode(body))

    def _outbox(self, tx: Connection) -> Outbox:
        return Outbox(tx, self._projection, self.rule.name)


class Body(msgspec.Struct, frozen=True, rename="camel"):
    """What a receiver reads; `before` is the value that `changed` compares with, null for other rules.

    `block` is the block that the projection had reached, not the block in which the condition came true.
    """

    id: str
    chain_id: int
    projection: str
    rule: str
    when: str
    key: str
    occurrence: int
    block: int
    value: object
    before: object
    document: Fields
