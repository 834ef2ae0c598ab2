"""REST's inference body against Python's json: what is right becomes the same tensors, all else is rejected with its place and its cure."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_access import head_of

from inferd._core.grpc import message as messages
from inferd._core.http.head import Head
from inferd._core.http.response import error_headers, status_of
from inferd._core.rest.decode import decode_rest_request
from inferd._core.rest.request import RestRequest
from inferd._core.tensor.datatypes import DATATYPES
from inferd.errors import InvalidArgument, ResourceExhausted
from tests._core.rest.plain_json import Plain, plain_decode

IN_JSON = sorted(set(DATATYPES) - {"FP16", "BF16"})
F32 = np.finfo(np.float32)


def head_before(json_nbytes: int = -1) -> Head:
    fields = [] if json_nbytes < 0 else [(b"Inference-Header-Content-Length", b"%d" % json_nbytes)]
    return head_of("POST", b"/v2/models/identity/infer", fields)


def decode(body: Any, json_nbytes: int = -1) -> RestRequest:
    return decode_rest_request(body if isinstance(body, bytes) else json.dumps(body).encode(), head_before(json_nbytes))


def plain(request: RestRequest) -> Plain:
    return Plain(request.id, request.sent())


def input_of(word: str = "FP32", shape: Any = (2,), data: Any = (1, 2), **more: Any) -> dict[str, Any]:
    return {"name": "x", "shape": list(shape), "datatype": word, "data": data, **more}


def rejected(body: Any, json_nbytes: int = -1) -> str:
    with pytest.raises(InvalidArgument) as caught:
        decode(body, json_nbytes)
    if isinstance(body, bytes):
        with pytest.raises(ValueError):
            plain_decode(body, json_nbytes)
    return str(caught.value)


# ---- requests ------------------------------------------------------------------------------------------------------

NUMBERS = {
    "BOOL": st.booleans(),
    "BYTES": st.text(max_size=20),
    "FP32": st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70),
    "FP64": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70),
}


def values(word: str) -> st.SearchStrategy[Any]:
    if word in NUMBERS:
        return NUMBERS[word]
    limits = np.iinfo(DATATYPES[word][2])
    return st.integers(int(limits.min), int(limits.max))


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, int]:
    """A right body, with tensors of both kinds, written with odd spaces and escapes."""
    tensors, tail = [], b""
    for name in draw(st.lists(st.text(max_size=5), max_size=4)):
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        count = int(np.prod(shape))
        word = draw(st.sampled_from(sorted(DATATYPES)))
        tensor: dict[str, Any] = {"name": name, "datatype": word, "shape": shape, "strange": [{}, {"a": None}]}
        if word not in IN_JSON or draw(st.booleans()):
            content = draw(st.binary(max_size=30))
            tensor["parameters"] = {"binary_data_size": len(content), "note": 1.5}
            tail += content
        else:
            elements = draw(st.lists(values(word), min_size=count, max_size=count))
            tensor["data"] = np.array(elements, object).reshape(shape).tolist() if shape and draw(st.booleans()) else elements
        tensors.append(tensor)
    body: dict[str, Any] = {"inputs": tensors, "id": draw(st.text(max_size=5))}
    if draw(st.booleans()):
        body["parameters"] = {"priority": draw(st.integers(0, 2**64 - 1)), "timeout": 1, "binary_data_output": True, "x": "y"}
        body["outputs"] = [{"name": "y", "parameters": {"binary_data": False, "classification": 2}}, {"name": "z"}]
    text = json.dumps(body, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 2]))).encode()
    return text + tail, len(text)


@given(bodies())
def test_a_right_body_becomes_what_python_reads(sent: tuple[bytes, int]) -> None:
    body, json_nbytes = sent
    assert plain(decode(body, json_nbytes)) == plain_decode(body, json_nbytes)


@given(bodies(), st.data())
def test_a_body_with_a_few_changes_is_read_as_python_reads_it_or_rejected(sent: tuple[bytes, int], data: st.DataObject) -> None:
    body, json_nbytes = bytearray(sent[0]), sent[1]
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 2))] = data.draw(
            st.sampled_from([b"", b"0", b'"', b"[", b"]", b",", b"{", b"-", b"e9", b"\xff", b"null"])
        )
    check_against_python(bytes(body), json_nbytes)


def check_against_python(body: bytes, json_nbytes: int) -> None:
    try:
        expected: Plain | None = plain_decode(body, json_nbytes)
    except ValueError:
        expected = None
    try:
        got = plain(decode(body, json_nbytes))
    except InvalidArgument:
        got = None
    assert got == expected


@pytest.mark.parametrize("word", IN_JSON)
def test_the_ends_of_a_datatype(word: str) -> None:
    dtype = DATATYPES[word][2]
    ends: list[Any]
    if word == "BYTES":
        ends = ["", "\0é\U0001f600"]
    elif word == "BOOL":
        ends = [True, False]
    else:
        ends = (
            [limits.min, limits.max]
            if dtype.kind in "iu" and (limits := np.iinfo(dtype))
            else [-np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal]
        )
    body = json.dumps({"inputs": [input_of(word, [2], ends)]}, default=lambda scalar: scalar.item()).encode()
    assert plain(decode(body)) == plain_decode(body)


@pytest.mark.parametrize(
    ("word", "element", "expected"),
    [
        ("INT8", "128", "element 1: INT8 holds -128 to 127, got 128"),
        ("UINT8", "-1", "UINT8 holds 0 to 255, got -1"),
        ("UINT64", "18446744073709551616", "UINT64 holds 0 to 18446744073709551615, got 1.8446744073709552e+19"),
        ("INT64", "9223372036854775808", "INT64 holds"),
        ("INT64", "-9223372036854775809", "INT64 holds"),
        ("INT32", "1.0", "element 1: expected a whole number without fraction and exponent for INT32, got 1.0"),
        ("INT32", "1e2", "expected a whole number"),
        ("INT32", "true", "expected a whole number without fraction and exponent for INT32, got true"),
        ("FP32", "3.5e38", "FP32 holds -3.4028235e+38 to 3.4028235e+38, got 3.5e+38"),
        ("FP32", "null", "expected a number, got null; NaN and Infinity travel only as binary data"),
        ("FP32", '"NaN"', 'expected a number, got "NaN"; NaN'),
        ("FP32", "{}", "expected a number, got an object"),
        ("FP64", "1e400", "a number is larger than FP64 holds"),
        ("FP32", "NaN", "JSON has no NaN and no Infinity; send the tensor as binary data"),
        ("FP32", "-Infinity", "JSON has no NaN and no Infinity"),
        ("BOOL", "1", "expected true or false, got 1"),
        ("BYTES", "1", "expected a string, got 1"),
        ("BYTES", r'"\ud800"', "malformed JSON at byte"),
        ("FP16", "1", "input 'x': JSON has no FP16; send the tensor as binary data"),
        ("BF16", "1", "input 'x': JSON has no BF16"),
    ],
)  # fmt: skip
def test_an_element_that_its_datatype_does_not_have(word: str, element: str, expected: str) -> None:
    right = {"BOOL": "true", "BYTES": '"a"'}.get(word, "1")
    body = f'{{"inputs":[{{"name":"x","datatype":"{word}","shape":[2],"data":[{right},{element}]}}]}}'
    assert expected in rejected(body.encode())


@pytest.mark.parametrize("text", ["-0", "-0.0", "-0e3", "-1e-400"])
def test_minus_zero_keeps_its_sign(text: str) -> None:
    for word, dtype in (("FP32", np.float32), ("FP64", np.float64), ("INT32", np.int32)):
        if word == "INT32" and text != "-0":
            continue
        request = decode(f'{{"inputs":[{{"name":"x","datatype":"{word}","shape":[1],"data":[{text}]}}]}}'.encode())
        assert request.sent()[0][3] == np.array([-0.0], dtype).tobytes()


def test_a_float_that_rounds_to_the_largest_is_taken() -> None:
    request = decode({"inputs": [input_of(data=[3.4028235e38, -3.402823567797336e38])]})
    assert np.frombuffer(request.sent()[0][3], np.float32).tolist() == [F32.max, F32.min]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", "request body: expected JSON"),
        (b"[]", 'request body: expected a JSON object, {"inputs": [...]}, got an array'),
        (b"null", 'request body: expected a JSON object, {"inputs": [...]}, got null'),
        (b"{}", "'inputs' is missing; send an array of tensors"),
        (b'{"inputs":{}}', "'inputs': expected an array of tensors"),
        (b'{"inputs":[],}', "malformed JSON at byte"),
        (b'{"inputs":[]} x', "malformed JSON at byte"),
        (b'{"inputs":[],"inputs":[]}', "request body: 'inputs' is there twice; send each key once"),
        (b'{"inputs":[],"id":7}', "'id': expected a string, got 7"),
        (b'{"inputs":[1]}', "input 0: expected an object"),
        (b'{"inputs":[{}]}', "input 0: 'name' is missing"),
        (b'{"inputs":[{"name":"x"}]}', "input 'x': 'datatype' is missing"),
        (b'{"inputs":[{"name":"x","datatype":"F32"}]}', "input 'x': unknown datatype 'F32'; expected one of BOOL"),
        (b'{"inputs":[{"name":"x","datatype":"FP32"}]}', "input 'x': 'shape' is missing"),
        (b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1.0]}]}', "axis 0 of its shape: expected a whole number of 0 or more, got 1"),
        (b'{"inputs":[{"name":"x","datatype":"FP32","shape":[-1]}]}', "axis 0 of its shape"),
        (b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1,1,1,1,1,1,1,1],"data":[1]}]}', "expected at most 8 dimensions, got 9"),
        (b'{"inputs":[{"name":"x","datatype":"FP32","shape":[2]}]}', "'data' is missing"),
        (b'{"inputs":[{"name":"x","datatype":"FP32","shape":[2],"data":"ab"}]}', "'data': expected an array"),
        (b'{"inputs":[{"name":"x","datatype":"FP32","shape":[2],"data":[1]}]}', "expected the 2 elements of FP32[2] in 'data', got 1"),
        (b'{"inputs":[{"name":"x","datatype":"FP32","shape":[2],"data":[[1],[2,3]]}]}', "elements of FP32[2] in 'data', got 3"),
        (b'{"inputs":[{"name":"x","datatype":"INT8","shape":[9223372036854775807,2],"data":[1]}]}', "fewer than 2^63 elements, got"),
        (b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":' + b"[" * 33 + b"1" + b"]" * 33 + b"}]}", "send it flat"),
        (b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}}]}', "Content-Length is not; send"),
        (b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"parameters":{"shared_memory_region":"r"}}]}', "shared memory"),
        (b'{"inputs":[],"outputs":[{}]}', "output 0: 'name' is missing"),
        (b'{"inputs":[],"outputs":[{"name":"y","parameters":{"binary_data":1}}]}', "'y': parameter 'binary_data': expected true"),
        (b'{"inputs":[],"outputs":[{"name":"y","parameters":{"classification":-1}}]}', "parameter 'classification': expected a whole"),
        (b'{"inputs":[],"parameters":[]}', "request body: 'parameters': expected an object, got an array"),
        (b'{"inputs":[],"parameters":{"a":[]}}', "parameter 'a': expected a string, a number, true or false, got an array"),
        (b'{"inputs":[],"parameters":{"a":1,"a":1}}', "parameter 'a' is there twice"),
        (b'{"inputs":[],"parameters":{"timeout":1.5}}', "parameter 'timeout': expected a whole number of 0 or more, got 1.5"),
        (b'{"inputs":[],"parameters":{"triton_x":1}}', "parameter 'triton_x': names that begin with 'triton_' are reserved"),
        (b'{"inputs":[],"parameters":{"provenance":1}}', "parameter 'provenance': expected true or false, got 1"),
        (b'{"inputs":[' + b",".join([b"{}"] * 257) + b"]}", "expected at most 256 inputs, got 257"),
        (json.dumps({"inputs": [], "parameters": {str(i): i for i in range(257)}}).encode(), "more than 256 parameters"),
        (json.dumps({"inputs": [], "id": "x" * ((1 << 20) + 1)}).encode(), "expected at most 1048576 bytes of names and id, got 1048577"),
        (b'{"inputs":[],' + b'"u":0,' * 5_000 + b'"id":"a","id":"b"}', "request body: 'id' is there twice"),
        (b"[" * 100_000, "malformed JSON"),
        (b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "input 0: expected an object"),
    ],
)  # fmt: skip
def test_a_wrong_body_is_rejected_with_its_place(body: bytes, expected: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        decode(body)
    assert expected in str(caught.value)


def test_null_is_no_value() -> None:
    """pydantic's models write it for all that is not set, as MLServer's clients do."""
    tensor = input_of(parameters={"content_type": None, "binary_data_size": None})
    body = {"id": None, "parameters": None, "inputs": [tensor], "outputs": None}
    assert plain(decode(body)) == plain_decode(json.dumps(body).encode())
    assert "'data' is missing" in rejected({"inputs": [input_of(data=None)]})
    assert "'id' is there twice" in rejected(b'{"inputs":[],"id":null,"id":null}')


def test_what_is_reserved_and_known_is_taken() -> None:
    assert decode({"inputs": [], "parameters": {"triton_enable_empty_final_response": True, "sequence_id": 5}}).input_count == 0


def test_long_words_of_a_client_are_cut() -> None:
    assert len(rejected({"inputs": [input_of("X" * 10_000)]})) < 400


# ---- the binary extension --------------------------------------------------------------------------------------------


def binary(*sizes: int, **more: Any) -> bytes:
    inputs = [
        {"name": f"x{i}", "datatype": "UINT8", "shape": [size], "parameters": {"binary_data_size": size}} for i, size in enumerate(sizes)
    ]
    return json.dumps({"inputs": inputs, **more}).encode()


def test_binary_tensors_lie_behind_the_json_in_the_order_of_inputs() -> None:
    text = binary(3, 0, 2)
    assert [raw for *_, raw in decode(text + b"abcde", len(text)).sent()] == [b"abc", b"", b"de"]


@pytest.mark.parametrize(
    ("sizes", "tail", "expected"),
    [
        ((3, 3), b"abcde", "input 'x1': expected 3 bytes behind the JSON (binary_data_size), got 2"),
        ((3,), b"abcde", "2 bytes follow the last tensor"),
        ((2**62,), b"abcde", "got 5"),
    ],
)
def test_sizes_must_add_up(sizes: tuple[int, ...], tail: bytes, expected: str) -> None:
    text = binary(*sizes)
    assert expected in rejected(text + tail, len(text))


@pytest.mark.parametrize("json_nbytes", [1 << 62, 21])
def test_a_header_that_says_more_than_there_is(json_nbytes: int) -> None:
    """Triton reads behind the body there (server#8925)."""
    assert "Inference-Header-Content-Length: expected" in rejected(b'{"inputs":[]}', json_nbytes)


def test_a_tensor_comes_one_way() -> None:
    text = json.dumps({"inputs": [input_of("UINT8", [2], [1, 2], parameters={"binary_data_size": 2})]}).encode()
    assert "'data' and the parameter binary_data_size are both there" in rejected(text + b"ab", len(text))


# ---- long bodies -----------------------------------------------------------------------------------------------------


def test_a_long_body_is_not_parsed_at_once() -> None:
    small, large = (
        json.dumps({"inputs": [input_of()]}).encode(),
        json.dumps({"inputs": [input_of(shape=[20_000], data=[0.25] * 20_000)]}).encode(),
    )
    text = binary(1 << 20)
    assert decode_rest_request(small, head_before(), True) is not None
    assert decode_rest_request(large, head_before(), True) is None
    assert decode_rest_request(text + bytes(1 << 20), head_before(len(text)), True) is not None, "binary tensors are no text"
    assert plain(decode(large)) == plain_decode(large)


@pytest.mark.parametrize("text", [b"[0", b"[[]", b'[""', b"[{}", b"[{},[],0,1,2,3,4,5"])
@pytest.mark.parametrize("count", [1, 100, 30_000])
def test_the_memory_of_every_document_is_estimated(text: bytes, count: int) -> None:
    """The densest documents that there are: a value for each character or two."""
    data = b"[" + b",".join([text[1:]] * count) + b"]"
    decode(b'{"inputs":[],"unknown":' + data + b"}")
    with pytest.raises(InvalidArgument, match="malformed JSON"):
        decode(b'{"inputs":[],"unknown":' + data)


def test_all_memory_is_given_back(before: int) -> None:
    body = json.dumps({"inputs": [input_of(shape=[20_000], data=[0.25] * 20_000)]}).encode()
    request = decode(body)
    assert messages.in_use() - before >= 80_000, "its tensor; what yyjson took is free"
    assert messages.in_use() - before < 16 * 20_000
    del request
    with pytest.raises(InvalidArgument):
        decode(body[:-1])


def test_a_document_that_memory_has_no_room_for(before: int) -> None:
    """For now, or ever: then it is 413, and no client tries again."""
    body = b'{"inputs":[' + b"0," * 100_000 + b"0]}"
    messages.set_budget(before + (1 << 20))
    with pytest.raises(
        ResourceExhausted, match=r"to read 200014 bytes of JSON takes .* than this server ever has .*; send binary"
    ) as caught:
        decode(body)
    assert (status_of(caught.value), error_headers(caught.value)) == (413, ())
    messages.set_budget(before + (8 << 20))
    held = [messages.Message(bytes(1 << 20)) for _ in range(5)]
    with pytest.raises(ResourceExhausted, match=r"to read 200014 bytes of JSON takes .* \(message_memory_bytes\).*Binary data") as caught:
        decode(body)
    assert (status_of(caught.value), len(error_headers(caught.value))) == (429, 2)
    del held
