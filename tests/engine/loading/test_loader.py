"""A model of a place on disk: its threads and instances, where it runs, what the log says of its load."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from onnx import helper

from inferd._core.batching.batch import Batch
from inferd.engine.configuration.config_sources import Defaults
from inferd.engine.files.places import find_places
from inferd.engine.loading import loader, warmup
from inferd.engine.loading.loader import Loader
from inferd.engine.loading.planner import Host
from inferd.engine.model import Model
from inferd.engine.models.repository import Repository
from inferd.engine.runtime.onnx import runtime
from inferd.engine.runtime.onnx.model import OnnxModel
from inferd.engine.runtime.onnx.options import SessionOptions
from inferd.errors import StartError
from tests import models

Load = Callable[..., Model]
IDENTITY = models.identity()


@pytest.fixture
def load() -> Iterator[Load]:
    made: list[Model] = []

    def load(path: Path, host: Host = Host(4, 4), *, looped: bool = False, **defaults: object) -> Model:  # noqa: B008
        """The newest version of the only model there. looped: there is an event loop."""
        ((place,), _) = find_places([path])
        schedule = (lambda callback: None) if looped else None
        opener = Loader(Defaults(**defaults), schedule=schedule, deliver=Batch.deliver, host=host)  # type: ignore[arg-type]
        selected = opener.select(place)
        made.append(opener.load(selected, selected.versions[-1][0]))
        return made[-1]

    yield load
    for each in made:
        each.close()


# ---- files that change meanwhile -----------------------------------------------------------------------------------


def replaced(file: Path, content: bytes) -> None:
    file.with_name("new").write_bytes(content)
    file.with_name("new").rename(file)


def opened_between(monkeypatch: pytest.MonkeyPatch, before: Callable[[], object], after: Callable[[], object]) -> None:
    """What happens just before and after ONNX Runtime reads a file."""

    def open_model(source: Path, options: SessionOptions, *, name: str) -> OnnxModel:
        before()
        found = OnnxModel.load(source, options, name=name)
        after()
        return found

    monkeypatch.setattr(runtime, "OnnxModel", SimpleNamespace(load=open_model))


def test_a_file_that_is_replaced_during_its_load_is_loaded_again(tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    file, others = models.write(tmp_path, "m", IDENTITY), [models.doubled()]
    opened_between(monkeypatch, lambda: None, lambda: others and replaced(file, others.pop()))
    model = load(file)
    assert model.origin.provenance is not None
    assert model.origin.provenance.model_sha256 == hashlib.sha256(models.doubled()).hexdigest()


def test_no_file_is_served_but_the_one_that_was_verified(tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever verifies it before or after the load finds the right one."""
    folder = models.repository(tmp_path, {"m": IDENTITY})
    file = folder / "m" / "1" / "model.onnx"
    opened_between(monkeypatch, lambda: replaced(file, models.doubled()), lambda: replaced(file, IDENTITY))
    with pytest.raises(StartError, match=r"model 'm' version 1: 'model.onnx' changed during each of 3 loads: write files"):
        load(folder)


# ---- the plan ------------------------------------------------------------------------------------------------------


def test_a_tiny_model_gets_one_thread(tmp_path: Path, load: Load) -> None:
    model = load(models.write(tmp_path, "m", IDENTITY))
    assert model.config.inferd.intra_op_threads == 1
    assert "too little to share" in model.plan_reason


