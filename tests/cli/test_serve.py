"""`inferd serve`: the ready line, the exit codes, and an end that is clean."""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import grpc
import numpy as np
import pytest
from inferd_client import Client

from inferd.cli import serve
from inferd.errors import StartError
from tests.command import EXAMPLES, FREE_PORTS, GRPC_ALONE, Serving, command, environment, full_pipe

MODELS = EXAMPLES / "models"
DIGITS = MODELS / "digits" / "1" / "model.onnx"


def answer(address: str, model: str = "identity") -> float:
    values = np.arange(16, dtype=np.float32)[None]
    with Client(address, timeout=30) as client:
        (output,) = client.infer(model, {"x": values}).values()
    return float(np.abs(output - values).max())


def test_zero_configuration_and_no_metrics(tmp_path: Path) -> None:
    with Serving(tmp_path, DIGITS, *GRPC_ALONE, "--host", "::1") as server:
        assert "metrics" not in server.addresses
        assert server.addresses["grpc"].startswith("[::1]:")
    assert server.code == 0


def test_settings_from_file_and_variable(tmp_path: Path) -> None:
    (tmp_path / "inferd.toml").write_text(f'models = ["{MODELS}"]\nmetrics_port = "off"\nlog_format = "json"\nlisten = "unix:here.sock"\n')
    with Serving(tmp_path, INFERD_GRPC_PORT="0") as server:
        assert answer(server.addresses["grpc"]) == 0
        assert server.addresses["listen"]
        assert answer(f"unix:{tmp_path / 'here.sock'}") == 0
    lines = [json.loads(line) for line in server.log.splitlines()]
    assert "grpc_port=0 (INFERD_GRPC_PORT)" in lines[0]["message"]
    assert all({"time", "level", "area", "message"} <= set(line) for line in lines)


def test_a_reader_of_stdout_that_leaves_does_not_end_the_server(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    socket_path = tmp_path / "here.sock"
    arguments = command("serve", MODELS, *FREE_PORTS, "--listen", f"unix:{socket_path}")
    with open(tmp_path / "log", "w+") as log:
        server = subprocess.Popen(arguments, stdout=writer, stderr=subprocess.PIPE, env=environment(), text=True)
        os.close(writer)
        assert server.stderr is not None
        try:
            while "ready on" not in (line := server.stderr.readline()):
                assert line, "the server ended"
            assert answer(f"unix:{socket_path}") == 0
        finally:
            server.terminate()
            server.communicate(timeout=60)
        assert server.returncode == 0, log.read()


def test_closed_standard_descriptors_do_not_end_the_server(tmp_path: Path) -> None:
    """tests/cli/test_main.py closes each of them alone."""
    socket_path = tmp_path / "here.sock"
    arguments = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command("serve", MODELS, *FREE_PORTS, "--listen", f"unix:{socket_path}")]
    server = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    try:
        with grpc.insecure_channel(f"unix:{socket_path}", [("grpc.initial_reconnect_backoff_ms", 100)]) as channel:
            grpc.channel_ready_future(channel).result(timeout=60)
        assert answer(f"unix:{socket_path}") == 0
    finally:
        server.terminate()
        server.wait(timeout=60)
    assert server.returncode == 0


