"""Is a node of the chain that the configuration and the store mean? One answer for all who ask it."""

from __future__ import annotations

from eventstore.errors import WrongChain
from eventstore.records import Identity


def refusal(found: Identity, *, chain_id: int, genesis: bytes | None) -> WrongChain | None:
    """Why a node is not of this chain, None where it is. `genesis` is the hash of block 0 (32 bytes) that the
    store knows; None before the first step."""
    if found.chain_id != chain_id:
        return WrongChain(
            f"The node serves chain {found.chain_id}, the configuration says {chain_id}.",
            hint="Mend chain_id or rpc; nothing was read.",
        )
    if genesis not in (None, found.genesis):
        return WrongChain(
            f"The node's chain {chain_id} begins with block 0x{found.genesis.hex()}, the "
            f"store holds one that begins with 0x{(genesis or b'').hex()}.",
            hint="It is another network of the same id; use another store for it.",
        )
    return None
