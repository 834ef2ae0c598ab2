"""Reads the graph of an ONNX file: its operators and the names of tensors between them. Weights are skipped.

A file is read, not mapped: reading a mapped file that somebody truncates ends the process. ONNX Runtime reports only a graph's inputs and
outputs, and the server does not need the onnx package. Never in here: what an operator does (checks/bounds.py).
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from inferd._core.tensor.datatypes import DATATYPES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Content = bytes | memoryview

MAX_FILE_BYTES = (1 << 31) - 1  # of a protobuf message

# Field numbers of onnx.proto.
_MODEL_GRAPH, _MODEL_FUNCTION = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_OUTPUT, _GRAPH_SPARSE_INITIALIZER = 1, 5, 12, 15
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN, _NODE_OVERLOAD = 1, 2, 4, 5, 7, 8
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_FUNCTION_NAME, _FUNCTION_INPUT, _FUNCTION_OUTPUT, _FUNCTION_NODE, _FUNCTION_DOMAIN, _FUNCTION_OVERLOAD = 1, 4, 5, 7, 10, 13
_TENSOR_NAME, _VALUE_NAME, _SPARSE_VALUES, _SPARSE_INDICES = 8, 1, 1, 2
_TENSOR_EXTERNAL = 13
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_LENGTH = 2  # the wire type of fields with a length
_OUTSIDE = b"\x70\x01"  # a tensor's field data_location: EXTERNAL
_LEAST_WEIGHTS = 64 << 10  # bytes; smaller initializers stay in the graph
_TENSOR_FLOATS, _TENSOR_INT32S, _TENSOR_STRINGS, _TENSOR_INT64S, _TENSOR_RAW, _TENSOR_DOUBLES, _TENSOR_UINT64S = 4, 5, 6, 7, 9, 10, 11

# An attribute's floats (7) and ints (8) are written one by one. A forest has a million of them; this skips them together.
_NUMBERS = re.compile(rb"(?:\x3d.{4}|\x40[\x80-\xff]*[\x00-\x7f])++", re.DOTALL)


class Node(NamedTuple):
    """One operator, or the call of a function. An input that is left out is ''. graphs: those of its attributes."""

    operator: str
    domain: str
    overload: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    graphs: tuple[Subgraph, ...]


class Subgraph(NamedTuple):
    """A graph, or one nested in an operator. constants: names of tensors whose values are in the file."""

    nodes: tuple[Node, ...]
    constants: frozenset[str]
    outputs: tuple[str, ...]


class Function(NamedTuple):
    """An operator that the file itself defines."""

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class OnnxFile(NamedTuple):
    """functions: by domain, name and overload."""

    graph: Subgraph
    functions: dict[tuple[str, str, str], Function]


def read_onnx(source: str | os.PathLike[str] | bytes) -> OnnxFile:
    """Reads a file, or the bytes of one. Raises ValueError, IndexError or RecursionError if it is not ONNX, OSError if it cannot be
    read."""
    return _model(_content(source))


def initial_values(source: str | os.PathLike[str] | bytes, words: Mapping[str, str]) -> dict[str, bytes]:
    """The values of initializers that are in the file itself, by name, as requests carry tensors. words: the datatype of each.

    Raises ValueError or IndexError if the file is not ONNX, OSError if it cannot be read.
    """
    return dict(_values(_content(source), words))


def external_files(source: str | os.PathLike[str] | bytes) -> set[str]:
    """The names of files that hold tensors of the graph, as written in it. Raises as `read_onnx` does."""
    content = _content(source)
    return set(_locations(content, 0, len(content), "model"))


def _content(source: str | os.PathLike[str] | bytes) -> Content:
    """A file's bytes are in an array, as numpy asks for large pages. Freeing 100 MB of small ones takes 7 ms with the GIL held."""
    if isinstance(source, bytes):
        return source
    if os.stat(source).st_size > MAX_FILE_BYTES:
        raise ValueError("an ONNX file has 2 GiB at most; larger weights lie in files of their own")
    return np.fromfile(source, np.uint8).data


