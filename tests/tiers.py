"""Tiers of the tests by cost: a mark for what a test starts outside its process, and a guard that holds it.

`make check` runs the quick tier: every test that starts no process and is not long. A test gets its marks
from the fixtures that it asks for. One that starts a process by hand says so, and one that asks for a server
by a parameter says so at the parameter (`tests.stores.ENGINES`). `long` is set by hand: on searches, and on
histories that are crashed at every boundary.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

FIXTURES = {
    "server": {
        *("anvil", "ganache_url", "hardhat_url"),
        *("mongo_server", "postgres_server", "redis_server", "redis_cluster_server"),
    },
    "process": {"workshop"},
    "browser": {"browser"},
}
"""By mark: the fixtures that start what it names. A test that uses one of them, by any way, has the mark."""

MARKS = (*FIXTURES, "long")
"""What `make check` leaves out."""

STARTS = {"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen"}
"""Audit events of CPython that announce a new process."""

_quick: str | None = None
"""The test of the quick tier that is set up or runs now."""


def _guard(event: str, _: tuple[object, ...]) -> None:
    if event in STARTS and _quick is not None:
        pytest.fail(
            f"{_quick} starts a process ({event}), which a test of the quick tier does not do: "
            f"mark it with one of {', '.join(FIXTURES)}, or do without the process.",
            pytrace=True,
        )


def pytest_configure() -> None:
    sys.addaudithook(_guard)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks each test by its fixtures."""
    for item in items:
        assert isinstance(item, pytest.Function)
        for mark, fixtures in FIXTURES.items():
            if not fixtures.isdisjoint(item.fixturenames):
                item.add_marker(mark)


def _is_quick(item: pytest.Item) -> bool:
    return not any(item.get_closest_marker(mark) for mark in FIXTURES)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    yield from _guarding(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    yield from _guarding(item)


def _guarding(item: pytest.Item) -> Iterator[None]:
    """Guards one phase. Teardown is free, for there servers end that earlier tests have shared."""
    global _quick  # noqa: PLW0603 - an audit hook stays for good and takes no argument of ours
    _quick = item.nodeid if _is_quick(item) else None
    try:
        yield
    finally:
        _quick = None
