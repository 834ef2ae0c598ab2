"""The codec against protobuf: every valid request decodes to the same fields, every other one is rejected with InvalidArgument;
every response parses to what the arrays hold."""

from __future__ import annotations

import gc
import os
import random
import struct
import sys
from typing import Any, NamedTuple

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from inferd._core.batching.batcher import Batcher
from inferd._core.codec.infer import InferRequest, decode_infer_request
from inferd._core.grpc import message
from inferd._core.grpc.call import Call
from inferd._core.grpc.message import Message
from inferd._core.metrics.histogram import Statistics
from inferd._core.tensor.datatypes import DATATYPES
from inferd._core.tensor.signature import Signature
from inferd._core.tensor.tensor import Tensors
from inferd.errors import Internal, InvalidArgument, RequestError
from inferd.protocol import inference as pb

FIELDS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents", "INT64": "int64_contents",
    "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents", "UINT64": "uint64_contents",
    "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
PAGE_NBYTES = os.sysconf("SC_PAGESIZE")


class Decoded(NamedTuple):
    model_name: str
    model_version: str
    id: str
    tensors: list[tuple[str, str, tuple[int, ...], bytes]]


def decoded(content: bytes) -> Decoded:
    request = decode_infer_request(content)
    tensors = [(name, word, shape, bytes(raw)) for name, word, shape, raw in request.sent()]
    return Decoded(request.model_name, request.model_version, request.id, tensors)


# ---- the plain version: protobuf reads, numpy packs ----------------------------------------------------------------


def plain_parameters(parameters: Any) -> dict[str, Any]:
    return {key: getattr(value, kind) for key, value in parameters.items() if (kind := value.WhichOneof("parameter_choice"))}


def plain_contents(tensor: Any) -> bytes:
    """Typed contents as raw bytes; ValueError when they are not what the datatype takes."""
    held = [field.name for field, values in tensor.contents.ListFields() if len(values)]
    if held and held != [FIELDS.get(tensor.datatype)]:
        raise ValueError(held)
    if not held:
        return b""
    values = getattr(tensor.contents, held[0])
    if len(values) > most_elements(tensor.shape):
        raise ValueError(len(values))
    if tensor.datatype == "BYTES":
        return b"".join(struct.pack("<I", len(value)) + value for value in values)
    dtype = DATATYPES[tensor.datatype][2]
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if min(values) < limits.min or max(values) > limits.max:
            raise ValueError(values)
    return np.array(values, dtype=dtype).tobytes()


def most_elements(shape: Any) -> int:
    """Elements that the shape has; of one that is none, which its check will say, as many as there are."""
    count = 1
    for size in shape:
        count *= size
        if size < 0 or count >= 1 << 63:
            return sys.maxsize
    return count


def plain_decode(content: bytes) -> Decoded:
    """What decode_infer_request must give; ValueError or DecodeError where it must reject."""
    request = pb.ModelInferRequest.FromString(content)
    parameters = plain_parameters(request.parameters)
    for key in ("priority", "timeout"):
        if key in parameters and (type(parameters[key]) is not int or parameters[key] < 0):
            raise ValueError(key)
    if type(parameters.get("provenance", True)) is not bool:
        raise ValueError("provenance")
    if any(key.startswith("triton_") and key != "triton_enable_empty_final_response" for key in request.parameters if len(key) > 7):
        raise ValueError("triton_")
    count = len(request.inputs)
    raws = list(request.raw_input_contents)
    if max(count, len(request.outputs), len(raws)) > 256 or (raws and len(raws) != count):
        raise ValueError("counts")
    if len(request.parameters) + sum(len(each.parameters) for each in [*request.inputs, *request.outputs]) > 256:
        raise ValueError("parameters")
    if any("shared_memory_region" in each.parameters for each in request.outputs):
        raise ValueError("outputs")
    for each in request.outputs:
        if "classification" in each.parameters:
            classes = each.parameters["classification"]
            if classes.WhichOneof("parameter_choice") not in ("int64_param", "uint64_param") or classes.int64_param < 0:
                raise ValueError("classification")
    tensors = []
    for i, tensor in enumerate(request.inputs):
        typed = plain_contents(tensor)
        held = any(len(values) for _, values in tensor.contents.ListFields())
        if (held and raws) or "shared_memory_region" in tensor.parameters or tensor.datatype not in DATATYPES or len(tensor.shape) > 8:
            raise ValueError(tensor.name)
        tensors.append((tensor.name, tensor.datatype, tuple(tensor.shape), raws[i] if raws else typed))
    return Decoded(request.model_name, request.model_version, request.id, tensors)


def check_against_protobuf(content: bytes) -> bool:
    """Both accept with the same fields, or both reject. True: accepted."""
    try:
        expected = plain_decode(content)
    except (DecodeError, ValueError):
        with pytest.raises(InvalidArgument):
            decode_infer_request(content)
        return False
    assert decoded(content) == expected
    return True


# ---- valid requests ------------------------------------------------------------------------------------------------

texts = st.text(max_size=12)
names = st.one_of(st.sampled_from(["x", "input_ids", "äöü", ""]), texts)
shapes = st.lists(st.one_of(st.integers(0, 5), st.integers(-(2**63), 2**63 - 1)), max_size=8)
parameter_values = st.one_of(
    st.booleans().map(lambda v: {"bool_param": v}),
    st.integers(-(2**63), 2**63 - 1).map(lambda v: {"int64_param": v}),
    st.integers(0, 2**64 - 1).map(lambda v: {"uint64_param": v}),
    st.floats().map(lambda v: {"double_param": v}),
    texts.map(lambda v: {"string_param": v}),
    st.just({}),
)
parameter_maps = st.dictionaries(texts.filter(lambda key: not key.startswith("triton_")), parameter_values, max_size=4)


