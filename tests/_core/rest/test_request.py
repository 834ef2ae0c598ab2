"""Responses by REST against Python's json: each parses to what the arrays hold, and to what gRPC's response holds."""

from __future__ import annotations

import json
import struct
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferd._core.batching.batcher import Batcher
from inferd._core.batching.request import Request
from inferd._core.codec.infer import decode_infer_request
from inferd._core.grpc.call import Call
from inferd._core.inference.batched_route import BatchedRoute
from inferd._core.inference.rest_path import RestInfer
from inferd._core.inference.routes import Routes
from inferd._core.metrics.histogram import Statistics
from inferd._core.rest.request import RestRequest
from inferd._core.tensor.datatypes import DATATYPES
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.errors import InvalidArgument, RequestError
from inferd.protocol import inference as pb
from tests._core.codec.test_infer import array_of, raw_of
from tests._core.rest.test_decode import IN_JSON, decode, input_of, values

# ---- responses -------------------------------------------------------------------------------------------------------


class Asked(Call):
    """A call that keeps its response."""

    response: bytes | None = None
    error: RequestError | None = None
    given: Any = None

    def reply(self, message: Any) -> None:
        self.response = bytes(message)

    def fail(self, error: RequestError) -> None:
        self.error = error

    def run_on_thread(self, work: Any) -> None:
        self.given = work


def respond(request: Request, outputs: Tensors, call: Asked | None = None, *, signature: Signature | None = None) -> Asked:
    """signature: the request takes the path of REST, on this thread as the event loop's."""
    call = call or Asked()
    batcher = Batcher(8, Statistics(8))
    if signature is not None:
        routes = Routes()
        routes.fill({("identity", ""): BatchedRoute(None, signature, batcher, None, None)})
        RestInfer(routes, print).go_on(call, request)
    else:
        batcher.put(request, call)
    batch = batcher.poll()
    assert batch is not None
    batch.encode(outputs)
    batch.deliver()
    return call


def signature_of(word: str, dims: tuple[int, ...], outputs: int = 1) -> Signature:
    return Signature("identity", "3", [("x", "FP32", (-1, 1))], [(f"y{i}", word, (-1, *dims)) for i in range(outputs)], 8)


def sent(rows: int = 1, **more: Any) -> RestRequest:
    return decode({"inputs": [input_of(shape=[rows, 1], data=[0] * rows)], **more})


def parsed(call: Asked, request: RestRequest) -> tuple[dict[str, Any], list[bytes]]:
    """A response's JSON, and its binary outputs."""
    assert call.error is None
    assert call.response is not None
    nbytes = request.head.response_json_nbytes or len(call.response)
    document, tail, found = json.loads(call.response[:nbytes]), call.response[nbytes:], []
    for output in document["outputs"]:
        if "parameters" in output:
            size = output["parameters"]["binary_data_size"]
            found.append(tail[:size])
            tail = tail[size:]
    assert not tail
    return document, found


def encoded(array: np.ndarray[Any, Any], word: str, **more: Any) -> tuple[dict[str, Any], list[bytes]]:
    request = sent(len(array), **more)
    request.check(signature_of(word, array.shape[1:]))
    return parsed(respond(request, Tensors([array], [word], True)), request)


@pytest.mark.parametrize("word", IN_JSON)
def test_a_response_holds_what_the_array_holds(word: str) -> None:
    array = array_of(word, (2, 3))
    if word == "BYTES":
        array[:] = [["", 'quotes " and \\', "\n\r\t\b\x1f\x7f/"], ["é\U0001f600", "long enough for eight at once" * 3, b"bytes"]]
    document, tail = encoded(array, word, id='an "id"\n')
    assert document == {
        "model_name": "identity", "model_version": "3", "id": 'an "id"\n',
        "outputs": [{"name": "y0", "datatype": word, "shape": [2, 3], "data": document["outputs"][0]["data"]}],
    }  # fmt: skip
    expected = [each.decode() if isinstance(each, bytes) else each for each in array.reshape(-1).tolist()]
    data = document["outputs"][0]["data"]
    assert (np.array(data, np.float32).tolist() if word == "FP32" else data) == expected
    assert not tail


