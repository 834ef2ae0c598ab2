"""Arrays of a run -> the responses of its requests: google.protobuf reads in each its own rows, of any datatype, shape and layout.

Input: 3 bytes for the datatype, the layout and the rows of each request, 2 for the shape behind the rows, and the elements' bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from inferd._core.tensor.datatypes import DATATYPES
from inferd._core.tensor.tensor import Tensors
from inferd.errors import RequestError
from tests._core.codec.test_infer import parsed, raw_of, rows_of, run, signature_of

MODULES = (
    "codec.infer",
    "codec.infer_response",
    "tensor.signature",
    "tensor.tensor",
    "batching.request",
    "batching.rows",
    "batching.batch",
    "batching.batcher",
    "grpc.message",
)
DICTIONARY = (b"\0\0\0\0", b"\xff" * 4, b"\x80", b"\xc3\xa9", b"\xed\xa0\x80")
HEAD_NBYTES = 5
WORDS = sorted(DATATYPES)
MAX_SIZE = 9
WRONG = ("rows", "elements", "datatype", "")  # what does not fit the signature, in one of four


def check(data: bytes) -> None:
    if len(data) < HEAD_NBYTES:
        return
    word, dims = WORDS[data[0] % len(WORDS)], (data[3] % MAX_SIZE, data[4] % MAX_SIZE)[: data[1] % 3]
    counts = [1 + (data[2] & 3), 1 + (data[2] >> 2 & 3)][: 1 + (data[2] >> 4 & 1)]
    wrong = WRONG[data[1] >> 2 & 3] if data[1] & 0x80 else ""
    rows = sum(counts) + (wrong == "rows")
    array = array_of(word, (rows, *dims), data[HEAD_NBYTES:])
    if data[1] & 0x40:
        array = np.asfortranarray(array)
    if wrong == "elements":
        array = array[..., :-1] if dims else array[:, None]
    signature = signature_of("FP32" if wrong == "datatype" else word, dims)
    try:
        outputs = Tensors([array], [word], True, rows=sum(counts))
    except ValueError:
        assert wrong or not array.flags.c_contiguous
        return
    calls = run(signature, [rows_of(count) for count in counts], outputs)
    first = 0
    for call, count in zip(calls, counts, strict=True):
        if call.error is not None:
            assert isinstance(call.error, RequestError)
            continue
        response = parsed(call)
        (output,), (raw,) = response.outputs, response.raw_output_contents
        assert (output.datatype, tuple(output.shape)) == (word, (count, *array.shape[1:]))
        assert raw == raw_of(np.ascontiguousarray(array[first : first + count]))
        first += count


def array_of(word: str, shape: tuple[int, ...], content: bytes) -> Any:
    """Of these bytes, again and again; texts end where there is a 0, and are str where they are UTF-8."""
    count = int(np.prod(shape))
    if word == "BYTES":
        pieces: list[Any] = content.split(b"\0")
        for place, piece in enumerate(pieces):
            if place % 2 and piece.isascii():
                pieces[place] = piece.decode()
        made = np.empty(count, dtype=object)
        made[:] = [pieces[place % len(pieces)] for place in range(count)]
        return made.reshape(shape)
    dtype = np.dtype(bool) if word == "BOOL" else DATATYPES[word][2]
    filled = np.resize(np.frombuffer(content or b"\0", np.uint8), count * dtype.itemsize)
    return (filled != 0).reshape(shape) if word == "BOOL" else filled.view(dtype).reshape(shape)


def seeds() -> list[bytes]:
    content = bytes(range(256)) + b"ab\0\xff\xfe\0\xc3\xa9"
    heads = [bytes((word, layout, rows, 3, 2)) for word in range(len(WORDS)) for layout, rows in ((1, 0), (0x42, 0x15), (0x82, 0x1F))]
    return [head + content for head in heads]
