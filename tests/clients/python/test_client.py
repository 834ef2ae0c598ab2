"""Both clients against a real gRPC server: one body, two kinds."""

from __future__ import annotations

import asyncio
import gc
import inspect
import subprocess
import sys
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import ml_dtypes
import numpy as np
import pytest
from inferd_client import AsyncClient, Client, InferenceError, InferResult

from tests.echo_server import Rejection

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.clients.python.conftest import ManualClock
    from tests.echo_server import Awaited, EchoServer

ARRAYS = {
    "BOOL": np.array([True, False, True]),
    "UINT8": np.array([0, 255], np.uint8),
    "UINT16": np.array([0, 65535], np.uint16),
    "UINT32": np.array([0, 2**32 - 1], np.uint32),
    "UINT64": np.array([0, 2**64 - 1], np.uint64),
    "INT8": np.array([-128, 127], np.int8),
    "INT16": np.array([-(2**15), 2**15 - 1], np.int16),
    "INT32": np.array([-(2**31), 2**31 - 1], np.int32),
    "INT64": np.array([-(2**63), 2**63 - 1], np.int64),
    "FP16": np.array([1.5, -65504, np.inf], np.float16),
    "FP32": np.array([[1.5, -0.0], [np.nan, 3e38]], np.float32),
    "FP64": np.array([[[1e300]]], np.float64),
    "BF16": np.array([1.5, -3e38], ml_dtypes.bfloat16),
    "BYTES": np.array([b"", b"\x00\xff", "ümlaut".encode()], object),
}


@pytest.mark.parametrize("datatype", ARRAYS)
async def test_every_datatype_comes_back_as_it_went(client: Awaited, server: EchoServer, datatype: str) -> None:
    array = ARRAYS[datatype]
    result = await client.infer("echo", {"x": array})
    assert isinstance(result, InferResult)
    assert server.request.inputs[0].datatype == datatype
    assert result["x"].dtype == array.dtype
    assert result["x"].shape == array.shape
    assert result["x"].tobytes() == array.tobytes() if datatype != "BYTES" else list(result["x"]) == list(array)
    assert result["x"].flags.writeable
    assert result["x"].flags.aligned


async def test_several_inputs_some_outputs(client: Awaited) -> None:
    inputs = {"a": np.arange(6).reshape(2, 3), "b": np.array(["x", "yy"]), "c": np.zeros((0, 4), np.float32)}
    assert list(await client.infer("echo", inputs)) == ["a", "b", "c"]
    result = await client.infer("echo", inputs, outputs=["c", "a"])
    assert set(result) == {"a", "c"}
    assert len(result) == 2
    np.testing.assert_array_equal(result["a"], inputs["a"])
    assert result["c"].shape == (0, 4)
    with pytest.raises(KeyError, match="no output 'b'; the response holds a, c"):
        result["b"]


async def test_id_version_parameters_and_metadata_travel(client: Awaited, server: EchoServer) -> None:
    parameters = {"flag": True, "count": -3, "ratio": 0.5, "word": "ü", "large": 2**64 - 1, "priority": 2, "timeout": np.int64(5)}
    result = await client.infer(
        "echo",
        {"x": np.ones(1)},
        version="3",
        request_id="r-1",
        parameters=parameters,
        metadata={"X-Tenant": "a", "key-bin": b"\x00\x01"},
    )
    assert (result.model_name, result.model_version, result.id) == ("echo", "3", "r-1")
    assert result.parameters == parameters
    assert {name: value.WhichOneof("parameter_choice") for name, value in server.request.parameters.items()} == {
        "flag": "bool_param",
        "count": "int64_param",
        "ratio": "double_param",
        "word": "string_param",
        "large": "uint64_param",
        "priority": "uint64_param",
        "timeout": "int64_param",
    }
    assert server.metadata["x-tenant"] == "a"
    assert server.metadata["key-bin"] == b"\x00\x01"


async def test_client_wide_metadata_goes_with_every_call(server: EchoServer, connect: Callable[..., Awaited]) -> None:
    client = connect(server.target, timeout=30, metadata={"authorization": "Bearer t"})
    await client.infer("echo", {"x": np.ones(1)}, metadata=[("extra", "1")])
    assert server.metadata["authorization"] == "Bearer t"
    assert server.metadata["extra"] == "1"
    await client.close()  # and once more when the test is over


async def test_lists_take_the_models_datatype_which_is_asked_for_once(client: Awaited, server: EchoServer) -> None:
    for _ in range(2):
        result = await client.infer("echo", {"x": [[1, 2], [3, 4]]})
        assert result["x"].dtype == np.float32
        np.testing.assert_array_equal(result["x"], [[1, 2], [3, 4]])
    assert server.metadata_calls == 1
    await client.infer("echo", {"x": np.ones(2)})
    await client.infer("echo", {"x": 5}, datatypes={"x": "INT8"})
    assert server.metadata_calls == 1  # neither needs it


