"""Both clients against inferd itself, over both of its transports of gRPC, and over HTTP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc
import numpy as np
import pytest
from inferd_client import TLS, InferenceError, Retry

from tests import models
from tests.certificates import Files
from tests.server_fixtures import ServerFixture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.clients.python.conftest import AtEachPause
    from tests.echo_server import Awaited


class Place(NamedTuple):
    """A server, and what a client calls it."""

    served: ServerFixture
    target: str


@pytest.fixture(scope="module", params=["native", "grpcio", "http"])
def place(request: pytest.FixtureRequest, model_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    http = request.param == "http"
    more: dict[str, Any] = {"http_port": 0} if http else {"transport": request.param}
    with ServerFixture(model_files, feedback=str(tmp_path_factory.mktemp("kept")), **more) as served:
        yield Place(served, f"http://{served.http}" if http else served.address)


@pytest.fixture
def inferd(place: Place, connect: Callable[..., Awaited]) -> Awaited:
    return connect(place.target, timeout=60)


DTYPES = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}


async def test_every_datatype_at_once(inferd: Awaited) -> None:
    inputs = {f"in_{word}": np.array([[1, 0, 1], [0, 1, 1]], dtype) for word, dtype in DTYPES.items()}
    result = await inferd.infer("every_datatype", inputs)
    assert set(result) == {f"out_{word}" for word in DTYPES}
    for word, dtype in DTYPES.items():
        assert result[f"out_{word}"].dtype == dtype
        np.testing.assert_array_equal(result[f"out_{word}"], inputs[f"in_{word}"])


async def test_text(inferd: Awaited) -> None:
    result = await inferd.infer("text", {"x": [["ümlaut", b"\x00z"], ["", "x" * 1000]]})
    assert result["y"].tolist() == [["ümlaut".encode(), b"\x00z"], [b"", b"x" * 1000]]


async def test_lists_ids_versions_and_outputs(inferd: Awaited) -> None:
    rows = np.arange(32).reshape(2, 16).tolist()
    newest = await inferd.infer("versions", {"x": rows}, request_id="r-9")
    assert (newest.model_name, newest.model_version, newest.id) == ("versions", "3", "r-9")
    np.testing.assert_array_equal(newest["y"], np.float32(rows) * 2)
    first = await inferd.infer("versions", {"x": rows}, version=1)
    assert first.model_version == "1"
    np.testing.assert_array_equal(first["y"], rows)
    assert await inferd.model_ready("versions", 3)
    with pytest.raises(TypeError, match="version: expected a number or a label, 3 or 'stable', got float"):
        await inferd.infer("versions", {"x": rows}, version=1.0)
    assert list(await inferd.infer("add", {"a": rows, "b": rows}, outputs=["difference"])) == ["difference"]


async def test_numpys_own_datatypes_are_converted(inferd: Awaited) -> None:
    assert (await inferd.infer("identity", {"x": np.ones((1, 16))}))["y"].dtype == np.float32
    assert (await inferd.infer("identity", {"x": np.ones((1, 16), np.int64)}))["y"].dtype == np.float32
    with pytest.raises(ValueError, match=r"input 'x': expected FP32, got float64, and 0.1 would be rounded; convert it by .astype"):
        await inferd.infer("identity", {"x": np.full((1, 16), 0.1)})


async def test_an_image_of_602_kilobytes(inferd: Awaited) -> None:
    image = np.random.default_rng(1).random((2, 3, 224, 224), np.float32)
    np.testing.assert_allclose((await inferd.infer("pooled_image", {"image": image}))["mean"], image.mean((2, 3)), rtol=1e-4)


async def test_what_it_tells(inferd: Awaited) -> None:
    assert await inferd.server_live()
    assert await inferd.server_ready()
    assert await inferd.model_ready("versions", "3")
    assert not await inferd.model_ready("versions", "2")
    assert (await inferd.server_metadata()).name == "inferd"
    assert sorted((await inferd.model_metadata("versions")).versions) == ["1", "3"]
    config = await inferd.model_config("identity")
    assert config.max_batch_size > 0
    assert config.inferd.intra_op_threads > 0
    before = (await inferd.statistics("identity"))[0].inference_count
    await inferd.infer("identity", {"x": np.ones((3, 16), np.float32)})
    assert (await inferd.statistics("identity"))[0].inference_count == before + 3
    assert {(entry.name, entry.version) for entry in await inferd.repository_index(ready=True)} >= {("versions", "1"), ("identity", "1")}
    assert await inferd.health() == "SERVING"
    assert await inferd.health("identity") == "SERVING"


async def test_labels_that_come_later(inferd: Awaited, request: pytest.FixtureRequest) -> None:
    own = request.node.name
    await inferd.infer("identity", {"x": np.eye(2, 16, dtype=np.float32)}, request_id=own)
    assert await inferd.report_labels("identity", {own: "0"}) == {"joined": 1}
    many = [(own, 1, 1), (own, 1, "1"), (own, 1, 7.0), (own, 9, "1"), *((f"{own} {number}", 0, "x") for number in range(1200))]
    assert await inferd.report_labels("identity", many) == {"joined": 1, "repeated": 1, "contradictory": 1, "misfit": 1, "waiting": 1200}
    assert await inferd.report_labels("identity", {}) == {}
    with pytest.raises(InferenceError, match="there is no model 'nothing'"):
        await inferd.report_labels("nothing", {own: "0"})


@pytest.mark.parametrize(
    ("model", "inputs", "code"),
    [
        ("nothing", {"x": np.ones((1, 16), np.float32)}, grpc.StatusCode.NOT_FOUND),
        ("identity", {"x": np.ones((1, 15), np.float32)}, grpc.StatusCode.INVALID_ARGUMENT),
        ("text", {"x": np.array([[b"\xff", b""]], object)}, grpc.StatusCode.INVALID_ARGUMENT),  # ONNX strings are UTF-8
        ("identity", {"z": np.ones((1, 16), np.float32)}, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_rejections(inferd: Awaited, model: str, inputs: dict[str, Any], code: grpc.StatusCode) -> None:
    with pytest.raises(InferenceError) as raised:
        await inferd.infer(model, inputs)
    assert raised.value.code is code
    assert raised.value.message


async def test_a_timeout_ends_the_wait(inferd: Awaited) -> None:
    with pytest.raises(InferenceError) as raised:
        await inferd.infer("slow", {"x": np.ones((1, 64), np.float32)}, timeout=0.001)
    assert raised.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("by", ["address", "http"])
async def test_a_full_queue_is_waited_out(model_files: Path, connect: Callable[..., Awaited], at_each_pause: AtEachPause, by: str) -> None:
    """inferd says when to come back."""
    inputs = {"x": np.ones((1, 64), np.float32)}
    with ServerFixture(model_files / "slow", http_port=0, max_queue_requests=1, max_batch_size=1, instances=1) as served:
        target = served.address if by == "address" else f"http://{served.http}"
        impatient = connect(target, retry=None, timeout=60)
        outcomes = await asyncio.gather(*(impatient.begin("infer", "slow", inputs) for _ in range(6)), return_exceptions=True)
        [refused, *_] = [outcome for outcome in outcomes if isinstance(outcome, InferenceError)]
        assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert refused.retry_after is not None

        pauses: list[bool] = []
        at_each_pause(lambda: pauses.append(True))
        patient = connect(target, retry=Retry(attempts=10), timeout=60)
        await asyncio.gather(*(patient.begin("infer", "slow", inputs) for _ in range(6)))
        assert pauses


@pytest.mark.parametrize("by", ["address", "http"])
async def test_models_are_loaded_and_unloaded(tmp_path: Path, connect: Callable[..., Awaited], by: str) -> None:
    folder = models.repository(tmp_path, {"m": {1: models.identity(), 2: models.doubled()}, "other": models.identity()})
    with ServerFixture(folder, http_port=0, model_control="explicit", load_model=("other",)) as served:
        client = connect(served.address if by == "address" else f"http://{served.http}", timeout=60)
        await client.load_model("m", version=1)
        assert await client.models() == ["m", "other"]
        await client.load_model("m", config='{"max_batch_size": 2}')
        assert (await client.model_config("m")).max_batch_size == 2
        await client.unload_model("m")
        assert await client.models() == ["other"]
        with pytest.raises(InferenceError, match="NOT_FOUND"):
            await client.load_model("none")


async def test_a_token_and_a_unix_socket(model_files: Path, connect: Callable[..., Awaited], tmp_path: Path) -> None:
    path = tmp_path / "inferd.sock"
    with ServerFixture(model_files / "identity", listen=[f"unix:{path}", f"http:unix:{path}.http"]):
        for target in (f"unix:{path}", f"http+unix:{path}.http"):
            client = connect(target, token="t", timeout=60)
            assert (await client.infer("identity", {"x": np.ones((1, 16), np.float32)}))["y"].sum() == 16


async def test_tls_over_http(model_files: Path, connect: Callable[..., Awaited], tmp_path: Path) -> None:
    files = Files.made(tmp_path / "tls")
    with ServerFixture(model_files / "identity", http_port=0, **files.settings()) as served:
        client = connect(f"https://{served.http}", tls=TLS(ca=files.ca), token="t", timeout=60)
        assert (await client.infer("identity", {"x": np.ones((1, 16), np.float32)}))["y"].sum() == 16
        with pytest.raises(InferenceError, match="UNAVAILABLE: "):
            await connect(f"http://{served.http}", retry=None, timeout=60).server_live()


@pytest.mark.parametrize("compression", ["gzip", "deflate"])
async def test_compressed_requests(place: Place, connect: Callable[..., Awaited], compression: str) -> None:
    def decompressed() -> float:
        return float(place.served.server.edge._grpc.counters().get("decompressed_messages_total", 0))

    before = decompressed()
    rows = np.ones((64, 16), np.float32)
    result = await connect(place.target, compression=compression, timeout=60).infer("versions", {"x": rows})
    assert next(iter(result.values())).shape == rows.shape
    if place.target == place.served.address and place.served.transport == "native":  # the others do not tell
        assert decompressed() == before + 1


def test_no_such_compression(connect: Callable[..., Awaited]) -> None:
    with pytest.raises(ValueError, match="compression: expected one of deflate, gzip, or None, got 'zstd'"):
        connect("localhost:1", compression="zstd")
