"""One writer at a time, fenced: whoever lost a lease cannot commit, however late it wakes.

Every commit begins with an UPDATE of the lease row that names owner and epoch. A takeover raises the
epoch, so the former owner's UPDATE finds no row, and its transaction ends before it wrote anything.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, text

from eventstore.errors import Fenced, LeaseHeld
from eventstore.store import Store

TTL = 10.0
"""Seconds after its last commit or renewal when a lease may be taken by another."""

_CLOCK = {
    True: "(julianday('now') - 2440587.5) * 86400.0",
    False: "extract(epoch from clock_timestamp())",
}


class Lease:
    """The right to write for `name`, until `release` or until another takes it after `ttl` seconds."""

    def __init__(self, store: Store, name: str, *, ttl: float = TTL, owner: str | None = None) -> None:
        self.store = store
        self.name = name
        self.ttl = ttl
        self.owner = owner or _this_process()
        self.epoch = 0
        self._now = _CLOCK[store.sqlite]

    def acquire(self) -> Lease:
        """Takes the lease if it is free, expired, or held by a process of this machine that is dead.

        Raises `LeaseHeld` naming the holder. The epoch rises with each taking and is never reused.
        """
        with self.store.write() as tx:
            tx.execute(
                text(
                    "INSERT INTO leases (name, owner, epoch, expires_at) VALUES (:name, '', 0, 0) "
                    "ON CONFLICT (name) DO NOTHING"
                ),
                {"name": self.name},
            )
            lock = "" if self.store.sqlite else " FOR UPDATE"
            owner, epoch, left = tx.execute(
                text(f"SELECT owner, epoch, expires_at - {self._now} FROM leases WHERE name = :name{lock}"),
                {"name": self.name},
            ).one()
            if owner not in ("", self.owner) and left > 0 and not _is_dead(owner):
                raise LeaseHeld(
                    f"{self.name} is being worked on by another process ({_shown(owner)}).",
                    hint=f"Its lease runs out {left:.0f} s from now unless it renews it.",
                )
            tx.execute(
                text(
                    "UPDATE leases SET owner = :owner, epoch = :epoch, "
                    f"expires_at = {self._now} + :ttl WHERE name = :name"
                ),
                {"owner": self.owner, "epoch": epoch + 1, "ttl": self.ttl, "name": self.name},
            )
        self.epoch = epoch + 1
        return self

    @contextmanager
    def commit(self) -> Iterator[Connection]:
        """A write transaction that begins by renewing the lease; `Fenced` if it is no longer ours."""
        with self.store.write() as tx:
            self._renew(tx)
            yield tx

    def renew(self) -> None:
        """Keeps the lease through work that does not commit; `Fenced` if it is no longer ours."""
        with self.commit():
            pass

    def release(self) -> None:
        """Gives the lease back at once. Harmless where it was lost already."""
        with self.store.write() as tx:
            tx.execute(
                text(
                    "UPDATE leases SET owner = '', expires_at = 0 "
                    "WHERE name = :name AND owner = :owner AND epoch = :epoch"
                ),
                {"name": self.name, "owner": self.owner, "epoch": self.epoch},
            )

    def _renew(self, tx: Connection) -> None:
        renewed = tx.execute(
            text(
                f"UPDATE leases SET expires_at = {self._now} + :ttl "
                "WHERE name = :name AND owner = :owner AND epoch = :epoch"
            ),
            {"ttl": self.ttl, "name": self.name, "owner": self.owner, "epoch": self.epoch},
        )
        if renewed.rowcount != 1:
            raise Fenced(
                f"This process no longer holds the lease on {self.name}: another took it over.",
                hint="Its work was refused and nothing was written.",
            )


def _this_process() -> str:
    """host|pid namespace|pid|nonce: enough to see that an owner on this machine is gone."""
    return f"{socket.gethostname()}|{_namespace()}|{os.getpid()}|{secrets.token_hex(4)}"


def _is_dead(owner: str) -> bool:
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
