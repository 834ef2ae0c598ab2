"""Plain tensors: scale, normalize and cast of numbers that are no picture and no sound."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from inferd._core.tensor.datatypes import DATATYPES
from inferd._core.tensor.signature import Signature
from inferd.errors import ConfigError
from inferd.protocol import inference
from inferd.steps.numbers import CASTS
from inferd.steps.pipeline import TensorType
from inferd.steps.plan import Pipelines, compile_steps

FOUR = TensorType("FP32", (4,))


def compiled(steps: list[Any], kind: TensorType = FOUR, **entry: Any) -> Pipelines:
    config = inference.ModelConfig(name="m", max_batch_size=8, inferd={"preprocess": [{"steps": steps, **entry}]})
    graph = Signature("m", "1", [("x", kind.datatype, (-1, *kind.shape))], [("y", "FP32", (-1, 1))], 8)
    pipelines = compile_steps(config, graph, [], "config.toml of model 'm'")
    assert pipelines is not None
    return pipelines


def prepared(pipelines: Pipelines, array: Any) -> Any:
    ((result,),) = pipelines.inputs[0].prepare([[array]], lambda request: None)
    assert not isinstance(result, Exception)
    assert result.flags.c_contiguous
    return result


@pytest.mark.parametrize("shape", [(), (4,), (-1,), (2, 3, 4, 5)])
def test_numbers_of_any_shape_are_scaled(shape: tuple[int, ...]) -> None:
    pipelines = compiled([{"scale": {"factor": 0.5, "offset": 1}}], TensorType("FP32", shape))
    (pipeline,) = pipelines.inputs
    assert pipeline.inputs == pipeline.outputs == (("x", TensorType("FP32", shape)),)
    array = np.random.default_rng(1).normal(size=(3, *(abs(size) for size in shape))).astype(np.float32)
    np.testing.assert_allclose(prepared(pipelines, array), array * 0.5 + 1, rtol=1e-6)


def test_channels_are_the_last_axis() -> None:
    mean, std = [1.0, 2, 3, 4], [5.0, 6, 7, 8]
    array = np.random.default_rng(2).normal(size=(2, 4)).astype(np.float32)
    result = prepared(compiled([{"normalize": {"mean": mean, "std": std}}]), array)
    np.testing.assert_allclose(result, (array - mean) / std, rtol=1e-6)


@pytest.mark.parametrize("datatype", CASTS)
def test_what_clients_send_is_declared(datatype: str) -> None:
    (pipeline,) = compiled([{"scale": {"factor": 2}}], datatype=datatype, name="sent").inputs
    assert pipeline.inputs == (("sent", TensorType(datatype, (4,))),)
    assert pipeline.outputs == (("x", TensorType("FP32", (4,))),)
    array = np.array([[0, 1, 1, 0]]).astype(DATATYPES[datatype][2])
    (((result,),)) = pipeline.prepare([[array]], lambda request: None)
    assert not isinstance(result, Exception)
    np.testing.assert_array_equal(result, [[0, 2, 2, 0]])


@pytest.mark.parametrize("datatype", CASTS)
def test_a_lone_cast(datatype: str) -> None:
    pipelines = compiled([{"cast": {"datatype": datatype}}], TensorType(datatype, (3,)))
    assert pipelines.inputs[0].inputs == (("x", TensorType("FP32", (3,))),)
    result = prepared(pipelines, np.array([[0, 1, 7]], np.float32))
    assert result.dtype == DATATYPES[datatype][2]
    assert result.tolist() == [[0, 1, 7 if datatype != "BOOL" else 1]]


@pytest.mark.parametrize("kind", [TensorType("FP32", (3, 8, 8)), TensorType("FP32", (8, 8))])
def test_a_datatype_makes_numbers_of_what_would_be_a_picture(kind: TensorType) -> None:
    pipelines = compiled([{"scale": {"factor": 2}}], kind, datatype="INT16")
    assert pipelines.inputs[0].inputs == (("x", TensorType("INT16", kind.shape)),)
    array = np.arange(np.prod(kind.shape), dtype=np.int16).reshape(1, *kind.shape)
    np.testing.assert_array_equal(prepared(pipelines, array), array * 2.0)


def test_without_a_datatype_pictures_are_pictures() -> None:
    assert compiled([{"scale": {}}], TensorType("FP32", (8, 9, 3))).inputs[0].inputs == (("x", TensorType("UINT8", (8, 9, 3))),)


def test_numbers_that_lie_anywhere_in_a_message() -> None:
    array = np.frombuffer(b"\0" + np.arange(4, dtype=np.float32).tobytes(), np.float32, offset=1).reshape(1, 4)
    assert not array.flags.aligned
    assert prepared(compiled([{"cast": {"datatype": "FP32"}}]), array).tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("datatype", ["FP64", "INT32", "INT64", "UINT32", "UINT64"])
def test_wide_numbers_are_computed_in_fp64_for_a_graph_that_takes_it(datatype: str) -> None:
    kind = TensorType("FP64", (2,))
    array = np.array([[1_700_000_001, 16_777_217]]).astype(DATATYPES[datatype][2]) + (0.123 if datatype == "FP64" else 0)
    for steps in ([{"scale": {"factor": 1}}], [{"scale": {"factor": 1, "offset": -1}}, {"normalize": {"mean": [-1], "std": [1]}}]):
        result = prepared(compiled(steps, kind, datatype=datatype), array)
        assert result.dtype == np.float64
        assert result.tolist() == array.tolist()
    seconds = prepared(compiled([{"normalize": {"mean": [1.7e9], "std": [2]}}], kind, datatype=datatype), array)
    assert seconds.tolist() == ((array - 1.7e9) / 2).tolist()
    lone = [{"scale": {}}, {"cast": {"datatype": "FP64"}}]
    assert prepared(compiled(lone, kind, datatype=datatype), array).tolist() == (array * (1 / 255)).tolist()


@pytest.mark.parametrize(("datatype", "wanted"), [("FP64", "FP32"), ("INT64", "FP32"), ("INT16", "FP64"), ("FP32", "FP64")])
def test_others_are_computed_in_fp32(datatype: str, wanted: str) -> None:
    steps = [{"scale": {"factor": 0.1}}, {"cast": {"datatype": wanted}}]
    array = np.array([[7]]).astype(DATATYPES[datatype][2])
    assert prepared(compiled(steps, TensorType(wanted, (1,)), datatype=datatype), array).tolist() == [
        [float(np.float32(7) * np.float32(0.1))]
    ]


def test_too_large_for_fp32_is_infinity() -> None:
    result = prepared(compiled([{"scale": {"factor": 3e38}}], datatype="FP64"), np.array([[1, 1e300, -10, np.nan]]))
    np.testing.assert_array_equal(result, np.array([[3e38, np.inf, -np.inf, np.nan]], np.float32))


@pytest.mark.parametrize(
    ("steps", "kind", "entry", "said"),
    [
        (
            [{"scale": {}}],
            TensorType("FP16", (4,)),
            {},
            r"the steps make FP32, and .* 'x' takes FP16\[4\]: add cast to FP16 as the last step",
        ),
        ([{"scale": {}}, {"cast": {"datatype": "INT8"}}], FOUR, {}, r"the steps make INT8.* add cast to FP32"),
        ([{"normalize": {"mean": [1, 2]}}], FOUR, {}, r"steps\[0\] \(normalize\): expected 1 or 4 numbers in mean"),
        ([{"cast": {"datatype": "BYTES"}}], FOUR, {}, r"steps\[0\] \(cast\): expected one of FP16, .* got 'BYTES'"),
        ([{"scale": {}}], FOUR, {"datatype": "text"}, r"datatype: expected one of FP16, .* got 'text'"),
        (
            [{"scale": {}}, {"transpose": {}}],
            TensorType("FP32", (8, 8, 3)),
            {"datatype": "FP32"},
            r"steps\[1\] \(transpose\): .* remove",
        ),
        ([{"tokenize": {}}], TensorType("INT64", (4,)), {"datatype": "FP32"}, r"datatype is 'FP32', and only lists of scale.*: remove it"),
        (
            [{"decode_image": {}}],
            FOUR,
            {"datatype": "UINT8"},
            r"steps\[0\] \(decode_image\): .*or the entry's datatype",
        ),
        ([{"scale": {}}], TensorType("FP32", (3, 8, 9)), {}, r"set the entry's datatype where it takes numbers and no pixels"),
        ([{"scale": {}}], FOUR, {"input": "z"}, r"'z' is none of the graph's tensors: name one of 'x'"),
    ],
)
def test_what_cannot_be_is_rejected(steps: list[Any], kind: TensorType, entry: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        compiled(steps, kind, **entry)
    assert str(raised.value).startswith("config.toml of model 'm': preprocess[0]")
