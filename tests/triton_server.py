"""A real Triton Inference Server for the tests, where benchmarks/peers has installed it. Nothing is installed here.

Its one model, `identity`, is Python: x FP32[N,16] -> y = x, one request at a time, and one more may wait. A request with the parameter
`gate` holds the model until somebody has opened and closed the named pipe of that path.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Self

import grpc
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ROOT / ".peers" / "triton" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
BUNDLE = PACKAGES / "pytriton" / "tritonserver"
LIMIT_S = 60  # from its start to its first response, and from SIGTERM to its end

needs_triton = pytest.mark.skipif(
    not BUNDLE.exists(), reason="Triton is not installed: python benchmarks/peers --peers triton --install-only"
)

CONFIG = """\
name: "identity"
backend: "python"
max_batch_size: 8
input [ { name: "x", data_type: TYPE_FP32, dims: [ 16 ] } ]
output [ { name: "y", data_type: TYPE_FP32, dims: [ 16 ] } ]
dynamic_batching { preferred_batch_size: [ 1 ] default_queue_policy { max_queue_size: 1 } }
instance_group [ { count: 1, kind: KIND_CPU } ]
"""

MODEL = """\
import json

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            if gate := json.loads(request.parameters() or "{}").get("gate"):
                with open(gate) as pipe:
                    pipe.read()
        arrays = [pb_utils.get_input_tensor_by_name(request, "x").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", array)]) for array in arrays]
"""


class TritonServer:
    """tritonserver with further flags, on free ports, from `with` to its end."""

    def __init__(self, folder: Path, **flags: str | Path) -> None:
        model = folder / "repository" / "identity"
        (model / "1").mkdir(parents=True)
        (model / "config.pbtxt").write_text(CONFIG)
        (model / "1" / "model.py").write_text(MODEL)
        with socket.create_server(("127.0.0.1", 0)) as unused, socket.create_server(("127.0.0.1", 0)) as other:
            port, http_port = unused.getsockname()[1], other.getsockname()[1]
        self.address, self.url = f"127.0.0.1:{port}", f"http://127.0.0.1:{http_port}"
        values = {
            "model_repository": model.parent,
            "backend_directory": BUNDLE / "backends",
            "grpc_address": "127.0.0.1",
            "grpc_port": port,
            "http_address": "127.0.0.1",
            "http_port": http_port,
        }
        values |= {"allow_metrics": "false", **flags}
        self._command = [str(program()), *(f"--{name.replace('_', '-')}={value}" for name, value in values.items())]
        self._log = folder / "log"

    def __enter__(self) -> Self:
        python = ROOT / ".peers" / "triton" / "bin"
        own = {"LD_LIBRARY_PATH": str(PACKAGES / "nvidia_pytriton.libs"), "PATH": os.pathsep.join([str(python), os.environ["PATH"]])}
        own |= {"PYTHONPATH": str(PACKAGES)}
        with self._log.open("w") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, env={**os.environ, **own})
        return self

    def wait_until_ready(self, credentials: grpc.ChannelCredentials | None = None) -> None:
        """Its port is opened when its models are loaded."""
        options = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 50)]
        channel = (
            grpc.insecure_channel(self.address, options) if credentials is None else grpc.secure_channel(self.address, credentials, options)
        )
        with channel:
            try:
                grpc.channel_ready_future(channel).result(LIMIT_S)
            except grpc.FutureTimeoutError:
                raise AssertionError(f"Triton is not ready after {LIMIT_S} s:\n{self._log.read_text()[-2000:]}") from None

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends the server; may be called twice."""
        self._process.send_signal(number)
        try:
            self._process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(LIMIT_S)


def program() -> Path:
    """The server; beside its Python back end belongs the stub for this Python."""
    server, stub = BUNDLE / "bin" / "tritonserver", BUNDLE / "backends" / "python" / "triton_python_backend_stub"
    if not stub.exists():
        shutil.copy(BUNDLE / "python_backend_stubs" / f"3.{sys.version_info.minor}" / stub.name, stub)
    for file in (server, stub):
        file.chmod(0o755)
    return server
