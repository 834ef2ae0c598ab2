"""ModelInferRequest: what decode_infer_request takes equals what google.protobuf reads, and what one rejects the other does, too."""

from __future__ import annotations

import random

from google.protobuf.message import DecodeError

from inferd.errors import InvalidArgument
from inferd.protocol import inference
from tests._core.codec.test_infer import DATATYPES, FIELDS, OddWriter, decoded, plain_decode

MODULES = ("codec.infer", "tensor.datatypes")
WORDS = ("triton_", "priority", "timeout", "shared_memory_region", "classification")
DICTIONARY = tuple(word.encode() for word in (*DATATYPES, *WORDS))


def check(data: bytes) -> None:
    try:
        got = decoded(data)
    except InvalidArgument:
        got = None
    try:
        expected = plain_decode(data)
    except (DecodeError, ValueError):
        assert got is None, "taken, and it must be rejected"
        return
    assert got is not None, "rejected, and it must be taken"
    assert got == expected


def seeds() -> list[bytes]:
    found = [request(raw, word).SerializeToString() for raw in (True, False) for word in (DATATYPES if raw else FIELDS)]
    found += [oddly_written(request(True, "FP32"), seed) for seed in range(8)]
    return found + [changed.SerializeToString() for changed in (strayed(), crowded())]


def request(raw: bool, word: str) -> inference.ModelInferRequest:
    made = inference.ModelInferRequest(model_name="m", model_version="1", id="grüße")
    made.parameters["priority"].int64_param = 3
    made.parameters["note"].string_param = "x"
    made.parameters["share"].double_param = 0.5
    tensor = made.inputs.add(name="x", datatype=word, shape=[2])
    tensor.parameters["binary_data_size"].int64_param = 8
    made.outputs.add(name="y").parameters["flag"].bool_param = True
    if raw:
        made.raw_input_contents.append(bytes(8))
    else:
        getattr(tensor.contents, FIELDS[word]).extend([b"ab", b""] if word == "BYTES" else [1, 0])
    return made


def strayed() -> inference.ModelInferRequest:
    """Contents in two fields, one of which the datatype does not take."""
    made = request(False, "FP32")
    made.inputs[0].contents.int64_contents.extend([-1, 300, 1])
    return made


def crowded() -> inference.ModelInferRequest:
    """More elements than the shape has, of one byte and of ten, enough to be counted eight bytes at a time."""
    made = request(False, "INT64")
    made.inputs[0].contents.int64_contents.extend([*range(40), *[-1] * 8])
    return made


def oddly_written(made: inference.ModelInferRequest, seed: int) -> bytes:
    writer = OddWriter(random.Random(seed))
    fields = [writer.delimited(1, made.model_name.encode()), writer.delimited(3, made.id.encode())]
    fields += writer.parameters(4, made.parameters)
    fields += [writer.delimited(5, writer.input(tensor)) for tensor in made.inputs]
    fields += [writer.delimited(7, raw) for raw in made.raw_input_contents]
    return writer.join(fields)