# The fields of each message that may hold tensors, and the messages in them.
_TENSORS_IN = {
    "model": {_MODEL_GRAPH: "graph", _MODEL_FUNCTION: "function"},
    "graph": {_GRAPH_NODE: "node", _GRAPH_INITIALIZER: "tensor", _GRAPH_SPARSE_INITIALIZER: "sparse"},
    "function": {_FUNCTION_NODE: "node"},
    "node": {_NODE_ATTRIBUTE: "attribute"},
    "attribute": {_ATTRIBUTE_TENSOR: "tensor", _ATTRIBUTE_TENSORS: "tensor", _ATTRIBUTE_GRAPH: "graph", _ATTRIBUTE_GRAPHS: "graph"},
    "sparse": {_SPARSE_VALUES: "tensor", _SPARSE_INDICES: "tensor"},
    "tensor": {_TENSOR_EXTERNAL: "entry"},
}


def _locations(content: Content, start: int, end: int, kind: str) -> Iterator[str]:
    if kind == "entry":
        if "location" in _texts(content, start, end, _ENTRY_KEY):
            yield from _texts(content, start, end, _ENTRY_VALUE)
        return
    for field, first, last in _fields(content, start, end):
        if inner := _TENSORS_IN[kind].get(field):
            yield from _locations(content, first, last, inner)


def without_weights(content: Content, location: str) -> bytes | None:
    """The file without the bytes of its large initializers, which become external data in a file of that name, at their present
    offsets. None where initializers are in other files already. Raises ValueError or IndexError if it is not ONNX."""
    pieces, at = [], 0
    for field, start, end in _fields(content, 0, len(content)):
        if field == _MODEL_GRAPH:
            if (graph := _graph_without_weights(content, start, end, location)) is None:
                return None
            pieces += [content[at : start - _header(field, end - start)], _field(field, graph)]
            at = end
    return b"".join([*pieces, content[at:]])


def _graph_without_weights(content: Content, start: int, end: int, location: str) -> bytes | None:
    pieces, at = [], start
    for field, first, last in _fields(content, start, end):
        if field != _GRAPH_INITIALIZER:
            continue
        parts = list(_fields(content, first, last))
        if any(number == _TENSOR_EXTERNAL for number, _, _ in parts):
            return None
        raw = next(((low, high) for number, low, high in parts if number == _TENSOR_RAW and high - low >= _LEAST_WEIGHTS), None)
        if raw is not None:
            low, high = raw
            entries = {"location": location, "offset": str(low), "length": str(high - low)}
            outside = [_field(_TENSOR_EXTERNAL, _entry(key, value)) for key, value in entries.items()]
            before, behind = content[first : low - _header(_TENSOR_RAW, high - low)], content[high:last]
            pieces += [content[at : first - _header(field, last - first)], _field(field, b"".join([before, behind, *outside, _OUTSIDE]))]
            at = last
    return b"".join([*pieces, content[at:end]])


def _field(number: int, value: bytes) -> bytes:
    return _number(number << 3 | _LENGTH) + _number(len(value)) + value


def _entry(key: str, value: str) -> bytes:
    return _field(_ENTRY_KEY, key.encode()) + _field(_ENTRY_VALUE, value.encode())


def _header(number: int, nbytes: int) -> int:
    """The bytes in front of a field's value."""
    return len(_number(number << 3 | _LENGTH)) + len(_number(nbytes))


def _number(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))


