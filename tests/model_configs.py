"""A configuration as a version's load reads and completes it, in one call."""

from __future__ import annotations

from pathlib import Path

from inferd.engine.configuration.config_sources import Defaults
from inferd.engine.configuration.model_config import complete, read_model_config
from inferd.engine.runtime.runtime import Graph
from inferd.protocol import inference


def load_model_config(place: Path, graph: Graph, defaults: Defaults, name: str) -> inference.ModelConfig:
    """Reads the configuration of a folder or file, and completes it from the graph. Raises ConfigError."""
    written = read_model_config(place, name)
    config = inference.ModelConfig()
    config.CopyFrom(written.config)
    config.name = name
    complete(written, config, graph, defaults)
    return config