@st.composite
def typed_values(draw: st.DrawFn, word: str) -> list[Any]:
    if word == "BYTES":
        return draw(st.lists(st.binary(max_size=20), max_size=6))
    dtype = DATATYPES[word][2]
    if dtype.kind == "b":
        return draw(st.lists(st.booleans(), max_size=6))
    if dtype.kind == "f":
        return draw(st.lists(st.floats(width=8 * dtype.itemsize, allow_nan=False), max_size=6))
    limits = np.iinfo(dtype)
    return draw(st.lists(st.integers(int(limits.min), int(limits.max)), max_size=6))


@st.composite
def requests(draw: st.DrawFn) -> Any:
    request = pb.ModelInferRequest(model_name=draw(names), model_version=draw(texts), id=draw(texts))
    raw = draw(st.booleans())
    for _ in range(draw(st.integers(0, 6))):
        word = draw(st.sampled_from(sorted(DATATYPES if raw else FIELDS)))
        tensor = request.inputs.add(name=draw(names), datatype=word)
        fill_parameters(tensor, draw(parameter_maps))
        if raw:
            tensor.shape.extend(draw(shapes))
            request.raw_input_contents.append(draw(st.binary(max_size=64)))
        else:
            values = draw(typed_values(word))
            count = len(values)
            tensor.shape.extend(draw(st.sampled_from([[count], [1, count], [count + 1, 3], [-1, 0], [2**62, 4, 0]])))
            getattr(tensor.contents, FIELDS[word]).extend(values)
    for _ in range(draw(st.integers(0, 3))):
        fill_parameters(request.outputs.add(name=draw(names)), draw(parameter_maps))
    fill_parameters(request, draw(parameter_maps))
    return request


def fill_parameters(owner: Any, parameters: dict[str, dict[str, Any]]) -> None:
    for key, value in parameters.items():
        owner.parameters[key].MergeFrom(pb.InferParameter(**value))


@given(requests())
@settings(max_examples=200)
def test_a_valid_request_decodes_to_what_protobuf_reads(request_message: Any) -> None:
    assert check_against_protobuf(request_message.SerializeToString())


@pytest.mark.parametrize("word", sorted(DATATYPES))
@given(data=st.data())
@settings(max_examples=20)
def test_every_datatype(word: str, data: st.DataObject) -> None:
    values = np.frombuffer(data.draw(st.binary(min_size=16, max_size=16)), dtype="u1")
    request = pb.ModelInferRequest(model_name="m", inputs=[{"name": "x", "datatype": word, "shape": [16]}])
    request.raw_input_contents.append(values.tobytes())
    assert decoded(request.SerializeToString()).tensors == [("x", word, (16,), values.tobytes())]
    if word in FIELDS:
        del request.raw_input_contents[:]
        getattr(request.inputs[0].contents, FIELDS[word]).extend(data.draw(typed_values(word)))
        assert check_against_protobuf(request.SerializeToString())


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview, Message, Message.wrap])
def test_any_bytes_like_object_is_read(make: Any) -> None:
    request = decode_infer_request(make(simple().SerializeToString()))
    name, word, shape, raw = request.sent()[0]
    assert (name, word, shape, bytes(raw)) == ("x", "FP32", (1, 16), np.arange(16, dtype="f4").tobytes())
    assert raw.readonly


def test_a_view_outlives_its_request() -> None:
    raw = decode_infer_request(Message(simple().SerializeToString())).sent()[0][3]
    gc.collect()
    assert np.frombuffer(raw, dtype="f4").tolist() == list(range(16))


@given(st.lists(st.text(max_size=300), min_size=1, max_size=20))
def test_names_are_never_mixed_up(sent: list[str]) -> None:
    for name in sent + sent:
        request = decode_infer_request(pb.ModelInferRequest(model_name=name, model_version=name[::-1]).SerializeToString())
        assert (request.model_name, request.model_version) == (name, name[::-1])


def simple(**changes: Any) -> Any:
    request = pb.ModelInferRequest(**{"model_name": "identity", "id": "7", **changes})
    request.inputs.add(name="x", datatype="FP32", shape=[1, 16])
    request.raw_input_contents.append(np.arange(16, dtype="f4").tobytes())
    return request


# ---- valid but odd encodings ---------------------------------------------------------------------------------------


def varint(value: int, padding: int = 0) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    for _ in range(padding):
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)


