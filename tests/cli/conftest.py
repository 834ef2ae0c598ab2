"""The command in a folder of its own."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import inferd.cli
from tests import command


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """run("config", "--json", INFERD_GRPC_PORT="1") -> what `inferd config --json` did in an empty folder."""
    return functools.partial(command.run, folder=tmp_path)


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The same without a process of its own: the interpreter and the libraries have started already."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("INFERD_")]:
        monkeypatch.delenv(name)

    def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        code = inferd.cli.run(list(map(str, arguments)))
        captured = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, code, captured.out, captured.err)

    return call
