"""The command that compares: is the journal whole, and do documents and sinks agree with it?"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from eventstore.records import NO_END, BlockRange
from eventstore.report import Check
from projections.errors import ConfigurationError
from projections.service.application import verify as application
from projections.service.cli.app import JsonOption, app, configuration
from projections.service.records.runs import Outcome
from projections.service.runtime.run_recorder import recorded
from projections.service.runtime.wiring import planned
from projections.service.terminal.display import PROGRESS
from projections.service.terminal.output import out, print_json
from projections.service.verification import checks
from projections.verify.sinks import Sample


@app.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(checks.CHECKS)}; none: all.")
    ] = None,
    *,
    projection: Annotated[str | None, typer.Option(help="Only this projection.")] = None,
    contract: Annotated[str | None, typer.Option(help="Events of this contract only.")] = None,
    from_block: Annotated[int | None, typer.Option(min=0, help="Events from this block on.")] = None,
    to_block: Annotated[int | None, typer.Option(min=0, help="Events up to this block.")] = None,
    sample: Annotated[
        str | None,
        typer.Option(help="Of large sinks only this share, e.g. 1%; documents are not folded again."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Which sample is drawn.")] = 0,
    repair: Annotated[bool, typer.Option("--repair", help="Put right what differs, and look again.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare what is stored with what it was made from, and name what differs.

    The exit code is 3 where something does, and stays so; 1 where something could not be looked at.
    """
    if from_block is not None and to_block is not None and from_block > to_block:
        raise ConfigurationError(f"--from-block {from_block} is above --to-block {to_block}.")
    blocks = None
    if from_block is not None or to_block is not None:
        blocks = BlockRange(from_block or 0, NO_END if to_block is None else to_block)
    wanted = checks.VerificationScope(
        projection=projection,
        contract=contract,
        blocks=blocks,
        repair=repair,
        sample=None if sample is None else Sample(_share(sample), seed),
    )
    given = {
        "--projection": projection,
        "--contract": contract,
        "--from-block": from_block,
        "--to-block": to_block,
        "--sample": sample,
    }
    said = [*(names or []), *(f"{option} {value}" for option, value in given.items() if value is not None)]
    with planned(configuration()) as plan, recorded(plan.store, " ".join(["verify", *said])) as note:
        found = application.verify(plan, names or [], wanted, progress=PROGRESS)
        outcome = Outcome.DONE if all(check.ok for check in found) else Outcome.FAILED
        if any(check.differs for check in found):
            outcome = Outcome.DIFFERS
        note("; ".join(_line(check) for check in found), outcome)
    if as_json:
        print_json({"ok": outcome is Outcome.DONE, "checks": [_record(check) for check in found]})
    else:
        _show(found)
    if outcome is not Outcome.DONE:
        raise typer.Exit(int(outcome))


def _share(text: str) -> float:
    """Reads 1%, 0.5% or 0.01 as a share. Raises `ConfigurationError` if it is not a share."""
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise ConfigurationError(f"--sample {text} is not a share above 0% and up to 100%.")
    return share


def _show(found: list[Check]) -> None:
    for check in found:
        out().print(_line(check))
        for item in check.differences:
            out().print(f"   {item.what}: {item.detail}")
        if check.found > len(check.differences):
            out().print(f"   and {check.found - len(check.differences):,} more")
        if check.note:
            out().print(f"   {check.note}")


def _line(check: Check) -> str:
    """One check in a line: `journal main: ok, 12,345 looked at`."""
    if check.error and not check.checked and not check.found:
        return f"{check.name}: could not be checked: {check.error}"
    said = "not all could be checked" if check.error else "ok"
    if check.found:
        said = f"{check.found:,} {'differ' if check.found > 1 else 'differs'}"
    elif not check.error and not check.checked:
        return f"{check.name}: nothing to compare"  # the note says why that is as it should be
    mended = f", {check.repaired:,} repaired" if check.repaired else ""
    unseen = f": {check.error}" if check.error else ""
    return f"{check.name}: {said}{mended}, {check.checked:,} looked at{unseen}"


def _record(check: Check) -> dict[str, Any]:
    return {"name": check.name, "ok": check.ok, **msgspec.structs.asdict(check)}
