"""The examples of other languages (examples/clients), run as they stand against a real server. `make test` builds what is compiled."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server_fixtures import ServerFixture

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "clients"
COMMANDS = {
    "Go": "go-infer",
    "Java": "java-infer",
    "Node": f"node {EXAMPLES / 'node' / 'infer.js'}",
    "curl": EXAMPLES / "curl.sh",
    "grpcurl": EXAMPLES / "grpcurl.sh",
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ServerFixture(ROOT / "examples" / "models") as served:
        yield served.address


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """protoc is that of grpcio-tools; Node finds the packages of the suite's own client."""
    protoc = tmp_path / "protoc"
    protoc.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m grpc_tools.protoc "$@"\n')
    protoc.chmod(0o755)
    path = os.pathsep.join([str(tmp_path), str(ROOT / ".tools" / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path, "NODE_PATH": str(ROOT / "tests" / "clients" / "node" / "node_modules")}


@pytest.mark.parametrize("language", COMMANDS)
def test_an_example_reads_the_digit(address: str, environment: dict[str, str], language: str) -> None:
    if language == "grpcurl" and platform.machine() != "x86_64":
        pytest.skip("no package has grpcurl for this machine")
    command = shlex.split(f"{COMMANDS[language]} {address} {ROOT / 'examples' / 'digit.npy'}")
    done = subprocess.run(["env", *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    if language == "grpcurl":
        (label,) = json.loads(done.stdout)["rawOutputContents"]
        assert int.from_bytes(b64decode(label), "little") == 7
    else:
        assert done.stdout == "digit 7\n"
