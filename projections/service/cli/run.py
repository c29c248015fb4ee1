"""The command that goes on: run, the service."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Annotated

import msgspec
import typer

from projections.errors import ConfigurationError
from projections.service.application.run import STAGES, follow
from projections.service.cli.app import app, configuration
from projections.service.config.http import elsewhere
from projections.service.runtime.run_recorder import recorded
from projections.service.runtime.wiring import planned
from projections.service.terminal.display import PROGRESS
from projections.service.terminal.log_lines import logged


@app.command()
def run(
    *,
    only: Annotated[
        str, typer.Option(help="Stages to run here, of ingest,project,publish,prove,serve; default all.")
    ] = ",".join(STAGES),
    listen: Annotated[
        str | None,
        typer.Option(envvar="CHAINFOLD_LISTEN", help="HOST:PORT to serve at, instead of [http] listen."),
    ] = None,
) -> None:
    """The service: follow the chain, or run the schedule, until told to stop.

    With [http] it serves too: the API where serve is among its stages, else health and metrics only.
    Several on one machine each need a --listen of their own.

    SIGTERM or Ctrl-C ends it: steps that have begun are finished, leases are given back.
    """
    wanted = [part.strip() for part in only.split(",") if part.strip()]
    if not wanted:
        raise ConfigurationError("--only names no stage.", hint=f"Known are {', '.join(STAGES)}.")
    for part in wanted:
        if part not in STAGES:
            raise ConfigurationError(f"--only {part} is not a stage.", hint=f"Known are {', '.join(STAGES)}.")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    config = configuration()
    if listen is not None:
        config = msgspec.structs.replace(config, http=elsewhere(config.http, listen))
    if wanted == ["serve"] and config.http is None:
        raise ConfigurationError("--only serve, and there is no [http] in the configuration.")
    with planned(config) as plan, recorded(plan.store, "run"):
        all_ended = follow(plan, stop, wanted, observe=logged(), progress=PROGRESS)
    if not all_ended:  # threads that wait for a node would hold up the exit for as long
        sys.stderr.flush()
        os._exit(0)
