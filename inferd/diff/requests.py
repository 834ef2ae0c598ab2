"""The requests of a comparison: random ones, those of a record, or those that lie in a folder, a row each.

    batch.npz  one.json        inputs by name, as `inferd infer --npz` and `--json` take them; each of their rows is a request
    x.npy                      rows of the input x, or of a model's only input
    cat.jpg  a.wav  b.txt  c.csv   what a model with steps reads: a picture, a sound, a text a line, a record a line

Never in here: sending.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from inferd.client_inputs import inputs as reading
from inferd.client_inputs import raw
from inferd.client_inputs.arrays import MAX_BYTES
from inferd.errors import ConfigError
from inferd.record.form import SUFFIX
from inferd.record.reader import Segments, read
from inferd.record.writer import segments_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from inferd.client_inputs.inputs import Literal
    from inferd.client_inputs.targets import Description
    from inferd.tensors import Array

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
SOUNDS = (".wav", ".flac", ".ogg", ".mp3")
KINDS = (".npz", ".json", ".npy", ".txt", ".csv", *PICTURES, *SOUNDS)
SHOWN = 5


class Request(NamedTuple):
    """name: where it comes from, as a person finds it again."""

    name: str
    inputs: dict[str, Array]


def random_requests(description: Description, count: int, shapes: Sequence[str], seed: int, notices: list[str]) -> list[Request]:
    """The same for the same seed."""
    specs = description.inputs
    raw.reject_random(description, specs, "--on FOLDER with a .csv")
    chosen = reading.parse_shapes(shapes, specs)
    made = []
    held = 0
    for number in range(count):
        given, more = reading.random_inputs(specs, chosen, seed + number)
        notices += (notice for notice in more if notice not in notices)
        arrays, _ = reading.suit(given, specs)
        made.append(Request(f"random request {number}", arrays))
        held = check_held(held, arrays, f"--random {count}")
    return made


def requests_in(
    folder: Path, description: Description, rows: int, cast: bool, notices: list[str], most: int | None = None
) -> list[Request]:
    """All requests of a folder, its files in the order of their names. rows: of each request, where the inputs have a batch axis;
    0: a file is a request. most: only so many, the first ones. Raises ConfigError, which names the file."""
    files = sorted(entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
    known = [file for file in files if file.suffix.lower() in KINDS]
    if other := [file.name for file in files if file not in known]:
        more = f" and {len(other) - SHOWN} more" if len(other) > SHOWN else ""
        notices.append(f"not read, being of no known kind: {', '.join(other[:SHOWN])}{more}")
    if not known:
        raise ConfigError(f"--on {folder}: expected files of requests in it ({', '.join(KINDS)}), got none")
    found: list[Request] = []
    held = 0
    for name, given in sources(known, description):
        arrays, more_notices = reading.suit(given, description.inputs, cast=cast)
        notices += (notice for notice in more_notices if notice not in notices)
        held = check_held(held, arrays, f"--on {folder}")
        found += cut(name, arrays, description, rows)
        if most is not None and len(found) >= most:
            break
    return found[:most]


def is_record(path: Path) -> bool:
    """Whether `inferd serve --record` wrote it: a segment, or a folder of them."""
    return (path.suffix == SUFFIX and path.is_file()) or (path.is_dir() and bool(segments_of(path)))


def recorded_requests(
    path: Path, description: Description, model: str, cast: bool, notices: list[str], most: int | None = None
) -> list[Request]:
    """All requests of one model in a record, as they came. model: its name there; empty: the description's, or the only one. Raises
    ConfigError where there is another model's record, or an input that was left out or hashed."""
    where = f"--on {path}"
    there = Segments([path], where)
    names = there.models()
    chosen = model or (next(iter(names)) if len(names) == 1 else description.model)
    takes = {spec.name for spec in description.inputs}
    for name, how in there.changed.items():
        if name in takes:
            done = {"omit": "left out", "hash": "hashed"}.get(how, how)
            raise ConfigError(f"{where}: the input {name!r} was {done} when it was recorded, so its requests cannot be sent again")
    found: list[Request] = []
    held = 0
    for number, request in enumerate(islice(read(path, chosen, where=where), most)):
        name = f"request {request.id or number}"
        try:
            arrays, _ = reading.suit(request.inputs, description.inputs, cast=cast)
        except ConfigError as error:
            raise ConfigError(f"{where}: {name} is none of this model: {error}") from None
        held = check_held(held, arrays, where)
        found.append(Request(name, arrays))
    notices += (f"{file.name}: {fault}" for file, fault in islice(there.faults.items(), SHOWN))
    return found


def sources(files: Sequence[Path], description: Description) -> Iterator[tuple[str, Mapping[str, Array | Literal]]]:
    """Inputs by name of each file, or of each line of a file, with the name to show for them."""
    specs = description.inputs
    arrays = {file.stem: file for file in files if file.suffix.lower() == ".npy"}
    if len(specs) > 1 and arrays:
        if missing := [spec.name for spec in specs if spec.name not in arrays]:
            raise ConfigError(f"--on: expected {missing[0]}.npy beside {next(iter(arrays.values()))}: the model has {len(specs)} inputs")
        yield "arrays", reading.from_arguments([f"{spec.name}={arrays[spec.name]}" for spec in specs], specs)
    for file in files:
        suffix, path = file.suffix.lower(), str(file)
        if suffix == ".npz":
            yield file.name, reading.from_npz(path, "--on")
        elif suffix == ".json":
            yield file.name, reading.from_json(path, "--on")
        elif suffix == ".npy":
            if len(specs) == 1:
                yield file.name, reading.from_arguments([f"{specs[0].name}={path}"], specs)
        else:
            yield from lines(file, suffix, description)


def lines(file: Path, suffix: str, description: Description) -> Iterator[tuple[str, Mapping[str, Array | Literal]]]:
    path = str(file)
    rows = raw.read(
        description,
        images=[path] if suffix in PICTURES else (),
        clips=[path] if suffix in SOUNDS else (),
        texts=[f"@{path}"] if suffix == ".txt" else (),
        csv=path if suffix == ".csv" else None,
        csv_option="--on",
    )
    count = max(map(len, rows.values()), default=0)
    specs = [spec for spec in description.inputs if spec.name in rows]
    for number in range(count):
        name = file.name if count == 1 else f"{file.name} line {number + 1}"
        yield name, {spec.name: raw.fit(spec, rows[spec.name][number : number + 1]) for spec in specs}


def cut(name: str, arrays: dict[str, Array], description: Description, rows: int) -> Iterator[Request]:
    """Requests of `rows` rows; all of it where there is no batch axis, or the inputs differ in rows."""
    lengths = {len(array) if array.ndim else 0 for array in arrays.values()}
    batched = all(spec.shape and spec.shape[0] < 0 for spec in description.inputs)
    held = max(lengths, default=0)
    if not rows or not batched or len(lengths) > 1 or held <= rows:
        yield Request(name, arrays)
        return
    for first in range(0, held, rows):
        last = min(first + rows, held)
        said = f"{name} row {first}" if rows == 1 else f"{name} rows {first} to {last - 1}"
        yield Request(said, {each: array[first:last] for each, array in arrays.items()})


def check_held(held: int, arrays: Mapping[str, Array], where: str) -> int:
    held += sum(array.nbytes if array.dtype != object else sum(map(len, array.flat)) for array in arrays.values())
    if held > MAX_BYTES:
        raise ConfigError(f"{where}: expected {MAX_BYTES >> 20} MiB of requests at most; give fewer (--first), or smaller ones")
    return held
