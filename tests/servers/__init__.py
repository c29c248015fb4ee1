"""Real servers for the tests, each started from its package: one file is one server."""
