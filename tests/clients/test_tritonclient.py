"""tritonclient.grpc, the client that most of Triton's users have, unchanged, on both transports."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException, np_to_triton_dtype, triton_to_np_dtype

from tests import models
from tests.server_fixtures import TRANSPORTS, ServerFixture
from tests.wire import LIMIT_S, TYPED, oracle, rows

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DATATYPES = tuple(word for word in models.DATATYPES if word != "BF16")


@pytest.fixture(scope="module")
def triton_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.repository(
        tmp_path_factory.mktemp("triton"),
        {
            **{f"identity_{word}": models.identity(word, (3,)) for word in models.DATATYPES},
            "identity": models.identity(),
            "add": models.add(),
            "versions": {1: models.identity(), 3: models.doubled()},
            "slow": models.slow(100),
            "large": models.doubled("FP32", (3, 224, 224)),
        },
        {"versions": "version_policy { all {} }", "slow": "max_batch_size: 1", "large": "max_batch_size: 64"},
    )


@pytest.fixture(scope="module", params=TRANSPORTS)
def served(request: pytest.FixtureRequest, triton_files: Path) -> Iterator[ServerFixture]:
    with ServerFixture(triton_files, EXAMPLES / "models" / "digits", transport=request.param) as server:
        yield server


@pytest.fixture(scope="module")
def client(served: ServerFixture) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(served.address) as client:
        yield client


def input_of(name: str, array: np.ndarray[Any, Any]) -> triton.InferInput:
    tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array)
    return tensor


def infer(client: triton.InferenceServerClient, model: str, *, outputs: tuple[str, ...] = (), **options: Any) -> triton.InferResult:
    """Options that are arrays are inputs."""
    inputs = [input_of(name, value) for name, value in options.items() if isinstance(value, np.ndarray)]
    rest = {name: value for name, value in options.items() if not isinstance(value, np.ndarray)}
    return client.infer(model, inputs, outputs=[triton.InferRequestedOutput(name) for name in outputs] or None, **rest)


def sample(word: str) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(5)
    if word == "BYTES":
        return np.array([[b"a", "ä€".encode(), b""], [b"x" * 300, b"1", b"\x01"]], object)
    if word == "BOOL":
        return np.array([[True, False, True], [False, False, True]])
    dtype = np.dtype(triton_to_np_dtype(word))
    if dtype.kind == "f":
        return np.array([[1.5, -0.0, np.inf], [np.finfo(dtype).max, np.finfo(dtype).tiny, -3]], dtype)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, (2, 3), dtype, endpoint=True)


def refused(function: Any, *arguments: Any, **options: Any) -> tuple[str, str]:
    with pytest.raises(InferenceServerException) as caught:
        function(*arguments, **options)
    return caught.value.status().removeprefix("StatusCode."), caught.value.message()


# ---- tensors


@pytest.mark.parametrize("word", DATATYPES)
def test_every_datatype_raw(client: triton.InferenceServerClient, word: str) -> None:
    x = sample(word)
    result = infer(client, f"identity_{word}", x=x)
    y = result.as_numpy("y")
    assert result.get_output("y").datatype == word
    assert (y.shape, y.tolist()) == (x.shape, x.tolist())
    if word != "BYTES":
        assert (y.dtype, y.tobytes()) == (x.dtype, x.tobytes())


def test_brain_floats(client: triton.InferenceServerClient) -> None:
    x = np.array([[1.5, -2, 0.25], [3e38, -0.0, np.inf]], ml_dtypes.bfloat16)
    result = infer(client, "identity_BF16", x=x)
    assert result.get_output("y").datatype == "BF16"
    assert result.as_numpy("y").tobytes() == x.tobytes()


@pytest.mark.parametrize("word", [word for word in DATATYPES if word in TYPED])
def test_every_datatype_typed(client: triton.InferenceServerClient, word: str) -> None:
    x = sample(word)
    request = service_pb2.ModelInferRequest(model_name=f"identity_{word}")
    tensor = request.inputs.add(name="x", datatype=word, shape=x.shape)
    getattr(tensor.contents, TYPED[word]).extend(x.ravel().tolist())
    result = triton.InferResult(client._client_stub.ModelInfer(request, timeout=LIMIT_S))
    assert result.as_numpy("y").tolist() == x.tolist()


def test_several_inputs_and_outputs_in_any_order(client: triton.InferenceServerClient) -> None:
    a, b = rows(3, first=1), rows(3, first=7)
    for names in (("a", "b"), ("b", "a")):
        result = client.infer("add", [input_of(name, {"a": a, "b": b}[name]) for name in names])
        assert result.as_numpy("sum").tobytes() == (a + b).tobytes()
        assert result.as_numpy("difference").tobytes() == (a - b).tobytes()


def test_only_what_is_asked_for(client: triton.InferenceServerClient) -> None:
    result = infer(client, "add", a=rows(1), b=rows(1), outputs=("difference",))
    assert [output.name for output in result.get_response().outputs] == ["difference"]
    assert result.as_numpy("sum") is None
    assert not result.as_numpy("difference").any()


def test_id_parameters_and_headers(client: triton.InferenceServerClient) -> None:
    result = infer(
        client,
        "identity",
        x=rows(1),
        request_id="nr. 7",
        parameters={"mine": 1, "theirs": "word", "flag": True},
        headers={"x-trace": "abc", "authorization": "Bearer none"},
        priority=1,
        timeout=10_000_000,
        sequence_id=5,
        sequence_start=True,
    )
    assert result.get_response().id == "nr. 7"
    assert result.as_numpy("y").tobytes() == rows(1).tobytes()


@pytest.mark.parametrize(("version", "factor", "answered"), [("", 2, "3"), ("1", 1, "1"), ("3", 2, "3")])
def test_versions(client: triton.InferenceServerClient, version: str, factor: int, answered: str) -> None:
    result = infer(client, "versions", x=rows(2), model_version=version)
    assert result.get_response().model_version == answered
    assert result.as_numpy("y").tobytes() == (rows(2) * np.float32(factor)).tobytes()


def test_a_real_model(client: triton.InferenceServerClient) -> None:
    image = np.load(EXAMPLES / "digit.npy").astype(np.float32)
    metadata = client.get_model_metadata("digits")
    name, shape = metadata.inputs[0].name, list(metadata.inputs[0].shape)
    image = image.reshape([1, *shape[1:]])
    expected = oracle(EXAMPLES / "models" / "digits" / "1" / "model.onnx", {name: image})
    result = client.infer("digits", [input_of(name, image)])
    for output, values in expected.items():
        np.testing.assert_allclose(result.as_numpy(output), values, rtol=1e-6)


@pytest.mark.parametrize("count", [1, 50])  # 602 KB and 30 MB each way
def test_large_messages(client: triton.InferenceServerClient, count: int) -> None:
    x = np.random.default_rng(1).normal(size=(count, 3, 224, 224)).astype(np.float32)
    assert infer(client, "large", x=x).as_numpy("y").tobytes() == (x + x).tobytes()


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_messages(client: triton.InferenceServerClient, algorithm: str) -> None:
    for model, x in (("identity", rows(2)), ("large", np.arange(3 * 224 * 224, dtype=np.float32).reshape(1, 3, 224, 224))):
        y = infer(client, model, x=x, compression_algorithm=algorithm).as_numpy("y")
        assert y.tobytes() == (x if model == "identity" else x + x).tobytes()


# ---- what it may ask


def test_server(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    metadata = client.get_server_metadata(as_json=True)
    assert metadata["name"] == "inferd"
    assert {"statistics", "model_configuration", "binary_tensor_data"} <= set(metadata["extensions"])


def test_models(client: triton.InferenceServerClient) -> None:
    assert client.is_model_ready("versions")
    assert client.is_model_ready("versions", "3")
    assert not client.is_model_ready("versions", "2")
    assert not client.is_model_ready("nosuch")
    metadata = client.get_model_metadata("versions", as_json=True)
    assert metadata["versions"] == ["1", "3"]
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": ["-1", "16"]}]
    assert metadata["outputs"] == [{"name": "y", "datatype": "FP32", "shape": ["-1", "16"]}]
    config = client.get_model_config("slow").config
    assert (config.name, config.max_batch_size, list(config.input[0].dims)) == ("slow", 1, [64])
    index = {(entry.name, entry.version): entry.state for entry in client.get_model_repository_index().models}
    assert index["versions", "1"] == index["versions", "3"] == index["digits", "1"] == "READY"


def test_statistics_grow_by_what_was_sent(client: triton.InferenceServerClient) -> None:
    def stats() -> Any:
        return client.get_inference_statistics("identity", "1").model_stats[0]

    before = stats()
    for count in (1, 2, 2, 5):
        infer(client, "identity", x=rows(count))
    after = stats()
    assert after.inference_stats.success.count - before.inference_stats.success.count == 4
    assert after.inference_stats.queue.count - before.inference_stats.queue.count == 4
    assert after.inference_count - before.inference_count == 10
    assert after.execution_count - before.execution_count == 4
    batches = {batch.batch_size: batch.compute_infer.count for batch in after.batch_stats}
    earlier = {batch.batch_size: batch.compute_infer.count for batch in before.batch_stats}
    assert {size: count - earlier.get(size, 0) for size, count in batches.items() if count != earlier.get(size)} == {1: 1, 2: 2, 5: 1}


def test_rejections(client: triton.InferenceServerClient) -> None:
    status, message = refused(infer, client, "nosuch", x=rows(1))
    assert status == "NOT_FOUND"
    assert "'nosuch'" in message
    status, message = refused(infer, client, "identity", x=rows(1, 15))
    assert status == "INVALID_ARGUMENT"
    assert "axis 1 must be 16" in message
    status, message = refused(client.load_model, "identity")
    assert status == "UNAVAILABLE"
    assert "explicit" in message


# ---- time and numbers


def test_a_deadline(client: triton.InferenceServerClient, served: ServerFixture) -> None:
    def counts() -> tuple[int, int]:
        stats = client.get_inference_statistics("slow").model_stats[0]
        return stats.inference_stats.success.count, stats.execution_count

    before = counts()
    first: queue.Queue[Any] = queue.Queue()
    x = rows(1, 64)
    client.async_infer("slow", [input_of("x", x)], lambda result, error: first.put((result, error)))
    assert client.is_server_live()  # the first request is there
    for _ in range(5):
        status, _ = refused(infer, client, "slow", x=x, client_timeout=0.001)
        assert status in ("DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED")  # the latter where earlier runs told how long this one takes
    result, error = first.get(timeout=LIMIT_S)
    assert error is None
    np.testing.assert_allclose(result.as_numpy("y"), x, rtol=0.01, atol=0.05)
    infer(client, "slow", x=x)  # all that waited has had its turn
    assert counts()[0] == before[0] + 2


def test_cancelling_a_call(client: triton.InferenceServerClient) -> None:
    before = client.get_inference_statistics("slow").model_stats[0].inference_stats.success.count
    done: queue.Queue[Any] = queue.Queue()
    calls = [
        client.async_infer("slow", [input_of("x", rows(1, 64, first))], lambda result, error, first=first: done.put((first, result, error)))
        for first in range(5)
    ]
    assert client.is_server_live()
    for first in (1, 3):
        calls[first].cancel()
    ended = sorted((done.get(timeout=LIMIT_S) for _ in range(5)), key=lambda item: item[0])
    for first, result, error in ended:
        if first in (1, 3):
            assert error.status() == "StatusCode.CANCELLED"
        else:
            assert error is None
            np.testing.assert_allclose(result.as_numpy("y"), rows(1, 64, first), rtol=0.01, atol=0.05)
    after = client.get_inference_statistics("slow").model_stats[0].inference_stats.success.count
    assert after - before == 3


def test_32_clients_get_their_own_rows(served: ServerFixture) -> None:
    def run(number: int) -> None:
        with triton.InferenceServerClient(served.address, channel_args=[("grpc.use_local_subchannel_pool", 1)]) as client:
            for turn in range(15):
                x = rows(1 + turn % 3, first=1000 * number + turn)
                result = infer(client, "identity", x=x, request_id=f"{number}/{turn}")
                assert result.get_response().id == f"{number}/{turn}"
                assert result.as_numpy("y").tobytes() == x.tobytes()

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(run, range(32)))


# ---- streams


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_stream(served: ServerFixture, compression: str | None) -> None:
    found: queue.SimpleQueue[tuple[triton.InferResult | None, InferenceServerException | None]] = queue.SimpleQueue()
    with triton.InferenceServerClient(served.address) as client:
        client.start_stream(lambda result, error: found.put((result, error)), compression_algorithm=compression)
        for number in range(600):
            x = rows(1, 15 if number == 300 else 16, number)
            client.async_stream_infer("identity", [input_of("x", x)], request_id=str(number))
        client.stop_stream()  # waits for all responses
    for number in range(600):
        result, error = found.get(timeout=LIMIT_S)
        if number == 300:
            assert "16" in str(error)
        else:
            assert error is None
            assert result is not None
            assert result.get_response().id == str(number)
            assert result.as_numpy("y").tobytes() == rows(1, 16, number).tobytes()


def test_a_wrong_request_does_not_end_a_stream_that_asks_for_statuses(served: ServerFixture) -> None:
    found: queue.SimpleQueue[tuple[triton.InferResult | None, InferenceServerException | None]] = queue.SimpleQueue()
    with triton.InferenceServerClient(served.address) as client:
        client.start_stream(lambda result, error: found.put((result, error)), headers={"triton_grpc_error": "true"})
        client.async_stream_infer("nobody", [input_of("x", rows(1))])
        client.async_stream_infer("identity", [input_of("x", rows(1))])
        _, error = found.get(timeout=LIMIT_S)
        assert error is not None
        assert (error.status(), "nobody" in error.message()) == (None, True)
        _, error = found.get(timeout=LIMIT_S)
        assert error is None
