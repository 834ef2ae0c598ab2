"""The cold RPCs as tritonclient sees them, on both transports, over models in every state."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from google.protobuf.message import DecodeError
from hypothesis import example, given
from hypothesis import strategies as st
from native_access import record_request, record_run
from tritonclient.utils import InferenceServerException

from inferd._core.metrics.histogram import Statistics
from inferd.errors import RequestError
from inferd.protocol import SERVICES, inference
from inferd.serving.parts.inspection.rpc import EXTENSIONS, SERVICE, Inspection
from tests import wire
from tests.fake_repository import FakeModel, FakeRepository, model_config
from tests.server_fixtures import ServerFixture
from tests.transport_fixtures import serving


class World:
    """A server over a fake repository, and a client."""

    def __init__(self) -> None:
        self.repository = FakeRepository(
            FakeModel("m", 1),
            FakeModel("m", 3),
            FakeModel("m", 10, state="UNAVAILABLE", reason="the graph has an output of type sequence"),
            FakeModel("plain", 1, config=model_config("plain", max_batch_size=0)),
            FakeModel("soon", 1, state="LOADING"),
        )
        self.ready = True
        self.inspection = Inspection(self.repository, "1.2.3", lambda: self.ready)  # type: ignore[arg-type]
        self.client: Any = None


@pytest.fixture(params=["native", "grpcio"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    world = World()
    async with serving(request.param, world.inspection.methods()) as address, triton.InferenceServerClient(address) as world.client:
        yield world


async def status_of(awaitable: Any) -> tuple[str, str]:
    with pytest.raises(InferenceServerException) as caught:
        await awaitable
    return caught.value.status(), caught.value.message()


def test_the_table_names_methods_that_the_protocol_has() -> None:
    declared = SERVICES[SERVICE].methods_by_name
    for name, method in World().inspection.methods().items():
        descriptor = declared[name.removeprefix(f"/{SERVICE}/")]
        assert method.kind == "unary"
        assert method.request_type.DESCRIPTOR is descriptor.input_type
        assert method.response_type.DESCRIPTOR is descriptor.output_type


async def test_server(world: World) -> None:
    assert await world.client.is_server_live()
    assert await world.client.is_server_ready()
    metadata = await world.client.get_server_metadata()
    assert (metadata.name, metadata.version, tuple(metadata.extensions)) == ("inferd", "1.2.3", EXTENSIONS)


async def test_a_server_that_drains_is_live_and_not_ready(world: World) -> None:
    world.ready = False
    assert await world.client.is_server_live()
    assert not await world.client.is_server_ready()
    assert not await world.client.is_model_ready("m")


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [
        ("m", "", True),
        ("m", "1", True),
        ("m", "10", False),
        ("m", "2", False),
        ("soon", "", False),
        ("none", "", False),
        ("none", "1", False),
    ],
)
async def test_model_ready(world: World, name: str, version: str, ready: bool) -> None:
    assert await world.client.is_model_ready(name, version) is ready


async def test_a_version_that_is_no_number_is_invalid(world: World) -> None:
    client = world.client
    for call in (client.is_model_ready, client.get_model_metadata, client.get_model_config, client.get_inference_statistics):
        status, message = await status_of(call("m", "x"))
        assert status == "StatusCode.INVALID_ARGUMENT"
        assert '"x"' in message


async def test_metadata_of_a_batched_model(world: World) -> None:
    metadata = await world.client.get_model_metadata("m")
    assert (metadata.name, metadata.platform) == ("m", "onnxruntime_onnx")
    assert list(metadata.versions) == ["1", "3"]
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.inputs] == [("x", "FP32", [-1, 16]), ("label", "BYTES", [-1, 1])]
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.outputs] == [("y", "INT64", [-1, -1, 4])]


async def test_metadata_of_a_model_without_a_batch_axis(world: World) -> None:
    metadata = await world.client.get_model_metadata("plain")
    assert [list(t.shape) for t in (*metadata.inputs, *metadata.outputs)] == [[16], [1], [-1, 4]]


async def test_metadata_of_one_version_names_that_version(world: World) -> None:
    assert list((await world.client.get_model_metadata("m", "1")).versions) == ["1"]


@pytest.mark.parametrize("number", inference.DataType.values())
async def test_every_datatype_has_its_word(number: int) -> None:
    config = inference.ModelConfig(input=[inference.ModelInput(name="x", data_type=number, dims=[1])])  # type: ignore[arg-type]
    inspection = Inspection(FakeRepository(FakeModel(config=config)), "", lambda: True)  # type: ignore[arg-type]
    metadata = await inspection.model_metadata(inference.ModelMetadataRequest(name="m"))
    words = "INVALID BOOL UINT8 UINT16 UINT32 UINT64 INT8 INT16 INT32 INT64 FP16 FP32 FP64 BYTES BF16"
    assert metadata.inputs[0].datatype == words.split()[number]


async def test_config_is_the_one_in_force(world: World) -> None:
    config = (await world.client.get_model_config("plain")).config
    assert config.SerializeToString(deterministic=True) == model_config("plain", 0).SerializeToString(deterministic=True)


async def test_unknown_models_and_versions_are_not_found(world: World) -> None:
    for call in (world.client.get_model_metadata, world.client.get_model_config):
        for name, version in (("none", ""), ("m", "2")):
            assert (await status_of(call(name, version)))[0] == "StatusCode.NOT_FOUND"
        assert (await status_of(call("soon")))[0] == "StatusCode.UNAVAILABLE"


async def test_statistics_count_requests_rows_and_runs(world: World) -> None:
    model = world.repository.contents[0]
    model.failures = {"REJECTED": 2, "OTHER": 1}
    record(model.statistics)
    [answer] = (await world.client.get_inference_statistics("m", "1")).model_stats
    assert (answer.name, answer.version) == ("m", "1")
    assert (answer.inference_count, answer.execution_count) == (6, 2)
    stats = answer.inference_stats
    assert (stats.success.count, stats.success.ns) == (3, 3_000_000)
    assert stats.fail.count == 3
    assert (stats.queue.count, stats.queue.ns) == (3, 120_000)
    assert (stats.compute_input.count, stats.compute_input.ns) == (3, 18_000)
    assert (stats.compute_infer.count, stats.compute_infer.ns) == (3, 2_400_000)
    assert (stats.compute_output.count, stats.compute_output.ns) == (3, 30_000)
    batches = [
        (b.batch_size, b.compute_infer.count, b.compute_input.ns, b.compute_infer.ns, b.compute_output.ns) for b in answer.batch_stats
    ]
    assert batches == [(2, 1, 9_000, 1_200_000, 15_000), (4, 1, 3_000, 400_000, 5_000)]
    assert answer.last_inference == model.statistics.last_ns // 1_000_000


def record(statistics: Statistics) -> None:
    """Two requests of 3 and 1 rows that ran together, then one of 2 rows alone."""
    for rows, scale in ((3, 1), (1, 2), (2, 3)):
        record_request(statistics, rows, 1_000 * scale, 20_000 * scale, 3_000 * scale, 400_000 * scale, 5_000 * scale, 500_000 * scale)
    record_run(statistics, 4, 3_000, 400_000, 5_000)
    record_run(statistics, 2, 9_000, 1_200_000, 15_000)


async def test_statistics_of_all_models_and_of_all_versions(world: World) -> None:
    world.repository.contents.append(FakeModel("a", 1, state="UNLOADING"))
    for name, expected in (("", ["a/1", "m/1", "m/3", "plain/1"]), ("m", ["m/1", "m/3"])):
        stats = (await world.client.get_inference_statistics(name)).model_stats
        assert [f"{entry.name}/{entry.version}" for entry in stats] == expected


async def test_statistics_of_what_is_not_loaded_are_invalid(world: World) -> None:
    for name, version in (("none", ""), ("m", "2"), ("m", "10"), ("soon", "")):
        status, message = await status_of(world.client.get_inference_statistics(name, version))
        assert status == "StatusCode.INVALID_ARGUMENT"
        assert f'"{name}"' in message


async def test_index_lists_every_version_with_its_state(world: World) -> None:
    index = (await world.client.get_model_repository_index()).models
    assert [(entry.name, entry.version, entry.state, entry.reason) for entry in index] == [
        ("m", "1", "READY", ""),
        ("m", "3", "READY", ""),
        ("m", "10", "UNAVAILABLE", "the graph has an output of type sequence"),
        ("plain", "1", "READY", ""),
        ("soon", "1", "LOADING", ""),
    ]


async def test_index_of_ready_models_only(world: World) -> None:
    request = inference.RepositoryIndexRequest(ready=True)
    index = (await world.inspection.repository_index(request)).models
    assert [(entry.name, entry.version) for entry in index] == [("m", "1"), ("m", "3"), ("plain", "1")]


async def test_a_named_repository_is_not_supported(world: World) -> None:
    from tritonclient.grpc import service_pb2

    with pytest.raises(Exception, match="repository_name") as caught:
        await world.client._client_stub.RepositoryIndex(service_pb2.RepositoryIndexRequest(repository_name="r"))
    assert caught.value.code().name == "UNIMPLEMENTED"


async def test_methods_that_are_not_built_say_what_to_use_instead(world: World) -> None:
    status, message = await status_of(world.client.get_system_shared_memory_status())
    assert status == "StatusCode.UNIMPLEMENTED"
    assert "not built into this server: " in message


@given(st.binary(max_size=40), st.sampled_from(sorted(World().inspection.methods())))
@example(b"\n\x01m\x12\x03\xc2\xb2x", f"/{SERVICE}/ModelStatistics")
@example(b"\n\x01m\x12\x02\xc2\xb2", f"/{SERVICE}/ModelStatistics")  # a digit, says str.isdigit, that int rejects
@example(b"\n\x01m\x12\x28" + b"9" * 40, f"/{SERVICE}/ModelStatistics")
def test_any_bytes_are_answered_or_rejected(content: bytes, name: str) -> None:
    method = World().inspection.methods()[name]
    try:
        request = method.request_type.FromString(content)
    except DecodeError:
        return  # the transports' part
    with suppress(RequestError):
        assert isinstance(asyncio.run(method.handler(request)), method.response_type)


# Over real models.


async def test_real_models_tell_their_contract(served: ServerFixture) -> None:
    async with triton.InferenceServerClient(served.address) as client:
        metadata = await client.get_model_metadata("identity")
        assert list(metadata.versions) == ["1"]
        [tensor] = metadata.inputs
        assert (tensor.datatype, list(tensor.shape)) == ("FP32", [-1, 16])
        config = (await client.get_model_config("identity")).config
        assert (config.name, config.max_batch_size > 0) == ("identity", True)
        assert [(entry.name, list(entry.dims)) for entry in config.input] == [(tensor.name, [16])]
        assert list((await client.get_model_metadata("versions")).versions) == ["1", "3"]
        assert await client.is_model_ready("versions", "3")
        assert not await client.is_model_ready("versions", "2")
        states = {(entry.name, entry.version): entry.state for entry in (await client.get_model_repository_index()).models}
        assert states["identity", "1"] == states["versions", "1"] == states["versions", "3"] == "READY"


async def test_a_response_says_what_made_it_where_it_is_asked(served: ServerFixture, model_files: Path) -> None:
    digest = hashlib.sha256((model_files / "identity" / "1" / "model.onnx").read_bytes()).hexdigest()
    request = wire.infer_request("identity", {"x": wire.rows(2)}, id="mine")
    with wire.Caller(served.address) as caller:
        found = dict(caller.ask("ModelMetadata", name="identity", properties=True).properties)
        properties = {name: value for name, value in found.items() if not name.startswith("check.")}
        assert properties["model_sha256"] == digest
        assert properties["provider"] == "CPUExecutionProvider"
        plain = caller.infer(request)
        assert not plain.parameters
        for asked in ([], [plain.outputs[0].name]):
            del request.outputs[:]
            for name in asked:
                request.outputs.add(name=name)
            request.parameters["provenance"].bool_param = True
            told = caller.infer(request)
            assert {name: value.string_param for name, value in told.parameters.items()} == properties
            told.ClearField("parameters")
            assert told == plain
            request.parameters["provenance"].bool_param = False
            assert caller.infer(request) == plain


async def test_real_statistics_grow_with_each_request(served: ServerFixture) -> None:
    async with triton.InferenceServerClient(served.address) as client:
        metadata = await client.get_model_metadata("identity")

        async def statistics() -> Any:
            return (await client.get_inference_statistics("identity")).model_stats[0]

        async def infer(rows: int) -> None:
            tensor = triton.InferInput(metadata.inputs[0].name, [rows, 16], "FP32")
            tensor.set_data_from_numpy(np.ones((rows, 16), np.float32))
            await client.infer("identity", [tensor])

        before = await statistics()
        await infer(3)
        await infer(2)
        with pytest.raises(InferenceServerException):
            await infer(0)
        after = await statistics()
    assert after.inference_count - before.inference_count == 5
    assert after.execution_count - before.execution_count == 2
    for stage in ("success", "queue", "compute_input", "compute_infer", "compute_output"):
        grown, was = getattr(after.inference_stats, stage), getattr(before.inference_stats, stage)
        assert grown.count - was.count == 2
        assert grown.ns > was.ns
    assert after.inference_stats.fail.count - before.inference_stats.fail.count == 1
    runs = {batch.batch_size: batch.compute_infer.count for batch in after.batch_stats}
    was_runs = {batch.batch_size: batch.compute_infer.count for batch in before.batch_stats}
    assert [runs[rows] - was_runs.get(rows, 0) for rows in (2, 3)] == [1, 1]
    assert after.last_inference >= before.last_inference > 0 or before.last_inference == 0
