"""Our descriptors equal tritonclient's, and both packages work in one process, whichever is imported first.

tritonclient's descriptors are read in a subprocess: this process keeps its default pool clean of package `inference`.
"""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorSet

from inferd.protocol._pool import FILES

if TYPE_CHECKING:
    from collections.abc import Iterator

PRINT_TRITON = """
import sys
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from tritonclient.grpc import model_config_pb2, service_pb2
files = FileDescriptorSet()
for module in (service_pb2, model_config_pb2):
    files.file.add().ParseFromString(module.DESCRIPTOR.serialized_pb)
sys.stdout.buffer.write(files.SerializeToString())
"""

# In each order the second import must succeed, and both must still read what the other wrote.
USE_BOTH = """
import numpy as np
from {first} import __name__ as _
from {second} import __name__ as _
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2
from inferd.protocol import inference
import inferd_client
from inferd_client import messages

value = triton.InferInput("x", [1, 2], "FP32")
value.set_data_from_numpy(np.array([[1, 2]], np.float32))
theirs = service_pb2.ModelInferRequest(model_name="m", raw_input_contents=[value._get_content()])
theirs.inputs.append(value._get_tensor())
ours = inference.ModelInferRequest.FromString(theirs.SerializeToString())
assert ours.inputs[0].name == "x" and list(ours.inputs[0].shape) == [1, 2], ours
assert messages.ModelInferRequest.FromString(ours.SerializeToString()).raw_input_contents == ours.raw_input_contents
assert service_pb2.ModelInferRequest.FromString(ours.SerializeToString()) == theirs
assert type(ours) is not type(theirs)
"""


def run(program: str) -> bytes:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60).stdout


def enums(prefix: str, declared: EnumDescriptorProto) -> dict[str, Any]:
    return {f"{prefix}.{declared.name}": {value.name: value.number for value in declared.value}}


def messages(prefix: str, message: DescriptorProto) -> Iterator[tuple[str, Any]]:
    """Full name -> all that the wire and generated code know of it, for a message and what is nested in it."""
    name = f"{prefix}.{message.name}"
    yield (
        name,
        {
            "map entry": message.options.map_entry,
            "oneofs": [oneof.name for oneof in message.oneof_decl],
            "fields": {
                field.number: (
                    field.name,
                    field.type,
                    field.type_name,
                    field.label,
                    message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None,
                    field.proto3_optional,
                )
                for field in message.field
            },
        },
    )
    for nested in message.nested_type:
        yield from messages(name, nested)
    for declared in message.enum_type:
        yield from enums(name, declared).items()


def contract(files: FileDescriptorSet) -> dict[str, Any]:
    """Full name -> description, of every message, enum and service method."""
    found: dict[str, Any] = {}
    for file in files.file:
        for message in file.message_type:
            found.update(messages(file.package, message))
        for declared in file.enum_type:
            found.update(enums(file.package, declared))
        for service in file.service:
            for method in service.method:
                found[f"{file.package}.{service.name}.{method.name}"] = (
                    method.input_type,
                    method.output_type,
                    method.client_streaming,
                    method.server_streaming,
                )
    return found


@pytest.fixture
def triton() -> dict[str, Any]:
    return contract(FileDescriptorSet.FromString(run(PRINT_TRITON)))


@pytest.fixture
def ours() -> dict[str, Any]:
    files = FileDescriptorSet()
    for file in FILES.values():
        if file.package == "inference":
            files.file.add().ParseFromString(file.serialized_pb)
    return contract(files)


def test_every_message_enum_and_method_is_tritons_but_three_fields(triton: dict[str, Any], ours: dict[str, Any]) -> None:
    assert len(triton) > 120  # the comparison compares something
    del ours["inference.ModelMetadataResponse.PropertiesEntry"]
    assert ours["inference.ModelMetadataResponse"]["fields"].pop(6)[0] == "properties"  # KServe's
    assert ours["inference.ModelMetadataRequest"]["fields"].pop(1000)[0] == "properties"  # asks for them
    assert set(ours) == set(triton)
    added = ours["inference.ModelConfig"]["fields"].pop(1000)
    assert added[0] == "inferd"
    assert ours == triton


@pytest.mark.parametrize(
    ("first", "second"),
    [("inferd.protocol", "tritonclient.grpc"), ("tritonclient.grpc", "inferd.protocol"), ("tritonclient.grpc", "inferd_client")],
)
def test_both_packages_in_one_process(first: str, second: str) -> None:
    run(USE_BOTH.format(first=first, second=second))