@pytest.mark.parametrize("word", sorted(DATATYPES))
@pytest.mark.parametrize("ask", ["request", "output"])
def test_a_binary_output_follows_the_json(word: str, ask: str) -> None:
    array = array_of(word, (2, 3))
    more: dict[str, Any] = {"parameters": {"binary_data_output": True}}
    if ask == "output":
        more = {"outputs": [{"name": "y0", "parameters": {"binary_data": True}}]}
    document, tail = encoded(array, word, **more)
    assert document["outputs"] == [
        {"name": "y0", "datatype": word, "shape": [2, 3], "parameters": {"binary_data_size": len(raw_of(array))}}
    ]
    assert tail == [raw_of(array)]


def floats(dtype: Any, count: int) -> np.ndarray[Any, Any]:
    """Numbers of all sizes, whole ones, and the neighbours of powers of 2 and 10."""
    generator = np.random.default_rng(7)
    bits = (
        generator.integers(0, 1 << 8 * np.dtype(dtype).itemsize, count, np.uint64, endpoint=False)
        if dtype is np.float32
        else generator.integers(0, 2**64 - 1, count, np.uint64)
    )
    found = [bits.astype(f"u{np.dtype(dtype).itemsize}").view(dtype), generator.integers(-(10**6), 10**6, count).astype(dtype) / dtype(8)]
    powers = np.array([float(f"1e{k}") for k in range(-46, 39)] + [2.0**k for k in range(-149, 128)])
    if dtype is np.float64:
        powers = np.array([float(f"1e{k}") for k in range(-324, 309)] + [2.0**k for k in range(-1074, 1024)])
    powers = powers.astype(dtype)
    found += [powers, np.nextafter(powers, dtype(np.inf)), np.nextafter(powers, dtype(0)), [np.finfo(dtype).max, np.finfo(dtype).tiny]]
    joined = np.concatenate(found).astype(dtype)
    return joined[np.isfinite(joined)].reshape(-1, 1)


@pytest.mark.parametrize(("word", "dtype"), [("FP32", np.float32), ("FP64", np.float64)])
def test_a_float_has_the_fewest_digits_that_read_back_the_same(word: str, dtype: Any) -> None:
    array = floats(dtype, 20_000).reshape(1, -1)
    request = sent()
    request.check(signature_of(word, (array.shape[1],)))
    call = respond(request, Tensors([array], [word], True))
    assert call.response is not None
    texts = call.response[call.response.index(b'"data":[') + 8 : -4].decode().split(",")
    back = np.array([float(text) for text in texts]).astype(dtype)
    assert np.array_equal(back.view(f"u{dtype(0).itemsize}"), array.reshape(-1).view(f"u{dtype(0).itemsize}"))
    for text, number in zip(texts, array.reshape(-1), strict=True):
        shortest = str(number) if dtype is np.float32 else repr(float(number))
        assert Decimal(text) == Decimal(shortest), shortest


def test_the_one_float_whose_fewest_digits_are_another_as_a_double() -> None:
    array = np.array([[0x15AE43FD, 0x95AE43FD]], np.uint32).view(np.float32)
    data = encoded(array, "FP32")[0]["outputs"][0]["data"]
    assert data == [7.0385307e-26, -7.0385307e-26]
    assert np.array_equal(np.array(data, np.float64).astype(np.float32), array[0])
    assert np.float32(np.float64(str(array[0, 0]))) != array[0, 0]


def text_of(word: str, array: np.ndarray[Any, Any], **parameters: bool) -> bytes:
    """The elements of an output as the response has them."""
    request = sent(parameters=parameters)
    request.check(signature_of(word, array.shape[1:]))
    response = respond(request, Tensors([array], [word], True)).response
    assert response is not None
    return bytes(response).partition(b'"data":')[2].removesuffix(b"}]}")


def test_a_whole_float_keeps_its_fraction() -> None:
    """Readers that tell types by the text, such as pandas and Go's, take 1 for an integer."""
    array = np.array([[0, -0.0, 1, -2.5, 1e-4, 1e-5, 1e15, 1e16, 1.25e20]], np.float64)
    assert text_of("FP64", array) == b"[0.0,-0.0,1.0,-2.5,0.0001,1e-05,1000000000000000.0,1e+16,1.25e+20]"
    longest = np.array([[-1234568000000000.0] * 1000], np.float32)
    assert text_of("FP32", longest) == b"[" + b",".join([b"-1234568000000000.0"] * 1000) + b"]"
    assert text_of("INT64", np.array([[0, 1]])) == b"[0,1]"


