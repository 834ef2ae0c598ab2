"""ModelInferRequest and ModelInferResponse bytes. Tensor bytes never pass through a protobuf object.

protobuf would copy every tensor three times on its way out. Serialized messages may be joined, so the small fields
are serialized by protobuf and the tensors' memory is joined behind them: one copy. Responses are cut the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import grpc
import numpy as np
from google.protobuf.message import DecodeError, Message

from inferd_client import messages, tensors
from inferd_client.conversion import Keep, converted
from inferd_client.errors import InferenceError
from inferd_client.raw import Rows
from inferd_client.tensors import Array

__all__ = [
    "RAW_INPUT_CONTENTS",
    "RAW_OUTPUT_CONTENTS",
    "Declared",
    "InferResult",
    "Parameter",
    "declared_inputs",
    "decode_infer_response",
    "differs",
    "encode_infer_request",
    "joined",
    "parameter_value",
    "set_parameter",
    "split",
    "version_text",
    "wants_metadata",
]

Parameter: TypeAlias = bool | int | float | str

RAW_INPUT_CONTENTS = 7  # the field number of tensors' bytes in ModelInferRequest,
RAW_OUTPUT_CONTENTS = 6  # and in ModelInferResponse
_INT64_MAX = 2**63 - 1
_MAX_VARINT_BITS = 70  # ten bytes; the work for a number of a megabyte would be quadratic

# Values that say nothing of their datatype: [1, 2] may be meant as INT64 or as FP32.
_PLAIN = (list, tuple, bool, int, float, str, bytes)


@dataclass(frozen=True)
class InferResult(Mapping[str, Array]):
    """The response to one inference: output name -> array. The arrays are the caller's own: writable, and aligned.

    model_version:  the version that ran.
    id:             the request's id; empty when it had none.
    parameters:     what the server said besides the tensors.
    """

    outputs: Mapping[str, Array]
    model_name: str = ""
    model_version: str = ""
    id: str = ""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Array:
        try:
            return self.outputs[name]
        except KeyError:
            raise KeyError(f"no output {name!r}; the response holds {', '.join(self.outputs) or 'none'}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)

    def __repr__(self) -> str:
        """Datatypes and shapes, without the values."""
        outputs = ", ".join(f"{name} {tensors.shown(array)}" for name, array in self.outputs.items())
        return f"<InferResult of {self.model_name!r} version {self.model_version}: {outputs}>"

    def ranked(self, name: str) -> list[list[tuple[str, float]]]:
        """The best k of a model that ranks, best first: for each row (label, score), the place of the class where it has no labels.

        Raises KeyError where the response holds no `name`_label and no `name`_index.
        """
        scores, labels = self[name], self[f"{name}_label" if f"{name}_label" in self else f"{name}_index"]
        best = scores.shape[-1]
        return [
            [(label.decode() if isinstance(label, bytes) else str(label), score) for label, score in zip(*row, strict=True)]
            for row in zip(labels.reshape(-1, best).tolist(), scores.reshape(-1, best).tolist(), strict=True)
        ]


class Declared(NamedTuple):
    """An input by the model's metadata."""

    datatype: str
    shape: tuple[int, ...]  # -1 is any size


def declared_inputs(metadata: messages.ModelMetadataResponse) -> dict[str, Declared]:
    return {tensor.name: Declared(tensor.datatype, tuple(tensor.shape)) for tensor in metadata.inputs}


def wants_metadata(inputs: Mapping[str, Any], datatypes: Mapping[str, str] | None) -> bool:
    """Whether only the model's metadata tells how to send some input: a plain Python value without a datatype, or Rows."""
    return any(isinstance(value, Rows) or (isinstance(value, _PLAIN) and name not in (datatypes or ())) for name, value in inputs.items())


def differs(inputs: Mapping[str, Any], datatypes: Mapping[str, str] | None, declared: Mapping[str, Declared]) -> bool:
    """Whether an array that was sent as it is has another datatype than the model's metadata names."""
    arrays = {name: np.asarray(value) for name, value in inputs.items() if name in declared and name not in (datatypes or ())}
    return any(tensors.datatype_of(array) != declared[name].datatype for name, array in arrays.items())


