"""The commands about what did not work out: failures list, retry, skip."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from msgspec import structs

from projections.errors import ConfigurationError
from projections.fold.generation import Generations
from projections.fold.state import GenerationState
from projections.publish.set_aside import Aside
from projections.service.application.sync import failed_ranges
from projections.service.cli.app import JsonOption, app, configuration
from projections.service.records.requests import Requests, Retry, RetryDocuments, Skip
from projections.service.records.results import sentence
from projections.service.runtime.asking import ask
from projections.service.runtime.wiring import Plan, planned
from projections.service.terminal.output import out, print_json, table
from projections.values.moment import moment

failures = typer.Typer(
    help="Ranges, events and documents that did not work out: list, retry, skip.", no_args_is_help=True
)
app.add_typer(failures, name="failures")


@failures.command("list")
def list_failures(*, as_json: JsonOption = False) -> None:
    """Blocks that no endpoint gave, what halted a projection, what a quarantine passed over, and documents
    that a sink does not take."""
    with planned(configuration()) as plan:
        found: list[dict[str, Any]] = [{"state": "gap", **structs.asdict(gap)} for gap in failed_ranges(plan)]
        for name in plan.projections:
            found += _folding(plan, name)
            found += _set_aside(plan, name)
    if as_json:
        print_json(found)
        return
    if not found:
        out().print("No failures.")
        return
    rows = [
        [
            ".".join(item[name] for name in ("chain", "projection", "sink") if name in item),
            item["state"],
            item.get("block") or (f"{item['first_block']}-{item['last_block']}" if "chain" in item else None),
            item.get("key", item.get("log_index")),
            item["reason"],
        ]
        for item in found
    ]
    columns = ["projection or chain", "state", "block", "log index or key", "reason"]
    out().print(table("", columns, rows))


def _folding(plan: Plan, name: str) -> list[dict[str, Any]]:
    """What halted a projection, and the events that were passed over."""
    found: list[dict[str, Any]] = []
    with plan.store.read() as tx:
        generations = Generations(tx, name)
        for generation in (generations.served(), generations.building()):
            if generation is None:
                continue
            if generation.error is not None:
                found.append({"projection": name, "state": "halted", "reason": generation.error})
            found.extend(
                {
                    "projection": name,
                    "state": "quarantined",
                    "block": letter.block,
                    "log_index": letter.log_index,
                    "reason": letter.reason,
                    "stack": letter.stack,
                }
                for letter in GenerationState(tx, generation.id).dead_letters()
            )
    return found


def _set_aside(plan: Plan, name: str) -> list[dict[str, Any]]:
    """The documents that the sinks of a projection do not take."""
    with plan.store.read() as tx:
        return [
            {
                "projection": name,
                "sink": sink,
                "state": "set aside",
                "key": item.key,
                "revision": item.revision,
                "reason": item.reason,
                "attempts": item.attempts,
                "first_tried": moment(item.first_at / 1e6),
                "last_tried": moment(item.tried_at / 1e6),
                "tried_again": moment(item.next_at / 1e6),
            }
            for sink in plan.sink_kinds(name)
            for item in Aside(tx, name, sink).listed()
        ]


@failures.command("retry")
def retry(
    projection: Annotated[
        str | None, typer.Argument(help="Whose events are folded again; none: gaps are asked for again.")
    ] = None,
) -> None:
    """Try again what did not work out of a projection.

    The blocks whose events were passed over are folded again, from the lowest of them on, and the documents
    that a sink does not take are sent again.

    Without a projection: all blocks that no endpoint gave are asked for again, by the running service at
    once, else by the next sync; and all documents that a sink does not take are sent again.
    """
    with planned(configuration()) as plan:
        requests = Requests(plan.store)
        if projection is not None:
            stage = plan.fold_of(plan.named(projection).name)
            out().print(f"{projection}: {sentence(ask(stage, requests, Retry()))}.")
            _send_again(plan, projection)
            return
        for chain in plan.ingest():
            try:
                out().print(f"{chain.chain}: {sentence(ask(chain, requests, Retry()))}.")
            finally:
                chain.close()
        _send_again(plan, None)


def _send_again(plan: Plan, projection: str | None) -> None:
    """Asks the publishers to send again what their sinks refuse, and prints what came of it."""
    for name in plan.projections if projection is None else [projection]:
        waiting = {item["sink"] for item in _set_aside(plan, name)}
        for stage in plan.publish() if waiting else []:
            try:
                if stage.projection == name and stage.sink.name in waiting:
                    answer = ask(stage, Requests(plan.store), RetryDocuments())
                    out().print(f"{name}.{stage.sink.name}: {sentence(answer)}.")
            finally:
                stage.close()


@failures.command("skip")
def skip(
    projection: Annotated[str, typer.Argument(help="Which projection.")],
    *,
    block: Annotated[int, typer.Option(min=0, help="The event's block.")],
    log_index: Annotated[int, typer.Option(min=0, help="Its log index.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept.")],
) -> None:
    """Pass one event over, for ever: every rebuild honours it."""
    if not reason.strip():
        raise ConfigurationError("--reason must say why the event is passed over.")
    with planned(configuration()) as plan:
        stage = plan.fold_of(plan.named(projection).name)
        answer = ask(stage, Requests(plan.store), Skip(block, log_index, reason))
    out().print(f"{projection}: {sentence(answer)}.")
