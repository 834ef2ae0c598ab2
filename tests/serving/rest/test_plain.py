"""The inference body in plain Python: JSON and the binary extension, against numpy and against what Triton takes."""

from __future__ import annotations

import json
import tracemalloc
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from inferd.errors import InvalidArgument
from inferd.protocol import inference
from inferd.serving.rest.plain import MAX_DEPTH, Wanted, body_of, read_nbytes, request_of
from tests.wire import DTYPES, outputs_of, pack

JSON_WORDS = [word for word in DTYPES if word not in ("FP16", "BF16")]
IN_JSON, IN_BINARY = Wanted(binary=False, by_name={}), Wanted(binary=True, by_name={})
X = {"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2.5]}


def values(word: str) -> Any:
    shapes = arrays.array_shapes(min_dims=1, max_dims=3, max_side=4, min_side=0)
    if word == "BYTES":
        return arrays.arrays(object, shapes, elements=st.text(st.characters(codec="utf-8"), max_size=5).map(str.encode))
    finite = {"allow_nan": False, "allow_infinity": False} if np.dtype(DTYPES[word]).kind == "f" else {}
    return arrays.arrays(DTYPES[word], shapes, elements=finite or None)


def read(body: Any, json_nbytes: int = -1) -> tuple[inference.ModelInferRequest, Wanted]:
    return request_of(body if isinstance(body, bytes) else json.dumps(body).encode(), json_nbytes, "m", "2")


def binary_body(document: Any, *tails: bytes) -> tuple[bytes, int]:
    text = json.dumps(document).encode()
    return text + b"".join(tails), len(text)


def listed(array: np.ndarray[Any, Any]) -> Any:
    return [listed(row) for row in array] if isinstance(array, np.ndarray) else array.decode() if isinstance(array, bytes) else array.item()


def response(word: str, array: np.ndarray[Any, Any], **fields: Any) -> inference.ModelInferResponse:
    made = inference.ModelInferResponse(model_name="m", model_version="2", raw_output_contents=[pack(array)], **fields)
    made.outputs.add(name="y", datatype=word, shape=array.shape)
    return made


@pytest.mark.parametrize("word", JSON_WORDS)
@settings(max_examples=25)
@given(data=st.data(), flat=st.booleans())
def test_json_becomes_the_bytes_of_the_tensor(word: str, data: st.DataObject, flat: bool) -> None:
    array = data.draw(values(word))
    shape, nested = list(array.shape), listed(array.ravel() if flat else array)
    request, wanted = read({"inputs": [{"name": "x", "datatype": word, "shape": shape, "data": nested}]})
    assert (request.model_name, request.model_version) == ("m", "2")
    assert (request.inputs[0].name, request.inputs[0].datatype, list(request.inputs[0].shape)) == ("x", word, shape)
    assert list(request.raw_input_contents) == [pack(array)]
    assert not wanted.is_binary("y")


@pytest.mark.parametrize("word", JSON_WORDS)
@settings(max_examples=25)
@given(data=st.data())
def test_outputs_as_json_hold_every_value(word: str, data: st.DataObject) -> None:
    array = data.draw(values(word))
    body, json_nbytes = body_of(response(word, array, id="7"), IN_JSON)
    found = json.loads(body)
    output = found["outputs"][0]
    assert (json_nbytes, found["id"], found["model_name"], found["model_version"]) == (0, "7", "m", "2")
    assert {name: value for name, value in output.items() if name != "data"} == {"name": "y", "datatype": word, "shape": list(array.shape)}
    again, _ = read({"inputs": [{**output, "name": "x"}]})
    assert again.raw_input_contents[0] == pack(array)


@pytest.mark.parametrize("word", ["FP32", "FP64", "INT32"])
def test_minus_zero_keeps_its_sign(word: str) -> None:
    body = f'{{"inputs":[{{"name":"x","datatype":"{word}","shape":[1],"data":[-0]}}]}}'.encode()
    request, _ = request_of(body, -1, "m", "2")
    assert request.raw_input_contents[0] == np.array([-0.0], DTYPES[word]).tobytes()


def test_numbers_have_the_fewest_digits_that_tell_them_apart() -> None:
    body, _ = body_of(response("FP32", np.array([0.1, 1, 1e-7, 1024, -2.5e30], np.float32)), IN_JSON)
    assert b'"data":[0.1,1.0,1e-07,1024.0,-2.5e+30]' in body


def test_nan_and_infinities_are_words_or_null() -> None:
    answer = response("FP64", np.array([0, np.nan, np.inf, -np.inf]))
    assert b'"data":[0.0,NaN,Infinity,-Infinity]' in body_of(answer, IN_JSON)[0]
    assert b'"data":[0.0,null,null,null]' in body_of(answer, Wanted(binary=False, by_name={}, nan_as_null=True))[0]


@pytest.mark.parametrize("word", DTYPES)
def test_the_binary_extension(word: str) -> None:
    array = np.array([b"a\xff", b""], object) if word == "BYTES" else np.array([1, 0], DTYPES[word])
    raw = pack(array)
    tensor = {"name": "x", "datatype": word, "shape": [2], "parameters": {"binary_data_size": len(raw), "own": 1}}
    body, nbytes = binary_body({"id": "8", "inputs": [tensor, X], "parameters": {"binary_data_output": True}}, raw)
    request, wanted = read(body, nbytes)
    assert list(request.raw_input_contents) == [raw, np.array([1, 2.5], np.float32).tobytes()]
    assert (request.id, dict(request.parameters)) == ("8", {})
    assert set(request.inputs[0].parameters) == {"own"}
    body, nbytes = body_of(response(word, array), wanted)
    document = json.loads(body[:nbytes])
    assert document["outputs"][0]["parameters"] == {"binary_data_size": len(raw)}
    assert body[nbytes:] == raw


def test_which_outputs_are_binary() -> None:
    outputs = [{"name": "a", "parameters": {"binary_data": False, "classification": 3}}, {"name": "b"}]
    request, wanted = read({"inputs": [X], "outputs": outputs, "parameters": {"binary_data_output": True}})
    assert [wanted.is_binary(name) for name in "abc"] == [False, True, True]
    assert [output.name for output in request.outputs] == ["a", "b"]
    assert request.outputs[0].parameters["classification"].int64_param == 3
    assert list(request.outputs[0].parameters) == ["classification"]


def test_parameters_keep_their_types() -> None:
    given = {"flag": True, "count": -3, "large": (1 << 64) - 1, "share": 0.5, "word": "ä"}
    request, _ = read({"inputs": [X], "parameters": given})
    found = request.parameters
    assert {name: getattr(found[name], found[name].WhichOneof("parameter_choice")) for name in found} == given
    answer = response("FP32", np.zeros(1, np.float32))
    answer.parameters["flag"].bool_param = True
    assert json.loads(body_of(answer, IN_JSON)[0])["parameters"] == {"flag": True}


def test_null_is_no_value() -> None:
    tensor = {**X, "parameters": {"binary_data_size": None, "own": None}}
    request, wanted = read({"id": None, "inputs": [tensor], "outputs": None, "parameters": {"binary_data_output": None}})
    assert (request.id, dict(request.inputs[0].parameters), list(request.outputs), wanted.binary) == ("", {}, [], False)
    assert request.raw_input_contents[0] == np.array([1, 2.5], np.float32).tobytes()


def of(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{**X, **changes}]}