def version_text(version: str | int) -> str:
    """As messages have it. Raises TypeError."""
    if isinstance(version, str):
        return version
    if isinstance(version, bool) or not isinstance(version, int):
        raise TypeError(f"version: expected a number or a label, 3 or 'stable', got {type(version).__name__}")
    return str(version)


def encode_infer_request(
    model: str,
    inputs: Mapping[str, Any],
    *,
    version: str | int = "",
    outputs: Sequence[str] | None = None,
    datatypes: Mapping[str, str] | None = None,
    declared: Mapping[str, Declared] | None = None,
    parameters: Mapping[str, Parameter] | None = None,
    request_id: str | None = None,
    cast: bool = False,
) -> bytes:
    """A serialized ModelInferRequest. `declared`, from the model's metadata: the datatypes of inputs, the shapes of Rows.

    Raises TypeError and ValueError that begin with the input's or parameter's name.
    """
    head = messages.ModelInferRequest(model_name=model, model_version=version_text(version), id=request_id or "")
    raws: list[bytes | memoryview] = []
    for name, value in inputs.items():
        try:
            array, datatype = _array(value, (datatypes or {}).get(name), (declared or {}).get(name), cast)
            raw = tensors.encode(array, datatype)
        except (TypeError, ValueError, OverflowError) as error:
            raise (TypeError if isinstance(error, TypeError) else ValueError)(f"input {name!r}: {error}") from error
        head.inputs.add(name=name, datatype=datatype, shape=array.shape)
        raws.append(raw)
    for name in outputs or ():
        head.outputs.add(name=name)
    for name, parameter in (parameters or {}).items():
        set_parameter(head.parameters[name], name, parameter)
    return joined(head, RAW_INPUT_CONTENTS, raws)


def joined(head: Message, field: int, raws: Sequence[bytes | memoryview]) -> bytes:
    """A serialized message of a head and the bytes of tensors, which are in that field."""
    tag = bytes([field << 3 | 2])  # length-delimited
    parts: list[bytes | memoryview] = [head.SerializeToString()]
    for raw in raws:
        parts += (tag, _varint(len(raw)), raw)
    return b"".join(parts)


def _array(value: Any, datatype: str | None, declared: Declared | None, cast: bool) -> tuple[Array, str]:
    """The array to send, and as which datatype."""
    if isinstance(value, Rows) and declared is not None:
        value = value.fitted(declared.shape)
    plain = isinstance(value, _PLAIN)
    wanted = datatype or (declared.datatype if declared is not None else None)
    if plain and wanted is None:
        raise ValueError("the model's metadata names no such input, so its datatype is unknown; check the name, or pass an array")
    array = np.asarray(value)  # anything with __array__, such as a torch tensor on the CPU
    if wanted is None:
        return array, tensors.datatype_of(array)
    dtype = tensors.numbers(wanted)
    if dtype is not None and array.dtype.kind in "biuf":
        keep = Keep.RANGE if cast else Keep.NEAREST if plain else Keep.VALUE
        return converted(array, wanted, dtype, keep, "pass cast=True"), wanted
    return (tensors.array_of(value, wanted) if plain else array), wanted


def set_parameter(message: messages.InferParameter, name: str, value: Parameter) -> None:
    if isinstance(value, (bool, np.bool_)):
        message.bool_param = bool(value)
    elif isinstance(value, (int, np.integer)):
        # Triton reads a priority only from the unsigned field.
        if value > _INT64_MAX or (name == "priority" and value >= 0):
            message.uint64_param = int(value)
        else:
            message.int64_param = int(value)
    elif isinstance(value, (float, np.floating)):
        message.double_param = float(value)
    elif isinstance(value, str):
        message.string_param = value
    else:
        raise TypeError(f"parameter {name!r}: expected bool, int, float or str, got {type(value).__name__}")


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def decode_infer_response(message: bytes) -> InferResult:
    """An InferResult from a serialized ModelInferResponse, raw or typed contents.

    Raises InferenceError(INTERNAL) when the bytes are no such message, or an output is not what its datatype and shape say.
    """
    head, raw_contents = split(message, RAW_OUTPUT_CONTENTS)
    try:
        response = messages.ModelInferResponse.FromString(head)
        outputs = _outputs(response, [*raw_contents, *response.raw_output_contents])
    except (DecodeError, ValueError) as error:
        raise InferenceError(grpc.StatusCode.INTERNAL, f"the server's response cannot be read: {error}") from error
    return InferResult(
        outputs=outputs,
        model_name=response.model_name,
        model_version=response.model_version,
        id=response.id,
        parameters={name: parameter_value(value) for name, value in response.parameters.items()},
    )


