"""Instances, threads and devices that a configuration or the server asks for. Never in here: the graph, what a runtime makes of them."""

from __future__ import annotations

import re
from itertools import takewhile
from typing import TYPE_CHECKING

from inferd.engine.runtime import devices
from inferd.errors import ConfigError
from inferd.protocol import inference

if TYPE_CHECKING:
    from inferd.engine.configuration.config_sources import Defaults, Written
    from inferd.protocol.inference import ModelConfig

MAX_THREADS = 1024


def wanted_instances(written: Written, defaults: Defaults) -> int:
    """Instances that the configuration or the server asks for; 0: the planner chooses."""
    groups = written.config.instance_group
    asked = sum(max(group.count, 1) for group in groups) if len(groups) > 1 else sum(group.count for group in groups)
    return asked or defaults.instances


def wanted_threads(written: Written, defaults: Defaults) -> int:
    """Threads of one run that the configuration or the server asks for; 0: the planner chooses."""
    own = written.config.inferd.intra_op_threads
    return own or number(written, "intra_op_thread_count", 0, MAX_THREADS) or defaults.intra_op_threads


def wants_spinning(written: Written, defaults: Defaults) -> bool:
    own = written.config.inferd
    return own.spinning if own.HasField("spinning") else defaults.spinning


def on_gpu(written: Written, defaults: Defaults) -> bool:
    """Whether a GPU is to run the model: by its instance group, else by the server's first provider."""
    return bool(gpu_providers(written.config, defaults))


def gpu_providers(config: ModelConfig, defaults: Defaults) -> tuple[str, ...]:
    """GPU providers in order of preference. An instance group of KIND_GPU always has CUDA to fall back on, as in Triton. On a machine
    without a GPU it counts as KIND_AUTO: there the server's providers decide."""
    kinds = {group.kind for group in config.instance_group}
    if kinds == {inference.ModelInstanceGroup.KIND_CPU}:
        return ()
    preferred = tuple(takewhile(lambda provider: provider != "cpu", defaults.providers))
    if inference.ModelInstanceGroup.KIND_GPU not in kinds or not devices.gpu_there():
        return preferred
    asked = config.optimization.execution_accelerators.gpu_execution_accelerator
    tensorrt = "tensorrt" in preferred or any(accelerator.name == "tensorrt" for accelerator in asked)
    return ("tensorrt", "cuda") if tensorrt else ("cuda",)


def number(written: Written, key: str, low: int, high: int, default: int = 0) -> int:
    """The parameter `key` as a number; `default` where it is not set. Raises ConfigError."""
    if key not in written.config.parameters:
        return default
    text = written.config.parameters[key].string_value
    if not re.fullmatch("[0-9]{1,9}", text, re.ASCII) or not low <= int(text) <= high:
        raise ConfigError(f"{written.where}: parameters {key!r} is {text!r}; it must be a number from {low} to {high}")
    return int(text)
