"""The cost of REST's inference body, as JSON and in binary, each response checked; beside it orjson with numpy on the same text."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from native_access import head_of

from inferd._core.grpc.message import Message
from inferd._core.http.head import Head
from inferd._core.rest.decode import decode_rest_request
from inferd._core.rest.request import RestRequest
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors

orjson = pytest.importorskip("orjson")

SHAPES = {"FP32[1,16]": (1, 16), "FP32[1,3,224,224]": (1, 3, 224, 224)}


def numbers_of(shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """They have as many digits as numbers have in practice."""
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def request_of(shape: tuple[int, ...], binary: bool) -> tuple[Message, Head]:
    tensor: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": shape}
    array = numbers_of(shape)
    if binary:
        tensor["parameters"] = {"binary_data_size": array.nbytes}
    else:
        tensor["data"] = array.reshape(-1).tolist()
    text = json.dumps({"id": "42", "inputs": [tensor], "parameters": {"binary_data_output": binary}}).encode()
    fields = [("Inference-Header-Content-Length", str(len(text)))] if binary else []
    return Message(text + array.tobytes() if binary else text), head_of("POST", "/v2/models/identity/infer", fields)


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_decode(benchmark: Any, shape: tuple[int, ...], binary: bool) -> None:
    request = benchmark(decode_rest_request, *request_of(shape, binary))
    assert request.sent() == [("x", "FP32", shape, numbers_of(shape).tobytes())]


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_encode(benchmark: Any, shape: tuple[int, ...], binary: bool) -> None:
    message, head = request_of(shape, binary)
    request: RestRequest = decode_rest_request(message, head)
    request.check(Signature("identity", "1", [("x", "FP32", (-1, *shape[1:]))], [("y", "FP32", (-1, *shape[1:]))], 64))
    benchmark(request.encode, Tensors([numbers_of(shape)], ["FP32"], True), 0)
    assert (head.response_json_nbytes > 0) == binary


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_orjson_reads(benchmark: Any, shape: tuple[int, ...]) -> None:
    text = bytes(request_of(shape, False)[0])
    found = benchmark(lambda: np.array(orjson.loads(text)["inputs"][0]["data"], np.float32))
    assert np.array_equal(found.reshape(shape), numbers_of(shape))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_orjson_writes(benchmark: Any, shape: tuple[int, ...]) -> None:
    flat = numbers_of(shape).reshape(-1)
    text = benchmark(lambda: orjson.dumps({"data": flat}, option=orjson.OPT_SERIALIZE_NUMPY))
    assert np.array_equal(np.array(json.loads(text)["data"], np.float32), flat)