@pytest.mark.parametrize("word", ["FP32", "FP64"])
def test_nan_and_infinities_are_written_as_triton_writes_them_or_as_null(word: str) -> None:
    array = np.array([[1.5, np.nan, np.inf, -np.inf]], DATATYPES[word][2])
    assert text_of(word, array) == b"[1.5,NaN,Infinity,-Infinity]"
    assert text_of(word, array, nan_as_null=True) == b"[1.5,null,null,null]"


@pytest.mark.parametrize(
    ("word", "element", "expected"),
    [
        ("BYTES", b"\xff", "output 'y0': element 1 is not UTF-8"),
        ("FP16", 1, "output 'y0': JSON has no FP16; ask for this output with the parameter binary_data: true"),
    ],
)
def test_an_output_that_json_cannot_hold(word: str, element: Any, expected: str) -> None:
    array = np.array([[element, element]], DATATYPES[word][2] if word != "BYTES" else object)
    array[0, 0] = "é" if word == "BYTES" else 1
    for binary_output in (False, True):
        request = sent(parameters={"binary_data_output": binary_output})
        request.check(signature_of(word, (2,)))
        call = respond(request, Tensors([array], [word], True))
        if binary_output:
            assert parsed(call, request)[1] == [raw_of(array)]
        else:
            assert isinstance(call.error, InvalidArgument)
            assert expected in str(call.error)


def test_outputs_asked_for_come_once_each_in_their_order() -> None:
    names = [{"name": f"y{i}", "parameters": {"binary_data": i == 2}} for i in (2, 0, 2, 11)]
    request = sent(outputs=names)
    request.check(signature_of("INT32", (1,), outputs=12))
    arrays = [np.full((1, 1), i, np.int32) for i in range(12)]
    document, tail = parsed(respond(request, Tensors(arrays, ["INT32"] * 12, True)), request)
    assert [(output["name"], output.get("data")) for output in document["outputs"]] == [("y2", None), ("y0", [0]), ("y11", [11])]
    assert tail == [struct.pack("<i", 2)]


def test_an_unknown_output_is_rejected_with_the_known_ones() -> None:
    with pytest.raises(InvalidArgument, match="output 'z' is not an output of this model; it gives 'y0'"):
        sent(outputs=[{"name": "z"}]).check(signature_of("FP32", (1,)))


def test_classes_of_an_output() -> None:
    document, _ = encoded(np.array([[0.5, 2, 1]], np.float32), "FP32", outputs=[{"name": "y0", "parameters": {"classification": 2}}])
    assert document["outputs"] == [{"name": "y0", "datatype": "BYTES", "shape": [1, 2], "data": ["2.000000:1", "1.000000:2"]}]


def test_provenance_is_told_to_those_who_ask() -> None:
    request = sent(parameters={"provenance": True})
    signature = signature_of("FP32", (1,))
    signature.provenance = pb.ModelInferResponse(parameters={"sha256": pb.InferParameter(string_param='ab"')}).SerializeToString()
    request.check(signature)
    document, _ = parsed(respond(request, Tensors([np.ones((1, 1), np.float32)], ["FP32"], True)), request)
    assert document["parameters"] == {"sha256": 'ab"'}


