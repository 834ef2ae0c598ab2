"""What made a response: the model's file, the runtime, the provider and the configuration, each by its version or digest."""

from __future__ import annotations

import hashlib
import mmap
import re
from typing import TYPE_CHECKING, NamedTuple

from inferd.engine.backend import versions
from inferd.engine.onnx_file import without_weights
from inferd.protocol import inference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from inferd.protocol.inference import ModelConfig

__all__ = ["Provenance", "provenance_of", "sha256_of"]

# An entry of a tensor's external_data that names a file. Bytes that look like one and name no file are ignored.
_LOCATION = re.compile(rb"\x0a\x08location\x12([\x01-\x7f])")


class Provenance(NamedTuple):
    """model_sha256: of the file. external_data_sha256: of the lines that `sha256sum` writes of its files of weights, in the order of
    their names; '' without any. config_sha256: of the configuration in force, as the bytes of its message."""

    model_sha256: str
    external_data_sha256: str
    runtime: str
    provider: str
    config_sha256: str

    def properties(self) -> dict[str, str]:
        """Those that are not empty, by name."""
        return {name: value for name, value in self._asdict().items() if value}

    def parameters(self) -> bytes:
        """As parameters of a response: fields of a ModelInferResponse."""
        parameters = {name: inference.InferParameter(string_param=value) for name, value in self.properties().items()}
        return inference.ModelInferResponse(parameters=parameters).SerializeToString(deterministic=True)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def provenance_of(file: Path, config: ModelConfig, provider: str, digest: Callable[[Path], str] = sha256_of) -> Provenance:
    """Reads the file, and its files of weights. digest: the sha256 of a file. Raises OSError."""
    lines = [f"{digest(path)}  {name}\n" for name, path in sorted(_external(file))]
    return Provenance(
        digest(file),
        hashlib.sha256("".join(lines).encode()).hexdigest() if lines else "",
        f"onnxruntime {versions()['onnxruntime']}",
        provider,
        hashlib.sha256(config.SerializeToString(deterministic=True)).hexdigest(),
    )


def _external(file: Path) -> Iterator[tuple[str, Path]]:
    """The files of weights that lie beside an ONNX file, each once."""
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        try:
            graph = without_weights(content, "")  # to search 100 MB takes 0.1 s, in which Python's lock is held
        except (ValueError, IndexError):
            graph = None
        searched = content if graph is None else graph
        found = {searched[entry.end() : entry.end() + entry[1][0]] for entry in _LOCATION.finditer(searched)}
    for name in found:
        try:
            path = file.parent / name.decode()
            if path.is_file():
                yield name.decode(), path
        except ValueError:  # no text, or with a zero byte
            continue
