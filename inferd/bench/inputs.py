"""The requests of a bench: bodies from files, from recordings, or random by the model's signature.

`make` takes the values of the command line. Shapes are never guessed silently: an open axis without a given size is 1 only if the target
accepts that, and a notice says so. Never in here: connections, clocks, and when a body is sent.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from inferd.bench.recording import read_recording, readdress
from inferd.bench.replay import is_record, recorded_requests
from inferd.bench.sizes import check_sizes, parse_sizes
from inferd.bench.worker import Expected
from inferd.client_inputs import inputs as reading
from inferd.client_inputs import raw
from inferd.client_inputs.arrays import MAX_BYTES
from inferd.client_inputs.inputs import Literal, Spec
from inferd.client_inputs.targets import require_client
from inferd.errors import ConfigError, InferdError
from inferd.tensors import DTYPES, Array, word_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from inferd.bench.sizes import Sizes
    from inferd.client_inputs.targets import Description

# Options of a command line that `make` takes.
OPTIONS = (
    *("files", "npz", "json", "images", "clips", "texts", "table", "recorded"),
    *("random", "shapes", "sizes", "seed", "count", "rows", "cast", "parameters"),
)

DRAWN_COUNT = 64  # bodies where sizes are drawn
TEXT_LENGTH_BYTES = 4
CSV = "--csv-input"  # --csv is where a report goes


class Requests(NamedTuple):
    """The requests to send, in turn. rows: of one request; their mean where requests differ."""

    bodies: list[bytes]  # serialized inference.ModelInferRequest; for a generator over HTTP whole requests
    inputs: list[dict[str, Array]]  # what each holds
    rows: float
    notices: list[str]
    expected: Expected = Expected()  # what every response may say


def make(
    description: Description,
    *,
    files: Sequence[str] = (),
    npz: Sequence[str] = (),
    json: Sequence[str] = (),
    images: Sequence[str] = (),
    clips: Sequence[str] = (),
    texts: Sequence[str] = (),
    table: str | None = None,
    recorded: str | None = None,
    random: bool = False,
    shapes: Sequence[str] = (),
    sizes: Sequence[str] = (),
    seed: int = 0,
    count: int | None = None,
    rows: int | None = None,
    cast: bool = False,
    parameters: Sequence[str] = (),
    probe: Callable[[Mapping[str, Array]], object] | None = None,
) -> Requests:
    """The bodies for one model. Without any file all inputs are random.

    files: [NAME=]FILE.npy or [NAME=]JSON, as --input takes them; they go into the request that each of `npz` and `json` makes.
    images, clips, texts, table: see `raw.read`; requests of `rows` rows each, by default one, are made of them in turn.
    recorded: a record, or a file of requests, see `read_recording`. random: values for the inputs that files leave out, with `shapes`
    (NAME:1,32) and `sizes` (see `parse_sizes`). count: how many bodies: made at random (by default 1, or 64 with sizes), or the first
    so many of what files hold. rows: of each request; longer arrays in files are cut into several requests. parameters: NAME=VALUE,
    of every request. probe: asks the target once whether open axes may be 1; raises InferdError where not. Raises ConfigError.
    """
    for flag, number in {"--count": count, "--rows": rows}.items():
        if number is not None and number < 1:
            raise ConfigError(f"{flag} {number}: expected 1 or more")
    notices: list[str] = []
    if recorded is not None:
        others = {"--input": files, "--npz": npz, "--json": json, "--random": random, "--shape": shapes, "--sizes": sizes, "--rows": rows}
        others |= {"--image": images, "--audio": clips, "--text": texts, CSV: table, "--parameter": parameters}
        if used := [flag for flag, value in others.items() if value]:
            raise ConfigError(f"--recorded {recorded}: its requests are sent as they are; leave {used[0]} out")
        if is_record(recorded):
            bodies, arrays, notices = recorded_requests(recorded, description, count, MAX_BYTES)
        else:
            bodies, arrays = readdress(read_recording(recorded)[:count], description, f"--recorded {recorded}")
    else:
        values = raw.read(description, images=images, clips=clips, texts=texts, csv=table, csv_option=CSV)
        sources = _sources(description.inputs, files, npz, json, _shared_out(values, rows or 1, notices))
        arrays = _first(_from_files(description, sources, random, rows, cast, notices), count)
        arrays = arrays or [{} for _ in range(count or (DRAWN_COUNT if sizes else 1))]
        _fill_in(description, arrays, shapes, [parse_sizes(text) for text in sizes], seed, rows, probe, notices)
        _check_held(sum(map(_held_bytes, arrays)))
        given = dict(map(parse_parameter, parameters))
        bodies = [_encode(description, each, given) for each in arrays]
    _note_differences(description, arrays, notices)
    return Requests(bodies, arrays, _mean_rows(description.inputs, arrays, notices), notices, _expected(description))


# ---------------------------------------------------------------------------------------------------------------------
# Files


def _sources(
    specs: Sequence[Spec], files: Sequence[str], npz: Sequence[str], json: Sequence[str], rows: Sequence[Mapping[str, Sequence[Any]]]
) -> Iterator[dict[str, Array | Literal]]:
    """The given inputs, a dictionary a request. Each file is read when it is needed. rows: see `_shared_out`."""
    common = reading.from_arguments(files, specs)
    for each in npz:
        yield {**reading.from_npz(each), **common}
    for each in json:
        yield reading.from_json(each, "--json-input") | common
    for values in rows:
        yield {spec.name: raw.fit(spec, values[spec.name]) for spec in specs if spec.name in values} | common
    if common and not npz and not json and not rows:
        yield common


def _shared_out(values: Mapping[str, Sequence[Any]], rows: int, notices: list[str]) -> list[dict[str, Sequence[Any]]]:
    """Files, texts and records by their input, a row each -> those of each request, `rows` of each. One alone goes with all the others."""
    held = max(map(len, values.values()), default=0)
    if any(len(each) not in (1, held) for each in values.values()):
        counts = {name: len(each) for name, each in values.items()}
        raise ConfigError(f"expected as many files, texts or records for each input, or one, got {_listed(counts)}")
    if values and held < rows:
        raise ConfigError(f"--rows {rows}: expected so many files, texts or records, got {held}")
    if held % rows:
        notices.append(_left_out(held, rows))
    full = {name: [each[0]] * held if len(each) == 1 else each for name, each in values.items()}
    return [{name: each[first : first + rows] for name, each in full.items()} for first in range(0, held - rows + 1, rows)]


def _from_files(
    description: Description,
    sources: Iterable[Mapping[str, Array | Literal]],
    random: bool,
    rows: int | None,
    cast: bool,
    notices: list[str],
) -> Iterator[dict[str, Array]]:
    """Arrays of each request that files give; with `random` some inputs may be missing yet."""
    for source in sources:
        specs = description.inputs or _self_described(description.model, source)
        if random and all(name in {spec.name for spec in specs} for name in source):
            specs = tuple(spec for spec in specs if spec.name in source)
        arrays, more = reading.suit(source, specs, cast=cast)
        notices += (notice for notice in more if notice not in notices)
        yield from [arrays] if rows is None else _cut(arrays, specs, rows, notices)


def _first(found: Iterable[dict[str, Array]], count: int | None) -> list[dict[str, Array]]:
    """The first so many of the requests in files, all of which are read: a fault in one is told. They are held in memory no further than
    they may be sent."""
    kept: list[dict[str, Array]] = []
    held_bytes = 0
    for arrays in found:
        if count is None or len(kept) < count:
            kept.append(arrays)
            held_bytes += _held_bytes(arrays)
            _check_held(held_bytes)
    return kept


def _self_described(model: str, source: Mapping[str, Array | Literal]) -> tuple[Spec, ...]:
    """Specs of given arrays, for a server that does not say which inputs a model has."""
    for name, value in source.items():
        if isinstance(value, Literal):
            raise ConfigError(f"the server does not say which inputs '{model}' has: expected '{name}' from a .npy or .npz file")
    return tuple(
        Spec(name, word if (word := word_of(value.dtype)) in DTYPES else "BYTES", value.shape)
        for name, value in source.items()
        if not isinstance(value, Literal)
    )


def _cut(arrays: Mapping[str, Array], specs: Sequence[Spec], rows: int, notices: list[str]) -> Iterator[dict[str, Array]]:
    """Requests of `rows` rows each out of arrays with more."""
    _check_batch_axis(specs, rows)
    lengths = {name: len(array) for name, array in arrays.items()}
    held = min(lengths.values())
    if held != max(lengths.values()):
        raise ConfigError(f"--rows {rows}: expected as many rows in each input, got {_listed(lengths)}")
    if held < rows:
        raise ConfigError(f"--rows {rows}: expected so many rows in each file, got {held}")
    if held % rows:
        notices.append(_left_out(held, rows))
    for first in range(0, held - rows + 1, rows):
        yield {name: array[first : first + rows] for name, array in arrays.items()}


def _left_out(held: int, rows: int) -> str:
    return f"the last {held % rows} of {held} rows are left out: requests have {rows} rows each"


def _check_batch_axis(specs: Sequence[Spec], rows: int) -> None:
    for spec in specs:
        if not spec.shape or spec.shape[0] not in (-1, rows):
            raise ConfigError(f"--rows {rows}: the input '{spec.name}' is {spec}, which has no open batch axis")


def _listed(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in numbers.items())


# ---------------------------------------------------------------------------------------------------------------------
# Random inputs


def _fill_in(
    description: Description,
    arrays: Sequence[dict[str, Array]],
    shapes: Sequence[str],
    sizes: Sequence[Sizes],
    seed: int,
    rows: int | None,
    probe: Callable[[Mapping[str, Array]], object] | None,
    notices: list[str],
) -> None:
    """Puts random values into each request for the inputs that it lacks."""
    if not description.inputs and not arrays[0]:
        raise ConfigError(f"the server does not say which inputs '{description.model}' has; give --npz FILE or --recorded FILE")
    specs = [spec for spec in description.inputs if spec.name not in arrays[0]]
    if not specs and (shapes or sizes):
        raise ConfigError(f"{'--shape' if shapes else '--sizes'} is for random inputs, and files give all of them")
    fixed = reading.parse_shapes(shapes, specs)
    check_sizes(sizes, specs)
    raw.reject_random(description, specs, CSV)
    reading.check_datatypes(specs)
    if rows is not None:
        _check_batch_axis(specs, rows)
        if any(shape[:1] != (rows,) for shape in fixed.values()) or any(each.axis == 0 for each in sizes):
            raise ConfigError(f"--rows {rows}: --shape or --sizes say otherwise; leave one of them out")
    guessed = [spec for spec in specs if spec.name not in fixed and _unsized_axes(spec, sizes)]
    generator = np.random.default_rng(seed)
    drawn = [_drawn(specs, fixed, sizes, rows or _rows(description.inputs, each) or 1, generator) for each in arrays]
    widths = {spec.name: DTYPES[spec.datatype].itemsize for spec in specs}
    _check_held(sum(math.prod(shape) * widths[name] for each in drawn for name, shape in each.items()))
    for each, made in zip(arrays, drawn, strict=True):
        values, _ = reading.random_inputs(specs, made, int(generator.integers(1 << 32)))
        each |= reading.suit(values, specs)[0]
    if guessed:
        _ask(guessed, arrays[0], probe, notices)


def _drawn(
    specs: Sequence[Spec], fixed: Mapping[str, tuple[int, ...]], sizes: Sequence[Sizes], rows: int, generator: np.random.Generator
) -> dict[str, list[int]]:
    """The shape of each input of one request."""
    made = {
        spec.name: list(fixed.get(spec.name) or ((rows if axis == 0 else 1) if size < 0 else size for axis, size in enumerate(spec.shape)))
        for spec in specs
    }
    for each in sizes:
        size = each.draw(generator)
        for spec in specs:
            if each.applies(spec):
                made[spec.name][each.axis] = size
    return made


def _unsized_axes(spec: Spec, sizes: Sequence[Sizes]) -> list[int]:
    """Open axes but the batch's that nothing gives a size to."""
    drawn = {each.axis for each in sizes if each.applies(spec)}
    return [axis for axis, size in enumerate(spec.shape) if axis > 0 and size < 0 and axis not in drawn]


