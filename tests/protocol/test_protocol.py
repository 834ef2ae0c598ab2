"""The message classes: made from a private pool, on first use, and complete; and what reflection asks of it."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from google.protobuf import descriptor_pool, json_format, text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto

import inferd.protocol
from inferd.protocol import SERVICES, file_descriptor_for_file, file_descriptor_for_symbol, health, inference, options, rpc

MODULES = ["health", "inference", "onnx", "options", "reflection_v1", "reflection_v1alpha", "rpc"]


@pytest.mark.parametrize("name", MODULES)
def test_every_name_that_a_module_lists_is_there_and_kept(name: str) -> None:
    module = importlib.import_module(f"inferd.protocol.{name}")
    for listed in dir(module):
        assert getattr(module, listed) is getattr(module, listed)


@pytest.mark.parametrize("name", MODULES)
def test_a_name_that_is_not_there_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=rf"'inferd\.protocol\.{name}' has no attribute 'Nothing'"):
        importlib.import_module(f"inferd.protocol.{name}").Nothing  # noqa: B018


def test_the_package_holds_these_modules_and_no_other() -> None:
    assert {module.name for module in pkgutil.iter_modules(inferd.protocol.__path__)} == {*MODULES, "_pool"}


def test_messages_survive_every_form() -> None:
    config = inference.ModelConfig(
        name="digits",
        max_batch_size=32,
        input=[inference.ModelInput(name="image", data_type=inference.TYPE_FP32, dims=[8, 8])],
        instance_group=[inference.ModelInstanceGroup(kind=inference.ModelInstanceGroup.KIND_CPU, count=2)],
        inferd=options.ModelOptions(inline=options.ModelOptions.OFF, max_queue_bytes=2**40),
    )
    config.dynamic_batching.priority_queue_policy[2].max_queue_size = 5
    assert inference.ModelConfig.FromString(config.SerializeToString()) == config
    assert text_format.Parse(text_format.MessageToString(config), inference.ModelConfig()) == config
    assert json_format.Parse(json_format.MessageToJson(config), inference.ModelConfig()) == config
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"


def test_health_speaks_grpcs_numbers() -> None:
    """tritonclient does not carry this one; the bytes are those of grpc/health/v1."""
    serving = health.HealthCheckResponse.SERVING
    assert health.HealthCheckResponse.ServingStatus.items() == [("UNKNOWN", 0), ("SERVING", 1), ("NOT_SERVING", 2), ("SERVICE_UNKNOWN", 3)]
    assert health.HealthCheckResponse(status=serving).SerializeToString() == b"\x08\x01"
    assert health.HealthCheckRequest(service="m").SerializeToString() == b"\x0a\x01m"


def test_config_pbtxt_is_read_with_our_own_part() -> None:
    config = text_format.Parse(
        """
        backend: "onnxruntime"
        max_batch_size: 8
        input { name: "x" data_type: TYPE_BF16 dims: [ -1, 16 ] }
        version_policy { specific { versions: [ 1, 3 ] } }
        inferd { inline: ON intra_op_threads: 2 }
        """,
        inference.ModelConfig(),
    )
    assert list(config.version_policy.specific.versions) == [1, 3]
    assert config.inferd.inline == options.ModelOptions.ON
    assert inference.DataType.Name(config.input[0].data_type) == "TYPE_BF16"


def test_error_details_pack_and_unpack() -> None:
    status = rpc.Status(code=8, message="the queue is full")
    status.details.add(
        type_url="type.googleapis.com/google.rpc.RetryInfo",
        value=rpc.RetryInfo(retry_delay=rpc.Duration(nanos=250_000_000)).SerializeToString(),
    )
    detail = rpc.Status.FromString(status.SerializeToString()).details[0]
    assert rpc.RetryInfo.FromString(detail.value).retry_delay.nanos == 250_000_000


def test_nothing_is_registered_in_the_default_pool() -> None:
    program = (
        "from google.protobuf.descriptor_pool import Default\n"
        "from inferd.protocol import inference\n"
        "inference.ModelInferRequest(), inference.ModelConfig()\n"
        "try: Default().FindFileContainingSymbol('inference.ModelConfig')\n"
        "except KeyError: print('clean')"
    )
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60).stdout == b"clean\n"


def test_importing_inferd_does_not_import_protobuf() -> None:
    program = "import sys, inferd\nprint([name for name in sys.modules if name.startswith(('google', 'inferd.protocol'))])"
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60).stdout == b"[]\n"


@pytest.mark.parametrize(
    ("symbol", "file"),
    [
        ("inference.GRPCInferenceService", "inference/grpc_service.proto"),
        ("inference.GRPCInferenceService.ModelInfer", "inference/grpc_service.proto"),
        ("inference.ModelInferRequest.InferInputTensor", "inference/grpc_service.proto"),
        ("inference.ModelConfig", "inference/model_config.proto"),
        ("inference.ModelConfig.max_batch_size", "inference/model_config.proto"),
        ("inference.DataType", "inference/model_config.proto"),
        ("inference.TYPE_FP32", "inference/model_config.proto"),
        ("grpc.health.v1.Health", "grpc/health/v1/health.proto"),
        ("grpc.reflection.v1.ServerReflection.ServerReflectionInfo", "grpc/reflection/v1/reflection.proto"),
        ("inferd.v1.ModelOptions", "inferd/v1/model_options.proto"),
    ],
)
def test_a_symbol_leads_to_its_file_and_all_that_it_imports(symbol: str, file: str) -> None:
    answered = file_descriptor_for_symbol(symbol)
    assert FileDescriptorProto.FromString(answered[0]).name == file
    assert answered == file_descriptor_for_file(file)
    # What a reflection client does: it must be able to build a pool from the answer alone.
    pool = descriptor_pool.DescriptorPool()
    for serialized in reversed(answered):
        pool.AddSerializedFile(serialized)
    assert pool.FindFileByName(file).serialized_pb == answered[0]


@pytest.mark.parametrize("symbol", ["", ".", "inference", "inference.Nothing", "inference.GRPCInferenceService.Nothing", "a.b.c", "é"])
def test_an_unknown_symbol_is_a_key_error(symbol: str) -> None:
    with pytest.raises(KeyError) as raised:
        file_descriptor_for_symbol(symbol)
    assert raised.value.args == (symbol,)


def test_an_unknown_file_is_a_key_error() -> None:
    with pytest.raises(KeyError, match=r"nothing\.proto"):
        file_descriptor_for_file("nothing.proto")


def test_services_by_full_name() -> None:
    assert set(SERVICES) == {
        "inference.GRPCInferenceService",
        "grpc.health.v1.Health",
        "inferd.v1.Feedback",
        "inferd.v1.Monitor",
        "inferd.v1.ModelControl",
        "inferd.v1.Rollouts",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }
    assert len(SERVICES["inference.GRPCInferenceService"].methods) == 20


def test_protobuf_is_one_of_the_promised_versions() -> None:
    """proto/check_versions.sh runs this file on the oldest and the newest; elsewhere it guards the promise itself."""
    assert (5, 29) <= tuple(int(part) for part in version("protobuf").split(".")[:2]) < (8, 0)


def test_messages_within_messages_are_there_without_upb() -> None:
    """Some libraries set this variable for all processes that come after them."""
    code = (
        "from google.protobuf.internal import api_implementation as used\n"
        "from inferd.protocol import inference\n"
        "print(used.Type(), inference.ModelMetadataResponse.TensorMetadata(name='x', shape=[1]).shape[0],\n"
        "      inference.ModelInferRequest.InferInputTensor(name='y').name)"
    )
    environment = os.environ | {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.split() == ["python", "1", "y"]
