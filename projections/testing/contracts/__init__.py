"""Suites that prove an adapter: subclass one, override its fixtures, and run pytest.

pytest is required for them, and for nothing else of the package.
"""

from projections.testing.contracts.node import NodeContract
from projections.testing.contracts.refusing import RefusingSinkContract
from projections.testing.contracts.sink import SinkContract
from projections.testing.contracts.source import SourceContract
from projections.testing.contracts.users import ContractUsers, sink_request

__all__ = [
    "ContractUsers",
    "NodeContract",
    "RefusingSinkContract",
    "SinkContract",
    "SourceContract",
    "sink_request",
]
