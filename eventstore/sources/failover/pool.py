"""Which of several endpoints is asked next: those that serve the right chain, are healthy and do not lag.

Law: an endpoint is used only after it showed that it serves the chain, and shows it again each time it
is taken up; changing the endpoint never lowers the highest head seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Lock, Thread

from msgspec import Struct
from msgspec.structs import replace

from eventstore.errors import (
    BlockUnknown,
    RangeTooLarge,
    SourceError,
    SourceUnavailable,
    Throttled,
    Unreadable,
    WrongChain,
)
from eventstore.records import Header, Identity
from eventstore.sources import Node
from eventstore.sources.failover.endpoint import EndpointStatus, PooledEndpoint

SLACK = 5
"""How many blocks an endpoint may be behind the newest before it counts as lagging."""
PATIENCE = 2.0
"""Seconds that a look at all endpoints waits for the slow ones."""
REST = 1.0
"""Seconds from one look at all endpoints to the next, at least."""
MEMORY = 600.0
"""Seconds after which a head that no endpoint shows any more is forgotten."""


class _Seen(Struct, frozen=True):
    """The highest head shown so far, when, and by whom."""

    number: int
    at: float
    member: PooledEndpoint


class EndpointPool:
    """The endpoints in order of preference, and the one in use: it changes when it fails, and at a look
    at all heads (about every `survey` seconds, and when a pause ends), never from request to request."""

    def __init__(
        self,
        endpoints: Sequence[Node],
        *,
        chain_id: int | None,
        genesis: bytes | None,
        survey: float,
        clock: Callable[[], float],
    ) -> None:
        if not endpoints:
            raise ValueError("a failover source needs at least one endpoint")
        self.members = [PooledEndpoint(source, place) for place, source in enumerate(endpoints)]
        self.current = self.members[0]
        self._chain_id = chain_id
        self._genesis = genesis
        self._every = survey
        self._clock = clock
        self._lock = Lock()
        self._surveying = Lock()
        self._surveyed_at = clock() - REST
        self._survey_at = clock()
        self._highest: _Seen | None = None

    @property
    def top(self) -> int:
        """The highest head shown, -1 before the first. It is forgotten once no endpoint shows it any more."""
        highest = self._highest
        return highest.number if highest and self._clock() - highest.at <= MEMORY else -1

    @property
    def newest(self) -> int:
        """The highest of the heads that the endpoints showed last."""
        return max((member.head for member in self.members if member.head is not None), default=-1)

    def status(self) -> list[EndpointStatus]:
        """How every endpoint does, in order of preference. Asks none of them."""
        with self._lock:
            return [m.status(self._clock(), in_use=m is self.current) for m in self.members]

    # --- who is asked ---

    def candidates(self) -> list[PooledEndpoint]:
        """The endpoints that may be asked, in this order. Where all pause: the first to end its pause, unless
        it asked for patience; then the caller's own pauses are enough."""
        with self._lock:
            now = self._clock()
            usable = [member for member in self.members if member.health.usable(now)]
            if usable:
                return sorted(usable, key=lambda m: (m is not self.current, m.health.lagging, m.place))
            pausing = [m for m in self.members if not m.health.refused and not m.health.throttled]
            return sorted(pausing, key=lambda member: member.health.until)[:1]

    def answered(self, member: PooledEndpoint, *, began: float) -> None:
        """Notes an answer. An endpoint that answered in place of a failed one is in use from now on."""
        with self._lock:
            now = self._clock()
            member.health = member.health.answered(began=began, now=now)
            if member is self.current:
                return
            if self.current.health.usable(now):  # it is well, but did not have what was asked for
                self._survey_at = min(self._survey_at, now)
            else:
                self._take(member)

    def failed(self, member: PooledEndpoint, error: SourceError, *, began: float) -> None:
        """Notes an error: the endpoint pauses, unless it only lacks a block, takes less at once, or has one
        block that cannot be taken."""
        with self._lock:
            member.errors[type(error).__name__] += 1
            if isinstance(error, BlockUnknown | RangeTooLarge | Unreadable | WrongChain):
                return  # a wrong chain was refused where it was found
            member.health = member.health.failed(error, began=began, now=self._clock())
            member.verified = False
            self._survey_at = min(self._survey_at, member.health.until)

    def given_up(self, errors: Sequence[tuple[PooledEndpoint, SourceError]]) -> SourceError:
        """The error of the preferred endpoint, of those that may heal if there are; all are named."""
        with self._lock:
            refused = [m.health.refused for m in self.members if m.health.refused is not None]
            if len(refused) == len(self.members):
                return WrongChain(" ".join(refused), hint="No endpoint is left: mend chain_id or rpc.")
            asked = {member: error for member, error in errors if member.health.refused is None}
            rest = [member for member in self.members if member not in asked]
            well = [member for member in rest if member.health.refused is None and member.health.heals]
            chosen = next((error for error in asked.values() if error.retry), None)
            if chosen is None and well:
                back = min(member.health.until for member in well)
                chosen = Throttled(
                    "No endpoint that could answer may be asked now.",
                    hint="It is asked again.",
                    after=max(0.0, back - self._clock()),
                )
            elif chosen is None:
                chosen = next(iter(asked.values()), SourceError("No endpoint may be asked."))
            said = [_named(m, error.message) for m, error in asked.items() if error is not chosen]
            said += [member.health.refused or _named(member, member.health.reason) for member in rest]
            for member, error in asked.items():
                if error is chosen:
                    error.message = _named(member, error.message)
            if said:
                chosen.message += f" Other endpoints: {' '.join(said)}"
            return chosen

    def _take(self, member: PooledEndpoint) -> None:
        if member is not self.current:
            self.current.verified = False
            self.current = member

    # --- is it the chain? ---

    def verified(self, member: PooledEndpoint, *, again: bool = False) -> Identity:
        """The identity that `member` showed when it was taken up; raises `WrongChain` for another."""
        entered = self._clock()
        with member.verifying:
            if member.health.refused is not None:
                raise WrongChain(member.health.refused)
            if member.verified and not again and self._chain_id is not None and self._genesis is not None:
                return Identity(self._chain_id, self._genesis)
            if member.unverified and member.unverified[0] > entered:
                failed = member.unverified[1]  # of who asked while this thread waited
                raise SourceUnavailable(failed.message, hint=failed.hint) from failed
            try:
                identity = member.source.identity()
            except SourceError as error:
                member.unverified = self._clock(), error
                if isinstance(error, BlockUnknown):  # without block 0 it answers nothing that is believed
                    raise SourceError(error.message, hint=error.hint) from error
                raise
            with self._lock:
                wrong = self._difference(member, identity)
                if wrong is not None:
                    member.health = replace(member.health, refused=wrong)
                    raise WrongChain(wrong, hint="It is not asked again: correct rpc and restart.")
                self._chain_id, self._genesis = identity.chain_id, identity.genesis
                member.verified = True
            return identity

    def _difference(self, member: PooledEndpoint, identity: Identity) -> str | None:
        if self._chain_id not in (None, identity.chain_id):
            return f"{member.name} serves chain {identity.chain_id}, not chain {self._chain_id}."
        if self._genesis is not None and identity.genesis != self._genesis:
            return (
                f"{member.name} serves a chain {identity.chain_id} that begins with block"
                f" 0x{identity.genesis.hex()}, not with 0x{self._genesis.hex()}."
            )
        return None

    # --- how far is it? ---

    def shown(self, member: PooledEndpoint, header: Header) -> Header:
        """Notes a head; raises `BlockUnknown` where another endpoint may show the higher one seen."""
        with self._lock:
            member.head = header.number
            now, top = self._clock(), self.top
            alone = all(other is member or other.health.refused for other in self.members)
            if header.number < top and not alone:
                self._survey_at = min(self._survey_at, now)
                raise BlockUnknown(
                    f"{member.name} lags: its head is block {header.number}, block {top} was seen before.",
                    hint="It is asked again.",
                )
            self._highest = _Seen(header.number, now, member)
        return header

    def survey(self, *, now: bool = False) -> bool:
        """Looks at all endpoints if it is time to (or `now`), and goes over to the most preferred of those
        that are not behind. Was it done? Not where another thread is at it."""
        due = max(self._survey_at, self._surveyed_at + REST)
        if len(self.members) == 1 or (not now and self._clock() < due):
            return False
        if not self._surveying.acquire(blocking=False):
            return False
        try:
            self._survey()
        finally:
            self._surveying.release()
        return True

    def _survey(self) -> None:
        with self._lock:
            start = self._surveyed_at = self._clock()
            asked = [member for member in self.members if member.health.usable(start)]
            pauses = [m.health.until for m in self.members if m.health.until > start]
            self._survey_at = min([start + self._every, *pauses])
        heads = self._heads(asked)
        if not heads:
            return
        best = max(heads, key=lambda member: heads[member])
        with self._lock:
            highest = self._highest
            complete = all(member in heads or member.health.refused for member in self.members)
            if highest and complete and heads[best] < highest.number:
                # not even who showed it shows it any more: the chain is shorter now
                self._highest = _Seen(heads[best], self._clock(), best)
            for member, number in heads.items():
                slack = SLACK // 2 if member.health.lagging else SLACK
                member.health = replace(member.health, lagging=heads[best] - number > slack)
            top = self.top
            fit = [m for m, number in heads.items() if number >= top and not m.health.lagging]
            if fit:
                self._take(min(fit, key=lambda member: member.place))

    def _heads(self, members: Sequence[PooledEndpoint]) -> dict[PooledEndpoint, int]:
        """The heads of those that answer within `PATIENCE`, or of the first that answers at all."""
        answers: SimpleQueue[tuple[PooledEndpoint, int | None]] = SimpleQueue()
        heads: dict[PooledEndpoint, int] = {}

        def look(member: PooledEndpoint) -> None:
            found = None
            try:
                found = self._look(member)
            finally:
                answers.put((member, found))

        left = list(members)
        while left and self._genesis is None:  # the preferred says which chain it is, not the quickest
            number = self._look(member := left.pop(0))
            if number is not None:
                heads[member] = number
        for member in left:
            Thread(target=look, args=(member,), name=f"head of {member.name}", daemon=True).start()
        deadline = time.monotonic() + PATIENCE
        for _ in left:
            try:
                wait = max(0.0, deadline - time.monotonic())
                member, number = answers.get(timeout=wait if heads else None)
            except Empty:
                break
            if number is not None:
                heads[member] = number
        return heads

    def _look(self, member: PooledEndpoint) -> int | None:
        began = self._clock()
        try:
            self.verified(member)
            member.head = member.source.head().number
        except SourceError as error:
            self.failed(member, error, began=began)
            return None
        return member.head


def _named(member: PooledEndpoint, said: str) -> str:
    return said if member.name in said else f"{member.name}: {said}"
