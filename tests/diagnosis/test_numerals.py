"""Numbers are told as people say them."""

from __future__ import annotations

import math

import ml_dtypes
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.diagnosis.numerals import factor, said, span


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.11022e-16, "0"),
        (-0.0, "0"),
        (1.5, "1.5"),
        (-0.5, "-0.5"),
        (0.7, "0.7"),
        (1 / 3, "1/3"),
        (math.log(2), "ln 2"),
        (1 / math.log(2), "1/(ln 2)"),
        (1 / math.sqrt(2), "1/sqrt(2)"),
        (-math.sqrt(2048), "-sqrt(2048)"),
        (1 - 5e-6, "1 - 5e-6"),
        (1 + 1.25e-3, "1 + 1.25e-3"),
        (-(1 - 5e-6), "-(1 - 5e-6)"),
        (1e-5, "1e-5"),
        (0.01, "0.01"),
        (1e-3, "1e-3"),
        (255 / 256, "255/256"),
        (45, "45"),
        (32768, "32768"),
        (0.123456, "0.1235"),
        (1234.5678, "1235"),
        (1.2345678e7, "1.235e7"),
        (math.inf, "inf"),
    ],
)
def test_a_number_is_told_as_people_say_it(value, text):
    assert said(value) == text


@given(st.floats(1e-30, 1e30) | st.floats(-1e30, -1e30 * 0.999))
def test_no_number_is_told_wrongly(value):
    """To a two-thousandth at least, or as nothing where it is next to nothing."""
    text = said(value)
    numbers = {"pi": math.pi, "e": math.e, "sqrt": math.sqrt}
    told = eval(text.replace("ln 2", "0.6931472").replace("ln 10", "2.3025851"), {"__builtins__": {}}, numbers)
    assert told == pytest.approx(value, rel=5e-4, abs=1e-12)


def test_a_span_of_one_number_is_that_number():
    assert span([1 - 1e-14, 1 + 1e-14]) == "1"
    assert span([2, 0.5, 1]) == "0.5 to 2"


def test_a_factor_says_which_constant_was_rounded():
    """bfloat16 has eight bits: 1/sqrt(2) is 0.70703 there."""
    rounded = float(ml_dtypes.bfloat16(math.sqrt(0.5))) / math.sqrt(0.5)
    assert factor(rounded) == "1 - 1.07e-4, which is bfloat16's rounding of 1/sqrt(2)"
    assert factor(1 - 1e-4) == "1 - 1e-4"
    assert factor(0.5) == "0.5"
