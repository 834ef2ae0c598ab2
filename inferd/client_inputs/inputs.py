"""From what stands on the command line to named arrays: .npy, .npz, JSON, literals and random numbers.

An array of another datatype than the model's is converted where no value changes, or with --cast. Each batch axis or size that is added
for the user is returned as a notice: nothing is guessed silently.
"""

from __future__ import annotations

import json
import math
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from inferd.client_inputs.arrays import MAX_BYTES, read_arrays
from inferd.client_inputs.files import read_stream, read_whole
from inferd.engine.conversion import Keep, converted
from inferd.errors import ConfigError
from inferd.tensors import DTYPES, Array, encoded, is_fraction, numbers_as, objects

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_JSON_BYTES = 256 << 20


class Spec(NamedTuple):
    """One input or output of a model: its datatype's word, and its shape with the batch axis (-1: any size)."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.datatype} [{', '.join('?' if size < 0 else str(size) for size in self.shape)}]"


def check_datatypes(specs: Sequence[Spec]) -> None:
    """ConfigError for an input whose datatype is none of the protocol's, whatever a server says: no value can be made for it."""
    for spec in specs:
        if spec.datatype not in DTYPES:
            raise ConfigError(
                f"the input '{spec.name}' is {spec}: expected one of the datatypes {', '.join(DTYPES)}, got {spec.datatype!r}"
            )


class Literal(NamedTuple):
    """Numbers, truth values or texts from JSON, which have no datatype yet."""

    value: object
    shape: tuple[int, ...] | None = None


def from_arguments(arguments: Sequence[str], specs: Sequence[Spec]) -> dict[str, Array | Literal]:
    """--input [NAME=]FILE.npy or [NAME=]JSON; the name may be left out when the model has one input."""
    found: dict[str, Array | Literal] = {}
    for name, source in [_named(argument, specs) for argument in arguments]:  # all names before any file
        if name in found:
            raise ConfigError(f"--input: '{name}' is given twice")
        if source.lstrip()[:1] in tuple('[-0123456789"tf') and not os.path.exists(source):
            found[name] = _literal(name, source)
        else:
            found[name] = _npy(source, sum(value.nbytes for value in found.values() if not isinstance(value, Literal)))
    return found


def _named(argument: str, specs: Sequence[Spec]) -> tuple[str, str]:
    """The input that an argument of --input is for, and its source. Without specs any name is taken."""
    head, equals, rest = argument.partition("=")
    # JSON has a "=" in texts only. It may be longer than a path can be, for which pathlib raises.
    looks_named = equals and head.lstrip()[:1] not in tuple('["') and not os.path.isfile(argument)
    if (equals and head in {spec.name for spec in specs}) or (looks_named and not specs):
        return head, rest
    if looks_named:
        raise ConfigError(f"--input {argument:.200}: {_no_input(head, specs)}")
    if len(specs) == 1:
        return specs[0].name, argument
    raise ConfigError(f"--input {argument:.200}: expected NAME=FILE.npy, for the model has these inputs: {listed(specs)}")


def _literal(name: str, text: str) -> Literal:
    try:
        return Literal(json.loads(text, parse_float=_number))
    except RecursionError:
        raise ConfigError(f"--input {name}: its lists are nested too deep") from None
    except ValueError as error:
        raise ConfigError(f"--input {name}: expected a .npy file that exists, or JSON such as [1, 2]: {error}") from None


def _number(text: str) -> float:
    """A number of JSON that is not written as a whole one. ValueError for one that FP64 cannot hold, which Python reads as infinity."""
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text:.40} is more than FP64 can hold")
    return number


def _npy(source: str, held_bytes: int) -> Array:
    found = read_arrays(source, "--input", held_bytes)
    if isinstance(found, dict):
        raise ConfigError(f"--input {source}: expected one array (.npy), got an archive; use --npz")
    return found


def from_npz(source: str, option: str = "--npz") -> dict[str, Array]:
    """Arrays by name from a .npz file."""
    found = read_arrays(source, option)
    if not isinstance(found, dict):
        cure = "; use --input" if option == "--npz" else ""
        raise ConfigError(f"{option} {source}: expected an archive of named arrays, got one array{cure}")
    return found


