"""The public API of chainfold, with `chainfold.sinks`, `chainfold.sources` and `chainfold.testing`.

These names stay; every other import path may change between releases.

    from chainfold import Documents, Integer256, Projector, handles     a projector
    from chainfold import Kit, address                                  its tests
    from chainfold import ProjectorError                                its errors

The kit is loaded on first use, so that a projector does not load a store, a chain and a sink with it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from eventstore.errors import ChainfoldError
from projections.errors import ConfigurationError, ProjectorError, SignatureError, ValueRefused
from projections.projectors import Counts, Documents, Follows, Integer256, Projector, handles

if TYPE_CHECKING:
    from projections.testing import Kit, address

__all__ = [
    "ChainfoldError",
    "ConfigurationError",
    "Counts",
    "Documents",
    "Follows",
    "Integer256",
    "Kit",
    "Projector",
    "ProjectorError",
    "SignatureError",
    "ValueRefused",
    "address",
    "handles",
]

_LAZY = {"Kit": "projections.testing", "address": "projections.testing"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return __all__
