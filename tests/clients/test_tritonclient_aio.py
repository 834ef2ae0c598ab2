"""tritonclient.grpc.aio on both transports: many calls of one loop, cancellation, deadlines."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests import models
from tests.server_fixtures import TRANSPORTS, ServerFixture
from tests.wire import LIMIT_S, rows


@pytest.fixture(scope="module")
def aio_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.repository(
        tmp_path_factory.mktemp("aio"),
        {"identity": models.identity(), "text": models.text(), "add": models.add(), "slow": models.slow(200)},
        {"slow": "max_batch_size: 1"},
    )


@pytest.fixture(scope="module", params=TRANSPORTS)
def served(request: pytest.FixtureRequest, aio_files: Path) -> Iterator[ServerFixture]:
    with ServerFixture(aio_files, transport=request.param) as server:
        yield server


@pytest.fixture
async def client(served: ServerFixture) -> AsyncIterator[triton.InferenceServerClient]:
    async with triton.InferenceServerClient(served.address) as client:
        yield client


async def infer(client: triton.InferenceServerClient, model: str, **options: Any) -> Any:
    inputs = []
    for name, value in list(options.items()):
        if isinstance(value, np.ndarray):
            inputs.append(triton.InferInput(name, list(value.shape), np_to_triton_dtype(value.dtype)))
            inputs[-1].set_data_from_numpy(options.pop(name))
    return await client.infer(model, inputs, **options)


def about(result: Any, first: float) -> None:
    np.testing.assert_allclose(result.as_numpy("y"), rows(1, 64, first), rtol=0.01, atol=0.05)


async def succeeded(client: triton.InferenceServerClient) -> int:
    stats = await client.get_inference_statistics("slow")
    return int(stats.model_stats[0].inference_stats.success.count)


async def running(served: ServerFixture, depth: int) -> None:
    """Until the slow model runs one request and `depth` others wait."""
    model = served.server.repository.lookup("slow", "")
    limit = time.monotonic() + LIMIT_S
    while True:
        found = await asyncio.to_thread(served.on_loop, lambda: (model.runners[0].running is not None, model.queues.depth))
        if found == (True, depth):
            return
        assert time.monotonic() < limit, found


async def test_hundreds_of_calls_at_once(client: triton.InferenceServerClient) -> None:
    async def one(number: int) -> None:
        x = rows(1 + number % 3, first=number)
        result = await infer(client, "identity", x=x, request_id=str(number))
        assert result.get_response().id == str(number)
        assert result.as_numpy("y").tobytes() == x.tobytes()

    await asyncio.gather(*map(one, range(300)))


async def test_a_stream(client: triton.InferenceServerClient) -> None:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        for number in range(300):
            x = rows(1, 15 if number == 100 else 16, number)
            tensor = triton.InferInput("x", list(x.shape), "FP32")
            tensor.set_data_from_numpy(x)
            yield {"model_name": "identity", "inputs": [tensor], "request_id": str(number)}

    found = [answer async for answer in client.stream_infer(requests(), stream_timeout=LIMIT_S)]
    for number, (result, error) in enumerate(found):
        if number == 100:
            assert "[-1,16]" in str(error).replace(" ", "")
        else:
            assert error is None
            assert result.get_response().id == str(number)
            assert result.as_numpy("y").tobytes() == rows(1, 16, number).tobytes()
    assert len(found) == 300


async def test_models_of_several_kinds_at_once(client: triton.InferenceServerClient) -> None:
    async def numbers(first: int) -> None:
        a, b = rows(2, first=first), rows(2, first=1)
        result = await infer(client, "add", a=a, b=b)
        assert result.as_numpy("sum").tobytes() == (a + b).tobytes()

    async def words(first: int) -> None:
        x = np.array([[f"word {first}".encode(), "ä".encode() * first]], object)
        assert (await infer(client, "text", x=x)).as_numpy("y").tolist() == x.tolist()

    await asyncio.gather(*(one(number) for number in range(100) for one in (numbers, words)))


async def test_what_it_may_ask(client: triton.InferenceServerClient) -> None:
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("identity")
    assert (await client.get_model_metadata("add")).inputs[1].name == "b"
    assert (await client.get_model_config("add")).config.name == "add"
    assert {model.name for model in (await client.get_model_repository_index()).models} == {"identity", "text", "add", "slow"}


async def test_cancelling_a_request_that_waits(client: triton.InferenceServerClient, served: ServerFixture) -> None:
    before = await succeeded(client)
    tasks = []
    for number in range(3):
        tasks.append(asyncio.create_task(infer(client, "slow", x=rows(1, 64, number))))
        await running(served, number)
    tasks[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    for number in (0, 2):
        about(await tasks[number], number)
    assert await succeeded(client) == before + 2


async def test_cancelling_a_request_that_runs(client: triton.InferenceServerClient, served: ServerFixture) -> None:
    before = await succeeded(client)
    first = asyncio.create_task(infer(client, "slow", x=rows(1, 64, 1)))
    await running(served, 0)
    second = asyncio.create_task(infer(client, "slow", x=rows(1, 64, 2)))
    await running(served, 1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    about(await second, 2)
    assert await succeeded(client) == before + 1


async def test_deadlines(client: triton.InferenceServerClient, served: ServerFixture) -> None:
    """One that passes in the queue, one that passes while the model runs: neither has an answer, and neither is counted as one."""
    before = await succeeded(client)
    first = asyncio.create_task(infer(client, "slow", x=rows(1, 64, 1)))
    await running(served, 0)
    late = await asyncio.gather(*(infer(client, "slow", x=rows(1, 64), client_timeout=0.02) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(error, InferenceServerException) for error in late)
    told = {"StatusCode.DEADLINE_EXCEEDED", "StatusCode.RESOURCE_EXHAUSTED"}  # the latter where earlier runs told how long this one takes
    assert {error.status() for error in late if isinstance(error, InferenceServerException)} <= told
    about(await first, 1)
    with pytest.raises(InferenceServerException, match=r"Deadline|deadline"):
        await infer(client, "slow", x=rows(1, 64), client_timeout=0.03)
    about(await infer(client, "slow", x=rows(1, 64, 3)), 3)
    assert await succeeded(client) == before + 2


async def test_a_client_that_goes_away_with_open_calls(client: triton.InferenceServerClient, served: ServerFixture) -> None:
    before = await succeeded(client)
    async with triton.InferenceServerClient(served.address, channel_args=[("grpc.use_local_subchannel_pool", 1)]) as other:
        calls = [asyncio.create_task(infer(other, "slow", x=rows(1, 64))) for _ in range(3)]
        await running(served, 2)
    lost = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(error, BaseException) for error in lost)
    about(await infer(client, "slow", x=rows(1, 64, 5)), 5)
    assert await succeeded(client) <= before + 2  # the run that was under way may have been over


async def test_one_loop_a_thread(served: ServerFixture) -> None:
    failures: list[BaseException] = []

    async def calls(number: int) -> None:
        async with triton.InferenceServerClient(served.address) as client:
            for turn in range(20):
                x = rows(2, first=100 * number + turn)
                assert (await infer(client, "identity", x=x)).as_numpy("y").tobytes() == x.tobytes()

    def run(number: int) -> None:
        try:
            asyncio.run(calls(number))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join, LIMIT_S)
    assert failures == []