@pytest.mark.parametrize(
    ("body", "json_nbytes", "words"),
    [
        (b"", -1, "body: expected JSON"),
        (b'{"inputs": [', -1, "body: expected JSON, got something else at character 12"),
        (b"\xff", -1, "UTF-8"),
        (b"[1]", -1, "body: expected an object, got an array"),
        (b'{"a": 1, "a": 2}', -1, "'a' twice"),
        (b'{"inputs": [{"x": NaN}]}', -1, "JSON, which has no NaN; send it in binary"),
        (b"[" * 100_000, -1, "few levels"),
        (b'{"a": ' + b"1" * 5000 + b"}", -1, "thousands of digits"),
        (b'{"inputs": []} {}', -1, "Inference-Header-Content-Length"),
        ({}, -1, "inputs: expected an array, got nothing"),
        ({"inputs": {}}, -1, "inputs: expected an array, got an object"),
        ({"inputs": [1] * 257}, -1, "inputs: expected at most 256 tensors, got 257"),
        ({"inputs": [X], "outputs": [1] * 257}, -1, "outputs: expected at most 256 tensors, got 257"),
        (of(shape=[(1 << 63) - 1] * 9), -1, "inputs[0].shape: expected at most 8 axes, got 9"),
        ({"inputs": [1]}, -1, "inputs[0]: expected an object, got a number"),
        ({"inputs": [X], "id": 7}, -1, "id: expected a string, got a number"),
        ({"inputs": [X], "parameters": []}, -1, "parameters: expected an object"),
        ({"inputs": [X], "parameters": {"triton_x": 1}}, -1, "parameters.triton_x: names that begin with 'triton_' are reserved"),
        ({"inputs": [X], "parameters": {"x": [1]}}, -1, "parameters.x: expected true, false, a number of 64 bits or a string"),
        ({"inputs": [X], "parameters": {"x": 1 << 64}}, -1, "parameters.x"),
        ({"inputs": [X], "parameters": {"binary_data_output": 1}}, -1, "parameters.binary_data_output: expected true or false"),
        ({"inputs": [X], "outputs": [{}]}, -1, "outputs[0].name: expected a string, got nothing"),
        ({"inputs": [X], "outputs": [{"name": "\ud800"}]}, -1, "half of a surrogate pair"),
        (of(name=1), -1, "inputs[0].name: expected a string"),
        (of(datatype="FLOAT"), -1, "inputs[0].datatype: expected one of BOOL"),
        (of(shape=[-1]), -1, "inputs[0].shape: expected an array of whole numbers from 0"),
        (of(shape=[True]), -1, "inputs[0].shape"),
        (of(shape=[1 << 63]), -1, "inputs[0].shape"),
        (of(shape=[3]), -1, "inputs[0].data: expected 3 elements, as the shape says, got 2"),
        (of(data="text"), -1, "inputs[0].data: expected an array, got a string"),
        (of(data=["1", "2"]), -1, "inputs[0].data: expected numbers, got a string"),
        (of(data=[True, False]), -1, "inputs[0].data: expected numbers, got true or false"),
        (of(data=[1, None]), -1, "inputs[0].data: expected numbers, got null"),
        (of(data=[1, 1e39]), -1, "inputs[0].data: expected numbers that FP32 can hold, got 1e+39 as element 1"),
        (b'{"inputs":[{"name":"x","datatype":"FP64","shape":[1],"data":[1e400]}]}', -1, "FP64 can hold"),
        (of(datatype="INT8", data=[1, 128]), -1, "INT8 can hold, got 128 as element 1"),
        (of(datatype="UINT64", data=[-1, 0]), -1, "UINT64 can hold, got -1 as element 0"),
        (of(datatype="INT32", data=[1, 2.0]), -1, "whole numbers without a fraction"),
        (of(datatype="BOOL", data=[1, 0]), -1, "expected true or false, got a number"),
        (of(datatype="BYTES", data=["a", 1]), -1, "expected strings, got a number"),
        (of(datatype="BYTES", data=["a", "\ud800"]), -1, "half of a surrogate pair"),
        (of(datatype="FP16"), -1, "expected no FP16 in JSON; send it in binary"),
        (of(data=json.loads("[" * (MAX_DEPTH + 1) + "1,2" + "]" * (MAX_DEPTH + 1))), -1, "at most 32 arrays within one another"),
        (of(parameters={"binary_data_size": 8}), 200, "at most the"),
        ({"inputs": [{**X, "parameters": {"binary_data_size": 8}}]}, -1, "expected none beside parameters.binary_data_size"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}}]}, -1, "the header"),
    ],
)  # fmt: skip
def test_rejections_name_the_field_and_the_cure(body: Any, json_nbytes: int, words: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read(body, json_nbytes)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("size", "tail", "words"),
    [
        (8, b"1234567", "at most the 7 bytes that are left behind the JSON, got 8"),
        (8, b"123456789", "got 1 bytes more"),
        (4, b"1234", "expected 8, as FP32 and the shape [2] say, got 4"),
        (-1, b"", "got -1"),
        (True, b"", "binary_data_size: expected a number"),
    ],
)
def test_binary_sizes_must_add_up(size: Any, tail: bytes, words: str) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": size}}
    with pytest.raises(InvalidArgument) as caught:
        read(*binary_body({"inputs": [tensor]}, tail))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("word", "array", "words"),
    [
        ("BYTES", np.array([b"\xff"], object), "no UTF-8"),
        ("FP16", np.array([1], np.float16), "JSON has no FP16"),
    ],
)
def test_what_json_cannot_carry_is_asked_for_in_binary(word: str, array: np.ndarray[Any, Any], words: str) -> None:
    answer = response(word, array)
    with pytest.raises(InvalidArgument, match=words) as caught:
        body_of(answer, IN_JSON)
    assert '"parameters": {"binary_data": true}' in str(caught.value)
    body, nbytes = body_of(answer, IN_BINARY)
    assert body[nbytes:] == pack(array)
    assert outputs_of(answer)["y"].shape == array.shape


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"inputs": [{**X, "shape": [20_000], "data": [index / 8 for index in range(20_000)]}]}),
        json.dumps({"inputs": [{**X, "datatype": "BYTES", "shape": [9000], "data": [str(index) for index in range(9000)]}]}),
        json.dumps({"inputs": [{**X, "datatype": "BYTES", "shape": [1], "data": ["a" * 100_000 + "\U0001f600"]}]}, ensure_ascii=False),
        json.dumps({"inputs": [{**X, "datatype": "BYTES", "shape": [1], "data": ["a" * 100_000 + "\U0001f600"]}]}),
        '{"inputs":[],"a":[' + '{"a":0},' * 20_000 + "0]}",
        '{"inputs":[],"a":[' + "[]," * 20_000 + "[[0]]]}",
        json.dumps({f"{index}": index for index in range(20_000)}),
        json.dumps([{f"{index}": index} for index in range(20_000)]),
        '{"inputs":[],"a":[' + "1," * 50_000 + "0]}",
    ],
    ids=["numbers", "texts", "emoji", "escapes", "objects", "arrays", "names", "many objects", "digits"],
)
def test_the_memory_of_reading_is_known_before(body: str) -> None:
    content = body.encode()
    tracemalloc.start()
    try:
        with suppress(InvalidArgument):
            read(content)
        peak_nbytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_nbytes <= read_nbytes(content, -1) + 20_000  # and what each request takes