class OddWriter:
    """Writes the fields of a message in any order, numbers longer than needed, unknown fields in between."""

    def __init__(self, source: random.Random) -> None:
        self.random = source

    def tag(self, number: int, wire_type: int) -> bytes:
        value = number << 3 | wire_type
        return varint(value, self.random.randint(0, 5 - len(varint(value))) if self.random.random() < 0.3 else 0)

    def number(self, value: int, longest: int = 10) -> bytes:
        return varint(value, self.random.randint(0, longest - len(varint(value))) if self.random.random() < 0.3 else 0)

    def delimited(self, number: int, content: bytes) -> bytes:
        return self.tag(number, 2) + self.number(len(content)) + content

    def unknown(self, depth: int = 0) -> bytes:
        number = self.random.choice([0x1FFFFFFF, 200, 99, 17])
        kind = self.random.randint(0, 4 if depth < 3 else 3)
        if kind == 0:
            return self.tag(number, 0) + self.number(self.random.getrandbits(64))
        if kind == 1:
            return self.tag(number, 1) + self.random.randbytes(8)
        if kind == 2:
            return self.delimited(number, self.random.randbytes(self.random.randint(0, 9)))
        if kind == 3:
            return self.tag(number, 5) + self.random.randbytes(4)
        inside = b"".join(self.unknown(depth + 1) for _ in range(self.random.randint(0, 3)))
        return self.tag(number, 3) + inside + self.tag(number, 4)

    def join(self, fields: list[bytes]) -> bytes:
        """In an order that keeps the fields of one number in theirs; the wire lets fields of different numbers mix."""
        numbered: dict[int, list[bytes]] = {}
        for field in fields:
            numbered.setdefault(field_number(field), []).append(field)
        out = []
        while numbered:
            number = self.random.choice(sorted(numbered))
            out.append(numbered[number].pop(0))
            if not numbered[number]:
                del numbered[number]
            if self.random.random() < 0.2:
                out.append(self.unknown())
        return b"".join(out)

    def repeated(self, number: int, wire_type: int, elements: list[bytes]) -> list[bytes]:
        """Packed in pieces and single ones, mixed, in order."""
        fields = []
        while elements:
            taken = self.random.randint(0, len(elements))
            if self.random.random() < 0.5:
                fields.append(self.delimited(number, b"".join(elements[:taken])))
            else:
                taken = min(taken, 1)
                fields += [self.tag(number, wire_type) + element for element in elements[:taken]]
            elements = elements[taken:]
        return fields

    def contents(self, contents: Any) -> list[bytes]:
        """The contents in several submessages, which protobuf joins."""
        fields = []
        for field, values in contents.ListFields():
            if field.name == "bytes_contents":
                fields += [self.delimited(field.number, value) for value in values]
            elif field.name in ("fp32_contents", "fp64_contents"):
                letter, wire_type = ("<f", 5) if field.name == "fp32_contents" else ("<d", 1)
                fields += self.repeated(field.number, wire_type, [struct.pack(letter, value) for value in values])
            else:
                fields += self.repeated(field.number, 0, [self.number(int(value)) for value in values])
        cut = self.random.randint(0, len(fields))
        return [self.delimited(5, self.join(part)) for part in (fields[:cut], fields[cut:])]

    def parameters(self, number: int, parameters: Any) -> list[bytes]:
        written = []
        for key, value in parameters.items():
            fields = [self.delimited(1, b"other"), self.delimited(1, key.encode())]
            content = value.SerializeToString()
            if content:
                fields.append(self.delimited(2, pb.InferParameter(int64_param=3).SerializeToString()))
            fields.append(self.delimited(2, content))
            written.append(self.delimited(number, self.join(fields)))
        return written

    def input(self, tensor: Any) -> bytes:
        fields = [self.delimited(1, b"overwritten"), self.delimited(1, tensor.name.encode()), self.delimited(2, tensor.datatype.encode())]
        fields += self.repeated(3, 0, [self.number(size) for size in tensor.shape])
        fields += self.parameters(4, tensor.parameters)
        if tensor.HasField("contents"):
            fields += self.contents(tensor.contents)
        return self.join(fields)

    def request(self, request: Any) -> bytes:
        fields = [self.delimited(1, b"\xc3\xa9"), self.delimited(1, request.model_name.encode())]
        fields += [self.delimited(2, request.model_version.encode()), self.delimited(3, request.id.encode())]
        fields += self.parameters(4, request.parameters)
        fields += [self.delimited(5, self.input(tensor)) for tensor in request.inputs]
        fields += [self.delimited(6, b"".join([self.delimited(1, each.name.encode())])) for each in request.outputs]
        fields += [self.delimited(7, raw) for raw in request.raw_input_contents]
        return self.join(fields)


def field_number(field: bytes) -> int:
    value = 0
    for i, byte in enumerate(field):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            break
    return value >> 3


@given(requests(), st.integers(0, 2**32))
@settings(max_examples=200)
def test_an_odd_encoding_decodes_to_what_protobuf_reads(request_message: Any, seed: int) -> None:
    content = OddWriter(random.Random(seed)).request(request_message)
    accepted = check_against_protobuf(content)
    try:
        expected = plain_decode(request_message.SerializeToString())
    except ValueError:  # a parameter of a name that means something, which others than these may not have
        assert not accepted
        return
    assert accepted
    assert decoded(content).tensors == expected.tensors


def test_raw_contents_before_their_inputs() -> None:
    fields = simple()
    first, second = pb.ModelInferRequest(inputs=fields.inputs), pb.ModelInferRequest(raw_input_contents=fields.raw_input_contents)
    assert check_against_protobuf(second.SerializeToString() + first.SerializeToString())


# ---- malformed ones ------------------------------------------------------------------------------------------------


def samples() -> list[bytes]:
    """Requests that between them hold every field."""
    rich = simple(model_version="12")
    rich.inputs.add(name="ids", datatype="INT64", shape=[2, 3], parameters={"binary_data_size": {"int64_param": 48}})
    rich.raw_input_contents.append(bytes(48))
    rich.outputs.add(name="y", parameters={"binary_data": {"bool_param": True}})
    rich.parameters["priority"].uint64_param = 3
    rich.parameters["note"].string_param = "grüße"
    rich.parameters["ratio"].double_param = 0.5
    typed = pb.ModelInferRequest(model_name="typed")
    for word, field in FIELDS.items():
        tensor = typed.inputs.add(name=word.lower(), datatype=word, shape=[2])
        values: list[Any] = [b"ab", b""] if word == "BYTES" else [1, 0]
        getattr(tensor.contents, field).extend(values)
    return [simple().SerializeToString(), rich.SerializeToString(), typed.SerializeToString(), odd_sample()]


def odd_sample() -> bytes:
    return b"\x9b\x06\x08\x01\x9c\x06" + simple().SerializeToString() + b"\xa1\x06" + bytes(8) + b"\xa5\x06" + bytes(4)


