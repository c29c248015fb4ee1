"""What is used of web3: the one file that imports it, for one of its dependencies (py_ecc) raises the
recursion limit of the whole process while it is imported."""

from __future__ import annotations

from eventstore.recursion import limit_kept

with limit_kept():
    from web3 import HTTPProvider
    from web3.exceptions import Web3Exception

__all__ = ["HTTPProvider", "Web3Exception"]
