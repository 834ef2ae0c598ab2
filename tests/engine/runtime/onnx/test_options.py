"""Options of sessions: providers that are there or not, and what reaches onnxruntime."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from inferd.engine.runtime.onnx.library import available_providers
from inferd.engine.runtime.onnx.model import OnnxModel
from inferd.engine.runtime.onnx.options import Provider, SessionOptions, native_options
from inferd.errors import ConfigError, StartError
from tests import models
from tests.engine.runtime.onnx.test_model import Runner, assert_same, some


@pytest.mark.parametrize("name", ["cuda", "tensorrt", "CUDAExecutionProvider"])
def test_a_gpu_provider_that_is_not_installed(name: str) -> None:
    if "CUDAExecutionProvider" in available_providers():
        pytest.skip("onnxruntime-gpu is installed")
    with pytest.raises(StartError, match=r"asks for \w+ExecutionProvider, but the installed onnxruntime has only .*install inferd\[gpu\]"):
        OnnxModel.load(models.identity(), SessionOptions(providers=(Provider(name),)))


def test_an_unknown_provider() -> None:
    with pytest.raises(ConfigError, match="execution provider 'Warp'"):
        OnnxModel.load(models.identity(), SessionOptions(providers=(Provider("Warp"),)))


def test_a_provider_that_silently_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime-gpu on a machine without a GPU: the provider is listed, and the session runs on the CPU."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    with (
        pytest.warns(UserWarning, match="not in available"),
        pytest.raises(StartError, match=r"asks for CUDAExecutionProvider.*only CPUExec"),
    ):
        OnnxModel.load(models.identity(), SessionOptions(providers=(Provider("cuda"),)))


@pytest.mark.parametrize(
    ("options", "field"),
    [(SessionOptions(graph_optimization="most"), "graph_optimization"), (SessionOptions(execution_mode="both"), "execution_mode")],
)
def test_wrong_options(options: SessionOptions, field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        OnnxModel.load(models.identity(), options)


def test_options_reach_onnxruntime() -> None:
    options = SessionOptions(
        intra_op_threads=1,
        spinning=True,
        graph_optimization="basic",
        execution_mode="parallel",
        inter_op_threads=2,
        memory_arena=False,
        memory_pattern=False,
        entries={"session.set_denormal_as_zero": "1"},
    )
    native = native_options(onnxruntime, options)
    assert native.intra_op_num_threads == 1
    assert native.inter_op_num_threads == 2
    assert native.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    assert native.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL
    assert not native.enable_cpu_mem_arena
    assert not native.enable_mem_pattern
    assert native.get_session_config_entry("session.intra_op.allow_spinning") == "1"
    assert native.get_session_config_entry("session.set_denormal_as_zero") == "1"
    quiet = native_options(onnxruntime, SessionOptions())
    assert quiet.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    x = some("FP32", (2, 16))
    model = OnnxModel.load(models.identity(), options)
    runner = Runner(models.identity())
    runner.backend = model.backend(runner.signature)
    assert_same(runner.run({"x": x}), {"y": x})


def test_optimizers_of_quantized_operators_are_left_out_where_none_is(tmp_path: Path) -> None:
    """A session keeps them. They stay where a file is large enough that nobody looks, and where the configuration says so."""
    key = "session.disable_quant_qdq"

    def left_out(source: bytes | Path, **entries: str) -> bool:
        options = OnnxModel.load(source, SessionOptions(entries=entries))._session.get_session_options()
        try:
            return str(options.get_session_config_entry(key)) == "1"
        except RuntimeError:  # it is not set
            return False

    small, large = tmp_path / "small.onnx", tmp_path / "large.onnx"
    small.write_bytes(models.identity())
    large.write_bytes(models.sum_of_squares(width=1 << 19))
    assert left_out(small)
    assert left_out(models.identity())
    assert not left_out(models.quantized())
    assert not left_out(large)
    assert not left_out(small, **{key: "0"})
