"""tritonclient.http, the REST client that most of Triton's users have, unchanged: with gevent and with asyncio, on every server of REST."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests import models
from tests.server_fixtures import TRANSPORTS, ServerFixture
from tests.wire import rows

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# JSON has no FP16, and tritonclient sends no BF16 from numpy.
WORDS = [word for word in models.DATATYPES if word != "BF16"]


@pytest.fixture(scope="module", params=TRANSPORTS)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerFixture]:
    folder = models.repository(
        tmp_path_factory.mktemp("triton"),
        {
            **{f"identity_{word}": models.identity(word, (3,)) for word in WORDS},
            "identity": models.identity(),
            "add": models.add(),
            "versions": {1: models.identity(), 3: models.doubled()},
            "large": models.doubled("FP32", (3, 224, 224)),
            "unloaded": models.identity(),
        },
        {"versions": "version_policy { all {} }", "large": "max_batch_size: 64"},
    )
    loaded = [name.name for name in folder.iterdir() if name.name != "unloaded"]
    settings = {"model_control": "explicit", "load_model": (*loaded, "digits"), "compression": "gzip"}
    with ServerFixture(folder, EXAMPLES / "models" / "digits", transport=request.param, http_port=0, **settings) as server:
        yield server


@pytest.fixture(scope="module")
def client(served: ServerFixture) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(served.http, network_timeout=30, concurrency=4) as client:
        yield client


def input_of(name: str, array: np.ndarray[Any, Any], *, binary: bool = True, of: Any = triton) -> Any:
    tensor = of.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def sample(word: str) -> np.ndarray[Any, Any]:
    if word == "BYTES":
        return np.array([["a", "ä€", ""], ["x" * 300, "1", "\x01"]], object)
    if word == "BOOL":
        return np.array([[True, False, True], [False, False, True]])
    dtype = np.dtype({"FP16": "f2", "FP32": "f4", "FP64": "f8"}.get(word, word.lower()))
    limits = np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)
    return np.array([[0, 1, limits.max], [limits.min, 3, 2]], dtype)


def texts(array: np.ndarray[Any, Any]) -> Any:
    return [[each.decode() if isinstance(each, bytes) else each for each in row] for row in array.tolist()]


@pytest.mark.parametrize(("word", "binary"), [(word, binary) for word in WORDS for binary in (True, False) if binary or word != "FP16"])
def test_every_datatype(client: triton.InferenceServerClient, word: str, binary: bool) -> None:
    array = sample(word)
    outputs = [triton.InferRequestedOutput("y", binary_data=binary)]
    found = client.infer(f"identity_{word}", [input_of("x", array, binary=binary)], outputs=outputs).as_numpy("y")
    assert (found.shape, texts(found)) == (array.shape, texts(array))


def test_all_outputs_come_in_binary_where_none_is_named(client: triton.InferenceServerClient) -> None:
    a, b = rows(3, first=1), rows(3, first=7)
    result = client.infer("add", [input_of("b", b, binary=False), input_of("a", a)], request_id="nr. 7", parameters={"own": 1})
    assert result.as_numpy("sum").tobytes() == (a + b).tobytes()
    assert result.as_numpy("difference").tobytes() == (a - b).tobytes()
    assert (result.get_response()["id"], result.get_output("sum")["parameters"]) == ("nr. 7", {"binary_data_size": a.nbytes})


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compression(client: triton.InferenceServerClient, coding: str) -> None:
    x = np.zeros((1, 3, 224, 224), np.float32)
    codings = {"request_compression_algorithm": coding, "response_compression_algorithm": coding}
    assert not client.infer("large", [input_of("x", x)], **codings).as_numpy("y").any()


def test_large_messages(client: triton.InferenceServerClient) -> None:
    x = np.random.default_rng(1).normal(size=(50, 3, 224, 224)).astype(np.float32)  # 30 MB
    assert client.infer("large", [input_of("x", x)]).as_numpy("y").tobytes() == (x + x).tobytes()


def test_classification(client: triton.InferenceServerClient) -> None:
    image = np.load(EXAMPLES / "digit.npy").astype(np.float32)
    metadata = client.get_model_metadata("digits")
    tensor = input_of(metadata["inputs"][0]["name"], image.reshape([1, *metadata["inputs"][0]["shape"][1:]]))
    for binary in (True, False):
        asked = [triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=2)]
        first = client.infer("digits", [tensor], outputs=asked).as_numpy("probabilities").ravel()[0]
        assert (first.decode() if isinstance(first, bytes) else first).split(":")[1] == "7"


def test_versions(client: triton.InferenceServerClient) -> None:
    for version, factor, answered in (("", 2, "3"), ("1", 1, "1"), ("3", 2, "3")):
        result = client.infer("versions", [input_of("x", rows(2))], model_version=version)
        assert result.get_response()["model_version"] == answered
        assert result.as_numpy("y").tobytes() == (rows(2) * np.float32(factor)).tobytes()


def test_requests_at_the_same_time(client: triton.InferenceServerClient) -> None:
    asked = [client.async_infer("identity", [input_of("x", rows(1, first=first))]) for first in range(20)]
    for first, each in enumerate(asked):
        assert each.get_result().as_numpy("y").tobytes() == rows(1, first=first).tobytes()


def test_what_may_be_asked(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.get_server_metadata()["name"] == "inferd"
    assert client.is_model_ready("versions", "3")
    assert not client.is_model_ready("versions", "2")
    assert not client.is_model_ready("nosuch")
    assert client.get_model_metadata("versions")["versions"] == ["1", "3"]
    assert client.get_model_config("large")["max_batch_size"] == 64
    assert client.get_inference_statistics("versions")["model_stats"][0]["name"] == "versions"
    assert len(client.get_inference_statistics()["model_stats"]) > 3
    assert client.get_log_settings()["log_info"] in (True, False)
    assert client.get_trace_settings("identity")["trace_level"] == ["OFF"]
    assert client.update_trace_settings(settings={"trace_level": None, "trace_rate": "5"})["trace_level"] == ["OFF"]


def test_models_come_and_go(client: triton.InferenceServerClient, tmp_path: Path) -> None:
    def states() -> dict[str, str]:
        return {model["name"]: model.get("state", "") for model in client.get_model_repository_index()}

    assert states()["unloaded"] == ""
    client.load_model("unloaded")
    assert states()["unloaded"] == "READY"
    client.unload_model("unloaded")
    assert states()["unloaded"] == "UNAVAILABLE"
    client.load_model("sent", config='{"max_batch_size": 8}', files={"file:1/model.onnx": models.doubled()})
    assert client.infer("sent", [input_of("x", rows(1))]).as_numpy("y").tobytes() == (rows(1) * np.float32(2)).tobytes()
    client.unload_model("sent", unload_dependents=True)


@pytest.mark.parametrize(
    ("model", "inputs", "status", "words"),
    [
        ("nosuch", {"x": rows(1)}, "404", "nosuch"),
        ("identity", {"z": rows(1)}, "400", "z"),
        ("identity", {"x": rows(1).astype(np.int32)}, "400", "FP32"),
        ("identity", {"x": rows(1)[:, :3]}, "400", "[1,3]"),
    ],
)
def test_rejections(client: triton.InferenceServerClient, model: str, inputs: dict[str, Any], status: str, words: str) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer(model, [input_of(name, array) for name, array in inputs.items()])
    assert (caught.value.status(), words in caught.value.message()) == (status, True), caught.value.message()


async def test_with_asyncio(served: ServerFixture) -> None:
    async with triton_aio.InferenceServerClient(served.http) as client:
        assert await client.is_server_ready()
        assert (await client.get_server_metadata())["name"] == "inferd"
        result = await client.infer("identity", [input_of("x", rows(2), of=triton_aio)])
        assert result.as_numpy("y").tobytes() == rows(2).tobytes()
        with pytest.raises(InferenceServerException):
            await client.infer("nosuch", [input_of("x", rows(2), of=triton_aio)])
