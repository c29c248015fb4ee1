"""How fast sinks and journal are compared with what they were made from, in documents and logs a second.

    python -m bench.verify --documents 100000

Registrations are written straight into the journal, folded and published to the MongoDB-compatible server and
to Redis, each started for this; then `verify journal`, `documents` and `sinks` look at all of it.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.table import Table

from bench import rebuild, stores
from bench.outcome import Stopwatch
from bench.scenario import CHAIN, CONTRACT, EVENT, Scenario
from projections.service.application.verify import verify
from projections.service.config.loader import load
from projections.service.embedded.servers import EmbeddedMongo, EmbeddedRedis
from projections.service.runtime.leases import held
from projections.service.runtime.loops import Failed, Stepped, to_end
from projections.service.runtime.wiring import Plan

RESULTS = Path("bench/results")
CONFIG = """
store = {{ url = "{store}" }}
mongo = {{ url = "{mongo}", database = "bench" }}
redis = {{ url = "{redis}" }}
[chains.loopback]
rpc = "http://127.0.0.1:9"
chain_id = {chain}
[contracts.referral]
chain = "loopback"
address = "{contract}"
start_block = 1
events = ["{event}"]
[projections.referrals]
projector = "referrals"
contract = "referral"
mongo = {{ collection = "users" }}
redis = {{ key = "user:{{address}}" }}
"""


class Figures(Struct, frozen=True):
    """What one check looked at, and how long it took: medians over the runs."""

    name: str
    checked: int
    seconds: float
    cpu: float


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, default=RESULTS / "verify.json")
    options = parser.parse_args()
    scenario = Scenario(events=2 * options.documents, users=options.documents)
    found: list[Figures] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench")))
        store = stack.enter_context(stores.empty(stack.enter_context(stores.server(options.store))))
        mongo = stack.enter_context(EmbeddedMongo(folder / "mongo")).url
        redis = stack.enter_context(EmbeddedRedis(folder / "redis")).url
        rebuild.fill(rebuild.Place(store, ""), scenario)
        (folder / "chainfold.toml").write_text(
            CONFIG.format(store=store, mongo=mongo, redis=redis, chain=CHAIN, contract=CONTRACT, event=EVENT),
            encoding="utf-8",
        )
        plan = Plan(load(folder / "chainfold.toml"))
        stack.callback(plan.close)
        for stage in (*plan.fold(), *plan.publish()):
            with held([stage.lease]):
                stage.open()
                to_end(stage, _observe)
            stage.close()
        for name in ("journal", "documents", "sinks"):
            times: dict[str, list[Stopwatch]] = {}
            checked: dict[str, int] = {}
            for _ in range(options.runs):
                with Stopwatch() as watch:
                    checks = verify(plan, [name])
                for check in checks:
                    if not check.ok:
                        raise RuntimeError(f"{check}")
                    checked[check.name] = check.checked
                times.setdefault(name, []).append(watch)
            found.append(
                Figures(
                    ", ".join(checked),
                    sum(checked.values()),
                    median(w.seconds for w in times[name]),
                    median(w.cpu for w in times[name]),
                )
            )
    table = Table("check", "looked at", "a second", "computed by us, s", box=None)
    for item in found:
        table.add_row(
            item.name, f"{item.checked:,}", f"{item.checked / item.seconds:,.0f}", f"{item.cpu:.1f}"
        )
    Console().print(table)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    return 0


def _observe(done: Stepped | Failed) -> None:
    """A benchmark in which a step failed measures something else."""
    error = done.error if isinstance(done, Failed) else getattr(done.record, "error", None)
    if error is not None:
        raise RuntimeError(f"{done.stage}: {error}")


if __name__ == "__main__":
    sys.exit(main())
