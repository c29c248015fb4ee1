"""Webhooks: each event that a rule waits for is decided once, and delivered at least once.

The river ends here in two steps. The sink decides: it compares each change with what its rule remembers of
the key, and writes the notification into an outbox, together with the new memory, in one transaction. The
courier delivers: in order per key, signed, again and again until it was taken or is a dead letter. A
receiver cannot hold our marker; marker, memory and outbox live in SQL, so no rebuild can tell a thing twice.
"""

from projections.webhooks.courier import Courier, Delivered
from projections.webhooks.outbox import Notification, Outbox
from projections.webhooks.post import Target
from projections.webhooks.rule import Rule, fitted, parse
from projections.webhooks.sink import WebhookSink

__all__ = [
    "Courier",
    "Delivered",
    "Notification",
    "Outbox",
    "Rule",
    "Target",
    "WebhookSink",
    "fitted",
    "parse",
]
