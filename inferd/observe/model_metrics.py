"""Metrics of each model: tables over numbers that the models count anyway. Never in here: counting, formats, HTTP.

docs/metrics.md lists every metric, and says which names are Triton's.
"""

from __future__ import annotations

from itertools import accumulate, chain
from typing import TYPE_CHECKING

from inferd.engine.files.provenance import Provenance
from inferd.part.table import Column, Table, histogram_columns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from inferd._core.metrics.histogram import Histogram
    from inferd.engine.model import Model
    from inferd.engine.models.entry import Loads
    from inferd.part.table import Combine, Kind, Row

    Numbers = Sequence[tuple[str, str, Callable[[Model], float]]]  # of metrics: name, documentation, and what a model has of it

STAGES = ("decode", "queue", "preprocess", "execute", "encode", "request")

# Upper bounds of the duration histograms: 5 us, about a tiny model's whole run, to 10 s, in steps of 2 to 2.5.
STAGE_BOUNDS_NS = (5_000, *(step * 10**zeros for zeros in range(3, 9) for step in (10, 25, 50)), 10**10)
BATCH_BOUNDS_ROWS = tuple(2**exponent for exponent in range(11))

NO_DURATIONS = (0,) * (len(STAGE_BOUNDS_NS) + 3)  # of a stage: its buckets, +Inf, count and sum
NO_RUNS = (0,) * (len(BATCH_BOUNDS_ROWS) + 3)

FAILURE_REASONS = ("REJECTED", "CANCELED", "BACKEND", "OTHER")  # Triton's; each is always there, at 0 before its first
MODEL = ("model", "version")


def tables_of(models: Sequence[Model], loads: Mapping[str, Loads]) -> Iterator[Table]:
    """Every table, once. models: each name and version once. loads: by model."""
    labelled = [(model, (model.name, str(model.version))) for model in models]

    def table(name: str, documentation: str, kind: Kind, columns: Sequence[Column], values: Callable[[Model], Sequence[float]]) -> Table:
        return Table(name, documentation, kind, MODEL, columns, ((labels, values(model)) for model, labels in labelled))

    def rows(number: Callable[[Model], float]) -> Iterator[Row]:
        return ((labels, (number(model),)) for model, labels in labelled)

    def tables(kind: Kind, suffix: str, numbers: Numbers, combine: Combine = "sum") -> Iterator[Table]:
        for name, documentation, number in numbers:
            yield Table(name, documentation, kind, MODEL, [Column(suffix)], rows(number), combine)

    yield from tables("counter", "", TRITON_COUNTERS)
    yield from tables("gauge", "", TRITON_GAUGES)
    by_reason = [{"reason": reason} for reason in FAILURE_REASONS]
    yield table(
        "nv_inference_request_failure",
        "Requests that failed or were rejected.",
        "counter",
        [Column("", each) for each in by_reason],
        _failures,
    )
    yield from tables("gauge", "", PROPERTIES, "max")
    yield from tables("gauge", "", GAUGES)
    yield from tables("counter", "_total", COUNTERS)
    total = [Column("_total", each) for each in by_reason]
    yield table("inferd_refusals", "Requests rejected or failed, by reason.", "counter", total, _failures)
    yield table(
        "inferd_stage_duration_seconds",
        "Time that successful requests spent in each stage.",
        "histogram",
        [column for stage in STAGES for column in histogram_columns([bound / 1e9 for bound in STAGE_BOUNDS_NS], {"stage": stage})],
        _stage_durations,
    )
    yield table(
        "inferd_batch_rows", "Rows of each run of the model.", "histogram", list(histogram_columns(BATCH_BOUNDS_ROWS, {})), _batch_rows
    )
    provenances = (((*labels, *found), (1,)) for model, labels in labelled if (found := model.origin.provenance) is not None)
    told = (*MODEL, *Provenance._fields)
    yield Table("inferd_model", "Where responses of the version come from.", "info", told, [Column("_info")], provenances, "max")
    loaded = {model.name for model in models}
    ready = [(labels, (model.state == "READY",)) for model, labels in labelled]
    failed_whole = [((name, ""), (0,)) for name in sorted(loads.keys() - loaded) if loads[name].failing]  # no version could be loaded
    yield Table("inferd_model_ready", "1 when the version takes requests.", "gauge", MODEL, [Column()], [*ready, *failed_whole], "min")
    names = sorted({*loads, *loaded})
    failed = (((name,), (loads[name].failures if name in loads else 0,)) for name in names)
    failing = (((name,), (name in loads and loads[name].failing,)) for name in names)
    yield Table("inferd_model_load_failures", "Loads of the model that failed.", "counter", ["model"], [Column("_total")], failed)
    yield Table("inferd_model_load_failing", "1 when the last load of the model failed.", "gauge", ["model"], [Column()], failing)


