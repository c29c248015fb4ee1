"""Real servers for the tests, each started from its package: one file is one server."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(what: str) -> NoReturn:
    """A server that is not installed skips the test on a desk, and fails it under CI=true."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI must not go without it.", pytrace=False)
    pytest.skip(f"{what} is not installed")
