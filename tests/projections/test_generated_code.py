"""Functions that are put together at run time show their lines in tracebacks, as those of files do."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

from projections.decoding.compiled import compile_decoder
from projections.decoding.event import Event, Parameter
from projections.fold.document_type import Shape
from projections.generated_code import define
from projections.projectors.referrals import Referrals


def shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def test_a_defined_function_is_what_its_lines_say_and_knows_what_it_is_given() -> None:
    add = define("add", ["def add(number):", "    return number + most"], {"most": 5}, of="numbers")
    assert add(2) == 7


def test_the_line_of_a_decoder_that_fails_is_shown() -> None:
    event = Event("Paid", (Parameter("amount", "uint256", False),))
    bound = compile_decoder(event, [0], lambda *given: given)
    assert bound is not None
    nothing: Any = None
    with pytest.raises(AttributeError) as caught:
        bound("0xc", nothing)(nothing, nothing)
    assert "bound of Paid" in shown(caught.value)
    assert "\n    data = log.data\n" in shown(caught.value)


def test_the_line_of_a_settle_that_fails_is_shown() -> None:
    with pytest.raises(KeyError) as caught:
        Shape(Referrals).settle({"0x01": None}, {}, {}, 60, lambda key, value: None)
    assert "settle of User" in shown(caught.value)
    assert "\n    after = cache[key]\n" in shown(caught.value)