@pytest.mark.parametrize("content", samples())
def test_cut_at_every_byte(content: bytes) -> None:
    accepted = [check_against_protobuf(content[:cut]) for cut in range(len(content) + 1)]
    assert accepted[-1]
    assert not all(accepted)


@pytest.mark.parametrize("content", samples())
def test_every_byte_changed(content: bytes) -> None:
    accepted = 0
    for place in range(len(content)):
        some = {0x00, 0x01, 0x7F, 0x80, 0xFF, content[place] ^ 0x01, content[place] ^ 0x08, (content[place] + 8) & 0xFF}
        for value in range(256) if len(content) < 110 else some:
            accepted += check_against_protobuf(content[:place] + bytes([value]) + content[place + 1 :])
    assert accepted > 0


@pytest.mark.parametrize(
    "length", [varint(3, padding) for padding in range(11)] + [b"\x83" + 8 * b"\x80" + bytes([bits]) for bits in (1, 2, 0x7E)]
)
def test_lengths_longer_than_needed(length: bytes) -> None:
    """Up to 10 bytes; what does not fit 64 bits is lost."""
    assert check_against_protobuf(b"\x0a" + length + b"abc") == (len(length) <= 10 and length[-1] != 1)


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_random_bytes(content: bytes) -> None:
    check_against_protobuf(content)


@given(st.sampled_from(samples()), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400), st.binary(max_size=6)), max_size=4))
@settings(max_examples=200)
def test_spliced_bytes(content: bytes, splices: list[tuple[int, int, bytes]]) -> None:
    for start, length, inserted in splices:
        content = content[:start] + inserted + content[start + length :]
    check_against_protobuf(content)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\x0a", "the message ends inside a number (varint), at byte 1"),
        (b"\x0a\x05abc", "a field is longer than what holds it, at byte 2"),
        (b"\x0a" + 10 * b"\xff" + b"\x01", "a number (varint) is too long, at byte 1"),
        (b"\xff\xff\xff\xff\xff\x01", "a number (varint) is too long, at byte 0"),
        (b"\x00", "a field has the number 0, at byte 1"),
        (b"\x0f", "a field of no known wire type"),
        (b"\x0c", "the end of a group that was never begun"),
        (b"\x9b\x06", "the message ends inside a group"),
        (b"\x9b\x06\xa4\x06", "a group ends as another one than it began"),
        (b"\x9b\x06" * 101, "groups are nested too deeply"),
        (b"\x99\x06abc", "the message ends inside a fixed-size number"),
        (b"\x1a\x01\xff", "a string is not UTF-8"),
        (b"\x0a\x01\xff", "model_name is not UTF-8"),
        (b"\xff\xff\xff\xff\x7f", "a field number is out of range"),
        (b"\x2a\x02\x0a\x05", "a field is longer than what holds it, at byte 4"),
        (b"\x2a\x09\x12\x04FP32\x2a\x01\x32", "the message ends inside a number (varint), at byte 11"),
        (b"\x2a\x0d\x12\x04FP32\x2a\x05\x32\x03abc", "packed numbers that are cut"),
        (b"\x2a\x0c\x12\x05INT64\x2a\x03\x1a\x01\xff", "packed numbers that are cut"),
        (b"\x2a\x17\x12\x05INT64\x2a\x0e\x1a\x0c" + 11 * b"\xff" + b"\x01", "a number (varint) is too long, at byte 13"),
    ],
)
def test_what_is_malformed_is_said_with_its_byte(content: bytes, expected: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        decode_infer_request(content)
    assert str(caught.value).startswith("ModelInferRequest: ")
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"\x98\x06\x00" * 70_000,  # of a number that nobody knows
        b"\x9b\x06\x9c\x06" * 70_000,  # groups without anything in them
        b"\x0a\x00" * 70_000,  # the model's name: the last one holds
        (b"\x2a\xe0\xa7\x12" + b"\x98\x06\x00" * 100_000),  # an input with fields that nobody knows
    ],
)
def test_fields_that_mean_nothing_are_no_more_than_so_many(content: bytes) -> None:
    """Each costs time on the event loop, and millions of them fit into a message."""
    with pytest.raises(InvalidArgument, match="more fields than a request may have"):
        decode_infer_request(content)


def test_a_group_of_many_fields_counts_as_they_do() -> None:
    decode_infer_request(b"\x9b\x06" + b"\x98\x06\x00" * 60_000 + b"\x9c\x06")
    with pytest.raises(InvalidArgument, match="more fields than a request may have"):
        decode_infer_request(b"\x9b\x06" + b"\x98\x06\x00" * 70_000 + b"\x9c\x06")


def test_a_hundred_nested_groups_are_skipped() -> None:
    assert check_against_protobuf(b"\x9b\x06" * 90 + b"\x9c\x06" * 90)


# ---- well-formed, but rejected --------------------------------------------------------------------------------------


def rejected(request: Any) -> str:
    with pytest.raises(InvalidArgument) as caught:
        decode_infer_request(request.SerializeToString())
    check_against_protobuf(request.SerializeToString())
    return str(caught.value)


def typed_request(word: str, field: str, values: list[Any]) -> Any:
    return pb.ModelInferRequest(
        model_name="m", inputs=[{"name": "x", "datatype": word, "shape": [len(values)], "contents": {field: values}}]
    )


