"""A request that a tap kept, as arrays: inputs as the client sent them, outputs as the client got them, by any transport.

Never in here: files, Arrow, which requests are tapped.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from inferd._core.codec.infer import InferRequest
from inferd._core.rest.request import LateCall, RestRequest
from inferd.protocol import inference
from inferd.tensors import Array, array_of, bytes_of

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from inferd._core.batching.tap import Tapped

ARM = "rollout_arm"  # the parameter of a response that a rollout sets


class Tensor(NamedTuple):
    """data: raw bytes as the protocol has them; BYTES: each element behind its 4-byte little-endian length."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Buffer

    def array(self) -> Array:
        return array_of(self.datatype, self.shape, self.data)


class Decoded(NamedTuple):
    """One request and its response. BYTES are arrays of bytes objects. Arrays of inputs share the request's memory: don't keep them."""

    id: str
    model: str
    version: str
    arm: str
    inputs: dict[str, Array]
    outputs: dict[str, Array]  # empty: it got an error
    datatypes: dict[str, str]  # of the outputs


def decode(tapped: Tapped) -> Decoded:
    signature = tapped.request.signature
    assert signature is not None
    outputs, arm = outputs_of(tapped)
    return Decoded(
        getattr(tapped.request, "id", ""),
        signature.model_name.decode(),
        signature.model_version.decode(),
        arm,
        {tensor.name: tensor.array() for tensor in map(Tensor._make, tapped.request.sent())},
        {tensor.name: tensor.array() for tensor in outputs},
        {tensor.name: tensor.datatype for tensor in outputs},
    )


def outputs_of(tapped: Tapped) -> tuple[list[Tensor], str]:
    """The outputs of its response, and the arm of a rollout that it names; none where it got an error."""
    response, request = tapped.response, tapped.request
    if response is None:
        return [], ""
    if isinstance(response, LateCall):
        return [Tensor(*each) for each in response.tensors()], ""
    if isinstance(request, RestRequest):
        return _rest_outputs(tapped.response_bytes or b"", request.head.response_json_nbytes)
    if isinstance(request, InferRequest):
        message = inference.ModelInferResponse.FromString(bytes(tapped.response_bytes or b""))
        pairs = zip(message.outputs, message.raw_output_contents, strict=True)
        arm = message.parameters[ARM].string_param if ARM in message.parameters else ""
        return [Tensor(output.name, output.datatype, tuple(output.shape), raw) for output, raw in pairs], arm
    signature = request.signature
    words = {} if signature is None else {name: word for name, word, _ in signature.run_output_specs}
    return [Tensor(name, words[name], array.shape, bytes_of(words[name], array)) for name, array in response.items()], ""


def _rest_outputs(body: bytes | memoryview, json_nbytes: int) -> tuple[list[Tensor], str]:
    """Outputs of a REST response: JSON, and behind it the bytes of binary outputs."""
    document = json.loads(bytes(body[: json_nbytes or len(body)]))
    at = json_nbytes
    found = []
    for output in document["outputs"]:
        word, shape = output["datatype"], tuple(output["shape"])
        nbytes = output.get("parameters", {}).get("binary_data_size")
        if nbytes is None:
            data: Buffer = bytes_of(word, output["data"])
        else:
            data, at = body[at : at + nbytes], at + nbytes
        found.append(Tensor(output["name"], word, shape, data))
    return found, str(document.get("parameters", {}).get(ARM, ""))
