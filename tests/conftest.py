"""What every test can ask for: the real parts, each from its own file under servers/, and stores."""

import pytest

pytest_plugins = [
    "tests.servers.anvil",
    "tests.servers.ganache",
    "tests.servers.hardhat",
    "tests.servers.hooks",
    "tests.servers.mongo",
    "tests.servers.postgres",
    "tests.servers.receiver",
    "tests.servers.redis",
    "tests.servers.redis_cluster",
    "tests.stores",
    "tests.tiers",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The suites of long tests first: at the end no process of the tests waits for another's."""
    items.sort(key=lambda item: not {"properties", "end_to_end"} & set(item.path.parts))
