"""Logs of events: values as a test types them, encoded as a contract would."""

from __future__ import annotations

import keyword
from collections.abc import Mapping
from typing import Any

from eth_abi.abi import encode
from eth_hash.auto import keccak

from projections.decoding.event import Event, Parameter
from projections.errors import ProjectorError


def encoded(event: Event, values: Mapping[str, Any]) -> tuple[list[bytes], bytes]:
    """The topics and data of a log."""
    parameters = {spelled(item): item for item in event.parameters}
    wrong = sorted(parameters.keys() ^ values.keys())
    if wrong:
        raise ProjectorError(
            f"{event.name} was emitted {'with' if wrong[0] in values else 'without'} {wrong[0]}.",
            hint=f"Its parameters are {', '.join(parameters) or 'none'}.",
        )
    topics = [] if event.anonymous else [event.topic0]
    kinds, body = [], []
    for name, item in parameters.items():
        try:
            if item.indexed:
                topics.append(_topic(item, values[name]))
            else:
                raw = isinstance(values[name], bytes) and item.type == "string"  # need not be UTF-8
                encode(["bytes" if raw else item.type], [values[name]])
                kinds.append("bytes" if raw else item.type)
                body.append(values[name])
        except Exception as error:
            raise ProjectorError(
                f"{event.name}.{name} = {values[name]!r} cannot be encoded as {item.type}: {error}"
            ) from error
    return topics, encode(kinds, body)


def spelled(item: Parameter) -> str:
    return item.name + "_" if keyword.iskeyword(item.name) else item.name


def _topic(item: Parameter, value: Any) -> bytes:
    """One word; of what does not fit one its hash, which may be given instead of the value."""
    if item.type == "string" and isinstance(value, str):
        return bytes(keccak(value.encode()))
    if item.type == "bytes":
        return bytes(keccak(value))
    if item.type.endswith((")", "]", "string")):
        if not (isinstance(value, bytes) and len(value) == 32):
            raise ValueError("of an indexed array or tuple a log holds the hash: give its 32 bytes")
        return value
    return encode([item.type], [value])
