"""The v2 inference body between JSON, with Triton's binary extension, and protobuf messages: plain Python, clear before fast.

The stand-in's codec. Never in here: HTTP, models, which tensors a model takes.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from inferd._core.tensor.tensor import DATATYPES
from inferd.errors import InvalidArgument
from inferd.protocol import inference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["Wanted", "body_of", "read_nbytes", "request_of"]

MAX_TENSORS = 256  # inputs or outputs
MAX_AXES = 8
MAX_DEPTH = 32  # of arrays in `data`; no tensor has as many axes
MAX_SHOWN_CHARS = 64  # of a client's own words
INT64 = range(-(1 << 63), 1 << 63)
EMPTY_FINAL = "triton_enable_empty_final_response"  # the only reserved name that clients may send
PIECE_NBYTES = 1 << 20  # of a long text: a thread that counts in it lets others run between two
MARK_NBYTES = {b",": 64, b"[": 96, b"{": 160, b":": 96, b'"': 96}  # of Python objects that each stands for, and of their copies
RAW_ONLY = ("FP16", "BF16")  # JSON has no such numbers, and Triton takes none
BINARY_CURE = "send it in binary, with parameters.binary_data_size and the header Inference-Header-Content-Length"


class _MinusZero(float):
    """The number -0, which is a whole number, too. Go writes -0.0 so."""


_NUMBERS = {int, float, _MinusZero}
JSON_TYPES = {dict: "an object", list: "an array", str: "a string", bool: "true or false", **dict.fromkeys(_NUMBERS, "a number")}


class Wanted(NamedTuple):
    """How the client wants its outputs. binary: those that it does not name in `by_name`. nan_as_null: JSON has null for NaN and
    infinities."""

    binary: bool
    by_name: Mapping[str, bool]
    nan_as_null: bool = False

    def is_binary(self, output: str) -> bool:
        return self.by_name.get(output, self.binary)


def read_nbytes(body: bytes, json_nbytes: int) -> int:
    """The most memory that request_of takes for a moment to read the JSON of the same."""
    text = body if json_nbytes < 0 else body[:json_nbytes]
    width = 1 if text.isascii() and b"\\u" not in text else 4  # of a character in Python
    pieces = range(0, len(text), PIECE_NBYTES)
    return 2 * width * len(text) + sum(
        nbytes * text.count(mark, at, at + PIECE_NBYTES) for mark, nbytes in MARK_NBYTES.items() for at in pieces
    )


def request_of(body: bytes, json_nbytes: int, model: str, version: str) -> tuple[inference.ModelInferRequest, Wanted]:
    """The request that a body holds. json_nbytes: of Inference-Header-Content-Length; -1: all is JSON. Raises InvalidArgument."""
    try:
        return _request_of(body, json_nbytes, model, version)
    except UnicodeEncodeError:
        raise InvalidArgument("body: expected strings of whole characters, got half of a surrogate pair") from None


def _request_of(body: bytes, json_nbytes: int, model: str, version: str) -> tuple[inference.ModelInferRequest, Wanted]:
    if json_nbytes > len(body):
        raise InvalidArgument(
            f"Inference-Header-Content-Length: expected at most the {len(body)} bytes of the body, got {json_nbytes}; it is the length of "
            "the JSON before the binary tensors"
        )
    document = _parsed(body if json_nbytes < 0 else body[:json_nbytes])
    tail = _Tail(b"" if json_nbytes < 0 else body[json_nbytes:], is_there=json_nbytes >= 0)
    request = inference.ModelInferRequest(model_name=model, model_version=version)
    request.id = _member(document, "", "id", str, "")
    parameters = _member(document, "", "parameters", dict, {})
    binary = _member(parameters, "parameters.", "binary_data_output", bool, False)
    nan_as_null = _member(parameters, "parameters.", "nan_as_null", bool, False)
    _set_parameters(request.parameters, parameters, "parameters", ("binary_data_output", "nan_as_null"))
    if document.get("inputs") is None:
        raise InvalidArgument("inputs: expected an array, got nothing", reason="no_inputs")
    for index, tensor in enumerate(_tensors(document, "inputs", None)):
        _add_input(request, _object(tensor, f"inputs[{index}]"), f"inputs[{index}].", tail)
    tail.check_end()
    by_name: dict[str, bool] = {}
    for index, tensor in enumerate(_tensors(document, "outputs", [])):
        where = f"outputs[{index}]."
        asked = _object(tensor, where[:-1])
        output = request.outputs.add(name=_member(asked, where, "name", str, None))
        given = _member(asked, where, "parameters", dict, {})
        by_name[output.name] = _member(given, f"{where}parameters.", "binary_data", bool, binary)
        _set_parameters(output.parameters, given, f"{where}parameters", ("binary_data",))
    return request, Wanted(binary, by_name, nan_as_null)


def _tensors(document: dict[str, Any], name: str, default: list[Any] | None) -> list[Any]:
    found: list[Any] = _member(document, "", name, list, default)
    if len(found) > MAX_TENSORS:  # before they are read, which takes long
        raise InvalidArgument(f"{name}: expected at most {MAX_TENSORS} tensors, got {len(found)}")
    return found


def body_of(response: inference.ModelInferResponse, wanted: Wanted) -> tuple[bytes, int]:
    """The body of a response, and how many bytes of it are JSON; 0: all. Raises InvalidArgument where JSON cannot hold an output."""
    document: dict[str, Any] = {"model_name": response.model_name, "model_version": response.model_version}
    if response.id:
        document["id"] = response.id
    if response.parameters:
        document["parameters"] = _parameters(response.parameters)
    tensors, tail = [], []
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        fields: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
        parameters = _parameters(output.parameters)
        if wanted.is_binary(output.name):
            parameters["binary_data_size"] = len(raw)
            tail.append(raw)
        if parameters:
            fields["parameters"] = parameters
        text = json.dumps(fields, separators=(",", ":"))
        tensors.append(
            text if wanted.is_binary(output.name) else f'{text[:-1]},"data":[{",".join(_elements(output, raw, wanted.nan_as_null))}]}}'
        )
    head = f'{json.dumps(document, separators=(",", ":"))[:-1]},"outputs":[{",".join(tensors)}]}}'.encode()
    return head + b"".join(tail), len(head) if tail else 0


# ---- JSON ----


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        document = json.loads(text.decode(), object_pairs_hook=_without_twice, parse_constant=_no_constant, parse_int=_whole)
    except UnicodeDecodeError:
        raise InvalidArgument("body: expected JSON in UTF-8, got bytes that are none") from None
    except RecursionError:
        raise InvalidArgument("body: expected JSON of few levels, got arrays or objects within one another without an end") from None
    except json.JSONDecodeError as error:
        cure = "; binary tensors behind it need the header Inference-Header-Content-Length" if "Extra data" in error.msg else ""
        raise InvalidArgument(
            f"body: expected JSON, got something else at character {error.pos}: {error.msg}{cure}", reason="no_inputs"
        ) from None
    except ValueError:  # Python converts no integer of so many digits
        raise InvalidArgument("body: expected JSON, got a number of thousands of digits") from None
    return _object(document, "body")


def _whole(text: str) -> int | _MinusZero:
    return _MinusZero(text) if text == "-0" else int(text)


def _without_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise InvalidArgument(f"body: expected each name once in an object, got {twice[:MAX_SHOWN_CHARS]!r} twice")
    return found


def _no_constant(word: str) -> NoReturn:
    raise InvalidArgument(f"body: expected JSON, which has no {word}; {BINARY_CURE}", reason="no_inputs")


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(where, "an object", value)
    return value


def _member(found: dict[str, Any], where: str, name: str, kind: type, default: Any) -> Any:
    """default: None where there must be one. null is no value."""
    value = found.get(name)
    if value is None and default is not None:
        return default
    if type(value) is not kind:
        raise _wrong(where + name, JSON_TYPES[kind], value)
    return value


def _wrong(where: str, expected: str, got: object) -> InvalidArgument:
    return InvalidArgument(f"{where}: expected {expected}, got {JSON_TYPES.get(type(got), 'nothing')}")


# ---- requests ----


class _Tail:
    """The binary tensors behind the JSON, in the order of the inputs."""

    def __init__(self, content: bytes, *, is_there: bool) -> None:
        self._content, self._is_there = content, is_there
        self._taken = 0

    def take(self, nbytes: int, where: str) -> bytes:
        if not self._is_there:
            raise InvalidArgument(f"{where}: expected the header Inference-Header-Content-Length, too, got none; it is the JSON's length")
        left = len(self._content) - self._taken
        if not 0 <= nbytes <= left:
            raise InvalidArgument(f"{where}: expected at most the {left} bytes that are left behind the JSON, got {nbytes}")
        self._taken += nbytes
        return self._content[self._taken - nbytes : self._taken]

    def check_end(self) -> None:
        if left := len(self._content) - self._taken:
            raise InvalidArgument(f"body: expected binary_data_size of all inputs to cover what is behind the JSON, got {left} bytes more")


def _add_input(request: inference.ModelInferRequest, found: dict[str, Any], where: str, tail: _Tail) -> None:
    name, datatype = _member(found, where, "name", str, None), _member(found, where, "datatype", str, None)
    if datatype not in DATATYPES:
        raise InvalidArgument(f"{where}datatype: expected one of {', '.join(DATATYPES)}, got {datatype[:MAX_SHOWN_CHARS]!r}")
    shape = _member(found, where, "shape", list, None)
    if len(shape) > MAX_AXES:
        raise InvalidArgument(f"{where}shape: expected at most {MAX_AXES} axes, got {len(shape)}")
    if not all(type(size) is int and 0 <= size in INT64 for size in shape):
        raise InvalidArgument(f"{where}shape: expected an array of whole numbers from 0")
    parameters = _member(found, where, "parameters", dict, {})
    tensor = request.inputs.add(name=name, datatype=datatype, shape=shape)
    _set_parameters(tensor.parameters, parameters, f"{where}parameters", ("binary_data_size",))
    size_at = f"{where}parameters.binary_data_size"
    if parameters.get("binary_data_size") is not None:
        if found.get("data") is not None:
            raise InvalidArgument(f"{where}data: expected none beside parameters.binary_data_size; send one of the two")
        raw = tail.take(_member(parameters, f"{where}parameters.", "binary_data_size", int, None), size_at)
        nbytes = math.prod(shape) * DATATYPES[datatype][1]
        if datatype != "BYTES" and len(raw) != nbytes:
            raise InvalidArgument(f"{size_at}: expected {nbytes}, as {datatype} and the shape {shape} say, got {len(raw)}")
    elif "shared_memory_region" in parameters:
        raw = b""  # the server says that it has none
    else:
        raw = _encoded(_member(found, where, "data", list, None), datatype, math.prod(shape), f"{where}data")
    request.raw_input_contents.append(raw)


def _encoded(data: list[Any], datatype: str, count: int, where: str) -> bytes:
    """`data` as bytes of the datatype. count: the elements that the shape has."""
    if datatype in RAW_ONLY:
        raise InvalidArgument(f"{where}: expected no {datatype} in JSON; {BINARY_CURE}")
    elements = list(_flat(data, where, 1))
    if len(elements) != count:
        raise InvalidArgument(f"{where}: expected {count} elements, as the shape says, got {len(elements)}")
    kinds = set(map(type, elements))
    dtype = DATATYPES[datatype][2]
    if datatype == "BYTES":
        _check_kinds(kinds, {str}, "strings", where)
        return b"".join(len(text).to_bytes(4, "little") + text for text in (element.encode() for element in elements))
    if datatype == "BOOL":
        _check_kinds(kinds, {bool}, "true or false", where)
        return np.array(elements, dtype).tobytes()
    if dtype.kind in "iu":
        _check_kinds(kinds, {int, _MinusZero}, "whole numbers without a fraction", where)
        limits = np.iinfo(dtype)
        _check_range(elements, limits.min, limits.max, datatype, where)
        return np.array(elements, dtype).tobytes()
    _check_kinds(kinds, _NUMBERS, "numbers", where)
    largest = float(np.finfo(np.float64).max)
    _check_range(elements, -largest, largest, datatype, where)
    with np.errstate(over="ignore"):
        array = np.array(elements, np.float64).astype(dtype)
    for index in np.flatnonzero(np.isinf(array))[:1]:  # beyond its range once it is rounded
        raise _beyond(datatype, elements, int(index), where)
    return array.tobytes()


def _flat(data: list[Any], where: str, depth: int) -> Iterator[Any]:
    """Its elements in order, however they are nested, as Triton takes them."""
    if depth > MAX_DEPTH:
        raise InvalidArgument(f"{where}: expected at most {MAX_DEPTH} arrays within one another")
    for element in data:
        if isinstance(element, list):
            yield from _flat(element, where, depth + 1)
        else:
            yield element


def _check_kinds(found: set[type], expected: set[type], words: str, where: str) -> None:
    if others := found - expected:
        raise InvalidArgument(f"{where}: expected {words}, got {', '.join(sorted({JSON_TYPES.get(kind, 'null') for kind in others}))}")


def _check_range(elements: list[Any], least: float, most: float, datatype: str, where: str) -> None:
    for index, number in enumerate(elements):
        if not least <= number <= most:
            raise _beyond(datatype, elements, index, where)


def _beyond(datatype: str, elements: list[Any], index: int, where: str) -> InvalidArgument:
    return InvalidArgument(f"{where}: expected numbers that {datatype} can hold, got {str(elements[index])[:24]} as element {index}")


def _set_parameters(target: Any, found: dict[str, Any], where: str, ours: tuple[str, ...]) -> None:
    """target: a map of InferParameter. ours: what concerns the body alone, and no model."""
    for name, value in found.items():
        if name in ours or value is None:
            continue
        if where == "parameters" and name.startswith("triton_") and name != EMPTY_FINAL:
            raise InvalidArgument(f"{where}.{name[:MAX_SHOWN_CHARS]}: names that begin with 'triton_' are reserved; leave it out")
        if type(value) is bool:
            target[name].bool_param = value
        elif type(value) is int and value in INT64:
            target[name].int64_param = value
        elif type(value) is int and 0 <= value < 1 << 64:
            target[name].uint64_param = value
        elif isinstance(value, float) and math.isfinite(value):
            target[name].double_param = value
        elif type(value) is str:
            target[name].string_param = value
        else:
            raise _wrong(f"{where}.{name[:MAX_SHOWN_CHARS]}", "true, false, a number of 64 bits or a string", value)


# ---- responses ----


def _parameters(found: Any) -> dict[str, Any]:
    """found: a map of InferParameter."""
    return {name: getattr(value, value.WhichOneof("parameter_choice")) for name, value in found.items()}


def _elements(output: inference.ModelInferResponse.InferOutputTensor, raw: bytes, nan_as_null: bool) -> Iterator[str]:
    """An output's elements as JSON has them."""
    cure = f'ask for it in binary: "outputs": [{{"name": {json.dumps(output.name)}, "parameters": {{"binary_data": true}}}}]'
    if output.datatype == "BYTES":
        yield from (json.dumps(_text(element, output.name, cure), ensure_ascii=False) for element in _texts(raw))
        return
    if output.datatype in RAW_ONLY:
        raise InvalidArgument(f"output {output.name!r}: JSON has no {output.datatype}; {cure}")
    array = np.frombuffer(raw, DATATYPES[output.datatype][2])
    if array.dtype.kind == "b":
        yield from ("true" if element else "false" for element in array)
    elif array.dtype.kind == "f" and not np.isfinite(array).all():
        yield from (
            text if np.isfinite(element) else _not_finite(text, nan_as_null) for element, text in zip(array, map(str, array), strict=True)
        )
    else:
        yield from map(str, array)


def _not_finite(text: str, nan_as_null: bool) -> str:
    """JavaScript's words, as Triton and Python's json write them; or null, which strict readers take."""
    return "null" if nan_as_null else {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}[text]


def _texts(raw: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(raw):
        nbytes = int.from_bytes(raw[at : at + 4], "little")
        yield raw[at + 4 : at + 4 + nbytes]
        at += 4 + nbytes


def _text(element: bytes, name: str, cure: str) -> str:
    try:
        return element.decode()
    except UnicodeDecodeError:
        raise InvalidArgument(f"output {name!r}: it holds bytes that are no UTF-8, which JSON cannot carry; {cure}") from None
