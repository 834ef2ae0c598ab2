"""Trial runs that tell a batch axis from one that only looks like it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from inferd import Engine
from inferd.engine import probe
from inferd.engine.backend import OnnxModel
from inferd.engine.probe import why_rows_depend
from tests import models


def asked(content: bytes) -> str | None:
    return why_rows_depend(OnnxModel.load(content))


@pytest.mark.parametrize(
    "content",
    [
        models.identity(),
        models.add(),
        models.pooled_image(),
        models.text(),
        models.length_of_text(),
        models.sequence_length(),
        models.every_datatype(),
        models.failing(),  # indices: zeros and ones are fit for small tables
        models.slow(1),
        models.light("squeezenet"),
    ],
    ids=["identity", "add", "pooled", "text", "text and numbers", "sequence", "every datatype", "indices", "loop", "squeezenet"],
)
def test_rows_that_know_nothing_of_each_other(content: bytes) -> None:
    assert asked(content) == ""


def test_rows_that_depend_on_the_rows_before() -> None:
    reason = asked(models.running_total())
    assert reason == "output 'y' of a row changes with the other rows of its batch"


@pytest.mark.parametrize("content", [models.rows_depend(), models.false_promise(), models.nonzero()])
def test_shapes_that_do_not_follow_the_rows(content: bytes) -> None:
    reason = asked(content)
    assert reason is not None
    assert "for one row, and" in reason


def test_trials_that_do_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(models.identity("BF16")) is None
    assert asked(models.fixed_batch()) is None
    monkeypatch.setattr(probe, "LONGEST_TRIAL_S", 0.0)
    assert asked(models.identity()) is None


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
        (models.renamed(models.identity("BF16"), {"x": "unk__1", "y": "unk__2"}), 0),  # names that say nothing, no trial
        (models.identity("BF16"), 64),  # no trial, but one name
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


def test_the_users_word_is_not_doubted(tmp_path: Path) -> None:
    folder = models.repository(tmp_path, {"m": models.running_total()}, {"m": "max_batch_size: 8"})
    with Engine(folder) as engine:
        assert engine._repository.lookup("m", "").config.max_batch_size == 8
