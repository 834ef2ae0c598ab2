"""`inferd infer`: one request, to a server over gRPC or HTTP, or to a model file in this process; prints the named outputs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from inferd.cli.duration import timeout_option
from inferd.cli.number import Whole
from inferd.cli.reaching import TOKEN_FILE, reaches_by_tls
from inferd.cli.say import one_line, say

if TYPE_CHECKING:
    from inferd.client_inputs.inputs import Literal
    from inferd.client_inputs.reach import Reach
    from inferd.client_inputs.targets import Description, Response, Target
    from inferd.tensors import Array


@click.command()
@click.argument("target")
@click.argument("model", required=False)
@click.option("--input", "inputs", multiple=True, metavar="[NAME=]FILE.npy", help="An input from a .npy file, or JSON such as x=[[1,2]].")
@click.option("--json", "json_file", metavar="FILE", help="Inputs from JSON: name -> nested lists, or the REST form. - is stdin.")
@click.option("--npz", "npz_file", metavar="FILE", help="Inputs by name from a .npz file.")
@click.option("--image", "images", multiple=True, metavar="[NAME=]FILE", help="A picture, as it lies in the file; several are rows.")
@click.option("--audio", "clips", multiple=True, metavar="[NAME=]FILE", help="A sound file, in the same way.")
@click.option("--text", "texts", multiple=True, metavar="[NAME=]TEXT", help="A text, in the same way; @FILE: each line of a file.")
@click.option("--csv", "csv_file", metavar="FILE", help="Records from a CSV file with a header, a line a row.")
@click.option("--random", "use_random", is_flag=True, help="Random values for every input that is not given.")
@click.option("--shape", "shapes", multiple=True, metavar="NAME:1,16", help="Shape of a random input where the model leaves sizes open.")
@click.option("--seed", type=Whole(0, 2**63 - 1), default=0, show_default=True, help="Seed of the random values.")
@click.option("--cast", is_flag=True, help="Convert arrays to the model's datatypes.")
@click.option("--output", "wanted", multiple=True, metavar="NAME", help="Only these outputs.")
@click.option("--model-version", default="", metavar="N", help="Version of the model.  [default: the newest]")
@timeout_option("60s", "Time that the request may take.")
@click.option("--metadata", "pairs", multiple=True, metavar="KEY=VALUE", help="Metadata to send along.")
@TOKEN_FILE
@reaches_by_tls
@click.option("--format", "form", type=click.Choice(["text", "json", "npz"]), help="Format of the output.  [default: text]")
@click.option("--save", metavar="FILE", help="Write the outputs to a file: .npz, .json or text by its name, unless --format says.")
def infer(
    target: str,
    model: str | None,
    inputs: tuple[str, ...],
    json_file: str | None,
    npz_file: str | None,
    images: tuple[str, ...],
    clips: tuple[str, ...],
    texts: tuple[str, ...],
    csv_file: str | None,
    use_random: bool,
    shapes: tuple[str, ...],
    seed: int,
    cast: bool,
    wanted: tuple[str, ...],
    model_version: str,
    timeout: float,
    pairs: tuple[str, ...],
    form: str | None,
    save: str | None,
    reach: Reach,
) -> None:
    """Send one request to a server, or run a model file once without any server.

    TARGET is host:port, unix:/path or unix:@name of a running server, or a URL such as http://host:8000 for HTTP. The path of an ONNX
    file or model repository runs it in this process. MODEL may be left out where there is only one.

    \b
    inferd infer localhost:8001 digits --input digit.npy
    inferd infer model.onnx --input 'x=[[1.5, 2]]' --format json
    inferd infer localhost:8001 encoder --random --shape input_ids:1,32
    inferd infer localhost:8001 cats --image cat.jpg --image dog.jpg
    inferd infer http://localhost:8000 digits --input digit.npy
    inferd infer models.example:8001 digits --random --tls-ca ca.pem --token-file token
    """
    form = form or _form_of(save)
    if form == "npz" and save is None:
        raise click.UsageError("--format npz needs --save FILE")
    metadata = [_pair(text) for text in pairs]

    from inferd.client_inputs import inputs as reading
    from inferd.client_inputs import raw
    from inferd.client_inputs.targets import open_target

    given: dict[str, Array | Literal] = {}
    with open_target(target, model, timeout, metadata, reach) as opened:
        name = model or opened.only_model()
        description = opened.describe(name, model_version)
        specs = description.inputs
        if npz_file:
            given |= reading.from_npz(npz_file)
        if json_file:
            given |= reading.from_json(json_file)
        given |= reading.from_arguments(inputs, specs)
        rows = raw.read(description, images=images, clips=clips, texts=texts, csv=csv_file)
        given |= {spec.name: raw.fit(spec, rows[spec.name]) for spec in specs if spec.name in rows}
        notices: list[str] = []
        if use_random:
            rest = [spec for spec in specs if spec.name not in given]
            raw.reject_random(description, rest)
            made, notices = reading.random_inputs(rest, reading.parse_shapes(shapes, rest), seed)
            given |= made
        elif shapes:
            raise click.UsageError("--shape is for the random inputs of --random")
        arrays, more = reading.suit(given, specs, cast=cast)
        for notice in (*notices, *more):
            say(one_line(notice), err=True)
        _check_outputs(description, wanted)
        most_rows = description.most_rows if rows else 0
        before_ns = time.perf_counter_ns()
        response = _in_parts(opened, description, arrays, wanted, most_rows)
        elapsed_ms = (time.perf_counter_ns() - before_ns) / 1e6
    datatypes = {spec.name: spec.datatype for spec in description.outputs}
    _give(name, response, datatypes, description.classes(), form, save, elapsed_ms)


def _in_parts(opened: Target, description: Description, arrays: dict[str, Array], wanted: tuple[str, ...], most_rows: int) -> Response:
    """The response to all rows, asked for in as many requests as the model's largest batch needs; most_rows 0: in one."""
    import numpy as np

    rows = max((len(array) for array in arrays.values() if array.ndim), default=0)
    if not most_rows or rows <= most_rows or any(len(array) != rows for array in arrays.values()):
        return opened.infer(description, arrays, wanted)
    parts = [
        opened.infer(description, {name: array[first : first + most_rows] for name, array in arrays.items()}, wanted)
        for first in range(0, rows, most_rows)
    ]
    return parts[0]._replace(outputs={name: np.concatenate([part.outputs[name] for part in parts]) for name in parts[0].outputs})


