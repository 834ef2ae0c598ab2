"""Arrays of a run -> responses by REST: Python's json reads the elements of each, or its JSON says how many raw bytes follow.

Input: as of the target `encode`; the highest bit of byte 2 asks for binary outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from inferd._core.tensor.datatypes import DATATYPES
from inferd._core.tensor.tensor import Tensors
from inferd.errors import InvalidArgument
from tests._core.codec.test_infer import raw_of
from tests._core.rest.test_request import parsed, respond, sent, signature_of
from tests.fuzz.targets.encode import DICTIONARY, HEAD_NBYTES, MAX_SIZE, WORDS, array_of
from tests.fuzz.targets.encode import seeds as encode_seeds

__all__ = ["DICTIONARY", "MODULES", "check", "seeds"]

MODULES = ("rest.request", "codec.outputs", "tensor.tensor")


def check(data: bytes) -> None:
    if len(data) < HEAD_NBYTES:
        return
    word, dims = WORDS[data[0] % len(WORDS)], (data[3] % MAX_SIZE, data[4] % MAX_SIZE)[: data[1] % 3]
    rows, binary = 1 + (data[2] & 3), data[2] >> 7 == 1
    array = array_of(word, (rows, *dims), data[HEAD_NBYTES:])
    request = sent(rows, parameters={"binary_data_output": binary}, id="\x1f\\")
    request.check(signature_of(word, dims))
    call = respond(request, Tensors([array], [word], True))
    if not binary and not fits_json(array, word):
        assert isinstance(call.error, InvalidArgument)
        return
    document, tail = parsed(call, request)
    [output] = document["outputs"]
    assert (document["id"], output["datatype"], tuple(output["shape"])) == ("\x1f\\", word, array.shape)
    assert tail == ([raw_of(array)] if binary else [])
    if not binary:
        assert same(output["data"], array, word)


def fits_json(array: Any, word: str) -> bool:
    if word == "BYTES":
        return all(isinstance(each, str) or each.decode(errors="ignore").encode() == each for each in array.reshape(-1))
    return word not in ("FP16", "BF16")


def same(data: list[Any], array: Any, word: str) -> bool:
    if word == "BYTES":
        return data == [each if isinstance(each, str) else each.decode() for each in array.reshape(-1)]
    if array.dtype.kind == "f":
        read = np.array(data, np.float64).astype(array.dtype)
        numbers = ~np.isnan(array)  # one NaN is as good as another
        return bool(np.isnan(read[~numbers.reshape(-1)]).all()) and read[numbers.reshape(-1)].tobytes() == array[numbers].tobytes()
    assert set(map(type, data)) <= {bool if word == "BOOL" else int}
    return data == array.reshape(-1).tolist()


def seeds() -> list[bytes]:
    found = encode_seeds()
    assert len(WORDS) == len(DATATYPES)
    return found + [seed[:2] + bytes([seed[2] | 0x80]) + seed[3:] for seed in found[::3]]
