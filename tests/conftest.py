"""What every test can ask for: the real parts, each from its own file under servers/, and stores."""

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
]
