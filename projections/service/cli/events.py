"""The command that shows raw history: what was learned, when, and what was made of it later."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import islice
from typing import Annotated, Any, Literal

import msgspec
import typer
from msgspec.structs import replace

from eventstore.journal.history import PAGE, Question, ask
from eventstore.journal.journal import Journal
from eventstore.records import Filter
from projections.errors import ConfigurationError
from projections.service.cli.app import JsonOption, app, configuration
from projections.service.runtime.wiring import Plan, planned
from projections.service.status.audit import EventRow, event_row, narrowed
from projections.service.status.declared import Declared
from projections.service.terminal.output import note, out, table

Format = Literal["table", "json", "jsonl", "csv"]
SHOWN = 1_000
"""Rows of a table, where no limit was named."""

COLUMNS = EventRow.__struct_fields__


@app.command()
def events(
    *,
    address: Annotated[str | None, typer.Option(help="Of the contract at this address.")] = None,
    contract: Annotated[str | None, typer.Option(help="Of this contract of the configuration.")] = None,
    event: Annotated[str | None, typer.Option(help="Of the declared events of this name.")] = None,
    user: Annotated[str | None, typer.Option(help="That name this address in a parameter.")] = None,
    tx: Annotated[str | None, typer.Option(help="Of this transaction.")] = None,
    on_chain: Annotated[
        str | None, typer.Option("--chain", help="Of this chain of the configuration.")
    ] = None,
    from_block: Annotated[int, typer.Option(min=0)] = 0,
    to_block: Annotated[int | None, typer.Option(min=0)] = None,
    canonical: Annotated[bool, typer.Option("--canonical", help="Those on the chain; the default.")] = False,
    orphaned: Annotated[bool, typer.Option("--orphaned", help="Those that left the chain.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Canonical and orphaned ones.")] = False,
    as_of: Annotated[
        int | None, typer.Option(min=0, help="As it was known at this entry of the journal.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help=f"At most so many; of a table {SHOWN:,}, else all.")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="jsonl is one JSON document a line.")] = "table",
    as_json: JsonOption = False,
) -> None:
    """The raw history, as it was learned: decoded where the event is declared.

    Nothing is ever removed from it: what left the chain is shown by --orphaned or --all, and what was known
    at any entry of the journal by --as-of.
    """
    if canonical + orphaned + every > 1:
        raise ConfigurationError("--canonical, --orphaned and --all exclude each other.")
    if to_block is not None and to_block < from_block:
        raise ConfigurationError(f"--from-block {from_block} is above --to-block {to_block}.")
    chosen = "json" if as_json else form
    most = SHOWN if limit is None and chosen == "table" else limit
    asked = Question(
        first=from_block,
        last=to_block,
        names=_hex(user, 20, "--user"),
        tx_hash=_hex(tx, 32, "--tx"),
        orphaned=None if every else orphaned,
        as_of=as_of,
    )
    with planned(configuration()) as plan:
        chains = _chains(plan, on_chain, contract, as_of)
        of = _hex(address, 20, "--address")
        filters = narrowed(plan.config, chains, contract=contract, address=of, event=event)
        with closing(_told(plan, asked, filters, event)) as found:
            _WRITERS[chosen](islice(found, most))
            if most is not None and next(found, None) is not None:
                note(f"The first {most:,}; see more with --limit or --from-block.")


# --- what is asked for ---


def _chains(plan: Plan, named: str | None, contract: str | None, as_of: int | None) -> list[str]:
    """The names of the chains to look at."""
    known = plan.config.chains
    if named is not None and named not in known:
        raise ConfigurationError(f"There is no chain {named}.", hint=f"Known are: {', '.join(known)}.")
    if contract is not None:
        of = plan.contract(contract).chain
        if named not in (None, of):
            raise ConfigurationError(f"The contract {contract} is on the chain {of}, not on {named}.")
        named = of
    chains = list(known) if named is None else [named]
    if as_of is None:
        return chains
    if len(chains) > 1:
        raise ConfigurationError(
            "Every chain has a journal with entries of its own.", hint="Name one with --chain."
        )
    with plan.store.read() as tx:
        head = Journal(tx, known[chains[0]].chain_id).head()
    if as_of > head:
        raise ConfigurationError(f"The journal of {chains[0]} ends at entry {head:,}, before {as_of:,}.")
    return chains


def _hex(text: str | None, width: int, option: str) -> bytes | None:
    if text is None:
        return None
    if not re.fullmatch(rf"0[xX][0-9a-fA-F]{{{2 * width}}}", text):
        raise ConfigurationError(f"{option} {text} is not 0x and {2 * width} hexadecimal digits.")
    return bytes.fromhex(text[2:])


# --- what is shown ---


def _told(
    plan: Plan, asked: Question, chosen: dict[str, tuple[Filter, ...] | None], event: str | None
) -> Generator[dict[str, Any]]:
    """Chain by chain, each in one snapshot; of `event` alone, if it is one."""
    for name, filters in chosen.items():
        declared = Declared(plan.config, name)
        with plan.store.read() as tx:
            for row in ask(tx, plan.config.chains[name].chain_id, replace(asked, filters=filters)):
                if event is None or declared.is_of(row.log, event):
                    yield msgspec.structs.asdict(event_row(name, row, declared))


def _json(found: Iterator[dict[str, Any]]) -> None:
    """One document, written as it comes."""
    between = "[\n"
    for item in found:
        sys.stdout.write(between + msgspec.json.encode(item).decode())
        between = ",\n"
    sys.stdout.write("[]\n" if between == "[\n" else "\n]\n")


def _jsonl(found: Iterator[dict[str, Any]]) -> None:
    for item in found:
        sys.stdout.write(msgspec.json.encode(item).decode() + "\n")


def _csv(found: Iterator[dict[str, Any]]) -> None:
    """Nothing is an empty cell; args and marks are JSON, topics stand apart by a space."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(COLUMNS)
    for item in found:
        flat = item | {
            "args": msgspec.json.encode(item["args"]).decode() if item["event"] else "",
            "marks": msgspec.json.encode(item["marks"]).decode() if item["event"] else "",
            "topics": " ".join(item["topics"]),
        }
        writer.writerow(["" if flat[column] is None else flat[column] for column in COLUMNS])


def _table(found: Iterator[dict[str, Any]]) -> None:
    """A table for every page, so that millions of rows need the memory of one."""
    columns = ["chain", "block", "index", "event", "transaction", "entry", "recorded", "orphaned by"]
    rows = [_row(item) for item in islice(found, PAGE)]
    while True:
        out().print(table("", columns, rows))
        rows = [_row(item) for item in islice(found, PAGE)]
        if not rows:
            return


_WRITERS: dict[Format, Callable[[Iterator[dict[str, Any]]], None]] = {
    "table": _table,
    "json": _json,
    "jsonl": _jsonl,
    "csv": _csv,
}


def _row(item: dict[str, Any]) -> list[Any]:
    return [
        item["chain"],
        item["block"],
        item["log_index"],
        _said(item),
        item["tx_hash"][:18] + "...",
        item["entry"],
        item["recorded_at"][:19] + "Z",
        item["orphaned_by"],
    ]


def _said(item: dict[str, Any]) -> str:
    if item["event"] is None:
        return item["topics"][0] if item["topics"] else "(no topics)"
    shown = [
        f"{name}={value}{' (see marks)' if name in item['marks'] else ''}"
        for name, value in item["args"].items()
    ]
    return f"{item['event']}({', '.join(shown)})"
