"""What is said of a configuration in TOML, held against what protobuf takes."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import example, given
from hypothesis import strategies as st

from inferd.engine.configuration.toml_faults import for_json, toml_faults
from inferd.protocol import POOL, inference

# Fields of every kind: where each stands, as the tables around a value.
FIELDS: dict[str, Any] = {
    "int32": lambda value: {"max_batch_size": value},
    "uint32": lambda value: {"inferd": {"preprocess_threads": value}},
    "int64s": lambda value: {"input": [{"dims": [1, value]}]},
    "uint64": lambda value: {"dynamic_batching": {"max_queue_delay_microseconds": value}},
    "float": lambda value: {"inferd": {"preprocess": [{"steps": [{"scale": {"factor": value}}]}]}},
    "floats": lambda value: {"inferd": {"preprocess": [{"steps": [{"normalize": {"mean": [value]}}]}]}},
    "double": lambda value: {"inferd": {"padding": [{"value": value}]}},
    "bool": lambda value: {"dynamic_batching": {"preserve_ordering": value}},
    "text": lambda value: {"name": value},
    "texts": lambda value: {"instance_group": [{"profile": [value]}]},
    "enum": lambda value: {"input": [{"data_type": value}]},
    "key": lambda value: {"dynamic_batching": {"priority_queue_policy": {str(value): {"max_queue_size": 1}}}},
    "map": lambda value: {"parameters": {"one": {"string_value": value}}},
}
WORDS = [
    "",
    "9" * 400,
    "1",
    " 1",
    "1_0",
    "inf",
    "-1",
    "1.5",
    "x",
    "true",
    "nan",
    "NaN",
    "Infinity",
    "-Infinity",
    "TYPE_FP32",
    "TYPE_FP3",
    "1e39",
    "4294967296",
    "é",
]
VALUES = st.one_of(
    st.sampled_from([0, 1, -1, 1 << 31, -(1 << 31), (1 << 32) - 1, 1 << 32, 1 << 63, 1 << 64, -(1 << 63) - 1, 10**30, 10**400]),
    st.sampled_from([8.0, 8.5, 3.4028235e38, 3.5e38, 1e300, -1e39, math.inf, -math.inf, math.nan]),
    st.sampled_from(WORDS),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.just([]),
    st.just({}),
)


def said_by_protobuf(values: Any) -> str:
    try:
        json_format.ParseDict(for_json(values), inference.ModelConfig(), descriptor_pool=POOL)
    except Exception as error:  # what protobuf raises is what is to be seen
        return str(error)
    return ""


@given(st.sampled_from(sorted(FIELDS)), VALUES)
@example("float", 3.4028235e38)
def test_what_has_no_fault_is_taken_by_protobuf(kind: str, value: Any) -> None:
    values = FIELDS[kind](value)
    said = said_by_protobuf(values)
    assert list(toml_faults(values, inference.ModelConfig.DESCRIPTOR)) or not said, said


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("int32", [0, -(1 << 31), (1 << 31) - 1, 8.0]),
        ("uint32", [0, (1 << 32) - 1]),
        ("int64s", [-(1 << 63), (1 << 63) - 1]),
        ("uint64", [(1 << 64) - 1]),
        ("float", [1, -0.5, 3.4028234e38, math.inf, math.nan]),
        ("double", [1e300, -math.inf]),
        ("key", [0, "1", (1 << 64) - 1]),
        ("bool", [True, False]),
        ("text", ["", "x"]),
        ("enum", ["TYPE_FP32", 11, 999]),
    ],
)
def test_what_has_no_fault(kind: str, values: list[Any]) -> None:
    for value in values:
        assert not list(toml_faults(FIELDS[kind](value), inference.ModelConfig.DESCRIPTOR))


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        (FIELDS["int32"](8.5), "max_batch_size: expected a whole number from -2147483648 to 2147483647, got 8.5"),
        (
            FIELDS["uint64"](-1),
            "dynamic_batching.max_queue_delay_microseconds: expected a whole number from 0 to 18446744073709551615, got -1",
        ),
        (FIELDS["int64s"]("x"), "input[0].dims[1]: expected a whole number from -9223372036854775808 to 9223372036854775807, got 'x'"),
        (FIELDS["float"](1e300), "inferd.preprocess[0].steps[0].scale.factor: expected a number that FP32 can hold, got 1e+300"),
        (FIELDS["float"]("half"), "inferd.preprocess[0].steps[0].scale.factor: expected a number, got 'half'"),
        (FIELDS["int32"]("8"), "max_batch_size: expected a whole number from -2147483648 to 2147483647, got '8'"),
        (FIELDS["floats"]("0.5"), "inferd.preprocess[0].steps[0].normalize.mean[0]: expected a number, got '0.5'"),
        (FIELDS["double"]("NaN"), "inferd.padding[0].value: expected a number, got 'NaN'"),
        (FIELDS["double"](10**400), "inferd.padding[0].value: expected a number, got 1" + "0" * 400),
        (FIELDS["bool"]("yes"), "dynamic_batching.preserve_ordering: expected true or false, got 'yes'"),
        (FIELDS["text"](True), "name: expected a text, got true"),
        (FIELDS["text"]({}), "name: expected a text, got a table"),
        ({"input": [{"dims": 3}]}, "input[0].dims: expected a list, got a number"),
        (
            FIELDS["key"]("x"),
            "a key of dynamic_batching.priority_queue_policy: expected a whole number from 0 to 18446744073709551615, got 'x'",
        ),
        (FIELDS["map"](3), "parameters.one.string_value: expected a text, got 3"),
    ],
)
def test_what_is_said(values: Any, fault: str) -> None:
    assert list(toml_faults(values, inference.ModelConfig.DESCRIPTOR)) == [fault]


def test_a_field_of_the_model_below_a_section_is_told_its_place() -> None:
    """TOML takes a line below [[inferd.postprocess]] for one of it."""
    (fault,) = toml_faults({"inferd": {"postprocess": [{"version_policy": {"all": {}}}]}}, inference.ModelConfig.DESCRIPTOR)
    assert fault.startswith("unknown field 'version_policy' in inferd.postprocess[0]: known are ")
    assert fault.endswith("; it is a field of the model: put it before the first [section]")


def test_two_steps_in_one() -> None:
    values = {"inferd": {"preprocess": [{"steps": [{"scale": {}, "cast": {}}]}]}}
    (fault,) = toml_faults(values, inference.ModelConfig.DESCRIPTOR)
    assert fault == "inferd.preprocess[0].steps[0]: expected one of scale, cast, got all of them: leave one"
