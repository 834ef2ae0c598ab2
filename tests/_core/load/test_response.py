"""What a ModelInferResponse must be to count as a response, held against protobuf and a plain reading of what protobuf gives."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from native_access import fault_of

from inferd.protocol import inference
from tests._core.codec.test_infer import DATATYPES, FIELDS, OddWriter, fill_parameters, names, parameter_maps, texts

MODELS, OUTPUTS = (b"m", b"inner"), (b"y", b"other")


def texts_packed(*elements: bytes) -> bytes:
    """Raw BYTES."""
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def output(datatype: str, *shape: int, raw: bytes | None = None, **contents: Any) -> inference.ModelInferResponse:
    made = inference.ModelInferResponse(model_name="m")
    tensor = made.outputs.add(name="y", datatype=datatype)
    tensor.shape.extend(shape)
    for name, values in contents.items():
        tensor.contents.SetInParent()
        getattr(tensor.contents, name).extend(values)
    if raw is not None:
        made.raw_output_contents.append(raw)
    return made


def named(model: str, *outputs: str) -> inference.ModelInferResponse:
    made = inference.ModelInferResponse(model_name=model)
    for name in outputs:
        made.outputs.add(name=name, datatype="FP32").shape.extend([1])
        made.raw_output_contents.append(bytes(4))
    return made


@pytest.mark.parametrize(
    ("made", "fault"),
    [
        (output("FP32", 2, 3, raw=bytes(24)), None),
        (output("FP32", 2, fp32_contents=[1, 2]), None),
        (output("INT8", 2, int_contents=[1, -2]), None),
        (output("BYTES", 2, bytes_contents=[b"a", b"bc"]), None),
        (output("BYTES", 2, raw=texts_packed(b"a", b"")), None),
        (output("BYTES", raw=texts_packed(b"\xff")), None),
        (output("BYTES", 0, raw=b""), None),
        (output("FP32", 0, 5), None),
        (output("FP32", 1, raw=bytes(4), fp32_contents=[]), None),
        (output("BF16", raw=b"\0\0"), None),
        (output("FP32", 2), "no contents"),
        (output("FP32", 2, fp32_contents=[1]), "more or fewer elements"),
        (output("FP32", 2, int_contents=[1, 2]), "more or fewer elements"),
        (output("FP16", 2, int_contents=[1, 2]), "more or fewer elements"),
        (output("BYTES", 2, bytes_contents=[b"a"]), "more or fewer elements"),
        (output("BYTES", 2, raw=texts_packed(b"a")), "more or fewer elements"),
        (output("BYTES", 2, raw=texts_packed(b"a", b"b", b"c")), "more or fewer elements"),
        (output("BYTES", 0, raw=texts_packed(b"")), "more or fewer elements"),
        (output("BYTES", 5, raw=b"\xff\xff\xff\xff"), "end inside an element"),
        (output("BYTES", 1, raw=b"\2\0\0\0a"), "end inside an element"),
        (output("BYTES", 2, raw=texts_packed(b"a") + b"\0\0\0"), "end inside an element"),
        (output("FP32", 2, raw=bytes(7)), "not as many bytes"),
        (output("FP32", -2, raw=bytes(8)), "no shape"),
        (output("FP32", 1 << 40, 1 << 40, raw=bytes(8)), "no shape"),
        (output("FP99", 2, raw=bytes(8)), "no datatype"),
        (inference.ModelInferResponse(model_name="m"), "no output"),
        (inference.ModelInferResponse(outputs=[{"datatype": "FP32"}], raw_output_contents=[bytes(4)]), "no name"),
        (inference.ModelInferResponse(outputs=[{"name": "y", "datatype": "FP32"}], raw_output_contents=[bytes(4)] * 2), "raw contents"),
        (named("m", "y", "other"), None),
        (named("inner", "other"), None),
        (named("", "y"), None),
        (named("n", "y"), "another model"),
        (named("mm", "y"), "another model"),
        (named("m", "y", "z"), "none that the model has"),
        (named("m", "yy"), "none that the model has"),
    ],
)
def test_what_a_response_must_be(made: inference.ModelInferResponse, fault: str | None) -> None:
    told = fault_of(made.SerializeToString(), MODELS, OUTPUTS)
    assert told is None if fault is None else fault in (told or "")


def test_a_server_that_does_not_say_what_its_model_has_is_believed() -> None:
    assert fault_of(named("any", "thing").SerializeToString()) is None
    assert fault_of(named("any", "y").SerializeToString(), (), OUTPUTS) is None
    assert fault_of(named("m", "thing").SerializeToString(), MODELS) is None


def test_a_response_of_a_version_that_was_not_asked_for_is_none() -> None:
    made = named("m", "y")
    assert fault_of(made.SerializeToString(), MODELS, OUTPUTS, [b"3"]) is None, "not every server says it"
    made.model_version = "3"
    assert fault_of(made.SerializeToString(), MODELS, OUTPUTS, [b"3"]) is None
    assert fault_of(made.SerializeToString(), MODELS, OUTPUTS) is None
    assert fault_of(made.SerializeToString(), MODELS, OUTPUTS, [b"4"]) == "the response is another version's"


# ---- against protobuf ----------------------------------------------------------------------------------------------------


def is_response(content: bytes, models: tuple[bytes, ...], outputs: tuple[bytes, ...]) -> bool:
    """The same, plainly."""
    try:
        response = inference.ModelInferResponse.FromString(content)
    except DecodeError:
        return False
    raws = list(response.raw_output_contents)
    if models and response.model_name and response.model_name.encode() not in models:
        return False
    if not response.outputs or (raws and len(raws) != len(response.outputs)):
        return False
    return all(
        (not outputs or tensor.name.encode() in outputs) and is_output(tensor, raws[i] if raws else None)
        for i, tensor in enumerate(response.outputs)
    )


def is_output(tensor: Any, raw: bytes | None) -> bool:
    if not tensor.name or tensor.datatype not in DATATYPES:
        return False
    itemsize = 0 if tensor.datatype == "BYTES" else DATATYPES[tensor.datatype][2].itemsize
    elements = 1
    for size in tensor.shape:
        elements *= size
        if size < 0 or elements >= 1 << 63:
            return False
    if elements * itemsize >= 1 << 63:
        return False
    held = {field.name: len(values) for field, values in tensor.contents.ListFields()}
    if held and held.get(FIELDS.get(tensor.datatype, ""), 0) != elements:
        return False
    if raw is None:
        return bool(held) or not elements
    return elements == count_texts(raw) if tensor.datatype == "BYTES" else elements * itemsize == len(raw)


def count_texts(raw: bytes) -> int:
    """Elements of raw BYTES; -1: they are cut."""
    count = at = 0
    while at < len(raw):
        if at + 4 > len(raw):
            return -1
        at += 4 + int.from_bytes(raw[at : at + 4], "little")
        if at > len(raw):
            return -1
        count += 1
    return count


def check_against_protobuf(content: bytes, models: tuple[bytes, ...] = (), outputs: tuple[bytes, ...] = ()) -> bool:
    """Both find it a response, or both do not. True: it is one."""
    fault = fault_of(content, models, outputs)
    assert (fault is None) == is_response(content, models, outputs), fault
    return fault is None


few = st.integers(0, 3)
broken = st.sampled_from([False] * 9 + [True])


@st.composite
def raw_contents(draw: st.DrawFn, word: str, elements: int) -> bytes:
    """Mostly as many as the shape says."""
    if word == "BYTES":
        raw = texts_packed(*(draw(st.binary(max_size=6)) for _ in range(elements)))
    else:
        raw = bytes(elements * DATATYPES[word][2].itemsize)
    if draw(broken):
        return raw[draw(few) :] + draw(st.binary(max_size=5))
    return raw


@st.composite
def responses(draw: st.DrawFn) -> Any:
    """Well-formed protobuf, of which a good part are responses."""
    response = inference.ModelInferResponse(
        model_name=draw(st.sampled_from(["m", "inner", "", "n"])), model_version=draw(texts), id=draw(texts)
    )
    raw = draw(st.booleans())
    for _ in range(draw(st.integers(0, 4))):
        word = draw(st.sampled_from(sorted(DATATYPES if raw else FIELDS)))
        shape = draw(st.lists(few, max_size=3))
        elements = 1
        for size in shape:
            elements *= size
        name = draw(names) if draw(broken) else draw(st.sampled_from(["y", "other"]))
        tensor = response.outputs.add(name=name, datatype="FP99" if draw(broken) else word, shape=shape)
        fill_parameters(tensor, draw(parameter_maps))
        if raw:
            response.raw_output_contents.append(draw(raw_contents(word, elements)))
        if not raw or draw(broken):
            values = [b"ab"] * elements if word == "BYTES" else [1] * elements
            if word in FIELDS:
                getattr(tensor.contents, FIELDS[word]).extend(values[draw(few) :] if draw(broken) else values)
    if draw(broken):
        response.raw_output_contents.append(b"")
    fill_parameters(response, draw(parameter_maps))
    return response


def oddly_written(response: Any, seed: int) -> bytes:
    """Fields out of order, in pieces, given twice, among unknown ones."""
    writer = OddWriter(random.Random(seed))
    fields = [writer.delimited(1, b"\xc3\xa9"), writer.delimited(1, response.model_name.encode())]
    fields += [writer.delimited(2, response.model_version.encode()), writer.delimited(3, response.id.encode())]
    fields += writer.parameters(4, response.parameters)
    fields += [writer.delimited(5, writer.input(tensor)) for tensor in response.outputs]
    fields += [writer.delimited(6, raw) for raw in response.raw_output_contents]
    return writer.join(fields)


@given(responses(), st.booleans())
@settings(max_examples=150)
def test_what_protobuf_reads_is_judged_alike(response: Any, expects: bool) -> None:
    check_against_protobuf(response.SerializeToString(), *(MODELS, OUTPUTS) if expects else ())


@given(responses(), st.integers(0, 2**32))
@settings(max_examples=150)
def test_an_odd_encoding_is_judged_as_a_plain_one(response: Any, seed: int) -> None:
    content = oddly_written(response, seed)
    assert check_against_protobuf(content, MODELS, OUTPUTS) == check_against_protobuf(response.SerializeToString(), MODELS, OUTPUTS)


def samples() -> list[bytes]:
    """Answers that between them hold every field."""
    rich = named("m", "y")
    rich.model_version, rich.id = "12", "grüße"
    rich.parameters["note"].string_param = "grüße"
    rich.outputs.add(name="other", datatype="BYTES", parameters={"binary_data_size": {"int64_param": 12}}).shape.extend([2])
    rich.raw_output_contents.append(texts_packed(b"ab", b"cd"))
    typed = inference.ModelInferResponse(model_name="m")
    for word, field in FIELDS.items():
        tensor = typed.outputs.add(name="y", datatype=word, shape=[2])
        getattr(tensor.contents, field).extend([b"ab", b""] if word == "BYTES" else [1, 0])
    return [rich.SerializeToString(), typed.SerializeToString(), oddly_written(rich, 7), oddly_written(typed, 7)]


@pytest.mark.parametrize("content", samples())
def test_cut_at_every_byte(content: bytes) -> None:
    found = [check_against_protobuf(content[:cut], MODELS, OUTPUTS) for cut in range(len(content) + 1)]
    assert found[-1]
    assert not all(found)


@pytest.mark.parametrize("content", samples())
def test_every_byte_changed(content: bytes) -> None:
    for place in range(len(content)):
        for value in {0x00, 0x01, 0x7F, 0x80, 0xFF, content[place] ^ 0x01, content[place] ^ 0x08, (content[place] + 8) & 0xFF}:
            check_against_protobuf(content[:place] + bytes([value]) + content[place + 1 :], MODELS, OUTPUTS)


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_any_bytes_are_read_safely_and_judged_alike(content: bytes) -> None:
    check_against_protobuf(content)