async def test_a_refusal_makes_the_client_ask_again(server: EchoServer, connect: Callable[..., Awaited]) -> None:
    """The model may have been loaded again with another datatype."""
    client = connect(server.target, timeout=30, retry=None)
    for datatype in ("FP32", "INT8"):
        server.datatype = datatype
        with pytest.raises(InferenceError):
            await client.infer("full", {"x": [1]})
        assert server.request.inputs[0].datatype == datatype


async def test_a_list_for_an_input_that_the_model_lacks(client: Awaited) -> None:
    with pytest.raises(ValueError, match="input 'y': the model's metadata names no such input"):
        await client.infer("echo", {"y": [1]})


async def test_bits_as_bf16(client: Awaited, server: EchoServer) -> None:
    result = await client.infer("echo", {"x": np.array([0x3FC0], np.uint16)}, datatypes={"x": "BF16"})
    assert server.request.inputs[0].datatype == "BF16"
    assert float(result["x"][0]) == 1.5


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        ("BOOL", [True, False]),
        ("INT8", [-1, 2]),
        ("UINT16", [1, 2]),
        ("INT64", [-(2**63), 1]),
        ("UINT64", [2**64 - 1, 1]),
        ("FP32", [0.5, 1]),
        ("FP64", [0.1, 1]),
        ("BYTES", [b"a", b""]),
    ],
)
async def test_typed_contents_are_read_too(client: Awaited, server: EchoServer, datatype: str, values: list[Any]) -> None:
    server.typed = values
    result = await client.infer("typed", {"x": np.resize(ARRAYS[datatype], (2, 1))})
    assert result["x"].shape == (2, 1)
    assert result["x"].dtype == ARRAYS[datatype].dtype
    assert result["x"].ravel().tolist() == values


async def test_fp16_in_typed_contents_cannot_be_read(client: Awaited) -> None:
    with pytest.raises(InferenceError, match="INTERNAL: the server's response cannot be read: output 'x': FP16 can only travel as raw"):
        await client.infer("typed", {"x": ARRAYS["FP16"]})


async def test_a_refusal_says_when_to_come_back(server: EchoServer, connect: Callable[..., Awaited]) -> None:
    client = connect(server.target, timeout=30, retry=None)
    with pytest.raises(InferenceError, match="RESOURCE_EXHAUSTED: the queue is full: ümlaut") as raised:
        await client.infer("full", {"x": np.ones(1)})
    assert raised.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert raised.value.message == "the queue is full: ümlaut"
    assert raised.value.retry_after == pytest.approx(1.5)


async def test_unreadable_details_do_not_hide_the_status(client: Awaited) -> None:
    with pytest.raises(InferenceError) as raised:
        await client.infer("vague", {"x": np.ones(1)})
    assert raised.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert raised.value.retry_after is None


@pytest.mark.parametrize("model", ["garbled", "short"])
async def test_an_answer_that_cannot_be_read_is_internal(client: Awaited, model: str) -> None:
    with pytest.raises(InferenceError, match="INTERNAL: the server's response cannot be read") as raised:
        await client.infer(model, {"x": np.ones(1)})
    assert raised.value.code is grpc.StatusCode.INTERNAL


async def test_metadata_that_cannot_be_read_is_internal(client: Awaited) -> None:
    with pytest.raises(InferenceError, match="INTERNAL: the server's response cannot be read") as raised:
        await client.model_metadata("garbled")
    assert raised.value.code is grpc.StatusCode.INTERNAL


async def test_an_error_is_gone_when_nobody_holds_it(client: Awaited) -> None:
    """With all that it refers to: the request of a failed call may be large."""
    gc.collect()
    gc.disable()
    try:
        try:
            await client.infer("nothing", {"x": np.ones(1)})
        except InferenceError as error:
            held = weakref.ref(error)
        assert held() is None
    finally:
        gc.enable()


async def test_a_timeout_of_the_call_and_of_the_client(server: EchoServer, connect: Callable[..., Awaited]) -> None:
    client = connect(server.target, timeout=0.05)
    with pytest.raises(InferenceError) as raised:
        await client.infer("slow", {"x": np.ones(1)})
    assert raised.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    with pytest.raises(InferenceError, match="NOT_FOUND"):
        await client.infer("nothing", {"x": np.ones(1)}, timeout=30)


