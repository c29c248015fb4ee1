"""The delivering half: what is due goes out, several keys at once, one notification of a key at a time.

Law: sent first, then written down. A process that dies in between sends it again under the same key.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct

from eventstore import clock
from eventstore.backoff import Backoff
from eventstore.storage.lease import Lease
from projections.webhooks.outbox import Attempt, Notification, Outbox
from projections.webhooks.post import Post, ReceiverAnswer, Target

BATCH, AT_ONCE = 32, 8
REFUSALS = 3
"""How often a receiver may refuse a message (4xx, 3xx) before it is a dead letter."""
BACKOFF = Backoff(2.0, 3_600.0, "equal")


class Delivered(Struct, frozen=True):
    """What one step did; `dead` became dead letters, `failed` are tried again later."""

    projection: str
    rule: str
    delivered: int = 0
    failed: int = 0
    dead: int = 0
    reason: str = ""

    @property
    def idle(self) -> bool:
        return not (self.delivered or self.failed or self.dead)


class Courier:
    """Delivers one rule's notifications, one bounded `step()` at a time."""

    def __init__(self, lease: Lease, target: Target, *, projection: str, rule: str) -> None:
        self._lease = lease
        self._target = target
        self._projection = projection
        self._rule = rule
        self._post = Post(target, connections=AT_ONCE)

    def step(self) -> Delivered:
        """Sends what is due, and writes down how it ended. Raises `Fenced` when the lease is lost: its
        new holder may have sent the same, under the same keys."""
        with self._lease.store.read() as tx:
            due = Outbox(tx, self._projection, self._rule).due(BATCH)
        if not due:
            return Delivered(self._projection, self._rule)
        self._lease.renew()
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="webhook") as threads:
            answers = list(threads.map(lambda item: self._post.send(item.body, item.idempotency_key), due))
        tried = [outcome(item, answer, self._target) for item, answer in zip(due, answers, strict=True)]
        with self._lease.commit() as tx:
            Outbox(tx, self._projection, self._rule).settle(tried)
        count = {
            state: sum(item.state == state for item in tried) for state in ("delivered", "pending", "dead")
        }
        return Delivered(
            self._projection,
            self._rule,
            count["delivered"],
            count["pending"],
            count["dead"],
            next((item.reason for item in tried if item.reason), ""),
        )

    def again(self, *, replay: bool, number: int | None) -> int:
        """Makes dead letters due, or (`replay`) what was delivered; one, or all. Returns how many."""
        with self._lease.commit() as tx:
            outbox = Outbox(tx, self._projection, self._rule)
            return outbox.again(["delivered", "dead"] if replay else ["dead", "pending"], number)

    def close(self) -> None:
        self._post.close()


def outcome(item: Notification, answer: ReceiverAnswer, target: Target) -> Attempt:
    """What a notification is after this answer: delivered, dead, or due later."""
    tries = item.attempts + 1
    match answer.kind:
        case "taken":
            return Attempt(item.id, "delivered")
        case "gone":
            return Attempt(item.id, "dead", answer.reason)
        case "refused":
            limit = min(REFUSALS, target.attempts)
        case "failed":
            limit = target.attempts
    if tries >= limit:
        return Attempt(item.id, "dead", f"{answer.reason} (after {tries} attempts)")
    pause = BACKOFF.seconds(tries)
    return Attempt(item.id, "pending", answer.reason, clock.now() + int(max(pause, answer.after) * 1e6))