def _outputs(response: messages.ModelInferResponse, raw_contents: Sequence[bytes | memoryview]) -> dict[str, Array]:
    if raw_contents and len(raw_contents) != len(response.outputs):
        raise ValueError(f"expected raw contents of {len(response.outputs)} outputs, got {len(raw_contents)}")
    outputs: dict[str, Array] = {}
    for index, output in enumerate(response.outputs):
        shape = tuple(output.shape)
        try:
            if raw_contents:
                outputs[output.name] = tensors.decode(raw_contents[index], output.datatype, shape)
            else:
                outputs[output.name] = _typed(output.contents, output.datatype, shape)
        except (ValueError, OverflowError) as error:  # OverflowError: a number that its datatype does not hold
            raise ValueError(f"output {output.name!r}: {error}") from error
    return outputs


def split(message: bytes, field: int) -> tuple[bytes, list[memoryview]]:
    """The message less the bytes of tensors, which are in that field, and a view of each of those.

    Only top-level fields are walked, up to the first one that is cut short, or not length-delimited, which no field is
    today. From there on all stays in the first part, for protobuf to read or to reject.
    """
    view = memoryview(message)
    kept: list[memoryview] = []
    raw: list[memoryview] = []
    at, end = 0, len(message)
    while at < end:
        begin = at
        tag, at = _read_varint(message, at)
        if tag & 7 != 2:
            kept.append(view[begin:])
            break
        length, at = _read_varint(message, at)
        if at + length > end:
            kept.append(view[begin:])
            break
        if tag >> 3 == field:
            raw.append(view[at : at + length])
        else:
            kept.append(view[begin : at + length])
        at += length
    return b"".join(kept), raw


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """The number and where it ends. That is behind the message's end if it is cut short or too long, so that protobuf rejects it."""
    value = shift = 0
    while at < len(message) and shift < _MAX_VARINT_BITS:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    return value, len(message) + 1


def _typed(contents: messages.InferTensorContents, datatype: str, shape: tuple[int, ...]) -> Array:
    """An output from typed contents, which some servers send."""
    found, elements = _contents_of(contents, datatype), tensors.elements_of(shape)
    if len(found) != elements:
        raise ValueError(f"expected {elements} elements for {datatype}{list(shape)}, got {len(found)}")
    if datatype == "BYTES":
        array = np.empty(elements, dtype=object)
        array[:] = list(found)
        return array.reshape(shape)
    return tensors.array_of(found, datatype).reshape(shape)


def _contents_of(contents: messages.InferTensorContents, datatype: str) -> Sequence[Any]:
    match datatype:
        case "BOOL":
            return contents.bool_contents
        case "INT8" | "INT16" | "INT32":
            return contents.int_contents
        case "INT64":
            return contents.int64_contents
        case "UINT8" | "UINT16" | "UINT32":
            return contents.uint_contents
        case "UINT64":
            return contents.uint64_contents
        case "FP32":
            return contents.fp32_contents
        case "FP64":
            return contents.fp64_contents
        case "BYTES":
            return contents.bytes_contents
        case _:
            raise ValueError(f"{datatype} can only travel as raw contents, and the response has none")


def parameter_value(message: messages.InferParameter) -> Parameter:
    choice = message.WhichOneof("parameter_choice")
    return getattr(message, choice) if choice else ""
