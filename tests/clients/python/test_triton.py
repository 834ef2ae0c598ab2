"""Both clients against a real Triton."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from inferd_client import TLS, InferenceError, Retry

from tests.certificates import SERVER_NAME, Certificates
from tests.server_fixtures import ServerFixture
from tests.triton_server import TritonServer, needs_triton

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.clients.python.conftest import AtEachPause
    from tests.echo_server import Awaited

pytestmark = needs_triton

X = {"x": np.arange(32, dtype=np.float32).reshape(2, 16)}


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    with TritonServer(tmp_path_factory.mktemp("triton")) as server:
        server.wait_until_ready()
        yield server


@pytest.fixture(params=["address", "url"])
def client(request: pytest.FixtureRequest, triton: TritonServer, connect: Callable[..., Awaited]) -> Awaited:
    return connect(getattr(triton, request.param), timeout=60)


async def test_arrays_and_lists(client: Awaited) -> None:
    result = await client.infer("identity", X, request_id="r-1", outputs=["y"])
    np.testing.assert_array_equal(result["y"], X["x"])
    assert (result.model_name, result.model_version, result.id) == ("identity", "1", "r-1")
    assert (await client.infer("identity", {"x": [[1] * 16]}))["y"].dtype == np.float32


async def test_what_it_tells(client: Awaited) -> None:
    assert await client.server_live()
    assert await client.server_ready()
    assert await client.model_ready("identity")
    assert await client.health() == "SERVING"
    assert (await client.server_metadata()).name == "triton"
    assert (await client.model_metadata("identity")).inputs[0].shape == [-1, 16]
    assert (await client.model_config("identity")).max_batch_size == 8
    assert [entry.name for entry in await client.statistics("identity")] == ["identity"]
    assert [entry.name for entry in await client.repository_index(ready=True)] == ["identity"]


@pytest.mark.parametrize(
    ("model", "inputs", "code"),
    [
        ("nothing", X, grpc.StatusCode.NOT_FOUND),
        ("identity", {"x": np.ones((1, 15), np.float32)}, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_rejections(client: Awaited, model: str, inputs: dict[str, Any], code: grpc.StatusCode) -> None:
    with pytest.raises(InferenceError) as raised:
        await client.infer(model, inputs)
    assert raised.value.code is code


async def test_a_full_queue_is_waited_out(
    triton: TritonServer, connect: Callable[..., Awaited], tmp_path: Path, at_each_pause: AtEachPause
) -> None:
    """Triton refuses with UNAVAILABLE what its queue has no room for."""
    os.mkfifo(tmp_path / "gate")
    client = connect(triton.address, timeout=60, retry=Retry(attempts=10))
    begun = [client.begin("infer", "identity", X, parameters={"gate": str(tmp_path / "gate")})]
    gate = await asyncio.to_thread(open, tmp_path / "gate", "w")  # opens when the model has
    refused: list[bool] = []

    def let_it_go() -> None:
        refused.append(True)
        gate.close()

    at_each_pause(let_it_go)
    begun += [client.begin("infer", "identity", X) for _ in range(5)]
    for result in await asyncio.gather(*begun):
        np.testing.assert_array_equal(result["y"], X["x"])
    assert refused


async def test_certificates_on_both_sides(connect: Callable[..., Awaited], tmp_path: Path) -> None:
    pem = Certificates()
    paths = {}
    for name in ("ca", "server", "server_key"):
        paths[name] = tmp_path / f"{name}.pem"
        paths[name].write_bytes(getattr(pem, name))
    flags = {"grpc_use_ssl_mutual": "true", "grpc_server_cert": paths["server"], "grpc_server_key": paths["server_key"]}
    with TritonServer(tmp_path, grpc_root_cert=paths["ca"], **flags) as server:
        server.wait_until_ready(grpc.ssl_channel_credentials(pem.ca, pem.client_key, pem.client))
        tls = TLS(ca=paths["ca"], certificate=pem.client, key=pem.client_key, server_name=SERVER_NAME)
        client = connect(server.address, tls=tls, token="t", timeout=60)
        np.testing.assert_array_equal((await client.infer("identity", X))["y"], X["x"])
        with pytest.raises(InferenceError, match="UNAVAILABLE"):
            await connect(server.address, tls=TLS(ca=pem.ca), timeout=60).server_live()


async def test_triton_and_inferd_behind_one_client(connect: Callable[..., Awaited], model_files: Path, tmp_path: Path) -> None:
    """Until Triton dies, in the midst of calls. (Told to end, it answers NOT_FOUND for a while.)"""
    with ServerFixture(model_files) as served, TritonServer(tmp_path) as server:
        server.wait_until_ready()
        client = connect([server.address, served.address], timeout=60)
        names = set()
        while len(names) < 2:
            names.add((await client.server_metadata()).name)
        assert names == {"triton", "inferd"}
        dying = asyncio.ensure_future(asyncio.to_thread(server.stop, signal.SIGKILL))
        while not dying.done():
            np.testing.assert_array_equal((await client.infer("identity", X))["y"], X["x"])
            await asyncio.sleep(0)
        await dying
        assert (await client.server_metadata()).name == "inferd"
