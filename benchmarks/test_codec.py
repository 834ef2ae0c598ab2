"""What decoding, checking and answering a request cost, each answer checked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from inferd._core.batching.batcher import Batcher
from inferd._core.codec.infer import InferRequest, decode_infer_request
from inferd._core.grpc.call import Call
from inferd._core.grpc.message import Message
from inferd._core.metrics.histogram import Statistics
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.protocol import inference

SHAPES = {"FP32[1,16]": (1, 16), "FP32[1,3,224,224]": (1, 3, 224, 224)}


def values_of(shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.arange(math.prod(shape), dtype=np.float32).reshape(shape)


def message_of(shape: tuple[int, ...], typed: bool = False) -> Message:
    request = inference.ModelInferRequest(model_name="identity", id="42")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=shape)
    if typed:
        tensor.contents.fp32_contents.extend(values_of(shape).reshape(-1).tolist())
    else:
        request.raw_input_contents.append(values_of(shape).tobytes())
    return Message(request.SerializeToString())


def signature_of(shape: tuple[int, ...]) -> Signature:
    return Signature("identity", "1", [("x", "FP32", (-1, *shape[1:]))], [("y", "FP32", (-1, *shape[1:]))], 64)


class Answered(Call):
    """A call that keeps what it is answered."""

    answer = b""

    def reply(self, message: Any) -> None:
        self.answer = bytes(message)


def assert_holds(request: InferRequest, shape: tuple[int, ...]) -> None:
    [(name, word, sent_shape, raw)] = request.sent()
    assert (request.model_name, request.id, name, word, sent_shape) == ("identity", "42", "x", "FP32", shape)
    assert np.array_equal(np.frombuffer(raw, np.float32), values_of(shape).reshape(-1))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_decode_raw(benchmark: Any, shape: tuple[int, ...]) -> None:
    assert_holds(benchmark(decode_infer_request, message_of(shape)), shape)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_decode_typed(benchmark: Any, shape: tuple[int, ...]) -> None:
    assert_holds(benchmark(decode_infer_request, message_of(shape, typed=True)), shape)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_check(benchmark: Any, shape: tuple[int, ...]) -> None:
    request = decode_infer_request(message_of(shape))
    benchmark(request.check, signature_of(shape))
    assert request.rows == 1
    assert_holds(request, shape)


def test_check_of_text(benchmark: Any) -> None:
    request = inference.ModelInferRequest(model_name="m")
    request.inputs.add(name="text", datatype="BYTES", shape=[64])
    text = b"a sentence of an ordinary length, as models of language get them"
    request.raw_input_contents.append((len(text).to_bytes(4, "little") + text) * 64)
    decoded = decode_infer_request(request.SerializeToString())
    benchmark(decoded.check, Signature("m", "1", [("text", "BYTES", (-1,))], [], 64))
    assert decoded.rows == 64


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_encode(benchmark: Any, shape: tuple[int, ...]) -> None:
    request = decode_infer_request(message_of(shape))
    request.check(signature_of(shape))
    outputs = Tensors([values_of(shape)], ["FP32"], True)
    benchmark(request.encode, outputs, 0)
    call = Answered("/inference.GRPCInferenceService/ModelInfer", Message())
    batcher = Batcher(1, Statistics(1))
    batcher.put(request, call)
    batch = batcher.poll()
    assert batch is not None
    batch.encode(outputs)
    batch.deliver()
    response = inference.ModelInferResponse.FromString(call.answer)
    assert (response.model_name, response.id, tuple(response.outputs[0].shape)) == ("identity", "42", shape)
    assert response.raw_output_contents[0] == values_of(shape).tobytes()