def _give(
    name: str, response: Response, datatypes: dict[str, str], classes: dict[str, list[str]], form: str, save: str | None, elapsed_ms: float
) -> None:
    from inferd.cli.outputs import as_json, as_text, save_npz

    version, outputs = response.version, response.outputs
    try:
        if form == "npz" and save is not None:
            save_npz(save, outputs, datatypes)
            return
        text = as_json(name, version, outputs, datatypes) if form == "json" else as_text(outputs, datatypes, classes)
        if save is not None:
            Path(save).write_text(text + "\n", "utf-8")
            return
    except OSError as error:
        raise click.UsageError(f"--save {save}: cannot be written: {error.strerror}") from None
    if form == "text":
        say(f"{name} version {version} responded in {elapsed_ms:.2f} ms", err=True)
    say(text)


def _form_of(save: str | None) -> str:
    suffix = Path(save).suffix if save else ""
    return suffix[1:] if suffix in (".npz", ".json") else "text"


def _check_outputs(description: Description, wanted: tuple[str, ...]) -> None:
    names = [spec.name for spec in description.outputs]
    for name in wanted:
        if name not in names:
            raise click.UsageError(f"--output {name}: the model has no such output; it has: {', '.join(names)}")


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.UsageError(f"--metadata {text}: expected KEY=VALUE")
    return key.lower(), value
