"""The new code of the rebuild's benchmark: as the old one, but for one user in 256."""

from __future__ import annotations

from typing import Any

from projections.projectors import handles
from projections.projectors.referrals import NOBODY, Referrals, Users


class Renewed(Referrals):
    """Referrals, in which users whose address begins with a zero byte registered a day earlier."""

    @handles("ReferralRegistered(address indexed user, address indexed referrer, uint256 timestamp)")
    def registered(self, event: Any, users: Users) -> None:
        referrer = None if event.referrer in (NOBODY, event.user) else event.referrer
        day = 86_400 if event.user.startswith("0x00") else 0
        self._set_edge(users, event.user, referrer, event.timestamp - day)
