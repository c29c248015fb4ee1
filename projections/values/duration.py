"""A duration as a configuration writes it: 500ms, 2s, 5m, 24h, 7d."""

from __future__ import annotations

import re

from projections.errors import ConfigurationError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_LONGEST = 36_525 * 86_400
"""Seconds: what timers and databases still take."""

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: str, where: str) -> float:
    """`text` in seconds. Raises `ConfigurationError`, with the key `where`, when it is not a duration."""
    found = _DURATION.fullmatch(text)
    seconds = float(found.group(1)) * _SECONDS[found.group(2)] if found else 0.0
    if seconds <= 0:
        raise ConfigurationError(
            f"{where}: {text!r} is not valid: durations are above zero and have their unit.",
            hint="Write 500ms, 2s, 5m, 24h or 7d.",
        )
    if seconds > _LONGEST:
        raise ConfigurationError(f"{where}: {text} is longer than a hundred years.")
    return seconds
