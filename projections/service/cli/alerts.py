"""The commands of alerts: what went wrong and is over or not, and whether anybody would hear of it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from eventstore import clock
from eventstore.errors import ChainfoldError
from projections.errors import ConfigurationError
from projections.service.alerts.catalogue import kind_of
from projections.service.alerts.delivery import addresses
from projections.service.cli.app import JsonOption, app, configuration
from projections.service.cli.runs import when
from projections.service.records.incidents import Incident, Incidents
from projections.service.runtime.wiring import planned
from projections.service.terminal.output import out, print_json, table

commands = typer.Typer(
    no_args_is_help=True, help="What went wrong, and who gets the alerts.", rich_markup_mode=None
)
app.add_typer(commands, name="alerts")


@commands.command("list")
def listed(
    *,
    limit: Annotated[int, typer.Option(min=1)] = 50,
    before: Annotated[int | None, typer.Option(min=1, help="Only incidents with a lower number.")] = None,
    open_only: Annotated[bool, typer.Option("--open", help="Only those that are not over.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Incidents, the newest first: open and past, told or not."""
    with planned(configuration()) as plan, plan.store.read() as tx:
        incidents = Incidents(tx)
        if open_only:
            found = [item for item in reversed(incidents.opened()) if before is None or item.id < before][
                :limit
            ]
        else:
            found = incidents.listed(limit=limit, before=before)
        failing = incidents.failing()
    if as_json:
        print_json({"incidents": [_record(item) for item in found], "undelivered": failing})
        return
    if not found:
        out().print("There is no incident.")
    else:
        columns = ["", "since", "over", "incident", "told", "detail"]
        rows: list[list[Any]] = [
            [
                str(item.id),
                when(item.opened_at),
                when(item.closed_at),
                title(item),
                _told(item),
                item.detail,
            ]
            for item in found
        ]
        out().print(table("", columns, rows))
    if len(found) == limit:
        out().print(f"There may be more: --before {found[-1].id}.")
    for post in failing:
        out().print(
            f"{post.target} takes no alerts since {when(post.failing_since)} "
            f"({post.attempts:,} attempts): {post.reason}"
        )


@commands.command()
def test() -> None:
    """Send a test message to every address of [alerts]."""
    chosen = addresses(configuration().alerts.urls)
    if not chosen:
        raise ConfigurationError("alerts.urls names no address.", hint="It takes any Apprise URL.")
    failed = []
    for address in chosen:
        reason = address.send("chainfold: a test", "Alerts of chainfold arrive here.", "summary")
        out().print(
            f"{'ok  ' if reason is None else 'FAIL'}  {address.name}{f': {reason}' if reason else ''}"
        )
        failed += [] if reason is None else [address.name]
    if failed:
        raise ChainfoldError(f"{', '.join(failed)} did not take the test message.")


@commands.command()
def close(
    number: Annotated[int, typer.Argument(metavar="INCIDENT", help="Its number in `alerts list`.")],
    *,
    reason: Annotated[str, typer.Option(help="Why it is over.")] = "it was closed by hand",
) -> None:
    """Say that an incident is over when no process can see it any more: its projection was removed, say."""
    with planned(configuration()) as plan, plan.store.write() as tx:
        incidents = Incidents(tx)
        found = incidents.get(number)
        if found is None:
            raise ChainfoldError(f"There is no incident {number}.", hint="See `chainfold alerts list`.")
        if not incidents.close(found.key, reason, now=clock.now()):
            raise ChainfoldError(f"Incident {number} is over already.")
    out().print(f"Incident {number} is over: {reason}.")


def title(item: Incident) -> str:
    """An incident in a few words."""
    return kind_of(item.kind).title.format(subject=item.subject)


def _record(item: Incident) -> dict[str, Any]:
    return {
        **msgspec.to_builtins(item),
        "title": title(item),
        "todo": kind_of(item.kind).todo.format(subject=item.subject),
        **{
            name: None if (micros := getattr(item, name)) is None else micros / 1e6
            for name in ("opened_at", "closed_at", "told_at", "over_told_at")
        },
    }


def _told(item: Incident) -> str:
    if item.told_at is None:
        return "no"
    return "both" if item.over_told_at is not None else "begin"
