"""One writer at a time, fenced: a process that lost a lease cannot commit, however late it wakes.

Every commit begins with an UPDATE of the lease row that names owner and epoch. A takeover raises the
epoch, so the former owner's UPDATE finds no row, and its transaction ends before it wrote anything.

The UPDATE also locks the row until the commit, so that no process takes over in between. On PostgreSQL a
process that stands still there (stopped, paused, cut off) would keep that lock for ever: a process that wants
the lease ends a transaction that has waited for its process for longer than the lease lives.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import Connection, Row
from sqlalchemy.exc import OperationalError

from eventstore.errors import Fenced, LeaseHeld, StoreError
from eventstore.storage.sql import text
from eventstore.storage.store import Store

TTL = 10.0
"""Seconds after its last commit or renewal when a lease may be taken by another."""

_CLOCK = {
    True: "(julianday('now') - 2440587.5) * 86400.0",
    False: "extract(epoch from clock_timestamp())",
}

_END_STANDING = """
SELECT set_config('lock_timeout', '100ms', true),
    set_config('idle_in_transaction_session_timeout', '10s', true),
    (SELECT count(pg_terminate_backend(pid))
     FROM leases JOIN pg_locks ON transactionid = leases.xmax AND granted
     JOIN pg_stat_activity USING (pid)
     WHERE name = :name AND usename = current_user AND wait_event = 'ClientRead'
     AND clock_timestamp() - state_change > make_interval(secs => :ttl))
"""
"""Ends what has locked the row of a lease (`xmax` is the transaction that did) and has waited for its process
for as long as the lease lives. The caller waits for a commit under way in short slices, and sets an idle
timeout of its own, so that it cannot hold the row lock if it stalls."""

_LOCK_NOT_AVAILABLE = "55P03"


class _Locked(Exception):
    """Somebody's transaction has locked the row of the lease."""


