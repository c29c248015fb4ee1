"""A receiver of alerts: it takes what Apprise sends to json:// addresses."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from msgspec import Struct

from tests.servers.listener import Answering, Listener


class Told(Struct, frozen=True):
    """A message as it arrived; `kind` is Apprise's: failure, success or info."""

    title: str
    body: str
    kind: str
    path: str


class Receiver(Listener):
    """Keeps what it receives; with `status` above 299 it takes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Told] = []
        self.refused = 0
        self.status = 200
        self.delay = 0.0

    def take(self, raw: bytes, headers: Mapping[str, str], path: str) -> Answering:
        said: dict[str, Any] = json.loads(raw)
        time.sleep(self.delay)
        if self.status == 200:
            self.told.append(Told(said["title"], said["message"], said["type"], path))
        else:
            self.refused += 1
        return Answering(self.status)

    @property
    def url(self) -> str:
        return f"json://{self.address}/alerts"

    @property
    def titles(self) -> list[str]:
        return [item.title for item in self.told]

    @property
    def arrived(self) -> object:
        return self.told


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made
