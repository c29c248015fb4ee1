"""The parts of a configuration that are valid and have no effect: reported before a user misses them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

from msgspec import Struct

from projections import projectors as shipped
from projections.decoding.event import Event, parse
from projections.decoding.meaning import Declaration, Meaning
from projections.service.config.settings import Contract
from projections.service.runtime.wiring import Plan

NAMED = 5
"""Events that one line names; the others are counted."""


class Remark(Struct, frozen=True):
    """`about` is projections.NAME or contracts.NAME; `said` a sentence about it, in full, and `short` for one
    line: empty where it is nothing that anybody need look at before a sync."""

    about: str
    said: str
    short: str

    def __str__(self) -> str:
        return f"{self.about}: {self.said}"


def remarks(plan: Plan) -> list[Remark]:
    """Handlers that nothing calls, events that no handler takes, and events that no log can be matched to."""
    return [item for name in plan.projections for item in _of_projection(plan, name)] + [
        item for name in plan.config.contracts for item in _of_contract(plan, name)
    ]


def as_line(found: Iterable[Remark]) -> str:
    """All of them in one line, long lists cut."""
    return " ".join(f"{item.about}: {item.short}" for item in found)


def _remark(about: str, said: str) -> Remark:
    return Remark(about, said, said)


# --- handlers ---


def _of_projection(plan: Plan, name: str) -> Iterator[Remark]:
    projector, about = type(plan.projections[name].projector), f"projections.{name}"
    called = {item.route.plan[0]: item for item in plan.bound[name]}
    taken = {item.declaration.event.name: item.route.plan[0] for item in plan.bound[name]}
    for method, signature in projector.handlers().items():
        if method in called:
            continue
        event = parse(signature).name
        dead = f"{projector.__name__}.{method} is never called: "
        lost = {
            item.name
            for source in plan.config.projections[name].sources
            for item in plan.config.contracts[source.contract].lost
        }
        if event in taken:
            yield _remark(about, f"{dead}{event} goes to {taken[event]}.")
        elif event in lost:
            yield _remark(about, f"{dead}{event} is left out of its contract's ABI.")
        else:
            near = _near(plan, name, event)
            said = f"{dead}no contract of it has an event {event}.{near}"
            yield Remark(about, said, said if near or not called or not _is_ours(projector) else "")


def _is_ours(projector: type) -> bool:
    """A projector that ships with this package handles more kinds of event than one contract has."""
    return projector.__module__.startswith(f"{shipped.__name__}.")


def _near(plan: Plan, projection: str, event: str) -> str:
    contracts = {source.contract for source in plan.config.projections[projection].sources}
    known = {item.name for name in sorted(contracts) for item in plan.config.contracts[name].events}
    handled = {item.declaration.event.name for item in plan.bound[projection]}
    found = difflib.get_close_matches(event, sorted(known - handled), n=1)
    return f" Did you mean {found[0]}?" if found else ""


# --- events ---


def _of_contract(plan: Plan, name: str) -> Iterator[Remark]:
    contract, about = plan.config.contracts[name], f"contracts.{name}"
    meaning = plan.config.meanings[contract.chain]
    readers = [
        source
        for chosen in plan.config.projections.values()
        for source in chosen.sources
        if source.contract == name
    ]
    wanted = {event for source in readers for event in source.events or [e.name for e in contract.events]}
    handled = {
        (item.declaration.address, item.declaration.event.layout)
        for bound in plan.bound.values()
        for item in bound
    }
    left = [
        event
        for event in contract.events
        if event.name in wanted
        and not any((address, event.layout) in handled for address in contract.addresses)
    ]
    if not readers:
        yield _remark(about, "no projection reads it.")
    elif left:
        others = {event.name for event in contract.events if event not in left}
        names = list(dict.fromkeys(str(e) if e.name in others else e.name for e in left))
        yield Remark(about, f"no handler takes {', '.join(names)}.", f"no handler takes {_cut(names)}.")
    for item in contract.lost:
        yield Remark(about, f"{item.name} is left out: {item.said}", f"{item.name} is left out.")
    yield from _anonymous(about, name, contract, meaning)


def _anonymous(about: str, name: str, contract: Contract, meaning: Meaning) -> Iterator[Remark]:
    said: dict[str, None] = {}
    for event in contract.events:
        if not event.anonymous:
            continue
        if contract.topics == "declared":
            said[
                f'topics = "declared" fetches all of it: no topic tells the logs of {event.name}, which is '
                "anonymous."
            ] = None
        for address in contract.addresses:
            own = Declaration(name, address, event, contract.start_block or 0, contract.end_block)
            for rival in meaning.rivals(own):
                said[_no_log(event, rival.event)] = None
            for forged in meaning.posing(own):
                first = next(item.name for item in event.parameters if item.indexed)
                said[
                    f"who chooses {first} of {event.name}, which is anonymous, can have its log taken for "
                    f"{forged.event.name}."
                ] = None
    for sentence in said:
        yield _remark(about, sentence)


def _no_log(one: Event, other: Event) -> str:
    both = " and ".join(sorted((str(one), str(other))))
    return f"no log can tell {both} apart, which are anonymous: logs of both stay raw."


def _cut(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more (see `chainfold check`)" if more > 0 else "")
