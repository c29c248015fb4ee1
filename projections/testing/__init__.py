"""The kit for authors of projectors: given events, expect documents, through reorgs and crashes."""

from projections.testing.kit import Kit, address

__all__ = ["Kit", "address"]
