"""What `run` serves, tells and does by the clock: are libraries, the port, addresses and places there?"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from eventstore.storage.lease import this_process
from projections.errors import ConfigurationError
from projections.service.alerts.delivery import AlertAddress
from projections.service.checkup import Trial
from projections.service.config.http import Http
from projections.service.http.serving import libraries
from projections.service.records.runs import Runs
from projections.service.runtime import backup
from projections.service.runtime.wiring import Plan


def trials(plan: Plan) -> Iterator[Trial]:
    """The server of `[http]`, the addresses of `[alerts]`, the backup of `[schedule]`, extras."""
    if plan.config.http is not None:
        yield Trial("http", partial(_http, plan, plan.config.http))
    for place, url in enumerate(plan.config.alerts.urls):
        yield Trial(f"alerts.urls[{place}]", partial(_address, url, place))
    if plan.config.schedule.backup_to is not None:
        yield Trial("schedule.backup_to", partial(_backup, plan, plan.config.schedule.backup_to))
    yield Trial("extras", _extras)


def _http(plan: Plan, settings: Http) -> list[str]:
    """The libraries, then the address. That a service of this store has it already is as it should be."""
    libraries()
    from projections.service.http.server import bound

    try:
        bound(settings).close()
    except ConfigurationError:
        with plan.store.read() as tx:
            runs = [run for run in Runs(tx).listed(limit=100, command="run") if run.state == "running"]
        here = this_process().split("|")[:2]
        pids = [run.owner.split("|")[2] for run in runs if run.owner.split("|")[:2] == here]
        if not pids:
            raise
        return [
            f"{settings.host}:{settings.port} is taken, and `run` is at work here already "
            f"(process {', '.join(pids)}); another one needs a --listen of its own"
        ]
    return []


def _address(url: str, place: int) -> list[str]:
    """Only whether Apprise knows it: `chainfold alerts test` sends a message."""
    AlertAddress(url, place=place)
    return []


def _backup(plan: Plan, directory: Path) -> list[str]:
    backup.refuse(plan.store, directory)
    return []


def _extras() -> list[str]:
    """What is not installed and no part of this configuration asks for at the start."""
    return [] if find_spec("pyarrow") else ["parquet is not installed: `chainfold export` would be refused"]
