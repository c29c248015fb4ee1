"""On what something was measured, and where it is written down."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from msgspec import Struct

RESULTS = Path(__file__).parent / "results"


class Machine(Struct, frozen=True):
    """When and on what; `load` is that of the last minute, other people's work included."""

    at: datetime
    processor: str
    cores: int
    system: str
    python: str
    load: float


def machine() -> Machine:
    return Machine(
        datetime.now(UTC),
        platform.machine(),
        os.cpu_count() or 0,
        platform.system(),
        platform.python_version(),
        round(os.getloadavg()[0], 1),
    )


def written(report: bytes, path: Path | None, *, name: str) -> Path:
    """Writes the report to `path`, or to a file of its own in bench/results/; says which."""
    path = path or RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(report))
    return path