def _ask(
    guessed: Sequence[Spec], arrays: Mapping[str, Array], probe: Callable[[Mapping[str, Array]], object] | None, notices: list[str]
) -> None:
    """Lets the target say whether open axes may be 1."""
    first = guessed[0]
    example = ",".join(str(size) if size >= 0 else ("1" if axis == 0 else "SIZE") for axis, size in enumerate(first.shape))
    cure = f"give --shape {first.name}:{example}, or --sizes {first.name}:{_unsized_axes(first, ())[0]}=uniform:16..128"
    if probe is None:
        raise ConfigError(f"the input '{first.name}' is {first}, and its open sizes cannot be guessed; {cure}")
    try:
        probe(arrays)
    except InferdError as error:
        raise ConfigError(
            f"the input '{first.name}' is {first}; with its open sizes at 1 the model does not answer ({error}); {cure}"
        ) from None
    made = {spec.name: list(arrays[spec.name].shape) for spec in guessed}
    notices += (f"{name}: open sizes are 1, random values of shape {shape}; --shape and --sizes choose" for name, shape in made.items())


# ---------------------------------------------------------------------------------------------------------------------
# What all have in common


def _check_held(held_bytes: int) -> None:
    if held_bytes > MAX_BYTES:
        raise ConfigError(f"the requests would take more than {MAX_BYTES >> 20} MiB; give fewer or smaller ones")


