"""The fingerprint of a projection: a hash of all that its documents depend on besides the history."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from projections.fold.document_type import Shape
from projections.fold.syntax import module_syntax, reached_syntax
from projections.projectors import Projector
from projections.routing.ways import Bound
from projections.service.config import settings


def fingerprint(
    projector: type[Projector],
    config: settings.Config,
    chosen: settings.ProjectionSettings,
    bound: Sequence[Bound],
) -> str:
    """What the documents depend on: the projector's syntax, the events, contracts, roles and policy.

    What others declare at the same addresses is part of it where that decides which event a log is.
    """
    schema = _undescribed(msgspec.json.schema(projector.document))
    syntax = reached_syntax(projector)
    return _hashed(projector, config, chosen, bound, syntax=syntax, schema=schema)


def former_fingerprint(
    projector: type[Projector],
    config: settings.Config,
    chosen: settings.ProjectionSettings,
    bound: Sequence[Bound],
) -> str:
    """The first form of the same: of the whole module with its imports, and of the document's docstrings.

    Stores that hold it are not outdated by the change of form. It can go once they were opened."""
    schema = msgspec.json.schema(projector.document)
    syntax = module_syntax(projector)
    return _hashed(projector, config, chosen, bound, syntax=syntax, schema=schema)


def _hashed(
    projector: type[Projector],
    config: settings.Config,
    chosen: settings.ProjectionSettings,
    bound: Sequence[Bound],
    *,
    syntax: str,
    schema: Any,
) -> str:
    contracts = [
        (
            source.contract,
            config.contracts[source.contract].addresses,
            config.contracts[source.contract].start_block,
            config.contracts[source.contract].end_block,
            [str(event) for event in config.contracts[source.contract].events],
            source.roles,
            source.events,
        )
        for source in chosen.sources
    ]
    parts = (
        syntax,
        projector.version,
        str(schema),
        repr(contracts),
        chosen.poison,
        *(["sets are sorted"] if Shape(projector).sets else []),  # they once stood in any order
        *_shared(config, bound),
    )
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()


def _undescribed(schema: Any) -> Any:
    """A JSON schema without the descriptions that docstrings make."""
    if isinstance(schema, dict):
        return {
            name: _undescribed(value)
            for name, value in schema.items()
            if not (name == "description" and isinstance(value, str))
        }
    return [_undescribed(item) for item in schema] if isinstance(schema, list) else schema


def _shared(config: settings.Config, bound: Sequence[Bound]) -> list[str]:
    """What is declared at the projection's addresses, where that and a log's first topic do not say what it
    is."""
    chain = config.contracts[bound[0].declaration.contract].chain
    addresses = {item.declaration.address for item in bound}
    here = [
        (address, event.layout, contract.start_block or 0, contract.end_block)
        for contract in config.contracts.values()
        if contract.chain == chain
        for event in contract.events
        for address in contract.addresses
        if address in addresses
    ]
    layouts = {(address, layout) for address, layout, *_ in here}
    topics = {(address, layout[0]) for address, layout in layouts}
    spans = {(address, *span) for address, _, *span in here}
    anonymous = any(item.declaration.event.anonymous for item in bound)
    plain = len(layouts) == len(topics) and len(spans) == len(addresses) and not anonymous
    return [] if plain else [repr(here)]
