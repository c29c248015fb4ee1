"""Two services on one store, killed and stopped at random moments while the chain moves and reorganises.

    python -m tests.end_to_end.storm --kills 200 --seed 1

PostgreSQL, the MongoDB-compatible server and Redis are real and run for the storm alone. The services are
processes of their own; a killed one is started again at once, without waiting for quiet. In the end
nothing may be lost and nothing doubled: see `verdict.py`.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from random import Random
from statistics import median
from threading import Event

from msgspec import Struct, field
from sqlalchemy import text

from eventstore.errors import SchemaOutdated
from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.sources.simulated.node import SimulatedNode
from eventstore.storage.lease import TTL
from eventstore.storage.store import Store
from projections.service.embedded.servers import EmbeddedMongo, EmbeddedRedis
from tests.end_to_end.site import Command, Site, Workshop
from tests.end_to_end.verdict import evidence, judge
from tests.end_to_end.weather import Weather
from tests.servers.mongo import Mongo
from tests.servers.postgres import database, running

LONGEST = 2.0
"""Seconds between two kills, at most."""

PATIENCE = 6 * TTL
"""Seconds after which what should have happened within a lease's life is taken for a failure."""

INGEST = "ingest:31337"
REFUSED = "This process no longer holds the lease on {}: another took it over."


class Toll(Struct):
    """What the storm did, and what it saw. Times are seconds."""

    seed: int
    kills: int = 0
    holders: int = 0
    """Kills of a process that held a lease."""
    busy: int = 0
    """Kills since whose predecessor the journal had grown."""
    stops: int = 0
    within: int = 0
    """Stops in the middle of a transaction."""
    returned: int = 0
    """Leases that a stopped one had just given back."""
    takeovers: list[float] = field(default_factory=list)
    """From a stop until the other holds a lease, for each lease that the stopped one held."""
    successions: list[float] = field(default_factory=list)
    """From a kill until the process that was stopped before holds a lease again."""
    refused: int = 0
    """Leases whose former holder, continued, was refused and said so."""
    chain: str = ""
    seconds: float = 0.0

    def __str__(self) -> str:
        return "\n".join(
            [
                f"seed {self.seed}: {self.seconds:.0f} s",
                f"chain      {self.chain}",
                f"kill -9    {self.kills}, of them {self.holders} of a lease's holder; before {self.busy} "
                "the journal had grown since the kill before",
                f"SIGSTOP    {self.stops}, of them {self.within} in the middle of a transaction; "
                f"{self.returned} leases had just been given back",
                f"takeover   from a stopped one {_spread(self.takeovers)}",
                f"           from a killed one  {_spread(self.successions)}",
                f"refused    {self.refused} of {len(self.takeovers)} leases' former holders, who said so",
            ]
        )


class Held(Struct, frozen=True):
    """A lease, and the pid beside it: also of one that died holding it, None where it was given back.
    Times are those of the database's clock."""

    name: str
    pid: int | None
    expires: float
    now: float