TRITON_COUNTERS: Numbers = (
    ("nv_inference_request_success", "Successful requests.", lambda model: model.statistics.request.count),
    ("nv_inference_count", "Rows of successful requests.", lambda model: model.statistics.rows),
    ("nv_inference_exec_count", "Runs of the model, each over one batch.", lambda model: model.statistics.runs),
    ("nv_inference_request_duration_us", "Time in the server, all successful requests.", lambda model: _us(model.statistics.request)),
    ("nv_inference_queue_duration_us", "Time spent waiting, all requests.", lambda model: _us(model.statistics.queue)),
    ("nv_inference_compute_input_duration_us", "Time of preprocess, all requests.", lambda model: _us(model.statistics.preprocess)),
    ("nv_inference_compute_infer_duration_us", "Time of execute, all requests.", lambda model: _us(model.statistics.execute)),
    ("nv_inference_compute_output_duration_us", "Time of encode, all requests.", lambda model: _us(model.statistics.encode)),
)
TRITON_GAUGES: Numbers = (("nv_inference_pending_request_count", "Requests that wait for an instance.", lambda model: model.queues.depth),)
PROPERTIES: Numbers = (  # that each worker has of its own
    ("nv_model_load_duration_secs", "From opening the model's file to the end of its warm-up.", lambda model: model.origin.load_ns / 1e9),
    ("inferd_inline", "1 when the version runs on the event loop, 0 on executor threads.", lambda model: model.inline),
)
GAUGES: Numbers = (
    ("inferd_instances", "Instances of the version.", lambda model: model.instances),
    ("inferd_instances_hung", "Instances whose run was told to end and does not.", lambda model: model.hung),
    ("inferd_queue_depth", "Requests that wait for an instance.", lambda model: model.queues.depth),
    ("inferd_queue_bytes", "Input bytes of the requests that wait.", lambda model: model.queues.depth_bytes),
    ("inferd_arena_bytes", "Memory that runs use, or that is kept for the next run.", lambda model: model.memory.arena_bytes),
    ("inferd_run_peak_bytes", "The most that the runs of the version needed at once.", lambda model: model.memory.peak_bytes),
)
COUNTERS: Numbers = (
    ("inferd_overtaken", "Requests that ran before earlier ones of a busier connection.", lambda model: model.queues.overtaken),
    ("inferd_runs_ended", "Runs told to end: they took longer than max_run_s.", lambda model: model.runs_ended),
    ("inferd_evicted", "Requests rejected after waiting: a connection with fewer needed room.", lambda model: model.queues.evictions),
)


def _us(histogram: Histogram) -> int:
    return histogram.sum_ns // 1000


def _failures(model: Model) -> Sequence[float]:
    failures = model.failures
    return [failures.get(reason, 0) for reason in FAILURE_REASONS]


def _stage_durations(model: Model) -> Sequence[float]:
    return list(chain.from_iterable(_durations(getattr(model.statistics, stage)) for stage in STAGES))


def _durations(histogram: Histogram) -> Sequence[float]:
    if not histogram.count:
        return NO_DURATIONS
    counts = histogram.buckets(STAGE_BOUNDS_NS)
    # Read after the buckets: a request that ends in between may be missing from a bucket, never from the sum of all.
    count = histogram.count
    return [*counts, count, count, histogram.sum_ns / 1e9]


def _batch_rows(model: Model) -> Sequence[float]:
    if not model.statistics.runs:
        return NO_RUNS
    runs = {rows: entry[0] for rows, entry in model.statistics.batch_sizes().items()}
    below = [0, *BATCH_BOUNDS_ROWS]
    in_bucket = [
        sum(count for rows, count in runs.items() if low < rows <= high) for low, high in zip(below, BATCH_BOUNDS_ROWS, strict=False)
    ]
    count = sum(runs.values())
    return [*accumulate(in_bucket), count, count, sum(rows * count for rows, count in runs.items())]
