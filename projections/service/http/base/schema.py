"""The OpenAPI description of responses: documents by their own types, with realistic examples."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example

from projections.projectors import Projector
from projections.service.http.base import parameters
from projections.values.fields import fields
from projections.values.integers import DECIMAL

SOMEBODY = "0x5fbdb2315678afecb367f032d93f642f64180aa3"


def typed(kind: Any, said: str, example: Any) -> ResponseSpec:
    """An answer of this type."""
    return ResponseSpec(
        kind,
        description=said,
        generate_examples=False,
        examples=[Example(value=msgspec.to_builtins(example))],
    )


def example_value(projector: Projector, field: str) -> Any:
    """A value that such a field may have."""
    if field in projector.addresses:
        return SOMEBODY
    if field in projector.dates:
        return 1_700_000_000
    known = fields(projector.document)[field]
    if known.wide:
        return "1000000000000000000000"
    return {int: 3, str: "text", bool: True, float: 0.5}.get(known.simple)


def pattern(projector: Projector, field: str) -> dict[str, Any]:
    """What the description adds to a field's schema: the shape of an address, or of a wide integer."""
    if fields(projector.document)[field].wide:
        return {"pattern": DECIMAL}
    return {"pattern": parameters.ADDRESS} if field in projector.addresses else {}


def example_of(projector: Projector) -> dict[str, Any]:
    """A document."""
    return {name: example_value(projector, name) for name in projector.document.__struct_fields__}


def example_event(chain: str = "main") -> dict[str, Any]:
    """A log as the audit shows it."""
    return {
        "chain": chain,
        "block": 118,
        "log_index": 4,
        "block_hash": "0x" + "5f" * 32,
        "timestamp": 1_700_000_000,
        "address": "0xe7f1725e7734ce288f8367e1bb143e90bb3f0512",
        "event": "ReferralRegistered",
        "args": {"user": SOMEBODY, "referrer": "0x" + "a5" * 20, "timestamp": "1700000000"},
        "marks": {},
        "topics": ["0x" + "7a" * 32],
        "data": "0x",
        "tx_hash": "0x" + "3c" * 32,
        "tx_index": 2,
        "entry": 17,
        "recorded_at": "2026-01-01T00:00:00.000000Z",
        "orphaned_by": None,
        "orphaned_at": None,
    }
