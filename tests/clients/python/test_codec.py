"""The hand-joined messages against protobuf itself, and tensors against numpy: generated cases, garbled bytes, memory."""

from __future__ import annotations

import tracemalloc
from contextlib import suppress
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from inferd_client import InferenceError, messages, tensors
from inferd_client.codec import decode_infer_response, encode_infer_request

from tests.echo_server import TYPED

DTYPES = [np.bool_, "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", ">i4", ">f8", ml_dtypes.bfloat16]


def fixed_arrays() -> st.SearchStrategy[Any]:
    """Arrays of every fixed-size dtype and layout: scalars, empty, strided, Fortran order, reversed."""
    shapes = nps.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)

    def build(drawn: tuple[Any, tuple[int, ...], int]) -> Any:
        dtype, shape, layout = drawn
        count = int(np.prod(shape))
        array = np.arange(count * 2).astype(np.float32).astype(dtype)[: count or None][:count].reshape(shape)
        return [array, np.asfortranarray(array), array[::-1] if shape else array, array.T][layout]

    return st.tuples(st.sampled_from(DTYPES), shapes, st.integers(0, 3)).map(build)


@given(fixed_arrays())
def test_raw_bytes_are_numpys_little_endian_row_major(array: Any) -> None:
    datatype = tensors.datatype_of(array)
    raw = bytes(tensors.encode(array, datatype))
    assert raw == array.astype(array.dtype.newbyteorder("<")).tobytes()
    back = tensors.decode(raw, datatype, array.shape)
    assert back.shape == array.shape
    assert back.tobytes() == raw
    assert back.flags.writeable
    assert back.flags.c_contiguous


@given(st.lists(st.binary(max_size=300) | st.text(max_size=20), max_size=20))
def test_bytes_round_trip(elements: list[bytes | str]) -> None:
    array = np.empty(len(elements), object)
    array[:] = elements
    raw = tensors.encode(array, "BYTES")
    assert raw == b"".join(len(e).to_bytes(4, "little") + e for e in (e.encode() if isinstance(e, str) else e for e in elements))
    assert list(tensors.decode(raw, "BYTES", (len(elements),))) == [e.encode() if isinstance(e, str) else e for e in elements]


@given(st.binary(max_size=40), st.integers(0, 5))
def test_garbled_bytes_elements_are_read_or_refused(raw: bytes, elements: int) -> None:
    try:
        array = tensors.decode(raw, "BYTES", (elements,))
    except ValueError:
        return
    assert tensors.encode(array, "BYTES") == raw


@given(
    st.dictionaries(st.text(max_size=5), fixed_arrays(), max_size=4),
    st.text(max_size=5),
    st.lists(st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=5), st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5), max_size=4),
)
def test_a_request_is_what_protobuf_would_have_made(
    inputs: dict[str, Any], name: str, outputs: list[str], parameters: dict[str, Any]
) -> None:
    serialized = encode_infer_request(name, inputs, version="2", outputs=outputs, parameters=parameters, request_id="i")
    request = messages.ModelInferRequest.FromString(serialized)
    expected = messages.ModelInferRequest(model_name=name, model_version="2", id="i")
    for key, array in inputs.items():
        expected.inputs.add(name=key, datatype=tensors.datatype_of(array), shape=array.shape)
        expected.raw_input_contents.append(array.astype(array.dtype.newbyteorder("<")).tobytes())
    for output in outputs:
        expected.outputs.add(name=output)
    request.ClearField("parameters")
    assert request == expected


def response() -> messages.ModelInferResponse:
    made = messages.ModelInferResponse(model_name="m", model_version="1", id="i")
    made.parameters["p"].int64_param = 2
    made.outputs.add(name="a", datatype="FP32", shape=[2])
    made.outputs.add(name="b", datatype="BYTES", shape=[1])
    made.raw_output_contents.extend([b"\0" * 8, b"\1\0\0\0x"])
    return made


def test_an_answer_whatever_the_order_of_its_fields() -> None:
    whole = response()
    raw = messages.ModelInferResponse(raw_output_contents=whole.raw_output_contents)
    whole.ClearField("raw_output_contents")
    for serialized in (whole.SerializeToString() + raw.SerializeToString(), raw.SerializeToString() + whole.SerializeToString()):
        result = decode_infer_response(serialized)
        assert result["a"].tolist() == [0, 0]
        assert result["b"].tolist() == [b"x"]
        assert (result.model_name, result.model_version, result.id, result.parameters) == ("m", "1", "i", {"p": 2})


def test_fields_that_are_not_known_yet_are_passed_over() -> None:
    for extra in (b"\xc0\x3e\x07", b"\xc2\x3e\x02ab", b"\xc5\x3e\x00\x00\x00\x00"):  # field 1000: varint, bytes, fixed32
        assert decode_infer_response(response().SerializeToString() + extra)["b"].tolist() == [b"x"]
        assert decode_infer_response(extra + response().SerializeToString())["b"].tolist() == [b"x"]


@given(st.data())
def test_a_damaged_answer_is_read_or_refused(data: st.DataObject) -> None:
    serialized = bytearray(response().SerializeToString())
    position = data.draw(st.integers(0, len(serialized) - 1))
    if data.draw(st.booleans()):
        del serialized[position:]
    else:
        serialized[position] = data.draw(st.integers(0, 255))
    try:
        decode_infer_response(bytes(serialized))
    except InferenceError as error:
        assert error.message.startswith("the server's response cannot be read: ")  # noqa: PT017


