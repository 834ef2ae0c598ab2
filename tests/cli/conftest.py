"""The command in a folder of its own."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable
from pathlib import Path

import command
import pytest


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """run("config", "--json", INFERD_GRPC_PORT="1") -> what `inferd config --json` did in an empty folder."""
    return functools.partial(command.run, folder=tmp_path)
