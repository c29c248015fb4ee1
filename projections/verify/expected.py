"""What a sink must hold, by key, as the changes and the served documents say in one snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, bindparam, text

from eventstore.storage.batches import batches
from projections.fold.generation import Generations
from projections.fold.state import CHUNK, GenerationState


class Expected(Struct, frozen=True):
    """What a sink must hold under a key: the newest revision and the fields (None: no document)."""

    revision: int
    fields: dict[str, Any] | None


def expected(tx: Connection, projection: str, keys: Sequence[str]) -> dict[str, Expected]:
    """What of these keys a sink that is current must hold. Empty while nothing is served."""
    served = Generations(tx, projection).served()
    if served is None:
        return {}
    bodies = GenerationState(tx, served.id).load(keys)
    found: dict[str, Expected] = {}
    for some in batches(keys, CHUNK):
        rows = tx.execute(
            text(
                "SELECT key, revision FROM changes WHERE projection = :projection AND key IN :keys"
            ).bindparams(bindparam("keys", expanding=True)),
            {"projection": projection, "keys": some},
        )
        for key, revision in rows:
            body = bodies.get(key)
            found[key] = Expected(revision, None if body is None else msgspec.json.decode(body))
    return found
