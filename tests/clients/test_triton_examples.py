"""Triton's example models and example programs, unchanged, on inferd.

The programs are those of src/python/examples in triton-inference-server's repository `client`. They are not part of this one: the
environment variable TRITON_EXAMPLES names a folder that has them, else .tools/triton-examples is looked at. Everything that they check of
a server is tested here by tritonclient, too.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from PIL import Image
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests import models, triton_repository
from tests.server_fixtures import TRANSPORTS, ServerFixture
from tests.triton_server import TritonServer, needs_triton

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(os.environ.get("TRITON_EXAMPLES", ROOT / ".tools" / "triton-examples"))
LIMIT_S = 60


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return triton_repository.write(tmp_path_factory.mktemp("triton") / "models")


@pytest.fixture(scope="module", params=TRANSPORTS)
def served(request: pytest.FixtureRequest, repository: Path) -> Iterator[ServerFixture]:
    with ServerFixture(repository, transport=request.param, http_port=0) as server:
        yield server


@pytest.fixture(scope="module")
def client(served: ServerFixture) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(served.address) as client:
        yield client


def tensor(name: str, array: np.ndarray[Any, Any], word: str) -> triton.InferInput:
    made = triton.InferInput(name, list(array.shape), word)
    made.set_data_from_numpy(array)
    return made


# ---- the repository


def test_what_is_rejected_stops_nothing_else(client: triton.InferenceServerClient) -> None:
    index = {entry.name: entry.state for entry in client.get_model_repository_index().models}
    assert index == dict.fromkeys(triton_repository.SERVED, "READY") | dict.fromkeys(triton_repository.REJECTED, "UNAVAILABLE")


def test_clients_see_the_shapes_of_the_configuration(client: triton.InferenceServerClient) -> None:
    metadata = client.get_model_metadata("densenet_onnx")
    assert [list(each.shape) for each in (*metadata.inputs, *metadata.outputs)] == [[3, 224, 224], [1000]]
    assert client.get_model_config("densenet_onnx").config.output[0].label_filename == "labels.txt"


PICTURES = {
    "densenet_onnx": ("data_0", np.full((3, 224, 224), [[[1]], [[2]], [[3]]], np.float32), "fc6_1"),
    "inception_onnx": ("input", np.full((2, 299, 299, 3), [[[[1, 2, 3]]], [[[3, 2, 1]]]], np.float32), triton_repository.INCEPTION_OUTPUT),
}


@pytest.mark.parametrize("name", PICTURES)
def test_classification(client: triton.InferenceServerClient, name: str) -> None:
    """Of one picture without a batch axis, and of two."""
    wanted, pictures, output = PICTURES[name]
    inputs = [tensor(wanted, pictures, "FP32")]
    plain = client.infer(name, inputs).as_numpy(output)
    told = client.infer(name, inputs, outputs=[triton.InferRequestedOutput(output, class_count=3)]).as_numpy(output)
    assert told.shape == (*plain.shape[:-1], 3)
    for scores, texts in zip(plain.reshape(-1, plain.shape[-1]), told.reshape(-1, 3), strict=True):
        best = np.argsort(-scores, kind="stable")[:3]
        assert [each.decode() for each in texts] == [f"{scores[place]:f}:{place}:CLASS {place}" for place in best]


async def test_classification_over_asyncio(served: ServerFixture) -> None:
    async with triton_aio.InferenceServerClient(served.address) as client:
        outputs = [triton_aio.InferRequestedOutput("OUTPUT0", class_count=2)]
        inputs = [tensor(name, np.arange(32, dtype=np.int32).reshape(2, 16), "INT32") for name in ("INPUT0", "INPUT1")]
        told = (await client.infer("simple", inputs, outputs=outputs)).as_numpy("OUTPUT0")
    assert told.tolist() == [[b"30:15", b"28:14"], [b"62:15", b"60:14"]]


def test_texts(client: triton.InferenceServerClient) -> None:
    numbers = np.array([[str(number).encode() for number in range(16)]], object)
    result = client.infer("simple_string", [tensor(name, numbers, "BYTES") for name in ("INPUT0", "INPUT1")])
    assert [int(each) for each in result.as_numpy("OUTPUT0")[0]] == [2 * number for number in range(16)]
    blobs = np.array([[b"he\0llo", b"\0\1\2\3"]], object)
    assert client.infer("simple_identity", [tensor("INPUT0", blobs, "BYTES")]).as_numpy("OUTPUT0").tolist() == blobs.tolist()


# ---- phrases that the programs look for


def test_an_unknown_model(client: triton.InferenceServerClient) -> None:
    for call in (client.get_model_metadata, client.get_model_config):
        with pytest.raises(InferenceServerException, match="Request for unknown model") as caught:
            call("wrong_model_name")
        assert caught.value.status() == "StatusCode.NOT_FOUND"
        assert caught.value.message().startswith("Request for unknown model")


def request_of(name: str) -> service_pb2.ModelInferRequest:
    request = service_pb2.ModelInferRequest(model_name=name)
    for each in ("INPUT0", "INPUT1"):
        request.inputs.add(name=each, datatype="INT32", shape=[1, 16]).contents.int_contents.extend(range(16))
    return request


def test_raw_and_explicit_contents_and_a_wrong_version(served: ServerFixture) -> None:
    mixed, version = request_of("simple"), request_of("simple")
    mixed.raw_input_contents.append(bytes(64))
    version.model_version = "wrong_specification"
    phrases = {
        "contents field must not be specified when using raw_input_contents for 'INPUT0' for model 'simple'": mixed,
        "failed to get model version from specified version string 'wrong_specification'": version,
    }
    with grpc.insecure_channel(served.address) as channel:
        ask = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer
        for phrase, request in phrases.items():
            with pytest.raises(grpc.RpcError) as caught:
                ask(request, timeout=LIMIT_S)
            assert phrase in caught.value.details()
            assert caught.value.code().name == "INVALID_ARGUMENT"


# ---- a real Triton

ECHO = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        arrays = [pb_utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", array)]) for array in arrays]
"""


