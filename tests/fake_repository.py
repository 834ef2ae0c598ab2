"""A repository that a test fills by hand: any state at any time, without ONNX Runtime. Statistics and configurations are real.

It stands for inferd.engine's Repository and Model where a test is about what is told of them, in states that are rare in
the real ones; tests/serving also runs over the real ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from inferd._core.metrics.histogram import Statistics
from inferd.engine.loading.origin import Origin
from inferd.engine.models.entry import Entry
from inferd.engine.models.labels import Table
from inferd.errors import InvalidArgument, NotFound, Unavailable
from inferd.protocol import inference


def model_config(name: str = "m", max_batch_size: int = 8) -> inference.ModelConfig:
    """FP32 x [16] and BYTES label [1] in, INT64 y [-1, 4] out."""
    return inference.ModelConfig(
        name=name,
        platform="onnxruntime_onnx",
        backend="onnxruntime",
        max_batch_size=max_batch_size,
        input=[
            inference.ModelInput(name="x", data_type=inference.TYPE_FP32, dims=[16]),
            inference.ModelInput(name="label", data_type=inference.TYPE_STRING, dims=[1]),
        ],
        output=[inference.ModelOutput(name="y", data_type=inference.TYPE_INT64, dims=[-1, 4])],
    )


@dataclass
class FakeQueues:
    depth: int = 0
    depth_bytes: int = 0
    overtaken: int = 0
    evictions: int = 0


@dataclass
class FakeMemory:
    arena_bytes: int = 0
    peak_bytes: int = 0


@dataclass
class FakeModel:
    name: str = "m"
    version: int = 1
    state: str = "READY"
    reason: str = ""
    config: inference.ModelConfig = field(default_factory=model_config)
    statistics: Statistics = field(default_factory=lambda: Statistics(8))
    failures: dict[str, int] = field(default_factory=dict)
    running: int = 0
    origin: Origin = Origin(load_ns=250_000_000)  # noqa: RUF009 - immutable
    instances: int = 1
    inline: bool = False
    hung: int = 0
    runs_ended: int = 0
    queues: FakeQueues = field(default_factory=FakeQueues)
    memory: FakeMemory = field(default_factory=FakeMemory)


class FakeRepository:
    """Same answers as Repository: lookup of the newest ready version or a given one, and everything there is."""

    def __init__(self, *models: FakeModel) -> None:
        self.contents = list(models)
        self.labels: Table = {}

    def entries(self) -> list[Entry]:
        return []

    def models(self) -> list[FakeModel]:
        return list(self.contents)

    def is_on_demand(self, name: str, version: str) -> bool:
        return False

    def index(self) -> list[tuple[str, str, str, str]]:
        entries = sorted(self.contents, key=lambda model: (model.name, model.version))
        return [(model.name, str(model.version), model.state, model.reason) for model in entries]

    def lookup(self, name: str, version: str) -> FakeModel:
        if version and not version.isdigit():
            raise InvalidArgument(f'model_version: expected an integer, got "{version}"')
        found = [model for model in self.contents if model.name == name and version in ("", str(model.version))]
        if not found:
            raise NotFound(f'there is no model "{name}"')
        ready = [model for model in found if model.state == "READY"]
        if not ready:
            raise Unavailable(f'model "{name}" is {found[0].state}')
        return max(ready, key=lambda model: model.version)
