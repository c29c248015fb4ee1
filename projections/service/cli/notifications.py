"""The commands of the webhooks' outbox: notifications list, retry, replay."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from eventstore.errors import StoreError
from projections.errors import ConfigurationError
from projections.service.cli.app import JsonOption, app, configuration
from projections.service.cli.runs import when
from projections.service.records.requests import Requests, ResendNotifications
from projections.service.records.results import NotificationsDue, Result, sentence
from projections.service.runtime.asking import ask
from projections.service.runtime.stages import DeliverStage
from projections.service.runtime.wiring import Plan, planned
from projections.service.terminal.output import out, print_json, table
from projections.webhooks.outbox import STANDINGS, Notification, Outbox

notifications = typer.Typer(help="What webhooks tell: list it, and send it again.", no_args_is_help=True)
app.add_typer(notifications, name="notifications")

Which = Annotated[str | None, typer.Option("--projection", help="Only those of this projection.")]
Of = Annotated[str | None, typer.Option("--webhook", help="Only those of the webhook of this name.")]
Number = Annotated[int | None, typer.Argument(metavar="[ID]", help="Which one, by its number in the list.")]
All = Annotated[bool, typer.Option("--all", help="All that match, not one.")]


@notifications.command("list")
def listed(
    *,
    projection: Which = None,
    webhook: Of = None,
    state: Annotated[str | None, typer.Option(help="Only pending, delivered or dead ones.")] = None,
    key: Annotated[str | None, typer.Option(help="Only those of this document.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """What was delivered, what waits, what could not be delivered and why; the newest first."""
    if state is not None and state not in STANDINGS:
        raise ConfigurationError(
            f"--state {state} does not exist.", hint=f"Known are {', '.join(STANDINGS)}."
        )
    found: list[Notification] = []
    with planned(configuration()) as plan, plan.store.read() as tx:
        for stage in _stages(plan, projection, webhook):
            outbox = Outbox(tx, stage.projection, stage.rule)
            chosen = next((item for item in STANDINGS if item == state), None)
            found += outbox.listed(state=chosen, key=key, limit=limit)
    found = sorted(found, key=lambda item: -item.id)[:limit]
    if as_json:
        print_json([_record(item) for item in found])
        return
    rows: list[list[Any]] = [
        [
            str(item.id),
            f"{item.projection}.{item.rule}",
            item.key,
            item.occurrence,
            item.state,
            item.attempts,
            when(item.created_at),
            when(item.next_at) if item.state == "pending" and item.attempts else None,
            item.reason or None,
        ]
        for item in found
    ]
    columns = ["", "webhook", "key", "occurrence", "state", "attempts", "decided", "again at", "reason"]
    out().print(table("", columns, rows))


@notifications.command()
def retry(
    number: Number = None,
    *,
    every: All = False,
    projection: Which = None,
    webhook: Of = None,
    as_json: JsonOption = False,
) -> None:
    """Send dead letters again, and what waits at once; their attempts are counted from zero."""
    _again(number, projection, webhook, every=every, replay=False, as_json=as_json)


@notifications.command()
def replay(
    number: Number = None,
    *,
    every: All = False,
    projection: Which = None,
    webhook: Of = None,
    as_json: JsonOption = False,
) -> None:
    """Send again what was delivered, under the same idempotency key: for a receiver that lost it."""
    _again(number, projection, webhook, every=every, replay=True, as_json=as_json)


def _again(
    number: int | None,
    projection: str | None,
    webhook: str | None,
    *,
    every: bool,
    replay: bool,
    as_json: bool,
) -> None:
    """Asks the process that delivers, so it works while the service runs."""
    if (number is None) == (not every):
        raise ConfigurationError("Name one by its number, or say --all.")
    count = 0
    with planned(configuration()) as plan:
        for stage in _stages(plan, projection, webhook):
            requests = Requests(plan.store)
            count += _due(ask(stage, requests, ResendNotifications(replay, number)))
            stage.close()
    if number is not None and count == 0:
        raise StoreError(
            f"There is no notification {number} to send again.",
            hint="`chainfold notifications list` shows them; `retry` is for dead ones, `replay` for others.",
        )
    if as_json:
        print_json({"due": count})
    else:
        out().print(f"{count:,} notifications are due now; a service or the next sync sends them.")


def _due(result: Result) -> int:
    """How many notifications are due; a service of an earlier version answers with the number as text."""
    match result:
        case NotificationsDue(count):
            return count
        case _:
            return int(sentence(result))


def _stages(plan: Plan, projection: str | None, webhook: str | None) -> list[DeliverStage]:
    if projection is not None:
        plan.named(projection)
    found = [
        stage
        for stage in plan.deliver()
        if projection in (None, stage.projection) and webhook in (None, stage.rule)
    ]
    if webhook is not None and not found:
        raise ConfigurationError(f"There is no webhook {webhook}.")
    return found


def _record(item: Notification) -> dict[str, Any]:
    return {
        "id": item.id,
        "projection": item.projection,
        "webhook": item.rule,
        "key": item.key,
        "occurrence": item.occurrence,
        "idempotencyKey": item.idempotency_key,
        "state": item.state,
        "attempts": item.attempts,
        "reason": item.reason,
        "decided_at": item.created_at / 1e6,
        "next_at": item.next_at / 1e6 if item.state == "pending" else None,
        "settled_at": None if item.settled_at is None else item.settled_at / 1e6,
        "body": item.body.decode(),
    }