@pytest.mark.parametrize(
    ("word", "field", "values", "expected"),
    [
        ("FP32", "fp64_contents", [1.0], "input 'x': FP32 contents came in fp64_contents; FP32 goes into fp32_contents"),
        ("FP16", "fp32_contents", [1.0], "input 'x': FP16 contents came in fp32_contents; FP16 travels only in raw_input_contents"),
        ("BF16", "fp32_contents", [1.0], "BF16 travels only in raw_input_contents"),
        ("INT8", "int_contents", [1, 300], "input 'x': INT8 holds -128 to 127, an element is 300"),
        ("INT8", "int_contents", [-129], "INT8 holds -128 to 127, an element is -129"),
        ("INT16", "int_contents", [-32769], "INT16 holds -32768 to 32767, an element is -32769"),
        ("UINT8", "uint_contents", [256], "UINT8 holds 0 to 255, an element is 256"),
        ("UINT16", "uint_contents", [65536], "UINT16 holds 0 to 65535, an element is 65536"),
        ("INT64", "int_contents", [1], "INT64 goes into int64_contents"),
        ("BYTES", "uint_contents", [1], "BYTES goes into bytes_contents"),
        ("FP16", "bytes_contents", [b""], "FP16 contents came in bytes_contents; FP16 travels only in raw_input_contents"),
        ("FLOAT", "fp32_contents", [1.0], "input 'x': unknown datatype 'FLOAT'; expected one of BOOL, UINT8"),
        ("", "fp32_contents", [1.0], "input 'x': unknown datatype ''"),
        ("FP32\0", "fp32_contents", [1.0], "input 'x': unknown datatype 'FP32\0'"),
    ],
)
def test_contents_that_the_datatype_does_not_take(word: str, field: str, values: list[Any], expected: str) -> None:
    assert expected in rejected(typed_request(word, field, values))


def test_raw_and_typed_contents_exclude_each_other() -> None:
    request = simple()
    request.inputs[0].contents.fp32_contents.append(1.0)
    assert "send every input of a request one way or the other" in rejected(request)


@pytest.mark.parametrize("raws", [1, 3])
def test_one_raw_content_for_each_input(raws: int) -> None:
    request = simple()
    request.inputs.add(name="y", datatype="FP32", shape=[1])
    del request.raw_input_contents[:]
    request.raw_input_contents.extend([b"abcd"] * raws)
    assert rejected(request).startswith(f"ModelInferRequest: {raws} raw_input_contents for 2 inputs; send one for each input")


def test_shared_memory_is_not_enabled() -> None:
    request = simple()
    request.inputs[0].parameters["shared_memory_region"].string_param = "r"
    assert rejected(request) == "input 'x': shared memory (shared_memory_region) is not enabled; send the tensor's bytes"
    request = simple()
    request.outputs.add(name="y").parameters["shared_memory_region"].string_param = "r"
    assert "output 'y': shared memory (shared_memory_region) is not enabled" in rejected(request)


@pytest.mark.parametrize("value", [{"int64_param": -1}, {"string_param": "3"}, {"bool_param": True}, {}])
def test_classification_is_a_number_of_classes(value: dict[str, Any]) -> None:
    request = simple()
    request.outputs.add(name="y").parameters["classification"].CopyFrom(pb.InferParameter(**value))
    assert "output 'y': expected int64_param or uint64_param of 0 or more in the parameter classification" in rejected(request)


def test_reserved_parameters() -> None:
    request = simple()
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    request.parameters["sequence_id"].int64_param = 4
    request.parameters["anything"].string_param = "else"
    assert check_against_protobuf(request.SerializeToString())
    request.parameters["triton_unknown"].bool_param = True
    assert rejected(request).startswith("parameter 'triton_unknown': names that begin with 'triton_' are reserved")


@pytest.mark.parametrize("key", ["priority", "timeout"])
@pytest.mark.parametrize("value", [{"int64_param": -1}, {"string_param": "1"}, {"double_param": 1.0}, {"bool_param": True}])
def test_a_priority_or_timeout_that_is_no_count(key: str, value: dict[str, Any]) -> None:
    request = simple()
    fill_parameters(request, {key: value})
    assert rejected(request).startswith(f"parameter '{key}': expected uint64_param or int64_param of 0 or more, got ")


def test_limits() -> None:
    request = pb.ModelInferRequest(inputs=[{"name": str(i), "datatype": "INT8"} for i in range(256)], raw_input_contents=[b"a"] * 256)
    for i in range(256):
        request.outputs.add(name=str(i))
    assert check_against_protobuf(request.SerializeToString())
    request.inputs.add(name="x", datatype="INT8")
    assert "more than 256 inputs" in rejected(request)
    assert "more than 256 raw_input_contents" in rejected(pb.ModelInferRequest(raw_input_contents=[b""] * 257))
    assert "more than 256 outputs" in rejected(pb.ModelInferRequest(outputs=[{"name": "y"}] * 257))
    many = pb.ModelInferRequest()
    fill_parameters(many, {str(i): {} for i in range(256)})
    assert check_against_protobuf(many.SerializeToString())
    fill_parameters(many, {"one more": {"int64_param": 1}})
    assert "more than 256 parameters" in rejected(many)
    assert "a tensor of more than 8 dimensions" in rejected(pb.ModelInferRequest(inputs=[{"datatype": "INT8", "shape": [1] * 9}]))


MOST = 4 << 20  # elements that are unpacked one by one


