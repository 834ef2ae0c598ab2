"""A second runtime: it is written here, and serves requests once the table has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from inferd._core.tensor.tensor import Tensors
from inferd.engine.embedded import Engine
from inferd.engine.runtime.runtime import Graph, LoadedModel, TensorInfo
from inferd.engine.runtime.runtimes import RUNTIMES
from inferd.errors import ConfigError

if TYPE_CHECKING:
    from inferd._core.batching.batch import Batch
    from inferd._core.tensor.signature import Signature
    from inferd.engine.configuration.config_sources import Defaults, Written
    from inferd.protocol.inference import ModelConfig

Array = np.ndarray[Any, Any]


class FactorBackend:
    """y = factor * x, in numpy."""

    def __init__(self, factor: float) -> None:
        self.factor = factor
        self.x = np.zeros((0, 0), np.float32)

    def inputs(self, batch: Batch) -> Tensors:
        self.x = np.zeros(batch.input_shape(0), np.float32)
        return Tensors([self.x], ["FP32"], True, batch.rows)

    def run(self, rows: int) -> Tensors:
        return Tensors([self.x[:rows] * np.float32(self.factor)], ["FP32"], True, rows)

    def terminate(self) -> None:
        """A run takes no time."""

    def close(self) -> None:
        self.x = np.zeros((0, 0), np.float32)


class FactorModel(LoadedModel):
    def __init__(self, name: str, factor: float) -> None:
        self.name, self.factor, self.device = name, factor, "numpy"
        self.graph = Graph((TensorInfo("x", "FP32", ("n", 4)),), (TensorInfo("y", "FP32", ("n", 4)),))

    def trial(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {"y": inputs["x"] * np.float32(self.factor)}

    def backend(self, signature: Signature) -> FactorBackend:
        return FactorBackend(self.factor)


class FactorRuntime:
    """Its model's file holds one number."""

    platform, backend, file = "numpy_factor", "numpy", "factor.txt"

    def versions(self) -> dict[str, str]:
        return {"numpy": np.__version__}

    def ignored_parameters(self, config: ModelConfig, *, on_cpu: bool) -> Iterator[tuple[str, str]]:
        yield from ((key, "has no effect") for key in config.parameters)

    def load(self, file: Path, written: Written, config: ModelConfig, defaults: Defaults) -> FactorModel:
        try:
            return FactorModel(config.name, float(file.read_text()))
        except ValueError:
            raise ConfigError(f"{written.where}: {file.name} holds no number") from None


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(RUNTIMES, "numpy", FactorRuntime())
    (tmp_path / "triple" / "1").mkdir(parents=True)
    (tmp_path / "triple" / "1" / "factor.txt").write_text("3")
    return tmp_path


@pytest.mark.parametrize("config", ['backend: "numpy"', 'platform: "numpy_factor"', 'backend: "numpy" platform: "numpy_factor"'])
def test_a_second_runtime_serves_requests(models: Path, config: str) -> None:
    (models / "triple" / "config.pbtxt").write_text(config)
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    with Engine(models) as engine:
        np.testing.assert_array_equal(engine.infer("triple", {"x": x})["y"], 3 * x)