@pytest.mark.parametrize("datatype", ["FP32", "BYTES"])
@pytest.mark.parametrize(
    "shape", [[-1], [-1, -2], [-2, -1], [-4, 0], [2**62, 2**62], [0, 2**63 - 1, 2**63 - 1], [2] * 65, [2**62] * 200_000]
)
@pytest.mark.parametrize("raw", [True, False])
def test_shapes_that_no_array_has(shape: list[int], datatype: str, raw: bool) -> None:
    elements = 0 if 0 in shape else 2
    made = messages.ModelInferResponse(raw_output_contents=[bytes(4 * elements)] if raw else [])
    output = made.outputs.add(name="a", datatype=datatype, shape=shape)
    if not raw:
        output.contents.fp32_contents.extend([0.0] * elements)
        output.contents.bytes_contents.extend([b""] * elements)
    with pytest.raises(InferenceError, match="output 'a': ") as raised:
        decode_infer_response(made.SerializeToString())
    assert len(raised.value.message) < 3000


SIZES = st.integers(0, 4) | st.sampled_from([-(2**63), -2, -1, 2**31, 2**33, 2**45, 2**62, 2**63 - 1])
NUMBERS = st.sampled_from([0, 1, -1, 127, 300, 2**31 - 1, 2**63 - 1, 2**64 - 1])


@example("BYTES", [2**33], b"")
@given(st.sampled_from(tensors.DATATYPES), st.lists(SIZES, max_size=6), st.binary(max_size=32) | st.integers(0, 64).map(bytes))
def test_raw_contents_of_any_shape_are_read_or_refused(datatype: str, shape: list[int], raw: bytes) -> None:
    made = messages.ModelInferResponse(raw_output_contents=[raw])
    made.outputs.add(name="a", datatype=datatype, shape=shape)
    read_or_refused(made)


@given(st.sampled_from(sorted(TYPED)), st.lists(SIZES, max_size=6), st.lists(NUMBERS, max_size=8), st.booleans())
def test_typed_contents_of_any_shape_are_read_or_refused(datatype: str, shape: list[int], numbers: list[int], fits: bool) -> None:
    made = messages.ModelInferResponse()
    output = made.outputs.add(name="a", datatype=datatype, shape=[len(numbers)] if fits else shape)
    contents = getattr(output.contents, TYPED[datatype])
    for number in numbers:
        with suppress(ValueError):  # one that the field does not hold
            contents.append(str(number).encode() if datatype == "BYTES" else bool(number) if datatype == "BOOL" else number)
    read_or_refused(made)


def read_or_refused(answer: messages.ModelInferResponse) -> None:
    try:
        result = decode_infer_response(answer.SerializeToString())
    except InferenceError as error:
        assert error.message.startswith("the server's response cannot be read: output 'a': ")  # noqa: PT017
    else:
        assert result["a"].shape == tuple(answer.outputs[0].shape)


def test_nothing_is_allocated_for_elements_that_are_not_there() -> None:
    tracemalloc.start()
    with pytest.raises(ValueError, match="expected 1048576 BYTES elements, got 8 bytes, which is less than their lengths take"):
        tensors.decode(bytes(8), "BYTES", (1 << 20,))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


def test_a_number_that_does_not_end_is_not_read_to_its_end() -> None:
    """The work would be quadratic: hours."""
    for field in (b"", b"\x0a"):
        with pytest.raises(InferenceError, match="the server's response cannot be read: "):
            decode_infer_response(field + b"\xff" * (8 << 20))


def test_large_tensors_are_copied_once_each_way() -> None:
    array = np.ones(1 << 21, np.float32)  # 8 MiB
    answer = messages.ModelInferResponse(raw_output_contents=[array.tobytes()])
    answer.outputs.add(name="a", datatype="FP32", shape=array.shape)
    serialized = answer.SerializeToString()
    encode_infer_request("m", {"a": array[:1]})  # whatever is made once
    decode_infer_response(serialized[:0])

    tracemalloc.start()
    request = encode_infer_request("m", {"a": array})
    encode_peak = tracemalloc.get_traced_memory()[1]
    assert len(request) > array.nbytes
    del request
    tracemalloc.reset_peak()
    result = decode_infer_response(serialized)
    decode_peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(result["a"], array)
    assert encode_peak < array.nbytes + 100_000
    assert decode_peak < array.nbytes + 100_000


def test_dtypes_of_strings_and_bytes() -> None:
    assert tensors.datatype_of(np.array(["a"])) == tensors.datatype_of(np.array([b"a"])) == tensors.datatype_of(np.array([None])) == "BYTES"
    assert tensors.encode(np.array(["ü"]), "BYTES") == b"\2\0\0\0\xc3\xbc"
    for bytes_of_numpy in (np.array([[b"ab\0"]]), np.array([b"ab", b"c"])):  # whether something was lost, nobody can tell
        with pytest.raises(TypeError, match=r"NUL bytes at the end.*dtype=object"):
            tensors.encode(bytes_of_numpy, "BYTES")


def test_bf16_without_ml_dtypes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "bfloat16", None)
    monkeypatch.setitem(tensors._FIXED, "BF16", np.dtype("<u2"))
    assert tensors.decode(b"\xc0\x3f", "BF16", (1,)).tolist() == [0x3FC0]
    with pytest.raises(ValueError, match=r"a list can become BF16 only with ml-dtypes installed \(inferd-client\[bf16\]\)"):
        tensors.array_of([1.5], "BF16")
