"""What the end-to-end tests share: one workshop that starts their commands."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.end_to_end.site import Workshop


@pytest.fixture(scope="session")
def workshop() -> Iterator[Workshop]:
    made = Workshop()
    yield made
    made.close()
