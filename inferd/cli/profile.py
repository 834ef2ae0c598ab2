"""`inferd profile`: learns what a version's inputs and outputs are like, so that a server can tell when they change.

Never in here: how it is learned (inferd/monitor).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inferd.cli.diff import progress
from inferd.cli.duration import timeout_option
from inferd.cli.number import Whole
from inferd.cli.say import aligned, say
from inferd.errors import ConfigError, InferdError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from inferd.client_inputs.targets import Description
    from inferd.diff.requests import Request
    from inferd.monitor.reference import Reference

ROWS = 64  # of a request, at most
SHOWN = 12  # features
Labels = dict[str, list[str]]


def names(context: click.Context, parameter: click.Parameter, value: str | None) -> list[str]:
    found = [name.strip() for name in value.split(",")] if value else []
    if not all(found):
        raise click.BadParameter(f"expected names with commas between them, got {value!r}")
    return found


@click.command()
@click.argument("model")
@click.option("--on", "data", type=click.Path(path_type=Path), required=True, help="Data: CSV, Parquet, .npz, a record, or a folder.")
@click.option("--columns", callback=names, metavar="A,B,...", help="Columns of a table that are an input's elements.  [default: all]")
@click.option("--recorded-model", default="", metavar="NAME", help="Model of the record, where it holds several.")
@click.option("--first", type=Whole(1, 10_000_000), help="Only the first N rows of a table, or requests of others.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the profile there.  [default: beside the version]")
@timeout_option("60s", "Time that one request may take.")
def profile(model: str, data: Path, columns: list[str], recorded_model: str, first: int | None, out: Path | None, timeout: float) -> None:
    """Learn a reference profile of a version, from data that it is known to be right on. The version runs on it, and the profile keeps
    what inputs and outputs are like. A server that has the version tells when they change: see `inferd drift`.

    MODEL is a model file, or a version in a repository (models/digits/3). The profile lies beside it, and belongs to the version.

    \b
    inferd profile models/loans/1 --on training.parquet
    inferd profile digits.onnx --on recorded/
    """
    from inferd.client_inputs.targets import Local
    from inferd.diff.sources import HINT, THREADS, parse_source, place_of
    from inferd.monitor import reference as files
    from inferd.monitor.profiling import profile as learn

    where = parse_source(model)
    if not where.is_local:
        raise ConfigError(f"MODEL {model}: {HINT.partition(', or a server')[0]}: the profile is learned in this process")
    if not data.exists():
        raise ConfigError(f"--on {data}: there is no such file or folder")
    notices: list[str] = []
    watch = sys.stderr.isatty()
    with Local(place_of(where), where.model, timeout, intra_op_threads=THREADS, instances=1) as local:
        description = local.describe(where.model or local.only_model(), where.version)
        requests, labels = requests_of(data, description, columns, recorded_model, first, notices)
        for notice in notices:
            click.echo(notice, err=True)
        version = local.engine._lookup(description.model, description.version)
        found = learn(
            version,
            [request.inputs for request in requests],
            lambda inputs: local.infer(description, inputs, ()),
            labels,
            lambda done, of: progress(f"{done:,} of {of:,} requests") if watch and done % 100 == 0 else None,
        )
        if watch:
            progress("")
        assert version.origin.file is not None
        path = out or files.path_of(version.origin.file)
    try:
        files.write(found, path)
    except OSError as error:
        raise InferdError(f"{path}: cannot be written: {error.strerror or error}") from None
    show(found, path)


def requests_of(
    data: Path, description: Description, columns: Sequence[str], recorded_model: str, first: int | None, notices: list[str]
) -> tuple[list[Request], Labels]:
    """The requests of the data, and the names of an input's elements. Raises ConfigError."""
    from inferd.client_inputs import inputs as reading
    from inferd.diff.requests import cut, is_record, recorded_requests, requests_in, sources
    from inferd.monitor import data as tables

    rows = min(description.most_rows or 1, ROWS)
    if is_record(data):
        return recorded_requests(data, description, recorded_model, False, notices, first), {}
    if data.is_dir():
        return requests_in(data, description, rows, False, notices, first), {}
    suffix = data.suffix.lower()
    if suffix in tables.KINDS and not (suffix == ".csv" and (description.columns() or description.readers())):
        found = tables.read_table(data, description.inputs, columns)
        given = {name: array[:first] for name, array in found.inputs.items()}
        return list(cut(data.name, given, description, rows)), found.labels
    if columns:
        raise ConfigError(f"--columns: {data.name} has no columns to choose from: its names are the model's")
    made: list[Request] = []
    for name, given_inputs in sources([data], description):
        arrays, more = reading.suit(given_inputs, description.inputs)
        notices += (notice for notice in more if notice not in notices)
        made += cut(name, arrays, description, rows)
        if first is not None and len(made) >= first:
            break
    if not made:
        raise ConfigError(f"--on {data}: expected CSV, Parquet, .npz, .npy, a record, or a folder of them")
    return made[:first], {}


def show(reference: Reference, path: Path) -> None:
    lines: list[tuple[Any, ...]] = [("feature", "range or most frequent", "missing")]
    told = [feature for feature in reference.features if feature.shares]
    for feature in told[:SHOWN]:
        common = ", ".join(feature.texts[:3]) if feature.texts else f"{feature.low:.6g} to {feature.high:.6g}"
        lines.append((feature.name, common, f"{feature.missing:.1%}"))
    say("\n".join(aligned(lines)))
    if len(told) > SHOWN:
        say(f"and {len(told) - SHOWN} more")
    say(f"{path}: {len(reference.features)} features of {reference.rows:,} rows. A server that loads this version watches them.")