def _values(content: Content, words: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    for field, start, end in _fields(content, 0, len(content)):
        for part, first, last in _fields(content, start, end) if field == _MODEL_GRAPH else ():
            if part == _GRAPH_INITIALIZER:
                name = "".join(_texts(content, first, last, _TENSOR_NAME))
                if name in words:
                    yield name, b"".join(_pieces(content, first, last, words[name]))


def _pieces(content: Content, start: int, end: int, word: str) -> Iterator[bytes]:
    """The values of a TensorProto in pieces: raw, or in the list for its datatype."""
    for field, first, last in _fields(content, start, end):
        if field == _TENSOR_STRINGS:
            yield (last - first).to_bytes(4, "little") + bytes(content[first:last])
        elif field in (_TENSOR_RAW, _TENSOR_FLOATS, _TENSOR_DOUBLES):
            yield bytes(content[first:last])
        elif field in (_TENSOR_INT32S, _TENSOR_INT64S, _TENSOR_UINT64S):
            size = DATATYPES[word][1]
            while first < last:
                value, first = _varint(content, first)
                yield (value & (1 << 8 * size) - 1).to_bytes(size, "little")


def _model(content: Content) -> OnnxFile:
    graphs: list[Subgraph] = []
    functions: dict[tuple[str, str, str], Function] = {}
    for field, start, end in _fields(content, 0, len(content)):
        if field == _MODEL_GRAPH:
            graphs.append(_graph(content, start, end))
        elif field == _MODEL_FUNCTION:
            key, function = _function(content, start, end)
            functions[key] = function
    if len(graphs) != 1:
        raise ValueError(f"expected one graph, got {len(graphs)}")
    return OnnxFile(graphs[0], functions)


def _graph(content: Content, start: int, end: int) -> Subgraph:
    nodes: list[Node] = []
    constants: set[str] = set()
    outputs: list[str] = []
    for field, first, last in _fields(content, start, end):
        if field == _GRAPH_NODE:
            nodes.append(_node(content, first, last))
        elif field == _GRAPH_INITIALIZER:
            constants.update(_texts(content, first, last, _TENSOR_NAME))
        elif field == _GRAPH_OUTPUT:
            outputs += _texts(content, first, last, _VALUE_NAME)
        elif field == _GRAPH_SPARSE_INITIALIZER:
            for part, at, over in _fields(content, first, last):
                if part == _SPARSE_VALUES:
                    constants.update(_texts(content, at, over, _TENSOR_NAME))
    return Subgraph(tuple(nodes), frozenset(constants), tuple(outputs))


def _node(content: Content, start: int, end: int) -> Node:
    found: dict[int, list[str]] = {}
    graphs: list[Subgraph] = []
    for field, first, last in _fields(content, start, end):
        if field == _NODE_ATTRIBUTE:
            parts = _fields(content, first, last)
            graphs += [_graph(content, at, over) for part, at, over in parts if part in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS)]
        elif field in (_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_DOMAIN, _NODE_OVERLOAD):
            found.setdefault(field, []).append(_text(content, first, last))
    operator, domain, overload = (found.get(field, [""])[-1] for field in (_NODE_OPERATOR, _NODE_DOMAIN, _NODE_OVERLOAD))
    inputs, outputs = (tuple(found.get(field, ())) for field in (_NODE_INPUT, _NODE_OUTPUT))
    return Node(operator, domain, overload, inputs, outputs, tuple(graphs))


def _function(content: Content, start: int, end: int) -> tuple[tuple[str, str, str], Function]:
    found: dict[int, list[str]] = {}
    nodes: list[Node] = []
    for field, first, last in _fields(content, start, end):
        if field == _FUNCTION_NODE:
            nodes.append(_node(content, first, last))
        elif field in (_FUNCTION_NAME, _FUNCTION_INPUT, _FUNCTION_OUTPUT, _FUNCTION_DOMAIN, _FUNCTION_OVERLOAD):
            found.setdefault(field, []).append(_text(content, first, last))
    domain, name, overload = (found.get(field, [""])[-1] for field in (_FUNCTION_DOMAIN, _FUNCTION_NAME, _FUNCTION_OVERLOAD))
    inputs, outputs = (tuple(found.get(field, ())) for field in (_FUNCTION_INPUT, _FUNCTION_OUTPUT))
    return (domain, name, overload), Function(tuple(nodes), inputs, outputs)


def _texts(content: Content, start: int, end: int, wanted: int) -> list[str]:
    return [_text(content, first, last) for field, first, last in _fields(content, start, end) if field == wanted]


def _text(content: Content, start: int, end: int) -> str:
    return str(content[start:end], "utf-8")  # raises ValueError for other bytes: two such names must not become one


def _fields(content: Content, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(number, start, end) of each field with a length: texts, messages, packed numbers. Other fields are skipped."""
    while at < end:
        if numbers := _NUMBERS.match(content, at, end):
            at = numbers.end()
            continue
        key, at = _varint(content, at)
        kind = key & 7
        if kind == 2:
            size, at = _varint(content, at)
            if size > end - at:
                raise ValueError("a field is longer than what it stands in")
            yield key >> 3, at, at + size
            at += size
        elif kind == 0:
            _, at = _varint(content, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind} is none of ONNX's")
    if at != end:
        raise ValueError("a field is longer than what it stands in")


def _varint(content: Content, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a number has too many bytes")
