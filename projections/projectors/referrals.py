"""Referrals: the referrer of each user, and how many people each user brought, one and two levels down.

Law: the documents describe the graph whose edges are each user's latest registration, in chain order.
Always `indirectReferrer(u) = directReferrer(directReferrer(u))`, and both counts are what counting gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from projections.projectors import Counts, Documents, Follows, Projector, handles

NOBODY = "0x" + "00" * 20


class User(Struct, frozen=True, gc=False):
    """A user as MongoDB and Redis show it; times are in seconds."""

    address: str
    directReferrer: str | None = None
    indirectReferrer: str | None = None
    level1Count: int = 0
    level2Count: int = 0
    referralTimestamp: int | None = None
    updatedAt: int = 0


Users = Documents[User]


class Referrals(Projector):
    """Folds registrations into users; moves a user, and all who depend on the move, when it changes."""

    document = User
    key = "address"
    index = ("directReferrer",)
    links = ("directReferrer",)
    touched = "updatedAt"
    dates = ("updatedAt",)
    addresses = ("address", "directReferrer", "indirectReferrer")
    mongo_indexes = ("directReferrer", "indirectReferrer", "level1Count")
    invariants = (
        Follows("indirectReferrer", link="directReferrer", takes="directReferrer"),
        Counts("level1Count", of="directReferrer"),
        Counts("level2Count", of="indirectReferrer"),
    )
    redis_fields = ("address", "level1Count", "level2Count", "directReferrer", "indirectReferrer")

    def keys(self, event: Any) -> Iterable[str]:
        named = (event.user, getattr(event, "referrer", None))
        return [key for key in named if key is not None and key != NOBODY]

    def finds(self, event: Any, get: Callable[[str], User | None]) -> Iterable[tuple[str, str]]:
        user = get(event.user)
        return [("directReferrer", user.address)] if user is not None and user.level1Count else []

    @handles("ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)")
    def registered(self, event: Any, users: Users) -> None:
        """The user's edge is now `referrer`; the zero address and the user do not count as referrers."""
        user, referrer = event.user, event.referrer
        if referrer in (NOBODY, user):
            referrer = None
        said = event.timestamp
        at = said if said is not None and 0 <= said < 2**63 else event.block.timestamp
        self._set_edge(users, user, referrer, at)

    @handles("ReferralRemoved(address indexed user)")
    def left(self, event: Any, users: Users) -> None:
        """The user's edge, if there was one, is removed."""
        self._set_edge(users, event.user, None, 0)

    def _set_edge(self, users: Users, key: str, referrer: str | None, at: int) -> None:
        if key == NOBODY:
            return
        user = users.get(key)
        if user is None:  # no user named it so far: none depends on it
            user = User(key)
            if referrer is None:
                users.put(key, user)
        if user.directReferrer == referrer:
            return
        brought = users.find("directReferrer", key) if user.level1Count else []

        # The old edge stops counting: for the two above the user, and for the one above whom it brought.
        _count(users, user.directReferrer, -1, -len(brought))
        _count(users, user.indirectReferrer, 0, -1)

        above = None if referrer is None else users.get(referrer) or User(referrer)
        indirect = None if above is None else above.directReferrer
        users.put(
            key,
            replace(
                users.get(key) or user,  # in a circle it stands above itself, and was counted just now
                directReferrer=None if above is None else above.address,  # one string for all whom it brought
                indirectReferrer=indirect,
                referralTimestamp=None if referrer is None else at,
            ),
        )
        if above is not None:
            users.put(above.address, _counted(above, 1, len(brought)))
        _count(users, indirect, 0, 1)
        for referee in brought:
            found = users.get(referee)
            assert found is not None
            users.put(referee, replace(found, indirectReferrer=referrer))


def _count(users: Users, key: str | None, level1: int, level2: int) -> None:
    """Adds to the counts of `key`, if it is anybody."""
    if key is not None:
        user = users.get(key)
        assert user is not None  # every referrer ever named has a document
        users.put(key, _counted(user, level1, level2))


def _counted(user: User, level1: int, level2: int) -> User:
    return replace(user, level1Count=user.level1Count + level1, level2Count=user.level2Count + level2)
