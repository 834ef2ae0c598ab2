"""Sessions of models with operators of onnxruntime-extensions."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from onnx import helper

from inferd.engine.runtime.onnx import session
from inferd.engine.runtime.onnx.model import OnnxModel
from inferd.errors import ConfigError
from tests.engine.runtime.onnx.extension_operators import pixels, upper
from tests.wire import LIMIT_S


def test_operators_of_onnxruntime_extensions() -> None:
    """In a process of its own: their library shares C++ state with others that a whole suite loads."""
    file = Path(__file__).with_name("extension_operators.py")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)], capture_output=True, text=True, timeout=8 * LIMIT_S
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(("content", "domain"), [(upper(), "ai.onnx.contrib"), (pixels(), "com.microsoft.extensions")])
def test_a_model_that_needs_them_says_what_to_install(monkeypatch: pytest.MonkeyPatch, content: bytes, domain: str) -> None:
    monkeypatch.setattr(session, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"model 'loud' has operators of {re.escape(domain)}, .*pip install 'inferd\[extensions\]'"):
        OnnxModel.load(content, name="loud")


def test_operators_whose_name_another_domain_has_too_are_not_told_apart() -> None:
    graph = helper.make_graph(
        [
            helper.make_node("StringUpper", ["text"], ["loud"], domain="ai.onnx.contrib"),
            helper.make_node("StringSplit", ["loud"], ["parts"], domain="ai.onnx.contrib"),
            helper.make_node("StringSplit", ["loud"], ["others", "counts"]),
        ],
        "graph",
        [],
        [],
    )
    assert session.extensions_of(helper.make_model(graph).SerializeToString()) == {"StringUpper"}
    assert session.extensions_of(b"none") == frozenset()
