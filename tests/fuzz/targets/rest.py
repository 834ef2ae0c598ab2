"""The inference body of REST: what decode_rest_request takes equals what Python's json and numpy read, and what one rejects the other does.

Input: the length of the JSON in 4 bytes, of which values beyond the body mean that all of it is JSON; the body.
"""

from __future__ import annotations

import json
import random
import struct

import numpy as np

from inferd._core.tensor.datatypes import DATATYPES
from inferd.errors import InvalidArgument
from tests._core.rest.plain_json import Plain, plain_decode
from tests._core.rest.test_decode import IN_JSON, binary, decode, input_of, plain

MODULES = ("rest.decode", "http.head", "tensor.datatypes")
HEAD_NBYTES = 4
KEYS = (
    "inputs",
    "outputs",
    "parameters",
    "name",
    "shape",
    "datatype",
    "data",
    "id",
    "binary_data_size",
    "binary_data",
    "binary_data_output",
)
OTHERS = ("classification", "shared_memory_region", "priority", "timeout", "provenance", "triton_")
VALUES = (
    b"true", b"false", b"null", b"NaN", b"Infinity", b"-0", b"1e400", b"3.4028235e38", b"18446744073709551616", b"-9223372036854775808",
    b"\\ud800", b"\\u0000", b"[[", b"]]", b"[]", b"{}",
)  # fmt: skip
DICTIONARY = (*(f'"{word}"'.encode() for word in (*KEYS, *OTHERS, *DATATYPES)), *VALUES)
ALPHABET = b'[]{},:"\\ \n0123456789.eE+-tfnN\xff\xc3'


def check(data: bytes) -> None:
    json_nbytes, body = int.from_bytes(data[:HEAD_NBYTES], "little"), data[HEAD_NBYTES:]
    json_nbytes = json_nbytes if json_nbytes <= len(body) + 1 else -1
    try:
        expected: Plain | None = plain_decode(body, json_nbytes)
    except ValueError:
        expected = None
    except RecursionError:
        return
    try:
        got = plain(decode(body, json_nbytes))
    except InvalidArgument:
        got = None
    assert got == expected


def framed(body: bytes, json_nbytes: int = 0xFFFFFFFF) -> bytes:
    return struct.pack("<I", json_nbytes) + body


def seeds() -> list[bytes]:
    found = []
    for word in IN_JSON:
        dtype = DATATYPES[word][2]
        data = ["é\n", ""] if word == "BYTES" else [True, False] if word == "BOOL" else np.array([1, 0.5], dtype).tolist()
        found.append(framed(json.dumps({"id": "ü", "inputs": [input_of(word, [1, 2], [data])], "outputs": [{"name": "y"}]}).encode()))
    text = binary(
        3, 2, parameters={"binary_data_output": True, "timeout": 5}, outputs=[{"name": "y", "parameters": {"binary_data": False}}]
    )
    found.append(framed(text + b"abcde", len(text)))
    mixed = json.dumps({"inputs": [input_of(), {**input_of("FP16"), "parameters": {"binary_data_size": 4}}]})
    mixed = mixed.replace('"data": [1, 2], "parameters"', '"parameters"')
    return [*found, framed(mixed.encode() + b"abcd", len(mixed)), framed(b"[" * 40 + b"]" * 40)]


def mutate(data: bytes, seed: int) -> bytes:
    """A change of the text that leaves its lengths right, most of the time."""
    source = random.Random(seed)
    json_nbytes, body = int.from_bytes(data[:HEAD_NBYTES], "little"), bytearray(data[HEAD_NBYTES:])
    end = min(json_nbytes, len(body))
    for _ in range(source.randint(1, 4)):
        place = source.randint(0, end)
        taken = source.choice((0, 0, 1, 1, 3))
        put = source.choice(DICTIONARY) if source.random() < 0.5 else bytes([source.choice(ALPHABET)])
        taken = min(taken, end - place)
        body[place : place + taken] = put
        end += len(put) - taken
    return framed(bytes(body), end if json_nbytes <= len(data) - HEAD_NBYTES else json_nbytes)
