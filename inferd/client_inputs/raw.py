"""From what people have, pictures, sounds, sentences and tables, to the inputs of a model that makes tensors of them itself.

Nothing is decoded here: a file's bytes go as they are, and the server says what is wrong with them. Each file, text or record is one row.
How they become a request's arrays is `fit`'s rule, whoever asks; clients/python/inferd_client/raw.py has the same.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from inferd.client_inputs.files import read_whole
from inferd.client_inputs.inputs import Literal, listed
from inferd.client_inputs.tables import from_csv
from inferd.errors import ConfigError
from inferd.tensors import objects

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from inferd.client_inputs.inputs import Spec
    from inferd.client_inputs.targets import Description
    from inferd.tensors import Array

MAX_BYTES = 1 << 30  # of all files and texts together

# The first step of an input that no random bytes are for -> what is.
ENCODED = {"decode_image": "--image FILE", "decode_audio": "--audio FILE", "columns": "{csv} FILE"}


def read(
    description: Description,
    *,
    images: Sequence[str] = (),
    clips: Sequence[str] = (),
    texts: Sequence[str] = (),
    csv: str | None = None,
    csv_option: str = "--csv",
) -> dict[str, list[Any]]:
    """Values of the command line by the input that they are for. One value is a row: bytes, or a number of a column.

    images, clips: [NAME=]FILE. texts: [NAME=]TEXT, or [NAME=]@FILE with a text a line; @@ begins a text with @. csv: a file, see
    `from_csv`. NAME may be left out where one input only takes bytes. Raises ConfigError.
    """
    specs = description.inputs
    rows: dict[str, list[Any]] = {}
    held_bytes = 0
    # All names before any file.
    files = [(option, *_target(option, each, specs)) for option, some in (("--image", images), ("--audio", clips)) for each in some]
    named_texts = [_target("--text", each, specs) for each in texts]
    for name, value in (*_files(files), *_texts(named_texts)):
        rows.setdefault(name, []).append(value)
        held_bytes += len(value)
        if held_bytes > MAX_BYTES:
            raise ConfigError(f"--image, --audio and --text: expected {MAX_BYTES >> 20} MiB at most in all; give fewer")
    table = from_csv(csv_option, csv, description) if csv else {}
    if twice := sorted(rows.keys() & table.keys()):
        raise ConfigError(f"{csv_option}: '{twice[0]}' is given twice")
    return rows | table


def fit(spec: Spec, values: Sequence[Any]) -> Array | Literal:
    """Values, a row each, in the shape that the input has: behind a batch axis, or alone where there is none. Raises ConfigError where
    the input takes another number of them."""
    shape = tuple(max(size, 1) for size in spec.shape)
    if spec.shape[:1] == (-1,):
        shape = (len(values), *shape[1:])
    if math.prod(shape) != len(values):
        raise ConfigError(
            f"the input '{spec.name}' is {spec}: expected {math.prod(shape)} a request, got {len(values)} (each file, text and line is one)"
        )
    if spec.datatype != "BYTES":
        return Literal(list(values), shape)
    return objects(values, shape)


def reject_random(description: Description, specs: Sequence[Spec], csv_option: str = "--csv") -> None:
    """ConfigError where one of these inputs takes files or records: random bytes are none, and every request with them is rejected."""
    steps = description.readers()
    for spec in specs:
        kind = steps[spec.name].WhichOneof("step") if spec.name in steps else None
        if kind in ENCODED:
            option = ENCODED[kind].format(csv=csv_option)
            raise ConfigError(f"the input '{spec.name}' is what {kind} reads, and no random bytes are that; give {option}")


def _files(files: Sequence[tuple[str, str, str]]) -> Iterator[tuple[str, bytes]]:
    """files: the option, the input, the path."""
    for option, name, source in files:
        yield name, bytes(read_whole(source, f"{option} {source}", MAX_BYTES, "a request holds no more"))


def _texts(texts: Sequence[tuple[str, str]]) -> Iterator[tuple[str, bytes]]:
    """texts: the input, and TEXT or @FILE."""
    for name, text in texts:
        if _is_file_of_texts(text):
            hint = "; of a text that begins with @ write it twice"
            lines = read_whole(text[1:], f"--text {text}", MAX_BYTES, "a request holds no more", hint).split(b"\n")
            found = [bytes(line).removesuffix(b"\r") for line in lines if line.strip()]
            if not found:
                raise ConfigError(f"--text {text}: expected a text a line, got a file without any: write one, or give the text itself")
            yield from ((name, line) for line in found)
        else:
            yield name, text.removeprefix("@" if text.startswith("@@") else "").encode("utf-8", "surrogateescape")


def _is_file_of_texts(text: str) -> bool:
    return text.startswith("@") and not text.startswith("@@")


def _target(option: str, argument: str, specs: Sequence[Spec]) -> tuple[str, str]:
    """The input that `argument` is for, and the rest of it. A name and "=" in front choose the input; without them there must be only one.
    A word that looks like a name, but is no input that takes bytes, is rejected."""
    takers = [spec.name for spec in specs if spec.datatype == "BYTES"]
    head, equals, rest = argument.partition("=")
    if equals and head in takers:
        return head, rest
    if not takers:
        cure = "Give it steps that make them (docs/preprocessing.md), or --input with an array"
        raise ConfigError(f"{option}: the model takes tensors: {listed(specs)}. {cure}")
    if len(takers) > 1:
        raise ConfigError(f"{option} {argument}: expected NAME=... for one of {listed(specs)}")
    if option == "--text":
        looks_named, whole = _is_file_of_texts(rest) and not any(map(str.isspace, head)), "if all of that is the text"
    else:
        looks_named, whole = not {"/", "\\"} & set(head) and not os.path.exists(argument), "for a file of that name"
    if equals and head and (looks_named or head in {spec.name for spec in specs}):
        why = f"no input that takes bytes is called {head!r}; the model has {listed(specs)}"
        raise ConfigError(f"{option} {argument}: {why}; {whole}, write {takers[0]}={argument}")
    return takers[0], argument
