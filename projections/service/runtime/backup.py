"""The backup of a store as commands and the schedule make it: history, and the decisions of its readers."""

from __future__ import annotations

from pathlib import Path

from eventstore.backup import state
from eventstore.backup.dump import Dumped, dump
from eventstore.backup.dump import refuse as refuse  # noqa: PLC0414 - `check` finds it here
from eventstore.backup.restoration import Restored
from eventstore.backup.restoration import check as look
from eventstore.backup.restoration import restore as put_back
from eventstore.report import OnProgress
from eventstore.storage.store import Store
from projections import schema
from projections.webhooks import outbox

TABLES = (*state.TABLES, "skips", "notification_rules", "notification_memory", "notifications")
"""What a backup keeps besides history: decisions, and what webhooks remember, have sent and will send.
Documents are not kept: they are folded again."""


def backup(store: Store, directory: Path, *, progress: OnProgress = lambda done, of: None) -> Dumped:
    """Brings the backup in `directory` up to this moment; see `eventstore.backup.dump.dump`."""
    return dump(store, directory, tables=TABLES, progress=progress)


def restore(
    store: Store, directory: Path, *, keep_id: bool = False, progress: OnProgress = lambda done, of: None
) -> Restored:
    """Puts a backup into an empty store; see `eventstore.backup.restoration.restore`."""
    return put_back(
        store, directory, keep_id=keep_id, tables=TABLES, after=outbox.put_back, progress=progress
    )


def check(directory: Path, *, progress: OnProgress = lambda done, of: None) -> Restored:
    """Looks at all of a backup; see `eventstore.backup.restoration.check`."""
    own = [schema.metadata.tables[name] for name in TABLES if name in schema.metadata.tables]
    return look(directory, kept=state.kept_by([*state.OWN, *own]), progress=progress)


def said(done: Dumped) -> str:
    """One line for people and for the list of runs."""
    new = f"{done.logs:,} logs in {done.entries:,} entries were new"
    return f"{new}; the backup has {done.files:,} files and {done.bytes:,} bytes ({done.seconds:.1f} s)"
