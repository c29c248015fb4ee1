"""Several endpoints of one chain as one source: the preferred while it is well, else the next."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from eventstore.errors import BlockUnknown, RangeTooLarge, SourceError, SourceUnavailable
from eventstore.proof.header import Sealed
from eventstore.records import BlockRange, Header, Identity, Query
from eventstore.sources import Node
from eventstore.sources.checks import CheckedAnswer, check, joined
from eventstore.sources.failover.endpoint import EndpointStatus, PooledEndpoint
from eventstore.sources.failover.pool import EndpointPool

PIECES = 16
"""Into how many ranges one is split for an endpoint that takes less, before the caller shall ask for less."""

T = TypeVar("T")


class FailoverSource:
    """The `Source` over `endpoints`, the preferred first.

    All that belongs together comes from the one in use, for as long as it is well: it changes when
    that one fails, and about every `survey` seconds, when all heads are compared, back to the most
    preferred that is well and not behind. `chain_id` and `genesis` are what the endpoints must
    serve; what is not given, the first of them says. An endpoint of another chain is refused for good.

    A range wider than one of several takes is asked for in pieces there, so that the cap of the
    narrowest does not rule the others; one far wider raises `RangeTooLarge` with what would do.
    """

    def __init__(
        self,
        endpoints: Sequence[Node],
        *,
        chain_id: int | None = None,
        genesis: bytes | None = None,
        survey: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._pool = EndpointPool(endpoints, chain_id=chain_id, genesis=genesis, survey=survey, clock=clock)

    def __repr__(self) -> str:
        return f"FailoverSource({', '.join(repr(member.name) for member in self._pool.members)})"

    @property
    def name(self) -> str:
        """The endpoint in use."""
        return self._pool.current.name

    @property
    def requests(self) -> Counter[str]:
        """The calls made so far, by method, over all endpoints."""
        return sum((Counter(member.source.requests) for member in self._pool.members), Counter())

    def status(self) -> list[EndpointStatus]:
        """How every endpoint does, in order of preference. Asks none of them."""
        return self._pool.status()

    def close(self) -> None:
        """Ends all connections. The source cannot be used afterwards."""
        for member in self._pool.members:
            member.source.close()

    def has_code(self, address: bytes, block: int) -> bool:
        """Was there a contract at `address` after `block`? Errors as the port's."""
        return self._ask(lambda member: member.source.has_code(address, block))

    def syncing(self) -> bool:
        """Does the endpoint in use say that it is still catching up?"""
        return self._ask(lambda member: member.source.syncing())

    def linked(self, blocks: BlockRange, top: bytes) -> list[Sealed]:
        """See `proof.Evidence`: of the first endpoint whose headers come out right."""
        return self._ask(lambda member: member.source.linked(blocks, top))

    def rooted(self, block: Sealed) -> Sequence[Mapping[str, Any]]:
        """See `proof.Evidence`: of the first endpoint whose receipts come out right."""
        return self._ask(lambda member: member.source.rooted(block))

    # --- the port ---

    def identity(self) -> Identity:
        return self._ask(lambda member: self._pool.verified(member, again=True))

    def head(self) -> Header:
        try:
            return self._ask(self._head_of)
        except BlockUnknown:
            if not self._pool.survey(now=True):
                raise
        return self._ask(self._head_of)  # all were looked at: perhaps the head did fall

    def finalized(self) -> Header | None:
        return self._ask(lambda member: member.source.finalized())

    def headers(self, numbers: Sequence[int]) -> list[Header | None]:
        found: list[list[Header | None]] = []

        def ask(member: PooledEndpoint) -> list[Header | None]:
            headers = member.source.headers(numbers)
            found.append(headers)
            newest = self._pool.newest
            for number, header in zip(numbers, headers, strict=True):
                if header is None and number <= newest:
                    raise BlockUnknown(f"{member.name} does not have block {number}.")
            return headers

        try:
            return self._ask(ask)
        except SourceError:
            if not found:
                raise
            return found[0]

    def logs(self, query: Query, where: BlockRange | Header) -> CheckedAnswer:
        if isinstance(where, Header) or len(self._pool.members) == 1:
            wide = isinstance(where, BlockRange) and len(where) > 1
            return self._ask(lambda member: _checked(member, query, where), wide=wide)
        return self._ask(lambda member: _range(member, query, where), wide=len(where) > 1)

    def _ask(self, question: Callable[[PooledEndpoint], T], *, wide: bool = False) -> T:
        """The first answer, in the order of the pool. What a `wide` range is refused for is for the
        caller to know; so are two failures without words, for which its width may be to blame."""
        self._pool.survey()
        errors: list[tuple[PooledEndpoint, SourceError]] = []
        for member in self._pool.candidates():
            began = self._clock()
            try:
                self._pool.verified(member)
                answer = question(member)
            except SourceError as error:
                self._pool.failed(member, error, began=began)
                if wide and isinstance(error, RangeTooLarge):
                    raise
                errors.append((member, error))
                if wide and sum(isinstance(error, SourceUnavailable) for _, error in errors) == 2:
                    break
            else:
                self._pool.answered(member, began=began)
                return answer
        raise self._pool.given_up(errors)

    def _head_of(self, member: PooledEndpoint) -> Header:
        return self._pool.shown(member, member.source.head())


def _range(member: PooledEndpoint, query: Query, where: BlockRange) -> CheckedAnswer:
    """The answer for a range, asked for in pieces where the endpoint takes less at once."""
    answers: list[CheckedAnswer] = []
    first = where.first
    while True:
        part = _part(member, first, where)
        try:
            answer = _checked(member, query, part)
        except RangeTooLarge as error:
            cap = _cap(part, error)
            if cap is None:
                raise
            member.cap = cap
            continue
        answers.append(answer)
        if part.last == where.last:
            return joined(query, where, answers)
        first = part.last + 1


def _part(member: PooledEndpoint, first: int, where: BlockRange) -> BlockRange:
    cap = member.cap
    if cap is None:
        return BlockRange(first, where.last)
    if len(where) > cap * PIECES:
        raise RangeTooLarge(
            f"{member.name} takes ranges of {cap} blocks, and {len(where)} were asked for.",
            suggestion=(where.first, where.first + cap * PIECES - 1),
        )
    return BlockRange(first, min(where.last, first + cap - 1))


def _cap(asked: BlockRange, error: RangeTooLarge) -> int | None:
    """The cap in blocks that `error` names, where it explains the refusal: some count one block more."""
    width, limit = len(asked), error.limit
    if width == 1 or limit is None or not 0 < limit <= width:
        return None
    return limit - (limit == width)


def _checked(member: PooledEndpoint, query: Query, where: BlockRange | Header) -> CheckedAnswer:
    """An answer that passed the checks: an endpoint that fails them has failed."""
    return check(query, where, member.source.logs(query, where))