@pytest.mark.parametrize(
    ("model", "threads"),
    [(IDENTITY, [1]), (models.identity(dims=("length",)), [1, 4])],
    ids=["tiny", "of sizes that vary"],
)
def test_a_small_file_is_opened_with_one_thread_first(
    model: bytes, threads: list[int], tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tiny model is opened once, and its load waits for nothing."""
    opened = list[int]()

    def open_model(source: Path, options: SessionOptions, *, name: str) -> OnnxModel:
        opened.append(options.intra_op_threads)
        return OnnxModel.load(source, options, name=name)

    monkeypatch.setattr(runtime, "OnnxModel", SimpleNamespace(load=open_model))
    monkeypatch.setattr(warmup, "paused", None)
    load(models.write(tmp_path, "m", model), inline_limit_us=100_000)  # so long takes no run, however busy the machine is
    assert opened == threads


def test_a_model_is_measured_on_values_that_its_steps_let_through(tmp_path: Path, load: Load, caplog: pytest.LogCaptureFixture) -> None:
    """At zero, which they never do, the graph fails."""
    nodes = [helper.make_node("Sub", ["x", "least"], ["index"]), helper.make_node("Gather", ["table", "index"], ["y"])]
    tables = {"least": np.int64(7), "table": np.ones(2, np.float32)}
    content = models.model(nodes, [("x", "INT64", ("N", 1))], [("y", "FP32", ("N", 1))], tables)
    columns = 'columns { columns { name: "x" datatype: "INT64" allowed: ["7", "8"] } }'
    models.repository(tmp_path, {"m": content}, {"m": f"max_batch_size: 8 inferd {{ preprocess {{ steps {{ {columns} }} }} }}"})
    with caplog.at_level(logging.WARNING):
        model = load(tmp_path)
    assert not caplog.records
    assert model.config.inferd.intra_op_threads == 1
    assert "too little to share" in model.plan_reason


def test_a_tiny_model_that_takes_texts_gets_one_thread(tmp_path: Path, load: Load) -> None:
    model = load(models.write(tmp_path, "m", models.identity("BYTES", (1,))), inline_limit_us=100_000)
    assert model.config.inferd.intra_op_threads == 1


def test_what_steps_hold_counts_as_memory_of_the_model(tmp_path: Path, load: Load) -> None:
    values = ", ".join(f'"value {number}"' for number in range(500))
    columns = f'columns {{ columns {{ name: "x" datatype: "BYTES" vocabulary {{ values: [{values}] }} }} }}'
    models.repository(
        tmp_path,
        {"m": models.identity(datatype="INT64", dims=(1,))},
        {"m": f"max_batch_size: 8 inferd {{ preprocess {{ steps {{ {columns} }} }} }}"},
    )
    assert 50_000 < load(tmp_path).origin.steps_bytes < 200_000


def measured(monkeypatch: pytest.MonkeyPatch, shared_us: dict[int, int], single_us: dict[int, int]) -> None:
    """Says how long runs take, by their rows: first those on all threads, then those on one."""
    monkeypatch.setattr(loader, "SMALL_BYTES", 0)
    answers = iter([shared_us, single_us])
    monkeypatch.setattr(loader, "_runs_ns", lambda loaded: {rows: 1000 * us for rows, us in next(answers).items()})


def test_one_thread_runs_the_rows_for_which_four_gain_less_than_twice(tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, {1: 200, 2: 300, 4: 500, 8: 600}, {1: 150, 2: 590, 4: 1100, 8: 650})
    model = load(models.write(tmp_path, "m", models.identity()), max_batch_size=8)
    assert (model.config.inferd.intra_op_threads, model.instances) == (4, 1)
    assert "one thread up to 2 rows" in model.plan_reason


def test_threads_that_pay_from_the_first_row_on_are_kept(tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, {1: 200, 2: 300, 4: 500}, {1: 401, 2: 300, 4: 500})
    model = load(models.write(tmp_path, "m", models.identity()), max_batch_size=4)
    assert model.config.inferd.intra_op_threads == 4
    assert "one thread up to" not in model.plan_reason


def test_ordering_is_kept_whatever_was_measured(tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(monkeypatch, {1: 200, 2: 200}, {1: 200, 2: 400})
    models.repository(tmp_path, {"m": models.identity()}, {"m": "max_batch_size: 2 dynamic_batching { preserve_ordering: true }"})
    assert load(tmp_path).instances == 1


def test_a_slow_model_gets_all_cores(tmp_path: Path, load: Load) -> None:
    model = load(models.write(tmp_path, "m", models.slow(10, always=True)))
    assert model.config.inferd.intra_op_threads == 4
    assert "all usable cores" in model.plan_reason


def test_what_is_configured_is_kept(tmp_path: Path, load: Load) -> None:
    models.repository(tmp_path, {"m": IDENTITY}, {"m": "instance_group { count: 2 } inferd { intra_op_threads: 3 spinning: true }"})
    model = load(tmp_path)
    assert model.instances == 2
    assert (model.config.inferd.intra_op_threads, model.config.inferd.spinning) == (3, True)
    assert model.config.instance_group[0].count == 2
    assert model.plan_reason.count("as configured") == 3


def test_loading_is_told_once_a_version(tmp_path: Path, load: Load, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="inferd")
    load(models.write(tmp_path, "m", IDENTITY))
    (record,) = [record for record in caplog.records if "loaded and warm" in record.getMessage()]
    assert record.levelno == logging.INFO
    assert "CPUExecutionProvider" in record.getMessage()
    assert vars(record)["fields"]["event"] == "model_loaded"
    (why,) = [record for record in caplog.records if "axis 0 of every tensor is the symbol 'N'" in record.getMessage()]
    assert why.levelno == logging.DEBUG
    assert str(tmp_path) not in caplog.text


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (IDENTITY, ""),
        (models.slow(0.01), "executor thread: shapes do not say how often its Loop runs"),
        (models.nonzero(), "executor thread: the cost of its NonZero depends on the values of an input"),
    ],
    ids=["identity", "slow", "nonzero"],
)
def test_a_graph_whose_cost_depends_on_values_is_not_inline(tmp_path: Path, load: Load, model: bytes, why: str) -> None:
    """However generous the limit."""
    loaded = load(models.write(tmp_path, "m", model), Host(1, 1), looped=True, inline_limit_us=100_000, intra_op_threads=1)
    assert (loaded.inline, loaded.inline_reason if why else "") == (not why, why)


def test_weights_beside_the_file_count_where_it_is_opened_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sessions and what is read for the second one would be four times the weights."""
    file = models.write(tmp_path, "m", models.with_weights_in("weights.bin"))
    (tmp_path / "weights.bin").write_bytes(np.float32(1).tobytes())
    opened: list[object] = []
    load = OnnxModel.load

    def counted(*given: Any, **named: Any) -> OnnxModel:
        opened.append(given)
        return load(*given, **named)

    monkeypatch.setattr(OnnxModel, "load", counted)
    monkeypatch.setattr(loader, "SMALL_BYTES", file.stat().st_size)
    monkeypatch.setattr(loader, "MAX_COMPARED_BYTES", file.stat().st_size)
    monkeypatch.setattr(loader, "_tiny_run_ns", lambda loaded: 0)
    repository = Repository(deliver=Batch.deliver, host=Host(4, 4))
    repository.load(file)
    repository.close()
    assert len(opened) == 1