class Lease:
    """The right to write for `name`, until `release` or until another takes it after `ttl` seconds."""

    def __init__(self, store: Store, name: str, *, ttl: float = TTL, owner: str | None = None) -> None:
        self.store = store
        self.name = name
        self.ttl = ttl
        self.owner = owner or this_process()
        self.epoch = 0
        """Of the taking that was not given back yet; 0: there is none."""
        self._now = _CLOCK[store.sqlite]
        self._turn = Lock()  # of a commit and a renewal the second waits here, and not for the row

    def acquire(self) -> Lease:
        """Takes the lease if it is free, expired, or held by a process of this machine that is dead.

        Raises `LeaseHeld` naming the holder. The epoch rises with each taking and is never reused.
        """
        while True:
            with suppress(_Locked):
                with self.store.write() as tx:
                    epoch = self._take(tx)
                self.epoch = epoch
                return self

    def is_held(self) -> bool:
        """Is some process at work under this name? A dead process of this machine does not count."""
        with self.store.read() as tx:
            row = tx.execute(
                text(f"SELECT owner, expires_at - {self._now} AS seconds FROM leases WHERE name = :name"),
                {"name": self.name},
            ).first()
        return row is not None and row.owner != "" and row.seconds > 0 and not is_dead(row.owner)

    @contextmanager
    def commit(self) -> Iterator[Connection]:
        """A write transaction that begins by renewing the lease; `Fenced` if it is no longer ours, also
        where it stood still and was ended for that."""
        with self._turn, self._refused(), self.store.write() as tx:
            self._own(tx, f"expires_at = {self._now} + :ttl", ttl=self.ttl)
            yield tx

    def renew(self) -> None:
        """Keeps the lease through work that does not commit; `Fenced` if it is no longer ours."""
        with self.commit():
            pass

    def release(self) -> None:
        """Gives the lease back at once; `Fenced`, but once only, where another took it over before.

        A process that was stopped while it gave the lease back would otherwise not learn that it had lost it.
        """
        if self.epoch == 0:
            return
        try:
            with self._refused(), self.store.write() as tx:
                self._own(tx, "owner = '', expires_at = 0")
        except Fenced:
            self.epoch = 0
            raise
        self.epoch = 0

    def _own(self, tx: Connection, change: str, **values: float) -> None:
        """Changes the row, which must be ours."""
        changed = tx.execute(
            text(f"UPDATE leases SET {change} WHERE name = :name AND owner = :owner AND epoch = :epoch"),
            {"name": self.name, "owner": self.owner, "epoch": self.epoch, **values},
        )
        if changed.rowcount != 1:
            raise self._fenced()

    @contextmanager
    def _refused(self) -> Iterator[None]:
        """A transaction that was ended because another wants the lease is `Fenced` too."""
        try:
            yield
        except Fenced:
            raise
        except StoreError as error:
            if self._is_lost():
                raise self._fenced() from error
            raise

    def _take(self, tx: Connection) -> int:
        """The new epoch. Raises `LeaseHeld`, or `_Locked` where the row is free and being written."""
        name = {"name": self.name}
        query = f"SELECT owner, epoch, expires_at - {self._now} AS seconds FROM leases WHERE name = :name"
        self._refuse(tx.execute(text(query), name).first())  # a standby waits for no lock
        try:
            if not self.store.sqlite:
                query += " FOR UPDATE"
                tx.execute(text(_END_STANDING), {**name, "ttl": self.ttl})
            tx.execute(
                text(
                    "INSERT INTO leases (name, owner, epoch, expires_at) VALUES (:name, '', 0, 0) "
                    "ON CONFLICT (name) DO NOTHING"
                ),
                name,
            )
            row = tx.execute(text(query), name).one()
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != _LOCK_NOT_AVAILABLE:
                raise
            raise _Locked from error
        self._refuse(row)
        tx.execute(
            text(
                "UPDATE leases SET owner = :owner, epoch = :epoch, "
                f"expires_at = {self._now} + :ttl WHERE name = :name"
            ),
            {"owner": self.owner, "epoch": row.epoch + 1, "ttl": self.ttl, "name": self.name},
        )
        return int(row.epoch) + 1

    def _refuse(self, row: Row[Any] | None) -> None:
        """Raises `LeaseHeld` where another that lives holds the lease."""
        if row is None or row.owner in ("", self.owner) or row.seconds <= 0 or is_dead(row.owner):
            return
        raise LeaseHeld(
            f"{self.name} is being worked on by another process ({_shown(row.owner)}).",
            hint=f"Its lease runs out {row.seconds:.0f} s from now unless it renews it.",
        )

    def _is_lost(self) -> bool:
        with self.store.read() as tx:
            epoch = tx.execute(
                text("SELECT epoch FROM leases WHERE name = :name"), {"name": self.name}
            ).scalar()
        return epoch is not None and epoch != self.epoch

    def _fenced(self) -> Fenced:
        return Fenced(
            f"This process no longer holds the lease on {self.name}: another took it over.",
            hint="Its work was refused and nothing was written.",
        )


def this_process() -> str:
    """host|pid namespace|pid|nonce: enough to see that an owner on this machine is gone."""
    return f"{socket.gethostname()}|{_namespace()}|{os.getpid()}|{secrets.token_hex(4)}"


def is_dead(owner: str) -> bool:
    """True if the owner was a process of this machine that no longer runs. Taking over from a live
    one would be safe as well (it is fenced), only rude."""
    host, namespace, pid, _ = owner.split("|")
    if host != socket.gethostname() or namespace != _namespace() or namespace == "":
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _is_zombie(int(pid))


def _is_zombie(pid: int) -> bool:
    """True for a process that has ended and whose parent has not asked how: it answers signals still."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


def _namespace() -> str:
    """Pids mean the same only within one boot and one pid namespace; empty where neither is known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return ""


def _shown(owner: str) -> str:
    host, _, pid, _ = owner.split("|")
    return f"process {pid} on {host}"
