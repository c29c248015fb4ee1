"""A projector for chainfold: how many users each user invited, and who was the last of them.

[projections.invitations]
projector = "invitations"
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from chainfold import Documents, Projector, handles


class Inviter(Struct, frozen=True):
    """A user who invited others."""

    address: str
    invited: int
    last: str


class Invitations(Projector):
    """One document for each user who invited another user."""

    document = Inviter
    key = "address"
    mongo_indexes = ("invited",)

    @handles("ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)")
    def registered(self, event: Any, documents: Documents[Inviter]) -> None:
        """Counts the registration for the user who invited."""
        known = documents.get(event.referrer)
        invited = 1 if known is None else known.invited + 1
        documents.put(event.referrer, Inviter(event.referrer, invited, event.user))