@given(st.data())
def test_a_request_and_its_response_are_those_of_grpc(data: st.DataObject) -> None:
    """Both ways of sending it give the same tensors and the same response as ModelInfer does."""
    word = data.draw(st.sampled_from(IN_JSON))
    rows, dims = data.draw(st.integers(1, 3)), tuple(data.draw(st.lists(st.integers(0, 3), max_size=2)))
    count = rows * int(np.prod(dims))
    elements = data.draw(
        st.lists(values(word).filter(lambda each: not isinstance(each, int) or abs(each) < 2**64), min_size=count, max_size=count)
    )
    array = np.array([*elements, None], object)[:-1].astype(DATATYPES[word][2] if word != "BYTES" else object).reshape(rows, *dims)
    signature = Signature("identity", "1", [("x", word, (-1, *dims))], [("y", word, (-1, *dims))], 8)
    request = pb.ModelInferRequest(model_name="identity", id="7")
    request.inputs.add(name="x", datatype=word, shape=array.shape)
    request.raw_input_contents.append(raw_of(array))
    grpc = decode_infer_request(request.SerializeToString())
    rest = decode({"id": "7", "inputs": [input_of(word, array.shape, array.reshape(-1).tolist())]})
    for each in (grpc, rest):
        each.check(signature)
    assert rest.sent() == grpc.sent()
    outputs = Tensors([array], [word], True)
    expected = pb.ModelInferResponse.FromString(respond(grpc, outputs).response or b"")
    document, _ = parsed(respond(rest, outputs), rest)
    [output] = document["outputs"]
    assert (document["id"], output["name"], output["datatype"], tuple(output["shape"])) == ("7", "y", word, array.shape)
    body = json.dumps({"inputs": [{**output, "parameters": {}}]}).encode()
    assert decode(body).sent()[0][3] == expected.raw_output_contents[0], "read back, it is the same"


def test_an_output_that_is_cut_has_the_length_of_its_input() -> None:
    signature = Signature(
        "m", "1", [("x", "INT64", (-1, -1))], [("y", "INT64", (-1, -1))], 8, paddings={"x": (0, 0, (8,), False)}, cuts={"y": (0, "x")}
    )
    request = decode({"inputs": [input_of("INT64", [2, 3], [1, 2, 3, 4, 5, 6])], "outputs": [{"name": "y"}]})
    request.check(signature)
    document, _ = parsed(respond(request, Tensors([np.arange(16, dtype=np.int64).reshape(2, 8)], ["INT64"], True)), request)
    assert (document["outputs"][0]["shape"], document["outputs"][0]["data"]) == ([2, 3], [0, 1, 2, 8, 9, 10])


# ---- long responses --------------------------------------------------------------------------------------------------


LONG = signature_of("FP32", (30_000,))


def long_array() -> np.ndarray[Any, Any]:
    return np.arange(30_000, dtype=np.float32).reshape(1, -1)


def test_on_the_event_loop_a_long_response_is_left_to_a_thread() -> None:
    request, array = sent(id="7"), long_array()
    call = respond(request, Tensors([array], ["FP32"], True), signature=LONG)
    expected = array.reshape(-1).tolist()
    array[:] = 0  # the run's memory serves the next one
    assert call.response is None
    assert call.work is call.given
    assert call.given.nbytes >= len(expected)
    assert call.given.run()
    call.given.done()
    document, _ = parsed(call, request)
    assert (document["id"], document["outputs"][0]["data"]) == ("7", expected)
    ((name, word, shape, raw),) = call.given.tensors()  # for a tap
    assert (name, word, shape, np.frombuffer(raw, np.float32).tolist()) == ("y0", "FP32", (1, 30_000), expected)
    assert call.work is None


def test_elsewhere_it_is_written_at_once_and_so_are_short_and_binary_ones() -> None:
    outputs = Tensors([long_array()], ["FP32"], True)
    request = sent()
    request.check(LONG)
    assert respond(request, outputs).response is not None
    assert respond(sent(parameters={"binary_data_output": True}), outputs, signature=LONG).response is not None


def test_where_there_is_no_thread_it_is_written_all_the_same() -> None:
    class Threadless(Asked):
        def run_on_thread(self, work: Any) -> None:
            raise RuntimeError("no thread")

    request = sent()
    call = respond(request, Tensors([long_array()], ["FP32"], True), Threadless(), signature=LONG)
    assert parsed(call, request)[0]["outputs"][0]["shape"] == [1, 30_000]


def test_a_client_that_leaves_meanwhile_gets_nothing() -> None:
    call = respond(sent(), Tensors([long_array()], ["FP32"], True), signature=LONG)
    call.cancel()
    assert call.given.cancelled
    assert call.given.run()
    call.given.done()
    assert (call.response, call.error) == (None, None)
