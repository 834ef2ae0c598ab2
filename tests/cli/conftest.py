"""The command as a user runs it: a real process, from a folder of its own, without the developer's INFERD_ variables."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("INFERD_")}
    return kept | variables


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """run("config", "--json", INFERD_GRPC_PORT="1", input="...") -> what `inferd config --json` did."""

    def call(*arguments: str | Path, input: str | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
        command: list[Any] = [sys.executable, "-m", "inferd", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=60, cwd=tmp_path, env=environment(**variables), input=input, check=False
        )

    return call
