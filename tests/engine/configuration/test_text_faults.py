"""What is said of a value in config.pbtxt: what is said of it in config.toml, wherever it stands."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from inferd.engine.configuration.text_faults import value_fault, without_field
from inferd.protocol import POOL, inference

PIXELS = "expected a whole number from 0 to 18446744073709551615, got"
RED = "expected a whole number from 0 to 4294967295, got"
COLORS = "expected one of RGB, BGR, GRAY, got"


def fault(text: str) -> str:
    """Of the value that protobuf's parser stops at."""
    config = inference.ModelConfig()
    with pytest.raises(text_format.ParseError) as caught:
        text_format.Parse(text, config, descriptor_pool=POOL)
    return value_fault(text, config.DESCRIPTOR, caught.value.GetLine() or 0, caught.value.GetColumn() or 0)


def decoded(fields: str) -> str:
    return f"inferd {{ preprocess {{ steps {{ decode_image {{ {fields} }} }} }} }}"


STEP = "inferd.preprocess[0].steps[0].decode_image"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("max_batch_size: 1.5", "max_batch_size: expected a whole number from -2147483648 to 2147483647, got 1.5"),
        ('max_batch_size: "x"', 'max_batch_size: expected a whole number from -2147483648 to 2147483647, got "x"'),
        ('max_batch_size: "8"', 'max_batch_size: expected a whole number from -2147483648 to 2147483647, got "8"'),
        ("max_batch_size: 99999999999", "max_batch_size: expected a whole number from -2147483648 to 2147483647, got 99999999999"),
        ("max_batch_size: -0x80000001", "max_batch_size: expected a whole number from -2147483648 to 2147483647, got -0x80000001"),
        ('inferd { padding { value: "0.5" } }', 'inferd.padding[0].value: expected a number, got "0.5"'),
        ("inferd { padding { input: 1.5f } }", "inferd.padding[0].input: expected a text, got 1.5f"),
        (decoded("max_pixels: -5"), f"{STEP}.max_pixels: {PIXELS} -5"),
        (decoded("color: RGBA"), f"{STEP}.color: {COLORS} RGBA"),
        (decoded("scaled: maybe"), f"{STEP}.scaled: expected true or false, got maybe"),
        (decoded("background: [1,\n 2, -1]"), f"{STEP}.background[2]: {RED} -1"),
        (decoded("background: 1 background: -1"), f"{STEP}.background[1]: {RED} -1"),
        (decoded("background: [1, 2] background: -1"), f"{STEP}.background[2]: {RED} -1"),
        ("inferd { padding { value: x } }", "inferd.padding[0].value: expected a number, got x"),
        # what stands in front
        ('name: "a { b: [" # max_batch_size {\n' + decoded("color: RGBA"), f"{STEP}.color: {COLORS} RGBA"),
        ("input { dims: [1, 2] reshape { shape: 1 } dims: x }", "input[0].dims[2]: expected a whole number from -92"),
        ("input { name: 'x\\'{' } input < dims: 1 > input { dims: x }", "input[2].dims[0]: expected a whole number from -92"),
        ("input: [{ dims: 1 }, { dims: [1, x] }]", "input[1].dims[1]: expected a whole number from -92"),
        ('parameters { key: "a" value { string_value: "b" } }, max_batch_size: x', "max_batch_size: expected a whole number"),
        ("inferd { preprocess { steps { scale {} } steps { scale { factor: 1; offset: x } } } }",
         "inferd.preprocess[0].steps[1].scale.offset: expected a number, got x"),
    ],
)  # fmt: skip
def test_names_the_place_and_what_was_expected(text: str, told: str) -> None:
    assert fault(text).startswith(told)


@pytest.mark.parametrize(
    "text", ["name: abc", "input: 5", "max_batch_size {}", "max_batch_size 5", "nope: 1", "input { nope: 1 }", "{", "name: ["]
)
def test_of_syntax_the_parser_tells(text: str) -> None:
    assert fault(text) == ""


WORDS = [
    "inferd",
    "padding",
    "input",
    "dims",
    "name",
    "x",
    "-5",
    '"a"',
    "'",
    "{",
    "}",
    "<",
    ">",
    "[",
    "]",
    ":",
    ",",
    ";",
    "#",
    "\n",
    "[x.y]",
]


@given(st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join) | st.text(max_size=60), st.integers(0, 5), st.integers(0, 80))
def test_any_text_has_a_fault_or_none(text: str, line: int, column: int) -> None:
    assert isinstance(value_fault(text, inference.ModelConfig.DESCRIPTOR, line, column), str)


@pytest.mark.parametrize(
    ("text", "found", "left"),
    [
        ("a: 1\nwrong: 3 b: 2", "wrong", "a: 1\n         b: 2"),
        ("wrong { x: [1, 2] y { } } b: 2", "wrong", "                          b: 2"),
        ("wrong: [{ x: 1 }, { }] b: 2", "wrong", "                       b: 2"),
        ("a: 1 b: eight c: 2", "eight", "a: 1          c: 2"),
        ("a: 1 b: [1, eight] c: 2", "eight", "a: 1               c: 2"),
        ("input { dims: x } c: 2", "x }", "input {         } c: 2"),
        ('a: 1\nwrong: "}" # {\nb: 2', "wrong", "a: 1\n           # {\nb: 2"),
        ("a { wrong", "wrong", "a {      "),
    ],
)
def test_one_field_can_be_left_out(text: str, found: str, left: str) -> None:
    line, column = text[: text.index(found)].count("\n") + 1, text.index(found) - text.rfind("\n", 0, text.index(found))
    assert without_field(text, line, column) == left


def test_the_name_of_a_field_is_no_value() -> None:
    assert fault("max_batch_size: 8\nmax_queue: 3") == ""