def from_json(source: str, option: str = "--json") -> dict[str, Array | Literal]:
    """{"name": nested lists} or {"inputs": [{"name":, "shape":, "data":}]} as Open Inference Protocol REST has it; "-" is stdin."""
    try:
        limit = (f"{option} {source}", MAX_JSON_BYTES, "give arrays as .npy or .npz")
        content = read_stream(sys.stdin.buffer, *limit) if source == "-" else read_whole(source, *limit)
        document = json.loads(content.decode(), parse_float=_number)
    except OSError as error:
        raise ConfigError(f"{option} {source}: cannot be read: {error.strerror}") from None
    except RecursionError:
        raise ConfigError(f"{option} {source}: its lists are nested too deep") from None
    except ValueError as error:
        raise ConfigError(f"{option} {source}: expected JSON: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{option} {source}: expected an object, name -> values, got {type(document).__name__}")
    tensors = document.get("inputs")
    if not (isinstance(tensors, list) and tensors and all(isinstance(tensor, dict) and "name" in tensor for tensor in tensors)):
        return {name: Literal(value) for name, value in document.items()}
    found: dict[str, Array | Literal] = {}
    for tensor in tensors:
        name, shape = str(tensor["name"]), tensor.get("shape")
        if "data" not in tensor:
            raise ConfigError(f"{option} {source}: expected 'data' in the input '{name}', got only {', '.join(map(repr, tensor))}")
        if shape is not None and not (isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)):
            raise ConfigError(f"{option} {source}: expected a list of sizes as 'shape' of the input '{name}', got {shape!r}")
        found[name] = Literal(tensor["data"], None if shape is None else tuple(shape))
    return found


def parse_shapes(arguments: Sequence[str], specs: Sequence[Spec]) -> dict[str, tuple[int, ...]]:
    """--shape NAME:1,16, by the name. specs: the inputs that are random. Raises ConfigError for another name, and where it does not fit."""
    known = {spec.name: spec for spec in specs}
    shapes: dict[str, tuple[int, ...]] = {}
    for argument in arguments:
        name, colon, sizes = argument.rpartition(":")
        parts = [part.strip() for part in sizes.split(",")] if sizes.strip() else []
        if not colon or not name or not all(part.isascii() and part.isdecimal() for part in parts):
            raise ConfigError(f"--shape {argument}: expected NAME:SIZE,SIZE such as image:1,3,224,224")
        if name not in known:
            there = f"these are: {listed(specs)}" if specs else "all are given"
            raise ConfigError(f"--shape {argument:.200}: no input of that name is random; {there}")
        if name in shapes:
            raise ConfigError(f"--shape {argument:.200}: '{name}' has a shape already; leave one of the two out")
        shapes[name] = tuple(map(int, parts))
        own = known[name].shape
        if len(own) != len(parts) or any(size not in (-1, given) for size, given in zip(own, shapes[name], strict=True)):
            raise ConfigError(f"--shape {argument:.200}: the input '{name}' is {known[name]}")
    return shapes


def random_inputs(
    specs: Sequence[Spec], shapes: Mapping[str, Sequence[int]], seed: int = 0
) -> tuple[dict[str, Array | Literal], list[str]]:
    """Random values for every spec, the same for the same seed; sizes that the model leaves open are 1 unless `shapes` says."""
    check_datatypes(specs)
    generator = np.random.default_rng(seed)
    arrays: dict[str, Array | Literal] = {}
    notices = []
    for spec in specs:
        shape = tuple(shapes.get(spec.name, (max(size, 1) if size < 0 else size for size in spec.shape)))
        if any(size < 0 for size in spec.shape[1:]) and spec.name not in shapes:
            notices.append(f"{spec.name}: random values of shape {list(shape)}; --shape {spec.name}:... chooses another")
        arrays[spec.name] = _random(generator, spec.datatype, shape)
    return arrays, notices


def _random(generator: np.random.Generator, datatype: str, shape: tuple[int, ...]) -> Array:
    if datatype == "BYTES":
        words = generator.integers(0, 1 << 32, size=shape)
        return objects((f"{word:08x}".encode() for word in words.flat), shape)
    if is_fraction(datatype):
        return numbers_as(datatype, generator.random(shape))
    return numbers_as(datatype, generator.integers(0, 2 if datatype == "BOOL" else 10, shape))


def suit(given: Mapping[str, Array | Literal], specs: Sequence[Spec], *, cast: bool = False) -> tuple[dict[str, Array], list[str]]:
    """The given values as arrays of the model's datatypes, with the batch axis where it was left out; and a notice of each change."""
    known = {spec.name: spec for spec in specs}
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ConfigError(_no_input(unknown[0], specs))
    missing = [spec for spec in specs if spec.name not in given]
    if missing:
        raise ConfigError(f"the input '{missing[0].name}' ({missing[0]}) is missing; give --input {missing[0].name}=FILE.npy or --random")
    check_datatypes(specs)
    arrays: dict[str, Array] = {}
    notices: list[str] = []
    for name, value in given.items():
        spec = known[name]
        array = _of_literal(spec, value) if isinstance(value, Literal) else _of_array(spec, value, cast)
        if array.ndim == len(spec.shape) - 1 and spec.shape[0] < 0:
            notices.append(f"{name}: the batch axis is added: {list(array.shape)} -> {[1, *array.shape]}")
            array = array[np.newaxis]
        arrays[name] = array
    return arrays, notices


