"""The commands that only look: status, show, stats."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import typer

from eventstore.errors import ChainfoldError
from projections.errors import ConfigurationError
from projections.replay import Replay, Touch, undone
from projections.service import views
from projections.service.cli.app import Json, app, configuration, note, out, print_json, table
from projections.service.overview import whole_status
from projections.service.wiring import planned


@app.command()
def status(
    *,
    as_json: Json = False,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 where anything is in error.")] = False,
) -> None:
    """Where everything stands, and how far behind.

    Per chain, projection and sink; with --check the exit code is 1 where anything is in error.
    """
    with planned(configuration()) as plan:
        found = whole_status(plan)
    if as_json:
        print_json(found)
    else:
        _show_status(found)
    if check and not found.healthy:
        raise typer.Exit(1)


def _show_status(found: views.Status) -> None:
    console = out()
    rows: list[list[Any]]
    rows = [
        [
            name,
            item.head,
            item.finalized,
            item.covered_to,
            _proven(item),
            item.logs,
            item.entries,
            item.reorgs,
            _when(item.last_sync_at),
        ]
        for name, item in found.chains.items()
    ]
    columns = ["chain", "head", "final", "covered to", "proven", "logs", "entries", "reorgs", "last synced"]
    console.print(table("", columns, rows))
    for name, chain in found.chains.items():
        for gap in chain.gaps:
            console.print(f"{name}: blocks {gap.first_block:,} to {gap.last_block:,} are a gap: {gap.reason}")
        if chain.calls:
            made = ", ".join(f"{method} {count:,}" for method, count in chain.calls.items())
            console.print(f"{name}: {sum(chain.calls.values()):,} calls so far ({made})")
        for kind in chain.unhandled:
            topic = f"topic {kind.topic0}" if kind.topic0 else "no topic"
            console.print(f"{name}: {kind.contract} {kind.address} emits {topic}, which no event declares")
    rows = [
        [name, item.state, item.block, item.lag_blocks, item.documents, item.revision, _short(item.digest)]
        for name, item in found.projections.items()
    ]
    columns = ["projection", "state", "block", "blocks behind", "documents", "revision", "digest"]
    console.print(table("", columns, rows))
    for name, item in found.projections.items():
        if item.standing is not None:
            console.print(f"{name}: {item.standing}")
    rows = [[name, item.state, item.revision, item.lag_revisions] for name, item in found.sinks.items()]
    console.print(table("", ["sink", "state", "revision", "revisions behind"], rows))
    for group in (found.chains, found.projections, found.sinks):
        for name, any_item in group.items():
            if any_item.error:
                console.print(f"{name}: {any_item.error}")
    if found.holders:
        rows = [[name, item.host, str(item.pid), item.epoch] for name, item in found.holders.items()]
        console.print(table("", ["work", "on", "process", "times taken"], rows))
    if found.schedule:
        rows = [
            [job, _when(item.last), item.state, _when(item.next), item.detail]
            for job, item in found.schedule.items()
        ]
        console.print(table("", ["job", "last run", "ended", "next run", "what it did"], rows))
    for incident in found.incidents:
        told = "" if incident.told else ", not told"
        console.print(f"incident {incident.id} since {_when(incident.since)}{told}: {incident.title}")
    for post in found.undelivered:
        console.print(f"{post.target} takes no alerts since {_when(post.since)}: {post.reason}")


@app.command()
def show(
    projection: Annotated[str, typer.Argument(help="Which projection.")],
    key: Annotated[str, typer.Argument(help="The document's key, e.g. an address in any case.")],
    *,
    at_block: Annotated[int | None, typer.Option(min=0, help="As it was after this block.")] = None,
    history: Annotated[bool, typer.Option("--history", help="And the events that made it.")] = False,
    as_json: Json = False,
) -> None:
    """One document, now or after any past block, and the events that made it."""
    key = _key(key)
    with planned(configuration()) as plan:
        chosen = plan.named(projection)
        served = views.served(plan.store, projection)
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
            found = None if past is None else msgspec.to_builtins(past)
            events = [_touch(item) for item in touches]
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


def _touch(item: Touch) -> dict[str, Any]:
    after = None if item.after is None else msgspec.json.encode(item.after).decode()
    return {
        "block": item.log.block_number,
        "log_index": item.log.log_index,
        "tx_hash": "0x" + item.log.tx_hash.hex(),
        "entry": item.log.entry,
        "changed to": after,
    }


@app.command()
def stats(
    projection: Annotated[str, typer.Argument(help="Which projection.")], *, as_json: Json = False
) -> None:
    """The totals, and what MongoDB itself counts beside them."""
    from projections.sinks.mongo import MongoSink

    with planned(configuration()) as plan:
        fields = plan.counted(plan.named(projection).name)
        totals = {"fold": views.totals(plan.store, projection, fields)}
        for sink in plan.sinks(projection):
            if isinstance(sink, MongoSink):
                counted = sink.totals(fields)
                totals["mongo"] = {"documents": counted.pop("count"), **counted}
            sink.close()
    if as_json:
        print_json(totals)
        return
    columns = ["", "documents", *fields]
    rows = [[name, *(found or {}).values()] for name, found in totals.items() if found]
    if not rows:
        out().print(f"{projection} has not been built yet: run `chainfold sync`.")
        return
    out().print(table("", columns, rows))


def _key(text: str) -> str:
    return text.lower() if re.fullmatch(r"0[xX][0-9a-fA-F]{40}", text) else text


def _when(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _proven(item: views.ChainStatus) -> str | None:
    """The highest blocks that are proven without a hole: `0 to 19,000,000`."""
    if item.proven_from is None or item.proven_to is None:
        return None
    return f"{item.proven_from:,} to {item.proven_to:,}"


def _short(digest: str | None) -> str | None:
    return None if digest is None else digest[:12]
