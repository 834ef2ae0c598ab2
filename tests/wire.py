"""A plain gRPC client for tests: requests by value or as any bytes, answers as numpy arrays, rejections as (code, message).

It is grpcio over inferd's own message classes, without a layer that would mend or reject a request before it is sent.
Never in here: what a right response is; the tests say so.
"""

from __future__ import annotations

import gc
import struct
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import grpc
import numpy as np
import onnxruntime

from inferd._core.grpc import message as messages
from inferd.protocol import inference

if TYPE_CHECKING:
    from pathlib import Path

    from tests.server_fixtures import ServerFixture

SERVICE = "inference.GRPCInferenceService"
INFER = f"/{SERVICE}/ModelInfer"
LIMIT_S = 30  # longer than anything in a test takes; a test that reaches it has failed
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]

DTYPES: dict[str, Any] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
    "BF16": np.uint16,  # its bits
}
WORDS = {np.dtype(dtype): word for word, dtype in DTYPES.items() if word != "BF16"}
TYPED = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def pack_text(elements: Any) -> bytes:
    """BYTES elements as they travel: each behind its length."""
    return b"".join(struct.pack("<I", len(element)) + element for element in np.ravel(elements))


def pack(array: np.ndarray[Any, Any]) -> bytes:
    return pack_text(array) if array.dtype == object else np.ascontiguousarray(array).tobytes()


def unpack(word: str, shape: Sequence[int], raw: bytes) -> np.ndarray[Any, Any]:
    if word != "BYTES":
        return np.frombuffer(raw, DTYPES[word]).reshape(shape)
    elements, at = [], 0
    while at < len(raw):
        (nbytes,) = struct.unpack_from("<I", raw, at)
        elements.append(raw[at + 4 : at + 4 + nbytes])
        at += 4 + nbytes
    array = np.empty(len(elements), object)
    array[:] = elements
    return array.reshape(shape)


def infer_request(
    model: str,
    inputs: Mapping[str, np.ndarray[Any, Any]],
    *,
    typed: bool = False,
    words: Mapping[str, str] | None = None,
    outputs: Sequence[str] = (),
    version: str = "",
    id: str = "",
) -> inference.ModelInferRequest:
    """A ModelInferRequest. words: datatypes where an array's dtype does not tell (BF16). typed: in `contents`, not raw."""
    request = inference.ModelInferRequest(model_name=model, model_version=version, id=id)
    for name, array in inputs.items():
        word = (words or {}).get(name) or WORDS[array.dtype]
        tensor = request.inputs.add(name=name, datatype=word, shape=array.shape)
        if typed:
            getattr(tensor.contents, TYPED[word]).extend(np.ravel(array).tolist())
        else:
            request.raw_input_contents.append(pack(array))
    for name in outputs:
        request.outputs.add(name=name)
    return request


def outputs_of(response: inference.ModelInferResponse) -> dict[str, np.ndarray[Any, Any]]:
    assert len(response.raw_output_contents) == len(response.outputs)
    return {
        tensor.name: unpack(tensor.datatype, tensor.shape, raw)
        for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }


class Caller:
    """One connection of its own to a server."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address, [*UNLIMITED, ("grpc.use_local_subchannel_pool", 1)])
        self._infer = self.channel.unary_unary(INFER)  # bytes as they are, both ways

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.channel.close()

    def infer(self, request: inference.ModelInferRequest, **options: Any) -> inference.ModelInferResponse:
        return inference.ModelInferResponse.FromString(self._infer(request.SerializeToString(), timeout=LIMIT_S, **options))

    def answers(self, model: str, inputs: Mapping[str, np.ndarray[Any, Any]], **options: Any) -> dict[str, np.ndarray[Any, Any]]:
        return outputs_of(self.infer(infer_request(model, inputs, **options)))

    def start(self, message: bytes, timeout: float = LIMIT_S, **options: Any) -> grpc.Future:
        return self._infer.future(message, timeout=timeout, **options)

    def rejected(self, request: inference.ModelInferRequest | bytes, **options: Any) -> tuple[str, str]:
        """Status word and message of a request that must be rejected."""
        message = request if isinstance(request, bytes) else request.SerializeToString()
        try:
            answer = self._infer(message, **{"timeout": LIMIT_S, **options})
        except grpc.RpcError as error:
            return status_of(error)
        raise AssertionError(f"answered: {inference.ModelInferResponse.FromString(answer)!r:.300}")

    def ask(self, method: str, **fields: Any) -> Any:
        """The answer of another method of the service."""
        request, response = getattr(inference, f"{method}Request"), getattr(inference, f"{method}Response")
        call = self.channel.unary_unary(
            f"/{SERVICE}/{method}", request_serializer=request.SerializeToString, response_deserializer=response.FromString
        )
        return call(request(**fields), timeout=LIMIT_S)

    def statistics(self, model: str, version: str = "1") -> inference.ModelStatistics:
        (found,) = self.ask("ModelStatistics", name=model, version=version).model_stats
        return found


def status_of(error: Any) -> tuple[str, str]:
    return error.code().name, error.details()


def oracle(model: bytes | str | Path, inputs: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """What onnxruntime itself answers, in this process."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model if isinstance(model, bytes) else str(model), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def same(got: Mapping[str, np.ndarray[Any, Any]], expected: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Bit for bit: names, shapes, datatypes and every byte."""
    assert list(got) == list(expected)
    for name, array in expected.items():
        assert (got[name].dtype, got[name].shape) == (array.dtype, array.shape), name
        assert pack(got[name]) == pack(array), name


def rows(count: int, width: int = 16, first: float = 0) -> np.ndarray[Any, Any]:
    """FP32 rows that no other `first` has."""
    return (np.float32(first) + np.arange(count * width, dtype=np.float32) / 1024).reshape(count, width)


class Held:
    """What a server in this process holds at rest, to compare with later."""

    def __init__(self, served: ServerFixture) -> None:
        self._served = served
        self._before = self._at_rest()

    def _at_rest(self) -> tuple[int, int, float, int]:
        def look() -> tuple[int, int, float, int]:
            gc.collect()
            server = self._served.server
            waiting = sum(model.queues.depth for model in server.repository.models())
            return messages.in_use(), messages.live(), server.edge._grpc.counters()["streams"], waiting

        found: tuple[int, int, float, int] = self._served.on_loop(look)
        return found

    def check(self) -> None:
        """As before: bytes of the message pool, messages, open streams, waiting requests. A closing stream gets a moment.
        grpc.aio keeps the last rejected call, and with it one message, until the next one; and a call that it could not answer because
        its deadline had passed is held by the record of grpc's own error, which pytest keeps to the end of a test."""
        limit = time.monotonic() + LIMIT_S
        slack_messages = 8 if self._served.transport == "grpcio" else 0
        while not self._is_back(now := self._at_rest(), slack_messages):
            assert time.monotonic() < limit, f"(bytes, messages, streams, waiting): {self._before} before, {now} after"

    def _is_back(self, now: tuple[int, int, float, int], slack_messages: int) -> bool:
        return now[0] <= self._before[0] and now[1] <= self._before[1] + slack_messages and now[2:] <= self._before[2:]
