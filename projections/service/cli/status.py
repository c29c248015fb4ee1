"""The commands that only look: status, show, stats."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any

import msgspec
import typer

from eventstore.errors import ChainfoldError
from projections.errors import ConfigurationError
from projections.fold.document_type import Shape
from projections.fold.replay import Replay, Touch, undone
from projections.service.cli.app import JsonOption, app, configuration
from projections.service.cli.watch import watched
from projections.service.runtime.wiring import planned
from projections.service.status.overview import whole_status
from projections.service.status.projections import field_sums, served_generation
from projections.service.terminal.board import board
from projections.service.terminal.output import note, out, print_json, table
from projections.sinks.capabilities import Aggregating
from projections.values.fields import beside


@app.command()
def status(
    *,
    as_json: JsonOption = False,
    check: Annotated[
        bool, typer.Option("--check", help="Exit 1 where anything is in error or an incident is open.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Again and again, with rates, until Ctrl-C.")
    ] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks of --watch.")] = 2.0,
) -> None:
    """Where everything stands, and how far behind.

    Per chain, projection and sink; with --check the exit code is 1 where anything is in error, a sink refuses
    what it is sent, or an incident is open.

    --watch goes on while the store is away, and says so. Without a terminal it prints a line for each look,
    with --json a document on one line.
    """
    if watch and check:
        raise ConfigurationError("--watch and --check exclude each other: --watch has no end.")
    if watch:
        watched(configuration(), every=interval, as_json=as_json)
        return
    with planned(configuration()) as plan:
        found = whole_status(plan)
    if as_json:
        print_json(found)
    else:
        for part in board(found):
            out().print(part)
    if check and not found.healthy:
        raise typer.Exit(1)


@app.command()
def show(
    projection: Annotated[str, typer.Argument(help="Which projection.")],
    key: Annotated[str, typer.Argument(help="The document's key, e.g. an address in any case.")],
    *,
    at_block: Annotated[int | None, typer.Option(min=0, help="As it was after this block.")] = None,
    history: Annotated[bool, typer.Option("--history", help="And the events that made it.")] = False,
    as_json: JsonOption = False,
) -> None:
    """One document, now or after any past block, and the events that made it."""
    key = _key(key)
    with planned(configuration()) as plan:
        chosen = plan.named(projection)
        served = served_generation(plan.store, projection)
        if served is None:
            raise ChainfoldError(f"{projection} has not been built yet.", hint="Run `chainfold sync`.")
        block = served.block if at_block is None else at_block
        if block > served.block:
            raise ConfigurationError(f"{projection} is at block {served.block:,}, not yet at {block:,}.")
        known, body = undone(plan.store, chosen, key, block)
        events: list[dict[str, Any]] = []
        found = msgspec.json.decode(body) if body is not None else None
        if history or not known:
            if not history:
                note(f"Block {block:,} is below what can be undone: folding from the first block ...")
            documents, touches = Replay(plan.store, chosen).to(block, watch=key)
            past = documents.get(key)
            encode = Shape(type(chosen.projector)).encode
            found = None if past is None else msgspec.json.decode(encode(past))
            events = [_touch(item, encode) for item in touches]
    if found is None and not events:
        when = "" if at_block is None else f" after block {block:,}"
        raise ChainfoldError(f"{projection} has no document {key}{when}.")
    if as_json:
        print_json({"document": found, "history": events} if history else found)
        return
    for field, value in (found or {}).items():
        out().print(f"{field:20} {'-' if value is None else value}")
    if history:
        columns = ["block", "log_index", "tx_hash", "entry", "changed to"]
        out().print(table("", columns, [[item[column] for column in columns] for item in events]))


def _touch(item: Touch, encode: Callable[[Any], bytes]) -> dict[str, Any]:
    after = None if item.after is None else encode(item.after).decode()
    return {
        "block": item.log.block_number,
        "log_index": item.log.log_index,
        "tx_hash": "0x" + item.log.tx_hash.hex(),
        "entry": item.log.entry,
        "changed to": after,
    }


@app.command()
def stats(
    projection: Annotated[str, typer.Argument(help="Which projection.")], *, as_json: JsonOption = False
) -> None:
    """The totals, and what MongoDB itself counts."""
    with planned(configuration()) as plan:
        fields = plan.counted(plan.named(projection).name)
        totals = {"fold": field_sums(plan.store, projection, fields)}
        for sink in plan.sinks(projection):
            if isinstance(sink, Aggregating):
                counted = sink.totals(fields)
                sums = {beside("documents", name): counted[beside("count", name)] for name in fields}
                totals[sink.name] = {"documents": counted["count"], **sums}
            sink.close()
        wide = {beside("documents", name) for name in plan.wide(projection)}
    if as_json:
        print_json({name: found and _told(found, wide) for name, found in totals.items()})
        return
    columns = ["", "documents", *(beside("documents", name) for name in fields)]
    rows = [[name, *(found or {}).values()] for name, found in totals.items() if found]
    if not rows:
        out().print(f"{projection} has not been built yet: run `chainfold sync`.")
        return
    out().print(table("", columns, rows))


def _told(sums: Mapping[str, int], wide: Collection[str]) -> dict[str, int | str]:
    """Sums as JSON has them: text for those of wide integers."""
    return {name: str(total) if name in wide else total for name, total in sums.items()}


def _key(text: str) -> str:
    return text.lower() if re.fullmatch(r"0[xX][0-9a-fA-F]{40}", text) else text
