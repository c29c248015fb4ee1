"""The chains of a store, each with the hash of its first block: the only file that speaks SQL to `chains`."""

from __future__ import annotations

from sqlalchemy import Connection, text


def genesis_of(tx: Connection, chain_id: int) -> bytes | None:
    """The hash of the chain's first block; None where it was never seen."""
    found = tx.execute(text("SELECT genesis FROM chains WHERE chain_id = :chain"), {"chain": chain_id})
    return found.scalar()


def geneses(tx: Connection) -> dict[int, bytes]:
    """The hash of the first block of each chain whose first block was seen, by chain id."""
    rows = tx.execute(text("SELECT chain_id, genesis FROM chains"))
    return {chain_id: bytes(genesis) for chain_id, genesis in rows}


def remember(tx: Connection, chain_id: int, genesis: bytes) -> None:
    """Writes down the first block of a chain that has none yet."""
    tx.execute(text("INSERT INTO chains VALUES (:chain, :genesis)"), {"chain": chain_id, "genesis": genesis})
