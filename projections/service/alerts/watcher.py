"""The watcher of a service: finds incidents in the records of the stages and in the store, and sends alerts.

Law: the pipeline never waits for an alert, and no fault of one reaches it. An incident is written
down before it is sent, so that the first process to see it sends it once, also after a restart.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from eventstore import clock
from eventstore.errors import ChainfoldError, StoreUnavailable
from eventstore.proof.profile import profile_of
from eventstore.redaction import scrubbed
from eventstore.storage.store import Store
from projections.fold.fold import Projection
from projections.service.alerts.catalogue import kind_of
from projections.service.alerts.checks import evidence
from projections.service.alerts.delivery import AlertAddress, addresses
from projections.service.alerts.detection import Bad, Board, Good, incident_changes, worst
from projections.service.alerts.recipient import WAITS, Recipient
from projections.service.alerts.throttle import HOUR, Message, due
from projections.service.config.alerts import Limits, Pace
from projections.service.records.incidents import Incidents
from projections.service.runtime.loops import Failed, Stepped
from projections.service.runtime.worker import Worker

if TYPE_CHECKING:
    from projections.service.runtime.wiring import Plan

CLAIM = 60.0
"""Seconds after which a message that a process took upon itself to tell is another's to tell."""


class AlertScope(Struct, frozen=True):
    """What is looked at: chain ids by name, projections, jobs, and from when on it is an incident.
    `unprovable`: see `evidence`."""

    chains: Mapping[str, int]
    projections: Sequence[Projection]
    jobs: Sequence[str]
    limits: Limits
    sinks: Mapping[str, Sequence[str]] | None = None
    unprovable: Mapping[str, str | None] = {}


