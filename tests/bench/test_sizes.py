"""--sizes: what it draws has the distribution that it names, and what cannot be is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd.bench.sizes import MAX_SIZE, check_sizes, parse_sizes
from inferd.client_inputs.inputs import Spec
from inferd.errors import ConfigError

TOKENS = Spec("tokens", "INT64", (-1, -1))
MASK = Spec("mask", "INT64", (-1, -1))
IMAGE = Spec("image", "FP32", (-1, 3, 8))


def drawn(text: str, count: int = 4000) -> np.ndarray:
    sizes = parse_sizes(text)
    generator = np.random.default_rng(1)
    return np.array([sizes.draw(generator) for _ in range(count)])


def refusal(call, *arguments) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    return str(caught.value)


def test_uniform_reaches_both_ends() -> None:
    values = drawn("tokens:1=uniform:3..6")
    counts = np.bincount(values)
    assert set(values) == {3, 4, 5, 6}
    assert np.all(np.abs(counts[3:] - 1000) < 120)


def test_choice() -> None:
    assert set(drawn("tokens:1=choice:32,64,128")) == {32, 64, 128}


@pytest.mark.parametrize("kind", ["normal", "lognormal"])
def test_mean_and_deviation_are_those_of_the_sizes(kind: str) -> None:
    values = drawn(f"tokens:1={kind}:200,40")
    assert values.mean() == pytest.approx(200, rel=0.02)
    assert values.std() == pytest.approx(40, rel=0.06)


def test_no_size_is_below_one_or_beyond_the_third_number() -> None:
    assert drawn("tokens:1=normal:2,50").min() == 1
    assert drawn("tokens:1=lognormal:100,200,128").max() == 128
    assert set(drawn("tokens:1=normal:7,0", 10)) == {7}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tokens",
        "tokens:1",
        "tokens:x=uniform:1..2",
        "tokens:-1=uniform:1..2",
        "tokens:1=uniform:2",
        "tokens:1=uniform:5..4",
        "tokens:1=uniform:0..4",
        "tokens:1=choice:",
        "tokens:1=choice:1,x",
        "tokens:1=normal:5",
        "tokens:1=normal:0,1",
        "tokens:1=normal:1,-1",
        "tokens:1=normal:nan,1",
        "tokens:1=normal:1,inf",
        "tokens:1=normal:1,1,0",
        "tokens:1=pareto:1,2",
        "tokens:1=choice:²",
        ":1=choice:3",
    ],
)
def test_what_is_no_distribution(text: str) -> None:
    assert "expected NAME:AXIS=uniform:16..128" in refusal(parse_sizes, text)


@given(st.from_regex(r"[a-z*,]{1,4}:[0-9]=(uniform|normal|lognormal|choice):[-0-9.,e]{1,12}", fullmatch=True))
def test_any_text_is_refused_or_draws_sizes(text: str) -> None:
    try:
        sizes = parse_sizes(text)
    except ConfigError:
        return
    assert 1 <= sizes.draw(np.random.default_rng(0)) <= MAX_SIZE


def test_a_star_is_every_input_with_that_axis_open() -> None:
    sizes = parse_sizes("*:1=choice:5")
    assert [sizes.applies(spec) for spec in (TOKENS, MASK, IMAGE)] == [True, True, False]


def test_sizes_that_the_model_does_not_have() -> None:
    specs = [TOKENS, IMAGE]
    for text, message in {
        "x:1=choice:2": "no input 'x'",
        "image:1=choice:2": "axis 1 of the input 'image' (FP32 [?, 3, 8]) is not open",
        "tokens:2=choice:2": "axis 2 of the input 'tokens'",
        "*:2=choice:2": "no input '*' with that axis",
    }.items():
        assert message in refusal(check_sizes, [parse_sizes(text)], specs)
    twice = [parse_sizes("*:1=choice:2"), parse_sizes("tokens:1=choice:3")]
    assert "has *:1=choice:2 already" in refusal(check_sizes, twice, specs)