@pytest.mark.parametrize(("word", "field"), [("INT64", "int64_contents"), ("BOOL", "bool_contents"), ("BYTES", "bytes_contents")])
@pytest.mark.parametrize("inputs", [1, 4])
def test_typed_contents_that_are_unpacked_one_by_one_have_a_limit(word: str, field: str, inputs: int) -> None:
    """In a request, over however many inputs they are spread."""
    most = MOST // (4 if word == "BYTES" else 1)  # what is not packed is walked twice
    request = pb.ModelInferRequest(inputs=[{"name": str(i), "datatype": word, "shape": [MOST]} for i in range(inputs)])
    for tensor in request.inputs:
        getattr(tensor.contents, field).extend([b"" if word == "BYTES" else 0] * (most // inputs - 8))
    assert len(decode_infer_request(request.SerializeToString()).sent()) == inputs
    getattr(request.inputs[-1].contents, field).extend([b"" if word == "BYTES" else 1] * 40)
    with pytest.raises(InvalidArgument, match="expected at most 4194304 elements as typed contents in a request"):
        decode_infer_request(request.SerializeToString())


def test_long_typed_contents_are_not_unpacked_at_once() -> None:
    def decoded(request: pb.ModelInferRequest) -> bool:
        return decode_infer_request(request.SerializeToString(), True) is not None

    long = pb.ModelInferRequest(inputs=[{"name": "x", "datatype": "INT32", "shape": [20_000]}])
    long.inputs[0].contents.int_contents.extend([1] * 20_000)
    assert not decoded(long)
    assert decode_infer_request(long.SerializeToString()).sent()[0][2] == (20_000,)
    assert decoded(pb.ModelInferRequest(inputs=long.inputs[:0], raw_input_contents=[]))
    long.inputs[0].contents.int_contents[:] = [1] * 8000
    long.inputs[0].shape[:] = [8000]
    assert decoded(long)
    raw = pb.ModelInferRequest(inputs=[{"name": "x", "datatype": "INT32", "shape": [20_000]}], raw_input_contents=[bytes(80_000)])
    assert decoded(raw)
    long.inputs[0].datatype = "INT7"
    long.inputs[0].contents.int_contents.extend([1] * 20_000)
    with pytest.raises(InvalidArgument, match="unknown datatype"):
        decoded(long)


@pytest.mark.parametrize("contents", [b"\x18" + varint(-1), b"\x1a\x50" + varint(-1) * 8, b"\x1a\x01\x01", b"\x1a\x00"])
def test_so_have_long_numbers_and_such_as_are_not_packed(contents: bytes) -> None:
    count = (20 << 20) // len(contents)
    with pytest.raises(InvalidArgument, match="expected at most 4194304 elements as typed contents in a request"):
        decode_infer_request(typed_message("INT64", contents * count, 10 * count))


def typed_message(word: str, contents: bytes, *shape: int) -> bytes:
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype=word, shape=shape).SerializeToString()
    tensor += b"\x2a" + varint(len(contents)) + contents
    return b"\x2a" + varint(len(tensor)) + tensor


@pytest.mark.parametrize(
    ("word", "contents", "expected"),
    [
        ("FP32", b"\x1a\x03\x01\x01\xff", "input 'x': FP32 contents came in int64_contents; FP32 goes into fp32_contents"),
        ("INT64", b"\x1a\x04" + b"\x01" * 4 + b"\xff", "expected the 3 elements of INT64[3] in int64_contents, got more; send as many"),
        ("FP32", b"\x32\x10" + bytes(16) + b"\xff", "expected the 3 elements of FP32[3] in fp32_contents, got more"),
        ("BYTES", b"\x42\x00" * 4 + b"\xff", "expected the 3 elements of BYTES[3] in bytes_contents, got more"),
    ],
)
def test_nothing_is_read_behind_elements_that_nobody_wants(word: str, contents: bytes, expected: str) -> None:
    """Those of another datatype's field, or more than the shape has: what follows here is malformed, and nobody sees it."""
    with pytest.raises(InvalidArgument) as caught:
        decode_infer_request(typed_message(word, contents, 3))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        *(bytes([tag]) + b"\xff\xff\x3f" + bytes((1 << 20) - 1) + bytes([tag]) + b"\x02aa" for tag in (0x0A, 0x12, 0x1A)),
        pb.ModelInferRequest(inputs=[{"name": "n" * (1 << 19), "datatype": "INT8"}] * 3).SerializeToString(),
        pb.ModelInferRequest(inputs=[{"name": "n", "datatype": "n" * (1 << 20)}]).SerializeToString(),
        pb.ModelInferRequest(outputs=[{"name": "n" * (1 << 19)}] * 3).SerializeToString(),
        pb.ModelInferRequest(parameters={"k" * (1 << 20): {"string_param": "v"}}).SerializeToString(),
        pb.ModelInferRequest(parameters={"k": {"string_param": "v" * (1 << 20)}}).SerializeToString(),
        pb.ModelInferRequest(id="i" * (1 << 19), inputs=[{"name": "x", "parameters": {"k" * (1 << 19): {}}}]).SerializeToString(),
    ],
)
def test_the_strings_of_a_request_have_a_limit(content: bytes) -> None:
    """Together: each is checked to be UTF-8 on the event loop, even where another one replaces it."""
    with pytest.raises(InvalidArgument) as caught:
        decode_infer_request(content)
    assert "expected at most 1048576 bytes of names, ids and parameters in all, got more; send long text as a tensor" in str(caught.value)


def test_strings_that_are_long_and_not_too_long() -> None:
    request = simple(model_name="m" * (1 << 18), model_version="1" * (1 << 18), id="i" * (1 << 18))
    request.parameters["k"].string_param = "é" * (1 << 16)
    assert check_against_protobuf(request.SerializeToString())


def test_packed_numbers_need_no_unpacking() -> None:
    request = pb.ModelInferRequest(inputs=[{"name": "x", "datatype": "FP32", "shape": [MOST + 1]}])
    request.inputs[0].contents.fp32_contents.extend([0.0] * (MOST + 1))
    assert decode_infer_request(request.SerializeToString()).sent()[0][3].nbytes == 4 * (MOST + 1)


