"""A model's folder: VERSION/model.onnx, config.toml with the step that reads records, labels.txt. Nothing is overwritten unasked."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from inferd.errors import ConfigError, StartError
from inferd.scikit_learn.conversion import MATRIX
from inferd.scikit_learn.served import Column

if TYPE_CHECKING:
    from inferd.scikit_learn.trained import Trained


def config_of(
    trained: Trained, columns: Sequence[Column], *, form: str, matrix: bool, source: str, outputs: Mapping[str, str], by_class: str = ""
) -> str:
    """config.toml. source: what the model was made of; outputs: see Converted; by_class: that of the graph with a value for each class."""
    lines = [
        f"# Written by `inferd features export`, of {_string(source)}.",
        "# Clients send records. This model was checked against scikit-learn's own results for some.",
        "# Columns: docs/preprocessing.md.",
        "",
        "[[inferd.preprocess]]",
        *([f'input = "{MATRIX}"'] if matrix else []),
        "",
        "[[inferd.preprocess.steps]]",
        f'columns.format = "{form}"',
        "columns.columns = [",
        *(f"  {_inline(column)}," for column in columns),
        "]",
    ]
    for name in [*outputs, *({by_class} - {"", *outputs})]:
        lines += ["", "[[inferd.postprocess]]", f'output = "{name}"']
        if name in outputs:
            lines += [f'name = "{outputs[name]}"  # a column has this name in the graph']
        if name == by_class:
            lines += _classes(trained)
    return "\n".join(lines) + "\n"


def _classes(trained: Trained) -> list[str]:
    lines = [f"classes = [{', '.join(_string(str(each)) for each in trained.classes)}]"]
    if labels_of(trained) is not None:
        best = min(5, len(trained.classes))
        lines += [
            "# With this line clients get the best ones by name:",
            f'# steps = [{{ top_k = {{ k = {best}, labels = "labels.txt" }} }}]',
        ]
    return lines


def _inline(column: Column) -> str:
    fields = [f"name = {_string(column.name)}", f'datatype = "{column.datatype}"']
    if column.missing is not None:
        fields.append(f"missing = {_string(column.missing)}")
    whole = "{ " + ", ".join(fields) + " }"
    if not column.allowed:
        return whole
    values = [_string(value) for value in column.allowed]
    return whole[:-2] + f", allowed = [{', '.join(values)}] }}"


def _string(text: str) -> str:
    """A TOML basic string."""
    escaped = "".join(_escaped(character) for character in text)
    return f'"{escaped}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08X}"


def labels_of(trained: Trained) -> str | None:
    """labels.txt, a class a line; None where there are none, or one is no line."""
    labels = [str(label) for label in trained.classes]
    if trained.role != "classifier" or not labels or any(len(label.splitlines()) != 1 for label in labels):
        return None
    return "".join(f"{label}\n" for label in labels)


def write_model(folder: Path, version: int, content: bytes, config: str, labels: str | None, *, force: bool) -> list[Path]:
    """Writes all files, each whole or not at all, the model last: who watches the folder sees a version that is complete.

    Without `force` files that are there, and say the same, stay as they are. Raises ConfigError where one says something else, or is a
    config.pbtxt, StartError where one cannot be written.
    """
    texts = {"config.toml": config}
    if labels is not None:
        texts["labels.txt"] = labels
    other = folder / "config.pbtxt"
    if other.exists():
        raise ConfigError(f"{other} is there, and a model has that or a config.toml, not both: remove it, or choose another folder")
    if not force:
        _reject_overwriting(folder, version, texts)
        texts = {name: text for name, text in texts.items() if not (folder / name).exists()}
    files = [(folder / name, text.encode()) for name, text in texts.items()]
    files.append((folder / str(version) / "model.onnx", content))
    try:
        for path, data in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + ".part")
            part.write_bytes(data)
            os.replace(part, path)
    except OSError as error:
        raise StartError(f"{folder}: the model cannot be written: {error.strerror}") from None
    return [path for path, _ in files]


def _reject_overwriting(folder: Path, version: int, texts: Mapping[str, str]) -> None:
    model = folder / str(version) / "model.onnx"
    if model.exists():
        raise ConfigError(f"{model} is there already: choose another --model-version, or overwrite it with --force")
    for name, text in texts.items():
        there = folder / name
        if there.exists() and _lines(name, there.read_text("utf-8", "replace")) != _lines(name, text):
            raise ConfigError(f"{there} is there and says something else: all versions share it; overwrite it with --force")


def _lines(name: str, text: str) -> list[str]:
    """Without those of a configuration that say nothing."""
    lines = text.splitlines()
    return [line for line in lines if line and not line.startswith("#")] if name == "config.toml" else lines
