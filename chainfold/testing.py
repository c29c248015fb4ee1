"""The public API for tests: the kit of projectors; the suites of sinks and sources, which need pytest."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from projections.testing import Kit, address
    from projections.testing.contracts import (
        NodeContract,
        RefusingSinkContract,
        SinkContract,
        SourceContract,
        sink_request,
    )

__all__ = [
    "Kit",
    "NodeContract",
    "RefusingSinkContract",
    "SinkContract",
    "SourceContract",
    "address",
    "sink_request",
]

_KIT = {"Kit", "address"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = "projections.testing" if name in _KIT else "projections.testing.contracts"
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return __all__