def test_long_words_of_a_client_are_cut() -> None:
    request = simple()
    request.parameters["priority"].string_param = "p" * 5000
    assert rejected(request).endswith("got '" + "p" * 100 + "...'")
    text = rejected(pb.ModelInferRequest(inputs=[{"name": "n" * 5000, "datatype": "d" * 5000}]))
    assert len(text) < 500
    assert "n" * 100 + "...'" in text


# ---- answers -------------------------------------------------------------------------------------------------------


def signature_of(word: str, dims: tuple[int, ...], name: str = "identity", outputs: int = 1) -> Signature:
    return Signature(name, "3", [("x", "FP32", (-1, 16))], [(f"y{i}", word, (-1, *dims)) for i in range(outputs)], 8)


class Asked(Call):
    """A call that keeps what it is answered."""

    answer: bytes | None = None
    error: RequestError | None = None

    def reply(self, answer: Any) -> None:
        self.response = bytes(answer)

    def fail(self, error: RequestError) -> None:
        self.error = error


def run(signature: Signature, sent: list[Any], outputs: Tensors) -> list[Asked]:
    """Decodes and checks the requests, runs them as one batch that gives `outputs`, and returns their calls."""
    rows = sum(decode_and_check(each, signature).rows for each in sent)
    batcher = Batcher(rows, Statistics(rows), name="identity")
    calls = []
    for each in sent:
        call = Asked("/inference.GRPCInferenceService/ModelInfer", Message(b""))
        batcher.put(decode_and_check(each, signature), call)
        calls.append(call)
    batch = batcher.poll()
    assert batch is not None
    assert batch.rows == rows
    batch.encode(outputs)
    batch.deliver()
    return calls


def decode_and_check(sent: Any, signature: Signature) -> InferRequest:
    request = decode_infer_request(sent.SerializeToString())
    request.check(signature)
    return request


def parsed(call: Asked) -> Any:
    assert call.error is None
    assert call.response is not None
    return pb.ModelInferResponse.FromString(call.response)


def rows_of(count: int, **changes: Any) -> Any:
    request = pb.ModelInferRequest(**{"model_name": "identity", **changes})
    request.inputs.add(name="x", datatype="FP32", shape=[count, 16])
    request.raw_input_contents.append(bytes(64 * count))
    return request


