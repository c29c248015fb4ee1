"""Suites that prove an adapter: subclass one, override its fixtures, and run pytest.

pytest is required for them, and for nothing else of the package.
"""

from projections.testing.contracts.refusing import RefusingSinkContract
from projections.testing.contracts.sink import SinkContract
from projections.testing.contracts.users import ContractUsers, sink_request

__all__ = ["ContractUsers", "RefusingSinkContract", "SinkContract", "sink_request"]
