"""The origin of a response: the model's file, the runtime, the provider and the configuration, each by its version or digest."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from inferd.engine.files.content import sha256_of, weights_of
from inferd.protocol import inference

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from inferd.protocol.inference import ModelConfig


class Provenance(NamedTuple):
    """model_sha256: of the file. external_data_sha256: of the lines that `sha256sum` writes for its files of weights, in the order of
    their names; '' without any. config_sha256: of the completed configuration's message."""

    model_sha256: str
    external_data_sha256: str
    runtime: str
    provider: str
    config_sha256: str

    def properties(self) -> dict[str, str]:
        """The values that are not empty, by name."""
        return {name: value for name, value in self._asdict().items() if value}

    def parameters(self) -> bytes:
        """As parameters of a response: fields of a ModelInferResponse."""
        parameters = {name: inference.InferParameter(string_param=value) for name, value in self.properties().items()}
        return inference.ModelInferResponse(parameters=parameters).SerializeToString(deterministic=True)


def provenance_of(file: Path, config: ModelConfig, runtime: str, provider: str, digest: Callable[[Path], str] = sha256_of) -> Provenance:
    """Reads the file, and its files of weights. runtime: its name and version. digest: the sha256 of a file. Raises OSError."""
    lines = [f"{digest(path)}  {name}\n" for name, path in sorted(weights_of(file).items())]
    return Provenance(
        digest(file),
        hashlib.sha256("".join(lines).encode()).hexdigest() if lines else "",
        runtime,
        provider,
        hashlib.sha256(config.SerializeToString(deterministic=True)).hexdigest(),
    )