def array_of(word: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """An array of known, various elements."""
    count = int(np.prod(shape))
    if word == "BYTES":
        elements = np.empty(count, dtype=object)
        elements[:] = [("é" * (i % 4)) if i % 2 else b"\x00\xff" * (i % 3) for i in range(count)]
        return elements.reshape(shape)
    if word == "BOOL":
        return np.arange(count).reshape(shape) % 3 == 0
    dtype = DATATYPES[word][2]
    return np.arange(count * dtype.itemsize, dtype="u1").view(dtype).reshape(shape)


def raw_of(array: np.ndarray[Any, Any]) -> bytes:
    if array.dtype != object:
        return array.tobytes()
    encoded = [each.encode() if isinstance(each, str) else each for each in array.reshape(-1)]
    return b"".join(struct.pack("<I", len(each)) + each for each in encoded)


@pytest.mark.parametrize("word", sorted(DATATYPES))
@pytest.mark.parametrize("dims", [(), (16,), (2, 3), (0, 4), (300, 1)])
def test_each_request_gets_its_own_rows(word: str, dims: tuple[int, ...]) -> None:
    counts, ids = [1, 3, 1, 1, 2, 3, 1], ["a", "", "", "bcd", "e", "f", "g"]  # some begin like an earlier response
    array = array_of(word, (sum(counts), *dims))
    outputs = Tensors([array], [word], True, rows=sum(counts))
    sent = [rows_of(count, id=name) for count, name in zip(counts, ids, strict=True)]
    sent[-1].outputs.add(name="y0")
    for name in ("identity", "another"):  # the same arrays for two models
        first = 0
        for call, count, sent_id in zip(run(signature_of(word, dims, name), sent, outputs), counts, ids, strict=True):
            response = parsed(call)
            assert (response.model_name, response.model_version, response.id) == (name, "3", sent_id)
            assert [(each.name, each.datatype, tuple(each.shape)) for each in response.outputs] == [("y0", word, (count, *dims))]
            assert list(response.raw_output_contents) == [raw_of(array[first : first + count])]
            assert response.SerializeToString() == call.response
            first += count


@pytest.mark.parametrize("word", ["FP32", "BYTES", "BF16"])
def test_without_a_batch_axis_the_whole_output_is_the_answer(word: str) -> None:
    for shape in ((), (3,), (2, 5)):
        signature = Signature("m", "1", [("x", "FP32", (1, 16))], [("y", word, shape)], 0)
        array = array_of(word, shape)
        response = parsed(run(signature, [simple()], Tensors([array], [word], False))[0])
        assert tuple(response.outputs[0].shape) == shape
        assert list(response.raw_output_contents) == [raw_of(array)]


def test_bfloat16_arrays_of_ml_dtypes() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is optional")
    array = np.arange(4, dtype="f4").astype(ml_dtypes.bfloat16).reshape(1, 4)
    response = parsed(run(signature_of("BF16", (4,)), [simple()], Tensors([array], ["BF16"], True))[0])
    assert response.raw_output_contents[0] == array.tobytes()


def test_buffers_of_more_rows_than_the_batch() -> None:
    array = array_of("FP32", (8, 16))
    calls = run(signature_of("FP32", (16,)), [rows_of(2), rows_of(1)], Tensors([array], ["FP32"], True))
    assert [parsed(call).raw_output_contents[0] for call in calls] == [array[:2].tobytes(), array[2:3].tobytes()]


def test_large_outputs() -> None:
    array = np.random.default_rng(1).random((3, 100_000), dtype="f4")
    calls = run(signature_of("FP32", (100_000,)), [rows_of(1), rows_of(2)], Tensors([array], ["FP32"], True))
    assert [parsed(call).raw_output_contents[0] for call in calls] == [array[:1].tobytes(), array[1:].tobytes()]
    assert tuple(parsed(calls[1]).outputs[0].shape) == (2, 100_000)


@given(st.lists(st.integers(0, 5), max_size=9))
def test_the_outputs_asked_for_once_each_in_their_order(asked: list[int]) -> None:
    signature = signature_of("FP32", (2,), outputs=6)
    arrays = [array_of("FP32", (1, 2)) + i for i in range(6)]
    request = simple(outputs=[{"name": f"y{i}"} for i in asked])
    response = parsed(run(signature, [request], Tensors(arrays, ["FP32"] * 6, True))[0])
    expected = list(dict.fromkeys(asked)) or list(range(6))
    assert [each.name for each in response.outputs] == [f"y{i}" for i in expected]
    assert list(response.raw_output_contents) == [arrays[i].tobytes() for i in expected]


def test_an_unknown_output_is_rejected_with_the_known_ones() -> None:
    request = decode_infer_request(simple(outputs=[{"name": "y0"}, {"name": "z"}]).SerializeToString())
    with pytest.raises(InvalidArgument) as caught:
        request.check(signature_of("FP32", (2,), outputs=2))
    assert str(caught.value) == "model 'identity': output 'z' is not an output of this model; it gives 'y0', 'y1'"


@pytest.mark.parametrize(
    "outputs",
    [
        Tensors([], [], True),
        Tensors([np.zeros((1, 2), "f8")], ["FP64"], True),
        Tensors([np.zeros((1, 2), "f4")] * 2, ["FP32"] * 2, True),
        Tensors([np.zeros((0, 2), "f4")], ["FP32"], True),
    ],
)
def test_outputs_that_are_not_the_signatures_are_a_fault_of_ours(outputs: Tensors) -> None:
    request = decode_and_check(simple(), signature_of("FP32", (2,)))
    with pytest.raises(Internal):
        request.encode(outputs, 0)
    right = Tensors([np.zeros((1, 2), "f4")], ["FP32"], True)
    for first_row in (1, -1, 0, 1, -1):  # after a response has been encoded, too
        if first_row == 0:
            request.encode(right, 0)
            continue
        with pytest.raises(Internal):
            request.encode(right, first_row)


def test_a_request_that_was_never_checked_has_no_answer() -> None:
    with pytest.raises(Internal):
        decode_infer_request(simple().SerializeToString()).encode(Tensors([np.zeros((1, 2), "f4")], ["FP32"], True), 0)


def test_elements_that_are_no_text_are_a_fault_of_the_backend() -> None:
    array = np.array([[None]], dtype=object)
    request = decode_and_check(simple(), signature_of("BYTES", (1,)))
    with pytest.raises(TypeError, match="str or bytes, not NoneType"):
        request.encode(Tensors([array], ["BYTES"], True), 0)


# ---- memory --------------------------------------------------------------------------------------------------------


def resident_nbytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE_NBYTES


def test_nothing_grows_over_many_requests() -> None:
    signature = signature_of("FP32", (16,))
    bytes_signature = signature_of("BYTES", (2,))
    outputs = Tensors([np.zeros((1, 16), "f4")], ["FP32"], True)
    texts_out = Tensors([array_of("BYTES", (1, 2))], ["BYTES"], True)
    plain = simple(outputs=[{"name": "y0"}] * 6).SerializeToString()
    typed = pb.ModelInferRequest(model_name="t", inputs=[{"name": "x", "datatype": "FP32", "shape": [1, 16]}])
    typed.inputs[0].contents.fp32_contents.extend(range(16))
    many = pb.ModelInferRequest(inputs=[{"name": str(i), "datatype": "INT8"} for i in range(9)], raw_input_contents=[b"a"] * 9)
    wrong = simple(model_name="m")
    wrong.inputs[0].shape[1] = 17
    sent = [plain, typed.SerializeToString()]
    bad = [many.SerializeToString(), wrong.SerializeToString(), plain[:-1], b"\x0a\x01\xff"]

    def many_requests(count: int) -> None:
        for i in range(count):
            request = decode_infer_request(sent[i % 2])
            request.check(signature)
            request.encode(outputs, 0)
            if i % 8 == 0:
                request.check(bytes_signature)
                request.encode(texts_out, 0)
                with pytest.raises(InvalidArgument):
                    decode_infer_request(bad[i // 8 % 4]).check(signature)

    many_requests(20_000)
    gc.collect()
    before, live, held = resident_nbytes(), message.live(), message.in_use()
    many_requests(100_000)
    gc.collect()
    assert (message.live(), message.in_use()) == (live, held)
    assert resident_nbytes() - before < 2 << 20


def test_references_are_given_back() -> None:
    signature = signature_of("FP32", (16,))
    content = Message(simple().SerializeToString())
    counts = sys.getrefcount(content), sys.getrefcount(signature)
    requests_made = [decode_infer_request(content) for _ in range(10)]
    for request in requests_made:
        request.check(signature)
    assert sys.getrefcount(content) == counts[0] + 10
    assert sys.getrefcount(signature) == counts[1] + 10
    del requests_made, request
    assert (sys.getrefcount(content), sys.getrefcount(signature)) == counts


def test_a_request_fits_pythons_fast_allocator() -> None:
    """Eight bytes more cost each request some 40 ns."""
    assert InferRequest.__basicsize__ <= 512
