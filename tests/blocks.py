"""Headers and logs that can be typed in a line of a test."""

from __future__ import annotations

from hashlib import sha256

from eventstore.records import Header, Log

ALICE = bytes([0xA1]) * 20
BOB = bytes([0xB0]) * 20
TOPIC = bytes([0x70]) * 32


def hash_(number: int, branch: str = "a") -> bytes:
    """The hash of block `number` on `branch`."""
    return sha256(f"{branch}{number}".encode()).digest()


def header(number: int, branch: str = "a", *, parent: str | None = None) -> Header:
    """A header on `branch` whose parent is on branch `parent` (the same if not said)."""
    return Header(number, hash_(number, branch), hash_(number - 1, parent or branch), 12 * number)


def log(
    block: int,
    index: int = 0,
    *,
    address: bytes = ALICE,
    branch: str = "a",
    data: bytes = b"",
    topics: tuple[bytes, ...] = (TOPIC,),
) -> Log:
    """A log in block `block` of `branch`."""
    return Log(
        block,
        index,
        address,
        topics,
        data,
        sha256(b"tx" + (bytes([index]) if index < 256 else str(index).encode())).digest(),
        0,
        hash_(block, branch),
    )


def headers_of(logs: list[Log], branch: str = "a") -> dict[int, Header]:
    """The headers of the blocks that hold these logs."""
    return {item.block_number: header(item.block_number, branch) for item in logs}
