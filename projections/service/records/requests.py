"""Requests: what a command asks the holder of a lease to do, so that it works while the service runs.

The command writes a row and waits; the holder executes it between two steps. With no holder, the command
takes the lease and is the holder itself. A holder that dies leaves the row pending for the next one. A row
has the tag of an operation as its `kind` and the fields as its `arguments`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from eventstore import clock
from eventstore.storage.legible import legible
from eventstore.storage.sql import text
from eventstore.storage.store import Store


class ResyncBlocks(Struct, frozen=True, tag="resync"):
    """Fetch these blocks again and compare; up to the head without `last`, all contracts without `addresses`,
    which are hex digits."""

    first: int
    last: int | None
    addresses: list[str] | None


class Repair(Struct, frozen=True, tag="repair"):
    """Write these blocks again from their receipts; each is a number and the hash that was proved, as hex."""

    blocks: list[tuple[int, str]]


class Retreat(Struct, frozen=True, tag="retreat"):
    """Go back to the head of a chain that moved back."""


class Retry(Struct, frozen=True, tag="retry"):
    """Of an ingester: ask for failed ranges now. Of a fold: fold the events again that were passed over."""


class Prove(Struct, frozen=True, tag="prove"):
    """Prove these blocks, for all contracts without `addresses`, which are hex digits."""

    first: int
    last: int
    addresses: list[str] | None


class Rollback(Struct, frozen=True, tag="rollback"):
    """Take a projection back to its state after the block `to`; with `hold` it waits there."""

    to: int
    hold: bool


class Resume(Struct, frozen=True, tag="resume"):
    """Let a held projection go on."""


class Rebuild(Struct, frozen=True, tag="rebuild"):
    """Build a projection from the first block; with `back`, take up what this code built before."""

    promote: bool
    back: bool


class Republish(Struct, frozen=True, tag="mend"):
    """Send these keys to every sink again, under a revision above this one."""

    keys: list[str]
    above: int


class Skip(Struct, frozen=True, tag="skip"):
    """Pass one event over, in every rebuild too."""

    block: int
    log_index: int
    reason: str


class RetryDocuments(Struct, frozen=True, tag="again"):
    """Of a publisher: try the documents again that the sink did not take."""


class ResendNotifications(Struct, frozen=True, tag="again"):
    """Of a courier: make dead letters due, or with `replay` what was delivered; all without `number`."""

    replay: bool
    number: int | None


class UnknownOperation(Struct, frozen=True):
    """A row that this version does not understand: a newer version wrote it."""

    kind: str


Operation = (
    ResyncBlocks
    | Repair
    | Retreat
    | Retry
    | Prove
    | Rollback
    | Resume
    | Rebuild
    | Republish
    | Skip
    | RetryDocuments
    | ResendNotifications
)
"""All that can be asked of the holder of a lease."""

_OPERATIONS: dict[str, type[Operation]] = {
    "resync": ResyncBlocks,
    "repair": Repair,
    "retreat": Retreat,
    "retry": Retry,
    "prove": Prove,
    "rollback": Rollback,
    "resume": Resume,
    "rebuild": Rebuild,
    "mend": Republish,
    "skip": Skip,
}


def kind_of(operation: Operation | UnknownOperation) -> str:
    """The name of an operation in the table of requests."""
    if isinstance(operation, UnknownOperation):
        return operation.kind
    return str(operation.__struct_config__.tag)


def _decoded(kind: str, arguments: str) -> Operation | UnknownOperation:
    """The operation of a row. `again` stands for two: only that of webhooks has arguments."""
    try:
        given = msgspec.json.decode(arguments, type=dict[str, Any])
        if kind == "again":
            return msgspec.convert(given, ResendNotifications) if given else RetryDocuments()
        return msgspec.convert(given, _OPERATIONS[kind])
    except (KeyError, msgspec.MsgspecError):
        return UnknownOperation(kind)


def _arguments(operation: Operation) -> str:
    fields = {name: getattr(operation, name) for name in operation.__struct_fields__}
    return msgspec.json.encode(fields).decode()


class Request(Struct, frozen=True):
    """One request. `state` is pending, done or failed; `detail` the encoded answer, or the error.

    While it is pending, `done` of `total` says how far it is (None: not begun, or done at once), and
    `detail` is what the next holder goes on from.
    """

    id: int
    lease: str
    operation: Operation | UnknownOperation
    state: str
    detail: str
    done: int | None = None
    total: int | None = None


class Requests:
    """The requests of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def submit(self, lease: str, operation: Operation) -> int:
        """Asks the holder of `lease`; the number to ask for the answer with."""
        with self._store.write() as tx:
            return int(
                tx.execute(
                    text(
                        "INSERT INTO requests (lease, kind, arguments, state, detail, created_at) "
                        "VALUES (:lease, :kind, :arguments, 'pending', '', :now) RETURNING id"
                    ),
                    {
                        "lease": lease,
                        "kind": kind_of(operation),
                        "arguments": _arguments(operation),
                        "now": clock.now(),
                    },
                ).scalar_one()
            )

    def pending(self, lease: str) -> list[Request]:
        """What the holder of `lease` is to do, in the order it was asked."""
        return self._where("lease = :lease AND state = 'pending'", lease=lease)

    def get(self, number: int) -> Request:
        return self._where("id = :id", id=number)[0]

    def advance(self, request: Request, *, done: int, total: int, detail: str) -> None:
        """Writes down how far a request has come."""
        with self._store.write() as tx:
            tx.execute(
                text("UPDATE requests SET done = :done, total = :total, detail = :detail WHERE id = :id"),
                {"id": request.id, "done": done, "total": total, "detail": detail},
            )

    def finish(self, request: Request, *, ok: bool, detail: str) -> None:
        """Writes the answer down for the command that waits for it."""
        with self._store.write() as tx:
            tx.execute(
                text(
                    "UPDATE requests SET state = :state, detail = :detail, finished_at = :now WHERE id = :id"
                ),
                {
                    "id": request.id,
                    "state": "done" if ok else "failed",
                    "detail": detail if ok else legible(detail),
                    "now": clock.now(),
                },
            )

    def _where(self, condition: str, **values: Any) -> list[Request]:
        with self._store.read() as tx:
            rows = tx.execute(
                text(
                    "SELECT id, lease, kind, arguments, state, detail, done, total FROM requests "
                    f"WHERE {condition} ORDER BY id"
                ),
                values,
            ).all()
        return [
            Request(number, lease, _decoded(kind, arguments), *rest)
            for number, lease, kind, arguments, *rest in rows
        ]
