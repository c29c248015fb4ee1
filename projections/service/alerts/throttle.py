"""Which alerts are due, and what they say. Pure.

Law: an incident is reported once when it opens and once when it is over, and its end only if its
beginning was reported. For one kind and subject at most one such pair begins within the cooldown, and at
most `per_hour` messages go out within an hour; incidents that had to wait are reported together.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Literal

from msgspec import Struct

from eventstore.records import NO_END
from projections.service.alerts.catalogue import kind_of
from projections.service.config.alerts import Pace
from projections.service.records.incidents import Incident, Key
from projections.values.moment import moment

HOUR = 3_600.0


class Message(Struct, frozen=True):
    """One alert: `begun` are the incidents whose beginning it tells, `ended` those that it tells whole."""

    mood: Literal["open", "over", "summary"]
    begun: tuple[int, ...]
    ended: tuple[int, ...]
    title: str
    body: str

    @property
    def first(self) -> int:
        """The incident that identifies this message, the same in every process."""
        return min(*self.begun, *self.ended, NO_END)


def due(untold: Sequence[Incident], told: Sequence[Incident], pace: Pace, *, now: int) -> Message | None:
    """The next message that may go out; None if there is nothing to report, or all of it has to wait.

    `untold` are the incidents that still have something to report, `told` those reported within the last
    hour and the last cooldown. Times are microseconds since 1970.
    """
    lately = sum(1 for at, _, _ in _messages(told) if at > now - int(HOUR * 1e6))
    if lately >= pace.per_hour:
        return None
    last = lately + 1 == pace.per_hour
    for item in untold:  # the end of a reported incident goes before anything else
        if item.told_at is not None and item.closed_at is not None:
            return _over(item, last=last)
    ordered = sorted((item for item in untold if item.told_at is None), key=lambda item: (item.key, item.id))
    waiting = [(key, list(group)) for key, group in groupby(ordered, key=lambda item: item.key)]
    for key, items in sorted(waiting, key=lambda pair: pair[1][0].id):
        begun = [item.told_at for item in told if item.key == key and item.told_at is not None]
        if begun and max(begun) > now - int(pace.cooldown * 1e6):
            continue
        return _begun(items, last=last)
    return None


def _messages(told: Sequence[Incident]) -> set[tuple[int, Key, bool]]:
    """What was sent: when, of what, and whether it told nothing but an end. One message tells many incidents
    of one key at one time, and two messages may go out at the same time."""
    begun = {(item.told_at, item.key, False) for item in told if item.told_at is not None}
    return begun | {
        (item.over_told_at, item.key, True)
        for item in told
        if item.over_told_at is not None and item.over_told_at != item.told_at
    }


def _begun(items: list[Incident], *, last: bool) -> Message:
    """The open incident, with a count of those before it that were not reported; or one message for those
    that came and went."""
    newest = items[-1]
    past = [item for item in items if item.closed_at is not None]
    lines = [newest.detail] if newest.detail else []
    if newest.closed_at is None:
        lines.append(f"Since {_when(newest.opened_at)}.")
        if past:
            lines.append(f"{_times(len(past))} before, since {_when(past[0].opened_at)}, it was not told.")
    else:
        it = (
            "It"
            if len(past) == 1
            else f"{_times(len(past))} since {_when(past[0].opened_at)}, the last time it"
        )
        lines.append(
            f"{it} began {_when(newest.opened_at)} and is over since {_when(newest.closed_at)}: "
            f"{_end(newest)}."
        )
    return _message(
        newest,
        "summary" if newest.closed_at is not None else "open",
        lines,
        begun=() if newest.closed_at is not None else (newest.id,),
        ended=tuple(item.id for item in past),
        last=last,
    )


def _over(item: Incident, *, last: bool) -> Message:
    end = _end(item)
    lines = [
        f"{end[:1].upper()}{end[1:]}.",
        f"It began {_when(item.opened_at)} and is over since {_when(item.closed_at or 0)}.",
    ]
    return _message(item, "over", lines, begun=(), ended=(item.id,), last=last)


def _message(
    item: Incident,
    mood: Literal["open", "over", "summary"],
    lines: list[str],
    *,
    begun: tuple[int, ...],
    ended: tuple[int, ...],
    last: bool,
) -> Message:
    kind = kind_of(item.kind)
    if mood == "open":
        lines.append(f"What to do: {kind.todo.format(subject=item.subject)}")
    if last:
        lines.append("The last alert for a while, there were many: `chainfold alerts list` shows all.")
    lines.append(f"(incident {item.id}, {item.kind})")
    title = kind.title.format(subject=item.subject)
    return Message(
        mood, begun, ended, f"chainfold: {'' if mood == 'open' else 'over: '}{title}", "\n".join(lines)
    )


def _end(item: Incident) -> str:
    return item.outcome or kind_of(item.kind).over


def _times(count: int) -> str:
    return "Once" if count == 1 else f"{count:,} times"


def _when(micros: int) -> str:
    return moment(micros / 1e6)
