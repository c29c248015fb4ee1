"""The words of JSON-RPC: what real nodes vary is tolerated, what cannot be is refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from eventstore.errors import AnswerRefused
from eventstore.sources.rpc import codec, envelope
from eventstore.sources.rpc.codec import Receipt
from eventstore.sources.rpc.envelope import Failure

HASH = "0x" + "ab" * 32
LOG: dict[str, Any] = {
    "address": "0x" + "a1" * 20,
    "topics": [HASH],
    "data": "0x0102",
    "blockNumber": "0x10",
    "blockHash": HASH,
    "transactionHash": HASH,
    "transactionIndex": "0x2",
    "logIndex": "0x3",
    "removed": False,
}
BLOCK: dict[str, Any] = {"number": "0x10", "hash": HASH, "parentHash": HASH, "timestamp": "0x5"}


def raw(value: object) -> Raw:
    return Raw(msgspec.json.encode(value))


def without(values: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def test_a_log_is_read_into_integers_and_bytes() -> None:
    [log] = codec.logs(raw([LOG]))
    assert (log.block_number, log.log_index, log.tx_index) == (16, 3, 2)
    assert (log.address, log.topics, log.data) == (b"\xa1" * 20, (b"\xab" * 32,), b"\x01\x02")


@pytest.mark.parametrize(
    "varied",
    [
        without(LOG, "removed"),
        LOG | {"removed": None},
        LOG | {"blockTimestamp": "0x0", "type": "mined", "transactionLogIndex": "0x0"},
        LOG | {"blockNumber": 16, "logIndex": 3, "transactionIndex": 2},
        LOG | {"address": "0x" + "A1" * 20, "blockHash": "0x" + "AB" * 32},
    ],
    ids=["no removed", "null removed", "more fields", "integers", "upper case"],
)
def test_a_log_may_vary_in_form(varied: dict[str, Any]) -> None:
    assert codec.logs(raw([varied])) == codec.logs(raw([LOG]))


@pytest.mark.parametrize("varied", [without(LOG, "topics"), LOG | {"topics": None}])
def test_missing_topics_are_none(varied: dict[str, Any]) -> None:
    assert codec.logs(raw([varied]))[0].topics == ()


@pytest.mark.parametrize("data", ["0x", "", None])
def test_missing_data_is_empty(data: str | None) -> None:
    assert codec.logs(raw([LOG | {"data": data}]))[0].data == b""


@pytest.mark.parametrize(
    "wrong",
    [
        LOG | {"removed": True},
        LOG | {"blockNumber": None},
        LOG | {"blockHash": None},
        LOG | {"transactionHash": None},
        LOG | {"logIndex": None},
        LOG | {"logIndex": "3z"},
        LOG | {"logIndex": -3},
        LOG | {"address": "0xa1"},
        LOG | {"address": "0x" + "zz" * 20},
        LOG | {"topics": ["0xab"]},
        LOG | {"topics": [None]},
        LOG | {"topics": [HASH, "0x" + " " * 64]},
        LOG | {"data": "0x123"},
        LOG | {"data": "0102"},
        without(LOG, "address"),
        "a log",
    ],
)
def test_a_log_that_cannot_be_is_refused(wrong: object) -> None:
    with pytest.raises(AnswerRefused):
        codec.logs(raw([LOG, wrong]))


@pytest.mark.parametrize("wrong", [None, {}, "logs"])
def test_what_is_no_list_of_logs_is_refused(wrong: object) -> None:
    with pytest.raises(AnswerRefused):
        codec.logs(raw(wrong))


def test_a_header_may_lack_a_bloom_and_have_more_fields() -> None:
    header = codec.header(raw(BLOCK | {"extraData": "0x" + "00" * 97, "nonce": None}))
    assert header is not None
    assert (header.number, header.timestamp, header.bloom) == (16, 5, None)


def test_no_block_is_no_header() -> None:
    assert codec.header(raw(None)) is None


@pytest.mark.parametrize(
    "wrong", [BLOCK | {"hash": None}, BLOCK | {"number": None}, BLOCK | {"hash": "0x00"}, {}, []]
)
def test_a_header_that_cannot_be_is_refused(wrong: object) -> None:
    with pytest.raises(AnswerRefused):
        codec.header(raw(wrong))


def test_receipts_give_their_logs_in_order() -> None:
    said = [{"logs": [LOG]}, {"logs": []}, {"logs": [LOG | {"logIndex": "0x4"}]}]
    found = [codec.receipt(item) for item in codec.listed(raw(said)) or ()]
    assert [[log.log_index for log in receipt.logs] for receipt in found] == [[3], [], [4]]


def test_a_receipt_says_whose_it_is() -> None:
    receipt = codec.receipt(raw({"transactionHash": HASH, "blockHash": HASH, "logs": []}))
    assert receipt == Receipt(b"\xab" * 32, b"\xab" * 32, [])


def test_no_receipts_are_none() -> None:
    assert codec.listed(raw(None)) is None


def test_an_object_is_read_with_all_its_fields() -> None:
    assert codec.fields(raw({"a": "0x1", "b": None})) == {"a": "0x1", "b": None}
    assert codec.fields(raw(None)) is None
    with pytest.raises(AnswerRefused):
        codec.fields(raw([1]))


@pytest.mark.parametrize("wrong", [{}, {"logs": None}, {"logs": [], "transactionHash": "0x00"}, "a receipt"])
def test_a_receipt_that_cannot_be_is_refused(wrong: object) -> None:
    with pytest.raises(AnswerRefused):
        codec.receipt(raw(wrong))
    with pytest.raises(AnswerRefused):
        codec.listed(raw(wrong))


def test_a_block_names_its_transactions() -> None:
    assert codec.transactions(raw(BLOCK | {"transactions": [HASH]})) == [b"\xab" * 32]


def test_transactions_that_cannot_be_are_refused() -> None:
    with pytest.raises(AnswerRefused):
        codec.transactions(raw(BLOCK | {"transactions": ["0xab"]}))


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        ({"code": -32000, "message": "no"}, Failure(-32000, "no", None)),
        ({"code": "-32000", "message": "no"}, Failure(-32000, "no", None)),
        ({"message": None}, Failure(None, "", None)),
        ({"code": 1, "message": "no", "data": {"a": 1}}, Failure(1, "no", {"a": 1})),
        ("no", Failure(None, "no", None)),
    ],
)
def test_an_error_may_vary_in_form(error: object, failure: Failure) -> None:
    assert envelope.replies(msgspec.json.encode({"id": 1, "error": error})) == failure


def test_a_null_error_is_none() -> None:
    said = envelope.replies(b'{"id": 1, "result": "0x1", "error": null}')
    assert isinstance(said, Raw)
    assert codec.quantity(said) == 1


def test_a_batch_is_found_by_its_ids() -> None:
    said = envelope.replies(b'[{"id": 2, "result": 1}, {"id": "1", "error": "no"}]')
    assert isinstance(said, dict)
    assert said["1"] == Failure(None, "no", None)
    assert set(said) == {"1", "2"}


def test_a_batch_that_answers_twice_is_refused() -> None:
    with pytest.raises(AnswerRefused, match="twice"):
        envelope.replies(b'[{"id": 1, "result": 1}, {"id": 1, "result": 2}]')


def test_a_reply_with_neither_result_nor_error_is_refused() -> None:
    with pytest.raises(AnswerRefused, match="neither"):
        envelope.replies(b'{"id": 1}')