class Storm:
    """Two services, and what happens to them."""

    def __init__(self, site: Site, toll: Toll) -> None:
        self._site = site
        self._toll = toll
        self._random = Random(f"storm {toll.seed}")
        self._store = Store(site.settings["store"]["url"])
        self._services = [site.start("run"), site.start("run")]
        self._entries = 0

    def close(self) -> None:
        """Leaves no process behind in any case; a stopped one can be killed."""
        self._store.close()
        for service in self._services:
            if service.runs:
                service.kill()

    def kill(self) -> None:
        """kill -9 of any one at any moment; another takes its place."""
        longest = LONGEST if self._random.random() < 0.8 else LONGEST / 10  # while it starts, too
        time.sleep(self._random.uniform(0, longest))
        self._strike(self._random.choice(self._services))

    def stop(self) -> None:
        """Stops a holder past its lease: the other takes over; continued, it is refused, says so, and
        stands by until the other is killed."""
        holder, leases = self._stopped()
        stopped, standing = time.monotonic(), 0
        (other,) = (service for service in self._services if service is not holder)
        taken: dict[str, float] = {}
        while len(taken) < len(leases):
            now = time.monotonic()
            standing = standing or (now - stopped > 2 and self._standing())
            for lease in self._leases():
                if lease.name not in leases or lease.pid == holder.pid:
                    continue
                if lease.now < leases[lease.name]:  # it was on its way back as the stop took effect
                    del leases[lease.name]
                    self._toll.returned += 1
                elif lease.pid == other.pid:
                    taken.setdefault(lease.name, now - stopped)
            self._check(stopped, f"process {other.pid} takes over {sorted(leases.keys() - taken.keys())}")
        before = len(holder.complaints)
        holder.signal(signal.SIGCONT)
        self._toll.stops += 1
        self._toll.within += standing > 0
        self._toll.takeovers += taken.values()
        for name in sorted(leases):
            words = REFUSED.format(name)
            told = partial(self._said, holder, words, since=before)
            self._until(told, f"process {holder.pid}, continued, says: {words}")
            self._toll.refused += 1
        self._strike(other)
        killed = time.monotonic()
        self._until(partial(self._holder, INGEST), "the lease of the killed one is taken")
        self._toll.successions.append(time.monotonic() - killed)

    def _stopped(self) -> tuple[Command, dict[str, float]]:
        """A service that is stopped now, at any moment, and the leases that it holds: some, and when they
        run out, at the earliest."""
        while True:
            self._until(partial(self._holder, INGEST), "a service holds the lease")
            time.sleep(self._random.uniform(0, 0.5))
            holder = self._holder(INGEST)
            if holder is None:
                continue
            holder.signal(signal.SIGSTOP)
            leases = {lease.name: lease.expires for lease in self._leases() if lease.pid == holder.pid}
            if leases:
                return holder, leases
            holder.signal(signal.SIGCONT)

    def end(self) -> None:
        """Tells both to stop, which must go well; then one more `sync` catches up."""
        for service in self._services:  # before its first word it may not listen to signals yet
            self._until(partial(self._said, service, "stage="), f"process {service.pid} works or stands by")
        for service in self._services:
            service.signal(signal.SIGTERM)
        for service in self._services:
            done = service.end()
            assert done.code == 0, done.err
        done = self._site.run("sync", "--tries", "1")
        assert done.code == 0, done.err
        for path in self._site.folder.glob("said/*/err"):
            said = path.read_text()
            assert "Traceback" not in said and "halted" not in said, said

    def _strike(self, service: Command) -> None:
        self._alive()
        entries = self._number("SELECT max(entry) FROM entries")
        self._toll.kills += 1
        self._toll.busy += entries > self._entries
        self._toll.holders += any(lease.pid == service.pid for lease in self._leases())
        self._entries = entries
        service.kill()
        self._services[self._services.index(service)] = self._site.start("run")

    def _holder(self, lease: str) -> Command | None:
        """The service that holds a lease, if one that lives does."""
        pid = next((held.pid for held in self._leases() if held.name == lease), None)
        return next((service for service in self._services if service.pid == pid), None)

    def _leases(self) -> list[Held]:
        try:
            with self._store.read() as tx:
                rows = tx.execute(
                    text("SELECT name, owner, expires_at, extract(epoch from clock_timestamp()) FROM leases")
                ).all()
        except SchemaOutdated:  # the first service has not set the store up yet
            return []
        return [
            Held(name, int(owner.split("|")[2]) if owner else None, expires, float(now))
            for name, owner, expires, now in rows
        ]

    def _standing(self) -> int:
        """How many transactions wait for their process since more than a second."""
        return self._number(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND state IN ('idle in transaction', 'active') AND wait_event = 'ClientRead' "
            "AND clock_timestamp() - state_change > interval '1 second'"
        )

    def _number(self, query: str) -> int:
        try:
            with self._store.read() as tx:
                return int(tx.execute(text(query)).scalar() or 0)
        except SchemaOutdated:
            return 0

    def _said(self, service: Command, words: str, *, since: int = 0) -> bool:
        return words in service.complaints[since:]

    def _until(self, condition: Callable[[], object], what: str) -> None:
        started = time.monotonic()
        while not condition():
            self._check(started, what)

    def _check(self, since: float, what: str) -> None:
        self._alive()
        if time.monotonic() - since > PATIENCE:
            said = "".join(f"\nprocess {service.pid}:\n{_warnings(service)}" for service in self._services)
            raise AssertionError(f"waited {PATIENCE:.0f} s in vain until {what}{said}")
        time.sleep(0.01)

    def _alive(self) -> None:
        for service in self._services:
            if not service.runs:
                raise AssertionError(f"a service ended by itself: {service.end()}")