def test_a_port_in_use_is_told_before_workers_are_started(run) -> None:
    """tests/serving/test_server.py has one process, and both kinds of ports."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run("serve", "absent.onnx", *FREE_PORTS, "--grpc-port", port, "--workers", "2")
    assert (done.returncode, done.stdout) == (3, "")
    assert "is started" not in done.stderr
    assert "Traceback" not in done.stderr
    assert port in done.stderr
    assert "no file or folder" not in done.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_terminal_shows_models_addresses_and_a_command(tmp_path: Path, workers: str) -> None:
    shutil.copytree(MODELS / "digits", tmp_path / "models" / "digits")
    (tmp_path / "models" / "broken.onnx").write_bytes(b"this is no model")
    terminal, inner = pty.openpty()
    arguments = command("serve", "models", *FREE_PORTS, "--workers", workers)
    server = subprocess.Popen(arguments, cwd=tmp_path, stdout=inner, stderr=inner, env=environment(TERM="xterm", NO_COLOR="1"))
    os.close(inner)
    said = b""
    try:
        while b"Ctrl-C" not in said:
            said += os.read(terminal, 4096)
    finally:
        server.send_signal(signal.SIGINT)
        code = server.wait(timeout=60)
        with suppress(OSError):  # which is the end of what a terminal has
            while more := os.read(terminal, 4096):
                said += more
        os.close(terminal)
    text = said.decode().replace("\r\n", "\n")
    assert code == 0, text
    assert "\x1b" not in text
    assert text.startswith("inferd ")
    assert re.search(r"^  digits +image FP32\[N,8,8\] +batches of up to 64 +(on the event loop|CPU)$", text, re.MULTILINE), text
    assert re.search(r"^  broken +skipped: it cannot be loaded", text, re.MULTILINE), text
    assert re.search(r"^  try +\S*inferd infer localhost:[0-9]+ digits --random$", text, re.MULTILINE), text
    assert re.search(r"^  metrics +http://localhost:[0-9]+/metrics$", text, re.MULTILINE), text
    assert "skipped: model 'broken' cannot be loaded" in text
    assert "INFO     loading" not in text
    assert "stopping: serving what is queued" in text


def test_a_path_that_is_not_there_is_exit_code_2(run) -> None:
    done = run("serve", "absent.onnx", *FREE_PORTS)
    assert done.returncode == 2, done.stderr
    assert "absent.onnx" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("flag", ["--token-file", "--tls-key"])
@pytest.mark.parametrize("secret", ["c2VjcmV0" * 8, "c2VjcmV0" * 40, "c2VjcmV0/c2VjcmV0.x"])
def test_a_secret_in_place_of_its_file_is_repeated_nowhere(call, flag: str, secret: str) -> None:
    done = call("serve", MODELS, *FREE_PORTS, "--tls-cert", "absent.pem", "--tls-key", MODELS, flag, secret)
    assert done.returncode == 2, done.stderr
    assert re.search(r"(token_file|tls_key) \(--t.*\): expected the path of a file that can be read: .*; the path is not", done.stderr)
    assert "c2Vj" not in done.stderr + done.stdout


@pytest.mark.parametrize("verb", ["serve", "config"])
@pytest.mark.parametrize("wrapped", [str, lambda key: base64.b64encode(key.encode()).decode()], ids=["PEM", "base64"])
def test_a_key_in_place_of_its_file_is_repeated_nowhere(call, verb: str, wrapped: Callable[[str], str]) -> None:
    key = wrapped("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----")
    done = call(verb, MODELS, "--tls-cert", "absent.pem", "--tls-key", key)
    assert done.returncode == 2, done.stderr
    assert "tls_key (--tls-key): expected a path, got " in done.stderr
    assert not any(part in done.stderr + done.stdout for part in (key[:8], key[-8:], "c2Vj"))


def test_a_file_that_is_no_model_is_rejected(run, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"this is no model")
    done = run("serve", "broken.onnx", *FREE_PORTS)
    assert done.returncode in (2, 3), done.stderr
    assert "broken" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_onnxruntime_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "find_spec", lambda name: None)  # an environment without it is a virtual environment more
    with pytest.raises(StartError, match=r"pip install 'inferd\[cpu\]', or 'inferd\[gpu\]'"):
        serve.require_onnxruntime()


def test_the_ready_line_is_one_line_of_json() -> None:
    code = "from inferd.cli.serve import announce; announce({'grpc': '127.0.0.1:1', 'listen': ['unix:/a\\nb']}).join(); print('end')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, env=environment())
    first, second = done.stdout.splitlines()
    assert json.loads(first.removeprefix("ready ")) == {"grpc": "127.0.0.1:1", "listen": ["unix:/a\nb"]}
    assert second == "end"


def test_a_stdout_that_nobody_reads_holds_up_nothing() -> None:
    code = "import sys; from inferd.cli.serve import announce; announce({}); sys.stderr.write('alive')"
    with full_pipe() as (_, writes):
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=writes, stderr=subprocess.PIPE, timeout=60, check=False, env=environment()
        )
    assert (done.returncode, done.stderr) == (0, b"alive")


@pytest.mark.parametrize("close", ["os.close(1)", "sys.stdout.close()", "sys.stdout = None"])
def test_the_ready_line_without_a_stdout(close: str) -> None:
    code = f"import os, sys; from inferd.cli.serve import announce; {close}; announce({{}}).join(); sys.stderr.write('alive')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=environment())
    assert done.returncode == 0
    assert done.stderr.endswith("alive")
    assert ("took no ready line" in done.stderr) == (close == "os.close(1)")  # the others leave the descriptor open
