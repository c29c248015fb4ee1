"""What the headers of a chain promise about its logs: known chain by chain, never assumed.

Law: "proven" is said only where the chain's own rules make it so. A chain that is known to have logs
outside what its headers commit to is never proven; one that we do not know is believed by its receipts
alone, block by block.
"""

from __future__ import annotations

from msgspec import Struct


class Profile(Struct, frozen=True):
    """`bloom`: a block whose bloom admits no log of ours holds none. `reason`: why nothing can be proved."""

    bloom: bool = False
    reason: str | None = None


_SOUND = frozenset(
    {
        *(1, 11_155_111, 17_000, 560_048),  # Ethereum, Sepolia, Holesky, Hoodi
        *(56, 97),  # BNB Smart Chain
        *(10, 11_155_420, 8_453, 84_532),  # OP Mainnet and Base, with their Sepolias
        *(100, 10_200),  # Gnosis, Chiado
        *(42_161, 421_614),  # Arbitrum One and its Sepolia
        *(1_337, 31_337),  # development nodes
        0xC72DD9D5E883E,  # the conformance chain of ethereum/execution-apis
    }
)
"""Chains whose consensus makes the bloom hold all logs of the block, and the receipts root all receipts."""

_QUIRKS = {
    137: "logs of state-sync transactions lie outside its blooms and receipts roots",
    80_002: "logs of state-sync transactions lie outside its blooms and receipts roots",
    324: "its headers do not hash as Ethereum's do, and its blooms were all zero for a time",
    300: "its headers do not hash as Ethereum's do, and its blooms were all zero for a time",
    143: "its headers are given out before they are executed",
    10_143: "its headers are given out before they are executed",
    25: "its blooms and receipts held what was reverted, and its headers do not hash as Ethereum's do",
    338: "its blooms and receipts held what was reverted, and its headers do not hash as Ethereum's do",
    999: "system transactions lie outside its roots",
    998: "system transactions lie outside its roots",
    988: "its headers do not hash as Ethereum's do",
    2_201: "its headers do not hash as Ethereum's do",
    4_217: "its headers do not hash as Ethereum's do",
    42_431: "its headers do not hash as Ethereum's do",
    945: "its headers do not hash as Ethereum's do",
    964: "its headers do not hash as Ethereum's do",
    295: "its blooms and roots are not those of its logs",
    296: "its blooms and roots are not those of its logs",
    239: "its headers do not hash as Ethereum's do",
    167_000: "its blooms are all zero",
}
"""Gathered from the issue threads of nodes and indexers; a correction comes with a test."""


def profile_of(chain_id: int) -> Profile:
    """What may be concluded on this chain."""
    return Profile(bloom=chain_id in _SOUND, reason=_QUIRKS.get(chain_id))