def rage(site: Site, chain: SimulatedChain, *, kills: int, stops: int, seed: int) -> Toll:
    """The storm, from an empty store on; it ends when all is caught up."""
    started = time.monotonic()
    toll, over = Toll(seed), Event()
    weather = Weather(chain, seed=seed)
    due = [round((turn + 1) * kills / (stops + 1)) for turn in range(stops)]
    with closing(Storm(site, toll)) as storm:
        with ThreadPoolExecutor(1, thread_name_prefix="weather") as pool:
            raging = pool.submit(weather.rage, over)
            try:
                while toll.kills < kills:
                    if due and toll.kills >= due[0]:
                        due.pop(0)
                        storm.stop()
                    else:
                        storm.kill()
            except Exception as error:
                error.add_note(evidence(site))
                raise
            finally:
                over.set()
            raging.result()
        storm.end()
    toll.chain, toll.seconds = str(weather), time.monotonic() - started
    return toll


def _warnings(service: Command) -> str:
    """The newest of what it said beside its progress."""
    return "\n".join([line for line in service.complaints.splitlines() if "[info" not in line][-20:])


def _spread(times: Sequence[float]) -> str:
    return f"median {median(times):.2f} s, max {max(times):.2f} s, of {len(times)}" if times else "never"


@contextmanager
def servers(folder: Path) -> Iterator[tuple[str, Mongo, str]]:
    """PostgreSQL, MongoDB and Redis, for one storm."""
    with ExitStack() as stack:
        store = stack.enter_context(database(stack.enter_context(running())))
        mongo = stack.enter_context(EmbeddedMongo(folder / "mongo"))
        yield store, Mongo(mongo.url, "storm"), stack.enter_context(EmbeddedRedis(folder / "redis")).url


def main(arguments: Sequence[str] | None = None) -> int:
    """0: nothing lost, nothing doubled."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--stops", type=int, default=None, help="default: one for every 20 kills")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    stops = max(1, options.kills // 20) if options.stops is None else options.stops
    with tempfile.TemporaryDirectory(prefix="chainfold-storm-") as made, ExitStack() as stack:
        folder = Path(made)
        store, mongo, redis_url = stack.enter_context(servers(folder))
        workshop = Workshop()
        stack.callback(workshop.close)
        chain = SimulatedChain(seed=options.seed)
        node = stack.enter_context(SimulatedNode(chain))
        site = Site(workshop, folder / "storm", rpc=node.url, store={"url": store})
        site.publish(mongo=(mongo.url, mongo.database), redis_url=redis_url)
        toll = rage(site, chain, kills=options.kills, stops=stops, seed=options.seed)
        fresh = Site(workshop, folder / "undisturbed", rpc=node.url)
        print(toll)
        found = judge(chain, site, fresh=fresh, mongo=mongo, redis_url=redis_url)
    print(
        f"judged     {found.logs:,} logs on the chain, {found.entries:,} entries in the journal, "
        f"{found.orphaned:,} of its blocks orphaned"
    )
    print("outcome    nothing lost, nothing doubled")
    return 0


if __name__ == "__main__":
    sys.exit(main())
