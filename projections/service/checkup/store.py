"""Is the store of this schema, and may we write into it?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial

from eventstore.errors import StoreError
from eventstore.redaction import public
from eventstore.storage.lease import this_process
from eventstore.storage.sql import text
from eventstore.storage.store import Store
from projections.migrate import ensure
from projections.service.checkup import Trial
from projections.service.records.runs import Runs
from projections.service.runtime.wiring import Plan
from projections.service.status.lease_holders import holders

_FORBIDDEN = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p')
AND NOT (has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT'))
ORDER BY c.relname
"""


class _Undone(Exception):
    """Nothing of a trial stays."""


def trials(plan: Plan) -> Iterator[Trial]:
    """The store's schema and our rights in it, then who works in it."""
    where = public(plan.config.store.url)
    yield Trial(f"store {where}", partial(_store, plan.store))
    yield Trial("leases", partial(_leases, plan.store))


def _store(store: Store) -> list[str]:
    ensure(store)
    with suppress(_Undone), store.write() as tx:
        Runs(tx).begin("check", origin="manual", owner=this_process())  # what every command begins with
        raise _Undone
    if not store.sqlite:
        with store.read() as tx:
            forbidden = [name for (name,) in tx.execute(text(_FORBIDDEN))]
        if forbidden:
            raise StoreError(
                f"The user of the event store {public(store.url)} may not read or insert in "
                f"{', '.join(forbidden)}.",
                hint="GRANT SELECT, INSERT, UPDATE, DELETE on them to the user of store.url.",
            )
    return []


def _leases(store: Store) -> list[str]:
    """The processes that work already: `run` stands by for them, `sync` is refused."""
    return [
        f"{name} is being worked on by process {holder.pid} on {holder.host}: `run` would stand by, "
        "`sync` would be refused"
        for name, holder in holders(store).items()
    ]
