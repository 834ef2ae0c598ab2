"""The one door of onnxruntime: there or not, which version, and that it sends nothing home."""

from __future__ import annotations

import os
import subprocess
import sys

import onnxruntime
import pytest

from inferd.engine.runtime.onnx.library import available_providers, versions
from inferd.engine.runtime.onnx.model import OnnxModel
from inferd.errors import StartError
from tests import models


def test_onnxruntime_sends_nothing_home() -> None:
    code = "import os; from inferd.engine.runtime.onnx import library; library.versions(); print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    said: dict[str, str]
    for said, expected in (({}, "1"), ({"ORT_DISABLE_TELEMETRY": "0"}, "0")):
        done = subprocess.run([sys.executable, "-c", code], env=environment | said, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected


def test_without_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(StartError, match=r"install inferd\[cpu\], or inferd\[gpu\]"):
        available_providers()
    with pytest.raises(StartError):
        OnnxModel.load(models.identity())


def test_versions() -> None:
    assert versions()["onnxruntime"] == onnxruntime.__version__
    assert "CPUExecutionProvider" in available_providers()
