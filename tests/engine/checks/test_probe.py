"""Trial runs that prove rows to be independent, and tell a batch axis from one that only looks like it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferd import Engine
from inferd.engine.checks import probe
from inferd.engine.checks.probe import Proof, Rows, prove_rows
from inferd.engine.runtime.onnx.model import OnnxModel
from tests import models


@pytest.fixture(autouse=True)
def all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine leaves no batch out."""
    monkeypatch.setattr(probe, "MOST_S", 1e9)
    monkeypatch.setattr(probe, "ENOUGH_S", 1e9)


def asked(content: bytes, **options: Any) -> Proof:
    return prove_rows(OnnxModel.load(content), source=content, **options)


@pytest.mark.parametrize(
    "content",
    [
        models.identity(),
        models.identity("BF16"),
        models.add(),
        models.pooled_image(),
        models.text(),
        models.length_of_text(),
        models.sequence_length(),
        models.every_datatype(),
        models.failing(),  # whole numbers below 100 are too large for its table
        models.slow(0.1),
        models.leaning(0.0),
    ],
    ids=["identity", "BF16", "add", "pooled", "text", "text and numbers", "sequence", "every datatype", "indices", "loop", "leaning"],
)
def test_rows_that_know_nothing_of_each_other(content: bytes) -> None:
    assert asked(content) == (Rows.INDEPENDENT, "rows give the same alone and in batches of 2, 3 and 8", True)


def test_a_large_model_has_its_proof_by_the_batches_that_time_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "ENOUGH_S", 0.0)
    assert asked(models.light("squeezenet")) == (Rows.INDEPENDENT, "rows give the same alone and in batches of 2", True)
    monkeypatch.setattr(probe, "MOST_S", 0.0)
    proof = asked(models.identity())
    assert proof.rows is Rows.UNKNOWN
    assert "not proven, since a row takes 0.0 s" in proof.why


def test_no_batch_is_tried_that_is_larger_than_any_will_be() -> None:
    assert asked(models.identity(), max_rows=3).why.endswith("in batches of 2 and 3")


@pytest.mark.parametrize(
    ("content", "output"),
    [
        (models.leaning(1e-3), "'y'"),
        (models.leaning(0.04), "'y'"),
        (models.counted(0.008), "'y'"),
        (models.distracted(), "'y'"),
        (models.quantized(), "'y'"),
    ],
    ids=["a thousandth", "4 %", "the number of rows", "in batches of four and more", "quantized"],
)
def test_rows_that_influence_each_other(content: bytes, output: str) -> None:
    proof = asked(content)
    assert proof.rows is Rows.INFLUENCED
    assert f"the other rows of a run change output {output} by up to " in proof.why
    assert ("DynamicQuantizeLinear takes one scale for all of them" in proof.why) == (content == models.quantized())


def test_rows_that_depend_on_the_rows_before() -> None:
    assert asked(models.running_total()) == (Rows.DEPENDENT, "output 'y' of a row changes with the other rows of its batch", True)


@pytest.mark.parametrize("content", [models.rows_depend(), models.false_promise(), models.nonzero()])
def test_shapes_that_do_not_follow_the_rows(content: bytes) -> None:
    proof = asked(content)
    assert proof.rows is Rows.DEPENDENT
    assert "for one row, and" in proof.why
    assert proof.deterministic is None


def test_trials_that_do_not_tell() -> None:
    assert asked(models.fixed_batch()) == (
        Rows.UNKNOWN,
        "not proven, since the model does not run the rows that were made (InvalidArgument)",
        None,
    )
    assert asked(models.random_noise()) == (Rows.UNKNOWN, "not proven, since output 'y' of the same row changes from run to run", False)


def test_sizes_and_rows_that_others_know() -> None:
    assert asked(models.any_picture()).rows is Rows.UNKNOWN
    assert asked(models.any_picture(), shapes={"image": (3, 10, 10)}).rows is Rows.INDEPENDENT
    ids = np.array([[1], [3], [2]])
    assert asked(models.failing(), samples={"x": ids}).rows is Rows.INDEPENDENT
    assert asked(models.failing(), samples={"x": ids + 7}).rows is Rows.UNKNOWN


def served(folder: Path, content: bytes) -> int:
    """max_batch_size of the model when it is served without a configuration."""
    with Engine(models.write(folder, "m", content)) as engine:
        return engine._repository.lookup("m", "").config.max_batch_size


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        (models.identity(), 64),
        (models.renamed(models.identity(), {"x": "unk__214", "y": "unk__215"}), 64),
        (models.renamed(models.identity(), {"x": "p2o.DynamicDimension.0", "y": "p2o.DynamicDimension.3"}), 64),
        (models.renamed(models.identity(), {"x": "batch", "y": "Identityy_dim_0"}), 64),
        (models.renamed(models.identity(), {"x": "batch", "y": "other"}), 0),  # two names that people gave
        (models.renamed(models.random_noise(), {"x": "unk__1", "y": "unk__2"}), 0),  # names that say nothing, trials neither
        (models.random_noise(), 64),  # trials say nothing, but there is one name
        (models.quantized(), 64),
        (models.running_total(), 0),
        (models.running_total("batch"), 0),
    ],
)
def test_what_is_served_in_batches(tmp_path: Path, content: bytes, rows: int) -> None:
    assert served(tmp_path, content) == rows


def test_a_time_axis_gives_right_answers_without_a_configuration(tmp_path: Path) -> None:
    with Engine(models.write(tmp_path, "m", models.running_total())) as engine:
        x = np.ones((5, 4), np.float32)
        np.testing.assert_array_equal(engine.infer("m", {"x": x})["y"], np.cumsum(x, 0))
