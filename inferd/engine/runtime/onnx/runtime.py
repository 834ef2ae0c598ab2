"""ONNX Runtime as a runtime: the loader calls it for a model whose configuration names no other one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inferd.engine.runtime.onnx.library import versions
from inferd.engine.runtime.onnx.model import OnnxModel
from inferd.engine.runtime.onnx.session_config import ignored_parameters, session_options

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from inferd.engine.configuration.config_sources import Defaults, Written
    from inferd.protocol.inference import ModelConfig


class OnnxRuntime:
    """A Runtime."""

    platform = "onnxruntime_onnx"
    backend = "onnxruntime"
    file = "model.onnx"

    def versions(self) -> dict[str, str]:
        return versions()

    def ignored_parameters(self, config: ModelConfig, *, on_cpu: bool) -> Iterator[tuple[str, str]]:
        return ignored_parameters(config, on_cpu=on_cpu)

    def load(self, file: Path, written: Written, config: ModelConfig, defaults: Defaults) -> OnnxModel:
        model = OnnxModel.load(file, session_options(written, config, defaults), name=config.name)
        model.adapt(config, written.where, file)
        return model
