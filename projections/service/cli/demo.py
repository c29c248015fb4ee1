"""The command `demo`: the whole river in a minute, with a reorg, a kill and a rebuild on the way."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from eventstore import private_files
from projections.errors import ConfigurationError
from projections.projectors.referrals import NOBODY
from projections.service.application.sync import synchronise
from projections.service.cli.app import app
from projections.service.cli.opening import steps_of
from projections.service.config.loader import load
from projections.service.config.template import template
from projections.service.runtime.leases import held
from projections.service.runtime.loops import all_of, to_end
from projections.service.runtime.summary import Summary
from projections.service.runtime.wiring import Plan, planned
from projections.service.status.chains import chain_status
from projections.service.status.projections import projection_status, served_documents
from projections.service.terminal.display import showing
from projections.service.terminal.output import table
from projections.sinks.capabilities import Paged, PageRequest

USERS = 400
PER_BLOCK = 20
DEPTH = 3


@app.command()
def demo(
    *,
    keep: Annotated[
        Path | None, typer.Option(help="A folder to leave everything in, to look at afterwards.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, another history.")] = 1,
) -> None:
    """Everything at once on embedded servers: register, sync, reorg, kill, rebuild."""
    from projections.service.demo.chain import network

    console = Console(soft_wrap=True, highlight=False, markup=False)
    with _folder(keep) as folder, network() as net:
        story = _Story(console, folder, seed)
        story.configure(net.url, net.contract)
        with story.servers(net.what):
            _tell(story, net, kept=keep is not None)


def _tell(story: _Story, net: Any, *, kept: bool) -> None:
    story.registrations(net)
    story.leaders()
    story.reorg(net)
    story.kill(net)
    story.rebuild()
    story.end(kept=kept)


class _Story:
    """The scenes of the demo, in order."""

    def __init__(self, console: Console, folder: Path, seed: int) -> None:
        self._console = console
        self._path = folder / "chainfold.toml"
        self._random = random.Random(seed)
        self._users = [f"0x{self._random.getrandbits(160):040x}" for _ in range(USERS)]
        self._joined = 0

    def say(self, text: str = "") -> None:
        self._console.print(text)

    def configure(self, url: str, contract: str) -> None:
        private_files.make(self._path)
        self._path.write_text(template(rpc=url, chain_id=31_337, contract=contract))
        self._url = url

    @contextlib.contextmanager
    def servers(self, chain: str) -> Iterator[None]:
        """Keeps the embedded servers up from the first scene to the last."""
        with self._plan() as plan:
            self.say(f"chain      {chain} at {self._url}")
            for sink in plan.sinks("referrals"):
                self.say(f"{sink.name:10} {plan.described(sink.name)}")
                sink.close()
            self.say(
                f"events     {plan.store.engine.dialect.name}, {plan.config.store.url.rpartition('/')[2]}"
            )
            yield

    def registrations(self, net: Any) -> None:
        self.say(f"\n1. {USERS // 2} users register, {PER_BLOCK} to a block; `chainfold sync`")
        self._register(net, USERS // 2)
        self.say(f"   {self._sync().line()}")

    def leaders(self) -> None:
        self.say("\n2. the top referrers, as MongoDB has them")
        first = PageRequest(where={}, sort="level1Count", descending=True, limit=5)
        with self._plan() as plan:
            [sink] = plan.sinks("referrals", only="mongo")
            with contextlib.closing(sink):
                assert isinstance(sink, Paged)
                top = [change.fields or {} for change in sink.page(first)]
        rows = [[doc["address"], doc["level1Count"], doc["level2Count"]] for doc in top]
        self._console.print(table("", ["user", "level 1", "level 2"], rows))

    def reorg(self, net: Any) -> None:
        self.say(f"\n3. the chain reorganises: its last {DEPTH} blocks are replaced; `chainfold sync`")
        before = self._documents()
        late = self._users[USERS // 2 : USERS // 2 + 5]
        net.reorg(DEPTH, [(user, self._users[0]) for user in late])
        summary = self._sync()
        after = self._documents()
        for line in summary.reorgs:
            self.say(f"   {line}")
        gone, new = len(before.keys() - after.keys()), len(after.keys() - before.keys())
        changed = sum(1 for key in before.keys() & after.keys() if before[key] != after[key])
        self.say(f"   {gone} users were removed, {new} added, {changed} corrected; {summary.line()}")
        key = max(before.keys() & after.keys(), key=lambda k: abs(_level(before[k]) - _level(after[k])))
        self.say(f"   e.g. {key}: level 1 was {_level(before[key])}, is {_level(after[key])}")

    def kill(self, net: Any) -> None:
        self.say("\n4. more users; a second `chainfold sync` is killed (SIGKILL) in the middle")
        self._register(net, USERS - self._joined)
        stored = self._killed_after()
        self.say(f"   killed with {stored} of its logs in the journal; the next `chainfold sync` goes on")
        self.say(f"   {self._sync().line()}")

    def rebuild(self) -> None:
        self.say("\n5. `chainfold rebuild referrals`: everything again from the journal, no node asked")
        with self._plan() as plan:
            live = self._digest(plan)
            stage = plan.fold()[0]
            summary = Summary()
            started = time.monotonic()
            with held([stage.lease]), showing() as display:
                stage.operations.rebuild()
                to_end(stage, all_of(summary.observe, display))
            seconds = time.monotonic() - started
            again = self._digest(plan)
        self.say(f"   {summary.events} events folded in {seconds:.2f} s")
        self.say(f"   digest of the live documents   {live}")
        self.say(f"   digest of the rebuilt ones     {again}  {'equal' if live == again else 'DIFFERENT'}")
        if live != again:
            raise ConfigurationError(
                "The rebuild differs from the live documents: this is a fault, report it."
            )

    def end(self, *, kept: bool) -> None:
        self.say("\nNow yours:")
        self.say("   chainfold init --rpc https://... --address 0x...   writes a commented chainfold.toml")
        self.say("   chainfold check                                    says what would fail")
        self.say("   chainfold sync                                     catches up once")
        self.say("   chainfold run                                      follows the chain")
        if kept:
            self.say(f"\nAll of it is in {self._path.parent}; look, e.g.:")
            self.say(f"   chainfold -c {self._path} events --orphaned")
        else:
            self.say("\nNothing is left behind; `chainfold demo --keep DIR` leaves it all in DIR to look at.")

    # --- hands ---

    @contextlib.contextmanager
    def _plan(self) -> Iterator[Plan]:
        with planned(load(self._path)) as plan:
            yield plan

    def _register(self, net: Any, count: int) -> None:
        """Each user joins under one of those before, the early ones more often; some move later on."""
        for start in range(self._joined, self._joined + count, PER_BLOCK):
            pairs = []
            for place in range(start, min(start + PER_BLOCK, self._joined + count)):
                older = self._users[int(place * self._random.random() ** 3)] if place else NOBODY
                pairs.append((self._users[place], older))
            if start:
                pairs.append((self._users[self._random.randrange(start)], self._users[0]))
            net.register(pairs)
        self._joined += count

    def _sync(self) -> Summary:
        with self._plan() as plan:
            return synchronise(plan, shown=steps_of(plan))

    def _documents(self) -> dict[str, dict[str, Any]]:
        with self._plan() as plan:
            return {doc["address"]: doc for doc in served_documents(plan.store, "referrals")}

    def _digest(self, plan: Plan) -> str:
        return projection_status(plan.store, plan.named("referrals"), head=None).digest or ""

    def _killed_after(self) -> int:
        """Starts a sync, kills it as soon as it has stored something new; says how many logs."""
        command = [sys.executable, "-c", "from projections.service.cli import main; main()"]
        with self._plan() as plan:
            chain = plan.config.chains["main"].chain_id
            before = chain_status(plan.store, chain, []).logs
            process = subprocess.Popen(
                [*command, "-c", str(self._path), "sync"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stored = 0
            while process.poll() is None and not stored:
                stored = chain_status(plan.store, chain, []).logs - before
                time.sleep(0.005)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.wait()
            return chain_status(plan.store, chain, []).logs - before


def _level(document: dict[str, Any]) -> int:
    return int(document["level1Count"])


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="chainfold-demo-", ignore_cleanup_errors=True) as made:
            yield Path(made)
        return
    if keep.exists() and any(keep.iterdir()):
        raise ConfigurationError(f"{keep} is not empty.", hint="Name a new folder.")
    keep.mkdir(parents=True, exist_ok=True)
    yield keep
