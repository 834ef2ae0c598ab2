"""The inference body of REST by Python's json and numpy: what the native reader must make of it, and what it must reject."""

from __future__ import annotations

import json
import math
import struct
from typing import Any, NamedTuple, NoReturn

import numpy as np

from inferd._core.tensor.datatypes import DATATYPES

KEYS = {"id", "parameters", "inputs", "outputs"}
TENSOR_KEYS = {"name", "parameters", "shape", "datatype", "data"}
FLAGS = ("binary_data_output", "provenance")
COUNTS = ("priority", "timeout")


class Plain(NamedTuple):
    id: str
    tensors: list[tuple[str, str, tuple[int, ...], bytes]]


class Pairs(dict[str, Any]):
    """An object, and the names that it has twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        names = [name for name, _ in pairs]
        self.twice = {name for name in names if names.count(name) > 1} if len(self) < len(names) else set()


def expect(condition: object, why: str) -> None:
    if not condition:
        raise ValueError(why)


def plain_decode(body: bytes, json_nbytes: int = -1) -> Plain:
    """Raises ValueError for what must be rejected, RecursionError where Python cannot tell."""
    expect(json_nbytes <= len(body), "the JSON is longer than the body")
    text = body if json_nbytes < 0 else body[:json_nbytes]
    document = json.loads(text.decode(), object_pairs_hook=Pairs, parse_constant=no_constant, parse_float=finite, parse_int=whole)
    json.dumps(document, ensure_ascii=False).encode()  # no half of a surrogate pair
    tail = [body[len(text) :]]
    check_object(document, KEYS)
    given = document.get("parameters")
    names = {name for name in given if name.startswith("triton_")} if isinstance(given, Pairs) else set()
    expect(names <= {"triton_enable_empty_final_response"}, "reserved")
    count = check_parameters(document, FLAGS, COUNTS)
    expect(isinstance(document.get("id", ""), str), "id")
    inputs, outputs = document.get("inputs"), document.get("outputs", [])
    expect(isinstance(inputs, list) and isinstance(outputs, list) and max(len(inputs), len(outputs)) <= 256, "tensors")
    tensors = []
    for tensor in inputs:
        check_object(tensor, TENSOR_KEYS)
        count += check_parameters(tensor)
        tensors.append(plain_input(tensor, tail, json_nbytes >= 0))
    expect(not tail[0], "bytes behind the last tensor")
    for output in outputs:
        check_object(output, {"name", "parameters"})
        expect(isinstance(output.get("name"), str), "name")
        count += check_parameters(output, ("binary_data",), ("classification",))
    expect(count <= 256, "parameters")
    return Plain(document.get("id", ""), tensors)


def no_constant(word: str) -> NoReturn:
    raise ValueError(word)


class MinusZero(float):
    pass


def finite(text: str) -> float:
    expect(math.isfinite(float(text)), text)
    return float(text)


def whole(text: str) -> int | MinusZero:
    finite(text)
    return MinusZero(text) if text == "-0" else int(text)


def check_object(found: Any, keys: set[str]) -> None:
    expect(isinstance(found, Pairs) and not found.twice & keys, "an object, each key once")
    without_null(found)


def without_null(found: Pairs) -> None:
    for name in [name for name, value in found.items() if value is None]:
        del found[name]


def check_parameters(owner: Pairs, flags: tuple[str, ...] = (), counts: tuple[str, ...] = ()) -> int:
    if "parameters" not in owner:
        return 0
    found = owner["parameters"]
    expect(isinstance(found, Pairs) and not found.twice, "parameters")
    count = len(found)
    without_null(found)
    expect(all(isinstance(value, str | int | float) for value in found.values()), "scalars")
    expect(all(isinstance(found.get(name, False), bool) for name in flags), "flags")
    expect(all(is_count(found.get(name, 0)) for name in counts), "counts")
    expect("shared_memory_region" not in found or (not counts) or flags == FLAGS, "shared memory")
    return count


def is_count(value: Any) -> bool:
    return type(value) in (int, MinusZero) and 0 <= value < 1 << 64


def plain_input(tensor: Any, tail: list[bytes], may_be_binary: bool) -> tuple[str, str, tuple[int, ...], bytes]:
    name, word, shape = tensor.get("name"), tensor.get("datatype"), tensor.get("shape")
    expect(isinstance(name, str) and isinstance(word, str) and word in DATATYPES and isinstance(shape, list), "name, datatype, shape")
    expect(len(shape) <= 8 and all(is_count(size) and size < 1 << 63 for size in shape), "shape")
    parameters = tensor.get("parameters", {})
    expect(isinstance(parameters, dict) and "shared_memory_region" not in parameters, "parameters")
    if "binary_data_size" in parameters:
        size = parameters["binary_data_size"]
        expect("data" not in tensor and may_be_binary and is_count(size) and size <= len(tail[0]), "binary data")
        raw, tail[0] = tail[0][: int(size)], tail[0][int(size) :]
    else:
        raw = packed(tensor.get("data"), word, math.prod(shape))
    return name, word, tuple(map(int, shape)), raw


def flat(data: list[Any], depth: int = 1) -> list[Any]:
    expect(depth <= 32, "depth")
    found: list[Any] = []
    for element in data:
        found += flat(element, depth + 1) if isinstance(element, list) else [element]
    return found


def packed(data: Any, word: str, count: int) -> bytes:
    """JSON elements as the raw bytes of a datatype."""
    expect(isinstance(data, list) and word not in ("FP16", "BF16"), word)
    elements = flat(data)
    expect(len(elements) == count, "count")
    dtype = DATATYPES[word][2]
    kinds = {"BYTES": (str,), "BOOL": (bool,), **dict.fromkeys(("FP32", "FP64"), (int, float, MinusZero))}.get(word, (int, MinusZero))
    expect(all(type(element) in kinds for element in elements), "kinds")
    if word == "BYTES":
        return b"".join(struct.pack("<I", len(text)) + text for text in (element.encode() for element in elements))
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        expect(all(limits.min <= element <= limits.max for element in elements), "range")
    with np.errstate(over="ignore"):
        array = (
            np.array([float(element) for element in elements], np.float64).astype(dtype) if dtype.kind == "f" else np.array(elements, dtype)
        )
    expect(dtype.kind != "f" or np.isfinite(array).all(), "range")
    return array.tobytes()
