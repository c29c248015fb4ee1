"""Was anything lost, or doubled? The journal, the documents and both sinks against the chain itself."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from msgspec import Struct
from sqlalchemy import text

from eventstore.errors import ChainfoldError
from eventstore.journal.integrity import check_digests
from eventstore.sources.simulated.chain import SimulatedChain
from eventstore.storage.store import Store
from tests.end_to_end.site import Site, as_hashes, bare, expected, in_mongo, in_redis, in_sql
from tests.servers.mongo import Mongo


class Found(Struct, frozen=True):
    """How much was judged: logs on the chain, entries of the journal, blocks that left the chain."""

    logs: int
    entries: int
    orphaned: int


def judge(chain: SimulatedChain, site: Site, *, fresh: Site, mongo: Mongo, redis_url: str) -> Found:
    """Raises `AssertionError` where something was lost or doubled: in the journal, the documents, a sink;
    with it what the services said last, and who held which lease.

    `fresh` is a site on a store of its own, where nothing happened yet.
    """
    try:
        return _judged(chain, site, fresh=fresh, mongo=mongo, redis_url=redis_url)
    except Exception as error:
        error.add_note(evidence(site))
        raise


def evidence(site: Site) -> str:
    """What one needs to understand a failure, beside the failure itself: leases, cursors, last words."""
    url = site.settings["store"]["url"]
    try:
        with closing(Store(url)) as store, store.read() as tx:
            rows = [
                f"{table}: {row._asdict()}"
                for table in ("leases", "generations", "publications")
                for row in tx.execute(text(f"SELECT * FROM {table}"))
            ]
    except ChainfoldError as error:
        rows = [f"the store tells nothing: {error}"]
    return "\n".join([*rows, site.last_words()])


def _judged(chain: SimulatedChain, site: Site, *, fresh: Site, mongo: Mongo, redis_url: str) -> Found:
    logs = chain.logs_in(0, chain.head().number)
    with closing(Store(site.settings["store"]["url"])) as store, store.read() as tx:
        entries = tx.execute(text("SELECT count(*) FROM entries")).scalar_one()
        orphaned = tx.execute(text("SELECT count(*) FROM orphans")).scalar_one()
        _same("the journal's digests", check_digests(tx, chain.chain_id), [])
        living = tx.execute(
            text(
                "SELECT l.block_number, l.log_index, b.hash, l.tx_hash, l.data FROM logs l "
                "JOIN blocks b ON (b.chain_id, b.number, b.entry) = (l.chain_id, l.block_number, l.entry) "
                "WHERE NOT EXISTS (SELECT 1 FROM orphans o WHERE (o.chain_id, o.block_number, o.entry) "
                "= (l.chain_id, l.block_number, l.entry)) ORDER BY l.block_number, l.log_index"
            )
        ).all()
    wanted = [(log.block_number, log.log_index, log.block_hash, log.tx_hash, log.data) for log in logs]
    _same("the living logs", [tuple(row) for row in living], wanted)
    found = in_sql(site)
    _same("the documents", bare(found), expected(chain))
    _same("MongoDB", in_mongo(mongo.url, mongo.database), found)
    _same("Redis", in_redis(redis_url), as_hashes(found))
    done = fresh.run("sync")
    assert done.code == 0, done.err
    before = _state(site)
    _same("the digest", before["projections"]["digest"], _state(fresh)["projections"]["digest"])
    done = site.run("sync", "--json")
    assert done.code == 0, done.err
    _same("what a further sync did", [value for value in done.json().values() if value], [])
    _same("what it changed", _state(site), before)
    return Found(len(logs), entries, orphaned)


def _state(site: Site) -> dict[str, Any]:
    """What `status` says of the store, without the times."""
    status = site.run("status", "--json").json()
    return {
        "entries": status["chains"]["main"]["entries"],
        "projections": {
            key: status["projections"]["referrals"][key] for key in ("block", "entry", "revision", "digest")
        },
        "sinks": {name: sink["revision"] for name, sink in status["sinks"].items()},
    }


def _same(what: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        raise AssertionError(f"{what}: {_difference(found, wanted)}")


def _difference(found: Any, wanted: Any) -> str:
    """The first place where they differ: the whole may be large."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
        return f"{len(keys)} keys differ: {keys[0]} is {found.get(keys[0])}, not {wanted.get(keys[0])}"
    if isinstance(found, list) and isinstance(wanted, list):
        place = next((n for n, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), -1)
        return f"{len(found)}, not {len(wanted)}: at {place} {found[place:][:1]}, not {wanted[place:][:1]}"
    return f"{found}, not {wanted}"