@pytest.mark.parametrize("seconds", [-1, -0.001, float("inf"), float("-inf"), float("nan")])
async def test_a_timeout_that_is_no_time(server: EchoServer, connect: Callable[..., Awaited], seconds: float) -> None:
    expected = f"timeout: expected seconds, 0 or more, or None for as long as it takes, got {seconds}$"
    with pytest.raises(ValueError, match=expected):
        connect(server.target, timeout=seconds)
    client = connect(server.target)
    with pytest.raises(ValueError, match=expected):
        await client.infer("echo", {"x": np.ones(1)}, timeout=seconds)
    with pytest.raises(ValueError, match=expected):
        await client.server_live(timeout=seconds)


async def test_a_timeout_that_is_longer_than_grpc_can_count(server: EchoServer, connect: Callable[..., Awaited]) -> None:
    client = connect(server.target, timeout=1e300)
    await client.infer("echo", {"x": np.ones(1)})
    await client.infer("echo", {"x": np.ones(1)}, timeout=1e10)
    assert server.remaining is not None
    assert server.remaining > 1e7


async def test_a_retry_that_is_none(server: EchoServer, connect: Callable[..., Awaited]) -> None:
    with pytest.raises(TypeError, match=r"retry: expected a Retry or None, got 5: for so many attempts write Retry\(attempts=3\)"):
        connect(server.target, retry=5)


async def test_nobody_there(connect: Callable[..., Awaited], tmp_path: Path) -> None:
    client = connect(f"unix:{tmp_path / 'nobody.sock'}", timeout=30)
    with pytest.raises(InferenceError) as raised:
        await client.server_live()
    assert raised.value.code is grpc.StatusCode.UNAVAILABLE
    assert raised.value.retry_after is None


async def test_unix_socket(server: EchoServer, connect: Callable[..., Awaited]) -> None:
    client = connect(server.unix_target, timeout=30)
    assert (await client.infer("echo", {"x": np.ones(3)}))["x"].sum() == 3


async def test_what_the_server_tells_of_itself_and_its_models(client: Awaited) -> None:
    assert await client.server_live() is True
    assert await client.server_ready() is True
    assert await client.model_ready("echo") is True
    assert await client.model_ready("echo", "9") is False
    assert list((await client.server_metadata()).extensions) == ["statistics"]
    assert (await client.model_metadata("echo")).inputs[0].datatype == "FP32"
    assert (await client.model_config("echo")).max_batch_size == 8
    assert [entry.inference_count for entry in await client.statistics()] == [3]
    assert [entry.name for entry in await client.repository_index()] == ["echo", "old"]
    assert [entry.name for entry in await client.repository_index(ready=True)] == ["echo"]
    assert await client.models() == ["echo"]


async def test_what_an_interactive_session_shows(client: Awaited, server: EchoServer, kind: type[Client | AsyncClient]) -> None:
    assert repr(client.client) == f"<{kind.__name__} of {server.target} (plaintext)>"
    assert repr(await client.infer("echo", {"x": np.ones((2, 3))})) == "<InferResult of 'echo' version 1: x FP64[2, 3]>"
    await client.close()
    assert repr(client.client) == f"<{kind.__name__} of {server.target} (plaintext), closed>"


async def test_it_waits_until_the_server_is_ready(client: Awaited, server: EchoServer, clock: ManualClock) -> None:
    server.ready = False
    clock.paused = lambda: setattr(server, "ready", len(clock.pauses) == 3)
    await client.wait_ready()
    assert clock.pauses == [0.1] * 3
    await client.wait_ready("echo")


async def test_a_server_that_is_not_ready_in_time(
    client: Awaited, server: EchoServer, connect: Callable[..., Awaited], tmp_path: Path, clock: ManualClock
) -> None:
    with pytest.raises(
        InferenceError, match=f"model 'old' of {server.target} .plaintext.: not ready within 2 s: it responds, and is not ready"
    ) as told:
        await client.wait_ready("old", timeout=2)
    assert told.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    with pytest.raises(InferenceError, match=r"not ready within 0.2 s: .*nobody.sock"):
        await connect(f"unix:{tmp_path / 'nobody.sock'}").wait_ready(timeout=0.2)


async def test_an_array_of_another_datatype_is_converted_once_the_server_rejects_it(client: Awaited, server: EchoServer) -> None:
    """A caller that sends the right datatype never asks for metadata."""
    server.rejections.append(Rejection(grpc.StatusCode.INVALID_ARGUMENT))
    result = await client.infer("echo", {"x": np.float64([0.5])})
    assert (result["x"].dtype, server.infer_calls, server.metadata_calls) == (np.float32, 2, 1)
    await client.infer("echo", {"x": np.int64([7])})
    assert (server.request.inputs[0].datatype, server.infer_calls, server.metadata_calls) == ("FP32", 3, 1)
    with pytest.raises(ValueError, match=r"expected FP32, got float64, and 0.1 would be rounded; convert it by .*, or pass cast=True"):
        await client.infer("echo", {"x": np.float64([0.1])})
    assert server.infer_calls == 3
    assert (await client.infer("echo", {"x": np.float64([0.1])}, cast=True))["x"].tolist() == [np.float32(0.1)]