def _of_literal(spec: Spec, literal: Literal) -> Array:
    """JSON values in the model's datatype; rejected where a value would change."""

    def reject(expected: str) -> ConfigError:
        return ConfigError(f"the input '{spec.name}' is {spec}: expected {expected}")

    try:
        array = np.asarray(literal.value)
    except ValueError:
        raise reject("nested lists of equal lengths") from None
    kind, dtype = array.dtype.kind, DTYPES[spec.datatype]
    if literal.shape is not None:
        if math.prod(literal.shape) != array.size:
            raise reject(f"{math.prod(literal.shape)} values for the shape {list(literal.shape)}, got {array.size}")
        array = array.reshape(literal.shape)
    if array.size == 0:
        return array.astype(dtype)
    if spec.datatype == "BYTES":
        if kind != "U" or not all(isinstance(text, str) for text in _flat(literal.value)):
            raise reject("texts")
        return encoded(array)
    if spec.datatype == "BOOL":
        if kind != "b":
            raise reject("true and false")
        return array
    if is_fraction(spec.datatype):
        if kind not in "iuf":
            raise reject("numbers")
        made = _floats(array, spec.datatype)
        if np.any(_is_finite(made, spec.datatype) != np.isfinite(array)):
            raise reject(f"numbers that {spec.datatype} can hold, got {array.min():g} to {array.max():g}")
        return made
    if kind not in "iu":
        raise reject("whole numbers")
    limits = np.iinfo(dtype)
    if array.min() < limits.min or array.max() > limits.max:
        raise reject(f"whole numbers from {limits.min} to {limits.max}, got {array.min()} to {array.max()}")
    return array.astype(dtype)


def _flat(value: object) -> list[object]:
    return [leaf for part in value for leaf in _flat(part)] if isinstance(value, list) else [value]


def _of_array(spec: Spec, array: Array, cast: bool) -> Array:
    dtype = DTYPES[spec.datatype]
    if spec.datatype == "BYTES" and array.dtype.kind in "USV":
        return _unpadded(spec, array) if array.dtype.kind == "V" else encoded(array)
    if array.dtype.newbyteorder("=") == dtype:
        return array.astype(dtype, copy=False)
    where = f"the input '{spec.name}' is {spec}"
    if array.size * dtype.itemsize > MAX_BYTES:
        raise ConfigError(f"{where}: cast to it, the array would take more than {MAX_BYTES >> 20} MiB")
    if spec.datatype == "BF16":
        if not cast or array.dtype.kind not in "biuf":
            raise ConfigError(f"{where}: expected its bits as uint16, got {array.dtype}; --cast converts numbers")
        return _floats(array, "BF16")
    try:
        return converted(array, spec.datatype, dtype, Keep.RANGE if cast else Keep.VALUE, "give --cast")
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def _floats(array: Array, datatype: str) -> Array:
    """Numbers as a floating datatype; what is too large becomes infinite."""
    with np.errstate(over="ignore"):
        return numbers_as(datatype, array)


def _is_finite(array: Array, datatype: str) -> Array:
    return np.not_equal(array & 0x7F80, 0x7F80) if datatype == "BF16" else np.isfinite(array)


def _unpadded(spec: Spec, array: Array) -> Array:
    """Elements behind their lengths, as record/npz.py pads texts that end with NUL."""
    elements = [element.tobytes() for element in array.reshape(-1)]
    lengths = [int.from_bytes(element[:4], "little") for element in elements]
    if array.dtype.itemsize < 4 or any(4 + length > array.dtype.itemsize for length in lengths):
        raise ConfigError(
            f"the input '{spec.name}' is {spec}: expected texts, or elements each behind its length of 4 bytes, got {array.dtype}"
        )
    return objects((element[4 : 4 + length] for element, length in zip(elements, lengths, strict=True)), array.shape)


def _no_input(name: str, specs: Sequence[Spec]) -> str:
    return f"the model has no input '{name:.200}'; it has: {listed(specs)}"


def listed(specs: Sequence[Spec]) -> str:
    """Inputs and what each takes, as messages name them."""
    return ", ".join(f"{spec.name} ({spec})" for spec in specs)
