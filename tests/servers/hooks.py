"""A receiver of webhooks: it checks each signature and pays each key once."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Iterator, Mapping
from threading import Lock
from typing import Any

import msgspec
import pytest
from msgspec import Struct
from standardwebhooks import Webhook, WebhookVerificationError

from tests.servers.listener import Answering, Listener

__all__ = ["SECRET", "WHSEC", "Answering", "Call", "Receiver"]

SECRET = "correct-horse-battery-staple"
WHSEC = "whsec_" + base64.b64encode(SECRET.encode()).decode()
"""The same secret as a library of Standard Webhooks wants it."""


class Call(Struct, frozen=True):
    """A request whose signature was right, as it arrived."""

    idempotency_key: str
    body: dict[str, Any]
    raw: bytes

    @property
    def key(self) -> str:
        return str(self.body["key"])


class Receiver(Listener):
    """Does what docs/webhooks.md tells receivers to do, both of new ones and of those from before Standard
    Webhooks; `answer` may be set to fail for some keys."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.unsigned = 0
        self.paid: dict[str, dict[str, Any]] = {}
        self.answer: Callable[[Call], Answering] = lambda _: Answering()
        self.before: Callable[[Call], None] = lambda _: None
        self._lock = Lock()

    def take(self, raw: bytes, headers: Mapping[str, str], path: str) -> Answering:
        """Checks, pays once, answers."""
        idempotency_key = headers["Idempotency-Key"]
        if not _signed(raw, headers):
            self.unsigned += 1
            return Answering(401)
        assert headers["webhook-id"] == idempotency_key
        call = Call(idempotency_key, msgspec.json.decode(raw), raw)
        with self._lock:
            self.calls.append(call)
            answer = self.answer(call)
            if answer.status < 300:
                self.paid.setdefault(idempotency_key, call.body)
        self.before(call)
        return answer

    @property
    def url(self) -> str:
        return f"http://{self.address}/bonus"

    @property
    def keys(self) -> list[str]:
        """The documents that it received, in order of arrival."""
        return [call.key for call in self.calls]

    @property
    def arrived(self) -> object:
        return self.calls


def _signed(raw: bytes, headers: Mapping[str, str]) -> bool:
    """Whether both signatures are right."""
    try:
        Webhook(WHSEC).verify(raw, dict(headers))
    except WebhookVerificationError:
        return False
    parts = dict(part.split("=", 1) for part in headers["Chainfold-Signature"].split(","))
    wanted = hmac.new(SECRET.encode(), f"{parts['t']}.".encode() + raw, hashlib.sha256).hexdigest()
    return hmac.compare_digest(parts["v1"], wanted) and abs(time.time() - int(parts["t"])) <= 300


@pytest.fixture
def hooks() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made