def _held_bytes(arrays: Mapping[str, Array]) -> int:
    """Bytes of a request's values in its body, with the length in front of each text."""
    return sum(
        sum(TEXT_LENGTH_BYTES + len(text) for text in array.reshape(-1)) if array.dtype == object else array.nbytes
        for array in arrays.values()
    )


def parse_parameter(text: str) -> tuple[str, bool | int | float | str]:
    """NAME=VALUE. true and false are booleans, numbers are numbers, and all else is text. Raises ConfigError."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ConfigError(f"--parameter {text}: expected NAME=VALUE such as priority=1")
    if value in ("true", "false"):
        return name, value == "true"
    if re.fullmatch(r"[+-]?[0-9]{1,18}", value, re.ASCII):
        return name, int(value)
    number = re.fullmatch(r"[+-]?([0-9]+\.[0-9]*|\.?[0-9]+)(e[+-]?[0-9]+)?", value, re.ASCII | re.IGNORECASE)
    return name, float(value) if number else value


def _encode(description: Description, arrays: Mapping[str, Array], parameters: Mapping[str, bool | int | float | str]) -> bytes:
    words = {spec.name: spec.datatype for spec in description.inputs}
    body: bytes = require_client().codec.encode_infer_request(
        description.model,
        arrays,
        version=description.version,
        datatypes={name: words[name] for name in arrays if name in words},
        parameters=parameters,
    )
    return body


def _expected(description: Description) -> Expected:
    """Not every server says which outputs a model has."""
    models = tuple(dict.fromkeys(name for name in (description.model, description.own_name) if name))
    versions = (description.version,) if description.version else ()
    return Expected(models, tuple(spec.name for spec in description.outputs), versions)


def _rows(specs: Sequence[Spec], arrays: Mapping[str, Array]) -> int:
    """Rows of a request by its first input with a batch axis; 0 where there is none."""
    return next((len(arrays[spec.name]) for spec in specs if spec.name in arrays and spec.shape[:1] == (-1,)), 0)


def _mean_rows(specs: Sequence[Spec], arrays: Sequence[Mapping[str, Array]], notices: list[str]) -> float:
    if not specs:
        notices.append("the server does not say which inputs the model has: each request counts as one row")
    rows = [_rows(specs, each) or 1 for each in arrays]
    return sum(rows) / len(rows)


def _note_differences(description: Description, arrays: Sequence[Mapping[str, Array]], notices: list[str]) -> None:
    """Shapes that are not the model's are sent, for the server may know better, and said."""
    for spec in description.inputs:
        for each in arrays:
            shape = each[spec.name].shape if spec.name in each else spec.shape
            if len(shape) != len(spec.shape) or any(own not in (-1, size) for own, size in zip(spec.shape, shape, strict=True)):
                notices.append(f"{spec.name}: the model takes {spec}, and requests with {list(shape)} are sent")
                break
