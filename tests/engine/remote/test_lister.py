"""The process that lists: it does not outlive whoever started it."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec

from inferd.engine.remote.listing import Asked
from tests.engine.remote.hostile_store import HostileStore
from tests.wire import LIMIT_S


def test_the_child_ends_with_its_parent() -> None:
    with HostileStore("hangs") as store:
        command = [sys.executable, "-m", "inferd.engine.remote.lister"]
        environment = os.environ | store.environment
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, bufsize=0) as child:
            assert child.stdin is not None
            child.stdin.write(msgspec.json.encode(Asked("s3://bucket/m", 3600)) + b"\n")
            assert store.came.wait(LIMIT_S)
            child.stdin.close()
            assert child.wait(LIMIT_S) == 1