@needs_triton
def test_a_real_triton_says_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Of classes, settings that change while it serves, and names that are wrong."""
    caplog.set_level(logging.INFO, "inferd")
    arrays = {
        "batched": np.array([[[1, 3], [2, 3]], [[-1e10, np.inf], [1e-7, np.nan]]], np.float32),
        "whole": np.array([[4, 3], [2, 1]], np.int64),
    }
    real = TritonServer(tmp_path)
    ours = tmp_path / "ours"
    for name in arrays:
        word, rows = ("FP32", 4) if name == "batched" else ("INT64", 0)
        tensors = f"data_type: TYPE_{word} dims: [ 2, 2 ]"
        text = f'max_batch_size: {rows} input [ {{ name: "x" {tensors} }} ] output [ {{ name: "y" {tensors} label_filename: "l" }} ] '
        models.repository(ours, {name: models.identity(word, (2, 2) if rows else (2,), batch="N" if rows else 2)}, {name: text})
        theirs = tmp_path / "repository" / name
        (theirs / "1").mkdir(parents=True)
        (theirs / "1" / "model.py").write_text(ECHO)
        (theirs / "config.pbtxt").write_text(f'name: "{name}" backend: "python" instance_group {{ kind: KIND_CPU }} {text}')
        for folder in (ours / name, theirs):
            (folder / "l").write_text("cat\n\ndog\n")
    with real, ServerFixture(ours) as inferd:
        real.wait_until_ready()
        said = []
        for address in (real.address, inferd.address):
            with triton.InferenceServerClient(address) as client:
                classes = [
                    client.infer(
                        name,
                        [tensor("x", array, np_to_triton_dtype(array.dtype))],
                        outputs=[triton.InferRequestedOutput("y", class_count=count)],
                    )
                    .as_numpy("y")
                    .tolist()
                    for name, array in arrays.items()
                    for count in (1, 3, 9)
                ]
                settings = [client.get_log_settings(), client.update_log_settings({"log_info": False}), client.get_trace_settings()]
                settings.append(client.update_log_settings({"log_info": True, "bogus": True}))
                statuses = []
                for call in (
                    lambda client=client: client.get_model_metadata("none"),
                    lambda client=client: client.get_model_metadata("whole", "7"),
                    lambda client=client: client.get_model_metadata("whole", "x"),
                    lambda client=client: client.get_trace_settings("none"),
                    lambda client=client: client.update_log_settings({"log_file": "x"}),
                    lambda client=client: client.update_log_settings({"log_format": "json"}),
                ):
                    with pytest.raises(InferenceServerException) as caught:
                        call()
                    statuses.append(caught.value.status())
                said.append((classes, [each.SerializeToString(deterministic=True) for each in settings], statuses))
    assert said[0] == said[1]


# ---- the programs

LAST_LINES = {
    "simple_grpc_infer_client": "PASS: infer",
    "simple_grpc_async_infer_client": "PASS: Async infer",
    "simple_grpc_string_infer_client": "PASS: string",
    "simple_grpc_keepalive_client": "PASS: KeepAlive",
    "simple_grpc_custom_args_client": "PASS: KeepAlive",
    "simple_grpc_aio_infer_client": "PASS: infer",
    "simple_grpc_aio_string_infer_client": "PASS: string",
    "simple_grpc_aio_keepalive_client": "PASS: KeepAlive",
    "simple_grpc_aio_custom_args_client": "PASS: CustomArgs",
    "grpc_explicit_int_content_client": "PASS: explicit int",
    "grpc_explicit_int8_content_client": "PASS: explicit int8",
    "grpc_explicit_byte_content_client": "PASS: explicit string",
    # They compare the server's name with "triton", and end there.
    "simple_grpc_health_metadata": "FAILED : get_server_metadata",
    "simple_grpc_aio_health_metadata": "FAILED : get_server_metadata",
    **{
        f"{program} -m {model} {how}": "PASS"
        for program in ("image_client", "grpc_image_client")
        for model in ("densenet_onnx", "inception_onnx -b 2")
        for how in ("", "--async", "--streaming")
    },
    **{f"image_client -i http -m {model} {how}": "PASS" for model in ("densenet_onnx", "inception_onnx -b 2") for how in ("", "--async")},
}


# Those of REST end without a word where all was well.
HTTP_EXITS = {
    "simple_http_infer_client": 0,
    "simple_http_async_infer_client": 0,
    "simple_http_string_infer_client": 0,
    "simple_http_aio_infer_client": 0,
    "simple_http_aio_string_infer_client": 0,
    # As above.
    "simple_http_health_metadata": 1,
    "simple_http_aio_health_metadata": 1,
}


# Programs that load models. The newest looks for words of an error in the place where tritonclient 2.73 has its code.
CONTROL = {
    "simple_grpc_aio_model_control": "PASS: model control",
    "simple_grpc_model_control": "FAILED: expected 'Invalid file path' for oversized file path; got 'StatusCode.INVALID_ARGUMENT'",
}


@pytest.mark.parametrize("program", LAST_LINES)
def test_each_program_runs_unchanged(served: ServerFixture, tmp_path: Path, program: str) -> None:
    name, *flags = program.split()
    if not (PROGRAMS / f"{name}.py").exists():
        pytest.skip("TRITON_EXAMPLES names no folder with Triton's example programs")
    if "image_client" in name:
        Image.new("RGB", (40, 30), (200, 100, 50)).save(tmp_path / "picture.png")
        over_grpc = ("-i", "grpc") if program.startswith("image_client -m") else ()
        flags += ["-c", "3", "-s", "INCEPTION", *over_grpc, str(tmp_path / "picture.png")]
    command = [sys.executable, PROGRAMS / f"{name}.py", "-u", served.http if "http" in flags else served.address, *flags]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.stdout.splitlines()[-1] == LAST_LINES[program], (done.stdout[-2000:], done.stderr[-2000:])
    if "image_client" in name:
        assert done.stdout.count("= CLASS ") == (6 if "-b" in flags else 3)


@pytest.mark.parametrize("name", HTTP_EXITS)
def test_each_program_of_rest_runs_unchanged(served: ServerFixture, name: str) -> None:
    if not (PROGRAMS / f"{name}.py").exists():
        pytest.skip("TRITON_EXAMPLES names no folder with Triton's example programs")
    command = [sys.executable, PROGRAMS / f"{name}.py", "-u", served.http]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == HTTP_EXITS[name], (done.stdout[-2000:], done.stderr[-2000:])
    if done.returncode:
        assert done.stdout.splitlines()[-1] == "FAILED : get_server_metadata"


def test_programs_that_load_models(repository: Path) -> None:
    """The index has all eight, loaded or not. tritonclient checks here what the programs check."""
    with ServerFixture(repository, model_control="explicit") as server, triton.InferenceServerClient(server.address) as client:
        index = client.get_model_repository_index().models
        assert {(entry.name, entry.version, entry.state) for entry in index} == {
            (name, "", "") for name in (*triton_repository.SERVED, *triton_repository.REJECTED)
        }
        client.load_model("simple")
        with pytest.raises(InferenceServerException, match="failed to load 'simple'"):
            client.load_model("simple", config='"parameters": {"config": {{"max_batch_size": "16"}}}')
        client.load_model("simple", config='{"max_batch_size":"16"}')
        assert client.get_model_config("simple").config.max_batch_size == 16
        with pytest.raises(InferenceServerException, match="Invalid file path"):
            client.load_model("simple", config="{}", files={"file:" + "A" * 256: b"a"})
        client.unload_model("simple")
        assert not client.is_model_ready("simple")
        with pytest.raises(InferenceServerException, match="failed to load 'wrong_model_name'"):
            client.load_model("wrong_model_name")
        for name, last in CONTROL.items():
            if (PROGRAMS / f"{name}.py").exists():
                command = [sys.executable, PROGRAMS / f"{name}.py", "-u", server.address]
                done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT_S)
                assert done.stdout.splitlines()[-1] == last, (done.stdout[-2000:], done.stderr[-2000:])


@pytest.mark.parametrize("name", ["simple_http_model_control", "simple_http_aio_model_control"])
def test_programs_that_load_models_over_rest(repository: Path, tmp_path: Path, name: str) -> None:
    """They count seven models."""
    if not (PROGRAMS / f"{name}.py").exists():
        pytest.skip("TRITON_EXAMPLES names no folder with Triton's example programs")
    shutil.copytree(repository, tmp_path / "models", ignore=shutil.ignore_patterns(triton_repository.REJECTED[0]))
    with ServerFixture(tmp_path / "models", model_control="explicit", http_port=0) as server:
        command = [sys.executable, PROGRAMS / f"{name}.py", "-u", server.http]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=LIMIT_S)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["PASS: model control"]), (done.stdout[-2000:], done.stderr[-2000:])
