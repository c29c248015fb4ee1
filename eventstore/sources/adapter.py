"""What an installed package gives to add a kind of source: an entry point in the group `chainfold.sources`.

    [project.entry-points."chainfold.sources"]
    recording = "chainfold_recording:Recording"

A chain whose configuration says `source = "recording"` is then read through `Recording`. The test suite
`chainfold.testing.NodeContract` shows whether an adapter keeps the port.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol

from msgspec import Struct

from eventstore.sources import Node

REQUIRED = (
    *("identity", "head", "finalized", "headers", "logs"),
    *("name", "requests", "has_code", "syncing", "linked", "rooted", "close"),
)
"""What every node has: the methods of `Source`, and what `Node` adds to them."""


class ChainSettings(Struct, frozen=True):
    """What the configuration says of the chain that an adapter reads.

    `name` is that of its table, `chains.NAME`. `finality` is a tag, or a depth in blocks below the head.
    Relative paths in an adapter's own settings are relative to `folder`.
    """

    name: str
    chain_id: int
    finality: Literal["finalized", "safe"] | int
    folder: Path


class SourceAdapter(Protocol):
    """The object that an entry point names: a class of nodes, which also names the type of its settings.

    `Settings` is a `msgspec.Struct`; the table `[chains.NAME.settings]` is converted to it, and a key that it
    does not have is refused. Placeholders are filled before.
    """

    Settings: type[Struct]

    def __call__(self, settings: Any, chain: ChainSettings) -> Node:
        """A new node, ready to be asked. Several may exist at the same time, also in several processes.

        Raises `ValueError` for settings that can never work. What may heal, such as a server that is away,
        is raised by the methods of the node as `SourceError`, so that the service waits for it.
        """
        ...