async def test_another_rejection_is_told_as_it_came(client: Awaited, server: EchoServer) -> None:
    server.rejections.append(Rejection(grpc.StatusCode.INVALID_ARGUMENT))
    with pytest.raises(InferenceError, match="rejected for a test"):
        await client.infer("echo", {"x": np.float32([0.5])})
    assert server.infer_calls == 1


async def test_health(client: Awaited) -> None:
    assert await client.health() == "NOT_SERVING"
    assert await client.health("echo") == "SERVING"
    assert await client.health("new") == "UNKNOWN"
    with pytest.raises(InferenceError, match='NOT_FOUND: there is no service "nothing"'):
        await client.health("nothing")


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ({"x": np.ones(1, np.complex64)}, TypeError, "input 'x': no datatype of the protocol holds numpy's complex64"),
        ({"x": np.array([1, None], object)}, TypeError, "input 'x': expected bytes or str in every element .* got int at position 0"),
        ({"x": ["a"]}, ValueError, "input 'x': could not convert"),
        ({"x": [[1], [2, 3]]}, ValueError, "input 'x': "),
    ],
)
async def test_what_cannot_be_sent_is_refused_before_it_is(
    client: Awaited, inputs: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await client.infer("echo", inputs)


async def test_wrong_datatype_words_and_parameters(client: Awaited) -> None:
    with pytest.raises(ValueError, match=r"input 'x': expected FP32, got float64, and 0.1 would be rounded"):
        await client.infer("echo", {"x": np.array([0.1])}, datatypes={"x": "FP32"})
    with pytest.raises(TypeError, match="input 'x': expected an array of BF16, got numpy's float64, which is FP64"):
        await client.infer("echo", {"x": np.ones(1)}, datatypes={"x": "BF16"})
    with pytest.raises(ValueError, match=r"input 'x': expected a datatype out of BOOL, .*, got 'FLOAT'"):
        await client.infer("echo", {"x": [1]}, datatypes={"x": "FLOAT"})
    with pytest.raises(TypeError, match="parameter 'p': expected bool, int, float or str, got list"):
        await client.infer("echo", {"x": np.ones(1)}, parameters={"p": [1]})


@pytest.mark.parametrize(
    ("target", "message"),
    [("grpc://h:1/", "write 'h:1'$"), ("grpcs://h:1", r"write 'h:1'; for TLS pass tls=TLS\(\)")],
)
def test_a_url_of_grpc_is_no_target(kind: type[Client | AsyncClient], target: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(target)


def test_context_manager_and_threads(server: EchoServer) -> None:
    with Client(server.target, timeout=30) as client, ThreadPoolExecutor(8) as threads:
        answers = threads.map(lambda number: client.infer("echo", {"x": np.full(4, number)})["x"][0], range(64))
        assert list(answers) == list(range(64))


async def test_asyncio_many_at_once_each_get_their_own(server: EchoServer) -> None:
    async with AsyncClient(server.target, timeout=30) as client:
        results = await asyncio.gather(*(client.infer("echo", {"x": np.full(4, number)}) for number in range(64)))
    assert [int(result["x"][0]) for result in results] == list(range(64))


async def test_cancelling_the_task_cancels_the_call(server: EchoServer) -> None:
    async with AsyncClient(server.target) as client:
        task = asyncio.ensure_future(client.infer("slow", {"x": np.ones(1)}))
        assert await asyncio.to_thread(server.arrived.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.cancelled.wait, 10)


def test_the_client_never_imports_inferd() -> None:
    program = "import sys, inferd_client\nprint([n for n in sys.modules if n.split('.')[0] in ('inferd', 'tritonclient', 'onnxruntime')])"
    assert subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60).stdout == b"[]\n"


def test_both_clients_have_the_same_calls() -> None:
    def calls(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(method).parameters)
            for name, method in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert calls(Client) == calls(AsyncClient)


def test_both_clients_take_the_same_arguments() -> None:
    def arguments(kind: type) -> list[tuple[str, Any]]:
        return [(name, parameter.default) for name, parameter in inspect.signature(kind).parameters.items()]

    assert arguments(Client) == arguments(AsyncClient)
