"""What a node's JSON says, in our records: typed decoding, hexadecimal to bytes, nothing believed.

Law: a field that we do not read may be anything or absent; a field that we read must be of its
shape, or the answer is refused. Field by field, real nodes differ in all other ways. A number beyond its
legal range (`legal`) is named with its field and its place, and is `Unreadable`: it does not heal.
"""

from __future__ import annotations

from binascii import unhexlify
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from eventstore.errors import AnswerRefused, Unreadable
from eventstore.records import Header, Log
from eventstore.storage.gc_pause import acyclic
from eventstore.storage.legal import MOST, legal, shown

Quantity = str | int | None
Address = Annotated[str, Meta(min_length=42, max_length=42)]
Word = Annotated[str, Meta(min_length=66, max_length=66)]
Bloom = Annotated[str, Meta(min_length=2, max_length=514)]


_UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError)
"""What a result may end in that is of another shape, holds no number, or is nested too deeply."""


class _WireLog(Struct, gc=False):
    address: Address
    data: str | None = None
    topics: list[Word] | None = None
    blockNumber: Quantity = None
    blockHash: Word | None = None
    transactionHash: Word | None = None
    transactionIndex: Quantity = None
    logIndex: Quantity = None
    removed: bool | None = None


class _WireHeader(Struct, gc=False):
    number: Quantity
    hash: Word | None
    parentHash: Word
    timestamp: Quantity
    logsBloom: Bloom | None = None


class _WireTransactions(Struct, gc=False):
    transactions: list[Word] = []


class _WireReceipt(Struct, gc=False):
    logs: list[_WireLog]
    transactionHash: Word | None = None
    blockHash: Word | None = None


class Receipt(Struct, frozen=True, gc=False):
    """What a transaction left behind; the hashes are None where the node leaves them out."""

    tx_hash: bytes | None
    block_hash: bytes | None
    logs: list[Log]


_logs = msgspec.json.Decoder(list[_WireLog])
_header = msgspec.json.Decoder(_WireHeader | None)
_transactions = msgspec.json.Decoder(_WireTransactions)
_receipt = msgspec.json.Decoder(_WireReceipt)
_list: msgspec.json.Decoder[list[Raw] | None] = msgspec.json.Decoder(list[Raw] | None)
_fields: msgspec.json.Decoder[dict[str, Any] | None] = msgspec.json.Decoder(dict[str, Any] | None)
_quantity = msgspec.json.Decoder(Quantity)


def logs(raw: Raw) -> list[Log]:
    """The logs of an eth_getLogs result, in the node's order.

    Raises `AnswerRefused` for one that is pending or removed, or of another shape, `Unreadable` for a
    number beyond its range.
    """
    try:
        with acyclic():
            return _in_range(_logs.decode(raw))
    except _UNREADABLE as error:
        raise AnswerRefused(f"The node's logs cannot be read: {error}.") from error


def listed(raw: Raw) -> list[Raw] | None:
    """The items of a result that is a list, each as the node wrote it; None where the result is null."""
    try:
        return _list.decode(raw)
    except _UNREADABLE as error:
        raise AnswerRefused(f"The node's list cannot be read: {error}.") from error


def fields(raw: Raw) -> dict[str, Any] | None:
    """All fields of a result that is an object, as the node wrote them; None where it is null."""
    try:
        return _fields.decode(raw)
    except _UNREADABLE as error:
        raise AnswerRefused(f"The node's object cannot be read: {error}.") from error


def receipt(raw: Raw) -> Receipt:
    """One receipt: an eth_getTransactionReceipt result, or one of those of eth_getBlockReceipts."""
    try:
        return _converted_receipt(_receipt.decode(raw))
    except _UNREADABLE as error:
        raise AnswerRefused(f"The node's receipt cannot be read: {error}.") from error


def transactions(raw: Raw) -> list[bytes]:
    """The hashes of the transactions in a block that was asked for without them in full."""
    try:
        return [_word(item) for item in _transactions.decode(raw).transactions]
    except _UNREADABLE as error:
        raise AnswerRefused(f"The transactions of the node's block cannot be read: {error}.") from error


