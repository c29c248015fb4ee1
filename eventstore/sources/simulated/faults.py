"""What can be wrong with a node: a switch for each thing that real nodes were seen to do.

A switch is one field here and the one place that reads it. All of them combine, may be turned while
the node serves, and draw what is random from the node's seed. What goes wrong with a chain rather
than with a node (reorgs, however deep, back and forth, below finality) is the chain's script.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class Faults(Struct):
    """What is wrong with the node; nothing, as it is made. Caps are the most that is still answered."""

    # --- refusals of eth_getLogs ---

    range_cap: int | None = None
    """Blocks in a range."""
    range_cap_text: str = "exceed maximum block range: {cap}"
    range_cap_code: int = -32602
    result_cap: int | None = None
    """Logs in the answer for a range of several blocks."""
    result_cap_text: str = "query returned more than {cap} results"
    result_cap_code: int = -32005
    suggestion: Literal["none", "good", "equal", "inverted"] = "none"
    """Which range is offered along with the refusal of `result_cap`."""
    said_in: Literal["message", "data"] = "message"
    """Where those texts and suggestions stand. "data": the message says nothing, error.data.payload does."""
    one_block_cap: int | None = None
    """Logs in the answer for a single block, by hash or as a range."""
    block_refused: bool = False
    """A block asked for by its hash is refused as too large."""
    logs_refused: bool = False
    """Every eth_getLogs is refused as if it asked for too much."""
    no_logs_method: bool = False
    future_refused: bool = False
    """A range that ends above the head is an error, not what is there of it."""
    gateway_cap: int | None = None
    """Blocks in a range; for wider ones the whole request ends in HTTP `gateway_status`."""
    gateway_status: int = 413
    slow_above: int | None = None
    """Blocks in a range; wider ones take `slow_seconds`."""
    slow_seconds: float = 60.0
    pruned_below: int | None = None
    """Logs and receipts of blocks below this one are refused as pruned (code 4444)."""

    # --- logs that are not told ---

    empty_near_head: int = 0
    """Ranges that reach into this many newest blocks are answered without any logs."""
    empty_blocks: bool = False
    """eth_getLogs by block hash finds nothing, also in blocks that hold logs."""
    filled_after: int | None = None
    """How often those two answer emptily for the same (last) block, before they answer right."""
    empty_below: int | None = None
    """Logs of blocks below this one are left out; their receipts are null."""
    truncate_at: int | None = None
    """No answer holds more logs than this, and says nothing about it."""
    withheld: set[tuple[int, int]] = set()
    """Logs, by block number and log index, that are left out wherever they belong."""
    receipts_honest: bool = False
    """What is wrong with logs is wrong in eth_getLogs only; the receipts hold them as they are."""

    # --- logs that are not right ---

    altered: set[tuple[int, int]] = set()
    """Logs, by block number and log index, whose data ends in another byte."""
    invented: set[int] = set()
    """Blocks whose last log comes twice, the second time under the next index."""

    numbers: dict[tuple[int, str], int] = {}
    """Numbers that are given instead, by block number and field of its header and its logs."""
    duplicate_log_index: bool = False
    """Every log has index 0."""
    log_index_reset: bool = False
    """In the second half of a block's logs the index begins at 0 again."""
    no_log_timestamp: bool = False
    zero_log_timestamp: bool = False
    removed_logs: bool = False
    removed_twice: bool = False
    """A range also brings, twice, the logs of orphaned blocks in it, marked as removed."""
    pending_logs: bool = False
    orphaned_logs: bool = False
    """A range also brings the logs of orphaned blocks in it, recognisable only by their block hash."""
    stray_log: bool = False
    """An answer also brings a log of the nearest other block that holds one which matches."""
    orphans_known: bool = False
    """Orphaned blocks, too, are found by their hash, as most nodes do for a while."""
    orphans_mixed: bool = False
    """eth_getLogs by an orphaned hash answers with the canonical block of that height."""

    # --- blocks and heads ---

    lag: int = 0
    """How many blocks the node is behind its chain."""
    syncing: int = 0
    """How many blocks the node has fallen behind; it makes good one with each HTTP request."""
    backends: tuple[int, ...] = (0,)
    """How far each of several nodes behind the address is behind. One, by chance, answers a request."""
    batch_split: bool = False
    """Each call of a batch is a request of its own to those nodes."""
    null_block: int | None = None
    """The block of this number is null."""
    wrong_chain: int | None = None
    """The chain id that is given instead."""
    wrong_genesis: bool = False
    no_finalized_tag: bool = False
    moved_finality: bool = False
    """The block that is called final or safe has another hash than the same block by number."""
    no_bloom: bool = False
    zero_bloom: bool = False
    full_bloom: bool = False
    """All bits of all blooms are set."""

    # --- receipts ---

    no_receipts: bool = False
    """There is no eth_getBlockReceipts."""
    no_transaction_receipts: bool = False
    """There is no eth_getTransactionReceipt."""
    receipts_null: bool = False
    receipts_partial: bool = False
    """The last receipt of a block that has logs is missing."""
    receipts_reordered: bool = False
    receipts_misnumbered: bool = False
    """The index of a log in a receipt is that of its transaction plus its place in it."""

    # --- the way there and back ---

    down: bool = False
    """Every request is answered by 503."""
    throttled: float | None = None
    """Every request is answered by 429 and this many seconds of Retry-After."""
    flaky: float = 0.0
    """The share of the requests, drawn by chance, that are answered by 503."""
    latency: float = 0.0
    """Seconds before each answer."""
    jitter: float = 0.0
    """Up to so many seconds more, drawn by chance."""
    garbage_json: bool = False
    """Random bytes that are not JSON."""
    truncated_json: bool = False
    """The answer ends in the middle, and its length says so."""
    batch_reversed: bool = False
    batch_incomplete: bool = False
    """The last answer to a batch is missing."""
    batch_refused: bool = False
    batch_cap: int | None = None
    """Calls in a batch."""