class AlertWatcher(threading.Thread):
    """Looks every `every` seconds until `stop`; `observe` takes the records of the stages in between."""

    def __init__(
        self,
        store: Store,
        watched: AlertScope,
        addresses: Sequence[AlertAddress],
        *,
        log: Any,
        pace: Pace,
        every: float,
        secrets: Iterable[str],
        stop: threading.Event,
    ) -> None:
        super().__init__(name="alerts", daemon=True)
        self._store = store
        self._watched = watched
        self._posts = [Recipient(address) for address in addresses]
        self._log = log
        self._pace = pace
        self._every = every
        self._secrets = frozenset(secrets)
        self._halt = stop
        self._board = Board(watched.limits)
        self._turn = threading.Lock()
        self._workers: list[Worker] = []
        self._complained: set[str] = set()
        self._store_is_down = False
        self._store_told_at = -inf

    def over(self, workers: Sequence[Worker]) -> None:
        """Looks at these threads too: whether a step of theirs does not end."""
        self._workers = [*self._workers, *workers]

    def observe(self, event: Stepped | Failed) -> None:
        """Takes in what a step did: a few assignments in memory."""
        with self._turn:
            self._board.observe(event, time.monotonic())

    def run(self) -> None:
        while not self._halt.wait(self._every):
            self._guarded()
        self._guarded()  # what the last steps brought

    def end(self) -> None:
        """Stops looking, after one look at what the last steps brought."""
        self._halt.set()
        self.join()

    def look(self) -> None:
        """One look: what is wrong and right now is written down, and told as far as it is due."""
        with self._turn:
            for worker in self._workers:
                self._board.at_work(worker.name, worker.since, time.monotonic())
            seen = self._board.standing()
            reorgs = self._board.reorgs()
        now = clock.now()
        with self._store.read() as tx:
            open_now = [item.key for item in Incidents(tx).opened()]
            told = evidence(
                tx,
                chains=self._watched.chains,
                projections=self._watched.projections,
                jobs=self._watched.jobs,
                limits=self._watched.limits,
                open_now=open_now,
                now=now,
                sinks=self._watched.sinks,
                unprovable=self._watched.unprovable,
            )
        found = incident_changes(open_now, worst(seen, told))
        opened = found.opened | {key: detail for key, detail in reorgs.items() if key not in open_now}
        if opened or found.closed:
            with self._store.write() as tx:
                incidents = Incidents(tx)
                for key in found.closed:
                    incidents.close(key, "", now=now)
                for key, detail in opened.items():
                    incidents.open(key, scrubbed(detail, self._secrets), now=now)
        with self._turn:
            for key in reorgs:
                self._board.written(key)
        if self._posts:
            self._tell()

    def _guarded(self) -> None:
        """A look whose errors are logged once each, and end nothing."""
        try:
            self.look()
        except ChainfoldError as error:
            self._complain(str(error))
            if isinstance(error, StoreUnavailable):
                with self._turn:
                    self._board.store_failed(self.name, error, time.monotonic())
        except Exception as error:  # noqa: BLE001 - no fault of alerts stops the pipeline
            self._complain(f"An unexpected {type(error).__name__} in the alerts; they are tried again.")
        else:
            self._complained.clear()
            with self._turn:
                self._board.store_answered(self.name)
        self._look_at_store()

    def _look_at_store(self) -> None:
        """A failing store cannot hold its own incident: every service alerts of it from memory."""
        now = time.monotonic()
        with self._turn:
            standing = self._board.store()
        kind = kind_of("store-failing")
        told = self._store_told_at
        if isinstance(standing, Bad) and not self._store_is_down and now - told >= self._pace.cooldown:
            body = f"{scrubbed(standing.detail, self._secrets)}\nWhat to do: {kind.todo}"
            if self._posted(Message("open", (), (), f"chainfold: {kind.title}", body)):
                self._store_is_down, self._store_told_at = True, now
        elif isinstance(standing, Good) and self._store_is_down:
            over = Message("over", (), (), f"chainfold: over: {kind.title}", f"{kind.over}.")
            self._store_is_down = not self._posted(over)

    def _posted(self, message: Message) -> bool:
        """Did somebody take it?"""
        answers = [post.send(message) for post in self._posts]
        return None in answers

    def _complain(self, said: str) -> None:
        if said not in self._complained:
            self._complained.add(said)
            self._log.warning("alerts", error=scrubbed(said, self._secrets))

    # --- telling ---

    def _tell(self) -> None:
        """Sends what is due, until nothing is left or no address takes it."""
        for post in self._posts:
            self._note(post, post.catch_up())
        while any(post.ready() for post in self._posts):
            now = clock.now()
            since = now - int(max(HOUR, self._pace.cooldown) * 1e6)
            with self._store.read() as tx:
                incidents = Incidents(tx)
                message = due(incidents.untold(), incidents.told_since(since), self._pace, now=now)
            if message is None or not self._claimed(message, now=now):
                return
            if not self._sent(message):
                with self._store.write() as tx:
                    Incidents(tx).release(message.first)
                return

    def _claimed(self, message: Message, *, now: int) -> bool:
        """Is it ours to tell?"""
        over, until = message.mood == "over", now + int(CLAIM * 1e6)
        with self._store.write() as tx:
            return Incidents(tx).claim(message.first, over=over, now=now, until=until)

    def _sent(self, message: Message) -> bool:
        """True if at least one address took it: then it counts as sent, and the others get it later."""
        answers = [(post, post.send(message)) for post in self._posts]
        taken = any(reason is None for _, reason in answers)
        if taken:
            with self._store.write() as tx:
                incidents, now = Incidents(tx), clock.now()
                incidents.told(message.begun, now=now, over=False)
                incidents.told(message.ended, now=now, over=True)
        for post, reason in answers:
            if reason is not None and taken:
                post.keep(message)
            self._note(post, reason)
        return taken

    def _note(self, post: Recipient, reason: str | None) -> None:
        """Shows in `status` that an address takes nothing, and says so once; or that it does again."""
        if reason is None and post.noted:
            with self._store.write() as tx:
                Incidents(tx).delivered([post.name])
            post.noted = False
        elif reason is not None and reason != WAITS:
            with self._store.write() as tx:
                new = Incidents(tx).undelivered(post.name, reason, now=clock.now())
            post.noted = True
            if new:
                self._log.warning("alert not delivered", to=post.name, error=reason)


def alert_watcher(plan: Plan, stop: threading.Event, log: Any) -> AlertWatcher:
    """The watchman of a configuration. Raises `ConfigurationError` for an invalid address."""
    chosen = plan.config.alerts
    watched = AlertScope(
        {name: chain.chain_id for name, chain in plan.config.chains.items()},
        list(plan.projections.values()),
        list(plan.config.schedule.jobs),
        chosen.limits,
        {name: plan.sink_kinds(name) for name in plan.projections},
        {
            name: None if chain.accept_unproven else reason
            for name, chain in plan.config.chains.items()
            if (reason := profile_of(chain.chain_id).reason if chain.prove else None) or chain.accept_unproven
        },
    )
    return AlertWatcher(
        plan.store,
        watched,
        addresses(chosen.urls),
        log=log,
        pace=chosen.pace,
        every=chosen.every,
        secrets=plan.config.secrets,
        stop=stop,
    )
