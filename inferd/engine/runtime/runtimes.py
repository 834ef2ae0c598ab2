"""The table of runtimes: which one loads a model, by `backend` or `platform` of its configuration. A new runtime of
models in version folders is one more line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from inferd.engine.runtime.onnx.runtime import OnnxRuntime

if TYPE_CHECKING:
    from inferd.engine.runtime.runtime import Runtime
    from inferd.protocol.inference import ModelConfig

DEFAULT = "onnxruntime"
RUNTIMES: dict[str, Runtime] = {DEFAULT: OnnxRuntime()}  # by `backend`


def runtime_of(config: ModelConfig) -> Runtime:
    """The runtime that a configuration chooses; the default one where it names none that is known."""
    if config.backend in RUNTIMES:
        return RUNTIMES[config.backend]
    return next((runtime for runtime in RUNTIMES.values() if runtime.platform == config.platform), RUNTIMES[DEFAULT])


def unknown_names(config: ModelConfig) -> Iterator[tuple[str, str]]:
    """The fields `platform` and `backend`, each with its value, where it names no runtime, or where the two name different ones."""
    named = RUNTIMES.get(config.backend)
    platforms = {runtime.platform for runtime in RUNTIMES.values()} if named is None else {named.platform}
    if config.platform and config.platform not in platforms:
        yield "platform", config.platform
    if config.backend and named is None:
        yield "backend", config.backend
