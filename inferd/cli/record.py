"""`inferd record`: what a record holds, and records as other files. Never in here: the format, how a server records."""

from __future__ import annotations

import random
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from inferd.cli.number import Fraction, Whole
from inferd.cli.say import one_line, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from inferd.record.decoded import Tensor
    from inferd.record.reader import Recorded, Segments

SHOWN = 8  # values of a tensor
SAMPLE = 10_000  # requests of one version whose latencies are kept
PATHS = click.argument("paths", metavar="PATH...", nargs=-1, required=True)
MODEL = click.option("--model", default="", metavar="NAME", help="Only requests of this model.")
VERSION = click.option("--version", default="", metavar="N", help="Only requests of this version.")


@click.group(subcommand_metavar="ACTION ...")
def record() -> None:
    """Show, export and merge records that `inferd serve --record DIR` writes.

    PATH is such a folder, or one of its .arrow files.

    \b
    inferd record show recorded
    inferd record head recorded --model digits
    inferd record export recorded --model digits --to requests.parquet
    inferd record merge recorded --model digits --sample 0.1 --to digits.arrow
    """


@contextmanager
def opened(paths: tuple[str, ...]) -> Iterator[Segments]:
    """At the end, or an error, it says which files were not read to their ends."""
    from inferd.record.reader import Segments

    segments = Segments(paths)
    try:
        yield segments
    finally:
        for path, fault in segments.faults.items():
            say(one_line(f"{path}: {fault}"), err=True)


@record.command()
@PATHS
def show(paths: tuple[str, ...]) -> None:
    """Show how many requests of which models a record holds, and what they took."""
    with opened(paths) as segments:
        _show(segments)


def _show(segments: Segments) -> None:
    import numpy as np

    found: dict[tuple[str, str, str], Requests] = {}
    for row in segments.requests():
        found.setdefault((row.model, row.version, row.arm), Requests()).add(row)
    total = sum(group.requests for group in found.values())
    nbytes = sum(path.stat().st_size for path in segments.files)
    say(f"{total} requests in {len(segments.files)} files, {nbytes / (1 << 20):.1f} MiB")
    for (model, version, arm), group in sorted(found.items()):
        title = f"{model} version {version}" + (f" ({arm})" if arm else "")
        span_s = (group.last_ns - group.first_ns) / 1e9
        p50, p99 = np.percentile(group.sample_ns, [50, 99]) / 1e6
        say("\n" + one_line(title))
        say(f"  requests  {group.requests} in {span_s:.1f} s, {group.errors} errors")
        say(f"  from      {_when(group.first_ns, 'ms')} to {_when(group.last_ns, 'ms')}")
        of = f", of {SAMPLE} of them by chance" if group.requests > SAMPLE else ""
        say(f"  latency   p50 {p50:.3g} ms, p99 {p99:.3g} ms in the server{of}")
        for kind, tensors in (("input", group.inputs), ("output", group.outputs)):
            for name, told in tensors.items():
                say("  " + one_line(f"{kind:9} {name}  {told}"))
    for name, what in sorted(segments.changed.items()):
        say("\n" + one_line(f"{name}: {'left out' if what == 'omit' else 'hashed'}"))


class Requests:
    """The requests of one version, and one arm of a rollout."""

    def __init__(self) -> None:
        self.requests = self.errors = 0
        self.sample_ns: list[int] = []  # total_ns of some: each request is as likely among them (Vitter's algorithm R)
        self._chance = random.Random(0)
        self.first_ns, self.last_ns = 1 << 63, 0
        self.inputs: dict[str, str] = {}
        self.outputs: dict[str, str] = {}

    def add(self, row: Recorded) -> None:
        self.requests += 1
        if len(self.sample_ns) < SAMPLE:
            self.sample_ns.append(row.times_ns["total_ns"])
        elif (place := self._chance.randrange(self.requests)) < SAMPLE:
            self.sample_ns[place] = row.times_ns["total_ns"]
        self.errors += row.code != 0
        self.first_ns, self.last_ns = min(self.first_ns, row.arrival_ns), max(self.last_ns, row.arrival_ns)
        for told, tensors in ((self.inputs, row.input_tensors), (self.outputs, row.output_tensors)):
            for tensor in tensors:
                said = _spec(tensor)
                if told.setdefault(tensor.name, said) != said and not told[tensor.name].endswith("and others"):
                    told[tensor.name] += " and others"


def _when(at_ns: int, unit: str) -> str:
    import numpy as np

    return f"{np.datetime64(at_ns, 'ns').astype(f'datetime64[{unit}]')}Z"


def _spec(tensor: Tensor) -> str:
    return f"{tensor.datatype}{list(tensor.shape)}"


@record.command()
@PATHS
@MODEL
@VERSION
@click.option("-n", "count", type=Whole(1, 1_000_000), default=5, show_default=True, help="How many requests.")
def head(paths: tuple[str, ...], model: str, version: str, count: int) -> None:
    """Show the first requests with the first values of each tensor."""
    with opened(paths) as segments:
        for row in islice(segments.found(model, version), count):
            _show_request(row)


def _show_request(row: Recorded) -> None:
    outcome = "OK" if row.code == 0 else f"error {row.code}: {row.error}"
    named = f" id {row.id}" if row.id else ""
    arm = f" ({row.arm})" if row.arm else ""
    when = _when(row.arrival_ns, "us")
    say(one_line(f"{when}  {row.model} version {row.version}{arm}{named}  {row.times_ns['total_ns'] / 1e6:.3g} ms  {outcome}"))
    for sign, tensors, arrays in (("<", row.input_tensors, row.inputs), (">", row.output_tensors, row.outputs)):
        for tensor in tensors:
            say("  " + one_line(f"{sign} {tensor.name} {_spec(tensor)}  {_values(arrays, tensor.name)}"))


def _values(arrays: Mapping[str, Any], name: str) -> str:
    flat = arrays[name].ravel()
    shown = [each.decode(errors="replace") if isinstance(each, bytes) else each for each in flat[:SHOWN].tolist()]
    words = [f"{each:.6g}" if isinstance(each, float) else str(each)[:40] for each in shown]
    return " ".join(words) + (" ..." if len(flat) > SHOWN else "")


@record.command()
@PATHS
@MODEL
@VERSION
@click.option("--to", required=True, metavar="FILE|DIR", help="FILE.parquet, FILE.csv, or a folder of .npz files.")
@click.option("-n", "count", type=Whole(1, 10**12), help="How many requests.  [default: all]")
def export(paths: tuple[str, ...], model: str, version: str, to: str, count: int | None) -> None:
    """Write requests as a table, or as arrays."""
    from inferd.record.export import export as write

    with opened(paths) as segments:
        total = write(segments, to, model=model, version=version, count=count)
    say(f"{to}: {total} requests")


@record.command()
@PATHS
@MODEL
@click.option("--sample", type=Fraction(0), default=1.0, metavar="SHARE", help="A share of the requests, by chance.")
@click.option("--seed", type=Whole(0, 2**63 - 1), default=0, show_default=True, help="Seed of the chance.")
@click.option("--to", required=True, metavar="FILE.arrow", help="The new record.")
def merge(paths: tuple[str, ...], model: str, sample: float, seed: int, to: str) -> None:
    """Make one compressed record of several."""
    from inferd.record.export import merge as write

    with opened(paths) as segments:
        total = write(segments, to, model=model, sample=sample, seed=seed)
    say(f"{to}: {total} requests")