def header(raw: Raw) -> Header | None:
    """The header in a block (with or without its transactions), or None where the node has none."""
    try:
        block = _header.decode(raw)
        if block is None:
            return None
        bloom = block.logsBloom
        number = _ranged(block.number, "number", "a block")
        return Header(
            number=number,
            hash=_word(block.hash),
            parent_hash=_word(block.parentHash),
            timestamp=_ranged(block.timestamp, "timestamp", f"block {number}"),
            bloom=_word(bloom) if bloom is not None and len(bloom) == 514 else None,
        )
    except _UNREADABLE as error:
        raise AnswerRefused(f"The node's block cannot be read: {error}.") from error


def quantity(raw: Raw, *, name: str = "number") -> int:
    """A number on its own, such as eth_chainId's; `name` is what a refusal calls it."""
    try:
        return _ranged(_quantity.decode(raw), name, "the chain")
    except _UNREADABLE as error:
        raise AnswerRefused(f"The node's number cannot be read: {error}.") from error


class _Words(dict[str | None, bytes]):
    """Words that repeat (addresses, block hashes, first topics) to bytes, each parsed once."""

    def __missing__(self, text: str | None) -> bytes:
        word = self[text] = _word(text)
        return word


class _Numbers(dict[Quantity, int]):
    """Quantities to integers, each parsed once."""

    def __missing__(self, text: Quantity) -> int:
        number = _integer(text)
        if not legal(number):
            raise _BeyondError
        self[text] = number
        return number


class _BeyondError(Exception):
    """Some number of these logs is beyond its range."""


def _in_range(found: list[_WireLog]) -> list[Log]:
    try:
        return _converted(found)
    except _BeyondError:
        for log in found:  # the conversion asks no number for its name
            number = _ranged(log.blockNumber, "blockNumber", "a log")
            index = _ranged(log.logIndex, "logIndex", f"a log of block {number}")
            _ranged(log.transactionIndex, "transactionIndex", f"log {index} of block {number}")
        raise


def _converted(found: list[_WireLog]) -> list[Log]:
    """The hot path: what rarely repeats is parsed in place, lengths were checked by the decoder."""
    words, numbers = _Words(), _Numbers()
    parse = unhexlify
    converted: list[Log] = []
    add = converted.append
    for log in found:
        if log.removed:
            raise AnswerRefused("The node answered with a log that it says was removed.")
        topics, data, tx_hash = log.topics, log.data, log.transactionHash
        told: tuple[bytes, ...]
        if not topics:
            told = ()
        elif len(topics) == 3:  # most events: in place, half the work of the general case
            topic0, topic1, topic2 = topics
            told = (words[topic0], parse(topic1[2:]), parse(topic2[2:]))
        else:
            told = (words[topics[0]], *[parse(topic[2:]) for topic in topics[1:]])
        add(
            Log(
                numbers[log.blockNumber],
                numbers[log.logIndex],
                words[log.address],
                told,
                parse(data[2:]) if data and data[:2] == "0x" else _bytes(data or "0x"),
                parse(tx_hash[2:]) if tx_hash else _word(None),
                numbers[log.transactionIndex],
                words[log.blockHash],
            )
        )
    return converted


def _converted_receipt(found: _WireReceipt) -> Receipt:
    tx_hash, block_hash = found.transactionHash, found.blockHash
    return Receipt(
        None if tx_hash is None else _word(tx_hash),
        None if block_hash is None else _word(block_hash),
        _in_range(found.logs),
    )


def _bytes(text: str) -> bytes:
    if not text.startswith(("0x", "0X")):
        raise ValueError(f"{text[:20]!r} is not hexadecimal with 0x")
    return unhexlify(text[2:])


def _word(text: str | None) -> bytes:
    """The bytes of a field whose length the decoder has checked."""
    if text is None:
        raise ValueError("a field is null, as in what is still pending")
    return _bytes(text)


def _integer(text: Quantity) -> int:
    if text is None:
        raise ValueError("a number is null, as in what is still pending")
    number = text if isinstance(text, int) else int(text, 16)
    if number < 0:
        raise ValueError(f"{text!r} is negative")
    return number


def _ranged(text: Quantity, field: str, of: str) -> int:
    """A number of the answer, if it may be one."""
    number = _integer(text)
    if not legal(number):
        raise Unreadable(
            f"The node gives {of} the {field} {shown(number)}: the highest that may be is {MOST}.",
            hint="Asking it again does not help; another endpoint may give the right number.",
        )
    return number
